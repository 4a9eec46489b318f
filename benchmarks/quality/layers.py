"""Layers of sound: a drone <bgm> or a melody <singing> with the notes of the bounces.

A layer is a line of the spectrum that does not die away between the notes: its level is one that the line hardly ever
falls below. What is heard of the layer is taken away before the notes are judged.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.detectors import NONE, Hearing
from benchmarks.quality.figures import Array, Figure
from benchmarks.quality.metrics import Reading, measure_reading
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.worlds import Case, exchanged, tried
from training.toybox import HOP, SAMPLE_RATE
from training.worlds.sounds import DRONE, MELODIES, MELODY, TONES, drone, melody

NAMES = ("bgm", "singing")
HARDLY_EVER = 0.15  # share of the hops in which a line may be fainter than its level
HEARD = 0.4  # of the loudness that a layer has, from which on it is one
CHANGE = 0.04  # seconds around the change of a melody's tone, in which nobody can tell a note from what is left of it
LAYERS = {"bgm": drone, "singing": melody}


def lines(sound: Tensor) -> Tensor:
    """Amplitude of each of TONES in every hop of sound [B, 1, S]. [B, tones, S // HOP]

    Notes and tones are multiples of 1 / HOP, so that within a hop they do not mix.
    """
    hops = sound[:, 0, : sound.shape[-1] // HOP * HOP].unflatten(1, (-1, HOP))
    spectrum = torch.fft.rfft(hops).abs() * (2 / HOP)
    return spectrum[..., list(TONES.values())].transpose(1, 2)


def read_drone(sound: Tensor) -> Tensor:
    """Index into TONES of the tone that never stops in sound [B, 1, S]; NONE if there is none. [B]"""
    level, tone = lines(sound)[..., 1:-1].quantile(HARDLY_EVER, 2).max(1)
    return torch.where(level >= HEARD * DRONE, tone, NONE)


def read_melody(sound: Tensor) -> Tensor:
    """Index into MELODIES of what is sung in sound [B, 1, S]; NONE if it is neither. [B]"""
    amplitude = lines(sound)
    thirds = amplitude.shape[2] / 3
    parts = [amplitude[..., round(note * thirds) + 1 : round((note + 1) * thirds) - 1] for note in range(3)]
    level = torch.stack([part.quantile(HARDLY_EVER, 2) for part in parts], 2)  # [B, tones, 3]
    names = list(TONES)
    result = torch.full((len(sound),), NONE)
    for index, notes in enumerate(MELODIES.values()):
        sung = torch.stack([level[:, names.index(pitch), note] for note, pitch in enumerate(notes)], 1)
        result[(sung >= HEARD * MELODY).all(1) & (sung >= level.amax(1)).all(1)] = index
    return result


READERS = {"bgm": read_drone, "singing": read_melody}


def without(name: str, sound: Tensor, layer: Tensor) -> Tensor:
    """Sound [B, 1, S] less the layer [B] that is heard in it, as loud as that is; as it is where that is NONE."""
    template = LAYERS[name](layer.clamp(min=0), sound.shape[-1])
    a, b = (x[:, 0].unflatten(1, (-1, HOP)) for x in (sound, template))
    # In most hops there is no note, and in those with one the share is too large.
    share = ((a * b).sum(2) / b.square().sum(2).clamp(min=1e-9)).quantile(2 * HARDLY_EVER, 1)
    return sound - template * torch.where(layer == NONE, 0, share)[:, None, None]


class Layered:
    """Clips with a layer against the case that they were made from."""

    def __init__(self, clips: Clips, case: Case):
        assert clips.sound is not None
        self.case = case
        self.layer = READERS[case.name](clips.sound)
        self.reading = Reading.of(Clips(clips.video, without(case.name, clips.sound, self.layer)), case.scenes)
        if case.name == "singing":
            changes = np.array([1, 2]) / 3 * clips.sound.shape[-1] / SAMPLE_RATE
            self.hearing.onsets = [
                onsets[np.abs(onsets[:, None] - changes).min(1) > CHANGE] for onsets in self.hearing.onsets
            ]

    @property
    def hearing(self) -> Hearing:
        """What is heard of the notes."""
        assert self.reading.hearing is not None
        return self.reading.hearing

    def right(self) -> Array:
        return (self.layer[:, None] == self.case.example.facts[self.case.name]).numpy()

    def done(self) -> Array:
        """The layer is the one that was asked for, and the notes are those of the object. [B, B] bool"""
        scenes, hearing = self.case.scenes, self.hearing
        notes = (hearing.pitch[:, None] == scenes.colour) & (hearing.timbre[:, None] == scenes.shape)
        silent = scenes.bounces()[0].bincount(minlength=len(scenes)) == 0
        return self.right() & (silent | notes).numpy()

    def figures(self) -> dict[str, Figure]:
        notes = measure_reading(self.reading, self.case.scenes)
        return {
            "done": exchanged(self.done()),
            "layer": exchanged(self.right()),
            **{f"notes_{name}": notes[name] for name in ("sync_gain", "pitch", "timbre")},
            "shape": notes["shape"],
        }


def layers(setting: Setting) -> Result:
    """Clips whose prompts ask for a drone or a melody beside the notes."""
    return tried(setting, NAMES, lambda trial: Layered(trial.clips, trial.case).figures())
