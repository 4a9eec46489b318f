"""The canvas as a document: what an artist asks for, as plain, immutable data that is checked as a whole.

Units: pixels and frames, and seconds for sound. Python and the editor in the browser share one JSON form:
`Document.parse` reads it and says in plain words what is wrong, `Document.json` writes it canonically (RFC 8785), so
that both compute the same digest. tests/vectors/canvas holds examples for readers in any language.
"""

import hashlib
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import count, islice, pairwise
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from .errors import CanvasError, in_words, listed, shown

FORMAT: Final = "skycanvas"
VERSION: Final = 2
MAX_JSON = 4 * 2**20  # bytes
MAX_PLACEMENTS = 1000  # also of sounds and of regions
MAX_REFERENCES = 64
MAX_SIDE = 16384  # pixels
MAX_FRAMES = 100_000
MAX_SECONDS = 1_000_000
Migrations = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
TAG = r"@[A-Za-z]\w*(-\w+)*"
TAG_OF_KIND = {"image": "@image_", "clip": "@video_", "sound": "@audio_"}


# --- values


def _name(text: str) -> str:
    if not text.isprintable():
        raise CanvasError("use printable characters only")
    return text


def _file(text: str) -> str:
    # Windows drops spaces and dots at the end of a name, so ".. " may lead up as ".." does
    if "\\" in text or ":" in text or any(not part.strip(" .") for part in text.split("/")):
        raise CanvasError("use the name of a file inside ComfyUI's input folder, as picture.png or folder/picture.png")
    return text


def _tag(text: str) -> str:
    if not re.fullmatch(TAG, text, re.ASCII):
        raise CanvasError("use a tag such as @image_1, @video_1, @audio_0 or @Actor-0")
    return text


Frame = Annotated[int, Field(strict=True, ge=0, lt=MAX_FRAMES)]
Frames = Annotated[int, Field(strict=True, ge=1, le=MAX_FRAMES)]
Coordinate = Annotated[int, Field(strict=True, ge=-MAX_SIDE, le=MAX_SIDE)]
Side = Annotated[int, Field(strict=True, ge=1, le=MAX_SIDE)]
Count = Annotated[int, Field(strict=True, ge=1, le=2**40)]
Rate = Annotated[float, Field(strict=True, ge=0.1, le=1000)]  # frames per second
Time = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS)]
Duration = Annotated[float, Field(strict=True, gt=0, le=MAX_SECONDS)]
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
File = Annotated[Name, AfterValidator(_file)]
Kind = Literal["image", "clip", "sound", "mask"]
Fit = Literal["stretch", "contain", "cover"]
Role = Literal["keep", "guide"]
Action = Literal["generate", "keep"]


class Model(BaseModel):
    """Immutable and strict: an unknown field, text for a number, or NaN is a CanvasError."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise CanvasError(in_words(error)) from None

    # pydantic need not come through here for a model inside a model: its own errors know the whole path of a field
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class Box(Model):
    """Pixels of the canvas, from its top left corner; may reach outside the frame."""

    x: Coordinate
    y: Coordinate
    width: Side
    height: Side

    def touches(self, width: int, height: int) -> bool:
        """Whether any of it lies in a frame of that size."""
        return self.x < width and self.y < height and self.x + self.width > 0 and self.y + self.height > 0


class Media(Model):
    """Facts of one image, clip, sound or mask. Those that concern its kind are known, or `file` says where to look.

    file: name in ComfyUI's input folder; None for what arrives through a wire.
    channels: of the source; more than two are mixed down to two before anything else. input: name of the node's input
    that it comes through, where the document is drawn in the editor; facts may then be open as well.
    """

    kind: Kind
    width: Side | None = None
    height: Side | None = None
    frames: Count | None = None
    fps: Rate | None = None
    samples: Count | None = None
    sample_rate: Count | None = None
    channels: Count | None = None
    file: File | None = None
    input: Name | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return self.file or self.input or "a wire"

    @property
    def facts(self) -> tuple[str, ...]:
        """The fields that concern its kind."""
        return {
            "image": ("width", "height"),
            "clip": ("width", "height", "frames", "fps"),
            "sound": ("samples", "sample_rate", "channels"),
            "mask": ("width", "height", "frames"),
        }[self.kind]

    @property
    def seconds(self) -> float | None:
        """Length of a clip or sound, if known."""
        if self.kind == "clip" and self.frames and self.fps:
            return self.frames / self.fps
        if self.samples and self.sample_rate:
            return self.samples / self.sample_rate
        return None

    def frame_at(self, seconds: float) -> int:
        """The frame that a clip shows at that time of it; 0 of an image, or while its rate is not known."""
        # the small number keeps a time that rounding has put just before a frame from showing the frame before
        return 0 if self.fps is None else math.floor(seconds * self.fps + 1e-6)

    def frames_at(self, fps: float) -> int:
        """How many frames a clip lasts at another rate."""
        return bisect_left(range(MAX_FRAMES), self.frames or 1, key=lambda frame: self.frame_at(frame / fps))

    @model_validator(mode="after")
    def _check(self) -> "Media":
        if self.file is not None and self.input is not None:
            raise CanvasError(f"input is {shown(self.input)}, and file {shown(self.file)}: give one of them")
        for field in type(self).model_fields:
            known = getattr(self, field) is not None
            if field in self.facts and not known and self.file is None and self.input is None:
                raise CanvasError(f"{field} is missing: it may be left open only where a file or an input is named")
            if known and field not in (*self.facts, "kind", "file", "input"):
                raise CanvasError(f"{field} is {shown(getattr(self, field))}: leave it out, of kind {self.kind}")
        return self


class Key(Model):
    """Where a moving box is, `at` frames after its first."""

    at: Annotated[int, Field(strict=True, ge=1, lt=MAX_FRAMES)]
    box: Box


class Moving(Model):
    """A box on `frames` frames from `frame` on. It moves from key to key of its path, and stays at the last."""

    frame: Frame
    frames: Frames
    box: Box
    path: Annotated[tuple[Key, ...], Field(max_length=MAX_PLACEMENTS)] = ()

    def box_at(self, frame: int) -> Box:
        """The box at that frame of the canvas. Between keys its edges move linearly, rounded (half up) to pixels."""
        step = frame - self.frame
        after = bisect_right(self.path, step, key=lambda key: key.at)
        begin, a = (self.path[after - 1].at, self.path[after - 1].box) if after else (0, self.box)
        if after == len(self.path) or (b := self.path[after].box) == a:
            return a
        steps, step = self.path[after].at - begin, step - begin

        def edge(first: int, last: int) -> int:
            return (2 * (first * steps + (last - first) * step) + steps) // (2 * steps)

        left, top = edge(a.x, b.x), edge(a.y, b.y)
        right, bottom = edge(a.x + a.width, b.x + b.width), edge(a.y + a.height, b.y + b.height)
        return Box(x=left, y=top, width=right - left, height=bottom - top)

    def touches(self, width: int, height: int) -> bool:
        """Whether any of it, at any time, lies in a frame of that size."""
        boxes = [self.box, *(key.box for key in self.path)]
        if any(box.touches(width, height) for box in boxes):
            return True
        steps = [0, *(key.at for key in self.path)]
        return any(self._flies_through(range(a, b + 1), width, height) for a, b in pairwise(steps))

    def _flies_through(self, steps: range, width: int, height: int) -> bool:
        """Whether it touches the frame on one of these steps, from one key to the next, which lie outside."""
        # Every edge moves one way only, so each of these holds up to a step or from a step on.
        inside: tuple[Callable[[Box], bool], ...] = (
            lambda box: box.x < width,
            lambda box: box.x + box.width > 0,
            lambda box: box.y < height,
            lambda box: box.y + box.height > 0,
        )
        begin, end = 0, len(steps)
        first, last = (self.box_at(self.frame + step) for step in (steps[0], steps[-1]))
        for test in inside:
            if test(last):
                begin = max(begin, bisect_left(steps, True, key=lambda step: test(self.box_at(self.frame + step))))
            elif test(first):
                end = min(end, bisect_left(steps, True, key=lambda step: not test(self.box_at(self.frame + step))))
            else:
                return False
        return begin < end

    @model_validator(mode="after")
    def _check_path(self) -> "Moving":
        before = 0
        for i, key in enumerate(self.path):
            if not before < key.at < self.frames:
                between = f"{before + 1} to {self.frames - 1}" if before + 1 < self.frames else "fewer keys"
                raise CanvasError(f"path[{i}].at is {key.at}, of {self.frames} frames: use {between}")
            before = key.at
        return self


class Placement(Moving):
    """An image or a clip in space and time.

    fit: how it fills its box. role: its pixels are given ("keep") or followed ("guide"). start: seconds into the clip.
    alpha: mask of the media's own size, with one frame, one for each frame of the clip, or one for each frame that an
    image is shown.
    """

    id: Name
    media: Name
    fit: Fit = "stretch"
    alpha: Name | None = None
    role: Role = "keep"
    start: Time = 0.0


class Sound(Model):
    """`duration` seconds of a sound, from `start` in it, at `time` on the canvas; all in seconds."""

    id: Name
    media: Name
    time: Time = 0.0
    start: Time = 0.0
    duration: Duration


class BoxRegion(Moving):
    """Pixels in a box that are made again or kept."""

    kind: Literal["box"] = "box"
    id: Name
    action: Action


class MaskRegion(Moving):
    """Pixels under a mask, which lies in a box of its own size; one frame of it holds for all of the region's."""

    kind: Literal["mask"] = "mask"
    id: Name
    action: Action
    media: Name

    @model_validator(mode="after")
    def _check_size(self) -> "MaskRegion":
        for i, key in enumerate(self.path):
            if (key.box.width, key.box.height) != (self.box.width, self.box.height):
                raise CanvasError(
                    f"path[{i}].box is {key.box.width}x{key.box.height}, the mask is {self.box.width}x"
                    f"{self.box.height}: a mask moves, but keeps its size"
                )
        return self


class SpanRegion(Model):
    """Seconds of sound that are made again or kept."""

    kind: Literal["span"] = "span"
    id: Name
    action: Action
    time: Time
    duration: Duration


Region = Annotated[BoxRegion | MaskRegion | SpanRegion, Field(discriminator="kind")]


class Reference(Model):
    """An image, clip or voice that the prompt calls by its tag."""

    tag: Annotated[str, Field(max_length=255), AfterValidator(_tag)]
    media: Name


# --- the document


class Document(Model):
    """A whole canvas. Equal documents have equal digests; every one that exists is consistent in itself.

    Order matters: the later placement wins a pixel that two opaque ones claim, sounds add up, and regions apply after
    all placements, one after the other.
    """

    format: Literal["skycanvas"] = FORMAT
    version: Literal[2] = VERSION
    width: Side
    height: Side
    frames: Frames
    fps: Rate
    media: Annotated[Mapping[Name, Media], AfterValidator(MappingProxyType), PlainSerializer(dict)] = Field(
        default={}, validate_default=True
    )
    placements: Annotated[tuple[Placement, ...], Field(max_length=MAX_PLACEMENTS)] = ()
    sounds: Annotated[tuple[Sound, ...], Field(max_length=MAX_PLACEMENTS)] = ()
    regions: Annotated[tuple[Region, ...], Field(max_length=MAX_PLACEMENTS)] = ()
    references: Annotated[tuple[Reference, ...], Field(max_length=MAX_REFERENCES)] = ()

    @property
    def seconds(self) -> float:
        """Length of the canvas."""
        return self.frames / self.fps

    def clip_frame(self, placement: Placement, frame: int) -> int:
        """The frame of its media that a placement shows at a frame of the canvas: resampled by time, 0 of an image."""
        return self.media[placement.media].frame_at((frame - placement.frame) / self.fps + placement.start)

    @classmethod
    def parse(cls, text: str, migrations: Migrations | None = None) -> "Document":
        """Reads the JSON of this version or of one that `migrations` (MIGRATIONS) lead from, else CanvasError."""
        size = len(text) if len(text) > MAX_JSON else len(text.encode("utf-8", "surrogatepass"))
        if size > MAX_JSON:
            raise CanvasError(f"the canvas has {size} bytes: use at most {MAX_JSON}, and keep media in files")
        try:
            data = json.loads(text, object_pairs_hook=_no_repeats, parse_int=_integer)
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise CanvasError(f"the canvas is no JSON: {error.msg} at {place}") from None
        except RecursionError:
            raise CanvasError("the canvas is nested too deeply: a canvas needs 5 levels") from None
        return cls(**migrate(data, MIGRATIONS if migrations is None else migrations))

    def json(self) -> str:  # type: ignore[override]  # the one of pydantic 1 has gone
        """Canonical text: keys sorted, no spaces, numbers as JavaScript writes them (RFC 8785)."""
        return _canonical(self)

    def digest(self) -> str:
        """SHA-256 of the canonical text, in hex."""
        return hashlib.sha256(self.json().encode()).hexdigest()

    def __hash__(self) -> int:
        return hash((self.width, self.height, self.frames, self.fps, self.placements, self.sounds, self.regions))

    def replace(self, **changes: Any) -> "Document":
        """With other values of some fields, checked anew."""
        return Document(**{**dict(self), **changes})

    @model_validator(mode="after")
    def _check(self) -> "Document":
        _unique("id", [("placements", self.placements), ("sounds", self.sounds), ("regions", self.regions)])
        _unique("tag", [("references", self.references)])
        for i, placement in enumerate(self.placements):
            self._check_placement(f"placements[{i}]", placement)
        for i, sound in enumerate(self.sounds):
            self._check_sound(f"sounds[{i}]", sound)
        for i, region in enumerate(self.regions):
            self._check_region(f"regions[{i}]", region)
        for i, reference in enumerate(self.references):
            self._check_reference(f"references[{i}]", reference)
        return self

    def _check_placement(self, path: str, placement: Placement) -> None:
        media = self._media(f"{path}.media", placement.media, "image", "clip")
        self._check_frames(path, placement)
        self._check_box(path, placement)
        if media.kind == "image" and placement.start:
            raise CanvasError(f"{path}.start is {placement.start:g}: an image has no time, use 0")
        if media.kind == "clip" and media.frames and media.fps:
            _check_start(path, placement, media)
            if self.clip_frame(placement, placement.frame + placement.frames - 1) >= media.frames:
                raise CanvasError(
                    f"{path}.frames is {placement.frames}, more than a clip of {media.frames} frames at {media.fps:g} "
                    f"fps fills from {placement.start:g} s on: use fewer frames, or an earlier start"
                )
        if placement.alpha is not None:
            alpha = self._media(f"{path}.alpha", placement.alpha, "mask")
            frames = media.frames if media.kind == "clip" else placement.frames
            _check_mask(f"{path}.alpha", alpha, media.width, media.height, frames)

    def _check_sound(self, path: str, sound: Sound) -> None:
        media = self._media(f"{path}.media", sound.media, "sound")
        self._check_time(path, sound)
        if media.seconds and media.sample_rate:
            _check_start(path, sound, media)
            left = media.seconds - sound.start
            if sound.duration > left + 1 / media.sample_rate:  # seconds may be rounded: one sample of tolerance
                raise CanvasError(
                    f"{path}.duration is {sound.duration:g}, more than a sound of {media.seconds:g} s has from "
                    f"{sound.start:g} s on: use {left:g} or less, or an earlier start"
                )

    def _check_region(self, path: str, region: BoxRegion | MaskRegion | SpanRegion) -> None:
        if isinstance(region, SpanRegion):
            self._check_time(path, region)
            return
        self._check_frames(path, region)
        self._check_box(path, region)
        if isinstance(region, MaskRegion):
            mask = self._media(f"{path}.media", region.media, "mask")
            _check_mask(f"{path}.media", mask, region.box.width, region.box.height, region.frames)

    def _check_reference(self, path: str, reference: Reference) -> None:
        media = self._media(f"{path}.media", reference.media, *TAG_OF_KIND)
        for kind, prefix in TAG_OF_KIND.items():
            if reference.tag.lower().startswith(prefix) and media.kind != kind:
                raise CanvasError(
                    f"{path}.tag is {shown(reference.tag)}, its media is of kind {media.kind}: use "
                    f"{TAG_OF_KIND[media.kind]}..., or a name of its own such as @Actor-0"
                )

    def _media(self, path: str, name: str, *kinds: str) -> Media:
        media = self.media.get(name)
        if media is None:
            raise CanvasError(
                f"{path} is {shown(name)}, which is not in media: use one of its names ({listed(self.media)})"
            )
        if media.kind not in kinds:
            raise CanvasError(f"{path} is {shown(name)}, of kind {media.kind}: use one of kind {listed(kinds)}")
        return media

    def _check_frames(self, path: str, item: Moving) -> None:
        if item.frame >= self.frames:
            raise CanvasError(
                f"{path}.frame is {item.frame}, outside the canvas of {self.frames} frames: use 0 to {self.frames - 1}"
            )
        if item.frame + item.frames > self.frames:
            raise CanvasError(
                f"{path}.frames is {item.frames}, from frame {item.frame} on past the end of a canvas of {self.frames} "
                f"frames: use {self.frames - item.frame} or fewer"
            )

    def _check_box(self, path: str, item: Moving) -> None:
        if not item.touches(self.width, self.height):
            box = item.box
            raise CanvasError(
                f"{path}.box is {box.width}x{box.height} at ({box.x}, {box.y})"
                f"{', and so is its path' if item.path else ''}, wholly outside the frame of "
                f"{self.width}x{self.height}: let it overlap the frame"
            )

    def _check_time(self, path: str, item: Sound | SpanRegion) -> None:
        if item.time >= self.seconds:
            raise CanvasError(
                f"{path}.time is {item.time:g}, outside the canvas of {self.seconds:g} s: use less than that"
            )


def _with_paths(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 to 2: `to`, where a box is at its last frame, becomes a path; regions get ids, masks boxes."""

    def moved(item: Any) -> Any:
        if not isinstance(item, dict) or "to" not in item:
            return item
        to, frames = item["to"], item.get("frames")
        path = [] if to is None else [{"at": frames - 1 if type(frames) is int else 1, "box": to}]
        return {**{field: value for field, value in item.items() if field != "to"}, "path": path}

    def named(i: int, region: Any) -> Any:
        if not isinstance(region, dict):
            return region
        whole = {"x": 0, "y": 0, "width": data.get("width"), "height": data.get("height")}
        return {**moved(region), "id": names[i], **({"box": whole} if region.get("kind") == "mask" else {})}

    lists = {field: data[field] for field in ("placements", "sounds", "regions") if isinstance(data.get(field), list)}
    ids = (item.get("id") for items in lists.values() for item in items if isinstance(item, dict))
    taken = {name for name in ids if isinstance(name, str)}  # whatever else stands there is refused later
    free = (name for i in count(1) if (name := f"region_{i}") not in taken)
    names = list(islice(free, len(lists.get("regions", ()))))
    result = dict(data)
    if "placements" in lists:
        result["placements"] = [moved(placement) for placement in lists["placements"]]
    if "regions" in lists:
        result["regions"] = [named(i, region) for i, region in enumerate(lists["regions"])]
    return result


# {n: function from the JSON object of version n to that of version n + 1}
MIGRATIONS: Migrations = {1: _with_paths}


def migrate(data: Any, migrations: Migrations) -> dict[str, Any]:
    """Brings a JSON object of an older version to VERSION, one version at a time."""
    if not isinstance(data, dict):
        raise CanvasError(f"the canvas is {shown(data)}: use an object")
    for field in ("format", "version"):
        if field not in data:
            raise CanvasError(f"{field} is missing: a canvas begins with format {shown(FORMAT)} and version {VERSION}")
    if data["format"] != FORMAT:
        raise CanvasError(f"format is {shown(data['format'])}: use {shown(FORMAT)}")
    while (version := data["version"]) != VERSION or type(version) is not int:
        if type(version) is not int or version not in migrations:
            newer = type(version) is int and version > VERSION
            known = listed(str(known) for known in sorted({*migrations, VERSION}))
            raise CanvasError(
                f"version is {shown(version)}, this SkyCanvas reads {known}"
                + (": update SkyCanvas, or save the canvas with an older one" if newer else f": use {VERSION}")
            )
        data = {**migrations[version](data), "version": version + 1}
    return data


def _unique(field: str, lists: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
    """Tags are compared without case, as the text encoders read them."""
    seen: dict[str, str] = {}
    for name, items in lists:
        for i, item in enumerate(items):
            value = getattr(item, field)
            path = f"{name}[{i}].{field}"
            first = seen.setdefault(value.lower() if field == "tag" else value, path)
            if first != path:
                raise CanvasError(f"{path} is {shown(value)}, as {first}: use another {field}")


def _check_start(path: str, item: Placement | Sound, media: Media) -> None:
    if media.seconds and item.start >= media.seconds:
        raise CanvasError(
            f"{path}.start is {item.start:g}, past the end of a {media.kind} of {media.seconds:g} s: use less than that"
        )


def _check_mask(path: str, mask: Media, width: int | None, height: int | None, frames: int | None) -> None:
    """A mask must have that size, and one frame or that many; what is not known yet passes."""
    for seen, side, needed in ((mask.width, "wide", width), (mask.height, "high", height)):
        if seen and needed and seen != needed:
            raise CanvasError(f"{path} is a mask {seen} pixels {side}: use one {needed} {side}")
    if mask.frames and frames and mask.frames not in (1, frames):
        allowed = "1" if frames == 1 else f"1 or {frames}"
        raise CanvasError(f"{path} is a mask of {mask.frames} frames: use one of {allowed}")


# --- JSON


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise CanvasError(f"the key {shown(key)} stands twice in one object: remove one")
        result[key] = value
    return result


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise CanvasError(f"{digits[:20]}... has {len(digits)} digits: use a smaller number")
    return int(digits)


def _canonical(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))  # as JavaScript sorts
        return "{" + ",".join(f"{_canonical(key)}:{_canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, tuple):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """As JavaScript writes it; no number of a canvas is so large that it would write an exponent above 0."""
    if value.is_integer():
        return str(int(value))
    text = repr(value)
    if "e" in text:
        return f"{Decimal(text):f}" if abs(value) >= 1e-6 else text.replace("e-0", "e-")
    return text
