"""What is seen and heard in clips of the toybox, by plain image and signal processing: nothing here is trained.

`look` and `listen` take a whole batch. They know the level (which shapes, colours, sounds there are) but not the
prompt, so the same reading serves the right prompt, a wrong one (chance) and real clips (ceiling). Indices count along
the level's tables as those of `Scenes` do; NONE stands for "none of these".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from training.toybox import FRAME_RATE, FRAME_SIZE, HOP, SAMPLE_RATE, SUBPIXELS, Colour, Level, Scenes, Shape

NONE = -1

# Objects are bright and backgrounds dark, so a first guess of what is object reads the brightest channel, in 0..1.
DARK, BRIGHT = 0.36, 0.80  # surely background below, surely object above
SMALLEST_PART = 16  # pixels: a smaller patch is dirt, not an object
SMALLEST_OBJECT = 60  # pixels: with less than this in a frame, the object is lost; the smallest shape has 110
COLOUR_TOLERANCE, BACKGROUND_TOLERANCE = 0.30, 0.12  # RGB distance; the nearest two of the easy level are 0.71, 0.28
WORST_FIT = 0.5  # intersection over union below which a silhouette is no shape at all
CROP = 40  # pixels, side of the window in which a silhouette is compared with templates

SLOWEST_TURN = 0.35  # pixels per frame on either side of a bounce: tracks of real clips wander by a third of it
STANDING = 2.0  # pixels that a standing object may tremble within four frames; the slowest one flies 7
TELEPORT = 7.0  # pixels per frame; the fastest object moves 4
WALL_NEAR = 5.0  # pixels from the wall that still count as at the wall

ENVELOPE_STEP, ENVELOPE_WINDOW = 64, 512  # samples; the window blurs an onset by 6 ms and the lowest note not at all
ONSET_REACH = 6  # envelope steps (9 ms) before and after, whose levels are compared
ONSET_RISE = 1.5  # ratio of these levels
SILENCE = 0.006  # RMS below this is no sound; the faintest bounce peaks at 0.1
RELATIVE_SILENCE = 0.12  # of the clip's loudest moment: fainter than the faintest bounce can be
WORST_SPECTRUM = 0.73  # cosine between spectra below which a sound is no note of the level (its mere octave has 0.71)


@dataclass
class Sight:
    """What is seen in B clips of F frames.

    parts: number of objects [B, F]. present: there is one [B, F]. colour, background, shape, size: index or NONE
    [B, F]. fit: intersection over union with the best template [B, F], 0 where nothing is present. track: centre
    (x, y) in pixels [B, F, 2], NaN where the object is lost.
    """

    parts: Tensor
    present: Tensor
    colour: Tensor
    background: Tensor
    shape: Tensor
    size: Tensor
    fit: Tensor
    track: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: list[Sight]) -> Sight:
        """Parts of one batch, in their order."""
        columns: dict[str, Any] = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        track = np.concatenate(columns.pop("track"))
        return cls(track=track, **{name: torch.cat(column) for name, column in columns.items()})


@dataclass
class Bounce:
    """A turn of the object: when (seconds), along which axis (0: x, 1: y), how far from the nearest wall (pixels)."""

    seconds: float
    axis: int
    wall: float


@dataclass
class Hearing:
    """What is heard in B clips: whether anything [B], times of note beginnings in seconds, and which note it is.

    pitch is the index of the colour that sounds so, timbre that of the shape; [B], NONE for silence or noise.
    """

    sounds: Tensor
    onsets: list[NDArray[np.float64]]
    pitch: Tensor
    timbre: Tensor


# -- sight -------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def look(video: Tensor, level: Level, batch: int = 16) -> Sight:
    """Reads video [B, 3, F, 64, 64] in [-1, 1]; `batch` clips at a time, to bound the memory."""
    if video.ndim != 5 or video.shape[1] != 3 or video.shape[3:] != (FRAME_SIZE, FRAME_SIZE):
        raise ValueError(f"video has shape {list(video.shape)}: expected [B, 3, F, {FRAME_SIZE}, {FRAME_SIZE}]")
    return Sight.joined([_look(clips, level) for clips in video.float().split(batch)])


def _look(video: Tensor, level: Level) -> Sight:
    clips, frames = video.shape[0], video.shape[2]
    pixels = (video.transpose(1, 2).flatten(0, 1) + 1) / 2  # [B * F, 3, H, W] in 0..1
    coverage, paint, ground = foreground(pixels)
    silhouette = coverage > 0.5
    present = silhouette.sum((1, 2)) >= SMALLEST_OBJECT
    centroid = _centroid(coverage)
    shapes, sizes = tuple(level.shapes.values()), tuple(level.sizes.values())
    which, fit = _best_template(silhouette, centroid, _templates(shapes, sizes))
    fits = present & (fit >= WORST_FIT)

    def by_clip(x: Tensor) -> Tensor:
        return x.view(clips, frames, *x.shape[1:])

    colours = torch.tensor([colour.rgb for colour in level.colours.values()]) / 255
    grounds = torch.tensor(list(level.backgrounds.values())) / 255
    shape = by_clip(torch.where(fits, which // len(sizes), NONE))
    size = by_clip(torch.where(fits, which % len(sizes), NONE))
    # The usual shape of the clip, so that a misread frame does not make the track jump.
    offset = _centroid_offsets(shapes, sizes)[_usual(shape, len(shapes)), _usual(size, len(sizes))]
    centre = by_clip(centroid) - offset[:, None]
    track = torch.where(by_clip(present)[..., None], centre, math.nan)
    return Sight(
        parts=by_clip(count_parts(silhouette)),
        present=by_clip(present),
        colour=by_clip(torch.where(present, nearest_colour(paint, colours, COLOUR_TOLERANCE), NONE)),
        background=by_clip(nearest_colour(ground, grounds, BACKGROUND_TOLERANCE)),
        shape=shape,
        size=size,
        fit=by_clip(torch.where(present, fit, 0.0)),
        track=track.double().numpy(),
    )


def foreground(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Frames [N, 3, H, W] in 0..1 -> the object's coverage of each pixel [N, H, W], its colour and the ground's [N, 3].

    The brightest channel tells what is surely object and surely ground; how much of a pixel on the edge is covered
    follows from where its colour lies between the two, so that outlines do not depend on the colours.
    """
    guess = ((pixels.amax(1) - DARK) / (BRIGHT - DARK)).clamp(0, 1)
    rough = guess > 0.5
    inside = guess >= 0.95
    inside = torch.where((inside.sum((1, 2)) >= SMALLEST_OBJECT // 3)[:, None, None], inside, rough)
    # Far from anything bright, stripes of the background are no thin cover of the object's colour.
    near = F.max_pool2d((guess > 0.3).float(), 5, stride=1, padding=2) > 0
    paint, ground = _mean_colour(pixels, inside), _mean_colour(pixels, ~near)
    contrast = paint - ground
    along = ((pixels - ground[..., None, None]) * contrast[..., None, None]).sum(1)
    coverage = (along / contrast.square().sum(1).clamp(min=1e-6)[:, None, None]).clamp(0, 1)
    something = rough.sum((1, 2)) >= SMALLEST_PART
    return coverage * near * something[:, None, None], paint, ground


def _mean_colour(pixels: Tensor, where: Tensor) -> Tensor:
    """Mean over the pixels of [N, 3, H, W] at which `where` [N, H, W]; 0 if there are none. [N, 3]"""
    weight = where.float()[:, None]
    return (pixels * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1)


def nearest_colour(colour: Tensor, table: Tensor, tolerance: float) -> Tensor:
    """Index into table [n, 3] of the colour nearest to each of colour [N, 3]; NONE beyond the tolerance."""
    distance, index = torch.cdist(colour, table).min(1)
    return torch.where(distance <= tolerance, index, NONE)


def count_parts(silhouette: Tensor) -> Tensor:
    """Connected parts of at least SMALLEST_PART pixels in each of the masks [N, H, W]. [N]

    With masks of half coverage, a ghost of less than half the object's contrast goes uncounted.
    """
    within_frames = np.zeros((3, 3, 3))
    within_frames[1] = 1
    labels, count = ndimage.label(silhouette.numpy(), structure=within_frames)
    labels = labels.reshape(len(labels), -1)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    frame = np.zeros(count + 1, dtype=np.int64)
    where = np.nonzero(labels)
    frame[labels[where]] = where[0]
    large = np.flatnonzero(area >= SMALLEST_PART)
    return torch.from_numpy(np.bincount(frame[large[large > 0]], minlength=len(labels)))


def _centroid(coverage: Tensor) -> Tensor:
    """Centre of mass (x, y) in pixels of [N, H, W]; the middle of an empty frame. [N, 2]"""
    axis = torch.arange(FRAME_SIZE) + 0.5
    mass = coverage.sum((1, 2))
    x, y = (coverage.sum(1) * axis).sum(1), (coverage.sum(2) * axis).sum(1)
    centroid = torch.stack([x, y], -1) / mass.clamp(min=1e-6)[:, None]
    return torch.where((mass >= SMALLEST_PART)[:, None], centroid, FRAME_SIZE / 2)


def _usual(index: Tensor, count: int) -> Tensor:
    """The most frequent of `count` indices in each row of [B, F]; 0 if there is NONE alone. [B]"""
    return F.one_hot(index + 1, count + 1)[..., 1:].sum(1).argmax(1)


def _best_template(silhouette: Tensor, centroid: Tensor, templates: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the kinds (shape * sizes + size) fits each of the masks [N, H, W] best, and its IoU. [N], [N]"""
    corner = centroid.floor().long() - CROP // 2
    step = torch.arange(CROP)
    rows = corner[:, 1, None] + step + CROP
    columns = corner[:, 0, None] + step + CROP
    padded = F.pad(silhouette.float(), (CROP,) * 4)
    crop = padded[torch.arange(len(padded))[:, None, None], rows[:, :, None], columns[:, None, :]].flatten(1)
    table = templates.flatten(0, 1)
    overlap = crop @ table.T
    union = silhouette.sum((1, 2))[:, None] + table.sum(1) - overlap
    best, which = (overlap / union).unflatten(1, templates.shape[:2]).amax(2).max(1)
    return which, best


def _drawn(shapes: tuple[Shape, ...], sizes: tuple[float, ...], offsets: Tensor) -> Tensor:
    """Coverage of every shape and size with its centre in the middle of a frame plus each of offsets [K, 2] (x, y).

    [shapes * sizes, K, H, W], drawn by the toybox itself: white on black.
    """
    level = Level(
        "silhouettes",
        shapes={str(index): shape for index, shape in enumerate(shapes)},
        colours={"white": Colour((255, 255, 255), 1, "")},
        backgrounds={"black": (0, 0, 0)},
        sizes={str(index): size for index, size in enumerate(sizes)},
    )
    kinds, count = len(shapes) * len(sizes), len(offsets)
    kind = torch.arange(kinds).repeat_interleave(count)
    start = (FRAME_SIZE / 2 + offsets).repeat(kinds, 1)
    zero = torch.zeros_like(kind)
    still = Scenes(
        shape=kind // len(sizes),
        colour=zero,
        background=zero,
        speed=zero,
        size=kind % len(sizes),
        texture=zero,
        start=start,
        velocity=torch.zeros_like(start),
        level=level,
        frames=1,
    )
    return (still.render()[:, 0, 0].unflatten(0, (kinds, count)) + 1) / 2


@lru_cache(maxsize=8)
def _centroid_offsets(shapes: tuple[Shape, ...], sizes: tuple[float, ...]) -> Tensor:
    """From a shape's centre (which the walls act on) to its centre of mass, [shapes, sizes, 2] in pixels."""
    coverage = _drawn(shapes, sizes, torch.zeros(1, 2))[:, 0]
    # A sprite is drawn in the middle of its sixteenth of a pixel.
    offset = _centroid(coverage) - FRAME_SIZE / 2 - 1 / (2 * SUBPIXELS)
    return offset.view(len(shapes), len(sizes), 2)


@lru_cache(maxsize=8)
def _templates(shapes: tuple[Shape, ...], sizes: tuple[float, ...]) -> Tensor:
    """Silhouettes around their centre of mass, moved by up to 1.5 pixels in half pixels. [kinds, 49, CROP * CROP]

    A crop starts at a whole pixel, which leaves 0 to 1 pixel; the rest allows for a ragged silhouette.
    """
    shift = torch.arange(-1.5, 1.6, 0.5) + 0.5
    grid = torch.stack(torch.meshgrid(shift, shift, indexing="xy"), -1).view(-1, 2)
    offsets = _centroid_offsets(shapes, sizes).view(-1, 2)
    kinds = torch.stack([_drawn(shapes, sizes, grid - offset)[kind] > 0.5 for kind, offset in enumerate(offsets)])
    low = (FRAME_SIZE - CROP) // 2
    return kinds[..., low : low + CROP, low : low + CROP].float().flatten(2)


# -- motion ------------------------------------------------------------------------------------------------------------


def steps_of(track: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance moved from each frame of track [B, F, 2] to the next, in pixels; NaN beside a lost frame. [B, F - 1]"""
    return np.linalg.norm(np.diff(track, axis=1), axis=2)


def jitter_of(track: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median length of the second difference of each track [B, F, 2], pixels per frame squared; NaN if lost. [B]"""
    bend = np.linalg.norm(np.diff(track, 2, axis=1), axis=2)
    return _median(bend)


def speed_of(track: NDArray[np.float64], fps: float = FRAME_RATE) -> NDArray[np.float64]:
    """Median speed of each track [B, F, 2] in pixels per second. [B]"""
    return _median(steps_of(track)) * fps


def moves(track: NDArray[np.float64], frames: int = 4) -> NDArray[np.bool_]:
    """Whether the object of each track [B, F, 2] is, as a rule, elsewhere after `frames` frames; not so if lost. [B]"""
    way = np.linalg.norm(track[:, frames:] - track[:, :-frames], axis=2)
    return np.nan_to_num(_median(way)) > STANDING


def _median(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of each row without its NaNs; NaN for a row without numbers."""
    return np.array([np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else math.nan for row in rows])


def bounce_window(frames: int, fps: float = FRAME_RATE) -> tuple[float, float]:
    """Seconds between which a bounce can be seen: one step of motion is needed before it and one after."""
    return 1 / fps, (frames - 2) / fps


def find_bounces(
    track: NDArray[np.float64], radius: NDArray[np.float64], fps: float = FRAME_RATE
) -> list[list[Bounce]]:
    """Turns of each track [B, F, 2], wherever they happen, in order of time.

    The object flies straight before and after, so both lines are drawn to where they meet: this gives time and place
    between the frames. radius [B]: of the object in pixels, by which its centre keeps away from the walls.
    """
    found: list[list[Bounce]] = []
    for clip, reach in zip(track, radius, strict=True):
        bounces = []
        for axis in (0, 1):
            x = clip[:, axis]
            for step, before, after in _turns(np.diff(x)):
                # x[step] + before * t = x[step + 1] + after * (t - 1), t in frames since `step`
                late = np.clip((x[step + 1] - after - x[step]) / (before - after), -0.5, 1.5)
                place = x[step] + before * late
                wall = min(abs(place - reach), abs(place - (FRAME_SIZE - reach)))
                bounces.append(Bounce(float((step + late) / fps), axis, float(wall)))
        found.append(sorted(bounces, key=lambda bounce: bounce.seconds))
    return found


def _turns(velocity: NDArray[np.float64]) -> list[tuple[int, float, float]]:
    """Steps at which the velocity [F - 1] along one axis changes its sign, with the velocities before and after."""
    candidates = []
    for step in range(1, len(velocity) - 1):
        before = float(velocity[max(0, step - 2) : step].mean())
        after = float(velocity[step + 1 : step + 3].mean())
        if before * after < 0 and min(abs(before), abs(after)) >= SLOWEST_TURN:  # never true of NaN
            candidates.append((step, before, after))
    # Steps beside a bounce see a part of it: keep the sharpest of those close together.
    kept: list[tuple[int, float, float]] = []
    for turn in sorted(candidates, key=lambda turn: -abs(turn[1] - turn[2])):
        if all(abs(turn[0] - other[0]) > 2 for other in kept):
            kept.append(turn)
    return kept


# -- hearing -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def listen(sound: Tensor, level: Level) -> Hearing:
    """Reads sound [B, 1, S] in [-1, 1] at 44.1 kHz."""
    if sound.ndim != 3 or sound.shape[1] != 1:
        raise ValueError(f"sound has shape {list(sound.shape)}: expected [B, 1, S]")
    envelope = loudness(sound.float())
    sounds = envelope.amax(1) > SILENCE
    pitch, timbre = _note(sound.float(), level)
    return Hearing(
        sounds=sounds,
        onsets=[find_onsets(row) for row in envelope.double().numpy()],
        pitch=torch.where(sounds, pitch, NONE),
        timbre=torch.where(sounds, timbre, NONE),
    )


def loudness(sound: Tensor) -> Tensor:
    """RMS of [B, 1, S] in a Hann window around every 64th sample, [B, S // 64]."""
    window = torch.hann_window(ENVELOPE_WINDOW, periodic=False)
    half = ENVELOPE_WINDOW // 2
    power = F.conv1d(F.pad(sound.square(), (half, half)), (window / window.sum())[None, None], stride=ENVELOPE_STEP)
    return power[:, 0, : sound.shape[-1] // ENVELOPE_STEP].clamp(min=0).sqrt()


def find_onsets(envelope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beginnings of notes, in seconds, of one envelope: where it rises by half within 17 ms, at the steepest point.

    The two bounces of a corner rise as one note up to 25 ms from each other, and up to 40 ms if a hard one comes first
    and the other only grazes its wall.
    """
    reach = ONSET_REACH
    padded = np.pad(envelope, (reach, reach), mode="edge")
    padded[:reach] = 0  # silence precedes the clip
    before, after = padded[: len(envelope)], padded[2 * reach :]
    floor = max(SILENCE, RELATIVE_SILENCE * float(envelope.max(initial=0)))
    rises = (after > floor) & (after > ONSET_RISE * before)
    steep = np.where(rises, after**2 - before**2, 0)
    rise = 2 * reach  # from `before` to `after`
    peaks = (steep > 0) & (steep == ndimage.maximum_filter1d(steep, 2 * rise + 1))
    return np.flatnonzero(peaks).astype(np.float64) * (ENVELOPE_STEP / SAMPLE_RATE)


def _note(sound: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Colour whose pitch and shape whose timbre fit the spectrum of sound [B, 1, S] best. [B], [B]

    Every note is made of multiples of 44100 / 1024 Hz, so a spectrum over 1024 samples has one line per partial.
    """
    spectrum = torch.stft(
        sound[:, 0],
        HOP,
        hop_length=HOP // 2,
        window=torch.hann_window(HOP),
        center=False,
        return_complex=True,
    )
    magnitude = spectrum.abs().square().mean(2).sqrt()  # [B, HOP / 2 + 1]
    shapes, colours = tuple(level.shapes.values()), tuple(level.colours.values())
    notes = torch.zeros(len(shapes), len(colours), magnitude.shape[1])
    for shape_index, shape in enumerate(shapes):
        for colour_index, colour in enumerate(colours):
            for number, amplitude in enumerate(shape.partials, start=1):
                line = number * colour.harmonic
                notes[shape_index, colour_index, line - 1 : line + 2] += amplitude * torch.tensor([0.5, 1.0, 0.5])
    likeness = F.normalize(magnitude, dim=1) @ F.normalize(notes.flatten(0, 1), dim=1).T
    best, which = likeness.max(1)
    good = best >= WORST_SPECTRUM
    return torch.where(good, which % len(colours), NONE), torch.where(good, which // len(colours), NONE)
