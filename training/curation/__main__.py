"""python3 -m training.curation FOLDER: judges a folder of clips, prints a table, writes the manifest for training."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from training.curation import sync
from training.curation.filters import Rules
from training.curation.manifest import Manifest
from training.curation.pipeline import curate

COLUMNS = ("side", "sharpness", "motion", "volume", "snr", "silence", "offset")


def table(manifest: Manifest) -> str:
    """What was kept with its main measures, what was dropped with its reasons, and how many seconds that makes."""
    width = max([len(entry.file) for entry in (*manifest.kept, *(e for e, _ in manifest.dropped))] + [4])
    lines = [f"{'kept':{width}} {'from':>8} {'seconds':>8} {'weight':>7}" + "".join(f" {n:>10}" for n in COLUMNS)]
    for entry in manifest.kept:
        values = [f"{entry.measures[name]:.4g}" if name in entry.measures else "-" for name in COLUMNS]
        row = f"{entry.file:{width}} {entry.start:8.2f} {entry.duration:8.2f} {entry.weight:7.2f}"
        lines.append(row + "".join(f" {value:>10}" for value in values))
    if manifest.dropped:
        lines += ["", f"{'dropped':{width}} {'from':>8} {'seconds':>8} reason"]
    for entry, reason in manifest.dropped:
        lines.append(f"{entry.file:{width}} {entry.start:8.2f} {entry.duration:8.2f} {reason}")
    kept = sum(entry.duration for entry in manifest.kept)
    dropped = sum(entry.duration for entry, _ in manifest.dropped)
    lines += ["", f"{len(manifest.kept)} clips kept ({kept:.0f} s), {len(manifest.dropped)} dropped ({dropped:.0f} s)"]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m training.curation", description=__doc__.split(": ")[1])
    parser.add_argument("folder", type=Path, help="videos, each with its caption in a text file of the same name")
    parser.add_argument("--out", type=Path, help="manifest to write; manifest.json in the folder if not given")
    parser.add_argument("--sync-net", type=Path, default=sync.SHIPPED, help="network for --sync")
    parser.add_argument("--threads", type=int, help="of the processor; all if not given")
    for rule in fields(Rules):
        option, meaning = f"--{rule.name.replace('_', '-')}", f"{rule.metadata['meaning']} (%(default)s)"
        if isinstance(rule.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=rule.default, help=meaning)
        else:
            parser.add_argument(option, type=float, default=rule.default, metavar="LIMIT", help=meaning)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        rules = Rules(**{rule.name: getattr(arguments, rule.name) for rule in fields(Rules)})
        net = sync.load(arguments.sync_net) if rules.sync else None
        manifest = curate(arguments.folder, rules, net=net, report=lambda line: print(line, file=sys.stderr))
    except ValueError as error:
        parser.error(str(error))
    out = arguments.out or arguments.folder / "manifest.json"
    manifest.save(out)
    print(table(manifest))
    print(f"{out} written")


if __name__ == "__main__":
    main()
