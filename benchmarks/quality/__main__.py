"""Measures Mini on held-out prompts and prints a table: each figure beside chance, ceiling and the bar it must reach.

    python3 -m benchmarks.quality --task t2va [--task codec ...] [--prompts 48] [--frames 17] [--out FOLDER]

Writes quality.json and quality.md (other tasks' tables in the folder are kept) and a sheet of strips for each task.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality.pipeline import CODEC_FILES, REFINER_FILE, Codecs, Mini, Sampling, digest
from benchmarks.quality.report import key_of, markdown, save_tables, sheet_of, table_of
from benchmarks.quality.setting import Setting
from benchmarks.quality.strip import sheet
from benchmarks.quality.tasks import LENGTHS, OF_THE_REFINER, TASKS, WITHOUT_NETWORK
from training.toybox import LEVELS


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=(*TASKS, "all"), action="append", help="may be given several times")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--frames", type=int, default=17, help="of a clip: 4n+1")
    parser.add_argument("--level", choices=LEVELS, default="easy", help="of the toybox")
    parser.add_argument("--weights", type=Path, default=Path("models/weights"), help="of codecs and text encoder")
    parser.add_argument(
        "--model", type=Path, help="safetensors or checkpoint; default: mini.safetensors of the weights"
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--refiner-steps", type=int, help="of the task refine; default: the task's own")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--shift", type=float, help="of the noise schedule; default: the checkpoint's")
    parser.add_argument("--seed", type=int, default=0, help="of scenes and noise")
    parser.add_argument("--training-cache", type=Path, default=Path("runs/cache"), help="for the memorisation check")
    parser.add_argument("--threads", type=int, default=1, help="more than one is slower where the cores are busy")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="folder for tables and pictures")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar is not reached")
    options = parser.parse_args(arguments)
    if options.prompts < 2:
        parser.error(f"--prompts {options.prompts} leaves nothing to exchange for chance: use 2 or more")
    if options.refiner_steps is not None and options.refiner_steps < 1:
        parser.error(f"--refiner-steps {options.refiner_steps} is no step: use 1 or more")
    if options.frames < 1 or options.frames % 4 != 1:
        low = max(1, options.frames // 4 * 4 + 1 - 4 * (options.frames % 4 == 0))
        parser.error(f"--frames {options.frames} is not 4n+1: use {low} or {low + 4}")
    options.task = options.task or ["t2va"]
    if "all" in options.task:
        options.task = list(TASKS)
    if "t2va" in options.task and "codec" not in options.task:
        options.task.insert(0, "codec")  # what the codecs lose, no sampler brings back: the two are read together
    options.model = options.model or options.weights / "mini.safetensors"
    if not options.model.exists() and not set(options.task) <= set(WITHOUT_NETWORK):
        parser.error(f"--model {options.model} does not exist: name a safetensors file or a training's checkpoint.pt")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the tasks one after the other, prints and writes their tables; returns them by "task frames"."""
    torch.set_num_threads(options.threads)
    codecs = Codecs(options.weights)
    needs_network = any(task not in WITHOUT_NETWORK for task in options.task)
    mini = Mini.load(options.weights, options.model, codecs) if needs_network else None
    model = digest(options.model) if needs_network else ""  # now: a training may write it anew
    refiner_file, refiner = options.weights / REFINER_FILE, None
    if set(options.task) & set(OF_THE_REFINER):
        refiner, refiner_model = Mini.load(options.weights, refiner_file, codecs), digest(refiner_file)
    sampling = Sampling(options.steps, options.guidance, options.shift, options.seed)
    setting = Setting.held_out(
        options.prompts,
        options.frames,
        options.level,
        options.seed,
        codecs=codecs,
        mini=mini,
        refiner=refiner,
        refiner_steps=options.refiner_steps,
        sampling=sampling,
        training_cache=options.training_cache,
        report=lambda text: print(text, file=sys.stderr, flush=True),
    )
    tables = {}
    options.out.mkdir(parents=True, exist_ok=True)
    for task in options.task:
        started = time.perf_counter()
        result = TASKS[task](setting)
        settings: dict[str, Any] = {
            "level": options.level,
            "prompts": options.prompts,
            "frames": LENGTHS.get(task, options.frames),
            "seed": options.seed,
        }
        if task != "detectors":
            settings["codecs"] = digest(*(options.weights / name for name in CODEC_FILES))
        if mini is not None and task not in WITHOUT_NETWORK:
            shift = mini.shift if options.shift is None else options.shift
            settings |= {"sampler": "euler", "schedule": "simple", "shift": shift}
            settings |= {"steps": options.steps, "guidance": options.guidance, "model": model}
        if refiner is not None and task in OF_THE_REFINER:
            settings |= {"sampler": "euler", "schedule": "simple", "shift": refiner.shift, "refiner": refiner_model}
        table = table_of(task, result, settings | result.settings)
        tables[key_of(table)] = table
        picture = result.picture
        if picture is None and result.clips is not None:
            picture = sheet(result.clips, result.captions)
        if picture is not None:
            # A palette makes the file a third as large.
            picture.convert("RGB").quantize(256).save(options.out / sheet_of(table), optimize=True)
        save_tables(options.out / "quality.json", {key_of(table): table})
        print(markdown(table), end="\n\n", flush=True)
        print(f"{task}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return tables


def main() -> int:
    options = parse()
    rows = [row for table in run(options).values() for row in table["rows"] if row["passed"] is not None]
    failed = [row["label"] for row in rows if not row["passed"]]
    if rows:
        print(
            f"{len(rows) - len(failed)} of {len(rows)} bars reached" + "".join(f"\n  not: {label}" for label in failed)
        )
    return int(options.strict and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
