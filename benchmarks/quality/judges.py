"""Is an edit done, and is all else as it was? Clips of the paired worlds against their rendered truth.

A criterion says for every clip i and every example j of a world whether i would do for j: [B, B] bool. The diagonal
holds the true pairs; off it, chance.

Edits have one truth, so the plainest judge serves all of them: where the edit changes the picture, is the clip nearer
to the truth than half way? Detectors that know the toybox have to agree where they can see what is asked for, and the
object of the clip has to be where it was. What this says of real and of wrong clips is the table of the task
"verdicts".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality.detectors import NONE, SMALLEST_OBJECT, Hearing, Sight, listen, look
from benchmarks.quality.figures import Array
from benchmarks.quality.metrics import own_psnr, squared_errors
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.worlds import MOST, Case, every_pair, shows
from training.toybox import FRAME_SIZE, Scenes
from training.worlds.edits import CORNERS, STRIPE, level_of_props, props
from training.worlds.effects import EFFECTS, strengths
from training.worlds.example import CHANGED
from training.worlds.styles import GLOBAL

BESIDE = 2  # pixels beside a change, which codecs blur into it, that belong neither to it nor to the rest
HALF_WAY = 0.5  # root mean square distance to the truth, as a share of the distance that there was to go
FAINT = 0.2  # share of an overlay's contrast that may be left
NEAR = 3.0  # pixels by which an object may on average be off its place
FOLLOWED = 4.0  # pixels by which it may be off where the motion of another clip leads it
WINDOW, REACH = 45, 8  # pixels: side of the picture by which an object is found, and how far off it is looked for
LIKENESS = 0.5  # correlation with that picture below which it is not found
# Contrast of stripes as a share of the mean brightness: real ones have 0.8, of which the codecs leave 0.1 to 0.6; plain
# objects have 0.035 at most.
STRIPED = 0.06
WORST_EFFECT = 0.15  # mean error of an effect's course, in which the object is 1

OVERLAYS = ("watermark", "subtitle", "logo")
# Worlds that leave a part of every picture as it is.
LOCAL = (*OVERLAYS, "add", "delete", "delete subject", "replace subject", "colour", "texture", "shape")
LOCAL += ("background", "background picture")
Criterion = Callable[["Seen"], Array]


class Seen:
    """Clips of a world, and what the detectors see and hear in them when they are asked."""

    def __init__(self, clips: Clips, case: Case):
        assert clips.video is not None and clips.sound is not None
        self.video, self.sound, self.case = clips.video, clips.sound, case

    @cached_property
    def sight(self) -> Sight:
        return look(self.video, self.case.scenes.level)

    @cached_property
    def hearing(self) -> Hearing:
        return listen(self.sound, self.case.scenes.level)

    @cached_property
    def track(self) -> Array:
        """As `found_at`."""
        return found_at(self.video, self.case)


# -- where an edit changes the picture ---------------------------------------------------------------------------------


def way_left(video: Tensor, case: Case) -> Array:
    """How far clip i is from truth j where the edit changes the picture: 1 as far as the source, 0 there. [B, B]"""
    where, truth = case.example.changed, case.example.video
    to_go = squared_errors(case.source, truth, where).diagonal()
    return np.sqrt(squared_errors(video, truth, where) / np.maximum(to_go, 1e-9))


def trace_left(video: Tensor, case: Case) -> Array:
    """How much of what the edit takes away is still to be seen in clip i: 1 all of its contrast, 0 nothing. [B, B]

    What clip i shows beside that, such as a blur, has no part in it.
    """
    truth = case.example.video
    contrast = torch.where(case.example.changed[:, None], case.source - truth, 0).flatten(1).double()
    along = video.flatten(1).double() @ contrast.T - (truth.flatten(1).double() * contrast).sum(1)
    return (along / contrast.square().sum(1).clamp(min=1e-9)).numpy()


def rest_psnr(video: Tensor, case: Case) -> Array:
    """Picture where the edit changes nothing, against the truth, in dB. [B]"""
    return own_psnr(video, case.example.video, case.example.unchanged(BESIDE))


# -- where objects are -------------------------------------------------------------------------------------------------


def places_of(case: Case) -> tuple[Array, Tensor]:
    """Where the object of the truth is [B, F, 2] (x, y in pixels), and which frames show enough of it [B, F] bool."""
    scenes = case.scenes
    if case.name not in GLOBAL:
        return scenes.positions().double().numpy(), torch.ones(len(scenes), scenes.frames, dtype=torch.bool)
    # What looks different if the object has another colour is the object, whatever the style or the camera.
    recoloured = replace(scenes, colour=(scenes.colour + 1) % len(scenes.level.colours))
    edit = GLOBAL[case.name][0]
    mask = ((edit(scenes) - edit(recoloured)).abs().amax(1) > CHANGED).double()
    axis, area = torch.arange(FRAME_SIZE) + 0.5, mask.sum((2, 3))
    centre = torch.stack([(mask.sum(2) * axis).sum(2), (mask.sum(3) * axis).sum(2)], -1)
    centre = torch.where((area > 0)[..., None], centre / area.clamp(min=1)[..., None], FRAME_SIZE / 2)
    return centre.numpy(), area >= SMALLEST_OBJECT


def found_at(video: Tensor, case: Case) -> Array:
    """Where the object of each clip is [B, F, 2]: what looks most like the truth around its place, at most REACH
    pixels off in x and y, by normalised correlation; NaN where nothing looks like it."""
    places, truth = torch.from_numpy(places_of(case)[0]), case.example.video
    if case.name == "texture":  # each stripe looks like the next one
        video, truth = (_without_stripes(x) for x in (video, truth))
    parts = zip(video.split(8), truth.split(8), places.split(8), strict=True)
    return np.concatenate([_matched(*part) for part in parts])


def _without_stripes(video: Tensor) -> Tensor:
    """Averages over as many columns of [B, 3, F, H, W] as two stripes have."""
    padded = F.pad(video.flatten(0, 1), (STRIPE // 2, STRIPE - STRIPE // 2 - 1, 0, 0, 0, 0), mode="replicate")
    return F.avg_pool3d(padded, (1, 1, STRIPE), stride=1).view_as(video)


def _matched(video: Tensor, truth: Tensor, places: Tensor) -> Array:
    """video, truth [B, 3, F, H, W], places [B, F, 2] -> [B, F, 2]"""
    half, lags = WINDOW // 2, 2 * REACH + 1
    corner = places.floor().long().flatten(0, 1)  # [N, 2]

    def cut(clip: Tensor, margin: int) -> Tensor:
        """Squares around the places, `margin` wider than the window on every side. [N, 3, side, side]"""
        frames = F.pad(clip.transpose(1, 2).flatten(0, 1), (half + REACH,) * 4, mode="replicate")
        step = torch.arange(WINDOW + 2 * margin) + REACH - margin
        rows, columns = corner[:, 1, None] + step, corner[:, 0, None] + step
        index = torch.arange(len(frames))[:, None, None]
        return frames.movedim(1, -1)[index, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

    wanted, around = cut(truth, 0), cut(video, REACH)
    wanted = wanted - wanted.mean((2, 3), keepdim=True)
    # Correlation by way of the spectrum: no lag wraps, for the larger square holds the smaller at all of them.
    size = (FRAME_SIZE, FRAME_SIZE)
    spectrum = (torch.fft.rfft2(around, s=size) * torch.fft.rfft2(wanted, s=size).conj()).sum(1)
    along = torch.fft.irfft2(spectrum, s=size)[:, :lags, :lags]
    total, squares = (_window_sums(x.double()) for x in (around, around.square()))
    energy = (squares - total.square() / WINDOW**2).sum(1).clamp(min=1e-3)
    likeness = along / (energy * wanted.square().sum((1, 2, 3)).clamp(min=1e-3)[:, None, None]).sqrt()
    best, index = likeness.flatten(1).max(1)
    found = places.flatten(0, 1) + torch.stack([index % lags, index // lags], -1) - REACH
    found[best < LIKENESS] = torch.nan
    return found.view_as(places).numpy()


def _window_sums(x: Tensor) -> Tensor:
    """Sums over all windows of WINDOW x WINDOW pixels in [N, C, H, W]. [N, C, H - WINDOW + 1, W - WINDOW + 1]"""
    for axis in (2, 3):
        until = F.pad(x, (1, 0) if axis == 3 else (0, 0, 1, 0)).cumsum(axis)
        x = until.narrow(axis, WINDOW, x.shape[axis] - WINDOW + 1) - until.narrow(axis, 0, x.shape[axis] - WINDOW + 1)
    return x


def away(track: Array, places: Array, counted: Tensor) -> Array:
    """Mean distance (pixels) of track i from the places of j over its frames that count; a lost object is as far away
    as the box is wide. [B, B]"""
    result = np.zeros((len(track), len(places)))
    for j, when in enumerate(counted.numpy()):
        distance = np.linalg.norm(track[:, when] - places[j, when], axis=2)
        result[:, j] = np.nan_to_num(distance, nan=FRAME_SIZE).mean(1) if when.any() else 0
    return result


# -- criteria ----------------------------------------------------------------------------------------------------------


def near_truth(seen: Seen) -> Array:
    return way_left(seen.video, seen.case) < HALF_WAY


def overlay_gone(seen: Seen) -> Array:
    """Neither it nor its negative is to be seen."""
    return np.abs(trace_left(seen.video, seen.case)) < FAINT


def in_place(seen: Seen) -> Array:
    """The object is where that of the truth is."""
    return away(seen.track, *places_of(seen.case)) <= NEAR


def attribute(name: str) -> Criterion:
    """The object's colour or shape, or the background, is that of the truth in most frames."""
    return lambda seen: shows(getattr(seen.sight, name), getattr(seen.case.target, name))


def striped(seen: Seen) -> Array:
    """Stripes of the right width run down the object, wherever it is found, and are dark where the truth's are."""
    case = seen.case
    shift = torch.from_numpy(seen.track - places_of(case)[0]).nan_to_num(REACH * 4).round().long().flatten(0, 1)
    inside = (case.scenes.coverage()[:, 0] > 0.95).flatten(0, 1)  # [B * F, H, W]
    brightness = ((seen.video.amax(1) + 1) / 2).flatten(0, 1)
    axis = torch.arange(FRAME_SIZE)
    rows, columns = ((axis + shift[:, i, None]).clamp(0, FRAME_SIZE - 1) for i in (1, 0))
    index = torch.arange(len(brightness))[:, None, None]
    weight = inside.double()
    moved = brightness[index, rows[:, :, None], columns[:, None, :]].double() * weight
    mean = moved.sum((1, 2)) / weight.sum((1, 2))
    turn = 2 * torch.pi * axis.double() / STRIPE

    def contrast(axis: int) -> Tensor:
        """Of stripes that run along an axis of [B * F, H, W], on average over the frames. [B]"""
        profile = (moved - mean[:, None, None] * weight).sum(axis)
        part = [(profile * wave).sum(1) for wave in (turn.cos(), turn.sin())]
        share = 2 * torch.hypot(*part) / weight.sum((1, 2)) / mean.clamp(min=0.05)
        return share.view(len(case), -1).mean(1)

    down, across = contrast(1), contrast(2)
    right = every_pair((down > STRIPED) & (down > across))
    # Codecs blur stripes so much that half the way to the truth would be nearly all that they can go.
    return right & (trace_left(seen.video, case) < HALF_WAY)


def prop_seen(seen: Seen) -> Array:
    """A small object of the right colour and shape stands in its corner, as far as the moving one does not cover it."""
    scenes, corners = seen.case.scenes, list(CORNERS.values())
    standing, corner = props(scenes, seen.case.generator())
    gap = scenes.positions() - torch.tensor(corners)[corner][:, None]
    clear = gap.norm(dim=2) > 1.2 * (scenes.radius() + standing.radius())[:, None] + BESIDE
    result = np.zeros((len(seen.video), len(scenes)), dtype=bool)
    for index, spot in enumerate(corners):
        here = corner == index
        sight = look(_corner(seen.video, spot), level_of_props(scenes.level))
        right = shows(sight.colour, standing.colour[here], clear[here])
        result[:, here.numpy()] = right & shows(sight.shape, standing.shape[here], clear[here])
    return result


def _corner(video: Tensor, spot: tuple[int, int]) -> Tensor:
    """Clips that show the surroundings of the spot (x, y) alone, on the usual colour of each frame."""
    ground = video.flatten(3).median(3).values[..., None, None]
    x, y = ((torch.arange(FRAME_SIZE) - place).abs() <= min(CORNERS["top left"]) for place in spot)
    return torch.where(y[:, None] & x, video, ground)


def one_object(seen: Seen) -> Array:
    return every_pair((seen.sight.parts == 1).double().mean(1) >= MOST)


def no_object(seen: Seen) -> Array:
    return every_pair((~seen.sight.present).double().mean(1) >= MOST)


def silent(seen: Seen) -> Array:
    return every_pair(~seen.hearing.sounds)


def follows(seen: Seen) -> Array:
    """The object is where that of the other clip is."""
    places, counted = places_of(seen.case)
    return away(seen.sight.track, places, counted) <= FOLLOWED


@dataclass(frozen=True)
class Course:
    """How much of the object of each clip there is over time, and how opaque its middle is; the first frame has 1.
    [B, F], [B, F]"""

    mass: Tensor
    middle: Tensor

    @classmethod
    def of(cls, video: Tensor, scenes: Scenes) -> Course:
        """The objects of `scenes` stand still at their first places."""
        first = replace(scenes, frames=1)
        ground = first.background_picture()
        contrast = first.paint() - ground
        opacity = ((video - ground) * contrast).sum(1) / contrast.square().sum(1)  # [B, F, H, W]
        cover = first.coverage()[:, 0]  # [B, 1, H, W]
        axis = torch.arange(FRAME_SIZE) + 0.5
        x, y = ((axis - scenes.start[:, i, None]).abs() < 2 for i in (0, 1))
        middle = (y[:, :, None] & x[:, None, :])[:, None].float()
        return cls(
            mass=opacity.clamp(0, 1).sum((2, 3)) / cover.sum((2, 3)),
            middle=(opacity * middle).sum((2, 3)) / middle.sum((2, 3)),
        )

    def effect(self) -> Tensor:
        """Index of the effect in EFFECTS that takes this course; NONE if none does. [B]"""
        size, opacity = strengths(torch.arange(len(EFFECTS)), self.mass.shape[1])
        off = (self.mass[:, None] - size.square() * opacity).abs() + (self.middle[:, None] - opacity).abs()
        error, kind = (off.mean(2) / 2).min(1)
        return torch.where(error <= WORST_EFFECT, kind, NONE)


def effect_seen(seen: Seen) -> Array:
    """The effect of the other clip acts on the object of the first frame."""
    kind = Course.of(seen.video, seen.case.scenes).effect()
    return (kind[:, None] == seen.case.example.facts["effect"]).numpy()


USUAL = (near_truth, in_place)
# World -> what makes it done.
CRITERIA: dict[str, tuple[Criterion, ...]] = {
    **dict.fromkeys(OVERLAYS, (overlay_gone, in_place)),
    "add": (*USUAL, prop_seen),
    "delete": (*USUAL, one_object),
    "delete subject": (near_truth, attribute("background"), no_object, silent),
    "replace subject": (*USUAL, attribute("colour"), attribute("shape")),
    "colour": (*USUAL, attribute("colour")),
    "texture": (in_place, striped),
    "shape": (*USUAL, attribute("shape")),
    "background": (*USUAL, attribute("background")),
    "background picture": (*USUAL, attribute("background")),
    **dict.fromkeys(GLOBAL, USUAL),
    "motion": (follows, attribute("colour"), attribute("shape")),
    "effect": (effect_seen,),
}


def done(seen: Seen) -> Array:
    """Whether clip i does what example j asks for. [B, B] bool"""
    return np.logical_and.reduce([criterion(seen) for criterion in CRITERIA[seen.case.name]])
