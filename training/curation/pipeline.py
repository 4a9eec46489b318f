"""The stages of curation, after SkyReels-V4 sec. 3.4.2: shots, measures and filters (sync too), duplicates, balance."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from training.curation import sync
from training.curation.balance import weights
from training.curation.dedup import appearance, digest, find_duplicates, fingerprint
from training.curation.filters import Rules, judge, kinds_of_sound
from training.curation.manifest import MAX_CAPTION, Entry, Manifest, ManifestError
from training.curation.measures import measure_picture, measure_sound
from training.curation.media import SUFFIXES, MediaError, probe, read_sound
from training.curation.shots import Shot, read_shots

DEFAULT = Rules()


@dataclass(frozen=True)
class _Clip:
    """A clip with the reason to drop it; or, where the rules have none, with what finds its duplicates."""

    entry: Entry
    reason: str = ""
    digest: str = ""
    film: Tensor = torch.empty(0)

    def preference(self) -> tuple[float, ...]:
        """Sorts first the copy to keep: the one with sound, then the larger, the longer, the sharper."""
        measures = self.entry.measures
        return -("volume" in measures), -measures["side"], -round(measures["seconds"], 1), -measures["sharpness"]


def curate(
    folder: Path,
    rules: Rules = DEFAULT,
    *,
    net: sync.SyncNet | None = None,
    report: Callable[[str], None] | None = print,
) -> Manifest:
    """Judges every video of a folder and of the folders in it; one that cannot be read is dropped with its reason.

    net: for `rules.sync`, a network of `training.curation.sync`; the shipped one, which knows the toybox alone, if not
    given. report: called with a line for each file. ValueError for a folder without videos.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise ValueError(f"{folder} has no videos: they end in {', '.join(SUFFIXES)}")
    if rules.sync and net is None:
        net = sync.load()
    clips: list[_Clip] = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        found = list(_judge_file(path, name, rules, net))
        clips += found
        if report:
            bad = sum(bool(clip.reason) for clip in found)
            report(f"{name}: {len(found) - bad} clips keep to the rules, {bad} do not")
    clips = _without_duplicates(clips, rules.duplicate)
    kept = [clip for clip in clips if not clip.reason]
    balanced = weights(
        torch.stack([appearance(clip.film) for clip in kept]) if kept else torch.empty(0, 1),
        [clip.entry.measures["motion"] for clip in kept],
        [clip.entry.caption for clip in kept],
        rules.balance,
    )
    return Manifest(
        folder=folder,
        kept=tuple(replace(clip.entry, weight=weight) for clip, weight in zip(kept, balanced, strict=True)),
        dropped=tuple((clip.entry, clip.reason) for clip in clips if clip.reason),
    )


def _judge_file(path: Path, name: str, rules: Rules, net: sync.SyncNet | None) -> Iterator[_Clip]:
    """The clips of a file; one of no duration stands for what cannot be read."""
    end, caption = 0.0, ""
    try:
        Entry(name, 0.0, 0.0, "")
        caption = _caption(path)
        sample_rate = probe(path).sample_rate
        for shot in read_shots(path, most_seconds=rules.most_seconds, split=rules.split):
            end = shot.start + shot.duration
            measures = _measure(shot, path, sample_rate, net if kinds_of_sound(caption) != {"bgm"} else None)
            entry = Entry(name, shot.start, shot.duration, caption, measures=measures)
            if reasons := judge(measures, caption, rules):
                yield _Clip(entry, "; ".join(reasons))
            else:
                times = [time - shot.start for time in shot.times]
                yield _Clip(entry, digest=digest(shot.luma), film=fingerprint(shot.luma, times))
        if not end:
            raise MediaError(f"{path.name} has no pictures: export it anew")
    except MediaError as error:
        yield _Clip(Entry(name, end, 0.0, caption), str(error))
    except ManifestError as error:
        yield _Clip(Entry(re.sub(r"[^\w.-]", "_", name), 0.0, 0.0, ""), str(error))


def _measure(shot: Shot, path: Path, sample_rate: int, net: sync.SyncNet | None) -> dict[str, float]:
    measures = {"seconds": shot.duration, "side": float(min(shot.size))} | measure_picture(shot.luma, shot.fps)
    if sample_rate:
        sound = read_sound(path, shot.start, shot.duration, sample_rate)[0]
        measures |= measure_sound(sound, sample_rate)
        if net:
            times = [time - shot.start for time in shot.times]
            measures |= sync.measure_sync(net, shot.luma, times, sound, sample_rate)
    return measures


def _caption(path: Path) -> str:
    """The text beside the video, '' if there is none."""
    sidecar = path.with_suffix(".txt")
    try:
        if not sidecar.is_file():
            return ""
        with sidecar.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_CAPTION + 1).strip()
    except (OSError, UnicodeError) as error:
        raise MediaError(f"{sidecar.name} cannot be read ({error}): save it as UTF-8") from error
    if len(text) > MAX_CAPTION:
        raise MediaError(f"{sidecar.name} is longer than {MAX_CAPTION} characters: shorten it")
    return text


def _without_duplicates(clips: list[_Clip], threshold: float) -> list[_Clip]:
    """The same clips; those that show what a better one shows have that as the reason to drop them."""
    order = sorted((i for i, clip in enumerate(clips) if not clip.reason), key=lambda i: clips[i].preference())
    films = [clips[i].film for i in order]
    result = list(clips)
    for i, match in zip(order, find_duplicates([clips[i].digest for i in order], films, threshold), strict=True):
        if match:
            original, alike = clips[order[match[0]]].entry, match[1]
            where = f"{original.file} at {original.start:.2f} s"
            near = f"shows nearly what {where} shows: {alike:.3f} alike, at most {threshold:g} is allowed (--duplicate)"
            same = clips[i].digest == clips[order[match[0]]].digest
            result[i] = replace(clips[i], reason=f"shows exactly what {where} shows" if same else near)
    return result
