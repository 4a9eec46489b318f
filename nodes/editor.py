"""The canvas editor: a whole canvas as one text, with its media in files and on wires."""

import asyncio
import hashlib
import io as streams
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import comfy.model_management
import folder_paths
import torch
from comfy_api.latest import InputImpl, io
from PIL import Image
from torch import Tensor

from ..canvas.canvas import Canvas, content_id
from ..canvas.document import CanvasError, Document, Kind, Media, Model, Placement, Sound
from ..canvas.errors import shown
from .files import Check, Clip, MediaError, Source, TooLargeError, fingerprint, look
from .types import canvas_output, waveform_of

EMPTY = Document(width=64, height=64, frames=17, fps=16)
MOST_INPUTS = 16  # of each kind
PREVIEW = 512  # pixels of the longer side
AROUND = 1  # seconds of sound before and after what is played: the filter of a resampler looks around

LISTS = ("placements", "sounds", "regions", "references")  # of a document, that name media

SourceOf = Callable[[Media], Source | None]


def media_input(name: str, slot: io.Input) -> io.Autogrow.Input:
    template = io.Autogrow.TemplatePrefix(slot, prefix=f"{slot.id}_", min=0, max=MOST_INPUTS)
    return io.Autogrow.Input(name, template=template, optional=True)


class SkyCanvasEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SkyCanvasEditor",
            display_name="Canvas Editor",
            category="SkyCanvas/canvas",
            description="A canvas that you paint: drop pictures, clips and sounds on it, move them in the frame and in "
            "time, paint what is to be made again. The model makes all that is left open.",
            search_aliases=["timeline", "video editor", "inpaint", "mask editor", "paint canvas", "storyboard"],
            inputs=[
                io.String.Input(
                    "document",
                    default=EMPTY.json(),
                    multiline=True,
                    tooltip="The canvas as text (JSON). The editor writes it; another node may.",
                ),
                media_input(
                    "images",
                    io.Image.Input("image", tooltip="A picture; several are a clip at the canvas' rate."),
                ),
                media_input("videos", io.Video.Input("video", tooltip="A clip, with or without sound.")),
                media_input("sounds", io.Audio.Input("sound", tooltip="A sound.")),
                media_input("masks", io.Mask.Input("mask", tooltip="A mask: white is where something happens.")),
            ],
            outputs=[canvas_output()],
        )

    @classmethod
    async def validate_inputs(cls, document=None, images=None, videos=None, sounds=None, masks=None) -> bool | str:
        """What is wrong with the text or its files. What comes through wires is not there yet."""
        if document is None:  # it comes through a wire
            return True
        try:
            await asyncio.to_thread(lambda: filled(Document.parse(document), in_file))
        except CanvasError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, document=None, images=None, videos=None, sounds=None, masks=None):
        """Changes when a file does that the canvas uses; of a text that is not there yet, when any file does."""
        if document is None:
            return sorted(_all_files())
        try:
            document = Document.parse(document)
        except CanvasError:
            return None  # execution says why
        return [fingerprint(media.file) for _, media in sorted(used(document).items()) if media.file]

    @classmethod
    def execute(cls, document, images=None, videos=None, sounds=None, masks=None) -> io.NodeOutput:
        wired = {**(images or {}), **(videos or {}), **(sounds or {}), **(masks or {})}
        document = Document.parse(document)
        sources = {
            name: source_of(name, value, document.fps) for name, value in sorted(wired.items()) if value is not None
        }
        found = [{"input": name, **seen(source)} for name, source in sources.items()]
        return io.NodeOutput(open_canvas(document, sources), ui={"skycanvas_inputs": found})


def _all_files() -> Iterator[tuple[str, int, int]]:
    """Name, bytes and time of the last change of all in the input folder."""
    for folder, _, names in os.walk(folder_paths.get_input_directory()):
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))
            except OSError:
                continue
            yield os.path.join(folder, name), status.st_size, status.st_mtime_ns


# --- what is wired in


class Tensors(Source):
    """What comes through a wire. pictures [F, H, W, 3 or 4] (a clip of `fps`), mask [F, H, W], audio.

    film: whether the pictures are a clip for sure, else one alone may be an image.
    """

    def __init__(
        self,
        name: str,
        *,
        pictures: Tensor | None = None,
        fps: float | None = None,
        film: bool = False,
        mask: Tensor | None = None,
        audio: dict | None = None,
    ):
        self.name, self.pictures, self.fps, self.film = name, pictures, fps, film
        self.mask = mask[None] if mask is not None and mask.ndim == 2 else mask
        self.waveform, self.sample_rate = (None, None) if audio is None else waveform_of(audio, name)
        if pictures is not None and pictures.shape[-1] == 4:
            self.pictures, self.mask = pictures[..., :3], pictures[..., 3]

    def media(self, kind: Kind) -> Media:
        held = self._held(kind)
        if not held.numel():
            raise MediaError(f"{self.name} is empty, of shape {list(held.shape)}: connect one that has something in it")
        if kind == "sound":
            return Media(kind=kind, samples=held.shape[1], sample_rate=self.sample_rate, channels=held.shape[0])
        frames, height, width = held.shape[:3]
        if kind == "image" and (self.film or frames > 1):
            raise self.refuse("a clip" if self.film else f"a batch of {frames} pictures", kind)
        rate = {"fps": self.fps} if kind == "clip" else {}
        return Media(kind=kind, width=width, height=height, frames=None if kind == "image" else frames, **rate)

    def _held(self, kind: Kind) -> Tensor:
        held = {"sound": self.waveform, "mask": self.mask}.get(kind, self.pictures)
        if held is None:
            lacks = f"without {'sound' if kind == 'sound' else 'an alpha channel'}"
            pictures = f"{'a clip' if self.film else 'a picture'} {lacks}"
            raise self.refuse(
                pictures if self.pictures is not None else "a mask" if self.mask is not None else "a sound", kind
            )
        return held

    def read(self, kind: Kind, begin: int, end: int, check: Check = lambda: None) -> tuple[Tensor, float | None]:
        held = self._held(kind)
        if kind == "sound":
            return held[:, begin:end], self.sample_rate
        return held[begin:end], self.fps if kind == "clip" else None


def source_of(name: str, value: Any, fps: float) -> Source:
    """name: of the input; value: IMAGE, MASK, AUDIO or VIDEO; fps: of a batch of pictures."""
    if isinstance(value, dict):
        return Tensors(name, audio=value)
    if isinstance(value, Tensor):
        return Tensors(name, pictures=value, fps=fps) if value.ndim == 4 else Tensors(name, mask=value)
    if isinstance(value, InputImpl.VideoFromFile):
        file = value.get_stream_source()
        size = os.path.getsize(file) if isinstance(file, str) else file.getbuffer().nbytes
        return Clip(name, value.get_stream_source, size, *value.get_active_trim_window())
    parts = value.get_components()
    return Tensors(name, pictures=parts.images, fps=float(parts.frame_rate), film=True, audio=parts.audio)


def seen(source: Source) -> dict[str, Any]:
    """Facts of what is wired in, and a small picture of it in the temp folder, for the editor."""
    kinds: tuple[Kind, ...] = ("image", "clip", "mask", "sound")
    fitting = []
    for kind in kinds:
        with suppress(MediaError):
            fitting.append(source.media(kind))
    if not fitting:
        return {"kind": None, "preview": None}  # empty; an error if the canvas uses it
    facts = fitting[0]
    known = {name: value for name, value in facts if name not in ("file", "input")}
    if facts.kind == "sound":
        return known | {"preview": None}
    picture, _ = source.read(facts.kind, 0, 1)
    image = Image.fromarray((picture[0].float().cpu().clamp(0, 1) * 255).round().byte().numpy())
    image.thumbnail((PREVIEW, PREVIEW))
    content = streams.BytesIO()
    image.save(content, "PNG")
    name = f"{hashlib.blake2b(content.getvalue(), digest_size=16).hexdigest()}.png"
    folder = Path(folder_paths.get_temp_directory(), "skycanvas")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.getvalue())
    return known | {"preview": {"filename": name, "subfolder": "skycanvas", "type": "temp"}}


# --- from a document to a canvas


def open_canvas(document: Document, wired: Mapping[str, Source]) -> Canvas:
    """A document with its media, read only as far as they are shown and heard; named by their content.

    wired: by the name of the input. CanvasError if something is missing, of another kind or size than the document
    says, cannot be read, or is more than the memory holds.
    """

    def find(media: Media) -> Source | None:
        if media.input is None:
            return in_file(media)
        if media.input not in wired:
            connected = f"connected: {', '.join(wired)}" if wired else "nothing is connected"
            raise MediaError(f"input {media.input} is not connected ({connected}): connect it, or remove the media")
        return wired[media.input]

    document = filled(document, find)
    sources = {name: find(media) for name, media in document.media.items()}
    document, parts = cut(document)
    check_memory(document)
    at = ""

    def read(media: Media) -> tuple[Tensor, float | None]:
        nonlocal at
        name, begin, end = next(following)
        at, source = f"media {name}", sources[name]
        pixels, rate = source.read(
            media.kind, begin, end, comfy.model_management.throw_exception_if_processing_interrupted
        )
        return pixels, rate if media.kind == "sound" else media.fps

    following = iter(parts.values())
    try:
        canvas = Canvas.open(document, read)  # asks in the order of the document
    except CanvasError as error:
        raise CanvasError(f"{at}: {error}") from None
    return by_content(canvas)


def in_file(media: Media) -> Source | None:
    """The file of a media; None of what comes through a wire."""
    if media.file is None and media.input is None:
        raise MediaError("it names no file and no input, so it cannot be loaded: put it on the canvas again")
    return None if media.file is None else look(media.file)


def used(document: Document) -> dict[str, Media]:
    """The media that something on the canvas shows, plays or is masked by."""
    names = {name for item in _items(document) for field in ("media", "alpha") if (name := getattr(item, field, None))}
    return {name: media for name, media in document.media.items() if name in names}


def _items(document: Document) -> Iterable[Model]:
    return (item for field in LISTS for item in getattr(document, field))


def filled(document: Document, find: SourceOf) -> Document:
    """With all facts of the media that are used, and without the others. CanvasError if they do not fit.

    What is wired in may have changed since the editor saw it: it counts as it is now. A file must be as the document
    says. Where `find` gives None, it is left as it is.
    """
    media = {}
    for name, said in used(document).items():
        with blamed(name, said):
            source = find(said)
            media[name] = said if source is None else _filled(said, source)
    return document.replace(media=media)


def _filled(said: Media, source: Source) -> Media:
    found = source.media(said.kind)
    for fact in found.facts if said.input is None else ():
        value, seen = getattr(said, fact), getattr(found, fact)
        if value not in (None, seen):
            raise MediaError(
                f"{fact} was {value:g} and is {seen:g} now: the file has changed; put it on the canvas again, or bring "
                "the old one back"
            )
    return Media(**{**dict(found), "file": said.file, "input": said.input})


@contextmanager
def blamed(name: str, media: Media) -> Iterator[None]:
    """Errors then say which media they are about."""
    try:
        yield
    except CanvasError as error:
        said = str(error).startswith(media.origin) or media.origin == name
        origin = "" if said else f" (from {media.origin})"
        raise type(error)(f"media {shown(name)}{origin}: {error}") from error


class Part(NamedTuple):
    """Frames (of a sound: samples) `begin` to `end` of a media."""

    media: str
    begin: int
    end: int


def cut(document: Document) -> tuple[Document, dict[str, Part]]:
    """The same canvas with media that hold only what is used, and of what they are parts. All facts are known."""
    used: dict[str, list[tuple[int, int]]] = {}
    for item in _items(document):
        if name := getattr(item, "media", None):
            used.setdefault(name, []).append(_span(document, item))
    spans = {name: joined(found) for name, found in used.items()}
    names: dict[Part, str] = {}

    def named(*part: Any) -> str:
        return names.setdefault(Part(*part), str(len(names)))

    def moved(item: Model) -> Model:
        if not (name := getattr(item, "media", None)):
            return item
        media, (first, _) = document.media[name], _span(document, item)
        begin, end = next(span for span in spans[name] if span[0] <= first < span[1])
        changes: dict[str, Any] = {"media": named(name, begin, end)}
        if begin:
            changes["start"] = max(0.0, item.start - begin / (media.sample_rate or media.fps))
        if alpha := getattr(item, "alpha", None):  # one for each frame of a clip goes with the clip
            frames = document.media[alpha].frames
            changes["alpha"] = named(alpha, *((begin, end) if media.kind == "clip" and frames > 1 else (0, frames)))
        return type(item)(**{**dict(item), **changes})

    items = {field: tuple(moved(item) for item in getattr(document, field)) for field in LISTS}
    parts = {name: part for part, name in names.items()}
    return document.replace(media={n: _part(document.media[p.media], p) for n, p in parts.items()}, **items), parts


def _span(document: Document, item: Any) -> tuple[int, int]:
    """Frames or samples that an item uses of its media."""
    media = document.media[item.media]
    if isinstance(item, Sound):
        # whole seconds, so that all rates have a sample at the cut
        begin, end = math.floor(item.start) - AROUND, math.ceil(item.start + item.duration) + AROUND
        return max(0, begin) * media.sample_rate, min(end * media.sample_rate, media.samples)
    if isinstance(item, Placement) and media.kind == "clip":
        last = item.frame + item.frames - 1
        return document.clip_frame(item, item.frame), document.clip_frame(item, last) + 1
    return 0, (media.samples if media.kind == "sound" else media.frames) or 1


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in spans that do not touch."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if result and begin <= result[-1][1]:
            result[-1] = result[-1][0], max(end, result[-1][1])
        else:
            result.append((begin, end))
    return result


def _part(media: Media, part: Part) -> Media:
    length = {} if media.kind == "image" else {"samples" if media.kind == "sound" else "frames": part.end - part.begin}
    return Media(**{**dict(media), **length, "file": None, "input": None})


def size_of(media: Media) -> int:
    """Bytes of its tensor."""
    if media.kind == "sound":
        return 4 * (media.channels or 0) * (media.samples or 0)
    colours = 1 if media.kind == "mask" else 3
    return 4 * (media.frames or 1) * (media.height or 0) * (media.width or 0) * colours


def check_memory(document: Document) -> None:
    """CanvasError if the media of a canvas are more than fits into the memory that is free."""
    sizes = {name: size_of(media) for name, media in document.media.items()}
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    if sum(sizes.values()) > free:
        largest, total = document.media[max(sizes, key=lambda name: sizes[name])], sum(sizes.values())
        raise TooLargeError(
            f"what the canvas shows and plays takes {total / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are "
            f"free; the largest is a {largest.kind} of {largest.width or 0}x{largest.height or 0} pixels and "
            f"{largest.frames or 1} frames: show fewer frames of it, or make it smaller first"
        )


def by_content(canvas: Canvas) -> Canvas:
    """The same with media named by what they hold, so that equal canvases are equal."""
    document = canvas.document
    names = {name: content_id(canvas.media[name], media) for name, media in document.media.items()}

    def renamed(item: Model) -> Model:
        fields = {field: names[name] for field in ("media", "alpha") if (name := getattr(item, field, None))}
        return type(item)(**{**dict(item), **fields}) if fields else item

    items = {field: tuple(renamed(item) for item in getattr(document, field)) for field in LISTS}
    media = {names[name]: facts for name, facts in document.media.items()}
    return Canvas(document.replace(media=media, **items), {names[name]: canvas.media[name] for name in names})
