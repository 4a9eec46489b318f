"""How long a canvas of 100 placements takes to compile, and how much memory: `python3 -m benchmarks.canvas`.

1920x1080 pixels and 241 frames, each case in a process of its own, beside an empty canvas. Writes
benchmarks/results/canvas.json and canvas.md. Linux only, for the peak of the memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from canvas.canvas import Canvas
from canvas.compile import compile_canvas
from canvas.document import Box
from canvas.grid import VideoGrid
from canvas.pixels import Pixels

WIDTH, HEIGHT, FRAMES, FPS = 1920, 1080, 241, 16.0
PLACEMENTS = 100
GRID = VideoGrid(token=1)  # 1080 pixels are 135 cells, an odd number
BAR = 2.0  # seconds to compile, on two cores
DRAWN = 8  # frames
ENOUGH = 20.0  # seconds in one case, after which it is not repeated
PICTURE = (270, 480)


def empty() -> Canvas:
    return Canvas.new(WIDTH, HEIGHT, FRAMES, FPS)


def place(
    canvas: Canvas, chooser: random.Random, kind: str, pictures: torch.Tensor, alpha: torch.Tensor | None
) -> Canvas:
    """One placement somewhere. kind: of CASES."""
    width, height = chooser.randrange(80, 800), chooser.randrange(60, 500)
    box = Box(
        x=chooser.randrange(-width // 2, WIDTH - width // 2),
        y=chooser.randrange(-height // 2, HEIGHT - height // 2),
        width=width,
        height=height,
    )
    to = None
    if kind == "moving":
        to = Box(x=box.x + 200, y=box.y - 100, width=width + 64, height=height + 36)
    frame = chooser.randrange(FRAMES) if kind == "moment" else 0
    frames = 1 if kind == "moment" else FRAMES - frame
    picture = pictures[chooser.randrange(len(pictures)), None]
    if kind == "clip":
        return canvas.place_clip(pictures, 2.0, frame=chooser.randrange(200), box=box, alpha=alpha)
    return canvas.place_image(picture, frame=frame, frames=frames, box=box, to=to, alpha=alpha)


def filled(kinds: tuple[str, ...], cut_out: bool = False) -> Canvas:
    """PLACEMENTS placements of some kinds, in turn. cut_out: with masks of soft edges."""
    chooser, generator = random.Random(0), torch.Generator().manual_seed(0)
    pictures = torch.rand(6, *PICTURE, 3, generator=generator)
    y, x = (torch.linspace(-1, 1, side) for side in PICTURE)
    ellipse = (8 * (1 - (y[:, None] ** 2 + x**2).sqrt())).clamp(0, 1)[None]
    canvas = empty()
    for index in range(PLACEMENTS):
        canvas = place(canvas, chooser, kinds[index % len(kinds)], pictures, ellipse if cut_out else None)
    return canvas


CASES: dict[str, Callable[[], Canvas]] = {
    "empty canvas": empty,
    "100 pictures on one frame each": lambda: filled(("moment",)),
    "100 pictures all the time": lambda: filled(("still",)),
    "100 of all kinds (moments, stills, clips, moving)": lambda: filled(("moment", "still", "clip", "moving")),
    "100 pictures that move and grow": lambda: filled(("moving",)),
    "100 cut-outs with soft edges, all the time": lambda: filled(("still",), cut_out=True),
    "100 cut-outs that move and grow": lambda: filled(("moving",), cut_out=True),
}


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def memory(field: str) -> float:
    """MiB in memory: now (VmRSS), or the most since `reset_peak` (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


def measure(name: str, threads: int, repeats: int) -> dict[str, Any]:
    """One row of the table; times are the best of `repeats`."""
    torch.set_num_threads(threads)
    canvas = CASES[name]()
    seconds, processor = [], []
    before = memory("VmRSS")
    reset_peak()
    while len(seconds) < repeats and sum(seconds) < ENOUGH:
        wall, cpu = time.perf_counter(), time.process_time()
        plan = compile_canvas(canvas, GRID)
        seconds.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    peak = memory("VmHWM") - before
    pixels, wall = Pixels(canvas), time.perf_counter()
    for index in range(DRAWN):
        pixels.frame(index * (FRAMES // DRAWN))
    drawing = (time.perf_counter() - wall) / DRAWN
    return {
        "case": name,
        "compile_seconds": round(min(seconds), 3),
        "compile_cpu_seconds": round(min(processor), 3),
        "peak_mib": round(peak, 1),
        "draw_seconds_per_frame": round(drawing, 3),
        "notes": len(plan.notes),
        "patches": len(plan.patches),
    }


def markdown(settings: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    head = ["", "compile (s)", "of a processor (s)", "peak memory (MiB)", "draw a frame (s)", "patches"]
    keys = ["case", "compile_seconds", "compile_cpu_seconds", "peak_mib", "draw_seconds_per_frame", "patches"]
    lines = [head, *([str(row[key]) for key in keys] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def row(line: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    note = (
        f"Bar: {BAR:g} s. The best of {settings['repeats']} runs; on a busy machine compiling takes longer than it has "
        "a processor. Peak memory is what compiling adds to the canvas with its media."
    )
    return "\n".join(
        ["### Compiling a canvas", "", f"{told}.", "", row(lines[0]), rule, *map(row, lines[1:]), "", note]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.canvas", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for the table")
    options = parser.parse_args()
    settings = {
        "canvas": f"{WIDTH}x{HEIGHT}x{FRAMES}",
        "repeats": options.repeats,
        "threads": options.threads,
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as run.py does: threads that spin starve on a busy machine
    rows = []
    for name in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (name, options.threads, options.repeats)))
        print(rows[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    table = {"settings": settings, "rows": rows}
    (options.out / "canvas.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    text = markdown(settings, rows)
    (options.out / "canvas.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
