"""Do faces speak? Mouths are read off the picture, voices off the sound, and the two are compared.

How far a mouth is open is the dark area of a face's lower half as a share of the face, so it depends neither on the
face's size nor on its colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import signal
from torch import Tensor

from benchmarks.quality.detectors import (
    BACKGROUND_TOLERANCE,
    COLOUR_TOLERANCE,
    ENVELOPE_STEP,
    NONE,
    SILENCE,
    foreground,
    listen,
    loudness,
    nearest_colour,
)
from benchmarks.quality.figures import Array, Figure, Pairs, mean, rate
from benchmarks.quality.metrics import share_of_frames
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.worlds import Case, every_pair, exchanged, shows, tried
from training.toybox import FRAME_SIZE, SAMPLE_RATE, Level
from training.worlds.faces import CLOSED, MOUTH, RADIUS

NAMES = ("expression", "speaker", "speech")
RADII = (0.7 * RADIUS, 1.3 * RADIUS)  # pixels: smaller and larger things are no faces
MOVES = 0.1  # standard deviation of a mouth's openness below which it does not move, whatever the codecs' noise does
TOGETHER = 0.7  # correlation from which on a mouth moves with a voice, or with another mouth
DIP = 0.3  # of the loudest moment, by which a voice falls between two syllables
_SHUT, _WIDE = (math.pi * MOUTH[0] * height / RADIUS**2 for height in (CLOSED, MOUTH[1]))


@dataclass(frozen=True)
class Faces:
    """What is seen of the faces in B clips: colour and background, index or NONE [B, F]; how far each mouth is open
    [B, F], 0 shut, 1 wide open."""

    colour: Tensor
    background: Tensor
    openness: Tensor


def read_faces(video: Tensor, level: Level) -> Faces:
    """Reads video [B, 3, F, 64, 64] in [-1, 1]. A face stays where it is in a clip."""
    clips, frames = video.shape[0], video.shape[2]
    pixels = ((video + 1) / 2).transpose(1, 2).flatten(0, 1).float()
    coverage, paint, ground = foreground(pixels)
    coverage = coverage.view(clips, frames, FRAME_SIZE, FRAME_SIZE)
    bright = coverage > 0.5
    usual = bright.float().mean(1) > 0.5
    (left, right), (top, bottom) = (_extent(usual.sum(axis)) for axis in (1, 2))
    radius = ((right - left + bottom - top) / 4).clamp(min=1)[:, None]
    whole = (radius > RADII[0]) & (radius < RADII[1])
    there = whole & (bright.sum((2, 3)) > math.pi / 2 * radius**2)
    axis = torch.arange(FRAME_SIZE) + 0.5
    x, y = ((axis - (low + high)[:, None] / 2) / radius for low, high in ((left, right), (top, bottom)))
    below = ((y > 0) & (y < 0.9))[:, :, None] & (x.abs() < 0.5)[:, None]
    dark = ((1 - coverage) * below[:, None]).sum((2, 3)) / radius**2
    colours = torch.tensor([colour.rgb for colour in level.colours.values()]) / 255
    grounds = torch.tensor(list(level.backgrounds.values())) / 255
    colour = nearest_colour(paint, colours, COLOUR_TOLERANCE).view(clips, frames)
    return Faces(
        colour=torch.where(there, colour, NONE),
        background=nearest_colour(ground, grounds, BACKGROUND_TOLERANCE).view(clips, frames),
        openness=(dark - _SHUT) / (_WIDE - _SHUT),
    )


def _extent(count: Tensor) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of the bins [B, N] that hold three pixels or more. [B], [B]"""
    full = (count >= 3).float()
    first, last = full.argmax(1), FRAME_SIZE - full.flip(1).argmax(1)
    return first.float(), torch.where(full.any(1), last, 0).float()


def voice_of(sound: Tensor, frames: int, fps: float) -> Tensor:
    """Loudness of sound [B, 1, S] around the moment of each frame. [B, F]"""
    envelope = loudness(sound)
    window = int(SAMPLE_RATE / fps / ENVELOPE_STEP) // 2 * 2 + 1
    smooth = F.avg_pool1d(envelope[:, None], window, 1, window // 2, count_include_pad=False)[:, 0]
    moments = (torch.arange(frames) / fps * SAMPLE_RATE / ENVELOPE_STEP).round().long()
    return smooth[:, moments.clamp(max=smooth.shape[1] - 1)]


def syllables(sound: Tensor) -> Array:
    """How many hills the loudness of sounds [B, 1, S] has. [B]"""
    counts = []
    for envelope in loudness(sound).numpy():
        top = float(envelope.max(initial=0))
        padded = np.pad(envelope, 1)  # so that a hill at the very end is one
        peaks = signal.find_peaks(padded, height=max(DIP * top, SILENCE), prominence=DIP * top)[0] if top else ()
        counts.append(len(peaks))
    return np.array(counts, dtype=np.float64)


def correlation(one: Tensor, other: Tensor) -> Array:
    """Between row i of one [B, F] and row j of the other; 0 where a row is constant. [B, B]"""
    a, b = (x.double() - x.double().mean(1, keepdim=True) for x in (one, other))
    a, b = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-6) for x in (a, b))
    return (a @ b.T).numpy()


class Spoken:
    """Clips of faces against the case that they were made from."""

    def __init__(self, clips: Clips, case: Case):
        assert clips.video is not None and clips.sound is not None
        scenes = case.scenes
        self.case, self.sound = case, clips.sound
        self.faces = read_faces(clips.video, scenes.level)
        openness = self.faces.openness
        self.mouth = torch.where(openness.std(1, keepdim=True) >= MOVES, openness, 0)
        self.voice = voice_of(clips.sound, clips.video.shape[2], scenes.fps)
        self.hearing = listen(clips.sound, scenes.level)

    def with_voice(self) -> Array:
        """Correlation of the mouth of clip i with the voice of clip j."""
        return correlation(self.mouth, self.voice)

    def with_source(self) -> Array:
        """Correlation of the mouth of clip i with that of the face that j is to be like."""
        return correlation(self.mouth, self.case.example.facts["openness"])

    def pitch(self) -> Array:
        """Whether voice i is as high as j says: as the voice of the reference, or as the word for it."""
        heard, asked = self.hearing.pitch, self.case.example.facts["pitch"]
        if self.case.example.voice is None:
            words = [colour.pitch for colour in self.case.scenes.level.colours.values()]
            table = torch.tensor([*map(sorted(set(words)).index, words), NONE])  # the last stands for NONE
            heard, asked = table[heard], table[asked]
        return ((heard[:, None] == asked) & (heard[:, None] != NONE)).numpy()

    def timbre(self) -> Array:
        return (self.hearing.timbre[:, None] == self.case.example.facts["timbre"]).numpy()

    def done(self) -> Array:
        """The face that was asked for moves its mouth with the voice that was asked for. [B, B] bool"""
        scenes = self.case.scenes
        looks = shows(self.faces.colour, scenes.colour) & shows(self.faces.background, scenes.background)
        together = torch.from_numpy(self.with_voice().diagonal() >= TOGETHER)
        right = looks & self.pitch() & self.timbre() & every_pair(together)
        return right & (self.with_source() >= TOGETHER) if self.case.example.source is not None else right

    def figures(self) -> dict[str, Figure]:
        case, facts, sounds = self.case, self.case.example.facts, self.hearing.sounds.double().numpy()
        said = facts["syllables"].double().numpy()
        figures = {
            "done": exchanged(self.done()),
            "face_colour": share_of_frames(self.faces.colour, case.scenes.colour),
            "face_background": share_of_frames(self.faces.background, case.scenes.background),
            "mouth_voice": exchanged(self.with_voice()),
        }
        if case.example.source is not None:
            figures["mouth_source"] = exchanged(self.with_source())
        way = "said" if case.example.voice is None else "voice"
        heard = self.hearing.sounds.numpy()[:, None]
        return figures | {
            "sounding": mean(sounds),
            f"{way}_pitch": rate(Pairs.of(self.pitch() & heard, sounds)),
            f"{way}_timbre": rate(Pairs.of(self.timbre() & heard, sounds)),
            "syllables_off": exchanged(np.abs(syllables(self.sound)[:, None] - said)),
        }


def faces(setting: Setting) -> Result:
    """Faces that speak: like another one, with the voice of a reference, with the voice that the prompt describes."""
    return tried(setting, NAMES, lambda trial: Spoken(trial.clips, trial.case).figures())
