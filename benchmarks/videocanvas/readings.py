"""What clips are like, one number for each clip and figure, in the place of VBench's scores and of FVD.

VBench and FVD ask networks that know the real world. Here the detectors of `benchmarks.quality` read the toybox:

    PSNR                 inside what is given
    Dynamic Degree       steps in which the object moves; its speed in the latent frames of the patches
    Motion Smoothness    jitter and jumps of its track
    Subject Consistency  frames with the clip's usual shape and colour
    Background Consist.  how far the background's colour wanders
    Temporal Flickering  change from frame to frame where no object is
    Imaging Quality      overlap with the best template, and frames with exactly one object
    Overall Consistency  frames with the shape, colour and background of the prompt
    FVD                  the Frechet distance between the tracks of these clips and those of real ones
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.quality.detectors import (
    NONE,
    TELEPORT,
    Sight,
    foreground,
    jitter_of,
    look,
    speed_of,
    steps_of,
)
from benchmarks.quality.figures import Array, Figure
from benchmarks.quality.metrics import distances, inside_psnr
from benchmarks.videocanvas.sets import Group, of_groups
from models.mmdit import TEMPORAL_SCALE
from training.paradigms import slot_of
from training.toybox import FRAME_SIZE, Scenes

ROUNDS = 400  # of the bootstrap
LEVELS = 255  # of brightness
MOVED = 1.0  # pixels from a frame to the next; the slowest object flies 1.9
FRECHET = "frechet"


class Column(NamedTuple):
    """A figure: its heading, and whether less of it is better (None: neither)."""

    title: str
    down: bool | None = False


COLUMNS = {
    "psnr": Column("PSNR inside (dB)"),
    "away": Column("object off by (px)", True),
    "dynamic": Column("dynamic degree"),
    "pace": Column("px/s", None),
    "pace_there": Column("px/s at the patch", None),
    "jitter": Column("jitter (px/frame²)", True),
    "jumps": Column("jumps", True),
    "subject": Column("subject consistency"),
    "ground": Column("background wanders (of 255)", True),
    "flicker": Column("flicker (of 255)", True),
    "fit": Column("imaging quality (IoU)"),
    "one_object": Column("one object"),
    "prompt": Column("as the prompt says"),
    FRECHET: Column("Fréchet distance of tracks", True),
}


@dataclass(frozen=True)
class Reading:
    """Clips of a set. values: figure -> one number per clip [B], NaN where it has no meaning; tracks [B, features];
    chance: of the PSNR and the distance, with the patches of all clips exchanged."""

    values: dict[str, Array]
    tracks: Array
    chance: dict[str, float]

    @classmethod
    def of(cls, video: Tensor, groups: Sequence[Group]) -> Reading:
        """video [B, 3, F, 64, 64]: the clips made of the groups, in their order."""
        joined = of_groups(groups)
        scenes, shown = joined.scenes, joined.shown
        sight = look(video, scenes.level)
        known = np.concatenate([np.full(len(group.scenes), group.known) for group in groups])
        psnr = inside_psnr(video, joined.canvas, joined.given)
        away = np.where(known, distances(sight.track, scenes, shown), np.nan)
        ground, flicker = still_parts(video)
        right = (sight.shape == scenes.shape[:, None]) & (sight.colour == scenes.colour[:, None])
        steps = steps_of(sight.track)
        values = {
            "psnr": psnr.diagonal(),
            "away": away.diagonal(),
            "dynamic": _share(steps > MOVED, np.isfinite(steps)),
            "pace": speed_of(sight.track, scenes.fps),
            "pace_there": pace_there(sight.track, shown, scenes.fps),
            "jitter": jitter_of(sight.track),
            "jumps": _share(steps > TELEPORT, np.isfinite(steps)),
            "subject": subject_consistency(sight),
            "ground": ground,
            "flicker": flicker,
            "fit": sight.fit.double().mean(1).numpy(),
            "one_object": (sight.parts == 1).double().mean(1).numpy(),
            "prompt": (right & (sight.background == scenes.background[:, None])).double().mean(1).numpy(),
        }
        others = ~np.eye(len(video), dtype=bool)
        chance = {"psnr": float(psnr[others].mean()), "away": _mean(away[others & known[None, :]])}
        return cls(values, tracks_of(sight, scenes.fps), chance)

    @classmethod
    def joined(cls, parts: Sequence[Reading]) -> Reading:
        """Several sets as one; chance is their mean."""
        values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
        chance = {name: _mean(np.array([part.chance[name] for part in parts])) for name in parts[0].chance}
        return cls(values, np.concatenate([part.tracks for part in parts]), chance)

    def statistic(self, name: str, real: Array) -> Callable[[Array], Array]:
        """A figure of clips that are taken as often as weights [R, B] say -> [R]. real: tracks of real clips."""
        if name == FRECHET:
            mean, spread = moments(real)
            return lambda weights: np.array([frechet(*moments(self.tracks, row), mean, spread) for row in weights])
        values = self.values[name]
        finite = np.isfinite(values)
        return lambda weights: _share(weights * np.where(finite, values, 0), weights * finite)

    def figure(self, name: str, real: Array) -> Figure:
        value, error = estimate(self.statistic(name, real), len(self.tracks))
        return Figure(value, error, self.chance.get(name))

    # Plain JSON has no NaN: None stands for it.

    def plain(self) -> dict[str, Any]:
        def rows(x: Array) -> list:
            return [rows(row) for row in x] if x.ndim > 1 else [float(v) if np.isfinite(v) else None for v in x]

        values = {name: rows(x) for name, x in self.values.items()}
        chance = dict(zip(self.chance, rows(np.array(list(self.chance.values()))), strict=True))
        return {"values": values, "tracks": rows(self.tracks), "chance": chance}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Reading:
        values = {name: np.array(x, dtype=np.float64) for name, x in plain["values"].items()}
        chance = {name: np.nan if x is None else x for name, x in plain["chance"].items()}
        return cls(values, np.array(plain["tracks"], dtype=np.float64), chance)


def estimate(statistic: Callable[[Array], Array], clips: int) -> tuple[float, float]:
    """Value of a statistic of weighted clips, and its standard error over a bootstrap; NaN if there is nothing."""
    value = float(statistic(np.ones((1, clips)))[0])
    if np.isnan(value):
        return value, value
    drawn = np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), ROUNDS).astype(np.float64)
    return value, float(np.nanstd(statistic(drawn)))


def _share(parts: NDArray, wholes: NDArray) -> Array:
    """Sum over sum along the rows, NaN where there is nothing."""
    part, whole = parts.sum(1, dtype=np.float64), wholes.sum(1, dtype=np.float64)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _mean(x: Array) -> float:
    return float(x[np.isfinite(x)].mean()) if np.isfinite(x).any() else float("nan")


# -- single figures ----------------------------------------------------------------------------------------------------


def pace_there(track: Array, shown: Tensor, fps: float) -> Array:
    """Speed within the latent frames of which any frame is shown, pixels per second; NaN for first frames alone. [B]

    track [B, F, 2], shown [B, F] bool.
    """
    result = np.full(len(track), np.nan)
    for clip, frames in enumerate(shown):
        lasts = {TEMPORAL_SCALE * slot_of(int(frame)) for frame in frames.nonzero()} - {0}
        parts = [speed_of(track[clip : clip + 1, last - TEMPORAL_SCALE + 1 : last + 1], fps) for last in lasts]
        result[clip] = _mean(np.array(parts))
    return result


def subject_consistency(sight: Sight) -> Array:
    """Frames that show the shape and the colour which most of the clip's frames show. [B]"""
    kind = torch.where((sight.shape == NONE) | (sight.colour == NONE), NONE, sight.shape * 100 + sight.colour)
    same = (kind[:, :, None] == kind[:, None, :]) & (kind[:, None, :] != NONE)
    return same.double().mean(2).amax(1).numpy()


def still_parts(video: Tensor) -> tuple[Array, Array]:
    """Of video [B, 3, F, H, W] in [-1, 1], in levels of 255: how far the background's colour is from its median over
    the clip [B], and how much a pixel changes from a frame to the next where no object is in either [B]."""
    ground, flicker = [], []
    for clip in ((video.clamp(-1, 1) + 1) / 2).unbind(0):
        frames = clip.transpose(0, 1)
        coverage, _, colour = foreground(frames)
        free = F.max_pool2d(coverage[:, None], 5, stride=1, padding=2)[:, 0] < 0.1
        both = (free[1:] & free[:-1])[:, None].expand(-1, 3, -1, -1)
        change = (frames[1:] - frames[:-1]).abs()[both]
        flicker.append(float(change.double().mean()) * LEVELS)
        away = (colour - colour.median(0).values).norm(dim=1)
        ground.append(float(away.double().mean()) * LEVELS)
    return np.array(ground), np.array(flicker)


# -- the stand-in for FVD ----------------------------------------------------------------------------------------------


def tracks_of(sight: Sight, fps: float) -> Array:
    """What clips are like to the detectors, [B, 9], each feature in a unit in which 1 is much for this world.

    Mean place (x, y: 10 pixels), spread of the places (10 pixels), speed (20 pixels per second), jitter (a pixel per
    frame squared), overlap with the best template (0.1), frames without an object (0.1), objects too many (0.1).
    """
    place = np.nan_to_num(_over_time(np.nanmean, sight.track), nan=FRAME_SIZE / 2)
    spread = np.nan_to_num(_over_time(np.nanstd, sight.track))
    pace, jitter = (np.nan_to_num(x) for x in (speed_of(sight.track, fps), jitter_of(sight.track)))
    fit, lost = sight.fit.double().mean(1).numpy(), 1 - sight.present.double().mean(1).numpy()
    many = (sight.parts - 1).clamp(min=0).double().mean(1).numpy()
    columns = (pace / 20, jitter, fit / 0.1, lost / 0.1, many / 0.1)
    return np.concatenate([place / 10, spread / 10, np.stack(columns, 1)], axis=1)


def _over_time(statistic: Callable[..., Array], track: Array) -> Array:
    """Of track [B, F, 2] without its lost frames; NaN for clips that have none other. [B, 2]"""
    seen = np.isfinite(track).any((1, 2))
    result = np.full((len(track), 2), np.nan)
    if seen.any():
        result[seen] = statistic(track[seen], axis=1)
    return result


def moments(x: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Mean [D] and covariance [D, D] of x [B, D], each row taken as often as weights [B] say."""
    w = np.ones(len(x)) if weights is None else weights
    mean = w @ x / w.sum()
    away = x - mean
    return mean, (away * w[:, None]).T @ away / max(w.sum() - 1, 1)


def frechet(mean: Array, spread: Array, real_mean: Array, real_spread: Array) -> float:
    """Frechet distance between two normal distributions (Dowson and Landau 1982), which FID and FVD are."""
    root = _root(real_spread)
    cross = np.linalg.eigvalsh(root @ spread @ root)
    both = np.trace(spread) + np.trace(real_spread) - 2 * np.sqrt(np.clip(cross, 0, None)).sum()
    return float(np.square(mean - real_mean).sum() + both)


def _root(spread: Array) -> Array:
    """Square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(spread)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def real_tracks(video: Tensor, scenes: Scenes) -> Array:
    """`tracks_of` of real clips."""
    return tracks_of(look(video, scenes.level), scenes.fps)


# -- files -------------------------------------------------------------------------------------------------------------


def load_readings(path: Path, settings: dict[str, Any]) -> dict[str, Reading] | None:
    """Readings of a file by set; None if there is no such file, or if it was made with other settings."""
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {name: Reading.from_plain(x) for name, x in kept["sets"].items()} if kept["settings"] == settings else None


def save_readings(path: Path, settings: dict[str, Any], readings: dict[str, Reading]) -> None:
    """Written aside and renamed, so that a kill leaves no half file."""
    aside = path.with_suffix(".part")
    kept = {"settings": settings, "sets": {name: reading.plain() for name, reading in readings.items()}}
    aside.write_text(json.dumps(kept, allow_nan=False) + "\n", encoding="utf-8")
    aside.rename(path)
