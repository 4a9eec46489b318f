"""Tables of the benchmark, as JSON to keep and Markdown to read, and a contact sheet for each network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from benchmarks.quality.figures import Array, Figure
from benchmarks.quality.strip import Tile, contact_sheet
from benchmarks.videocanvas.networks import Contender
from benchmarks.videocanvas.orders import TABLE_2, TABLE_3, TABLE_R5, Order, order_of
from benchmarks.videocanvas.readings import COLUMNS, Reading
from benchmarks.videocanvas.sets import MAIN, SETS, Group
from training.paradigms import WAYS

TOGETHER = "the three sets together"
CODEC, CHANCE = "real clips through the codec", "chance"
STRIDE = 2  # frames between those that a contact sheet shows
GROUPS_SHOWN = 5  # of each set
SHOWN = 3  # at most, of the frames that are given
NOTE = (
    "± is one standard error over the clips. Chance: the patches of all clips exchanged, with the first network. Real "
    "clips through the codec are the ceiling (their transitions are cuts, and their distance of tracks is what so few "
    "clips leave). The Fréchet distance stands in for FVD: between normal distributions of nine features of the "
    "detectors' tracks (place, spread, speed, jitter, overlap with the best template, lost frames, surplus objects) of "
    "these clips and of other real ones; it sees no texture. Dynamic degree: steps in which the object moves by more "
    "than a pixel. No figure is VBench's own."
)
START = (
    "All networks began with the same checkpoint and differ in nothing but their way. If that is Mini 0.1, it is no "
    "neutral ancestor: 6 to 10 % of its batches had a patch in context at frame / 4 and none had one in another way, "
    "but about a third of its rows had whole latent cells of clips given, clean or in the condition channels."
)
VERDICTS = (
    "A pair of ways agrees with the paper, or does not, if their difference on the same clips is more than two "
    "standard errors; less is within the error. An order agrees if all of its pairs do, and does not if one does not."
)


def orders(readings: Mapping[str, Mapping[str, Reading]], real: Array) -> list[Order]:
    """The paper's claims on the sets that they are about. readings: way -> set -> Reading."""
    places: list[tuple[list, str, dict[str, Reading]]] = []
    ways = {way: sets for way, sets in readings.items() if way in WAYS}
    together = {way: Reading.joined([sets[name] for name in MAIN]) for way, sets in ways.items()}
    for name in MAIN:
        places.append((TABLE_2, SETS[name].title, {way: sets[name] for way, sets in ways.items()}))
    places.append((TABLE_2, TOGETHER, together))
    places.append((TABLE_3, SETS["one_frame"].title, {way: sets["one_frame"] for way, sets in ways.items()}))
    places.append((TABLE_R5, TOGETHER, together))
    found = [order_of(claim, where, of, real) for claims, where, of in places for claim in claims]
    return [order for order in found if order is not None]


def report_of(
    settings: dict[str, Any],
    contenders: Sequence[Contender],
    readings: Mapping[str, Mapping[str, Reading]],
    codec: Mapping[str, Reading],
    real: Array,
) -> dict[str, Any]:
    """All figures as plain JSON values."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for name, ceiling in codec.items():
        rows = {way: sets[name] for way, sets in readings.items()}
        table = {way: _row(reading, real) for way, reading in rows.items()}
        first = next(iter(rows.values()))
        table[CHANCE] = {key: _plain(Figure(value, math.nan)) for key, value in first.chance.items()}
        table[CODEC] = _row(ceiling, real)
        tables[name] = table
    return {
        "settings": settings,
        "networks": {one.name: {"title": one.title, "digest": one.digest, **one.facts} for one in contenders},
        "sets": tables,
        "orders": [_order(order) for order in orders(readings, real)],
    }


def _row(reading: Reading, real: Array) -> dict[str, dict[str, float | None]]:
    return {name: _plain(reading.figure(name, real)) for name in COLUMNS}


def _plain(figure: Figure) -> dict[str, float | None]:
    """Four digits; JSON has no NaN."""
    return {
        part: round(value, 4) if math.isfinite(value) else None
        for part, value in (("value", figure.value), ("error", figure.error))
    }


def _order(order: Order) -> dict[str, Any]:
    here = {way: value for way, value in order.here.items() if math.isfinite(value)}
    return {
        "table": order.claim.table,
        "figure": order.figure,
        "set": order.where,
        "paper": {way: order.claim.paper[way] for way in order.ranked({w: order.claim.paper[w] for w in order.here})},
        "here": {way: round(here[way], 4) for way in order.ranked(here)},
        "verdict": order.verdict,
        "pairs": [
            {"better": p.better, "worse": p.worse, **_plain(Figure(p.lead, p.error)), "verdict": p.verdict}
            for p in order.pairs
        ],
    }


# -- Markdown ----------------------------------------------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report["settings"].items())
    titles = {name: network["title"] for name, network in report["networks"].items()}
    parts = ["# VideoCanvasBench in small", f"{settings}.", *_networks(report["networks"])]
    for name, table in report["sets"].items():
        columns = [c for c in COLUMNS if any(row.get(c, {}).get("value") is not None for row in table.values())]
        rows = [[titles.get(way, way), *(_cell(row.get(c)) for c in columns)] for way, row in table.items()]
        head = ["", *(f"{COLUMNS[c].title}{_ARROWS[COLUMNS[c].down]}" for c in columns)]
        parts += [f"## {SETS[name].title}", _grid(head, rows)]
    parts.append(NOTE)
    if report["orders"]:
        rows = [_order_row(order) for order in report["orders"]]
        head = ["", "figure", "clips", "the paper's order, best first", "order here", "pairs", "verdict"]
        parts += ["## Beside the paper", _grid(head, rows), VERDICTS]
    return "\n\n".join(parts) + "\n"


_ARROWS = {True: " ↓", False: " ↑", None: ""}


def _networks(networks: Mapping[str, Any]) -> Iterable[str]:
    trained = {name: network for name, network in networks.items() if "rows" in network}
    if trained:
        facts = ("rows", "cpu_seconds", "video_loss", "audio_loss")
        rows = [[name, net["title"], *(f"{net[fact]:g}" for fact in facts)] for name, net in trained.items()]
        first = next(iter(trained.values()))["settings"]
        told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in first.items())
        yield _grid(["network", "way", "rows", "CPU seconds", "video loss", "sound loss"], rows)
        yield f"Each was trained with {told}. {START}"
    for name, network in networks.items():
        if name not in trained:
            yield f"{network['title']}: {network['digest']}, not trained for this comparison and in no order of it."


def _order_row(order: Mapping[str, Any]) -> list[str]:
    counts = [sum(pair["verdict"] == verdict for pair in order["pairs"]) for verdict in ("agrees", "within the error")]
    pairs = f"{counts[0]} agree, {counts[1]} within the error, {len(order['pairs']) - sum(counts)} do not"
    ranks = (", ".join(f"{way} {value:g}" for way, value in order[side].items()) for side in ("paper", "here"))
    return [order["table"], order["figure"], order["set"], *ranks, pairs, f"**{order['verdict']}**"]


def _cell(figure: Mapping[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return ""
    digits = 3 if abs(figure["value"]) < 1.5 else 2
    error = "" if figure["error"] is None else f" ± {figure['error']:.{digits}f}"
    return f"{figure['value']:.{digits}f}{error}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# -- pictures ----------------------------------------------------------------------------------------------------------


def sheet(clips: Mapping[str, Sequence[tuple[Group, Tensor]]]) -> Image.Image:
    """Of some groups of each set the first clip: frames of the canvas as given, then the made ones, what is given
    outlined."""
    rows: list[tuple[str, list[Tile | None]]] = []
    for name, made in clips.items():
        for group, video in made[:: max(1, len(made) // GROUPS_SHOWN)]:
            given = group.given[0]
            frames = sorted(
                {*range(0, len(given), STRIDE), *given.flatten(1).any(1).nonzero().flatten().tolist()[:SHOWN]}
            )
            shown = (group.canvas[0] * given).unbind(1)
            sources = [Tile(shown[f]) for f in frames if given[f].any()][:SHOWN]
            tiles = [*sources, None, *(Tile(video[0, :, f], given[f]) for f in frames)]
            rows.append((f"{SETS[name].title}, {group.name}: {group.prompts[0]}", tiles))
    return contact_sheet(rows)
