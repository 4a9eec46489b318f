"""Layers of sound that a caption names: the notes of the bounces <sfx>, a drone <bgm>, a melody <singing>."""

from __future__ import annotations

import torch
from torch import Tensor

from training.captions import caption
from training.toybox import HOP, Scenes, _waves
from training.worlds.example import Example, Say

TONES = {"low": 6, "mid": 9, "high": 15}  # pitch -> multiple of 44100 / 1024 Hz, as the toybox's notes
DRONE, MELODY = 0.07, 0.12  # loudness, in [-1, 1]
FADE = 0.02  # seconds between two notes of a melody
MELODIES = {"rising": ("low", "mid", "high"), "falling": ("high", "mid", "low")}


def _tones(samples: int) -> Tensor:
    """A pure tone of each pitch, [pitches, samples]."""
    waves = _waves(((1.0,),), tuple(TONES.values()), "cpu")[0]
    return waves.repeat(1, samples // HOP)


def drone(pitch: Tensor, samples: int) -> Tensor:
    """pitch [B], index into TONES -> a tone that never stops [B, 1, samples]"""
    return DRONE * _tones(samples)[pitch][:, None]


def melody(kind: Tensor, samples: int) -> Tensor:
    """kind [B], index into MELODIES -> three notes that follow each other without a gap [B, 1, samples]"""
    tones = _tones(samples)
    names = list(TONES)
    place = torch.arange(samples) / samples * 3
    width = FADE * 44100 / samples * 3
    loud = torch.stack([((0.5 - (place - note - 0.5).abs()) / width).clamp(0, 1) for note in range(3)])
    order = torch.tensor([[names.index(pitch) for pitch in notes] for notes in MELODIES.values()])
    songs = torch.stack([(tones[notes] * loud).sum(0) for notes in order])
    return MELODY * songs[kind][:, None]


def bgm(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The scene with a drone under its notes."""
    pitch = torch.randint(len(TONES), (len(scenes),), generator=generator)
    sound = scenes.sound()
    words = [f"<bgm> {say.word('pitch', list(TONES)[i])} drone </bgm>" for i in pitch.tolist()]
    return _layered(scenes, sound + drone(pitch, sound.shape[-1]), words, say, bgm=pitch)


def singing(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The scene with a melody over its notes."""
    kind = torch.randint(len(MELODIES), (len(scenes),), generator=generator)
    sound = scenes.sound()
    words = [f"<singing> {list(MELODIES)[i]} melody </singing>" for i in kind.tolist()]
    return _layered(scenes, sound + melody(kind, sound.shape[-1]), words, say, singing=kind)


def _layered(scenes: Scenes, sound: Tensor, words: list[str], say: Say, **facts: Tensor) -> Example:
    captions = [f"{caption(scenes.attributes(i), say.words)} {layer}".strip() for i, layer in enumerate(words)]
    return Example(scenes.render(), sound.clamp(-1, 1), captions, scenes=scenes, facts=facts)
