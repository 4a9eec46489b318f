"""What the benchmark sees beside the detectors of benchmarks.quality: one object followed, dirt, flicker.

A second object or a ghost is a fault of the picture, not of the motion: the motion is that of the followed object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from benchmarks.quality.detectors import SMALLEST_PART, Sight, count_parts, foreground, look, speed_of, steps_of
from benchmarks.quality.figures import Array
from benchmarks.quality.metrics import PACE_TOLERANCE
from training.toybox import Level

HALO = 6  # pixels around the object that are not background yet: what the codec smears of it
RIND = 3  # pixels along the object's edge that are not its paint yet


@dataclass
class Picture:
    """Pictures of B clips of F frames, as seen.

    raw: all that is there. sight: the followed object alone. dirt: root mean square (RGB, 0..1) of what differs from
    the ground's colour around the object, and from the paint's within it [B, F]; off: distance (RGB, 0..1) of ground
    and paint from the nearest colours of the level [B, F]; flicker: change of ground and paint since the frame before
    [B, F], NaN in the first.
    """

    raw: Sight
    sight: Sight
    dirt: Array
    off: Array
    flicker: Array


@torch.inference_mode()
def see(video: Tensor, level: Level) -> Picture:
    """Reads video [B, 3, F, 64, 64] in [-1, 1]."""
    clips, frames = video.shape[0], video.shape[2]
    raw = look(video, level)  # refuses other shapes
    pixels = (video.float().transpose(1, 2).flatten(0, 1) + 1) / 2  # [B * F, 3, H, W] in 0..1
    coverage, paint, ground = foreground(pixels)
    followed = torch.cat([follow(clip) for clip in coverage.unflatten(0, (clips, frames))])
    dirt = deviation(pixels, ~grown(followed, HALO), grown(followed, -RIND))
    several = count_parts(coverage > 0.5) > 1
    others = several[:, None, None] & (coverage > 0.05) & ~grown(followed, RIND)
    alone = torch.where(others[:, None], ground[..., None, None], pixels)
    seen = followed.flatten(1).any(1)
    paint = torch.where(seen[:, None], paint, math.nan)
    colours = torch.tensor([colour.rgb for colour in level.colours.values()]) / 255
    grounds = torch.tensor(list(level.backgrounds.values())) / 255
    off = torch.stack([torch.cdist(ground, grounds).amin(1), torch.cdist(paint, colours).amin(1)], 1)
    both = torch.cat([ground, paint], 1).unflatten(0, (clips, frames))
    change = F.pad(both.diff(dim=1), (0, 0, 1, 0), value=math.nan)

    def by_clip(x: Tensor) -> Array:
        return x.double().view(clips, frames).numpy()

    return Picture(
        raw=raw,
        sight=look(alone.unflatten(0, (clips, frames)).transpose(1, 2) * 2 - 1, level) if several.any() else raw,
        dirt=by_clip(dirt),
        off=by_clip(off.square().nanmean(1).sqrt()),
        flicker=by_clip(change.flatten(0, 1).square().nanmean(1).sqrt()),
    )


def follow(coverage: Tensor) -> Tensor:
    """The silhouette of one object through a clip, [F, H, W] bool, of the coverage [F, H, W] of all.

    In each frame one of the parts at least half as large as the largest: at first that, then the nearest to the last.
    """
    chosen, place = np.zeros(coverage.shape, dtype=bool), None
    for frame, silhouette in enumerate((coverage > 0.5).numpy()):
        labels, count = ndimage.label(silhouette)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        if areas.max(initial=0) < SMALLEST_PART:
            continue
        large = 1 + np.flatnonzero(areas >= max(SMALLEST_PART, areas.max() / 2))
        centres = np.array(ndimage.center_of_mass(silhouette, labels, large))
        best = areas[large - 1].argmax() if place is None else np.linalg.norm(centres - place, axis=1).argmin()
        place, chosen[frame] = centres[best], labels == large[best]
    return torch.from_numpy(chosen)


def grown(mask: Tensor, pixels: int) -> Tensor:
    """Masks [N, H, W] bool, wider by so many pixels on every side, or narrower where negative."""
    reach = abs(pixels)
    x = (mask if pixels > 0 else ~mask).float()
    for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        x = F.max_pool2d(x, kernel, stride=1, padding=padding)
    return x > 0 if pixels > 0 else x == 0


def deviation(pixels: Tensor, *areas: Tensor) -> Tensor:
    """Root mean square distance of pixels [N, 3, H, W] from their area's mean colour; areas [N, H, W] bool. [N]"""
    square, count = torch.zeros(len(pixels)), torch.zeros(len(pixels))
    for area in areas:
        weight = area.float()[:, None]
        size = weight.sum((1, 2, 3))
        mean = (pixels * weight).sum((2, 3), keepdim=True) / size.clamp(min=1)[:, None, None, None]
        square += ((pixels - mean).square() * weight).sum((1, 2, 3))
        count += size
    return (square / count.clamp(min=1)).sqrt()


# -- motion ------------------------------------------------------------------------------------------------------------


def paces(track: Array, level: Level, fps: float) -> list[str | None]:
    """The word for the speed of each track [B, F, 2]; None where it is off every word's by more than PACE_TOLERANCE."""
    names, table = list(level.speeds), np.array(list(level.speeds.values()))
    off = np.abs(np.log(np.maximum(speed_of(track, fps), 1e-3)[:, None] / table))
    return [
        names[row.argmin()] if np.isfinite(row).all() and row.min() <= math.log(PACE_TOLERANCE) else None for row in off
    ]


def unsteadiness(track: Array) -> Array:
    """How much the step from frame to frame varies: median distance from the median step, as a share of it. [B]

    The few steps within which the object bounces do not count in a median. NaN for an object that is lost or stands.
    """
    result = []
    for row in steps_of(track):
        row = row[np.isfinite(row)]
        usual = np.median(row) if len(row) else 0.0
        result.append(np.median(np.abs(row - usual)) / usual if usual > 0 else math.nan)
    return np.array(result)
