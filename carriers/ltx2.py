"""LTX-2 and LTX-2.3 as ComfyUI runs them: a canvas becomes a LATENT and conditioning that core itself understands.

What is kept lies clean in the latent, where the noise_mask is 0. Patches and references are clean cells beside it, in
latent frames that are appended to the video; core calls them keyframes. Each of these cells says which frames, rows and
columns of pixels it stands for (`keyframe_idxs`), so the cells of many patches share one appended frame, and cells that
stand for nothing are dropped (noise_mask -1). `finish` takes the appended frames off again.

Latents are video [B, 128, T, h, w], of 8 frames x 32 x 32 pixels, and audio [B, 8, L, 16], 25 per second. Both VAEs are
causal: the first video latent stands for one frame, the first audio latent for 10 ms.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import comfy.model_base
import comfy.model_management
import comfy.sd
import comfy.utils
import torch
import torch.nn.functional as F
from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
from comfy.nested_tensor import NestedTensor
from torch import Tensor

from ..canvas.canvas import Canvas
from ..canvas.compile import Patch, Plan
from ..canvas.compose import continued
from ..canvas.cost import Cost, Ltx2Cost
from ..canvas.document import Box, Document, Media
from ..canvas.grid import AudioGrid, VideoGrid
from ..canvas.layers import fitted_size
from ..canvas.notes import Note, listed, span
from ..canvas.pixels import Pixels
from ..canvas.sound import mix
from .carrier import FINISH, USUAL_WAY, Carrier, Finish, Way, with_values
from .encoding import Encoder, alone
from .ltx2_speed import rate_of

VIDEO_CHANNELS, AUDIO_CHANNELS, AUDIO_BINS = 128, 8, 16
LEAST = 2  # cells of a side of what is encoded: no stock node makes pictures of less than 64 pixels
AUDIO_STEP = 4096  # samples: core cuts sounds down to a multiple of it, half of the rest at the start
FRAME_RATES = (24, 25)  # of ComfyUI's templates for LTX-2
PATCH_METHODS = ("rope_interpolation", "nearest_slot", "latent_replacement")

Draw = Callable[[int], tuple[Tensor, Tensor]]  # frame -> picture [H, W, 3] in 0..1, and where it shows anything [H, W]


class Ltx2Carrier(Carrier):
    family = "LTX-2"
    isolated = {"a2v_cross_attn": False, "v2a_cross_attn": False}
    video = VideoGrid(temporal=8, spatial=32, token=1)
    audio = AudioGrid(hop=1764, sample_rate=44100, first=441)

    @classmethod
    def carries(cls, model) -> bool:
        return isinstance(model.model, comfy.model_base.LTXAV)

    @classmethod
    def knows(cls, tensors: Collection[str]) -> bool:
        """By the tensor that tells it from LTX-Video for core too, with whatever prefix."""
        return any(name.endswith("audio_adaln_single.linear.weight") for name in tensors)

    @classmethod
    def check_latent(cls, model, shapes: Sequence[Sequence[int]]) -> None:
        """The picture alone will do as well."""
        video, *audio = shapes
        if len(video) != 5 or video[1] != VIDEO_CHANNELS:
            raise ValueError(
                f"the latent {list(video)} is no video of {cls.family}, [B, {VIDEO_CHANNELS}, T, h, w]: connect the "
                "model to 'Empty SkyCanvas Latent' or 'Encode Canvas'"
            )
        if [(len(shape), shape[1], shape[-1]) for shape in audio] not in ([], [(4, AUDIO_CHANNELS, AUDIO_BINS)]):
            found = " and ".join(str(list(shape)) for shape in audio)
            raise ValueError(
                f"the latent has {found} beside the video, {cls.family} has a sound [B, {AUDIO_CHANNELS}, L, "
                f"{AUDIO_BINS}]: connect the model to 'Empty SkyCanvas Latent' or 'Encode Canvas'"
            )

    def __init__(self, model):
        self.model, self.network = model, model.model.diffusion_model
        self.version = "LTX-2.3" if self.network.cross_attention_adaln else "LTX-2"

    def shapes(self, frames: int, height: int, width: int, fps: float) -> tuple[Sequence[int], ...]:
        cells = self.video.cells(height, width)
        return (
            (VIDEO_CHANNELS, self.video.latent_frames(frames), *cells),
            (AUDIO_CHANNELS, self.audio.latents(frames / fps), AUDIO_BINS),
        )

    def check_vaes(self, vae: comfy.sd.VAE, audio_vae: comfy.sd.VAE) -> None:
        swapped, fits = (isinstance(codec.first_stage_model, AudioVAE) for codec in (vae, audio_vae))
        if swapped and audio_vae.latent_dim == 3:
            raise ValueError("vae encodes sound and audio_vae encodes pictures: swap them")
        grid = vae.temporal_compression_decode(), vae.spacial_compression_encode()
        if (vae.latent_channels, vae.latent_dim, *grid) != (VIDEO_CHANNELS, 3, self.video.temporal, self.video.spatial):
            made = f"latents of {vae.latent_channels} channels" if vae.latent_dim == 3 else "no videos"
            raise ValueError(
                f"vae makes {made}, {self.version} takes videos of {VIDEO_CHANNELS} channels, {self.video.temporal} "
                f"frames and {self.video.spatial} x {self.video.spatial} pixels per latent: connect the VAE of its "
                "checkpoint ('Load Checkpoint')"
            )
        if not fits:
            raise ValueError(
                f"audio_vae is no audio VAE of {self.family}: connect 'Load LTXV Audio VAE' with the model's checkpoint"
            )
        sound = audio_vae.first_stage_model
        found = (sound.latent_channels, sound.latent_frequency_bins, sound.latents_per_second)
        taken = (AUDIO_CHANNELS, AUDIO_BINS, self.audio.sample_rate / self.audio.hop)
        if found != taken:
            of_both = ("{} channels of {} bins, {:g} per second".format(*sizes) for sizes in (found, taken))
            raise ValueError(
                "audio_vae makes latents of {}, the model takes {}: ".format(*of_both)
                + "choose the model's own checkpoint in 'Load LTXV Audio VAE'"
            )

    def limits(self, plan: Plan, way: Way) -> tuple[Note, ...]:
        return tuple(_limits(self, plan, way))

    def compile(
        self,
        canvas: Canvas,
        plan: Plan,
        conditioning: Sequence[list],
        vae: comfy.sd.VAE,
        audio_vae: comfy.sd.VAE,
        *,
        way: Way = USUAL_WAY,
        batch_size: int = 1,
    ) -> tuple[list[list], dict]:
        """As in `Carrier`. The frame rate is always set, as core takes 25 frames per second where there is none.

        ValueError if the conditioning has guides or a reference voice of stock nodes already.
        """
        _check_unguided(conditioning, plan)
        encoder = _CanvasEncoder(canvas, plan, way, vae, audio_vae)
        video, kept = encoder.clip()
        sound, heard = encoder.sound(), plan.audio_given[None, None, :, None]
        finish = Finish((_ready(video), _ready(sound)), (_ready(kept[None, None]), _ready(heard)))
        masks = [(~kept[None, None]).float(), (~heard).float().expand(-1, -1, -1, AUDIO_BINS)]
        values: dict[str, Any] = {"frame_rate": plan.document.fps}
        context = encoder.context()
        if context:
            appended = _appended(context, *kept.shape[1:])
            video, masks[0] = torch.cat([video, appended.latents], 2), torch.cat([masks[0], appended.mask], 2)
            spans = appended.spans.to(comfy.model_management.intermediate_device())  # where stock guides put theirs
            values |= {"keyframe_idxs": spans, "guide_attention_entries": [appended.entry]}
        if encoder.voices:
            values["ref_audio"] = {"tokens": encoder.voice()}

        def batch(tensors: Sequence[Tensor]) -> NestedTensor:
            return NestedTensor([_ready(x).repeat(batch_size, *[1] * (x.ndim - 1)) for x in tensors])

        latent = {"samples": batch([video, sound]), "frame_rate": plan.document.fps, FINISH: finish}
        if not all(mask.all() for mask in masks) or context:
            latent["noise_mask"] = batch(masks)
        return with_values(conditioning, values), latent

    def cost(self, plan: Plan, *, text_tokens: int = 0, steps: int = 30, passes: int = 2) -> Cost:
        """Patches are counted as packed crops, opaque. Seconds are those of a small network of the same kind."""
        video, sound, cells = plan.given.numel(), len(plan.audio_given), plan.given[0].numel()
        patches = sum(_touched(run, plan) for run in _runs(plan, USUAL_WAY))
        pictures, voices = self._reference_tokens(plan)
        kept = (plan.concat & plan.given).flatten(1)
        part = bool((kept.any(1) & ~kept.all(1)).any()) or (patches + pictures) % cells > 0
        tokens = video + patches + pictures
        # Core shares a modulation among the tokens of a latent frame, unless any frame is clean in part
        counts = tokens, sound + voices, text_tokens, tokens if part else -(-tokens // cells)
        dtype = self.model.model.get_dtype_inference()
        sizes = Ltx2Cost(
            video=self.network.inner_dim,
            audio=self.network.audio_inner_dim,
            crossing=self.network.audio_cross_attention_dim,
            blocks=len(self.network.transformer_blocks),
            modulations=len(self.network.transformer_blocks[0].scale_shift_table),
            weights=self.model.model_size(),
            bytes_per_number=dtype.itemsize,
        )
        operations, memory = sizes.operations(*counts), sizes.bytes(*counts)
        seconds = (
            steps * passes * operations / rate_of(self.network, self.model.load_device, dtype, plan.given.shape, sound)
        )
        return Cost(video, sound, patches, pictures + voices, text_tokens, operations, memory, seconds)

    def _reference_tokens(self, plan: Plan) -> tuple[int, int]:
        """Of pictures and clips, and of voices."""
        pictures, voices, document = 0, 0, plan.document
        for reference in document.references:
            media = document.media[reference.media]
            if media.kind == "sound":
                voices += self.audio.latents(media.seconds or 0)
            else:
                frames = 1 if media.kind == "image" else media.frames_at(document.fps)
                window = _reference_window(document, media, self.video.spatial)
                pictures += window.cells * (1 + (frames - 1) // self.video.temporal)
        return pictures, voices


def _check_unguided(conditioning: Sequence[list], plan: Plan) -> None:
    """ValueError for guides whose latent frames are in another latent, and for a second reference voice."""
    entries = [values for one in conditioning for _, values in one]
    if any(values.get("keyframe_idxs") is not None for values in entries):
        raise ValueError(
            "the conditioning has guides, of 'LTXVAddGuide' or of another 'Encode Canvas', whose frames lie in another "
            "latent: connect the prompts themselves, and put 'LTXVAddGuide' and the like behind 'Encode Canvas'"
        )
    heard = any(plan.document.media[reference.media].kind == "sound" for reference in plan.document.references)
    if heard and any(values.get("ref_audio") is not None for values in entries):
        raise ValueError(
            "the conditioning has a voice, of 'LTXV Reference Audio' or of another 'Encode Canvas', and so has the "
            "canvas, but the model hears one: take one of them away, or connect the prompts themselves"
        )


def _ready(tensor: Tensor) -> Tensor:
    """As samplers take it."""
    device = comfy.model_management.intermediate_device()
    return tensor.to(device, None if tensor.dtype == torch.bool else torch.float32)


# --- what is encoded together


class Window(NamedTuple):
    """Latent cells: first row and column, and those after the last."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def cells(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def encoded(self, rows: int, columns: int) -> "Window":
        """With cells beside it, so that each side has LEAST of them if the canvas of rows x columns has so many."""
        top, left = max(0, min(self.top, rows - LEAST)), max(0, min(self.left, columns - LEAST))
        return Window(top, left, min(max(self.bottom, top + LEAST), rows), min(max(self.right, left + LEAST), columns))

    def within(self, other: "Window") -> "Window":
        """What two windows share, which may be nothing."""
        return Window(*map(max, self[:2], other[:2]), *map(min, self[2:], other[2:]))

    def pixels(self, cell: int) -> tuple[slice, slice]:
        """Rows and columns of pixels, with so many per cell and side."""
        return slice(self.top * cell, self.bottom * cell), slice(self.left * cell, self.right * cell)


class Run(NamedTuple):
    """Patches of 8n+1 frames in a row, which show the same placements in the same window."""

    patches: Sequence[Patch]
    window: Window


def _runs(plan: Plan, way: Way) -> Iterator[Run]:
    """The patches of a canvas as clips that are as long as can be; by nearest_slot, each one alone."""
    windows = [_window(patch.box, plan.video.spatial) for patch in plan.patches]
    looks = [
        (patch.frame - i, patch.placements, window)  # of frames in a row, frame - i is the same
        for i, (patch, window) in enumerate(zip(plan.patches, windows, strict=True))
    ]
    start = 0
    while start < len(looks):
        end = start + 1
        while end < len(looks) and looks[end] == looks[start] and way.patch_method != "nearest_slot":
            end += 1
        end -= (end - start - 1) % plan.video.temporal
        yield Run(plan.patches[start:end], windows[start])
        start = end


def _touched(run: Run, plan: Plan) -> int:
    """Cells of a run that boxes of its placements touch: those that are beside all of them do not become tokens."""
    placements = {placement.id: placement for placement in plan.document.placements}
    cells = torch.zeros(plan.video.latent_frames(len(run.patches)), *plan.given.shape[1:], dtype=torch.bool)
    for i, patch in enumerate(run.patches):
        for box in (placements[name].box_at(patch.frame) for name in patch.placements):
            window = _window((box.x, box.y, box.width, box.height), plan.video.spatial)
            cells[plan.video.latent_of(i)][window.within(run.window).pixels(1)] = True
    return int(cells.sum())


def _window(box: tuple[int, int, int, int], cell: int) -> Window:
    """The cells that a box of pixels (x, y, width, height) touches."""
    x, y, width, height = box
    return Window(y // cell, x // cell, -(-(y + height) // cell), -(-(x + width) // cell))


def _reference_window(document: Document, media: Media, cell: int) -> Window:
    """Where a reference lies on a canvas of its own, see `alone`."""
    frame = Box(x=0, y=0, width=document.width, height=document.height)
    height, width = fitted_size(media.height or 1, media.width or 1, frame, "contain")
    return _window(((document.width - width) // 2, (document.height - height) // 2, width, height), cell)


def _in_a_row(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Rising numbers, parted where one is left out."""
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [number for _, number in run]


# --- cells beside the clip


@dataclass(frozen=True, eq=False)
class Cells:
    """Clean latent cells. latents [128, N]; spans [3, N, 2]: first frame, row and column of the pixels that each of
    them stands for, and those after the last.
    """

    latents: Tensor
    spans: Tensor


@dataclass(frozen=True, eq=False)
class Appended:
    """Cells in n latent frames. latents [1, 128, n, h, w]; mask [1, 1, n, h, w]: 0 is clean, -1 is dropped; spans
    [1, 3, nhw, 2] of all cells, in whole numbers: core cuts others down.

    entry: of guide_attention_entries, which must count all cells for stock guides to be able to follow.
    """

    latents: Tensor
    mask: Tensor
    spans: Tensor

    @property
    def entry(self) -> dict[str, Any]:
        return {
            "pre_filter_count": self.spans.shape[2],
            "strength": 1.0,
            "pixel_mask": None,
            "latent_shape": list(self.latents.shape[2:]),
        }


def _appended(context: Sequence[Cells], height: int, width: int) -> Appended:
    """Puts cells into as few latent frames as there is need for, one after the other."""
    latents, spans = (torch.cat(parts, 1) for parts in zip(*[(one.latents, one.spans) for one in context], strict=True))
    count = latents.shape[1]
    frames = -(-count // (height * width))
    rest, shape = frames * height * width - count, (frames, height, width)
    return Appended(
        F.pad(latents, (0, rest)).unflatten(1, shape)[None],
        F.pad(torch.zeros(count), (0, rest), value=-1.0).view(1, 1, *shape),
        F.pad(spans, (0, 0, 0, rest))[None],
    )


# --- encoding


class _CanvasEncoder:
    """One canvas with its plan and what encodes it."""

    def __init__(self, canvas: Canvas, plan: Plan, way: Way, vae: comfy.sd.VAE, audio_vae: comfy.sd.VAE):
        self.canvas, self.plan, self.way, self.grid = canvas, plan, way, plan.video
        self.pixels, self.shape = Pixels(canvas), plan.given.shape[1:]
        references = [alone(canvas, reference, plan.video.temporal) for reference in canvas.document.references]
        self.references = [reference for reference in references if reference.document.placements]
        self.voices = [reference for reference in references if reference.document.sounds]
        in_context = way.patch_method != "latent_replacement"
        self.runs = tuple(_runs(plan, way)) if in_context else ()
        progress = comfy.utils.ProgressBar(
            int(plan.concat.flatten(1).any(1).sum())
            + sum(self.grid.latent_frames(len(run.patches)) for run in self.runs)
            + (0 if in_context else len(plan.patches))
            + sum(self.grid.latent_frames(reference.document.frames) for reference in self.references)
            + len(self.voices)
            + int(plan.audio_given.any())
        )
        self.video, self.audio = (Encoder(codec, plan.video, progress) for codec in (vae, audio_vae))

    # --- in the clip

    def clip(self) -> tuple[Tensor, Tensor]:
        """Latents of what is kept, 0 elsewhere [1, 128, T, h, w]; and which cells these are, bool [T, h, w].

        Kept cells are encoded as clips. Beside them goes on what they show: what is black there, as in the condition of
        SkyReels-V4, would reach into them through the VAE, and LTX-2 has not learnt what that means.
        """
        kept = self.plan.concat & self.plan.given
        latents = torch.zeros(1, VIDEO_CHANNELS, *kept.shape)
        for run in _in_a_row(kept.flatten(1).any(1).nonzero()[:, 0].tolist()):
            latents[:, :, run] = self._kept(run, kept).to(latents) * kept[run]
        for latent, picture, shown in self._stills():
            cells = self._cells(shown, torch.all) & ~kept[latent]
            if cells.any():
                still = self.video.picture(continued(picture, shown)).to(latents)
                latents[:, :, latent] = torch.where(cells, still[:, :, 0], latents[:, :, latent])
                kept[latent] |= cells
        return latents, kept

    def _kept(self, run: list[int], kept: Tensor) -> Tensor:
        """Latent frames in a row. One that begins later than the clip shows its first frame twice, as the first latent
        of what is encoded stands for one frame; it is left out, as in core's LTXVAddGuide.
        """
        first, twice = self.grid.frames_of(run[0])[0], int(run[0] > 0)

        def frame(f: int) -> Tensor:
            f = first + max(0, f - twice)
            return continued(self.pixels.frame(f).picture, self._pixels_of(kept[self.grid.latent_of(f)]))

        return self.video.clip(range(twice, twice + len(run)), frame)

    def _stills(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Single frames that stand for a whole latent frame: which one, the picture, and where it is shown.

        The last frame of each latent frame comes first, and has the first claim to its cells.
        """
        left = self.plan.concat & ~self.plan.given
        for latent in left.flatten(1).any(1).nonzero()[:, 0].tolist():
            for f in reversed(self.grid.frames_of(latent)):
                frame = self.pixels.frame(f)
                yield latent, frame.picture, frame.given & self._pixels_of(left[latent])
        if self.way.patch_method == "latent_replacement":
            for patch in reversed(self.plan.patches):
                yield self.grid.latent_of(patch.frame), *self.pixels.patch(patch.frame, patch.placements)

    def _pixels_of(self, cells: Tensor) -> Tensor:
        """[h, w] -> [H, W]"""
        return cells.repeat_interleave(self.grid.spatial, 0).repeat_interleave(self.grid.spatial, 1)

    # --- beside the clip

    def context(self) -> list[Cells]:
        """References before the clip, patches at their frames."""
        return [*self._references(), *map(self._patches, self.runs)]

    def _references(self) -> Iterator[Cells]:
        """Pictures and clips, one after the other as if each latent had 8 frames, so that none touches another."""
        step = self.grid.temporal
        latents = [self.grid.latent_frames(reference.document.frames) for reference in self.references]
        first = -step * sum(latents)
        for reference, count in zip(self.references, latents, strict=True):
            pixels, (media,) = Pixels(reference), reference.document.media.values()

            def draw(f: int, pixels: Pixels = pixels) -> tuple[Tensor, Tensor]:
                frame = pixels.frame(f)
                return frame.picture, frame.given

            window = _reference_window(self.canvas.document, media, self.grid.spatial)
            yield self._shown(window, draw, self._spans(first, count))
            first += step * count

    def _patches(self, run: Run) -> Cells:
        first = run.patches[0]
        if self.way.patch_method == "nearest_slot":
            spans = [self.grid.frames_of(int(first.time + 0.5))]  # halves: to the slot that holds the frame
        else:
            spans = self._spans(first.frame, self.grid.latent_frames(len(run.patches)))

        def draw(i: int) -> tuple[Tensor, Tensor]:
            return self.pixels.patch(run.patches[i].frame, run.patches[i].placements)

        return self._shown(run.window, draw, spans, padded=self.way.patch_layout == "zero_padded")

    def _spans(self, first: int, count: int) -> list[range]:
        """Frames of the latents of a clip that begins at frame `first`."""
        latents = map(self.grid.frames_of, range(count))
        return [range(first + frames.start, first + frames.stop) for frames in latents]

    def _shown(self, window: Window, draw: Draw, spans: Sequence[range], padded: bool = False) -> Cells:
        """The cells of a window that show anything, encoded as a clip of as many latents as there are spans.

        A cell that shows something in a part of it goes on beside that with the nearest pixel; padded: stays grey.
        """
        window = Window(0, 0, *self.shape) if padded else window.encoded(*self.shape)
        place, cells = window.pixels(self.grid.spatial), torch.zeros(len(spans), *self.shape, dtype=torch.bool)

        def frame(f: int) -> Tensor:
            picture, shown = draw(f)
            cells[self.grid.latent_of(f)] |= self._cells(shown, torch.any)
            return (picture if padded else continued(picture, shown))[place]

        latents = self.video.clip(range(len(spans)), frame)[0]  # which draws all frames
        t, row, column = cells.nonzero(as_tuple=True)
        latents = latents[:, t, row - window.top, column - window.left]
        times = torch.tensor([(frames.start, frames.stop) for frames in spans])[t]
        rows, columns = (self.grid.spatial * (first[:, None] + torch.arange(2)) for first in (row, column))
        return Cells(latents.cpu().float(), torch.stack([times, rows, columns]))

    def _cells(self, pixels: Tensor, of: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Cells of which any or all pixels (torch.any, torch.all) are marked. [H, W] -> [h, w]"""
        step = self.grid.spatial
        return of(of(pixels.unflatten(1, (-1, step)).unflatten(0, (-1, step)), 3), 1)

    # --- sound

    def sound(self) -> Tensor:
        """Latents of the sound that is given; 0 elsewhere. [1, 8, L, 16]"""
        given = self.plan.audio_given
        latents = torch.zeros(1, AUDIO_CHANNELS, len(given), AUDIO_BINS)
        if given.any():
            waveform = mix(self.canvas, self.plan.audio.sample_rate).waveform
            latents += self._heard(waveform, len(given)).to(latents) * given[:, None]
        return latents

    def voice(self) -> Tensor:
        """All voices as one, which core places before the clip: tokens [1, L, 128]."""
        latents = []
        for voice in self.voices:
            heard = mix(voice, self.plan.audio.sample_rate)
            count = self.plan.audio.latents(int(heard.given.sum()) / self.plan.audio.sample_rate)
            latents.append(self._heard(heard.waveform[:, heard.given], count))
        return torch.cat(latents, 2).movedim(2, 1).flatten(2).cpu().float()

    def _heard(self, waveform: Tensor, latents: int) -> Tensor:
        """So many latents of a sound [C, S], with silence after its end. [1, 8, latents, 16]"""
        samples = latents * self.plan.audio.hop
        samples += -samples % AUDIO_STEP
        return self.audio.sound(F.pad(waveform, (0, samples - waveform.shape[1])))[:, :, :latents]


# --- what cannot be honoured


def _limits(carrier: Ltx2Carrier, plan: Plan, way: Way) -> Iterator[Note]:
    in_context = bool(plan.patches) and way.patch_method != "latent_replacement"
    in_context |= any(plan.document.media[reference.media].kind != "sound" for reference in plan.document.references)
    if in_context and "context_handler" in carrier.model.model_options:
        yield Note(
            "warning",
            f"Context windows put patches and references of {carrier.version} to other frames and places than those of "
            "the canvas. Take the node off the model, and make long clips with 'Extend Clip'.",
        )
    yield from _of_patches(carrier.version, plan, way)
    yield from _of_references(carrier.version, plan.document)
    yield from _of_sizes(carrier, plan.document)


def _of_patches(version: str, plan: Plan, way: Way) -> Iterator[Note]:
    document, cell = plan.document, plan.video.spatial
    if stills := (plan.concat & ~plan.given).flatten(1).any(1).nonzero()[:, 0].tolist():
        yield Note(
            "warning",
            f"What fills cells on some frames only stands still in latent {span(stills)}: {version} has no channels "
            "for conditions, so it is put into the clip. With the routing auto it is a patch at its own frame.",
        )
    if not plan.patches:
        return
    if way.patch_method == "latent_replacement":
        frames = span(patch.frame for patch in plan.patches)
        yield Note(
            "warning",
            f"latent_replacement: patches on {frames} stand still for {plan.video.temporal} frames, as long as a "
            f"latent lasts. The model does not see what fills no whole cell of {cell} x {cell} pixels.",
        )
        return
    if way.patch_method not in PATCH_METHODS:
        yield Note(
            "warning",
            f"{version} has no {way.patch_method} of patches: rope_interpolation is used, each at its own frame.",
        )
    if parts := [patch.frame for patch in plan.patches if patch.box != (0, 0, document.width, document.height)]:
        yield Note(
            "info",
            f"{version} has learnt to follow whole frames. Parts of frames, here on {span(parts)}, reach it in the "
            "same way, but how well it follows them depends on the weights.",
        )
    if uneven := [patch.frame for patch in plan.patches if any(edge % cell for edge in patch.box)]:
        beside = "grey" if way.patch_layout == "zero_padded" else "filled with the nearest pixels"
        yield Note(
            "info",
            f"Patches on {span(uneven)} end inside of cells of {cell} x {cell} pixels: the rest of these is {beside}. "
            f"Boxes at multiples of {cell} avoid it.",
        )


def _of_references(version: str, document: Document) -> Iterator[Note]:
    heard = {reference.tag: document.media[reference.media].kind == "sound" for reference in document.references}
    seen, voices = ([tag for tag, sounds in heard.items() if sounds == kind] for kind in (False, True))
    if seen:
        yield Note(
            "warning",
            f"{version} has not learnt what {listed(seen)} in a prompt means. The model sees references before the "
            "clip begins; to be sure, load an IC-LoRA made for them, or place the picture on the canvas.",
        )
    if len(voices) > 1:
        yield Note("warning", f"{version} hears one voice: {listed(voices)} are heard one after the other, as one.")
    if voices:
        yield Note("info", f"{version} has learnt voices ({listed(voices)}) with an ID-LoRA only: load one with it.")


def _of_sizes(carrier: Ltx2Carrier, document: Document) -> Iterator[Note]:
    seconds, *sides = carrier.network.positional_embedding_max_pos
    if round(document.fps) not in FRAME_RATES:
        yield Note(
            "info",
            f"The canvas has {document.fps:g} fps, ComfyUI's templates for LTX-2 have 24 or 25: a rate far from these "
            "is at your own risk.",
        )
    if document.seconds > seconds:
        yield Note(
            "info", f"The canvas lasts {document.seconds:.1f} s, {carrier.version} is made for {seconds} s at most."
        )
    if min(document.height, document.width) < LEAST * carrier.video.spatial:
        yield Note(
            "warning",
            f"The canvas is {document.width}x{document.height} pixels, ComfyUI's nodes make clips for LTX-2 of "
            f"{LEAST * carrier.video.spatial} at least: the VAE may fail to decode a smaller one.",
        )
    if max(document.height, document.width) > max(sides):
        yield Note(
            "info",
            f"The canvas is {document.width}x{document.height} pixels, {carrier.version} is made for {max(sides)} at "
            "most.",
        )
