"""Reads pictures and sound of video files, a stretch at a time, and refuses what is too large before decoding it.

Times are seconds from the beginning of the file, whatever its timestamps begin with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import torch
import torch.nn.functional as F
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from torch import Tensor
from torchaudio.functional import resample

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
MAX_BYTES = 64 * 2**30
MAX_SECONDS = 6 * 3600.0
MAX_SIDE = 8192  # pixels
MAX_RATE = 240.0  # frames per second
SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
# A playlist called .mp4 could name other files, or hosts: only containers that hold their own media are opened.
OPTIONS = {"format_whitelist": "mov,matroska,webm,avi", "protocol_whitelist": "file"}
SEEK_MARGIN = 0.5  # seconds: decoders of sound need a run-up, and an index may be a little off
GAP = 0.05  # seconds: timestamps that jump by less are rounding, not missing sound
ROUNDING = 5e-4  # seconds, of a container's timestamps
SHORT = 0.25  # seconds that the pictures of a file may end before the stretch that is read


class MediaError(ValueError):
    """A file that cannot be read, or is larger than the limits above; the message names the file and the mend."""


@dataclass(frozen=True)
class Media:
    """What a file's header says. fps: frames per second; duration: seconds; sample_rate: Hz, 0 without sound."""

    fps: float
    duration: float
    sample_rate: int


@dataclass(frozen=True)
class Frame:
    """A decoded frame. time: seconds; aspect: width over height of its pixels."""

    time: float
    data: av.VideoFrame
    aspect: float

    @property
    def upright(self) -> bool:
        """Whether it is stored as it is shown: phones store portrait as landscape, with a note."""
        return round(self.data.rotation / 90) % 2 == 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown, in pixels that are square."""
        size = max(1, round(self.data.width * self.aspect)), self.data.height
        return size if self.upright else size[::-1]

    def pixels(self, size: tuple[int, int], pixel_format: str = "rgb24") -> Tensor:
        """Scaled and cropped in the middle to `size` (width, height): uint8 [H, W, 3], or [H, W] of "gray"."""
        width, height = size if self.upright else size[::-1]
        scale = max(width / (self.data.width * self.aspect), height / self.data.height)
        large = round(self.data.width * self.aspect * scale), round(self.data.height * scale)
        large = max(width, large[0]), max(height, large[1])
        try:
            scaled = self.data.reformat(*large, format=pixel_format, interpolation="BICUBIC").to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"pictures of format {self.data.format.name} cannot be converted: export anew") from error
        left, top = (large[0] - width) // 2, (large[1] - height) // 2
        cropped = torch.from_numpy(scaled[top : top + height, left : left + width].copy())
        return cropped.rot90(round(self.data.rotation / 90))


def probe(path: Path) -> Media:
    """Reads the header. MediaError for a broken file, one without pictures, and one over a limit."""
    with _opened(path) as (container, _):
        video, sound = _video_stream(container, path), _sound_stream(container, path)
        fps = float(video.average_rate or video.guessed_rate or 0)
        if not 0 < fps <= MAX_RATE:
            raise MediaError(f"{path.name} has {fps:g} frames per second: convert it to a rate up to {MAX_RATE:g}")
        return Media(fps, (container.duration or 0) / av.time_base, sound.rate if sound else 0)


def read_frames(path: Path, start: float = 0.0, stop: float = math.inf) -> Iterator[Frame]:
    """Every frame from `start` to before `stop` (seconds), in order. MediaError where the file is damaged."""
    with _opened(path) as (container, origin):
        stream = _video_stream(container, path)
        aspect = float(stream.sample_aspect_ratio or 1)
        for time, frame in _decode(container, stream, origin, start, path):
            if time >= stop - ROUNDING:
                return
            if time > MAX_SECONDS:  # of a file that does not say how long it is
                raise MediaError(f"{path.name} lasts over {MAX_SECONDS:.0f} s: cut it into parts")
            if frame.is_corrupt:
                raise MediaError(f"{path.name} is damaged at {time:.2f} s: export it anew")
            if time >= start - ROUNDING:
                yield Frame(time, frame, aspect)


def read_video(path: Path, start: float, duration: float, *, frames: int, fps: float, size: tuple[int, int]) -> Tensor:
    """Frames of a stretch -> [3, F, H, W] in [-1, 1], cropped in the middle to `size` (width, height).

    Frame i is that of the stretch which is nearest in time to start + i / fps. MediaError where the file ends before.
    """
    wanted = [start + i / fps for i in range(frames)]
    chosen: list[Tensor] = []

    def choose(frame: Frame, until: float) -> None:
        """`frame` is the nearest of all times that are wanted before `until`."""
        count = sum(time <= until for time in wanted[len(chosen) :])
        if count:
            chosen.extend([frame.pixels(size)] * count)

    held = None
    for frame in read_frames(path, start, start + duration):
        if held:
            choose(held, (held.time + frame.time) / 2)
        held = frame
        if len(chosen) == frames:
            break
    if held is None or (len(chosen) < frames and held.time < wanted[-1] - SHORT):
        raise MediaError(f"{path.name} has no pictures at {wanted[-1]:.2f} s: curate its folder again")
    choose(held, math.inf)
    return torch.stack(chosen).movedim(-1, 0) / 127.5 - 1


def read_sound(path: Path, start: float, duration: float, sample_rate: int) -> Tensor:
    """Sound of a stretch, mixed to mono -> [1, S] in [-1, 1], S = round(duration * sample_rate).

    Silence wherever the file has no sound.
    """
    samples = round(duration * sample_rate)
    with _opened(path) as (container, origin):
        stream = _sound_stream(container, path)
        if stream is None:
            return torch.zeros(1, samples)
        rate, to_mono = stream.rate, AudioResampler(format="flt", layout="mono", rate=stream.rate)
        sound = torch.zeros(math.ceil(duration * rate))
        position: int | None = None
        for time, frame in _decode(container, stream, origin, start, path):
            if time >= start + duration:
                break
            place = round((time - start) * rate)
            if position is None or abs(place - position) > GAP * rate:
                position = place
            for part in to_mono.resample(frame):
                chunk = torch.from_numpy(part.to_ndarray()).flatten()
                first, last = max(position, 0), min(position + len(chunk), len(sound))
                if first < last:
                    sound[first:last] = chunk[first - position : last - position]
                position += len(chunk)
    sound = resample(sound[None], rate, sample_rate)[:, :samples]
    return F.pad(sound, (0, samples - sound.shape[1])).clamp(-1, 1)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, float]]:
    """The file, and the timestamp in seconds with which it begins. Every error of the decoder becomes a MediaError."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise MediaError(f"{path.name} has {size} bytes: allowed are {MAX_BYTES}, cut it into parts")
        with av.open(str(path), options=OPTIONS, metadata_errors="replace") as container:
            seconds = (container.duration or 0) / av.time_base
            if seconds > MAX_SECONDS:
                raise MediaError(f"{path.name} lasts {seconds:.0f} s: allowed are {MAX_SECONDS:.0f}, cut it into parts")
            yield container, (container.start_time or 0) / av.time_base
    except MediaError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"{path.name} cannot be read ({why}): export it anew") from error


def _video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    if not container.streams.video:
        raise MediaError(f"{path.name} has no pictures: move it out of the folder")
    stream = container.streams.video[0]
    if max(stream.width, stream.height) > MAX_SIDE:
        raise MediaError(f"{path.name} is {stream.width} x {stream.height}: scale it to at most {MAX_SIDE} pixels")
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE**2)}  # a stream can be larger than its header says
    return stream


def _sound_stream(container: InputContainer, path: Path) -> av.AudioStream | None:
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    if stream.rate not in SAMPLE_RATES:
        raise MediaError(f"{path.name} has sound at {stream.rate} Hz: convert it to one of {SAMPLE_RATES}")
    return stream


def _decode(
    container: InputContainer, stream: av.VideoStream | av.AudioStream, origin: float, start: float, path: Path
) -> Iterator[tuple[float, Any]]:
    """(time in seconds, frame) from somewhat before `start`, to the end."""
    if start > SEEK_MARGIN:
        container.seek(int((start + origin - SEEK_MARGIN) * av.time_base))
    frame: Any  # of the stream's kind
    for frame in container.decode(stream):
        if frame.time is None:
            raise MediaError(f"{path.name} has a frame without a time: export it anew")
        yield frame.time - origin, frame
