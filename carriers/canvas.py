"""A compiled canvas as conditioning and LATENT for SkyReels-V4.

What is given cell by cell goes into the condition channels (eq. 7) and stays clean in the latent; patches and
references are tokens in context (VideoCanvas sec. 3.2, SkyReels-V4 eq. 8-9). Latents are as the VAEs emit them.
Encoding is remembered by content: after one patch has moved, one patch is encoded.
"""

import hashlib
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import comfy.model_management
import comfy.sd
import comfy.utils
import torch
import torch.nn.functional as F
from comfy.nested_tensor import NestedTensor
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Patch, Plan
from ..canvas.document import Box, Placement, Reference, Sound
from ..canvas.grid import AudioGrid, VideoGrid
from ..canvas.pixels import Pixels
from ..canvas.sound import mix
from ..models.config import MMDiTConfig
from .vae import SkyCanvasVideoVAE

CACHE_BYTES = 256 * 2**20  # of latents that are remembered for each VAE

# How a patch reaches the network: as VideoCanvas does it, and what it compares itself with (its Tables 2, 3 and R5).
#   rope_interpolation  encoded alone; in context at frame / 4
#   nearest_slot        encoded alone; in context at the nearest latent frame
#   no_rope             encoded alone; in context without a rotary position
#   pixel_padding       encoded as a video that is grey on all other frames; its latent frame in context
#   latent_slice        encoded as a video that stands still beside the patches; its latent frame in context
#   latent_replacement  encoded alone; put into the latent, clean, in the place of what is to be made
PatchMethod = Literal[
    "rope_interpolation", "nearest_slot", "no_rope", "pixel_padding", "latent_slice", "latent_replacement"
]

GREY = 0.5  # what a patch is padded with: 0 in the VAE's own range of -1..1
FrameOf = Callable[[int], Tensor]  # frame -> picture [H, W, 3] in 0..1


def encode_canvas(
    canvas: Canvas,
    plan: Plan,
    vae: comfy.sd.VAE,
    audio_vae: comfy.sd.VAE,
    *,
    patch_method: PatchMethod = "rope_interpolation",
    batch_size: int = 1,
) -> tuple[dict, dict]:
    """What a compiled canvas adds to positive and negative conditioning (keys: see skyreels_v4.py), and its LATENT.

    The LATENT holds what is given, with 0 in its noise_mask there, and 0 elsewhere. An empty canvas adds nothing, and
    its LATENT has no noise_mask. ValueError if patch_method is none of PatchMethod.
    """
    if patch_method not in get_args(PatchMethod):
        raise ValueError(f"patch_method is {patch_method!r}: use {', '.join(get_args(PatchMethod))}")
    return _CanvasEncoder(canvas, plan, vae, audio_vae).encode(patch_method, batch_size)


def check_vaes(
    vae: comfy.sd.VAE, audio_vae: comfy.sd.VAE, config: MMDiTConfig, video: VideoGrid, audio: AudioGrid
) -> None:
    """ValueError if the VAEs do not make the latents of that model, which lie on these grids."""
    if (vae.latent_dim, audio_vae.latent_dim) == (1, 3):
        raise ValueError("vae encodes sound and audio_vae encodes pictures: swap them")
    mend = "connect the one made for this model"
    for name, codec, dimensions, channels in (
        ("vae", vae, 3, config.video_channels),
        ("audio_vae", audio_vae, 1, config.audio_channels),
    ):
        if codec.latent_dim != dimensions:
            raise ValueError(f"{name} is no VAE for {'videos' if dimensions == 3 else 'sounds'}: {mend}")
        if codec.latent_channels != channels:
            raise ValueError(
                f"{name} makes latents of {codec.latent_channels} channels, this model takes {channels}: {mend}"
            )
    frames, pixels = vae.temporal_compression_decode(), vae.spacial_compression_encode()
    if (frames, pixels) != (video.temporal, video.spatial):
        raise ValueError(
            f"vae makes latents of {frames} frames and {pixels} x {pixels} pixels, this model takes {video.temporal} "
            f"and {video.spatial} x {video.spatial}: {mend}"
        )
    if audio_vae.audio_sample_rate != audio.sample_rate:
        raise ValueError(
            f"audio_vae works at {audio_vae.audio_sample_rate} Hz, this model at {audio.sample_rate} Hz: {mend}"
        )


# --- encoding


class LatentCache:
    """Latents by what was encoded. Beyond `limit` bytes, those that were not asked for the longest are forgotten."""

    def __init__(self, limit: int = CACHE_BYTES):
        self.limit, self.held = limit, 0
        self.latents: OrderedDict[bytes, Tensor] = OrderedDict()

    def get(self, pixels: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """The latent of pixels or samples, encoded unless it is known."""
        digest = hashlib.blake2b(f"{pixels.dtype} {list(pixels.shape)} ".encode(), digest_size=16)
        digest.update(pixels.contiguous().view(-1).view(torch.uint8).numpy().data)
        key = digest.digest()
        if key in self.latents:
            self.latents.move_to_end(key)
            return self.latents[key]
        latent = self.latents[key] = encode(pixels)
        self.held += latent.nbytes
        while self.held > self.limit:
            self.held -= self.latents.popitem(last=False)[1].nbytes
        return latent


_caches: weakref.WeakKeyDictionary[comfy.sd.VAE, LatentCache] = weakref.WeakKeyDictionary()


class Encoder:
    """One VAE with its cache. Each latent is a step of the progress bar, before which the work can be interrupted."""

    def __init__(self, vae: comfy.sd.VAE, grid: VideoGrid, progress: comfy.utils.ProgressBar):
        self.vae, self.grid, self.progress = vae, grid, progress
        self.cache = _caches.setdefault(vae, LatentCache())

    def clip(self, wanted: Sequence[int], frame: FrameOf) -> Tensor:
        """Latent frames `wanted`, in rising order, of the clip that `frame` shows. [1, C, len(wanted), h, w]

        Our codec makes each latent frame of its own frames alone, so that no others need to be in memory. Of other
        codecs it is known that they do not look ahead: they see the clip up to the last latent frame that is wanted.
        """
        if isinstance(self.vae, SkyCanvasVideoVAE):
            return torch.cat([self._latent_frame(t, frame) for t in wanted], dim=2)
        pictures = [frame(f) for f in range(self.grid.frames_of(wanted[-1]).stop)]
        return self._encode(torch.stack(pictures), self.vae.encode, steps=len(wanted))[:, :, list(wanted)]

    def _latent_frame(self, index: int, frame: FrameOf) -> Tensor:
        pictures = [frame(f) for f in self.grid.frames_of(index)]
        if index:
            pictures.insert(0, torch.zeros_like(pictures[0]))  # a clip begins with a latent frame of one frame
        return self._encode(torch.stack(pictures), lambda clip: self.vae.encode(clip)[:, :, -1:].clone())

    def picture(self, picture: Tensor) -> Tensor:
        """[H, W, 3] -> [1, C, 1, h, w]"""
        return self.clip([0], lambda _: picture)

    def sound(self, waveform: Tensor) -> Tensor:
        """[channels, samples], at the VAE's own sample rate -> [1, Ca, L]"""
        return self._encode(waveform.T[None], self.vae.encode)

    def _encode(self, pixels: Tensor, encode: Callable[[Tensor], Tensor], steps: int = 1) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        latent = self.cache.get(pixels, encode)
        self.progress.update(steps)
        return latent


# --- the canvas


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
        return (self.pixels.patch(patch.frame, patch.placements) + 1) / 2

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
            shown = (self.pixels.patch(patch.frame, patch.placements) != 0).any(-1)
            slot = self.grid.latent_of(patch.frame)
            cells = self._filled_cells(shown) & ~kept[slot]
            latent = self.video.picture(self._patch(patch)).to(video)
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


# --- references


def alone(canvas: Canvas, reference: Reference, temporal: int) -> Canvas:
    """A reference on a canvas of its own, of the same frame size and rate: all of it, in the middle of black.

    Of a clip, the frames at the end that do not fill a latent frame (of `temporal` frames) are left out.
    """
    document, facts = canvas.document, canvas.document.media[reference.media]
    shown: dict[str, Any] = {"placements": (), "sounds": (), "regions": (), "references": ()}
    if facts.kind == "sound":
        frames = math.ceil(facts.seconds * document.fps)
        shown["sounds"] = (Sound(id=reference.tag, media=reference.media, duration=facts.seconds),)
    else:
        frames = 1
        if facts.kind == "clip":
            count = facts.frames_at(document.fps)
            frames = count - (count - 1) % temporal
        frame = Box(x=0, y=0, width=document.width, height=document.height)
        placement = Placement(id=reference.tag, media=reference.media, frame=0, frames=frames, box=frame, fit="contain")
        shown["placements"] = (placement,)
    document = document.replace(frames=frames, media={reference.media: facts}, **shown)
    return Canvas(document, {reference.media: canvas.media[reference.media]})


def pictures_of(canvas: Canvas) -> FrameOf:
    """What a canvas shows of its own, on black."""
    pixels = Pixels(canvas)
    return lambda frame: pixels.frame(frame).picture
