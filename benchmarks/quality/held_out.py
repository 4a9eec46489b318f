"""Scenes, prompts and noise that no training has seen.

A scene is drawn from a seeded generator. PyTorch's CPU generator keeps the lower 32 bits of a seed, so seeds are told
apart there: `training.data` and `training.codecs` use seeds below 2**31 (1000003 * (seed + 1) + rank, and single
digits), the benchmark those from FIRST_SEED on. Places, directions and speeds are continuous, so a scene does not
come twice.

The words of the prompts are those of the training, and so are the combinations of shape, colour, background and speed
(the easy level has 144, all of which occur there); what is new is the motion, the noise and the canonical wording,
one of thousands that a training caption is drawn from.
"""

from typing import Any

import torch
from torch import Tensor

from training.captions import caption
from training.toybox import ATTRIBUTES, LEVELS, Level, Scenes, sample_scenes

FIRST_SEED = 3_000_000_000
SEEDS = 10_000  # seeds of this benchmark, from 0; each has room for a thousand generators, and a thousand of conditions
NOISE = 1  # offset of the first clip's generator of noise


def held_out_scenes(count: int, *, frames: int, level: str | Level = "easy", seed: int = 0) -> Scenes:
    """`count` scenes in which every value of every attribute comes equally often (or once more than another)."""
    if not 0 <= seed < SEEDS:
        raise ValueError(f"seed {seed} is not among the seeds of the benchmark: use 0 to {SEEDS - 1}")
    table = LEVELS[level] if isinstance(level, str) else level
    generator = _generator(seed, 0)
    balanced: dict[str, Any] = {}
    for attribute in ATTRIBUTES:
        options = len(table.choices(attribute))
        balanced[attribute] = (torch.randperm(count, generator=generator) % options).tolist()
    return sample_scenes(count, frames=frames, level=table, generator=generator, **balanced)


def prompts_of(scenes: Scenes) -> list[str]:
    """The canonical caption of each scene."""
    return [caption(scenes.attributes(index)) for index in range(len(scenes))]


def noise_of(index: int, *shapes: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    """Noise of clip `index`, the same whatever batch it is sampled in: one tensor per shape."""
    generator = _generator(seed, NOISE + index)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def generator_of_conditions(seed: int, index: int) -> torch.Generator:
    """Random numbers for patches, references and masks; `index` tells apart what is drawn independently."""
    return _generator(SEEDS + seed, index)


def _generator(seed: int, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(FIRST_SEED + 1000 * seed + index % 1000)
