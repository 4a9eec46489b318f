"""A canvas with its media: the document says what lies where, tensors keyed by content hold the pixels and samples.

Nothing here changes a canvas: each method returns a new one that shares the tensors. They are taken as they are, not
copied, as everywhere in ComfyUI: whoever hands one in does not write to it afterwards.
"""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from .document import (
    MAX_SECONDS,
    TAG_OF_KIND,
    Action,
    Box,
    BoxRegion,
    CanvasError,
    Document,
    Fit,
    Key,
    Kind,
    MaskRegion,
    Media,
    Model,
    Placement,
    Reference,
    Role,
    Sound,
    SpanRegion,
)
from .errors import shown

EMPTY: Mapping[str, tuple[Tensor, Media]] = MappingProxyType({})
FIRST_TAG = {"image": 1, "clip": 1, "sound": 0}  # @image_1, @video_1, @audio_0, as SkyReels-V4 numbers them

# Loudspeakers in the order of WAVE files with that many channels: front Left and Right, Centre, sub (*), left and
# right of the back or the sides, centre of the back
SPEAKERS = {3: "LRC", 4: "LRlr", 5: "LRClr", 6: "LRC*lr", 7: "LRC*clr", 8: "LRC*lrlr"}
# What each gives to the left and to the right, as ITU-R BS.775 has it
GAINS = {
    "L": (1.0, 0.0),
    "R": (0.0, 1.0),
    "C": (math.sqrt(0.5), math.sqrt(0.5)),
    "*": (0.0, 0.0),
    "l": (math.sqrt(0.5), 0.0),
    "r": (0.0, math.sqrt(0.5)),
    "c": (0.5, 0.5),
}


@dataclass(frozen=True)
class Canvas:
    """A document and its media, float32 on the CPU, by their names in the document.

    An image is [1, H, W, 3], a clip [F, H, W, 3], a mask [T, H, W], all in 0..1; a sound [1 or 2, samples]. Canvases
    are equal if their documents are, for media are named by their content. CanvasError if a tensor is missing or of
    another size than the document says.
    """

    document: Document
    media: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, facts in self.document.media.items():
            if name not in self.media:
                raise CanvasError(f"media {name} (from {facts.origin}) is not there: load it first")
            shape, needed = list(self.media[name].shape), _shape(facts)
            if shape != needed:
                raise CanvasError(f"media {name} has shape {shape}: the document says {needed}")
        media = {name: self.media[name] for name in self.document.media}
        object.__setattr__(self, "media", MappingProxyType(media))

    @classmethod
    def new(cls, width: int, height: int, frames: int, fps: float) -> "Canvas":
        """An empty canvas. width, height: pixels; fps: frames per second."""
        return cls(Document(width=width, height=height, frames=frames, fps=fps))

    @classmethod
    def open(cls, document: Document, read: Callable[[Media], tuple[Tensor, float | None]]) -> "Canvas":
        """A document with its media loaded, and with all that is known of them now.

        read: gives the tensor of one, and its frames per second or sample rate (None of an image or mask).
        """
        facts, media = {}, {}
        for name, said in document.media.items():
            media[name], found = _take(said.kind, *read(said))
            for fact in found.facts:
                value, seen = getattr(said, fact), getattr(found, fact)
                if value not in (None, seen):
                    raise CanvasError(f"media.{name}.{fact} is {value}, but {said.origin} has {seen}")
            facts[name] = Media(**{**dict(found), "file": said.file, "input": said.input})
        return cls(document.replace(media=facts), media)

    # --- pictures

    def place_image(
        self,
        image: Tensor,
        *,
        frame: int = 0,
        box: Box | None = None,
        to: Box | None = None,
        frames: int = 1,
        fit: Fit = "stretch",
        alpha: Tensor | None = None,
        role: Role = "keep",
    ) -> "Canvas":
        """Shows an image [1, H, W, 3 or 4] for some frames.

        box: None is the image's own size at (0, 0). to: where the box has moved to at the last frame.
        alpha: opacity [1 or frames, H, W], times the image's own if it has four channels.
        """
        pixels, facts, mask = _opaque("image", image, None, alpha, frames)
        placed = {"frame": frame, "frames": frames, "path": _path(frames, to), "fit": fit, "role": role}
        return self._place(pixels, facts, mask, box, **placed)

    def place_clip(
        self,
        images: Tensor,
        fps: float,
        *,
        frame: int = 0,
        box: Box | None = None,
        to: Box | None = None,
        frames: int | None = None,
        fit: Fit = "stretch",
        alpha: Tensor | None = None,
        role: Role = "keep",
        start: float = 0.0,
    ) -> "Canvas":
        """Shows a clip [F, H, W, 3 or 4] of `fps` frames per second, from `start` seconds of it on.

        At another rate than the canvas' it is resampled by time. frames: None is all that is left of it, up to the
        end of the canvas. alpha: opacity [1 or F, H, W], times the clip's own. box, to: as for an image.
        """
        pixels, facts, mask = _opaque("clip", images, fps, alpha, len(images))
        if frames is None:
            steps = range(self._rest(frame) if 0 <= start <= MAX_SECONDS else 0)
            frames = bisect_left(steps, len(pixels), key=lambda i: facts.frame_at(i / self.document.fps + start))
            frames = max(frames, 1)  # if nothing is left, the document says why not
        placed = {"frame": frame, "frames": frames, "path": _path(frames, to), "fit": fit, "role": role}
        return self._place(pixels, facts, mask, box, **placed, start=start)

    def _place(self, pixels: Tensor, facts: Media, mask: Tensor | None, box: Box | None, **placed: Any) -> "Canvas":
        media = {"media": (pixels, facts)} | ({} if mask is None else {"alpha": (mask, _facts("mask", mask))})
        box = box or Box(x=0, y=0, width=pixels.shape[2], height=pixels.shape[1])
        return self._with("placements", Placement, media, id=self._free_id("placement"), box=box, **placed)

    # --- sound

    def place_sound(
        self,
        waveform: Tensor,
        sample_rate: int,
        *,
        time: float = 0.0,
        start: float = 0.0,
        duration: float | None = None,
    ) -> "Canvas":
        """Plays a sound [C, samples] or [1, C, samples] at `time` seconds, from `start` seconds of it on.

        duration: None is all that is left of it, up to the end of the canvas. 3 to 8 channels are mixed down to two.
        """
        samples, facts = _sound(waveform, sample_rate)
        if duration is None:
            left = min(samples.shape[1] / sample_rate - start, self.document.seconds - time)
            duration = max(left, 1 / sample_rate)  # if nothing is left, the document says why not
        placed = {"time": time, "start": start, "duration": duration}
        return self._with("sounds", Sound, {"media": (samples, facts)}, id=self._free_id("sound"), **placed)

    # --- regions

    def region_box(
        self, action: Action, box: Box, *, frame: int = 0, frames: int | None = None, to: Box | None = None
    ) -> "Canvas":
        """Makes the pixels in a box again, or keeps them. frames: None is up to the end of the canvas."""
        frames = self._rest(frame) if frames is None else frames
        moving: dict[str, Any] = {"box": box, "path": _path(frames, to), "frame": frame, "frames": frames}
        return self._with("regions", BoxRegion, id=self._free_id("region"), action=action, **moving)

    def region_mask(
        self,
        action: Action,
        mask: Tensor,
        *,
        frame: int = 0,
        frames: int | None = None,
        box: Box | None = None,
        to: Box | None = None,
    ) -> "Canvas":
        """Makes the pixels under a mask [T, H, W] again, or keeps them.

        frames: None is as many as the mask has, up to the end of the canvas; a mask of one frame then holds up to
        there. box: where it lies, H high and W wide; None is the whole canvas. to: where it has moved to at the last
        frame.
        """
        mask = _mask(mask, "mask")
        if frames is None:
            frames = self._rest(frame) if len(mask) == 1 else min(len(mask), self._rest(frame))
            mask = mask[:frames]
        media = {"media": (mask, _facts("mask", mask))}
        box = box or Box(x=0, y=0, width=self.document.width, height=self.document.height)
        placed: dict[str, Any] = {"frame": frame, "frames": frames, "box": box, "path": _path(frames, to)}
        return self._with("regions", MaskRegion, media, id=self._free_id("region"), action=action, **placed)

    def region_sound(self, action: Action, time: float, duration: float) -> "Canvas":
        """Makes a span of sound again, or keeps it; both in seconds."""
        span: dict[str, Any] = {"time": time, "duration": duration}
        return self._with("regions", SpanRegion, id=self._free_id("region"), action=action, **span)

    # --- references

    def reference(
        self,
        media: Tensor,
        *,
        kind: Literal["image", "clip", "sound"],
        tag: str | None = None,
        fps: float | None = None,
        sample_rate: int | None = None,
    ) -> "Canvas":
        """Adds an image [1, H, W, 3 or 4], a clip [F, H, W, 3 or 4] or a sound that the prompt calls by its tag.

        tag: None is the next free @image_n, @video_n or @audio_n. fps: None is the canvas'. What is transparent
        becomes black.
        """
        if kind not in TAG_OF_KIND:
            raise CanvasError(f"kind is {shown(kind)}: use {' or '.join(map(shown, TAG_OF_KIND))}")
        if kind == "sound":
            tensor, facts = _sound(media, sample_rate)
        else:
            tensor, opacity = _picture(kind, media)
            tensor = tensor if opacity is None else tensor * opacity[..., None]
            facts = _facts(kind, tensor, self.document.fps if fps is None else fps)
        tag = self._free_tag(kind) if tag is None else tag
        return self._with("references", Reference, {"media": (tensor, facts)}, tag=tag)

    # ---

    def _with(
        self, items: str, item: type[Model], media: Mapping[str, tuple[Tensor, Media]] = EMPTY, **fields: Any
    ) -> "Canvas":
        """With one more item in one of the document's lists. media: what fields of the item name, and its facts."""
        facts, tensors = dict(self.document.media), dict(self.media)
        for role, (tensor, known) in media.items():
            name = fields[role] = content_id(tensor, known)
            facts[name], tensors[name] = known, tensor
        grown = {items: (*getattr(self.document, items), item(**fields))}
        return Canvas(self.document.replace(media=facts, **grown), tensors)

    def _rest(self, frame: int) -> int:
        """Frames from that one to the end of the canvas; 1 if it lies outside, which the document then says."""
        return max(self.document.frames - frame, 1)

    def _free_id(self, kind: str) -> str:
        d = self.document
        taken = {item.id for items in (d.placements, d.sounds, d.regions) for item in items}
        return next(name for i in range(1, len(taken) + 2) if (name := f"{kind}_{i}") not in taken)

    def _free_tag(self, kind: str) -> str:
        taken = {reference.tag.lower() for reference in self.document.references}
        numbers = range(FIRST_TAG[kind], FIRST_TAG[kind] + len(taken) + 1)
        return next(tag for i in numbers if (tag := f"{TAG_OF_KIND[kind]}{i}") not in taken)


def _path(frames: int, to: Box | None) -> tuple[Key, ...]:
    """The path of a box that has moved there at the last of its frames."""
    if to is None:
        return ()
    if frames == 1:
        raise CanvasError("to is given, but frames is 1: a box that moves needs 2 or more")
    return (Key(at=frames - 1, box=to),) if isinstance(frames, int) and frames > 1 else ()  # else `frames` is refused


# --- media


def content_id(tensor: Tensor, facts: Media) -> str:
    """Name of a media tensor: the same numbers in the same shape, of the same kind and rate, have the same name."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{facts.kind} {facts.fps} {facts.sample_rate} {tensor.dtype} {list(tensor.shape)} ".encode())
    digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return f"blake2b-{digest.hexdigest()}"


def _facts(kind: Kind, tensor: Tensor, fps: float | None = None) -> Media:
    """Facts of a picture or mask. fps: read of a clip only."""
    frames, height, width = tensor.shape[:3]
    return Media(
        kind=kind,
        width=width,
        height=height,
        frames=None if kind == "image" else frames,
        fps=fps if kind == "clip" else None,
    )


def _shape(facts: Media) -> list[int | None]:
    """Shape of the tensor that belongs to it."""
    if facts.kind == "sound":
        return [min(facts.channels or 0, 2), facts.samples]
    frames = 1 if facts.kind == "image" else facts.frames
    return [frames, facts.height, facts.width, *([] if facts.kind == "mask" else [3])]


def _take(kind: Kind, tensor: Tensor, rate: Any) -> tuple[Tensor, Media]:
    """Any media as a canvas holds it, and its facts. rate: of a clip or sound."""
    if kind == "sound":
        return _sound(tensor, rate)
    if kind == "mask":
        mask = _mask(tensor, "mask")
        return mask, _facts(kind, mask)
    pixels, opacity = _picture(kind, tensor)
    if opacity is not None:
        raise CanvasError(f"the {kind} has 4 channels: its opacity is a mask of its own")
    return pixels, _facts(kind, pixels, rate)


def _opaque(
    kind: Kind, images: Tensor, fps: float | None, alpha: Tensor | None, frames: int
) -> tuple[Tensor, Media, Tensor | None]:
    """Colours [F, H, W, 3], their facts, and the opacity [1 or frames, H, W] unless it is 1 everywhere."""
    pixels, opacity = _picture(kind, images)
    if alpha is not None:
        mask = _mask(alpha, "alpha")
        height, width = pixels.shape[1:3]
        if mask.shape[1:] != (height, width):
            raise CanvasError(f"alpha is {mask.shape[2]}x{mask.shape[1]}, the {kind} {width}x{height}: use equal sizes")
        if len(mask) not in (1, frames):
            raise CanvasError(f"alpha has {len(mask)} frames: use {'1' if frames == 1 else f'1 or {frames}'}")
        opacity = mask if opacity is None else mask * opacity
    if opacity is not None and opacity.min() == 1:
        opacity = None
    return pixels, _facts(kind, pixels, fps), opacity


def _picture(kind: Kind, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Colours [F, H, W, 3], and opacity [F, H, W] if there is a fourth channel."""
    if images.ndim != 4 or images.shape[-1] not in (3, 4):
        raise CanvasError(f"the {kind} has shape {list(images.shape)}: use [frames, height, width, 3 or 4]")
    if kind == "image" and len(images) > 1:
        raise CanvasError(f"the image is a batch of {len(images)}: use it as a clip, or pick one")
    pixels = _numbers(images[..., :3], kind)
    return pixels, _numbers(images[..., 3], kind) if images.shape[-1] == 4 else None


def _mask(mask: Tensor, name: str) -> Tensor:
    """[T, H, W], also of [H, W]."""
    if mask.ndim not in (2, 3):
        raise CanvasError(f"the {name} has shape {list(mask.shape)}: use [frames, height, width]")
    return _numbers(mask if mask.ndim == 3 else mask[None], name)


def _sound(waveform: Tensor, sample_rate: Any) -> tuple[Tensor, Media]:
    """At most two channels [C, samples], and the facts of the source."""
    if waveform.ndim == 3 and len(waveform) == 1:
        waveform = waveform[0]
    if waveform.ndim != 2:
        raise CanvasError(f"the sound has shape {list(waveform.shape)}: use [channels, samples]")
    waveform = _numbers(waveform, "sound", clamp=False)
    channels, samples = waveform.shape
    facts = Media(kind="sound", samples=samples, sample_rate=sample_rate, channels=channels)
    if channels <= 2:
        return waveform, facts
    if channels not in SPEAKERS:
        raise CanvasError(f"the sound has {channels} channels: use 1 to {max(SPEAKERS)}")
    gains = torch.tensor([GAINS[speaker] for speaker in SPEAKERS[channels]]).T  # [2, channels]
    return gains / gains.sum(1, keepdim=True) @ waveform, facts  # so scaled that nothing clips that has not clipped


def _numbers(tensor: Tensor, name: str, clamp: bool = True) -> Tensor:
    """As float32 on the CPU, in 0..1 if clamped; CanvasError if it is empty, of whole numbers, or not finite."""
    if not tensor.is_floating_point():
        raise CanvasError(f"the {name} is of {tensor.dtype}: use floating point numbers")
    if tensor.numel() == 0:
        raise CanvasError(f"the {name} is empty, of shape {list(tensor.shape)}: use one that has something in it")
    tensor = tensor.detach().to("cpu", torch.float32).contiguous()
    low, high = (float(bound) for bound in tensor.aminmax())  # NaN if anything is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CanvasError(f"the {name} holds NaN or infinity: use finite numbers")
    return tensor.clamp(0, 1) if clamp and (low < 0 or high > 1) else tensor  # no copy of what is in range anyway
