"""Tables of figures: Markdown to read, JSON to keep."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.quality.figures import Figure
from benchmarks.quality.metrics import METRICS
from benchmarks.quality.setting import Comparison, Result

TITLES = {
    "detectors": "Detectors on real clips, against the scenes' truth",
    "verdicts": "Judges of the paired worlds, on right and on wrong clips",
    "codec": "Codecs, on real clips",
    "t2va": "Text to video and sound",
    "wave": "The wave: earlier frames ahead of later ones",
    "t2i": "Text to image",
    "t2a": "Text to sound",
    "i2v": "Image to video and sound",
    "extension": "Extension of five frames",
    "continuation": "Going on to 33 frames",
    "canvas": "Patches anywhere in space and time",
    "references": "References and voices",
    "masks": "Masks: what is given is kept, the rest is made anew",
    "keyframes": "A small clip with large keyframes",
    "edits": "Editing: the paired worlds of Table 3",
    "faces": "Faces that speak",
    "layers": "Layers of sound",
    "shots": "Two shots",
    "refine": "Refined clips",
}
EXCHANGED = (
    "Chance: the same clips with all prompts (for sounds and bounces: all clips) exchanged. "
    "Ceiling: real clips of the same scenes through the codecs."
)
STANDING = "Chance of a distance: the object stays where it was last seen."
PROPOSED = "Bars with a ? are proposals."
CONTINUED = f"{EXCHANGED} Appearance counts generated frames only. {STANDING}"
NOTES = {
    "detectors": "A figure here that is not perfect is a bias of all tables. Not seen: dirt of less than 16 "
    "pixels, and ghosts of less than half the object's contrast.",
    "verdicts": "Chance: right clips, judged by what the examples of other clips ask for. Nothing done: the clip to "
    "edit as it is, a picture that stays as it is, a face that keeps its mouth shut, notes without the layer, no cut. "
    "Half right: half of an overlay's contrast left, two thirds of any other edit left; a voice 0.2 s late, a layer of "
    "a quarter of its loudness, a cut three frames late.",
    "codec": "Chance: sounds of other clips.",
    "t2va": EXCHANGED,
    "wave": "The same prompts and noise, with as many evaluations of the network either way. " + EXCHANGED,
    "t2i": EXCHANGED,
    "t2a": EXCHANGED,
    "i2v": CONTINUED,
    "extension": CONTINUED,
    "continuation": "Mean distances; an object that is lost is 64 pixels away. A figure below 0 is nearer to the truth "
    "than the frame that stands still, or than the flight straight on, through the walls. Ceiling: the real clips "
    "through the codecs.",
    "canvas": "Chance: the frames of other clips in the place of each patch. Ceiling: the real clip through the codec, "
    "inside the same patch. Clips that move, with one object of the right shape, stand for the Dynamic Degree and the "
    "Imaging Quality of VideoCanvas' tables, which need networks that know the real world; there is no FVD either. "
    f"`benchmarks/videocanvas` compares this way of conditioning with its alternatives. {PROPOSED}",
    "references": "Captions say nothing of what the reference shows. Chance: all references exchanged. Ceiling: real "
    f"clips of what was asked for, through the codecs. {PROPOSED}",
    "masks": "Given cells are clean, have timestep 0 and are shown in the condition channels; what is not given was "
    "black when it was encoded. Chance: all clips exchanged; of a distance some frames ahead: the object "
    "stays where it was last seen. Ceiling: real clips through the codecs. Appearance and places count the frames that "
    f"are not given. {PROPOSED}",
    "keyframes": "Three keyframes of twice the size are made together with each clip. The detectors see them as small "
    f"as the clip. {EXCHANGED} Chance of the distance: keyframes of other clips. {PROPOSED}",
    "edits": "Done: where the edit changes the picture, the clip is nearer to the truth than half way from the clip to "
    "edit; the object is within 3 pixels of its place on average; and the detectors see what was asked for in four "
    "fifths of the frames. An overlay is gone if less than a fifth of its contrast is left. Texture: stripes are seen, "
    "and where the truth's are, more than half of their darkness. Motion: the subject of the picture is within 4 "
    "pixels of the place that the clip gives it. Effect: size and opacity over time are those of the effect. "
    "Unchanged: at most 1 dB below the codecs, or above 35 dB. With a mask: beside the instruction, the cells of the "
    "clip that begin 4 pixels beside the edit are given, as masks of the nodes give them, and the pixels there are put "
    "back, as 'Compose Canvas' does it. Chance: the same clips, judged by what the examples of other clips ask for; "
    "nothing done scores 0 (table of the judges). Ceiling: the truth through the codecs, nothing put back.",
    "faces": "Done: colours of face and background are right in four fifths of the frames, the mouth goes with the "
    "voice (correlation of 0.7), pitch and timbre of the voice are right, and, for expression, the mouth goes with "
    f"that of the clip. {EXCHANGED}",
    "layers": "Done: the layer is the one asked for, and the notes, heard without it, have pitch and timbre of the "
    f"object. {EXCHANGED}",
    "shots": "Done: the cut is at most one frame off, and both shots show the right colour, shape and background in "
    f"four fifths of their frames. No cut at all is as far off as the clip is long. {EXCHANGED}",
    "refine": "Real clips of 64 pixels and 16 frames per second, through the codec, are made larger and smoother, and "
    "compared with the truth; what is given, keyframes and parts, is in full size. Bicubic pictures and means of two "
    "frames stand for chance. Ceiling: the truth in full size through the codec. Steepness: slopes of the picture "
    "along the truth's, where these are steep; 1 is as steep as the truth, less is blurred.",
}
Table = dict[str, Any]

# In the other tasks the same figures are told without a verdict.
BARS_COUNT_IN = ("codec", "verdicts", "t2va", "continuation", "edits", "faces", "layers", "shots", "refine")
# task -> figure -> bar
PROPOSED_BARS: dict[str, dict[str, float]] = {
    "canvas": {
        "patch at a frame 4n/patch_gain": 6.0,
        "patch at a frame 4n/patch_away": 6.0,
        "patch at another frame/patch_gain": 6.0,
        "patch at another frame/patch_away": 6.0,
        "3 patches at once/patch_gain": 6.0,
        "3 patches at once/patch_away": 6.0,
    },
    "references": {
        "subject by @image_1/reference_colour": 0.8,
        "subject by @image_1/reference_shape": 0.6,
        "background by @image_2/reference_background": 0.8,
        "voice by @audio_0/voice_pitch": 0.6,
        "voice by @audio_0/voice_timbre": 0.6,
    },
    "masks": {
        "any frames/kept_psnr": 29.0,
        "inpainting, another colour/kept_psnr": 46.0,
        "inpainting, another colour/colour": 0.9,
        "inpainting, another colour/old_colour": 0.05,
        "outpainting/made_away": 2.0,
        "extension, sound kept/kept_psnr": 30.0,
        "extension, sound kept/kept_snr": 15.5,
        "extension, sound kept/error_4": 6.0,
        "picture kept, sound made/sync_gain": 0.5,
        "sound kept, picture made/sync_gain": 0.25,
    },
    "keyframes": {
        "keyframes/colour": 0.9,
        "keyframes/background": 0.9,
        "keyframes/shape": 0.8,
        "keyframes/one_object": 0.95,
        "keyframes/keyframe_away": 2.0,
    },
}


def table_of(task: str, result: Result, settings: dict[str, Any]) -> Table:
    """What of a result is kept, as plain JSON values."""
    rows, proposed = [], PROPOSED_BARS.get(task, {})
    for key, figure in result.figures.items():
        way, _, name = key.rpartition("/")
        bar = METRICS[name].bar if task in BARS_COUNT_IN else proposed.get(key)
        metric = dataclasses.replace(METRICS[name], bar=bar)
        rows.append(
            {
                "name": key,
                "label": f"{way}: {metric.label}" if way else metric.label,
                "figure": _plain(figure),
                "ceiling": _plain(result.ceiling[key]) if key in result.ceiling else None,
                "bar": metric.bar,
                "proposed": key in proposed,
                "less_is_better": metric.down,
                "passed": metric.passed(figure.value),
            }
        )
    comparisons = [_comparison(comparison) for comparison in result.comparisons]
    return {"task": task, "settings": settings, "rows": rows, "comparisons": comparisons}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    rows = {
        name: [None if figure is None else _plain(figure) for figure in figures]
        for name, figures in comparison.rows.items()
    }
    return dataclasses.asdict(comparison) | {"rows": rows}


def _plain(figure: Figure) -> dict[str, float | None]:
    """Four digits; JSON has no NaN."""
    return {
        part: None if value is None or math.isnan(value) else round(value, 4) for part, value in vars(figure).items()
    }


def markdown(table: Table) -> str:
    """A heading, the settings, the rows and a note; then the comparisons."""
    head = ["", "measured", "chance", "ceiling", "bar", ""]
    lines = [
        [
            row["label"],
            figure_text(row["figure"]),
            number_text(row["figure"]["chance"]),
            figure_text(row["ceiling"]),
            _bar(row),
            {None: "", True: "pass", False: "**fail**"}[row["passed"]],
        ]
        for row in table["rows"]
    ]
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table["settings"].items())
    parts = [f"### {TITLES[table['task']]}", f"{settings}.", grid(head, lines), NOTES[table["task"]]]
    for comparison in table.get("comparisons", ()):
        lines = [[name, *map(figure_text, figures)] for name, figures in comparison["rows"].items()]
        parts += [f"#### {comparison['title']}", grid(["", *comparison["columns"]], lines), comparison["note"]]
    return "\n\n".join(filter(None, parts))


def grid(head: list[str], cells: list[list[str]]) -> str:
    """A Markdown table without the columns that are empty."""
    columns = [i for i in range(len(head)) if i < 2 or any(line[i] for line in cells)]
    lines = [[line[i] for i in columns] for line in (head, *cells)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]

    def row(line: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([row(lines[0]), rule, *map(row, lines[1:])])


def _bar(row: dict[str, Any]) -> str:
    if row["bar"] is None:
        return ""
    return f"{'≤' if row['less_is_better'] else '≥'} {row['bar']:g}{' ?' if row.get('proposed') else ''}"


def figure_text(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "" if figure is None else "none"
    error = "" if figure["error"] is None else f" ± {number_text(figure['error'])}"
    return number_text(figure["value"]) + error


def number_text(value: float | None) -> str:
    """Three digits after the point for shares, two for what is larger."""
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 1.5 else f"{value:.2f}"


def key_of(table: Table) -> str:
    return f"{table['task']} {table['settings']['frames']}"


def sheet_of(table: Table) -> str:
    """File name of the contact sheet that shows the clips of a table."""
    return f"{key_of(table).replace(' ', '_')}.png"


def load_tables(path: Path) -> dict[str, Table]:
    """Tables of a JSON file by "task frames"; none if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save_tables(path: Path, tables: dict[str, Table]) -> None:
    """Adds the tables to those of a JSON file, in the order of TITLES, and writes the same as Markdown beside it, each
    with its contact sheet if that lies there too."""
    order = list(TITLES)
    merged = load_tables(path) | tables
    places = {key: (order.index(table["task"]), table["settings"]["frames"]) for key, table in merged.items()}
    merged = {key: merged[key] for key in sorted(merged, key=places.__getitem__)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    parts = []
    for table in merged.values():
        parts.append(markdown(table))
        if (path.parent / sheet_of(table)).exists():
            parts.append(f"![{TITLES[table['task']]}]({sheet_of(table)})")
    path.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
