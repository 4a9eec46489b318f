"""Compares ways of conditioning on patches, on VideoCanvasBench in small.

    python3 -m benchmarks.videocanvas --networks runs/paradigms --out runs/videocanvas [--model mini.safetensors]

--networks: a folder of `python3 -m training.paradigms`; --model: a network that is shown patches as the nodes do it.
Writes videocanvas.json, videocanvas.md, and for each network its readings and a contact sheet. Readings of the same
network with the same settings are used again, so a stopped measurement goes on where it was; sheets come with them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality.pipeline import CODEC_FILES, Codecs, Sampling, digest
from benchmarks.videocanvas.networks import Contender, shipped, trained
from benchmarks.videocanvas.readings import Reading, load_readings, real_tracks, save_readings
from benchmarks.videocanvas.report import markdown, report_of, sheet
from benchmarks.videocanvas.sets import Group, make_sets, of_groups, reference_scenes
from training.toybox import LEVELS, Scenes

REFERENCES = 256  # real clips that the distance of tracks is measured from


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.videocanvas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", type=Path, help="folder of the trained ways")
    parser.add_argument("--model", type=Path, help="safetensors or checkpoint, shown patches as the nodes do it")
    parser.add_argument("--clips", type=int, default=56, help="of each of the three sets; the other two have half")
    parser.add_argument("--frames", type=int, default=17, help="of a clip: 4n+1, from 13 on")
    parser.add_argument("--level", choices=LEVELS, default="easy", help="of the toybox")
    parser.add_argument("--weights", type=Path, default=Path("models/weights"), help="of codecs and text encoder")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--shift", type=float, help="of the noise schedule; default: the network's own")
    parser.add_argument("--seed", type=int, default=0, help="of clips and noise, 0 to 9")
    parser.add_argument("--threads", type=int, default=1, help="more than one is slower where the cores are busy")
    parser.add_argument("--out", type=Path, default=Path("runs/videocanvas"), help="folder for tables and pictures")
    options = parser.parse_args(arguments)
    if options.networks is None and options.model is None:
        parser.error("nothing to measure: give --networks, a folder of training.paradigms, or --model, or both")
    if options.clips < 4:
        parser.error(f"--clips {options.clips} leaves sets of a single clip: use 4 or more, 56 to compare")
    if options.model is not None and not options.model.exists():
        parser.error(f"--model {options.model} does not exist: name a safetensors file or a checkpoint")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures, writes and returns the report. ValueError if settings or networks do not fit."""
    torch.set_num_threads(options.threads)
    sets = make_sets(options.clips, options.frames, options.level, options.seed)
    codecs = Codecs(options.weights)
    contenders = [] if options.networks is None else trained(options.networks, options.weights, codecs)
    if options.model is not None:
        contenders.append(shipped(options.model, options.weights, codecs))
    settings = {name: getattr(options, name) for name in ("level", "clips", "frames", "seed", "steps", "guidance")}
    settings["codecs"] = digest(*(options.weights / name for name in CODEC_FILES))
    options.out.mkdir(parents=True, exist_ok=True)

    readings = {one.name: measured(one, sets, options, settings) for one in contenders}
    ceiling = {name: Reading.of(through(codecs, groups), groups) for name, groups in sets.items()}
    reference = reference_scenes(REFERENCES, options.frames, options.level, options.seed)
    real = real_tracks(_reconstructed(codecs, reference.render(), reference), reference)
    report = report_of(settings, contenders, readings, ceiling, real)
    for name, text in (("json", json.dumps(report, indent=1, allow_nan=False) + "\n"), ("md", markdown(report))):
        (options.out / f"videocanvas.{name}").write_text(text, encoding="utf-8")
    return report


def measured(
    contender: Contender, sets: dict[str, list[Group]], options: argparse.Namespace, settings: dict[str, Any]
) -> dict[str, Reading]:
    """Readings of a network by set: those that are kept in its file, or new ones."""
    path = options.out / f"{contender.name}.json"
    shift = contender.mini.shift if options.shift is None else options.shift
    own = settings | {"network": contender.digest, "shift": shift}
    if (kept := load_readings(path, own)) is not None:
        _say(f"{contender.name}: as read before")
        return kept
    clips, readings = {}, {}
    for name, groups in sets.items():
        _say(f"{contender.name}: {name}")
        clips[name] = [
            (group, contender.sample(group, Sampling(options.steps, options.guidance, shift, group.seed)))
            for group in groups
        ]
        readings[name] = Reading.of(torch.cat([video for _, video in clips[name]]), groups)
    sheet(clips).save(path.with_suffix(".png"))
    save_readings(path, own, readings)
    return readings


def through(codecs: Codecs, groups: list[Group]) -> torch.Tensor:
    """The clips on the canvas, through the codec."""
    whole = of_groups(groups)
    return _reconstructed(codecs, whole.canvas, whole.scenes)


def _reconstructed(codecs: Codecs, video: torch.Tensor, scenes: Scenes) -> torch.Tensor:
    clips = codecs.reconstruct(video, scenes.sound())
    assert clips.video is not None
    return clips.video


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = parse()
    try:
        report = run(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
