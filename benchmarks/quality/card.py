"""Writes the model card of Mini, models/weights/README.md: every number in it comes from a file.

    python3 -m benchmarks.quality.card [--weights models/weights] [--results benchmarks/results/quality.json]

Figures are those that `python3 -m benchmarks.quality` stored; facts of the training are the metadata of the weights.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from benchmarks.quality.pipeline import CODEC_FILES, REFINER_FILE, digest
from benchmarks.quality.report import NOTES, TITLES, Table, figure_text, grid, load_tables, markdown, number_text
from benchmarks.quality.worlds import MASKED
from training.captions import caption
from training.toybox import FRAME_RATE, FRAME_SIZE, LEVELS, SAMPLE_RATE, Level, Shape, sample_scenes
from training.worlds import TABLE_3, WORLDS

MODEL_FILE = "mini.safetensors"
FILES = {
    MODEL_FILE: "joint video and audio network",
    CODEC_FILES[0]: "video codec, 8 x 8 x 4 pixels per latent",
    CODEC_FILES[1]: "audio codec, 1024 samples per latent",
    "mini_text_encoder.safetensors": "tokenizer and text encoder",
    REFINER_FILE: "Refiner: more pixels, more frames",
}
EDITS, FACES = "edits", "faces"  # the tasks that make up Table 3
NOT_TOLD = ("vocabulary", "format", "latent_rgb_factors")  # metadata that are data, not facts


def card(weights: Path, tables: dict[str, Table]) -> str:
    """The card as Markdown.

    FileNotFoundError if a weights file is missing; ValueError if a table was measured on other weights than these.
    """
    check(weights, tables)
    level = LEVELS[training_level(weights)]
    parts = [
        "<!-- written by `python3 -m benchmarks.quality.card`: change that, not this -->",
        "# Mini",
        what_it_is(level),
        "## Files",
        files(weights),
        "## Data",
        data(level),
        "## Training",
        training(weights),
        "![The loss of the last of these runs, as `python3 -m training.plots` draws it]"
        "(../../benchmarks/results/training_loss.png)",
        "## Figures",
        "Measured by `python3 -m benchmarks.quality` on held-out scenes: `benchmarks/quality/held_out.py` says what "
        "is held out and what is not. ± is one standard error over the clips.",
        *(table_3(table, tables) if table["task"] == EDITS else markdown(table) for table in tables.values()),
        "## Known flaws",
        flaws(tables),
        "## Train it again",
        RETRAIN,
        "## Licence",
        "GPL-3.0-or-later, as the code. The data are made by the code, so nobody else has rights in them.",
    ]
    return "\n\n".join(parts) + "\n"


def check(weights: Path, tables: dict[str, Table]) -> None:
    """Raises ValueError unless all tables are about the weights in this folder."""
    ours = {
        "model": digest(weights / MODEL_FILE),
        "codecs": digest(*(weights / name for name in CODEC_FILES)),
        "refiner": digest(weights / REFINER_FILE),
    }
    for key, table in tables.items():
        for part, own in ours.items():
            seen = table["settings"].get(part, own)
            if seen != own:
                raise ValueError(f"table '{key}' was measured on {part} {seen}, but {weights} has {own}: measure again")


def table_3(table: Table, tables: dict[str, Table]) -> str:
    """The table of the task "edits" in the order of SkyReels-V4's Table 3, a line for each world.

    Expressions come from the table of "faces" of the same clips' length, if there is one.
    """
    length = table["settings"]["frames"]
    rows = {row["name"]: row for row in table["rows"]}
    if faces := tables.get(f"{FACES} {length}"):
        rows |= {row["name"]: row for row in faces["rows"]}

    def row_of(world: str, *names: str) -> dict[str, Any] | None:
        return next((rows[key] for name in names if (key := f"{world}/{name}") in rows), None)

    def value(row: dict[str, Any] | None, part: str = "figure") -> str:
        return "" if row is None or row[part] is None else number_text(row[part]["value"])

    lines = []
    for subtask, worlds in TABLE_3.items():
        for world in worlds:
            if (done := row_of(world, "done", "removed")) is None:
                continue
            rest = row_of(world, "rest_psnr")
            lines.append(
                [
                    subtask,
                    world,
                    figure_text(done["figure"]),
                    number_text(done["figure"]["chance"]),
                    value(done, "ceiling"),
                    f"≥ {done['bar']:g} {'pass' if done['passed'] else '**fail**'}",
                    value(rest) and f"{value(rest)} of {value(rest, 'ceiling')}",
                    value(row_of(world, "rest_kept")),
                    value(row_of(f"{world} {MASKED}", "done", "removed")),
                    value(row_of(f"{world} {MASKED}", "done_alone")),
                    value(row_of(world, "in_place")),
                    value(row_of(world, "truth_sync_gain")),
                    value(row_of(world, "truth_pitch", "said_pitch")),
                ]
            )
    head = ["Table 3 of SkyReels-V4", "world", "done", "chance", "ceiling", "bar", "the rest, dB of the codecs' dB"]
    head += ["rest unchanged", f"done {MASKED}", "and nothing else", "object in place", "sync above chance", "pitch"]
    settings = ", ".join(f"{name.replace('_', ' ')} {x}" for name, x in table["settings"].items())
    more = "All figures of these tasks, with chance and ceiling, are in `benchmarks/results/quality.md`."
    return "\n\n".join([f"### {TITLES[EDITS]}", f"{settings}.", grid(head, lines), f"{NOTES[EDITS]} {more}"])


def what_it_is(level: Level) -> str:
    scene = sample_scenes(1, frames=1, level=level, generator=torch.Generator().manual_seed(0)).attributes(0)
    return (
        "A network of the full SkyReels-V4 architecture, small enough to train on a CPU and to ship with the code. "
        f"It makes clips of {FRAME_SIZE} x {FRAME_SIZE} pixels at {FRAME_RATE:g} frames per second with mono sound at "
        f"{SAMPLE_RATE / 1000:g} kHz, from prompts such as `{caption(scene)}`, and single frames of them in a larger "
        "size. Its Refiner gives clips up to four times the width and height, and twice the frames.\n\n"
        f"It knows one world, and nothing of ours: {_list(level.shapes)} in {_list(level.colours)} that bounce "
        f"{_list(level.speeds, 'or')} off the walls of a {_list(level.backgrounds, 'or')} box, with a note for each "
        "bounce. It is there to show, to test and to develop on every machine what the nodes do with models of any "
        "size. It makes no picture of anything else, and words outside its vocabulary mean nothing to it."
    )


def files(weights: Path) -> str:
    lines = ["| file | what | bytes | parameters |", "|---|---|---:|---:|"]
    total = 0
    for name, what in FILES.items():
        size = (weights / name).stat().st_size
        total += size
        lines.append(f"| `{name}` | {what} | {size:,} | {parameters(weights / name):,} |")
    lines.append(f"| | together | {total:,} | |")
    return "\n".join(lines)


def parameters(path: Path) -> int:
    """Numbers in all tensors of a file."""
    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def data(level: Level) -> str:
    def notes(shape: Shape) -> str:
        return f"{shape.sound}, {len(shape.partials)} partial{'s' * (len(shape.partials) > 1)}"

    sounds = "; ".join(f"{name}: {notes(shape)}" for name, shape in level.shapes.items())
    pitches = ", ".join(f"{name} {colour.pitch}" for name, colour in level.colours.items())
    choices = [level.shapes, level.colours, level.backgrounds, level.speeds, level.sizes, level.textures]
    combinations = math.prod(len(choice) for choice in choices)
    return (
        f"The toybox of `training/toybox.py`, level `{level.name}`, drawn and sounded by the code itself: "
        f"{combinations} combinations of {_list(level.shapes)}; {_list(level.colours)}; {_list(level.backgrounds)}; "
        f"{_list(level.speeds)}. Place, direction and exact speed are random. The shape gives the timbre ({sounds}), "
        f"the colour the pitch ({pitches}), the impact the loudness. Captions are random paraphrases "
        "(`training/captions.py`) that leave things out at times. No picture, sound or text of anybody is in it.\n\n"
        "Paired worlds (`training/worlds/`) show what else it is asked for, each with its rendered truth:\n\n"
        f"{worlds()}"
    )


def worlds() -> str:
    """Names of all worlds, by the subtasks of Table 3 that they stand for."""
    beside = [name for name in WORLDS if not any(name in names for names in TABLE_3.values())]
    lines = {**TABLE_3, "Beside Table 3": beside}
    return "\n".join(f"* {subtask}: {', '.join(names)}" for subtask, names in lines.items())


def training(weights: Path) -> str:
    """The metadata of every file, as the trainers wrote them."""
    lines = ["| file | fact | value |", "|---|---|---|"]
    for name in FILES:
        lines += [f"| `{name}` | {fact.replace('_', ' ')} | {value} |" for fact, value in facts(weights / name)]
    return "\n".join(lines)


def facts(path: Path) -> Iterator[tuple[str, str]]:
    """Names and values of a file's metadata; a value that is a JSON object becomes one fact for each of its entries."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    for name in sorted(set(metadata) - set(NOT_TOLD)):
        try:
            value = json.loads(metadata[name])
        except json.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            yield name, _cell(metadata[name])
            continue
        for part, inner in value.items():
            told = ", ".join(f"{k} {v}" for k, v in inner.items()) if isinstance(inner, dict) else str(inner)
            yield f"{name}: {part}", _cell(told)


def training_level(weights: Path) -> str:
    """The level of the toybox that the codecs were fitted to."""
    with safe_open(weights / CODEC_FILES[0], framework="pt") as file:
        return (file.metadata() or {})["level"]


def flaws(tables: dict[str, Table]) -> str:
    """What the figures say against Mini, then what no figure says."""
    lines = []
    for key, table in tables.items():
        for row in table["rows"]:
            if row["passed"] is False:
                value, bar = row["figure"]["value"], row["bar"]
                lines.append(f"* Below its bar ({key} frames): {row['label']}: {value:g} instead of {bar:g}.")
    for table in tables.values():
        if table["task"] == "t2va":
            lines += _flaws_of_motion(table)
    lines.append("* The codecs are fitted to this world: other pictures blur, other sounds are mostly lost.")
    return "\n".join(lines)


def _flaws_of_motion(table: Table) -> Iterator[str]:
    rows, frames = {row["name"]: row for row in table["rows"]}, table["settings"]["frames"]
    figures = {name: row["figure"]["value"] for name, row in rows.items()}
    if figures.get("clips_lost"):
        yield f"* {figures['clips_lost']:.1%} of the clips of {frames} frames lose their object for a while."
    if figures.get("teleports"):
        yield f"* {figures['teleports']:.1%} of the steps in clips of {frames} frames are jumps of over 7 pixels."
    if figures.get("jitter") and rows["jitter"]["ceiling"]:
        real = rows["jitter"]["ceiling"]["value"]
        yield (
            f"* Objects in clips of {frames} frames tremble by {figures['jitter']:g} pixels per frame squared, real "
            f"ones by {real:g}."
        )


RETRAIN = """```
python3 -m training.text --out models/weights
python3 -m training.media
python3 -m training.codecs --out models/weights
python3 -m training.codecs --out models/weights --only video --seconds 540 \\
    --start models/weights/mini_video_vae.safetensors
python3 -m training.train --out runs/mini
python3 -m training.export runs/mini/checkpoint.pt
python3 -m training.refiner --start models/weights/mini.safetensors --minutes 60
python3 -m training.export runs/refiner/checkpoint.pt --out models/weights/mini_refiner.safetensors
python3 -m benchmarks.quality --task all --out benchmarks/results
python3 -m benchmarks.quality.card
```

`torchrun --nproc-per-node 2 -m training.train --out runs/mini` uses two processes. A stopped training goes on where it
was. Plain PyTorch is enough; ComfyUI need not be installed."""


def _list(names, conjunction: str = "and") -> str:
    *most, last = names
    return f"{', '.join(most)} {conjunction} {last}" if most else str(last)


def _cell(text: str) -> str:
    """Text that cannot break out of a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes Mini's model card.")
    parser.add_argument("--weights", type=Path, default=Path("models/weights"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/quality.json"))
    options = parser.parse_args()
    tables = load_tables(options.results)
    if not tables:
        parser.error(f"--results {options.results} holds no tables: run python3 -m benchmarks.quality first")
    path = options.weights / "README.md"
    path.write_text(card(options.weights, tables), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
