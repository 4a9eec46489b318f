"""The curriculum: what each stage of a training is made of, and how long it lasts (SkyReels-V4 table 1, in small).

Shares of a stage's batches sum to 1. A run that begins with the weights of another one enters where that one stopped
(`training.train --done`).
"""

from __future__ import annotations

from typing import NamedTuple

from training.objective import AROUND_EDIT


class Stage(NamedTuple):
    """until: share of the whole training at which the stage ends.

    lengths: latent frames of the clips -> share of the batches (1: pictures, 0: sound without a picture).
    kinds: what clips are conditioned on beside text, see `training.conditions` -> share of the batches.
    masks: whether parts of clips are given (image to video, extension, inpainting, ...).
    isolated: share of the batches in which picture and sound do not see each other. 1: two separate trainings.
    """

    name: str
    until: float
    lengths: dict[int, float]
    kinds: dict[str, float]
    masks: bool = True
    isolated: float = 0.06


TEXT = {"nothing": 1.0}
STAGES = (
    # video pretraining: pictures, short clips, then clips with parts given (stages 1 to 3 of the paper)
    Stage("pictures", 0.03, {1: 1.0}, TEXT, masks=False, isolated=1.0),
    Stage("short clips", 0.08, {1: 0.15, 3: 0.85}, TEXT, masks=False, isolated=1.0),
    Stage("masks", 0.16, {1: 0.10, 3: 0.30, 5: 0.60}, TEXT, isolated=1.0),
    # audio pretraining
    Stage("sounds", 0.20, {0: 1.0}, TEXT),
    # joint pretraining
    Stage("joint", 0.45, {0: 0.04, 1: 0.05, 5: 0.91}, TEXT),
    # references and patches in context (stage 6)
    Stage(
        "in context", 0.60, {0: 0.03, 1: 0.05, 5: 0.62, 9: 0.30}, {"nothing": 0.5, "patches": 0.26, "references": 0.24}
    ),
    # supervised fine-tuning: the paired worlds, with the rest kept in memory
    Stage(
        "worlds",
        0.90,
        {0: 0.02, 1: 0.02, 5: 0.84, 9: 0.12},
        {"nothing": 0.16, "patches": 0.06, "references": 0.05, "worlds": 0.73},
    ),
    # clips jointly with keyframes of more pixels (section 4.5), with the rest kept in memory
    Stage(
        "keyframes",
        1.00,
        {0: 0.02, 1: 0.02, 5: 0.84, 9: 0.12},
        {"nothing": 0.12, "patches": 0.05, "references": 0.05, "worlds": 0.46, "keyframes": 0.32},
    ),
)
ROWS = {0: 48, 1: 64, 3: 32, 5: 20, 9: 11}  # of a batch, per rank: about the same time for every length
KEYFRAME_FRAMES = 6  # the keyframes beside a clip take about as long as so many of its latent frames
# Shares of the batches of worlds, by layout, and how many worlds of a layout share a batch.
LAYOUTS = {"clip": 0.53, "clip and picture": 0.09, "first frame and clip": 0.06, "voice": 0.02, "words": 0.30}
WORLDS_TOGETHER = 5
# How much more often than others a world is drawn: what is learned late gets more, what is learned at once less.
OFTEN = {"watermark": 0.4, "subtitle": 0.4, "logo": 0.4, "delete": 0.4, "delete subject": 0.5, "background": 0.4}
OFTEN |= {"colour": 0.6, "snow": 0.4, "shape": 2.0, "replace subject": 2.5, "add": 3.0, "texture": 1.5}
OFTEN |= {"paper cut": 2.0, "blocks": 2.0, "tilt": 2.5, "zoom in": 2.0, "pan right": 1.2, "pan left": 1.5}
OFTEN |= {"background picture": 0.5, "motion": 0.5, "expression": 2.0}
# What of a world's clip is given by a mask beside its instruction, where it has a clip to edit.
EDIT_GIVEN = {"nothing": 0.74, "first": 0.05, "prefix": 0.05, "outside a box": 0.04, AROUND_EDIT: 0.12}


def rows_of(frames: int, kind: str) -> int:
    """Rows of a batch of clips of so many latent frames, per rank."""
    if kind != "keyframes":
        return ROWS[frames]
    return ROWS[frames] * frames // (frames + KEYFRAME_FRAMES)
