"""The carrier of SkyReels-V4: Mini, and every checkpoint of that architecture.

What is given cell by cell goes into the condition channels (eq. 7) and stays clean in the latent; patches and
references are tokens in context (VideoCanvas sec. 3.2, SkyReels-V4 eq. 8-9). The model itself is in skyreels_v4.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import torch
import torch.nn.functional as F
from comfy.nested_tensor import NestedTensor
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Patch, Plan
from ..canvas.cost import Cost
from ..canvas.grid import AudioGrid, VideoGrid
from ..canvas.notes import Note
from ..canvas.pixels import Pixels
from ..canvas.sound import mix
from .carrier import USUAL_WAY, Carrier, PatchMethod, Way, with_values
from .encoding import Encoder, alone, pictures_of
from .network import network_of
from .skyreels_v4 import CHECKPOINT_PREFIX, SkyReelsV4, checked_shapes

GREY = 0.5  # what a patch is padded with: 0 in the VAE's own range of -1..1


class SkyReelsV4Carrier(Carrier):
    family = "SkyReels-V4"
    isolated = {"skycanvas_isolated": True}
    video, audio = VideoGrid(), AudioGrid()

    @classmethod
    def carries(cls, model) -> bool:
        return isinstance(model.model, SkyReelsV4)

    @classmethod
    def knows(cls, tensors) -> bool:
        return any(name.removeprefix(CHECKPOINT_PREFIX) == "video_latent_mean" for name in tensors)

    @classmethod
    def check_latent(cls, model, shapes) -> None:
        checked_shapes(shapes, [], model.model.config)

    def __init__(self, model):
        config = model.model.config
        if config.refines:
            raise ValueError(
                "the model is a Refiner, which makes no clip by itself: connect it to 'Refine Clip', and here the "
                "model that makes the clip"
            )
        self.model, self.channels = model, (config.video_channels, config.audio_channels)
        self.video = VideoGrid(token=config.video_patch)

    def shapes(self, frames: int, height: int, width: int, fps: float) -> tuple[Sequence[int], ...]:
        return clip_shapes(self.channels, self.video, self.audio, frames, height, width, fps)

    def check_vaes(self, vae: comfy.sd.VAE, audio_vae: comfy.sd.VAE) -> None:
        if (vae.latent_dim, audio_vae.latent_dim) == (1, 3):
            raise ValueError("vae encodes sound and audio_vae encodes pictures: swap them")
        mend = "connect the one made for this model"
        for name, codec, dimensions, channels in (
            ("vae", vae, 3, self.channels[0]),
            ("audio_vae", audio_vae, 1, self.channels[1]),
        ):
            if codec.latent_dim != dimensions:
                raise ValueError(f"{name} is no VAE for {'videos' if dimensions == 3 else 'sounds'}: {mend}")
            if codec.latent_channels != channels:
                raise ValueError(
                    f"{name} makes latents of {codec.latent_channels} channels, this model takes {channels}: {mend}"
                )
        frames, pixels, grid = vae.temporal_compression_decode(), vae.spacial_compression_encode(), self.video
        if (frames, pixels) != (grid.temporal, grid.spatial):
            raise ValueError(
                f"vae makes latents of {frames} frames and {pixels} x {pixels} pixels, this model takes "
                f"{grid.temporal} and {grid.spatial} x {grid.spatial}: {mend}"
            )
        if audio_vae.audio_sample_rate != self.audio.sample_rate:
            raise ValueError(
                f"audio_vae works at {audio_vae.audio_sample_rate} Hz, this model at {self.audio.sample_rate} Hz: "
                f"{mend}"
            )

    def limits(self, plan: Plan, way: Way) -> tuple[Note, ...]:
        if plan.patches and way.patch_layout == "packed_crops":
            return (
                Note(
                    "warning",
                    "patch_layout is packed_crops, which SkyReels-V4 has not learnt: patches go as whole frames, "
                    "zero_padded.",
                ),
            )
        return ()

    def compile(
        self, canvas: Canvas, plan: Plan, conditioning, vae, audio_vae, *, way: Way = USUAL_WAY, batch_size: int = 1
    ) -> tuple[list[list], dict]:
        """Adds the keys that are listed in skyreels_v4.py to the conditioning."""
        values, latent = _CanvasEncoder(canvas, plan, vae, audio_vae).encode(way.patch_method, batch_size)
        return with_values(conditioning, values), latent

    def cost(self, plan: Plan, *, text_tokens: int = 0, steps: int = 30, passes: int = 2) -> Cost:
        return network_of(self.model).estimate(plan, text_tokens=text_tokens, steps=steps, passes=passes)


def clip_shapes(
    channels: tuple[int, int], video: VideoGrid, audio: AudioGrid, frames: int, height: int, width: int, fps: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of picture [C, T, h, w] and sound [Ca, L] of a clip, without batch."""
    latents = video.latent_frames(frames)
    return (channels[0], latents, *video.cells(height, width)), (channels[1], audio.latents(frames / fps))


class _CanvasEncoder:
    """One canvas with its plan and what encodes it. Masks and latents are [1, C, T, h, w] and [1, Ca, L]."""

    def __init__(self, canvas: Canvas, plan: Plan, vae: comfy.sd.VAE, audio_vae: comfy.sd.VAE):
        self.canvas, self.plan, self.grid = canvas, plan, plan.video
        self.pixels = Pixels(canvas)
        references = [alone(canvas, reference, plan.video.temporal) for reference in canvas.document.references]
        self.references = [reference for reference in references if reference.document.placements]
        self.voices = [reference for reference in references if reference.document.sounds]
        progress = comfy.utils.ProgressBar(
            int(plan.concat.flatten(1).any(1).sum())
            + len(plan.patches)
            + sum(self.grid.latent_frames(reference.document.frames) for reference in self.references)
            + len(self.voices)
            + int(plan.audio_given.any())
        )
        self.video, self.audio = (Encoder(codec, plan.video, progress) for codec in (vae, audio_vae))

    def encode(self, patch_method: PatchMethod, batch_size: int) -> tuple[dict, dict]:
        plan = self.plan
        values: dict[str, Any] = {}
        video, kept = self._zeros(self.video, *plan.given.shape), plan.concat & plan.given
        if plan.concat.any():
            condition = self._condition()
            values["skycanvas_condition"], values["skycanvas_mask"] = condition, plan.concat[None, None].to(condition)
            video = condition * kept
        context = self._references()
        if patch_method == "latent_replacement":
            kept = self._replace(video, kept)
        else:
            context += self._patches(patch_method)
        if context:
            values["skycanvas_video_context"] = context
        if self.voices:
            values["skycanvas_audio_context"] = self._voices()
        if not plan.empty:
            values["frame_rate"] = self.canvas.document.fps

        streams, masks = (video, self._sound()), (~kept[None, None], ~plan.audio_given[None, None])
        device = comfy.model_management.intermediate_device()

        def batch(tensors: Sequence[Tensor]) -> NestedTensor:
            return NestedTensor([x.to(device, torch.float32).repeat(batch_size, *[1] * (x.ndim - 1)) for x in tensors])

        latent = {"samples": batch(streams), "frame_rate": self.canvas.document.fps}
        if not all(mask.all() for mask in masks):
            latent["noise_mask"] = batch(masks)
        return values, latent

    @staticmethod
    def _zeros(encoder: Encoder, *shape: int) -> Tensor:
        return torch.zeros(1, encoder.vae.latent_channels, *shape)

    # --- channel concat (eq. 7)

    def _condition(self) -> Tensor:
        """Latents of the cells that go by channel concat; 0 elsewhere.

        Given cells are encoded as a video, and all beside them is black. A cell that is not given on every frame of its
        latent frame gets the last frame that fills it, encoded alone (VideoCanvas: frame f goes to slot ceil(f / 4)).
        """
        concat, given = self.plan.concat, self.plan.given
        condition = self._zeros(self.video, *concat.shape)

        def black_beside(frame: int, cells: Tensor) -> Tensor:
            return self.pixels.frame(frame).picture * self._pixels_of(cells)[..., None]

        whole = concat & given
        latent_frames = whole.flatten(1).any(1).nonzero()[:, 0].tolist()
        if latent_frames:
            condition[:, :, latent_frames] = self.video.clip(
                latent_frames, lambda f: black_beside(f, whole[self.grid.latent_of(f)])
            ).to(condition)
        condition *= whole
        for t, left in enumerate(concat & ~given):
            for frame in reversed(self.grid.frames_of(t)):
                cells = left & self._filled_cells(self.pixels.frame(frame).given)
                if cells.any():
                    latent = self.video.picture(black_beside(frame, cells)).to(condition)
                    condition[:, :, t] += latent[:, :, 0] * cells
                    left = left & ~cells
        return condition

    def _pixels_of(self, cells: Tensor) -> Tensor:
        """[h, w] -> [H, W]"""
        return cells.repeat_interleave(self.grid.spatial, 0).repeat_interleave(self.grid.spatial, 1)

    def _filled_cells(self, pixels: Tensor) -> Tensor:
        """Cells of which all pixels are marked. [H, W] -> [h, w]"""
        step = self.grid.spatial
        return pixels.unflatten(1, (-1, step)).unflatten(0, (-1, step)).all(3).all(1)

    # --- in context

    def _patch(self, patch: Patch) -> Tensor:
        """A patch on a frame that is otherwise grey, [H, W, 3] in 0..1."""
        return self.pixels.patch(patch.frame, patch.placements)[0]

    def _patches(self, method: PatchMethod) -> list[dict]:
        """In-context entries of the patches (VideoCanvas sec. 3.2, or what it compares with)."""
        if method in ("pixel_padding", "latent_slice"):
            slots: dict[int, list[Patch]] = {}
            for patch in self.plan.patches:
                slots.setdefault(self.grid.latent_of(patch.frame), []).append(patch)
            return [self._padded(slot, patches, hold=method == "latent_slice") for slot, patches in slots.items()]
        times: dict[str, Callable[[Patch], Sequence[float] | None]] = {
            "rope_interpolation": lambda patch: (patch.time,),
            "nearest_slot": lambda patch: (float(int(patch.time + 0.5)),),  # halves: to the slot that holds the frame
            "no_rope": lambda patch: None,
        }
        return [
            {"latent": self.video.picture(self._patch(patch)), "times": times[method](patch)}
            for patch in self.plan.patches
        ]

    def _padded(self, slot: int, patches: Sequence[Patch], hold: bool) -> dict:
        """The patches of one latent frame, encoded as a video. hold: other frames show the nearest one, not grey."""
        pictures = {patch.frame: self._patch(patch) for patch in patches}
        grey = torch.full_like(pictures[patches[0].frame], GREY)

        def frame(f: int) -> Tensor:
            nearest = min(pictures, key=lambda shown: abs(shown - f))
            return pictures[nearest] if hold or nearest == f else grey

        return {"latent": self.video.clip([slot], frame), "times": (float(slot),)}

    def _replace(self, video: Tensor, kept: Tensor) -> Tensor:
        """Writes the cells that patches fill into their latent frames, except where these are kept already.

        Returns what is kept then, [T, h, w]. Cells that a patch fills in part are lost to it.
        """
        replaced = kept.clone()
        for patch in self.plan.patches:
            picture, shown = self.pixels.patch(patch.frame, patch.placements)
            slot = self.grid.latent_of(patch.frame)
            cells = self._filled_cells(shown) & ~kept[slot]
            latent = self.video.picture(picture).to(video)
            video[:, :, slot] = torch.where(cells, latent[:, :, 0], video[:, :, slot])
            replaced[slot] |= cells
        return replaced

    def _references(self) -> list[dict]:
        """In-context entries of pictures and clips, at the times -N to -1 in all (eq. 8-9)."""
        lengths = [self.grid.latent_frames(reference.document.frames) for reference in self.references]
        time, entries = -sum(lengths), []
        for reference, length in zip(self.references, lengths, strict=True):
            latent = self.video.clip(range(length), pictures_of(reference))
            entries.append({"latent": latent, "times": tuple(float(time + i) for i in range(length))})
            time += length
        return entries

    # --- sound

    def _voices(self) -> list[dict]:
        """In-context entries of voices: as if they were heard one after the other, up to the start of the canvas."""
        grid, fps = self.plan.audio, self.canvas.document.fps
        mixes = [mix(voice, grid.sample_rate) for voice in self.voices]
        latents = [self.audio.sound(heard.waveform[:, heard.given]) for heard in mixes]
        index, entries = -sum(latent.shape[2] for latent in latents), []
        for latent in latents:
            seconds = [(index + i + 0.5) * grid.hop / grid.sample_rate for i in range(latent.shape[2])]
            times = tuple((second * fps - 0.5) / self.grid.temporal for second in seconds)  # see rope.audio_positions
            entries.append({"latent": latent, "times": times})
            index += latent.shape[2]
        return entries

    def _sound(self) -> Tensor:
        """Latents of the sound that is given; 0 elsewhere."""
        given, grid = self.plan.audio_given, self.plan.audio
        if not given.any():
            return self._zeros(self.audio, len(given))
        waveform = mix(self.canvas, grid.sample_rate).waveform
        waveform = F.pad(waveform, (0, len(given) * grid.hop - waveform.shape[1]))
        return self.audio.sound(waveform).to(waveform) * given
