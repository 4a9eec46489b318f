"""Faces that speak: a mouth that opens with its voice, voices with a speaker's pitch and timbre, and expressions that
are carried over to another face (Table 3).

A voice says one syllable, "la", at a time. Like the notes of the toybox it is phase-locked, and its loudness is how far
the mouth is open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.toybox import FRAME_SIZE, HOP, SAMPLE_RATE, Scenes, _waves, sample_scenes, samples_of
from training.worlds.example import SUBJECT, VIDEO, VOICE, Example, Say

RADIUS = 20.0  # pixels
EYES = ((-7.5, -6.0), (7.5, -6.0))  # from the centre, x, y
EYE = 3.0
MOUTH = (8.0, 8.0)  # half width, and half height when wide open
CLOSED = 1.0  # half height of a closed mouth
ROOM = 8  # pixels by which a face may be off the middle
LOUDNESS = 0.25  # of a voice whose mouth is wide open, in [-1, 1]
SYLLABLE = 0.24  # seconds, from closed to closed
SYLLABLES = (2, 4)  # in a second: fewest and most
VOICE_LATENTS = 22  # of a reference, about half a second
DARK = -0.9  # of eyes and mouth


@dataclass(frozen=True)
class Speech:
    """What B speakers say, and with which voice: beginnings [B, n] of syllables in seconds (infinite: none), pitch [B]
    and timbre [B] as indices of the level's colours and shapes."""

    beginnings: Tensor
    pitch: Tensor
    timbre: Tensor

    def openness(self, seconds: Tensor) -> Tensor:
        """How far each mouth is open at those seconds [N], 0 to 1. [B, N]"""
        inside = (seconds[None, :, None] - self.beginnings[:, None]) / SYLLABLE
        hill = torch.where((inside > 0) & (inside < 1), torch.sin(torch.pi * inside.clamp(0, 1)) ** 2, 0.0)
        return hill.sum(2).clamp(max=1)

    def count(self, duration: float) -> Tensor:
        """Syllables that are said within so many seconds. [B]"""
        return (self.beginnings + SYLLABLE <= duration).sum(1)

    def sound(self, scenes: Scenes, samples: int) -> Tensor:
        """[B, 1, samples] in [-1, 1]; samples: a multiple of HOP."""
        level = scenes.level
        waves = _waves(
            tuple(shape.partials for shape in level.shapes.values()),
            tuple(colour.harmonic for colour in level.colours.values()),
            "cpu",
        )[self.timbre, self.pitch]
        loudness = LOUDNESS * self.openness(torch.arange(samples) / SAMPLE_RATE)
        return (loudness.view(len(loudness), -1, HOP) * waves[:, None]).flatten(1)[:, None]


def speeches(scenes: Scenes, generator: torch.Generator, duration: float) -> Speech:
    """Random speech for that many seconds, in random voices; at least one syllable fits in whole."""
    clips, low, high = len(scenes), *SYLLABLES
    most = max(1, int(high * duration))
    fewest = max(1, int(low * duration))
    count = torch.randint(fewest, most + 1, (clips, 1), generator=generator)
    slot = duration / count
    place = torch.rand(clips, most, generator=generator)
    index = torch.arange(most)
    beginnings = index * slot + place * (slot - SYLLABLE).clamp(min=0)
    beginnings = torch.where(index < count, beginnings, torch.inf)
    level = scenes.level
    pitch = torch.randint(len(level.colours), (clips,), generator=generator)
    timbre = torch.randint(len(level.shapes), (clips,), generator=generator)
    return Speech(beginnings, pitch, timbre)


def faces(scenes: Scenes, openness: Tensor) -> Tensor:
    """Faces in the colour of each scene, near the middle. openness [B, F] -> [B, 3, F, 64, 64] in [-1, 1]"""
    centre = FRAME_SIZE / 2 + (scenes.start - FRAME_SIZE / 2) / FRAME_SIZE * 2 * ROOM  # [B, 2]
    axis = torch.arange(FRAME_SIZE) + 0.5
    x = (axis - centre[:, :1])[:, None, None, :]  # [B, 1, 1, 64]
    y = (axis - centre[:, 1:])[:, None, :, None]

    def disc(dx: float, dy: float, radius: float) -> Tensor:
        return (radius + 0.5 - torch.hypot(x - dx, y - dy)).clamp(0, 1)

    height = (CLOSED + (MOUTH[1] - CLOSED) * openness)[:, :, None, None]
    distance = torch.hypot(x / MOUTH[0], (y - 8) / height)
    mouth = ((1 - distance) * height.clamp(max=MOUTH[0]) + 0.5).clamp(0, 1)
    features = torch.maximum(torch.maximum(disc(*EYES[0], EYE), disc(*EYES[1], EYE)), mouth)
    face = torch.lerp(scenes.background_picture(), scenes.paint(), disc(0, 0, RADIUS)[:, None])
    return torch.lerp(face, torch.full((), DARK), features[:, None])


def _times(scenes: Scenes) -> Tensor:
    return torch.arange(scenes.frames) / scenes.fps


def _voice_words(scenes: Scenes, speech: Speech, say: Say) -> list[str]:
    """The pitch and timbre of each voice, as captions name those of notes."""
    words = []
    for pitch, timbre in zip(speech.pitch.tolist(), speech.timbre.tolist(), strict=True):
        colour, shape = list(scenes.level.colours.values())[pitch], list(scenes.level.shapes.values())[timbre]
        words.append(f"{say.word('pitch', colour.pitch)} {say.word('sound', shape.sound)}")
    return words


def _said(scenes: Scenes, speech: Speech) -> list[str]:
    return [" ".join(["la"] * int(count)) for count in speech.count(scenes.duration)]


_SPEAKS = (
    "a {colour} face on a {background} background <dialogue> {voice} {said} </dialogue>",
    "a {colour} face speaks on a {background} background <dialogue> {voice} {said} </dialogue>",
    "on a {background} background a {colour} face says <dialogue> {voice} {said} </dialogue>",
    "a talking {colour} face on {background} <dialogue> {said} {voice} </dialogue>",
)


def _speaking(scenes: Scenes, speech: Speech, voices: list[str], say: Say) -> Example:
    openness = speech.openness(_times(scenes))
    captions = say.each(
        *_SPEAKS,
        colour=say.names("colour", scenes),
        background=say.names("background", scenes),
        voice=voices,
        said=_said(scenes, speech),
    )
    facts = {
        "openness": openness,
        "pitch": speech.pitch,
        "timbre": speech.timbre,
        "syllables": speech.count(scenes.duration),
    }
    sound = speech.sound(scenes, samples_of(scenes.frames, scenes.fps))
    return Example(faces(scenes, openness), sound, captions, facts=facts)


def speech(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """A face that speaks, with a voice that the caption describes."""
    spoken = speeches(scenes, generator, scenes.duration)
    return _speaking(scenes, spoken, _voice_words(scenes, spoken, say), say)


def speaker(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """A face that speaks with the voice of a reference, which says something else."""
    spoken = speeches(scenes, generator, scenes.duration)
    voices = [say.pick(("{}", "voice of {}", "the voice of {}")).format(VOICE) for _ in range(len(scenes))]
    example = _speaking(scenes, spoken, voices, say)
    samples = VOICE_LATENTS * HOP
    heard = speeches(scenes, generator, samples / SAMPLE_RATE)
    heard = replace(heard, pitch=spoken.pitch, timbre=spoken.timbre)
    return replace(example, voice=heard.sound(scenes, samples))


def expression(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The face of a picture speaks as the face of a clip does."""
    other = sample_scenes(len(scenes), frames=scenes.frames, level=scenes.level, generator=generator)
    spoken = speeches(scenes, generator, scenes.duration)
    example = _speaking(scenes, spoken, [""] * len(scenes), say)
    captions = say.each(
        "transfer the expression of {video} to the face in {picture} <dialogue> {voice} {said} </dialogue>",
        "the face of {picture} speaks like {video} <dialogue> {voice} {said} </dialogue>",
        "the face in {picture} with the expression of {video} <dialogue> {voice} </dialogue>",
        video=[VIDEO] * len(scenes),
        picture=[SUBJECT] * len(scenes),
        voice=_voice_words(scenes, spoken, say),
        said=_said(scenes, spoken),
    )
    still = faces(scenes, torch.zeros(len(scenes), 1))
    source = faces(other, example.facts["openness"])
    return replace(example, captions=captions, source=source, pictures={SUBJECT: still})
