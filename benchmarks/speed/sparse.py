"""Sparse attention beside dense attention, back end by back end.

Random queries, keys and values on a token grid, no other tokens, batch of 1; float32 on a CPU, bfloat16 on CUDA. Times
are of the whole call: cutting into tiles, coarse stage, choice, fine stage.
"""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.speed.clock import DTYPES, Clock, clock_of, machine
from benchmarks.speed.table import GIGA, Report, number
from models.sparse_attention import (
    BACKENDS,
    TokenLayout,
    attention_operations,
    sparse_attention,
    top_k_of,
    unavailable,
)

SPARSE = ("torch", "flex", "kernel")


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


@torch.inference_mode()
def rows_of(tokens: int, options: argparse.Namespace, clock: Clock, peak: float | None) -> list[dict[str, Any]]:
    """One row for each sparsity. ms and skipped: for each back end, its time or why there is none."""
    layout = TokenLayout(grid_of(tokens))
    shape = (1, options.heads, tokens, options.dim)
    q, k, v = (torch.randn(shape, device=options.device, dtype=DTYPES[options.device]) for _ in range(3))
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


def report(settings: dict[str, Any], rows: list[dict[str, Any]], backends: Sequence[str]) -> Report:
    peak = settings["matmul_peak_tflops"] is not None
    head = ["tokens", "grid", "sparsity", "K of tiles", "dense (ms)", *(["of the peak"] if peak else [])]
    head += [title for name in backends for title in (f"{name} (ms)", "faster")]
    head += ["dense (G multiply-adds)", "sparse", "fewer"]

    def cells(row: dict[str, Any]) -> list[str]:
        first = [row["tokens"], row["grid"], row["sparsity"], f"{row['top_k']} of {row['tiles']}"]
        line = [*map(str, first), number(row["dense_ms"])]
        line += [number(row["dense_share_of_peak"], "{:.0%}")] if peak else []
        for name in backends:
            line += [number(row["ms"].get(name)), number(row["speedup"].get(name), "{:.2f}x")]
        operations = [f"{row[key] / GIGA:.2f}" for key in ("dense_operations", "sparse_operations")]
        return [*line, *operations, f"{row['operations_ratio']:.2f}x"]

    def draw(figure: Any) -> None:
        """Milliseconds over tokens, one line for each back end and sparsity."""
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

    where: dict[str, list[str]] = {}  # for each reason
    for row in rows:
        for name, reason in row["skipped"].items():
            where.setdefault(f"{name}: {reason}", []).append(f"{row['tokens']} tokens at {row['sparsity']}")
    skipped = "\n".join(["Not measured:", *(f"* {reason} ({', '.join(at)})" for reason, at in where.items())])
    title = "Sparse attention beside dense attention"
    return Report("sparse", title, settings, rows, [[head, *map(cells, rows)]], draw, [skipped] if where else [])


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 8192, 16384, 32768, 65536, 100_000])
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.8, 0.9], help="0 (all tiles) .. 1 (one tile)")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dim", type=int, default=64, help="channels of a head")
    parser.add_argument("--backends", nargs="+", choices=[name for name in BACKENDS if name in SPARSE], metavar="NAME")


def check(options: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything."""
    options.backends = options.backends or (SPARSE if options.device == "cuda" else ("torch",))
    for name in ("heads", "dim"):
        if getattr(options, name) < 1:
            return f"--{name} {getattr(options, name)} must be at least 1"
    if min(options.tokens) < 1:
        return f"--tokens {min(options.tokens)} must be at least 1"
    if wrong := [share for share in options.sparsity if not 0 <= share <= 1]:
        return f"--sparsity {wrong[0]} must be from 0 (all tiles) to 1 (one tile)"
    return None


def run(options: argparse.Namespace) -> Report:
    torch.manual_seed(0)
    clock = clock_of(options)
    peak = clock.matmul_peak() if options.device == "cuda" else None
    settings = machine(options) | {
        "dtype": str(DTYPES[options.device]).removeprefix("torch."),
        "heads": options.heads,
        "channels_of_a_head": options.dim,
        "matmul_peak_tflops": round(2 * peak / 1e12, 1) if peak else None,
    }
    rows: list[dict[str, Any]] = []
    for tokens in sorted(options.tokens):
        for row in rows_of(tokens, options, clock, peak):
            rows.append(row)
            print({key: row[key] for key in ("tokens", "sparsity", "dense_ms", "ms")}, flush=True)
    return report(settings, rows, options.backends)
