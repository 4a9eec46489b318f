"""What every part of the benchmark writes: a table to read, one to keep, and a plot."""

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GIGA = 1e9


def number(value: float | None, form: str = "{:.1f}") -> str:
    """`-` where there is none."""
    return "-" if value is None else form.format(value)


def grid(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first line is its head."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def text(line: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([text(lines[0]), rule, *map(text, lines[1:])])


@dataclass
class Report:
    """Rows of a measurement. tables: head and cells of each that is read; notes: paragraphs under them.

    draw(figure): the plot, on a matplotlib figure.
    """

    name: str
    title: str
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    tables: list[list[list[str]]]
    draw: Callable[[Any], None]
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        given = {name.replace("_", " "): value for name, value in self.settings.items() if value is not None}
        told = ", ".join(f"{name} {value}" for name, value in given.items())
        return "\n\n".join([f"### {self.title}", f"{told}.", *map(grid, self.tables), *self.notes])

    def write(self, folder: Path) -> None:
        """speed_<name>.json, .md and, with matplotlib, .png."""
        folder.mkdir(parents=True, exist_ok=True)
        table = {"settings": self.settings, "rows": self.rows}
        path = folder / f"speed_{self.name}.json"
        path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(self.markdown() + "\n", encoding="utf-8")
        print(self.markdown())
        if importlib.util.find_spec("matplotlib"):
            from matplotlib.figure import Figure

            figure = Figure(figsize=(7, 4.5), layout="constrained")
            self.draw(figure)
            figure.savefig(path.with_suffix(".png"), dpi=120)
        else:
            print("no plot: matplotlib is not installed")
