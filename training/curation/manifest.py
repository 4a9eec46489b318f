"""What training may use of a folder of clips: the manifest that curation writes, and the reader of its clips."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from torch import Tensor

from training.curation.media import MAX_SECONDS, read_sound, read_video

FORMAT = "skycanvas-manifest"
VERSION = 1
MAX_BYTES = 512 * 2**20  # of a manifest
MAX_ENTRIES = 1_000_000
MAX_CAPTION = 20_000  # characters


class ManifestError(ValueError):
    """A manifest or an entry that cannot be used; the message names the field, its value and what is allowed."""


@dataclass(frozen=True)
class Entry:
    """One clip of a folder that training may use. ManifestError for values out of range.

    file: relative to the manifest's folder, with forward slashes, no '..'. start, duration: seconds, in the file.
    caption: of the text file `name.txt` beside `name.mp4`, '' if there is none. weight: how often it is drawn, 1 on
    average over all that is kept. measures: see `training.curation.measures`.
    """

    file: str
    start: float
    duration: float
    caption: str
    weight: float = 1.0
    measures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _is_inside(self.file):
            raise ManifestError(f"file {self.file!r} is not a path inside the folder, with forward slashes: rename it")
        if not isinstance(self.caption, str) or len(self.caption) > MAX_CAPTION:
            raise ManifestError(f"caption of {self.file} is not a text of at most {MAX_CAPTION} characters")
        for name, most in (("start", MAX_SECONDS), ("duration", MAX_SECONDS), ("weight", 1e6)):
            if not _is_number(value := getattr(self, name)) or not 0 <= value <= most:
                raise ManifestError(f"{name} {value!r} of {self.file} is not a number from 0 to {most:g}")
        if not isinstance(self.measures, Mapping) or not all(
            isinstance(name, str) and _is_number(value) for name, value in self.measures.items()
        ):
            raise ManifestError(f"measures of {self.file} are not numbers by name")


@dataclass(frozen=True)
class Manifest:
    """What the pipeline kept, and what it dropped with the reason: a sentence with the value and its limit."""

    folder: Path
    kept: tuple[Entry, ...]
    dropped: tuple[tuple[Entry, str], ...]

    def save(self, path: Path) -> None:
        """Writes JSON aside, then renames it. The folder is noted relative to it, so that both can move together."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "folder": _relative(self.folder, path.parent),
            "kept": [asdict(entry) for entry in self.kept],
            "dropped": [asdict(entry) | {"reason": reason} for entry, reason in self.dropped],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1), encoding="utf-8")
        os.replace(aside, path)

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Reads what `save` wrote. ManifestError for anything else."""
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ManifestError(f"{path} has {size} bytes: a manifest has at most {MAX_BYTES}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ManifestError(f"{path} is no JSON ({error}): curate the folder again") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ManifestError(f"{path} is no manifest: make one with python3 -m training.curation")
        if content.get("version") != VERSION:
            raise ManifestError(f"{path} has version {content.get('version')!r}, known is {VERSION}: curate again")
        folder, kept, dropped = (content.get(name) for name in ("folder", "kept", "dropped"))
        if not isinstance(folder, str) or not isinstance(kept, list) or not isinstance(dropped, list):
            raise ManifestError(f"{path} lacks folder, kept or dropped: curate the folder again")
        if len(kept) + len(dropped) > MAX_ENTRIES:
            raise ManifestError(f"{path} has {len(kept) + len(dropped)} entries: at most {MAX_ENTRIES} are read")
        return cls(
            folder=path.parent / folder,
            kept=tuple(_usable(_entry(row)) for row in kept),
            dropped=tuple((_entry(row, "reason"), _reason(row)) for row in dropped),
        )


def read_clip(
    folder: Path, entry: Entry, *, frames: int, fps: float, size: tuple[int, int], sample_rate: int
) -> tuple[Tensor, Tensor]:
    """The first `frames` frames of an entry at `fps`, and the sound that goes with them.

    Returns video [3, F, H, W] in [-1, 1], cropped in the middle to `size` (width, height) after scaling, each frame
    the nearest in time; and sound [1, S] mono in [-1, 1], S = round(frames / fps * sample_rate), silence where the file
    has none. ManifestError if the entry is shorter than that, MediaError (a ValueError too) if the file cannot be read.
    For another part of the clip: `replace(entry, start=..., duration=...)`.
    """
    if frames < 1 or fps <= 0 or min(size) < 1 or sample_rate < 1:
        raise ManifestError(f"frames {frames}, fps {fps}, size {size} and sample rate {sample_rate} must be positive")
    seconds = frames / fps
    if seconds > entry.duration + 0.5 / fps:
        raise ManifestError(
            f"{entry.file} lasts {entry.duration:.2f} s from {entry.start:.2f} s: "
            f"{frames} frames at {fps:g} per second need {seconds:.2f} s"
        )
    path = folder / entry.file
    video = read_video(path, entry.start, entry.duration, frames=frames, fps=fps, size=size)
    return video, read_sound(path, entry.start, seconds, sample_rate)


def _is_inside(file: Any) -> bool:
    """Whether it is a path that every system reads as one inside a folder, and that UTF-8 can write."""
    if not isinstance(file, str) or re.search(r"[\\\0\ud800-\udfff]", file):
        return False
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not PureWindowsPath(file).drive


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _relative(folder: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(folder, base)).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()


def _entry(row: Any, *others: str) -> Entry:
    known = {field.name for field in fields(Entry)}
    if not isinstance(row, dict) or not {"file", "start", "duration", "caption"} <= row.keys() <= known | {*others}:
        raise ManifestError(f"entry {str(row)[:200]} does not have the fields {', '.join(sorted(known))}")
    return Entry(**{name: value for name, value in row.items() if name in known})


def _usable(entry: Entry) -> Entry:
    if not entry.duration:
        raise ManifestError(f"duration of {entry.file} is 0: a clip that is kept lasts longer")
    return entry


def _reason(row: Any) -> str:
    if not isinstance(reason := row.get("reason"), str):
        raise ManifestError(f"reason {reason!r} of {row['file']} is not a text")
    return reason
