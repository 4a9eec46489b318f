"""Measures speed and memory: `python3 run.py python -m benchmarks.speed [blocks | sparse | scheme | memory | shape]`.

    blocks   our blocks and whole network beside ComfyUI core's HunyuanVideo and LTXAV
    sparse   sparse attention beside dense attention, back end by back end
    scheme   a small clip and the Refiner beside the large clip made at once
    memory   peak memory by length of the clip
    shape    15 seconds at 1080p through the whole pipeline, with networks of little width

Each writes speed_<name>.json, .md and, with matplotlib, .png; without a name, all of them, with their defaults.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.speed import blocks, memory, scheme, shape, sparse
from benchmarks.speed.clock import CLOCKS

PARTS = {"blocks": blocks, "sparse": sparse, "scheme": scheme, "memory": memory, "shape": shape}
PROGRAM = "python3 run.py python -m benchmarks.speed"


def parse(given: Sequence[str]) -> list[argparse.Namespace]:
    """The options of every part that is to be run."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    common.add_argument("--repeats", type=int, default=5, help="runs after the first, of which the median counts")
    common.add_argument("--seconds", type=float, default=10.0, help="for one figure; what takes longer is cut short")
    common.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="processor: of all threads, for a CPU that others use too"
    )
    common.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for tables and plots")
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, parents=[common], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", metavar=" | ".join(PARTS))
    for name, part in PARTS.items():
        part.arguments(commands.add_parser(name, parents=[common], description=part.__doc__))
    options = parser.parse_args(given)
    if options.name is None:
        return [one for name in PARTS for one in parse([name, *given])]
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda finds no GPU here: use --device cpu")
    if options.device == "cuda" and options.clock != "wall":
        parser.error("--clock processor does not see what a GPU does: use --clock wall")
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats} must be at least 1")
    if options.seconds < 0:
        parser.error(f"--seconds {options.seconds:g} must be at least 0")
    if wrong := PARTS[options.name].check(options):
        parser.error(wrong)
    return [options]


def main(given: Sequence[str] | None = None) -> None:
    for options in parse(sys.argv[1:] if given is None else given):
        report = PARTS[options.name].run(options)
        report.settings |= {"repeats": options.repeats, "clock": options.clock}
        report.write(options.out)


if __name__ == "__main__":
    main()
