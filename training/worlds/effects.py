"""First frame + effect (Table 3): what happens to the object of a clip happens to that of a picture."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from training.toybox import FRAME_SIZE, Scenes, sample_scenes
from training.worlds.example import VIDEO, Example, Say, silence

EFFECTS = ("shrink", "fade", "blink")
SMALLEST = 0.2  # of its size, to which an object shrinks
BLINK = 4  # frames for which an object is to be seen, and then not


def standing(scenes: Scenes) -> Scenes:
    """The scenes with objects that stand still at their first place."""
    return replace(scenes, velocity=torch.zeros_like(scenes.velocity))


def strengths(effect: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Size and opacity of the object in each frame under EFFECTS[effect]. effect [B] -> [B, F], [B, F]"""
    done = torch.linspace(0, 1, frames)
    index = torch.arange(frames)
    ones = torch.ones(frames)
    seen = ((index + BLINK - 1) // BLINK % 2 == 0).float()  # changes between latent frames; the first shows the object
    size = torch.stack([1 - (1 - SMALLEST) * done, ones, ones])
    opacity = torch.stack([ones, 1 - done, seen])
    return size[effect], opacity[effect]


def with_effect(scenes: Scenes, effect: Tensor) -> Tensor:
    """Video of standing scenes on whose objects the effects [B] act. [B, 3, F, 64, 64]"""
    size, opacity = strengths(effect, scenes.frames)
    centre = scenes.positions() / FRAME_SIZE * 2 - 1  # [B, F, 2]
    zoom = (1 / size)[..., None]
    transform = torch.cat([torch.diag_embed(zoom.expand(-1, -1, 2)), (centre * (1 - zoom))[..., None]], -1)
    cover = scenes.coverage()[:, 0].flatten(0, 1)[:, None]
    grid = F.affine_grid(transform.flatten(0, 1), list(cover.shape), align_corners=False)
    cover = F.grid_sample(cover, grid, align_corners=False).view(len(scenes), 1, scenes.frames, FRAME_SIZE, FRAME_SIZE)
    background = scenes.background_picture()
    return torch.lerp(background, scenes.paint(), cover * opacity[:, None, :, None, None])


def effect(scenes: Scenes, generator: torch.Generator, say: Say) -> Example:
    """The first frame is given; the clip shows the effect on something else, in another place."""
    kind = torch.randint(len(EFFECTS), (len(scenes),), generator=generator)
    other = sample_scenes(len(scenes), frames=scenes.frames, level=scenes.level, generator=generator)
    captions = say.each(
        "apply the effect of {video}",
        "transfer the effect from {video}",
        "the effect of {video}",
        video=[VIDEO] * len(scenes),
    )
    still = standing(scenes)
    return Example(
        with_effect(still, kind),
        silence(still),
        captions,
        source=with_effect(standing(other), kind),
        given="first",
        facts={"effect": kind},
    )
