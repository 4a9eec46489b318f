"""What comes out: JSON to keep, Markdown to read, bars as in SkyReels-V4 Figures 4 and 5, clips to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.quality.figures import Array
from benchmarks.quality.pipeline import Clips
from benchmarks.quality.report import grid
from benchmarks.quality.strip import GAP, INK, PAPER, stack, strip
from benchmarks.vabench.contest import Mean, Verdict, labels
from benchmarks.vabench.dimensions import CRITERIA, DIMENSIONS, OVERALL, Scale, Values, differences, likert
from benchmarks.vabench.prompts import Prompts

TITLES = {**DIMENSIONS, OVERALL: "Overall"}
LEGEND = (
    "Ratings from 1 (chance: prompts and sounds exchanged, frames of other clips, latents dealt out anew) to 5 (what "
    "three of four real clips reach after the codecs); 3 is half way. In brackets 95 % of the bootstraps of the clips."
)
PAIRWISE = (
    "G: A is better, S: the same, B: A is worse. The same is what two real clips of one prompt differ by in 95 % of "
    "cases after the codecs. Net: (G - B) / (G + S + B). p: sign test, two-sided."
)
SHOWN = 6  # prompts on the contact sheet
BARS = {"A": (52, 101, 164), "B": (222, 143, 5)}
GSB = ((44, 140, 90), (200, 200, 200), (196, 70, 60))
CEILING = (120, 120, 120)


@dataclass
class Outcome:
    """All that was measured on the prompts. scores, values: of "A", perhaps "B", "real" and "chance"."""

    settings: dict[str, Any]
    sets: list[Prompts]
    scale: Scale
    scores: dict[str, Values]
    values: dict[str, Values]
    verdicts: dict[str, Verdict]

    @property
    def contestants(self) -> list[str]:
        return [name for name in self.scores if name in BARS]

    @property
    def captions(self) -> list[str]:
        return [text for prompts in self.sets for text in prompts.texts]

    @property
    def categories(self) -> list[str]:
        return [prompts.category.name for prompts in self.sets for _ in range(len(prompts))]

    def ratings(self, name: str) -> dict[str, Mean]:
        """The mean scores of one, from 1 to 5."""
        means = {dimension: Mean.of(scores) for dimension, scores in self.scores[name].items()}
        return {
            dimension: Mean(likert(mean.value), likert(mean.low), likert(mean.high), mean.clips)
            for dimension, mean in means.items()
        }


# -- tables ------------------------------------------------------------------------------------------------------------


def plain(outcome: Outcome) -> dict[str, Any]:
    """Everything as JSON values: four digits, null for what is not a number."""
    table: dict[str, Any] = {
        "settings": outcome.settings,
        "scale": {name: {"1": outcome.scale.worst[name], "5": outcome.scale.best[name]} for name in CRITERIA},
        "same": {name: 4 * threshold for name, threshold in outcome.scale.same.items()},
        "absolute": {
            name: {dimension: vars(mean) for dimension, mean in outcome.ratings(name).items()}
            for name in outcome.scores
        },
        "criteria": {
            name: {key: Mean.of(row).value for key, row in values.items()} for name, values in outcome.values.items()
        },
        "pairwise": {
            name: {**vars(verdict), "net": vars(verdict.net), "difference": vars(_points(verdict.difference))}
            for name, verdict in outcome.verdicts.items()
        },
        "clips": [
            {
                "category": category,
                "prompt": caption,
                **{
                    name: {
                        dimension: {"score": row[i], "rating": likert(row[i]) if math.isnan(row[i]) else _whole(row[i])}
                        for dimension, row in outcome.scores[name].items()
                    }
                    for name in outcome.contestants
                },
            }
            for i, (category, caption) in enumerate(zip(outcome.categories, outcome.captions, strict=True))
        ],
    }
    return _rounded(table)


def _points(difference: Mean) -> Mean:
    """A difference of scores in points of the scale from 1 to 5."""
    return Mean(4 * difference.value, 4 * difference.low, 4 * difference.high, difference.clips)


def _whole(score: float) -> int:
    return round(likert(score))


def _rounded(x: Any) -> Any:
    if isinstance(x, dict):
        return {key: _rounded(value) for key, value in x.items()}
    if isinstance(x, list):
        return [_rounded(value) for value in x]
    if isinstance(x, float):
        return None if math.isnan(x) else round(float(x), 4)
    return x


def markdown(outcome: Outcome) -> str:
    names, ratings = list(outcome.scores), {name: outcome.ratings(name) for name in outcome.scores}
    heads = {"A": "A", "B": "B", "real": "real clips, through the codecs", "chance": "chance"}
    lines = [[TITLES[d], *(_interval(ratings[name][d]) for name in names)] for d in TITLES]
    parts = [
        "### VABench in small",
        "; ".join(f"{key}: {value}" for key, value in _told(outcome.settings).items()) + ".",
        "#### Absolute",
        grid(["", *(heads[name] for name in names)], lines),
        LEGEND,
    ]
    if outcome.verdicts:
        lines = [
            [
                TITLES[d],
                str(verdict.good),
                str(verdict.same),
                str(verdict.bad),
                _interval(verdict.net, "+.2f"),
                f"{verdict.p:.3f}",
                _interval(_points(verdict.difference), "+.2f"),
                f"{4 * outcome.scale.same[d]:.2f}",
            ]
            for d, verdict in outcome.verdicts.items()
        ]
        head = ["A against B", "G", "S", "B", "net", "p", "A - B (points)", "the same up to (points)"]
        parts += ["#### Good, same, bad", grid(head, lines), PAIRWISE]
    parts += ["#### By category", grid(*_by_category(outcome))]
    lines = [
        [
            TITLES[criterion.dimension],
            f"{criterion.aspect}: {criterion.label}",
            *(_number(Mean.of(outcome.values[name][key]).value) for name in outcome.contestants),
            _number(outcome.scale.worst[key]),
            _number(outcome.scale.best[key]),
        ]
        for key, criterion in CRITERIA.items()
    ]
    parts += ["#### Criteria", grid(["", "", *outcome.contestants, "is a 1", "is a 5"], lines)]
    return "\n\n".join(parts) + "\n"


def _by_category(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    """Overall ratings of each category; and good, same, bad where two compete."""
    head = ["overall", "prompts", *outcome.contestants] + ["G / S / B"] * bool(outcome.verdicts)
    lines, start = [], 0
    for prompts in outcome.sets:
        rows = slice(start, start + len(prompts))
        start = rows.stop
        means = [Mean.of(outcome.scores[name][OVERALL][rows]) for name in outcome.contestants]
        line = [prompts.category.name, str(len(prompts)), *(f"{likert(mean.value):.2f}" for mean in means)]
        if outcome.verdicts:
            label = labels(_difference(outcome)[rows], outcome.scale.same[OVERALL])
            line.append(" / ".join(str(int((label == which).sum())) for which in (1, 0, -1)))
        lines.append(line)
    return head, lines


def _difference(outcome: Outcome) -> Array:
    """Of A and B, over all dimensions. [B]"""
    return differences(outcome.scores["A"], outcome.scores["B"])[OVERALL]


def _told(settings: dict[str, Any]) -> dict[str, str]:
    return {
        key: ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        for key, value in settings.items()
    }


def _interval(mean: Mean, form: str = ".2f") -> str:
    return f"{mean.value:{form}} [{mean.low:{form}}, {mean.high:{form}}]" if mean.clips else "none"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}" if abs(value) < 1.5 else f"{value:.1f}"


def save(outcome: Outcome, clips: dict[str, list[Clips]], folder: Path) -> str:
    """Writes vabench.json, vabench.md, vabench.png and clips.png to the folder; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(outcome)
    (folder / "vabench.json").write_text(json.dumps(plain(outcome), indent=1) + "\n", encoding="utf-8")
    (folder / "vabench.md").write_text(text, encoding="utf-8")
    chart(outcome).save(folder / "vabench.png")
    contact_sheet(outcome, clips).save(folder / "clips.png")
    return text


# -- pictures ----------------------------------------------------------------------------------------------------------

LEFT, WIDTH, BAR, ROW = 250, 560, 16, 26  # pixels
FONT = ImageFont.load_default(14)


def chart(outcome: Outcome) -> Image.Image:
    """Ratings with their intervals; below, good, same and bad of each dimension."""
    parts = [_ratings(outcome)]
    if outcome.verdicts:
        parts.append(_verdicts(outcome.verdicts))
    return stack(parts, 4 * GAP)


def _canvas(rows: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (LEFT + WIDTH + 70, 2 * ROW + rows * height), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((10, 6), title, fill=INK, font=FONT)
    return image, draw


def _ratings(outcome: Outcome) -> Image.Image:
    names, height = outcome.contestants, ROW + (len(outcome.contestants) - 1) * (BAR + GAP)
    real, ratings = outcome.ratings("real"), {name: outcome.ratings(name) for name in names}
    image, draw = _canvas(len(TITLES), height, "Ratings, 1 to 5; line: real clips through the codecs")

    def x(rating: float) -> float:
        return LEFT + (rating - 1) / 4 * WIDTH

    bottom = ROW + len(TITLES) * height
    for mark in range(1, 6):
        draw.line([(x(mark), ROW), (x(mark), bottom)], fill=(225, 225, 225))
        draw.text((x(mark) - 4, bottom + 2), str(mark), fill=INK, font=FONT)
    for row, (dimension, title) in enumerate(TITLES.items()):
        top = ROW + row * height
        draw.text((10, top + 4), title, fill=INK, font=FONT)
        for name in names:
            mean = ratings[name][dimension]
            if mean.clips:
                draw.rectangle([x(1), top + 4, x(mean.value), top + 4 + BAR], fill=BARS[name])
                middle = top + 4 + BAR // 2
                draw.line([(x(mean.low), middle), (x(mean.high), middle)], fill=INK, width=2)
                draw.text((x(5) + 8, top + 4), f"{name} {mean.value:.2f}", fill=BARS[name], font=FONT)
            top += BAR + GAP
        if real[dimension].clips:
            place = x(real[dimension].value)
            draw.line([(place, ROW + row * height + 2), (place, top + 4)], fill=CEILING, width=2)
    return image


def _verdicts(verdicts: dict[str, Verdict]) -> Image.Image:
    image, draw = _canvas(len(verdicts), ROW, "A against B: good (A better), same, bad (B better); net preference")
    for row, (dimension, verdict) in enumerate(verdicts.items()):
        top, left = ROW + row * ROW, float(LEFT)
        draw.text((10, top + 4), TITLES[dimension], fill=INK, font=FONT)
        counts = (verdict.good, verdict.same, verdict.bad)
        for count, colour in zip(counts, GSB, strict=True):
            right = left + WIDTH * count / sum(counts)
            if count:
                draw.rectangle([left, top + 2, right - 1, top + 4 + BAR], fill=colour)
                draw.text((left + 4, top + 3), str(count), fill=INK, font=FONT)
            left = right
        draw.text((LEFT + WIDTH + 8, top + 3), f"{verdict.net.value:+.2f}", fill=INK, font=FONT)
    return image


def contact_sheet(outcome: Outcome, clips: dict[str, list[Clips]]) -> Image.Image:
    """The prompts on which two contestants differ most over all; of one contestant, those that it does worst."""
    if outcome.verdicts:
        order = np.argsort(-np.nan_to_num(np.abs(_difference(outcome)), nan=-1.0), kind="stable")
    else:
        order = np.argsort(outcome.scores["A"][OVERALL], kind="stable")
    places = [(number, row) for number, prompts in enumerate(outcome.sets) for row in range(len(prompts))]
    groups = []
    for index in order[:SHOWN]:
        number, row = places[index]
        strips = [
            _strip(clips[name][number], row, f"{name}: {outcome.captions[index]}   {_scores(outcome, name, index)}")
            for name in outcome.contestants
        ]
        groups.append(stack(strips, GAP))
    return stack(groups, 8 * GAP)


def _strip(clips: Clips, row: int, caption: str) -> Image.Image:
    assert clips.video is not None and clips.sound is not None
    return strip(clips.video[row], clips.sound[row], caption)


def _scores(outcome: Outcome, name: str, index: int) -> str:
    rows: Sequence[tuple[str, Array]] = list(outcome.scores[name].items())
    return "  ".join(f"{key} {'none' if math.isnan(x[index]) else format(likert(x[index]), '.1f')}" for key, x in rows)
