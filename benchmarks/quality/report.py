"""Tables of figures: Markdown to read, JSON to keep."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.quality.figures import Figure
from benchmarks.quality.metrics import METRICS
from benchmarks.quality.tasks import Result

TITLES = {
    "detectors": "Detectors on real clips, against the scenes' truth",
    "codec": "Codecs, on real clips",
    "t2va": "Text to video and sound",
    "t2i": "Text to image",
    "t2a": "Text to sound",
    "i2v": "Image to video and sound",
    "extension": "Extension of five frames",
}
EXCHANGED = (
    "Chance: the same clips with all prompts (for sounds and bounces: all clips) exchanged. "
    "Ceiling: real clips of the same scenes through the codecs."
)
STANDING = "Chance of a distance: the object stays where it was last seen."
CONTINUED = f"{EXCHANGED} Appearance counts generated frames only. {STANDING}"
NOTES = {
    "detectors": "A figure here that is not perfect is a bias of all tables. Not seen: dirt of less than 16 "
    "pixels, and ghosts of less than half the object's contrast.",
    "codec": "Chance: sounds of other clips.",
    "t2va": EXCHANGED,
    "t2i": EXCHANGED,
    "t2a": EXCHANGED,
    "i2v": CONTINUED,
    "extension": CONTINUED,
}
Table = dict[str, Any]


BARS_COUNT_IN = ("codec", "t2va")  # in the other tasks the same figures are told without a verdict


def table_of(task: str, result: Result, settings: dict[str, Any]) -> Table:
    """What of a result is kept, as plain JSON values."""
    rows = []
    for name, figure in result.figures.items():
        metric = METRICS[name]
        if task not in BARS_COUNT_IN:
            metric = dataclasses.replace(metric, bar=None)
        rows.append(
            {
                "name": name,
                "label": metric.label,
                "figure": _plain(figure),
                "ceiling": _plain(result.ceiling[name]) if name in result.ceiling else None,
                "bar": metric.bar,
                "less_is_better": metric.down,
                "passed": metric.passed(figure.value),
            }
        )
    return {"task": task, "settings": settings, "rows": rows}


def _plain(figure: Figure) -> dict[str, float | None]:
    """Four digits; JSON has no NaN."""
    return {
        part: None if value is None or math.isnan(value) else round(value, 4) for part, value in vars(figure).items()
    }


def markdown(table: Table) -> str:
    """A heading, the settings, the rows and a note."""
    shown = table["rows"]
    head = ["", "measured", "chance", "ceiling", "bar", ""]
    cells = [
        [
            row["label"],
            _figure(row["figure"]),
            _number(row["figure"]["chance"]),
            _figure(row["ceiling"]),
            "" if row["bar"] is None else ("≤ " if row["less_is_better"] else "≥ ") + f"{row['bar']:g}",
            {None: "", True: "pass", False: "**fail**"}[row["passed"]],
        ]
        for row in shown
    ]
    columns = [i for i in range(len(head)) if i < 2 or any(line[i] for line in cells)]
    lines = [[line[i] for i in columns] for line in (head, *cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]

    def row(line: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table["settings"].items())
    title, note = TITLES[table["task"]], NOTES[table["task"]]
    return "\n".join([f"### {title}", "", f"{settings}.", "", row(lines[0]), rule, *map(row, lines[1:]), "", note])


def _figure(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "" if figure is None else "none"
    return f"{_number(figure['value'])} ± {_number(figure['error'])}"


def _number(value: float | None) -> str:
    """Three digits after the point for shares, two for what is larger."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1.5 else f"{value:.2f}"


def key_of(table: Table) -> str:
    return f"{table['task']} {table['settings']['frames']}"


def load_tables(path: Path) -> dict[str, Table]:
    """Tables of a JSON file by "task frames"; none if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save_tables(path: Path, tables: dict[str, Table]) -> None:
    """Adds the tables to those of a JSON file, in the order of TITLES, and writes the same as Markdown beside it."""
    order = list(TITLES)
    merged = load_tables(path) | tables
    places = {key: (order.index(table["task"]), table["settings"]["frames"]) for key, table in merged.items()}
    merged = {key: merged[key] for key in sorted(merged, key=places.__getitem__)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(markdown(table) for table in merged.values())
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
