"""A measured figure: its value, its standard error, and what chance alone would give."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 2000  # of the bootstrap
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """value and standard error (over a bootstrap of the clips); chance is None where the word has no meaning."""

    value: float
    error: float
    chance: float | None = None


@dataclass(frozen=True)
class Pairs:
    """Every clip (row) judged against what belongs to every clip (column), so the diagonal holds the true pairs.

    hits, total: [B, B], e.g. how many frames of clip i have the colour of prompt j, and out of how many. The share
    of hits on the diagonal is the figure; off the diagonal it is chance: the same clips, all prompts exchanged.
    """

    hits: Array
    total: Array

    @classmethod
    def of(cls, hits: ArrayLike, total: ArrayLike) -> Pairs:
        """total may be given per clip [B]: as many chances to hit whatever the clip is judged against."""
        h, t = np.asarray(hits, dtype=np.float64), np.asarray(total, dtype=np.float64)
        return cls(h, np.broadcast_to(t[:, None] if t.ndim == 1 else t, h.shape))

    def share(self, weights: Array) -> Array:
        """Share of hits among true pairs, with each clip taken as often as weights [R, B] say. [R]"""
        return _ratio(weights @ self.hits.diagonal(), weights @ self.total.diagonal())

    def chance(self, weights: Array) -> Array:
        """Share of hits among exchanged pairs. [R]"""

        def exchanged(x: Array) -> Array:
            return ((weights @ x) * weights).sum(1) - (weights**2) @ x.diagonal()

        return _ratio(exchanged(self.hits), exchanged(self.total))


def rate(pairs: Pairs) -> Figure:
    """Share of hits among true pairs, beside chance."""
    once = np.ones((1, len(pairs.hits)))
    return Figure(*_bootstrap(pairs.share, len(pairs.hits)), chance=float(pairs.chance(once)[0]))


def gain(pairs: Pairs) -> Figure:
    """Share of hits above chance."""
    return Figure(*_bootstrap(lambda weights: pairs.share(weights) - pairs.chance(weights), len(pairs.hits)))


def mean(values: ArrayLike, total: ArrayLike | None = None) -> Figure:
    """Mean over the clips [B] with a finite value, or, given totals [B], sum of the values over sum of the totals."""
    v = np.asarray(values, dtype=np.float64)
    t = np.isfinite(v).astype(np.float64) if total is None else np.asarray(total, dtype=np.float64)
    v = np.where(np.isfinite(v), v, 0.0)
    return Figure(*_bootstrap(lambda weights: _ratio(weights @ v, weights @ t), len(v)))


def _bootstrap(statistic: Callable[[Array], Array], clips: int) -> tuple[float, float]:
    """Value of a statistic of weighted clips and its standard error, both NaN where there is nothing to count."""
    value = float(statistic(np.ones((1, clips)))[0])
    drawn = np.random.default_rng(0).multinomial(clips, np.full(clips, 1 / clips), ROUNDS).astype(np.float64)
    spread = statistic(drawn)
    spread = spread[np.isfinite(spread)]
    return value, float(spread.std()) if len(spread) else math.nan


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full_like(part, math.nan), where=whole > 0)
