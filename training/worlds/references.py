"""Editing with references (Table 3): a clip on the background of a picture; a subject with the motion of a clip."""

from __future__ import annotations

from dataclasses import replace

import torch

from training.toybox import Scenes, sample_scenes, subject_pictures
from training.worlds.edits import other_background
from training.worlds.example import BACKGROUND, SUBJECT, VIDEO, Example, Say


def background_picture(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The background of a picture replaces that of the clip."""
    other = other_background(scenes, generator)
    captions = say.each(
        "replace the background of {video} with {picture}",
        "replace the background of {video} with the background of {picture}",
        "put {picture} behind the object of {video}",
        video=[VIDEO] * len(scenes),
        picture=[BACKGROUND] * len(scenes),
    )
    pictures = {BACKGROUND: other.background_picture()}
    return Example(other.render(), other.sound(), captions, source=scenes.render(), pictures=pictures, scenes=other)


def motion(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The subject of a picture, on the background that the prompt names, moves as something in a clip does."""
    other = sample_scenes(len(scenes), frames=scenes.frames, level=scenes.level, generator=generator)
    guide = replace(other, size=scenes.size, start=scenes.start, velocity=scenes.velocity)
    captions = say.each(
        "{picture} moves like {video} on a {background} background",
        "the object of {picture} moves as in {video} on a {background} background",
        "on a {background} background {picture} moves like the object in {video}",
        video=[VIDEO] * len(scenes),
        picture=[SUBJECT] * len(scenes),
        background=say.names("background", scenes),
    )
    pictures = {SUBJECT: subject_pictures(scenes, generator)}
    return Example(scenes.render(), scenes.sound(), captions, source=guide.render(), pictures=pictures, scenes=scenes)
