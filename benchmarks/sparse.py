"""How fast sparse attention is beside dense attention, back end by back end: `python3 -m benchmarks.sparse`.

Random queries, keys and values on a token grid, no other tokens, batch of 1; float32 on a CPU, bfloat16 on CUDA. Times
are medians, taken in one run, of the whole call: cutting into tiles, coarse stage, choice, fine stage. Writes
benchmarks/results/sparse.json, sparse.md and (with matplotlib) sparse.png.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from models.sparse_attention import (
    BACKENDS,
    TokenLayout,
    attention_operations,
    sparse_attention,
    top_k_of,
    unavailable,
)

SPARSE = ("torch", "flex", "kernel")
PEAK_SIDE = 8192  # of the square matrices whose product gives the measured peak
GIGA = 1e9
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def grid_of(tokens: int) -> tuple[int, int, int]:
    """Time, rows and columns, in rising order, of the most compact box with so many tokens."""
    boxes = [
        (a, b, tokens // a // b)
        for a in range(1, round(tokens ** (1 / 3)) + 2)
        if tokens % a == 0
        for b in range(a, math.isqrt(tokens // a) + 1)
        if tokens // a % b == 0
    ]
    return min(boxes, key=sum)


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Clock:
    """Times cells of the table, and skips those that the one before lets expect to take too long."""

    def __init__(self, device: str, name: str, repeats: int, seconds: float):
        self.device, self.now, self.repeats, self.seconds = device, CLOCKS[name], repeats, seconds
        self.rates: dict[str, float] = {}  # milliseconds per multiply-add, of the latest cell of each name

    def median_ms(self, call: Callable[[], Any], budget: float) -> float:
        """Median of up to `repeats` calls after a first one; the first alone if that takes more than budget seconds."""
        times: list[float] = []
        while len(times) <= self.repeats and (not times or sum(times) < budget):
            wait(self.device)
            before = self.now()
            call()
            wait(self.device)
            times.append(self.now() - before)
        return 1000 * statistics.median(times[1:] or times)

    def measure(self, name: str, operations: int, call: Callable[[], Any]) -> tuple[float | None, str | None]:
        """Milliseconds, or why there are none."""
        expected = self.rates.get(name, 0.0) * operations / 1000
        if expected > self.seconds:
            return None, f"about {expected:.3g} s, more than --seconds {self.seconds:g}"
        try:
            ms = self.median_ms(call, self.seconds)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return None, "out of memory"
        self.rates[name] = ms / operations
        return round(ms, 3), None


def matmul_peak(clock: Clock) -> float:
    """Multiply-adds per second of a large bfloat16 matrix product on CUDA."""
    a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return PEAK_SIDE**3 / clock.median_ms(lambda: a @ b, math.inf) * 1000


@torch.inference_mode()
def rows_of(tokens: int, options: argparse.Namespace, clock: Clock, peak: float | None) -> list[dict[str, Any]]:
    """One row for each sparsity. ms and skipped: for each back end, its time or why there is none."""
    layout = TokenLayout(grid_of(tokens))
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    shape = (1, options.heads, tokens, options.dim)
    q, k, v = (torch.randn(shape, device=options.device, dtype=dtype) for _ in range(3))
    rows = []
    dense_ms: float | None = None
    for index, sparsity in enumerate(options.sparsity):
        top_k = top_k_of(sparsity, layout.tiles)
        counted = attention_operations(layout, top_k, heads=options.heads, head_dim=options.dim)
        if not index:
            call = partial(F.scaled_dot_product_attention, q, k, v)
            dense_ms, dense_reason = clock.measure("dense", counted.dense, call)
        ms: dict[str, float] = {}
        skipped = {} if dense_reason is None else {"dense": dense_reason}
        for backend in options.backends:
            reason, took = unavailable(backend, q, layout), None
            if reason is None:
                call = partial(sparse_attention, q, k, v, layout, top_k, backend=backend)
                took, reason = clock.measure(backend, counted.sparse, call)
            if took is None:
                skipped[backend] = str(reason)
            else:
                ms[backend] = took
        rows.append(
            {
                "tokens": tokens,
                "grid": "x".join(map(str, layout.grid)),
                "tiles": layout.tiles,
                "sparsity": sparsity,
                "top_k": top_k,
                "dense_ms": dense_ms,
                "dense_share_of_peak": round(counted.dense / dense_ms * 1000 / peak, 3) if peak and dense_ms else None,
                "ms": ms,
                "speedup": {name: round(dense_ms / took, 2) for name, took in ms.items()} if dense_ms else {},
                "dense_operations": counted.dense,
                "sparse_operations": counted.sparse,
                "operations_ratio": round(counted.ratio, 2),
                "skipped": skipped,
            }
        )
    return rows


def markdown(settings: dict[str, Any], rows: list[dict[str, Any]], backends: Sequence[str]) -> str:
    peak = settings["matmul_peak_tflops"] is not None
    head = ["tokens", "grid", "sparsity", "K of tiles", "dense (ms)", *(["of the peak"] if peak else [])]
    head += [title for name in backends for title in (f"{name} (ms)", "faster")]
    head += ["dense (G multiply-adds)", "sparse", "fewer"]

    def cells(row: dict[str, Any]) -> list[str]:
        def number(value: float | None, form: str = "{:.1f}") -> str:
            return "-" if value is None else form.format(value)

        first = [row["tokens"], row["grid"], row["sparsity"], f"{row['top_k']} of {row['tiles']}"]
        line = [*map(str, first), number(row["dense_ms"])]
        line += [number(row["dense_share_of_peak"], "{:.0%}")] if peak else []
        for name in backends:
            line += [number(row["ms"].get(name)), number(row["speedup"].get(name), "{:.2f}x")]
        operations = [f"{row[key] / GIGA:.2f}" for key in ("dense_operations", "sparse_operations")]
        return [*line, *operations, f"{row['operations_ratio']:.2f}x"]

    lines = [head, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def text(line: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if value is not None)
    notes: dict[str, list[str]] = {}  # where they hold, for each reason
    for row in rows:
        for name, reason in row["skipped"].items():
            notes.setdefault(f"{name}: {reason}", []).append(f"{row['tokens']} tokens at {row['sparsity']}")
    skipped = ["", "Not measured:", *(f"* {reason} ({', '.join(where)})" for reason, where in notes.items())]
    table = [text(lines[0]), rule, *map(text, lines[1:])]
    return "\n".join(["### Sparse attention", "", f"{told}.", "", *table, *(skipped if notes else [])])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds over tokens, one line for each back end and sparsity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, dict[int, float]] = {"dense": {}}
    for row in rows:
        if row["dense_ms"]:
            lines["dense"][row["tokens"]] = row["dense_ms"]
        for name, ms in row["ms"].items():
            lines.setdefault(f"{name}, sparsity {row['sparsity']:g}", {})[row["tokens"]] = ms
    for name, points in lines.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    axes.set(xlabel="tokens", ylabel="ms", xscale="log", yscale="log")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.sparse", description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 8192, 16384, 32768, 65536, 100_000])
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.8, 0.9], help="0 (all tiles) .. 1 (one tile)")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dim", type=int, default=64, help="channels of a head")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--backends", nargs="+", choices=[name for name in BACKENDS if name in SPARSE], metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="runs after the first, of which the median counts")
    parser.add_argument("--seconds", type=float, default=30.0, help="for one cell; what takes longer is skipped")
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall", help="processor: of all threads, for a CPU that others use too"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for table and plot")
    options = parser.parse_args(arguments)
    options.backends = options.backends or (SPARSE if options.device == "cuda" else ("torch",))
    torch.manual_seed(0)
    cuda = options.device == "cuda"
    if cuda and options.clock != "wall":
        parser.error("--clock processor does not see what a GPU does: use --clock wall")
    clock = Clock(options.device, options.clock, options.repeats, options.seconds)
    peak = matmul_peak(clock) if cuda else None
    settings = {
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({platform.machine()})",
        "dtype": "bfloat16" if cuda else "float32",
        "heads": options.heads,
        "channels_of_a_head": options.dim,
        "repeats": options.repeats,
        "clock": options.clock,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "matmul_peak_tflops": round(2 * peak / 1e12, 1) if peak else None,
    }
    rows: list[dict[str, Any]] = []
    for tokens in sorted(options.tokens):
        for row in rows_of(tokens, options, clock, peak):
            rows.append(row)
            print({key: row[key] for key in ("tokens", "sparsity", "dense_ms", "ms")}, flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    table = {"settings": settings, "rows": rows}
    (options.out / "sparse.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    text = markdown(settings, rows, options.backends)
    (options.out / "sparse.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if importlib.util.find_spec("matplotlib"):
        plot(rows, options.out / "sparse.png")
    else:
        print("no plot: matplotlib is not installed")


if __name__ == "__main__":
    main()
