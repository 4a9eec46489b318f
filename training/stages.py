"""The curriculum: what each stage of a training is made of, and how long it lasts (SkyReels-V4 table 1, in small).

Shares of a stage's batches sum to 1. A run that begins with the weights of another one enters where that one stopped
(`training.train --done`).
"""

from __future__ import annotations

from typing import NamedTuple


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
        1.00,
        {0: 0.02, 1: 0.02, 5: 0.80, 9: 0.16},
        {"nothing": 0.19, "patches": 0.08, "references": 0.07, "worlds": 0.66},
    ),
)
ROWS = {0: 48, 1: 64, 3: 32, 5: 20, 9: 11}  # of a batch, per rank: about the same time for every length
# Shares of the batches of worlds, by layout, and how many worlds of a layout share a batch.
LAYOUTS = {"clip": 0.60, "clip and picture": 0.12, "first frame and clip": 0.08, "voice": 0.04, "words": 0.16}
WORLDS_TOGETHER = 5
# How much more often than others a world is drawn: what is learned late gets more, what is learned at once less.
OFTEN = {"add": 2.0, "delete subject": 2.0, "replace subject": 2.0, "shape": 2.0, "texture": 1.5}
OFTEN |= {"tilt": 2.0, "pan right": 2.0, "pan left": 2.0, "zoom in": 2.0, "blocks": 1.5, "night": 1.5}
OFTEN |= {"paper cut": 0.6, "background": 0.7, "watermark": 0.8, "subtitle": 0.8}
# What of a world's clip is given by a mask beside its instruction, where it has a clip to edit.
EDIT_GIVEN = {"nothing": 0.86, "first": 0.05, "prefix": 0.05, "outside a box": 0.04}
