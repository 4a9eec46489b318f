"""Media in ComfyUI's input folder: found by name, looked at without decoding it, and read as far as it is needed.

A workflow comes from anywhere, so its names lead nowhere else, and its files may say anything of themselves: sizes are
checked before anything is decoded, and no file can name another one.
"""

import math
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import chain, islice

import av
import av.stream
import folder_paths
import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..canvas.canvas import SPEAKERS
from ..canvas.document import MAX_SIDE, CanvasError, Kind, Media
from .example import EXAMPLES, FILES

# A file from elsewhere may say anything of itself
MOST_PIXELS = 2**26  # of a frame
MOST_SECONDS = 7200  # of sound, which is held whole: 3 GB in stereo
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # formats of Pillow
ANIMATED = ("PNG", "GIF")  # of them, those that FFmpeg reads as clips
# Demuxers of FFmpeg that open no other file: no playlists, and no numbered pictures
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,mxf,nut,yuv4mpegpipe,gif,apng,ogg,wav,w64,mp3,flac,aac,aiff,caf,wv,amr"
)
UNTIMED = ("mp3", "aac")  # their packets do not say when they sound, so nothing in them can be jumped to
THREADS = min(4, os.cpu_count() or 1)  # of a decoder
MOST_COUNTED = 2**26  # bytes of a file that is gone through for its length, where its header does not say it
MOST_LISTED = 5000  # media of the input folder that one can choose from
MOST_ENTRIES = 100_000  # files and folders that are gone through for them
PAINTED = "skycanvas/mask_"  # how names of masks begin that were painted in the editor: every stroke makes one
NEAR = 10.0  # seconds that are decoded through, not jumped over
MISSING = 0.5  # seconds that a file may end before its header says so: the last picture stays, the sound is silent
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue; ITU-R BT.601, as Pillow's L
WORDS = {"image": "a picture", "clip": "a clip", "sound": "a sound", "mask": "a mask"}

EXAMPLE = "example:"

Check = Callable[[], None]  # called now and then, raises to stop


class MediaError(CanvasError):
    """A file or an input cannot be used; the message names it, and what to do. status: of the answer over HTTP."""

    status = 400


class MissingError(MediaError):
    """There is no such file."""

    status = 404


class TooLargeError(MediaError):
    """It is more than a limit allows."""

    status = 413


def find(name: str) -> str:
    """Path of a file in the input folder, or below it. MissingError; MediaError for names that lead elsewhere.

    EXAMPLE and a name of 'Example Media' is that file, for the editor to show: no canvas can name it.
    """
    if name.startswith(EXAMPLE) and (example := name.removeprefix(EXAMPLE)) in FILES:
        return str(EXAMPLES / example)
    Media(kind="image", file=name)  # CanvasError for a name that is none
    folder = os.path.realpath(folder_paths.get_input_directory())
    path = os.path.realpath(os.path.join(folder, name))
    if not path.startswith(os.path.join(folder, "")):
        raise MediaError(f"{name} leads out of ComfyUI's input folder: put the file itself there, not a link to it")
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        regular = False
    if not regular:
        raise MissingError(f"{name} is not in ComfyUI's input folder: put it there, or choose another file")
    return path


def fingerprint(name: str) -> tuple[str, int, int] | None:
    """What changes when a file does: name, bytes, time of its last change; None if it is not there."""
    try:
        status = os.stat(find(name))
    except CanvasError:
        return None
    return name, status.st_size, status.st_mtime_ns


def media_names(check: Check = lambda: None) -> tuple[list[str], bool]:
    """Names of pictures, clips and sounds in the input folder and below it, sorted; and whether there are more.

    Of more than MOST_LISTED the upper folders come first. Hidden ones, links to folders and PAINTED are left out.
    """
    root = folder_paths.get_input_directory()
    found: list[str] = []
    folders, seen = [""], 0
    for folder in folders:  # which grows meanwhile
        with suppress(OSError), os.scandir(os.path.join(root, folder)) as opened:
            entries = sorted(islice(opened, MOST_ENTRIES - seen), key=lambda entry: entry.name)
            seen += len(entries)
            shown = [entry for entry in entries if not entry.name.startswith(".")]
            folders += [f"{folder}{entry.name}/" for entry in shown if entry.is_dir(follow_symlinks=False)]
            files = [entry.name for entry in shown if not entry.is_dir(follow_symlinks=False)]
            for name in folder_paths.filter_files_content_types(files, ["image", "video", "audio"]):
                check()
                name = folder + name
                if not name.startswith(PAINTED) and fingerprint(name) is not None:
                    found.append(name)
        if len(found) > MOST_LISTED or seen >= MOST_ENTRIES:
            return sorted(found[:MOST_LISTED]), True
    return sorted(found), False


# --- sources


class Source(ABC):
    """Where media comes from: a file, or what is wired in. `name` is what errors call it."""

    name: str

    @abstractmethod
    def media(self, kind: Kind) -> Media:
        """Facts of it as media of that kind, MediaError if it is none."""

    @abstractmethod
    def read(self, kind: Kind, begin: int, end: int, check: Check = lambda: None) -> tuple[Tensor, float | None]:
        """Frames (of a sound: samples) `begin` to `end`, not included, and their rate, None of an image or mask.

        Image and clip [f, H, W, 3], mask [f, H, W], in 0..1; sound [C, samples]. MediaError if it cannot be read.
        """

    def refuse(self, is_a: str, kind: Kind) -> MediaError:
        """The error of what is used for something else."""
        return MediaError(f"{self.name} is {is_a}: it cannot be used as {WORDS[kind]}; choose another one")


@dataclass(frozen=True)
class SoundFacts:
    samples: int
    sample_rate: int
    channels: int


@lru_cache(maxsize=1024)
def _look(name: str, path: str, size: int, modified: int) -> "Picture | Clip":
    return picture_in(name, path) or Clip(name, lambda: path, size)


def look(name: str) -> "Picture | Clip":
    """A file of the input folder by its header. MediaError if it is not there, no media, or too large to decode."""
    path = find(name)
    status = os.stat(path)
    return _look(name, path, status.st_size, status.st_mtime_ns)


def check_size(name: str, width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE or width * height > MOST_PIXELS:
        raise TooLargeError(
            f"{name} is {width} x {height} pixels: use at most {MAX_SIDE} along a side, and {MOST_PIXELS} in all"
        )


# --- pictures


@contextmanager
def _decoding(name: str, where: str = "") -> Iterator[None]:
    """Whatever a decoder says to a broken file becomes a MediaError."""
    try:
        yield
    except (CanvasError, GeneratorExit):
        raise
    except Image.DecompressionBombError:
        raise TooLargeError(f"{name} has too many pixels: use at most {MOST_PIXELS}") from None
    except (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, TypeError, SyntaxError) as error:
        raise MediaError(
            f"{name} cannot be read{where}: the file is damaged ({error}); write it again in another program"
        ) from error


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    """PICTURES that this Pillow knows."""
    Image.init()
    return [form for form in PICTURES if form in Image.OPEN]


def picture_in(name: str, path: str) -> "Picture | None":
    """A still picture, None if it is none."""
    with _decoding(name):
        try:
            image = Image.open(path, formats=_formats())
        except UnidentifiedImageError:
            return None
        with image:
            check_size(name, *image.size)
            if getattr(image, "is_animated", False) and image.format in ("WEBP", *ANIMATED):
                if image.format in ANIMATED:
                    return None
                raise MediaError(f"{name} is an animated WebP, which cannot be read: write it as GIF or MP4")
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            width, height = reversed(image.size) if turned else image.size
            return Picture(name, path, width, height, _is_transparent(image))


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


@dataclass(frozen=True)
class Picture(Source):
    """A picture in a file, turned as its EXIF data say. alpha: whether it can be transparent."""

    name: str
    path: str
    width: int
    height: int
    alpha: bool

    def media(self, kind: Kind) -> Media:
        if kind not in ("image", "mask"):
            raise self.refuse("a picture", kind)
        return Media(kind=kind, width=self.width, height=self.height, frames=1 if kind == "mask" else None)

    def read(self, kind: Kind, begin: int, end: int, check: Check = lambda: None) -> tuple[Tensor, float | None]:
        check()
        image = self.open()
        if kind == "mask" and self.alpha:
            return _tensor(image.convert("RGBA").getchannel("A"))[None, ..., 0], None
        pixels = _tensor(image if image.mode[:1] in "IF" else image.convert("RGB"))
        pixels = pixels.expand(-1, -1, 3)[None]
        return (luminance(pixels) if kind == "mask" else pixels.contiguous()), None

    def image(self) -> Image.Image:
        """Decoded, upright, 8 bits of RGB or RGBA."""
        image = self.open()
        if image.mode[:1] in "IF":
            image = Image.fromarray((_tensor(image)[..., 0] * 255).round().byte().numpy())
        return image.convert("RGBA" if self.alpha else "RGB")

    def open(self) -> Image.Image:
        """Decoded, upright, in the mode of the file."""
        with _decoding(self.name), Image.open(self.path, formats=_formats()) as image:
            check_size(self.name, *image.size)  # the file may be another one by now
            image.load()
            return ImageOps.exif_transpose(image)


def _tensor(image: Image.Image) -> Tensor:
    """[H, W, channels] in 0..1"""
    values = np.array(image)
    scale = 255 if values.dtype == np.uint8 else 1 if values.dtype.kind == "f" else 65535
    return torch.from_numpy(values.astype(np.float32) / scale).clamp_(0, 1).reshape(*values.shape[:2], -1)


def luminance(pixels: Tensor) -> Tensor:
    """[..., 3] -> [...]"""
    return (pixels @ torch.tensor(LUMINANCE)).clamp_(0, 1)


# --- clips and sounds


@contextmanager
def open_media(source: str | BytesIO) -> Iterator[av.container.InputContainer]:
    """A file whose decoders are bounded in threads; playlists and the like are refused."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    with av.open(source, container_options=options) as file:
        for stream in file.streams:
            if isinstance(stream, av.VideoStream) and stream.codec_context is not None:
                stream.codec_context.thread_type, stream.codec_context.thread_count = "AUTO", THREADS
        yield file


class Clip(Source):
    """Pictures and sound of a file, or of a part of it; either may be missing.

    Frame n is what is to be seen n / fps seconds after the first picture, also if pictures do not come evenly. The
    sound begins with the first picture.

    source: gives the file; size: its bytes. begin, duration: of the part, in seconds, as 'Trim Video' has them; 0 is
    all from there on.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], str | BytesIO],
        size: int,
        begin: float = 0.0,
        duration: float = 0.0,
    ):
        self.name, self.source = name, source
        self.width = self.height = self.frames = 0
        self.fps = self.start = 0.0  # start: the time at which frame 0 and sample 0 are, in the file
        self.alpha = False
        self.sound: SoundFacts | None = None
        try:
            with _decoding(name), open_media(source()) as file:
                self._probe(file, size, begin, duration)
        except MediaError as error:
            if isinstance(error.__cause__, av.InvalidDataError | av.ArgumentError) and not self.width:
                self._refuse_unknown()
            raise

    def _refuse_unknown(self) -> None:
        raise MediaError(
            f"{self.name} is no picture, video or sound that can be read: use PNG, JPEG, WebP, GIF, MP4, MOV, MKV, "
            "WebM, WAV, FLAC, MP3 or OGG"
        ) from None

    def _probe(self, file: av.container.InputContainer, size: int, begin: float, duration: float) -> None:
        pictures, sounds = picture_stream(file), sound_stream(file)
        if sounds is not None and not (sounds.rate and sounds.channels):
            sounds = None
        if pictures is None and sounds is None:
            self._refuse_unknown()
        first = 0.0
        if pictures is not None:
            check_size(self.name, pictures.width, pictures.height)
            frame = next(file.decode(pictures), None)
            if frame is None:
                raise MediaError(f"{self.name} has no picture that can be decoded: choose another file")
            first = frame.time or 0.0
            self.width, self.height = frame.width, frame.height
            if round(frame.rotation / 90) % 2:
                self.width, self.height = frame.height, frame.width
            self.alpha = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
            rate = pictures.average_rate or pictures.guessed_rate
            if not rate:
                raise MediaError(f"{self.name} does not say how fast its pictures follow: write it again as MP4")
            self.fps = float(rate)
        elif sounds is not None:
            first = _time(sounds.start_time, sounds)
        ends = self._ends(file, size, pictures, sounds)
        self.start = first
        if pictures is not None:
            skipped = max(0, math.ceil((begin - first) * self.fps - 1e-6))
            self.start += skipped / self.fps
            self.frames = pictures.frames or max(1, round((ends[pictures.index] - first) * self.fps))
            self.frames -= skipped
            if duration:
                self.frames = min(self.frames, math.ceil(duration * self.fps - 1e-6))
            if self.frames < 1:
                raise MediaError(f"{self.name} ends before {begin:g} s: trim it less")
        else:
            self.start = max(first, begin)
        if sounds is not None:
            seconds = ends[sounds.index] - self.start
            samples = round((min(seconds, duration) if duration else seconds) * sounds.rate)
            if samples > 0:
                self.sound = SoundFacts(samples, sounds.rate, sounds.channels)
            elif pictures is None:
                raise MediaError(f"{self.name} has no sound that can be decoded: choose another file")

    def _ends(self, file, size: int, *streams) -> dict[int, float]:
        """Stream index -> the second at which it ends, as the header says; a small file that does not is gone through.

        `frames` of a video says it as well, and of a file whose packets have no times the header only guesses.
        """
        chosen = [stream for stream in streams if stream is not None]
        ends = {}
        for stream in chosen:
            if stream.duration and file.format.name not in UNTIMED:
                ends[stream.index] = _time(stream.start_time, stream) + _time(stream.duration, stream)
        unknown = [stream for stream in chosen if stream.index not in ends and not getattr(stream, "frames", 0)]
        if unknown and size <= MOST_COUNTED:
            file.seek(0)
            for packet in file.demux(*unknown):
                if packet.pts is not None:
                    length = packet.duration or 0
                    if isinstance(packet.stream, av.VideoStream):
                        length = round(1 / self.fps / packet.time_base)  # that of the last one is often not known
                    end = float((packet.pts + length) * packet.time_base)
                    ends[packet.stream_index] = max(ends.get(packet.stream_index, 0.0), end)
        for stream in unknown:
            if stream.index not in ends:
                if not file.duration:
                    raise MediaError(f"{self.name} does not say how long it is: write it again in another program")
                ends[stream.index] = (file.start_time or 0) / av.time_base + file.duration / av.time_base
        return ends

    def media(self, kind: Kind) -> Media:
        if kind == "sound":
            if self.sound is None:
                raise MediaError(f"{self.name} has no sound: it cannot be used as a sound; choose another one")
            if self.sound.channels > max(SPEAKERS):
                raise TooLargeError(f"{self.name} has {self.sound.channels} channels: use 1 to {max(SPEAKERS)}")
            return Media(kind="sound", **vars(self.sound))
        if not self.width:
            raise self.refuse("a sound", kind)
        if kind == "image":
            raise self.refuse("a clip", kind)
        rate = {} if kind == "mask" else {"fps": self.fps}
        return Media(kind=kind, width=self.width, height=self.height, frames=self.frames, **rate)

    def read(self, kind: Kind, begin: int, end: int, check: Check = lambda: None) -> tuple[Tensor, float | None]:
        if kind == "sound":
            return self._read_sound(begin, end, check)
        shape = (end - begin, self.height, self.width, *([] if kind == "mask" else [3]))
        images, last = torch.empty(shape), None
        for i, (frame, to_image) in enumerate(self.pictures(range(begin, end), check)):
            if frame is last:
                images[i] = images[i - 1]
            elif kind == "mask":
                images[i] = to_image.alpha(frame) if self.alpha else luminance(to_image(frame))
            else:
                images[i] = to_image(frame)
            last = frame
        return images.clamp_(0, 1), None if kind == "mask" else self.fps

    # --- pictures

    def pictures(self, wanted: Iterable[int], check: Check = lambda: None) -> Iterator[tuple[av.VideoFrame, "ToImage"]]:
        """What is to be seen at some frames, which rise or stay; the same object while nothing changes."""
        with _decoding(self.name), open_media(self.source()) as file:
            stream = picture_stream(file)
            to_image = ToImage(stream)
            following = self._decoded(file, stream, check)
            number, shown = -1, None  # the picture at hand
            ahead: tuple[int, av.VideoFrame] | None = None
            for frame in wanted:
                if frame - number > NEAR * self.fps:
                    following, ahead = self._jump(file, stream, frame, check), None
                while ahead is None or ahead[0] <= frame:
                    if ahead is not None:
                        number, shown = ahead
                    ahead = next(following, None)
                    if ahead is None:
                        break
                if shown is None and ahead is not None:
                    number, shown = ahead
                if shown is None or ahead is None and (frame - number) / self.fps > MISSING:
                    raise MediaError(
                        f"{self.name} ends after {(number + 1) / self.fps:.2f} s, its header says "
                        f"{self.frames / self.fps:.2f} s: the file is damaged; write it again, or show less of it"
                    )
                yield shown, to_image

    def _decoded(self, file, stream, check: Check) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames from where the file is, with their numbers."""
        number = -1
        with _decoding(self.name):
            for frame in file.decode(stream):
                check()
                number = number + 1 if frame.time is None else round((frame.time - self.start) * self.fps)
                if {frame.width, frame.height} != {self.width, self.height}:
                    raise MediaError(
                        f"{self.name} changes to {frame.width} x {frame.height} pixels after {number / self.fps:.2f} "
                        "s: cut it there"
                    )
                if number >= 0:  # else it is cut off
                    yield number, frame

    def _jump(self, file, stream, frame: int, check: Check) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames from the nearest place before one of them that can be decoded by itself."""
        seconds = self.start + frame / self.fps
        file.seek(int(seconds / stream.time_base), stream=stream)
        following = self._decoded(file, stream, check)
        first = next(following, None)
        if first is not None and first[0] <= frame:
            return chain([first], following)
        file.seek(stream.start_time or 0, stream=stream)  # a file with a wrong index
        return self._decoded(file, stream, check)

    # --- sound

    def _read_sound(self, begin: int, end: int, check: Check) -> tuple[Tensor, float]:
        assert self.sound is not None
        rate = self.sound.sample_rate
        if end - begin > MOST_SECONDS * rate:
            raise TooLargeError(
                f"{self.name}: {(end - begin) / rate:.0f} s of it are used; use at most {MOST_SECONDS} s"
            )
        waveform = torch.zeros(self.sound.channels, end - begin)
        first, last = (self.start + sample / rate for sample in (begin, end))
        place = None  # of the next piece
        with _decoding(self.name), open_media(self.source()) as file:
            for time, piece in self._heard(file, first, last):
                check()
                if place is None:
                    place = round((time - self.start) * rate) - begin
                until = min(place + piece.shape[1], end - begin)
                if max(place, 0) < until:
                    waveform[:, max(place, 0) : until] = piece[:, max(-place, 0) : until - place]
                place += piece.shape[1]
        missing = (end - begin - (place or 0)) / rate
        if missing > MISSING:
            raise MediaError(
                f"{self.name} has {missing:.2f} s less of sound than its header says: the file is damaged; write it "
                "again, or play less of it"
            )
        return waveform, rate

    def _heard(self, file, begin: float, end: float) -> Iterator[tuple[float, Tensor]]:
        """Pieces of sound from a little before that time on."""
        stream = sound_stream(file)
        if begin - self.start > NEAR and file.format.name not in UNTIMED:
            file.seek(int((begin - 1) / stream.time_base), stream=stream)  # decoders of sound begin with an echo
            pieces = sound_pieces(file, stream, begin, end)
            first = next(pieces, None)
            if first is not None and first[0] <= begin:
                return chain([first], pieces)
            file.seek(0)  # a file with a wrong index
        return sound_pieces(file, stream, begin, end)


def _time(ticks: int | None, stream) -> float:
    return float((ticks or 0) * stream.time_base)


def picture_stream(file: av.container.InputContainer) -> av.VideoStream | None:
    """The first that can be decoded and is not the cover of a sound."""
    covers = av.stream.Disposition.attached_pic
    streams = (s for s in file.streams.video if s.codec_context is not None and not s.disposition & covers)
    return next(streams, None)


def sound_stream(file: av.container.InputContainer) -> av.AudioStream | None:
    """The last that can be decoded, as 'Get Video Components' takes it."""
    return next((s for s in reversed(file.streams.audio) if s.codec_context is not None), None)


def sound_pieces(
    file: av.container.InputContainer, stream: av.AudioStream, begin: float = -math.inf, end: float | None = None
) -> Iterator[tuple[float, Tensor]]:
    """Pieces [C, samples] from that second at least to `end` (None: to its own end), and when each one sounds."""
    planar, time = av.AudioResampler(format="fltp"), 0.0
    for frame in file.decode(stream):
        time = frame.time or 0.0
        if end is not None and time >= end:
            break
        if time + frame.samples / frame.sample_rate > begin:
            for piece in planar.resample(frame):
                yield time, torch.from_numpy(piece.to_ndarray())
    for piece in planar.resample(None):
        yield time, torch.from_numpy(piece.to_ndarray())


class ToImage:
    """Decoded frames -> IMAGE [H, W, 3], number for number as 'Get Video Components' gives them."""

    # Of 8 bits and the full range; others are converted in float
    PLAIN = ("yuvj420p", "yuvj422p", "yuvj444p", "rgb24", "rgba", "pal8")

    def __init__(self, stream: av.VideoStream):
        self.stream = stream
        self.padding: av.filter.Graph | None = None

    def __call__(self, frame: av.VideoFrame) -> Tensor:
        if frame.format.name in self.PLAIN:
            image = torch.from_numpy(frame.to_ndarray(format="rgb24")).float() / 255
        else:
            image = torch.from_numpy(self._padded(frame).to_ndarray(format="gbrpf32le"))
            image = image[: frame.height, : frame.width]
        return self._upright(frame, image)

    def alpha(self, frame: av.VideoFrame) -> Tensor:
        """[H, W] of a frame that has an alpha channel."""
        return self._upright(frame, torch.from_numpy(frame.to_ndarray(format="rgba"))[..., 3].float() / 255)

    def _upright(self, frame: av.VideoFrame, image: Tensor) -> Tensor:
        turns = round(frame.rotation // 90)  # as telephones note how they were held
        return torch.rot90(image, turns, (0, 1)).contiguous()

    def _padded(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Rows of other lengths than multiples of 32 are not converted the same way every time."""
        width, height = (-(-side // 32) * 32 for side in (frame.width, frame.height))
        if width == frame.width:
            return frame
        if self.padding is None:
            self.padding = graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=self.stream.time_base
            )
            graph.link_nodes(
                source,
                graph.add("pad", f"{width}:{height}:0:0"),
                graph.add(
                    "fillborders", f"left=0:right={width - frame.width}:top=0:bottom={height - frame.height}:mode=smear"
                ),
                graph.add("buffersink"),
            ).configure()
        self.padding.push(frame)
        return self.padding.pull()
