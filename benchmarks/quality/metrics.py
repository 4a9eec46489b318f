"""What makes a clip right: readings of the detectors, judged against the scenes that the prompts describe."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.detectors import (
    NONE,
    TELEPORT,
    WALL_NEAR,
    Bounce,
    Hearing,
    Sight,
    bounce_window,
    find_bounces,
    jitter_of,
    listen,
    look,
    speed_of,
    steps_of,
)
from benchmarks.quality.figures import Array, Figure, Pairs, gain, mean, rate
from benchmarks.quality.pipeline import Clips
from training.codecs import psnr
from training.toybox import FRAME_SIZE, Scenes

TOGETHER = 0.080  # seconds between a bounce and its sound that count as together
PACE_TOLERANCE = 1.5  # factor between a speed and the word for it; scenes vary by 1.1
KEPT = 0.025  # seconds by which a codec may move an onset


@dataclass(frozen=True)
class Metric:
    """A row of a table. bar: what must be reached, None where nothing is asked; down: less is better."""

    label: str
    bar: float | None = None
    down: bool = False

    def passed(self, value: float) -> bool | None:
        if self.bar is None:
            return None
        return value <= self.bar if self.down else value >= self.bar


METRICS = {
    "colour": Metric("object has the prompt's colour (share of frames)", 0.9),
    "background": Metric("background has the prompt's colour (share of frames)", 0.9),
    "shape": Metric("object has the prompt's shape (share of frames)", 0.8),
    "shape_first": Metric("object has the prompt's shape, first frame alone"),
    "fit": Metric("overlap with the best template (intersection over union)"),
    "one_object": Metric("exactly one object (share of frames)", 0.95),
    "lost": Metric("no object (share of frames)", down=True),
    "clips_lost": Metric("clips that lose the object in some frame", down=True),
    "speed": Metric("speed is the prompt's, slow or quick (share of clips)"),
    "teleports": Metric("steps of more than 7 pixels (share of steps)", down=True),
    "jitter": Metric("jitter of the track (pixels per frame squared)", down=True),
    "bounces": Metric("bounces seen in a clip"),
    "at_wall": Metric("bounces that happen at a wall", 0.6),
    "sounding": Metric("clips with a sound"),
    "onsets": Metric("sounds begun in a clip"),
    "pitch": Metric("sound has the pitch of the prompt's colour (share of sounding clips)", 0.85),
    "timbre": Metric("sound has the timbre of the prompt's shape (share of sounding clips)"),
    "sync": Metric("sounds that begin within 80 ms of a bounce"),
    "sync_gain": Metric("sounds that begin within 80 ms of a bounce, above chance", 0.4),
    "answered": Metric("bounces that have a sound within 80 ms"),
    "error_4": Metric("distance from the true place 4 frames after the last given (pixels)", down=True),
    "error_8": Metric("distance from the true place 8 frames after the last given (pixels)", down=True),
    "error_12": Metric("distance from the true place 12 frames after the last given (pixels)", down=True),
    "given_psnr": Metric("given frames are kept (dB)"),
    "patch_psnr": Metric("picture inside the patch, against the source (dB)"),
    "patch_gain": Metric("picture inside the patch, above chance (dB)"),
    "patch_away": Metric("distance of the object from its true place at that frame (pixels)", down=True),
    "kept_psnr": Metric("what is given, against the source (dB)"),
    "kept_snr": Metric("sound that is given, signal to noise (dB)"),
    "placed_psnr": Metric("frame in context, against the source (dB)"),
    "made_psnr": Metric("what is made, against the truth (dB)"),
    "made_away": Metric("distance of the object from its true place (pixels)", down=True),
    "old_colour": Metric("object still has the colour of the source (share of frames)", down=True),
    "reference_colour": Metric("object has the reference's colour (share of frames)"),
    "reference_shape": Metric("object has the reference's shape (share of frames)"),
    "reference_background": Metric("background is the reference's (share of frames)"),
    "voice_pitch": Metric("sound has the voice's pitch (share of sounding clips)"),
    "voice_timbre": Metric("sound has the voice's timbre (share of sounding clips)"),
    "moves": Metric("clips whose object moves"),
    "pace": Metric("speed of the object (pixels per second)"),
    "pace_there": Metric("speed of the object in the patch's latent frame (pixels per second)"),
    "nearest": Metric("squared distance to the nearest training clip of the same scene words"),
    "psnr_first": Metric("picture, first frame (dB)", 32.5),
    "psnr_rest": Metric("picture, later frames (dB)", 30.5),
    "snr": Metric("sound, signal to noise (dB)", 15.5),
    "onsets_kept": Metric("onsets within 25 ms of the original's", 0.95),
    "onsets_added": Metric("onsets that the original has not (in a clip)", down=True),
    "track_error": Metric("distance of the track from the truth (pixels)", down=True),
    "bounces_found": Metric("true bounces that are found within 40 ms"),
    "bounces_false": Metric("bounces found that are none", down=True),
    "onsets_found": Metric("true sounds that are found within 25 ms"),
    "onsets_false": Metric("sounds found that are none", down=True),
    "done": Metric("what was asked for is done (share of clips)", 0.7),
    "removed": Metric("the overlay is gone (share of clips)", 0.9),
    "in_place": Metric("object is where it belongs (share of clips)"),
    "rest_psnr": Metric("what the edit leaves alone, against the truth (dB)"),
    "rest_loss": Metric("what the edit leaves alone, below the codecs (dB)", down=True),
    "overlay_rest_loss": Metric("what the edit leaves alone, below the codecs (dB)", 1.0, down=True),
    "rest_kept": Metric("what the edit leaves alone is unchanged (share of clips)"),
    "done_alone": Metric("what was asked for is done, and nothing else is changed (share of clips)", 0.7),
    "guide_away": Metric("distance of the object from its place in the clip that it follows (pixels)", down=True),
    "truth_sync_gain": Metric("sounds that begin within 80 ms of a bounce of the truth, above chance"),
    "truth_pitch": Metric("sound has the pitch of the truth's colour (share of sounding clips)"),
    "truth_timbre": Metric("sound has the timbre of the truth's shape (share of sounding clips)"),
    "silent": Metric("clips without a sound"),
    "face_colour": Metric("face has the right colour (share of frames)"),
    "face_background": Metric("background of the face has the right colour (share of frames)"),
    "mouth_voice": Metric("correlation of the mouth with the voice"),
    "mouth_source": Metric("correlation of the mouth with that of the clip it is to be like"),
    "said_pitch": Metric("voice is low, mid or high, as the prompt says (share of sounding clips)"),
    "said_timbre": Metric("voice has the timbre that the prompt says (share of sounding clips)"),
    "syllables_off": Metric("syllables too many or too few (in a clip)", down=True),
    "layer": Metric("the layer of sound is the one asked for (share of clips)"),
    "notes_sync_gain": Metric("notes that begin within 80 ms of a bounce, above chance"),
    "notes_pitch": Metric("notes have the pitch of the prompt's colour (share of sounding clips)"),
    "notes_timbre": Metric("notes have the timbre of the prompt's shape (share of sounding clips)"),
    "cut_off": Metric("frames between the cut and its place", down=True),
    **{
        f"{shot}_{name}": Metric(f"{shot} shot has the right {name} (share of frames)")
        for shot in ("first", "second")
        for name in ("colour", "shape", "background")
    },
    "keyframe_away": Metric("distance of the object from its place in the clip (pixels of the clip)", down=True),
    "refined_gain": Metric("picture, above bicubic and blended (dB)", 0.0),
    "sharper": Metric("steepness of edges, nearer to the truth's than bicubic and blended (share)", 0.0),
    "new_gain": Metric("frames that are new, above means of two (dB)", 0.0),
    "motion_gain": Metric("change from frame to frame, above that of means of two (dB)", 0.0),
    "keyframe_loss": Metric("keyframes, below the codec (dB)", 0.5, down=True),
    "part_loss": Metric("the part that is given, below the codec (dB)", 0.5, down=True),
    "frozen_20": Metric("distance at frame 20, more than if nothing moved (pixels)", 0.0, down=True),
    "straight_28": Metric("distance at frame 28, more than on a straight line (pixels)", 0.0, down=True),
    "judged_right": Metric("real clips that are judged right", 0.98),
    "judged_undone": Metric("clips to which nothing was done, judged right", 0.05, down=True),
    "judged_in_part": Metric("clips that are half right, judged right", 0.05, down=True),
}


@dataclass
class Reading:
    """Clips as the detectors see and hear them; what a clip has not is None."""

    sight: Sight | None
    bounces: list[list[Bounce]]
    hearing: Hearing | None

    @classmethod
    def of(cls, clips: Clips, scenes: Scenes) -> Reading:
        sight = None if clips.video is None else look(clips.video, scenes.level)
        bounces = [] if sight is None else find_bounces(sight.track, scenes.radius().double().numpy(), scenes.fps)
        return cls(sight, bounces, None if clips.sound is None else listen(clips.sound, scenes.level))


def measure(clips: Clips, scenes: Scenes, *, given: int = 0) -> dict[str, Figure]:
    """Figures of clips that were made from the prompts of `scenes`, frame by frame from frame `given` on.

    Bounces and sounds are those of the whole clip: what follows from given frames may happen at once.
    """
    return measure_reading(Reading.of(clips, scenes), scenes, given=given)


def measure_reading(reading: Reading, scenes: Scenes, *, given: int = 0) -> dict[str, Figure]:
    """As `measure`, of what the detectors have said."""
    figures: dict[str, Figure] = {}
    if reading.sight is not None:
        figures |= _appearance(reading.sight, scenes, given)
        if reading.sight.track.shape[1] > 2:
            figures |= _motion(reading, scenes)
    if reading.hearing is not None:
        figures |= _sound(reading.hearing, scenes)
        if reading.bounces:
            figures |= _together(reading, scenes)
    return figures


def _appearance(sight: Sight, scenes: Scenes, given: int) -> dict[str, Figure]:
    def share(read: Tensor, truth: Tensor) -> Figure:
        """read [B, F] is each clip's, truth [B] each prompt's."""
        return share_of_frames(read[:, given:], truth)

    present = sight.present[:, given:].double()
    return {
        "colour": share(sight.colour, scenes.colour),
        "background": share(sight.background, scenes.background),
        "shape": share(sight.shape, scenes.shape),
        "shape_first": share(sight.shape[:, : given + 1], scenes.shape),
        "fit": mean(sight.fit[:, given:].double().mean(1)),
        "one_object": mean((sight.parts[:, given:] == 1).double().mean(1)),
        "lost": mean(1 - present.mean(1)),
        "clips_lost": mean(present.amin(1) == 0),
    }


def _motion(reading: Reading, scenes: Scenes) -> dict[str, Figure]:
    assert reading.sight is not None
    track, bounces = reading.sight.track, reading.bounces
    steps, clips = steps_of(track), len(track)
    moments = bounce_frames(bounces, scenes.fps)
    reach = scenes.radius().double().numpy()
    at_wall = np.array([[_near_wall(track[j], reach[j], moments[i]) for j in range(clips)] for i in range(clips)])
    np.fill_diagonal(at_wall, [sum(bounce.wall < WALL_NEAR for bounce in clip) for clip in bounces])
    count = np.array([len(clip) for clip in bounces], dtype=np.float64)
    return {
        "speed": rate(Pairs.of(_agree(_pace(track, scenes)[:, None], scenes.speed), np.ones(clips))),
        "teleports": mean((steps > TELEPORT).sum(1), np.isfinite(steps).sum(1)),
        "jitter": mean(jitter_of(track)),
        "bounces": mean(count),
        "at_wall": rate(Pairs.of(at_wall, count)),
    }


def _pace(track: Array, scenes: Scenes) -> Tensor:
    """Which of the level's speeds each track [B, F, 2] has; NONE if it is off by more than PACE_TOLERANCE. [B]"""
    table = np.array(list(scenes.level.speeds.values()))
    off = np.abs(np.log(np.maximum(speed_of(track, scenes.fps), 1e-3)[:, None] / table))
    off = np.nan_to_num(off, nan=np.inf)
    return torch.from_numpy(np.where(off.min(1) <= math.log(PACE_TOLERANCE), off.argmin(1), NONE))


def bounce_frames(bounces: list[list[Bounce]], fps: float) -> list[list[tuple[float, int]]]:
    """When, in frames, and along which axis each clip bounces."""
    return [[(bounce.seconds * fps, bounce.axis) for bounce in clip] for clip in bounces]


def _near_wall(track: Array, reach: float, moments: list[tuple[float, int]]) -> int:
    """At how many of the moments the object of track [F, 2] is at a wall of that axis, whether it turns or not."""
    index = np.arange(len(track))
    places = [np.interp(when, index, track[:, axis]) for when, axis in moments]
    return sum(min(abs(place - reach), abs(place - FRAME_SIZE + reach)) < WALL_NEAR for place in places)


def _sound(hearing: Hearing, scenes: Scenes) -> dict[str, Figure]:
    sounds = hearing.sounds.double().numpy()
    return {
        "sounding": mean(sounds),
        "onsets": mean([len(onsets) for onsets in hearing.onsets]),
        "pitch": rate(Pairs.of(_agree(hearing.pitch[:, None], scenes.colour), sounds)),
        "timbre": rate(Pairs.of(_agree(hearing.timbre[:, None], scenes.shape), sounds)),
    }


def _together(reading: Reading, scenes: Scenes) -> dict[str, Figure]:
    """Sounds and bounces of the same moment, against the bounces of all other clips (chance)."""
    assert reading.hearing is not None
    low, high = bounce_window(scenes.frames, scenes.fps)
    # Before and after, a bounce cannot be seen, so a sound there is neither right nor wrong.
    onsets = [clip[(clip >= low) & (clip <= high)] for clip in reading.hearing.onsets]
    bounces = [np.array([bounce.seconds for bounce in clip]) for clip in reading.bounces]
    sync = Pairs.of(*close_events(onsets, bounces, TOGETHER))
    answered = Pairs.of(*close_events(bounces, reading.hearing.onsets, TOGETHER))
    return {"sync": rate(sync), "sync_gain": gain(sync), "answered": rate(answered)}


def close_events(events: list[Array], others: list[Array], within: float) -> tuple[Array, Array]:
    """How many events of clip i have one of the others' of clip j `within` seconds [B, B], and out of how many [B]."""
    hits = [[(_distance(mine, theirs) <= within).sum() for theirs in others] for mine in events]
    return np.array(hits, dtype=np.float64), np.array([len(mine) for mine in events], dtype=np.float64)


def _distance(events: Array, others: Array) -> Array:
    """From each event to the nearest of the others; infinite where there is none."""
    return np.abs(events[:, None] - others[None]).min(1, initial=np.inf)


def share_of_frames(read: Tensor, truth: Tensor, counted: Tensor | None = None) -> Figure:
    """How many frames show what is true: read [B, F] of each clip, truth [B] of each prompt, counted [B, F] bool."""
    if counted is None:
        counted = torch.ones_like(read, dtype=torch.bool)
    hits = (read[:, None] == truth[None, :, None]) & counted[:, None]
    return rate(Pairs.of(hits.sum(2).double().numpy(), counted.sum(1).double().numpy()))


def _agree(read: Tensor, truth: Tensor) -> Array:
    """Number of frames of clip i, read [B, F], that show what prompt j, truth [B], says. [B, B]"""
    return (read[:, None] == truth[None, :, None]).sum(2).double().numpy()


# -- what is measured against an original ------------------------------------------------------------------------------


def signal_to_noise(sound: Tensor, original: Tensor) -> Array:
    """In dB, of sounds [B, 1, S]; NaN where the original is silent. [B]"""
    power, noise = (x.square().sum((1, 2)) for x in (original, sound - original))
    snr = torch.where(power > 0, 10 * torch.log10(power / noise.clamp(min=1e-12)), torch.nan)
    return snr.double().numpy()


def squared_errors(video: Tensor, real: Tensor, mask: Tensor) -> Array:
    """Squared differences between clip i and the real clip j, summed over colours and the mask of j. [B, B]

    video, real [B, 3, F, H, W], mask [B, F, H, W] bool.
    """
    here = mask.flatten(1).double()
    squares = torch.zeros(len(video), len(real), dtype=torch.float64)
    for made, true in zip(video.unbind(1), real.unbind(1), strict=True):  # colour by colour, to bound the memory
        v, r = made.flatten(1).double(), true.flatten(1).double()
        # The sum of here * (v - r) ** 2, multiplied out: a product of matrices.
        squares += v.square() @ here.T - 2 * v @ (here * r).T + (here * r.square()).sum(1)
    return squares.clamp(min=0).numpy()


def inside_psnr(video: Tensor, real: Tensor, mask: Tensor) -> Array:
    """PSNR in dB (at most 100) of clip i against the real clip j, inside the mask of j. [B, B]

    video, real [B, 3, F, H, W] in [-1, 1], mask [B, F, H, W] bool; NaN where a mask is empty.
    """
    pixels = mask.flatten(1).sum(1).double().numpy()
    error = squared_errors(video, real, mask) / np.where(pixels, 3 * pixels, np.nan)
    return 10 * np.log10(4 / np.maximum(error, 4e-10))


def own_psnr(video: Tensor, real: Tensor, mask: Tensor) -> Array:
    """The diagonal of `inside_psnr`. [B]"""
    clips = zip(video.split(1), real.split(1), mask.split(1), strict=True)
    return np.array([float(inside_psnr(*clip)[0, 0]) for clip in clips])


def distances(track: Array, scenes: Scenes, counted: Tensor) -> Array:
    """Mean distance (pixels) of the object of clip i from its place in scene j, over the frames that count in j. [B, B]

    track [B, F, 2], counted [B, F] bool; a lost object is as far away as the box is wide.
    """
    places = scenes.positions().double().numpy()
    away = [
        np.linalg.norm(track[:, when] - there[when], axis=2)
        for there, when in zip(places, counted.numpy(), strict=True)
    ]
    return np.stack([np.nan_to_num(x, nan=FRAME_SIZE).mean(1) for x in away], axis=1)


def measure_codecs(clips: Clips, video: Tensor, sound: Tensor, scenes: Scenes) -> dict[str, Figure]:
    """Figures of reconstructed clips beside the originals: video [B, 3, F, 64, 64], sound [B, 1, S]."""
    assert clips.video is not None and clips.sound is not None
    before, after = listen(sound, scenes.level).onsets, listen(clips.sound, scenes.level).onsets
    kept = Pairs.of(*close_events(before, after, KEPT))
    added = [len(new) - (_distance(new, old) <= KEPT).sum() for old, new in zip(before, after, strict=True)]
    return {
        "psnr_first": mean(psnr(clips.video[:, :, 0], video[:, :, 0])),
        "psnr_rest": mean(psnr(clips.video[:, :, 1:], video[:, :, 1:])),
        "snr": mean(signal_to_noise(clips.sound, sound)),
        "onsets_kept": rate(kept),
        "onsets_added": mean(added),
    }


def measure_detectors(clips: Clips, scenes: Scenes) -> dict[str, Figure]:
    """How well the detectors read clips of `scenes`, against what is known of the scenes."""
    figures = measure(clips, scenes)
    reading = Reading.of(clips, scenes)
    assert reading.sight is not None and reading.hearing is not None
    clip, when, _ = (x.numpy() for x in scenes.bounces())
    true = [when[clip == index].astype(np.float64) for index in range(len(scenes))]
    seen = [np.array([bounce.seconds for bounce in bounces]) for bounces in reading.bounces]
    low, high = bounce_window(scenes.frames, scenes.fps)
    visible = [events[(events >= low) & (events <= high)] for events in true]
    away = np.linalg.norm(reading.sight.track - scenes.positions().double().numpy(), axis=2)
    names = ("colour", "background", "shape", "one_object", "speed", "pitch", "timbre", "at_wall", "sync")
    return {
        **{name: figures[name] for name in names},
        "track_error": mean(np.nanmean(away, axis=1)),
        "bounces_found": rate(Pairs.of(*close_events(visible, seen, 0.04))),
        "bounces_false": mean(*_false(seen, true, 0.04)),
        "onsets_found": rate(Pairs.of(*close_events(true, reading.hearing.onsets, KEPT))),
        "onsets_false": mean(*_false(reading.hearing.onsets, true, KEPT)),
    }


def _false(found: list[Array], true: list[Array], within: float) -> tuple[list[int], list[int]]:
    """Events found that are not `within` seconds of a true one, and how many were found, per clip."""
    pairs = zip(found, true, strict=True)
    return [int((_distance(mine, theirs) > within).sum()) for mine, theirs in pairs], [len(mine) for mine in found]


def measure_continuation(clips: Clips, scenes: Scenes, given: int) -> dict[str, Figure]:
    """How near frames stay to what happens in the scene, after the first `given` frames.

    Chance is the distance if the object stayed where it was last seen.
    """
    assert clips.video is not None
    track, places = look(clips.video, scenes.level).track, scenes.positions().double().numpy()
    figures = {}
    for ahead in (4, 8, 12):
        frame = given - 1 + ahead
        if frame < scenes.frames:
            error = np.linalg.norm(track[:, frame] - places[:, frame], axis=1)
            standing = np.linalg.norm(places[:, given - 1] - places[:, frame], axis=1)
            # A lost object is as far away as the box is wide.
            figure = mean(np.nan_to_num(error, nan=FRAME_SIZE))
            figures[f"error_{ahead}"] = Figure(figure.value, figure.error, float(standing.mean()))
    return figures
