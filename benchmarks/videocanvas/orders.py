"""VideoCanvas' own comparisons, and whether the networks here come out in the same order.

Two ways are compared clip by clip (the same clips, patches and noise): their difference has a standard error of its
own. A difference of less than two of these decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from benchmarks.quality.figures import Array
from benchmarks.videocanvas.readings import COLUMNS, FRECHET, Reading, estimate

DECIDED = 2.0  # standard errors
AGREES, OPEN, CONTRARY = "agrees", "within the error", "does not"


@dataclass(frozen=True)
class Claim:
    """One column of a table of the paper: figure, and its value for each way."""

    table: str
    figure: str
    paper: dict[str, float]
    down: bool = False  # less is better


def _table(name: str, columns: dict[str, bool], rows: dict[str, tuple[float, ...]]) -> list[Claim]:
    return [
        Claim(name, figure, {way: values[i] for way, values in rows.items()}, down)
        for i, (figure, down) in enumerate(columns.items())
    ]


# Of arXiv 2510.08555v2. Figures here -> FVD, Dynamic Degree, Imaging Quality, PSNR there.
TABLE_2 = _table(
    "Table 2: paradigms",
    {FRECHET: True, "dynamic": False, "fit": False},
    {
        "latent_replacement": (15.937, 25.42, 69.02),
        "channel_concat": (14.187, 41.77, 68.58),
        "rope_interpolation": (13.734, 43.81, 69.10),
    },
)
TABLE_3 = _table(
    "Table 3: alignment of a frame",
    {"psnr": False, "dynamic": False, "fit": False},
    {
        "latent_slice": (25.13, 5.00, 71.17),
        "pixel_padding": (22.02, 30.25, 71.50),
        "nearest_slot": (22.95, 23.00, 70.85),
        "rope_interpolation": (23.86, 39.75, 71.61),
    },
)
TABLE_R5 = _table(
    "Table R5: positions of the patches",
    {FRECHET: True},
    {"no_rope": (12.568,), "integer_positions": (11.079,), "rope_interpolation": (10.943,)},
)


@dataclass(frozen=True)
class Pair:
    """Two ways of which the paper has the first ahead; by how much it is so here."""

    better: str
    worse: str
    lead: float
    error: float

    @property
    def verdict(self) -> str:
        # An error of 0 means that all clips agree, so any difference is decided.
        if np.isnan(self.lead) or abs(self.lead) <= DECIDED * self.error:
            return OPEN
        return AGREES if self.lead > 0 else CONTRARY


@dataclass(frozen=True)
class Order:
    """A claim on one of the sets: values here (NaN: not measured), and the pairs of ways; the best comes first."""

    claim: Claim
    where: str
    here: dict[str, float]
    pairs: list[Pair] = field(default_factory=list)

    def ranked(self, values: Mapping[str, float]) -> list[str]:
        return sorted(values, key=values.__getitem__, reverse=not self.claim.down)

    @property
    def figure(self) -> str:
        return COLUMNS[self.claim.figure].title

    @property
    def verdict(self) -> str:
        """Agrees if all pairs do, does not if any is decided the other way, else within the error."""
        verdicts = {pair.verdict for pair in self.pairs}
        if CONTRARY in verdicts:
            return CONTRARY
        return AGREES if verdicts == {AGREES} else OPEN


def order_of(claim: Claim, where: str, readings: Mapping[str, Reading], real: Array) -> Order | None:
    """How the ways of a claim come out. readings: of each way, on the same clips. None if fewer than two are there."""
    ways = [way for way in claim.paper if way in readings]
    if len(ways) < 2:
        return None
    statistics = {way: readings[way].statistic(claim.figure, real) for way in ways}
    clips = len(readings[ways[0]].tracks)
    order = Order(claim, where, {way: float(statistics[way](np.ones((1, clips)))[0]) for way in ways})
    sign = -1 if claim.down else 1
    for better, worse in combinations(order.ranked({way: claim.paper[way] for way in ways}), 2):

        def lead(weights: Array, better: str = better, worse: str = worse) -> Array:
            return sign * (statistics[better](weights) - statistics[worse](weights))

        order.pairs.append(Pair(better, worse, *estimate(lead, clips)))
    return order
