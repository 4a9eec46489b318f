"""The five dimensions of SkyReels-V4 Table 2 as scores of each clip: criteria, and the scale that they are put on.

Every criterion is measured in a unit of its own and then put on a line between two anchors that the codecs alone
decide: 0 is what chance earns, 1 what three of four real clips reach after the codecs. A dimension is the mean of
its criteria, and 1 + 4 times it is the rating of the paper's scale from 1 to 5: 3 is half way from chance to reality.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
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
    bounce_window,
    find_bounces,
    jitter_of,
    listen,
    steps_of,
)
from benchmarks.quality.figures import Array
from benchmarks.quality.held_out import generator_of_conditions
from benchmarks.quality.metrics import TOGETHER, close_events
from benchmarks.quality.pipeline import Clips, Codecs
from benchmarks.vabench.notes import Notes, explain
from benchmarks.vabench.picture import Picture, paces, see, unsteadiness
from benchmarks.vabench.prompts import LEVEL, Prompts
from training.toybox import Scenes

Values = dict[str, Array]  # criterion or dimension -> a number for each clip, NaN where there is nothing to judge

CLOSE = TOGETHER / 2  # seconds
FAINTEST = 1e-4  # of an amplitude, a colour, pixels: no level is given above 80 dB
ANCHOR = 0.25  # quantile of real clips that earns full marks
NOISE = 0.95  # quantile of what two takes of a prompt differ by: no more is "same"
TRUST = 0.02  # of the scale: detectors are held to read .98 of real clips right, so nothing less is a difference
EXCHANGED = 31  # of the generators of conditions

DIMENSIONS = {
    "instruction": "Instruction Following",
    "sync": "Audio-Visual Synchronisation",
    "visual": "Visual Quality",
    "motion": "Motion Quality",
    "audio": "Audio Quality",
}
OVERALL = "overall"


@dataclass(frozen=True)
class Criterion:
    """aspect: the sub-dimension of SkyReels-V4 Table 2."""

    dimension: str
    aspect: str
    label: str


# More is better in all of them; what is "below" is in dB, so that twice as much of a fault costs the same everywhere.
CRITERIA = {
    "colour": Criterion("instruction", "Subject description", "object has the colour that is said (share of frames)"),
    "shape": Criterion("instruction", "Subject description", "object has the shape that is said (share of frames)"),
    "speed": Criterion("instruction", "Subject interaction", "object is as quick as is said"),
    "background": Criterion("instruction", "Style and aesthetics", "background is the one that is said (share)"),
    "pitch": Criterion("instruction", "Semantic adherence", "sound has the pitch that is said"),
    "timbre": Criterion("instruction", "Semantic adherence", "sound has the timbre that is said"),
    "together": Criterion("sync", "Sound effect alignment", "bounces and sounds within 80 ms of each other (F1)"),
    "close": Criterion("sync", "Sound effect alignment", "bounces and sounds within 40 ms of each other (F1)"),
    "outline": Criterion("visual", "Visual clarity", "overlap with the best template (intersection over union)"),
    "palette": Criterion("visual", "Color accuracy", "distance from the world's colours (dB below 1)"),
    "one_object": Criterion("visual", "Structural integrity", "exactly one object (share of frames)"),
    "clean": Criterion("visual", "Structural integrity", "dirt on background and object (dB below 1)"),
    "calm": Criterion("visual", "Structural integrity", "flicker of object and background (dB below 1)"),
    "at_wall": Criterion("motion", "Physical plausibility", "turns that happen at a wall (share)"),
    "inertia": Criterion("motion", "Physical plausibility", "change of pace between frames (dB below the pace)"),
    "fluid": Criterion("motion", "Motion fluidity", "steps of no more than 7 pixels (share)"),
    "steady": Criterion("motion", "Motion stability", "jitter of the track (dB below 1 pixel per frame squared)"),
    "consistent": Criterion("motion", "Temporal consistency", "object is its usual self (share of frames)"),
    "lively": Criterion("motion", "Motion vividness", "pace is one of the world's"),
    "whole": Criterion("audio", "Absence of artifacts", "moments that are notes, and not clipped (share)"),
    "note": Criterion("audio", "Timbre realism", "sound is one of the world's notes"),
    "decay": Criterion("audio", "Timbre realism", "octaves between the decay and that of the timbre (negative)"),
    "clear": Criterion("audio", "Signal clarity", "best-fitting notes over the rest (dB)"),
    "silent": Criterion("audio", "Signal clarity", "hum where no note sounds (dB below 1)"),
    "loud": Criterion("audio", "Dynamic range", "notes that are as loud as notes are (share)"),
}


@dataclass
class Reading:
    """Clips of one category as they are seen and heard."""

    picture: Picture
    bounces: list[list[Bounce]]
    hearing: Hearing
    notes: Notes

    @classmethod
    def of(cls, clips: Clips, prompts: Prompts) -> Reading:
        """ValueError where a clip has no picture or no sound."""
        if clips.video is None or clips.sound is None:
            raise ValueError("clips without picture or without sound cannot be judged together: give both")
        picture, hearing = see(clips.video, LEVEL), listen(clips.sound, LEVEL)
        return cls(picture, bounces_of(picture, prompts), hearing, explain(clips.sound, hearing, LEVEL))


def bounces_of(picture: Picture, prompts: Prompts) -> list[list[Bounce]]:
    scenes = prompts.scenes
    return find_bounces(picture.sight.track, scenes.radius().double().numpy(), scenes.fps)


def measure(clips: Clips, prompts: Prompts) -> Values:
    """All criteria of clips that were made from the prompts."""
    return judge(Reading.of(clips, prompts), prompts)


def judge(reading: Reading, prompts: Prompts) -> Values:
    """All criteria of what was read."""
    return {
        **instruction(reading, prompts, prompts.said),
        **{name: pairs.diagonal() for name, pairs in sync(reading, prompts).items()},
        **visual(reading.picture, prompts.category.seen),
        **motion(reading.picture, reading.bounces, prompts),
        **audio(reading),
    }


def joined(parts: Sequence[Values]) -> Values:
    """One after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# -- the dimensions ----------------------------------------------------------------------------------------------------


def instruction(reading: Reading, prompts: Prompts, said: Sequence[Mapping[str, str]]) -> Values:
    """What is said, and only that; a clip in which nothing bounces need not sound."""
    sight, hearing, seen = reading.picture.sight, reading.hearing, prompts.category.seen
    colours, shapes = list(LEVEL.colours.items()), list(LEVEL.shapes.items())
    tempo = paces(sight.track, LEVEL, prompts.scenes.fps)
    names = [name for name, criterion in CRITERIA.items() if criterion.dimension == "instruction"]
    result = {name: np.full(len(said), np.nan) for name in names}
    for i, words in enumerate(said):
        for name in ("colour", "shape", "background"):
            if name in words:
                right = getattr(sight, name)[i, seen:] == LEVEL.choices(name).index(words[name])
                result[name][i] = float(right.double().mean())
        if "speed" in words:
            result["speed"][i] = tempo[i] == words["speed"]
        if not hearing.sounds[i] and not _at_wall(reading.bounces[i]):
            continue
        pitch, timbre = int(hearing.pitch[i]), int(hearing.timbre[i])
        if "pitch" in words:
            result["pitch"][i] = pitch != NONE and colours[pitch][1].pitch == words["pitch"]
        if "sound" in words:
            result["timbre"][i] = timbre != NONE and shapes[timbre][1].sound == words["sound"]
    return result


def sync(reading: Reading, prompts: Prompts) -> Values:
    """F1 of sounds and bounces, of the sounds of clip i with the bounces of clip j. [B, B]

    A turn anywhere explains a sound, but only one at a wall asks for one: turns in mid-air are a fault of the motion.
    """
    low, high = bounce_window(prompts.scenes.frames, prompts.scenes.fps)
    turns = [np.array([bounce.seconds for bounce in clip]) for clip in reading.bounces]
    walls = [np.array([bounce.seconds for bounce in _at_wall(clip)]) for clip in reading.bounces]
    # Before and after, a bounce cannot be seen, so a sound there is neither right nor wrong.
    onsets = [clip[(clip >= low) & (clip <= high)] for clip in reading.hearing.onsets]
    result = {}
    for name, within in (("together", TOGETHER), ("close", CLOSE)):
        explained, sounds = close_events(onsets, turns, within)
        answered, bounces = close_events(walls, reading.hearing.onsets, within)
        with np.errstate(invalid="ignore"):
            result[name] = (explained + answered.T) / (sounds[:, None] + bounces)
    return result


def _at_wall(bounces: list[Bounce]) -> list[Bounce]:
    return [bounce for bounce in bounces if bounce.wall < WALL_NEAR]


def visual(picture: Picture, seen: int) -> Values:
    """The looks of the frames after the first `seen`."""
    return {
        "outline": picture.raw.fit[:, seen:].double().mean(1).numpy(),
        "palette": below(_rms(picture.off[:, seen:])),
        "one_object": (picture.raw.parts[:, seen:] == 1).double().mean(1).numpy(),
        "clean": below(_rms(picture.dirt[:, seen:])),
        "calm": below(_rms(picture.flicker[:, max(seen, 1) :])),
    }


def motion(picture: Picture, bounces: list[list[Bounce]], prompts: Prompts) -> Values:
    """The motion of the whole clip: what is given goes on."""
    sight = picture.sight
    steps, turns = steps_of(sight.track), np.array([len(clip) for clip in bounces], dtype=np.float64)
    known = [pace is not None for pace in paces(sight.track, LEVEL, prompts.scenes.fps)]
    usual = [torch.mode(index, dim=1, keepdim=True).values for index in (sight.colour, sight.shape)]
    itself = sight.present & (sight.colour == usual[0]) & (sight.shape == usual[1])
    with np.errstate(invalid="ignore"):
        at_wall = np.array([len(_at_wall(clip)) for clip in bounces]) / turns
    return {
        "at_wall": at_wall,
        "inertia": below(unsteadiness(sight.track)),
        "fluid": (steps <= TELEPORT).mean(1),  # a step into or out of a lost frame is none
        "steady": below(jitter_of(sight.track)),
        "consistent": itself.double().mean(1).numpy(),
        "lively": np.array(known, dtype=np.float64),
    }


def audio(reading: Reading) -> Values:
    """A silent clip is only as good as its silence."""
    notes, sounds = reading.notes, reading.hearing.sounds.numpy()
    return {
        "whole": notes.whole,
        "note": np.where(sounds, (reading.hearing.pitch != NONE).numpy(), np.nan),
        "decay": -notes.decay,
        "clear": notes.snr,
        "silent": below(notes.hum),
        "loud": notes.loud,
    }


def below(amplitude: Array) -> Array:
    """How far amplitudes are below 1, in dB."""
    return -20 * np.log10(np.maximum(amplitude, FAINTEST))


def _mean(rows: Array) -> Array:
    """Of each row without its NaNs, NaN for a row of these alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.nanmean(rows, axis=1)


def _rms(rows: Array) -> Array:
    return np.sqrt(_mean(np.square(rows)))


# -- the scale ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """worst, best: of each criterion, what earns 0 and 1. same: of each dimension, the largest difference of two clips
    that counts as none."""

    worst: dict[str, float]
    best: dict[str, float]
    same: dict[str, float]

    @classmethod
    def of(cls, real: Values, other: Values, chance: Values) -> Scale:
        """real, other: two takes of the same prompts, through the codecs.

        ValueError names criteria that do not tell real clips from chance.
        """
        worst = {name: float(np.nanmean(chance[name])) for name in CRITERIA}
        best = {name: float(np.nanquantile(real[name], ANCHOR)) for name in CRITERIA}
        if blind := [name for name in CRITERIA if not best[name] > worst[name]]:
            raise ValueError(f"these codecs leave no difference between real clips and chance in {', '.join(blind)}")
        scale = cls(worst, best, {})
        for name, noise in differences(scale.scores(real), scale.scores(other)).items():
            scale.same[name] = max(TRUST, float(np.nanquantile(np.abs(noise), NOISE)))
        return scale

    def marks(self, values: Values) -> Values:
        """Criteria on the scale, at most 1: what is better than real makes up for nothing that is worse elsewhere."""
        return {
            name: np.minimum((values[name] - self.worst[name]) / (self.best[name] - self.worst[name]), 1)
            for name in CRITERIA
        }

    def scores(self, values: Values) -> Values:
        """Dimensions, each the mean of its criteria, and over all of them: 0 chance, 1 real; a clip can be below 0."""
        marks = self.marks(values)
        scores = {
            dimension: _mean(np.stack([marks[name] for name in CRITERIA if CRITERIA[name].dimension == dimension], 1))
            for dimension in DIMENSIONS
        }
        return scores | {OVERALL: _mean(np.stack(list(scores.values()), 1))}


def differences(a: Values, b: Values) -> Values:
    """Of scores; over all: the mean difference in the dimensions that both clips show something of."""
    result = {dimension: a[dimension] - b[dimension] for dimension in DIMENSIONS}
    return result | {OVERALL: _mean(np.stack(list(result.values()), 1))}


def likert(score: float) -> float:
    """A score on the paper's scale: 1 chance, 3 half way, 5 as real clips."""
    return 1 + 4 * min(max(score, 0.0), 1.0) if score == score else score


def scale_of(codecs: Codecs, sets: Sequence[Prompts], report: Callable[[str], None] = lambda text: None):
    """The scale that codecs give the prompts, and on the way what real clips (through the codecs) and chance measure.

    Scale, values of real clips and values of chance, for each of the sets. Chance is: of what is said, prompts of all
    categories; of sounds, those of the category's other clips; of motion, each frame from another clip; of picture and
    sound themselves, latents whose values are dealt out anew.
    """
    real, other, chance = [], [], []
    for prompts in sets:
        report(f"real clips: {prompts.category.name}")
        video, sound = prompts.scenes.render(), prompts.scenes.sound()
        clips = codecs.reconstruct(video, sound)
        reading = Reading.of(clips, prompts)
        real.append(judge(reading, prompts))
        again = prompts.another_take()
        other.append(measure(codecs.reconstruct(again.scenes.render(), again.scenes.sound()), again))
        exchanged = [other_set.scenes for other_set in sets]
        chance.append(_chance(codecs, prompts, reading, video, sound, exchanged))
    return Scale.of(joined(real), joined(other), joined(chance)), real, chance


def _chance(
    codecs: Codecs, prompts: Prompts, reading: Reading, video: Tensor, sound: Tensor, exchanged: Sequence[Scenes]
) -> Values:
    """exchanged: scenes of all categories, of which every clip is judged against the next ones."""
    count = len(prompts)
    told = []
    for scenes in exchanged:
        words = [scenes.attributes((i + 1) % len(scenes)) for i in range(count)]
        said = [{name: row[name] for name in own} for row, own in zip(words, prompts.said, strict=True)]
        told.append(instruction(reading, prompts, said))
    others = ~np.eye(count, dtype=bool)
    generator = generator_of_conditions(prompts.seed, EXCHANGED)
    with torch.inference_mode():
        noise = Clips(
            codecs.video.decode(dealt(codecs.video.encode(video), generator)),
            codecs.audio.decode(dealt(codecs.audio.encode(sound), generator)).clamp(-1, 1)[..., : sound.shape[-1]],
        )
    read = Reading.of(noise, prompts)
    frames = torch.arange(video.shape[2])
    mixed = see(torch.stack([video[(i + frames) % count, :, frames].movedim(0, 1) for i in range(count)]), LEVEL)
    return {
        **{name: _mean(np.stack([values[name] for values in told], 1)) for name in told[0]},
        **{name: _mean(pairs[others].reshape(count, -1)) for name, pairs in sync(reading, prompts).items()},
        **visual(read.picture, prompts.category.seen),
        **motion(mixed, bounces_of(mixed, prompts), prompts),
        **audio(read),
    }


def dealt(latent: Tensor, generator: torch.Generator) -> Tensor:
    """Latents [B, C, ...] in which every channel keeps its values, at random places of random clips."""
    channels = latent.transpose(0, 1).flatten(1)
    order = torch.rand(channels.shape, generator=generator).argsort(1)
    return channels.gather(1, order).view(latent.transpose(0, 1).shape).transpose(0, 1)
