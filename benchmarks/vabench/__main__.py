"""Rates one model, or two against each other, on the prompts of VABench in small (SkyReels-V4 sec. 5.2).

    python3 -m benchmarks.vabench --a "model=models/weights/mini.safetensors" [--b "model=...,steps=12,wave=true"]

A contestant is a list of key=value: model, a safetensors file or a training's checkpoint.pt, and steps, guidance, shift
and wave of the sampler. Writes vabench.json, vabench.md, vabench.png (ratings; good, same, bad) and clips.png (the
prompts on which two differ most, or that one does worst).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks.quality.pipeline import CODEC_FILES, Clips, Codecs, Mini, digest
from benchmarks.vabench.contest import Contestant, clips_of, contest
from benchmarks.vabench.dimensions import Values, joined, measure, scale_of
from benchmarks.vabench.prompts import LEVEL, MOST, all_prompts, chosen
from benchmarks.vabench.report import Outcome, save


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.vabench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--a", required=True, metavar="CONTESTANT", help="model=FILE[,steps=30][,guidance=2]...")
    parser.add_argument("--b", metavar="CONTESTANT", help="whom --a is compared with")
    parser.add_argument("--prompts", type=int, default=48, help=f"2 to {MOST}, in equal parts from all categories")
    parser.add_argument("--weights", type=Path, default=Path("models/weights"), help="of codecs and text encoder")
    parser.add_argument("--threads", type=int, default=1, help="more than one is slower where the cores are busy")
    parser.add_argument("--out", type=Path, default=Path("runs/vabench"), help="folder for tables and pictures")
    options = parser.parse_args(arguments)
    options.contestants = {}
    for name, text in (("A", options.a), ("B", options.b)):
        if text is not None:
            try:
                options.contestants[name] = Contestant.parse(text)
            except ValueError as error:
                parser.error(f"--{name.lower()}: {error}")
    try:
        options.sets = chosen(options.prompts)
    except ValueError as error:
        parser.error(str(error))
    return options


def run(options: argparse.Namespace) -> Outcome:
    """Measures the scale, samples and rates every contestant, and writes what comes out."""
    torch.set_num_threads(options.threads)
    codecs = Codecs(options.weights)
    scale, real, chance = scale_of(codecs, all_prompts(), report=_report)
    values: dict[str, Values] = {}
    clips: dict[str, list[Clips]] = {}
    settings = {
        "level": LEVEL.name,
        "prompts": options.prompts,
        "codecs": digest(*(options.weights / name for name in CODEC_FILES)),
    }
    for name, contestant in options.contestants.items():
        mini = Mini.load(options.weights, contestant.model, codecs)
        sampling = contestant.sampling
        settings[name] = {
            "model": f"{contestant.model.name} {digest(contestant.model)}",
            "steps": sampling.steps,
            "guidance": sampling.guidance,
            "shift": mini.shift if sampling.shift is None else sampling.shift,
            "wave": sampling.wave,
        }
        _report(f"contestant {name}")
        clips[name] = clips_of(mini, sampling, options.sets, report=_report)
        values[name] = joined([measure(made, p) for made, p in zip(clips[name], options.sets, strict=True)])
    # All prompts make the scale, whatever their number here: ratings of 12 prompts can be compared with those of 96.
    for name, parts in (("real", real), ("chance", chance)):
        shown = [
            {key: row[: len(p)] for key, row in part.items()} for part, p in zip(parts, options.sets, strict=False)
        ]
        values[name] = joined(shown)
    scores = {name: scale.scores(rows) for name, rows in values.items()}
    verdicts = contest(scores["A"], scores["B"], scale.same) if "B" in scores else {}
    outcome = Outcome(settings, options.sets, scale, scores, values, verdicts)
    print(save(outcome, clips, options.out), end="", flush=True)
    return outcome


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options, started = parse(), time.perf_counter()
    run(options)
    _report(f"{time.perf_counter() - started:.0f} s, in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
