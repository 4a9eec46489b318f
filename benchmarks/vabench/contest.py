"""Contestants, their clips, and who is better: means with intervals, and good, same or bad (SkyReels-V4 5.2.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.quality.figures import ROUNDS, Array
from benchmarks.quality.given import Given
from benchmarks.quality.pipeline import Clips, Mini, Sampling
from benchmarks.vabench.dimensions import Values, differences
from benchmarks.vabench.prompts import Prompts

CONFIDENCE = 0.95
MOST_STEPS, MOST = 1000, 100.0  # MOST: of guidance and shift
GOOD, SAME, BAD = 1, 0, -1


@dataclass(frozen=True)
class Contestant:
    """A model and how it samples."""

    model: Path
    sampling: Sampling

    @classmethod
    def parse(cls, text: str) -> Contestant:
        """Reads `model=FILE,steps=12,guidance=2.5,shift=4,wave=true`; all but the model have defaults.

        ValueError names a key or a value that is not allowed, and what is.
        """
        given: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"{part!r} is not key=value: write e.g. model=mini.safetensors,steps=30")
            if key not in _READ:
                raise ValueError(f"key {key!r} is not known: use {', '.join(_READ)}")
            if key in given:
                raise ValueError(f"key {key!r} is given twice, as {given[key]!r} and {value!r}: give it once")
            given[key] = value
        if "model" not in given:
            raise ValueError(
                f"{text!r} names no model: add model=FILE, a safetensors file or a training's checkpoint.pt"
            )
        read = {key: _READ[key](key, value) for key, value in given.items()}
        return cls(read.pop("model"), Sampling(**read))


def _file(key: str, value: str) -> Path:
    if not Path(value).is_file():
        raise ValueError(f"{key}={value} is no file: name a safetensors file or a training's checkpoint.pt")
    return Path(value)


def _count(key: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= MOST_STEPS:
        raise ValueError(f"{key}={value} is not allowed: use a whole number from 1 to {MOST_STEPS}")
    return int(value)


def _number(key: str, value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", value) or not 0 < float(value) <= MOST:
        raise ValueError(f"{key}={value} is not allowed: use a number above 0, up to {MOST:g}, e.g. 2.5")
    return float(value)


def _switch(key: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{key}={value} is not allowed: use true or false")
    return value == "true"


_READ: dict[str, Callable[[str, str], Any]] = {
    "model": _file,
    "steps": _count,
    "guidance": _number,
    "shift": _number,
    "wave": _switch,
}


def clips_of(
    mini: Mini, sampling: Sampling, sets: Sequence[Prompts], report: Callable[[str], None] = lambda text: None
) -> list[Clips]:
    """The clips of every category; the noise is that of the prompt, whoever competes."""
    result = []
    for prompts in sets:
        category = prompts.category
        report(category.name)
        given = Given() if category.given is None else category.given(mini, prompts.scenes)
        own = replace(sampling, seed=prompts.seed)
        result.append(mini.generate(prompts.texts, frames=category.frames, sampling=own, given=given))
    return result


# -- absolute ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mean:
    """Of the clips that have a value: the mean, and the interval that 95 of 100 bootstraps of the clips fall into."""

    value: float
    low: float
    high: float
    clips: int

    @classmethod
    def of(cls, values: Array) -> Mean:
        """values [B]; all NaN where no clip has one."""
        known = values[~np.isnan(values)]
        if not len(known):
            return cls(np.nan, np.nan, np.nan, 0)
        drawn = np.random.default_rng(0).multinomial(len(known), np.full(len(known), 1 / len(known)), ROUNDS)
        low, high = np.quantile(drawn @ known / len(known), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return cls(float(known.mean()), float(low), float(high), len(known))


# -- pairwise ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How often the first contestant is better, as good, worse.

    net: (good - bad) / (good + same + bad). difference: of the scores. p: of the sign test, two-sided: how likely as
    uneven a count of good and bad is if neither contestant is better.
    """

    good: int
    same: int
    bad: int
    net: Mean
    difference: Mean
    p: float


def labels(difference: Array, same: float) -> Array:
    """GOOD, SAME or BAD for each difference of two clips; SAME up to the threshold, and where one shows nothing. [B]"""
    return np.where(difference > same, GOOD, np.where(difference < -same, BAD, SAME))


def contest(a: Values, b: Values, same: dict[str, float]) -> dict[str, Verdict]:
    """Verdicts on each dimension and over all, of the scores of two contestants' clips of the same prompts."""
    result = {}
    for name, difference in differences(a, b).items():
        label = labels(difference, same[name])
        good, bad = int((label == GOOD).sum()), int((label == BAD).sum())
        p = float(binomtest(good, good + bad).pvalue) if good + bad else 1.0
        result[name] = Verdict(
            good, len(label) - good - bad, bad, Mean.of(label.astype(np.float64)), Mean.of(difference), p
        )
    return result
