"""Medians of times that are taken in turn, on a CPU or on CUDA."""

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

PEAK_SIDE = 8192  # of the square matrices whose product gives the measured peak
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
DTYPES = {"cpu": torch.float32, "cuda": torch.bfloat16}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Clock:
    """Times calls, and skips those that an earlier one lets expect to take too long.

    name: of CLOCKS. repeats: runs after the first, of which the median counts. seconds: most for the runs of one call.
    """

    def __init__(self, device: str, name: str, repeats: int, seconds: float):
        self.device, self.now, self.repeats, self.seconds = device, CLOCKS[name], repeats, seconds
        self.rates: dict[str, float] = {}  # milliseconds per multiply-add, of the latest measurement of each name

    def once(self, call: Callable[[], Any]) -> float:
        """Milliseconds of one run."""
        wait(self.device)
        before = self.now()
        call()
        wait(self.device)
        return 1000 * (self.now() - before)

    def medians(self, calls: Sequence[Callable[[], Any]], budget: float) -> list[float]:
        """Milliseconds of each call: medians of up to `repeats` rounds after a first one, in which all calls take
        turns, so that what else the machine does meets all of them; of the first alone if it takes over `budget`
        seconds."""
        rounds: list[list[float]] = []
        while len(rounds) <= self.repeats and (not rounds or sum(map(sum, rounds)) < 1000 * budget):
            rounds.append([self.once(call) for call in calls])
        return [statistics.median(times) for times in zip(*(rounds[1:] or rounds), strict=True)]

    def measure(self, name: str, operations: int, call: Callable[[], Any]) -> tuple[float | None, str | None]:
        """Milliseconds, or why there are none."""
        expected = self.rates.get(name, 0.0) * operations / 1000
        if expected > self.seconds:
            return None, f"about {expected:.3g} s, more than --seconds {self.seconds:g}"
        try:
            (ms,) = self.medians([call], self.seconds)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return None, "out of memory"
        self.rates[name] = ms / operations
        return round(ms, 3), None

    def matmul_peak(self) -> float:
        """Multiply-adds per second of a large bfloat16 matrix product on CUDA."""
        a, b = (torch.randn(PEAK_SIDE, PEAK_SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        return PEAK_SIDE**3 / self.medians([lambda: a @ b], math.inf)[0] * 1000


def clock_of(options: argparse.Namespace) -> Clock:
    return Clock(options.device, options.clock, options.repeats, options.seconds)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on beside the sizes."""
    cuda = options.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
    }
