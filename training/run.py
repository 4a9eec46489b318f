"""What the trainings of all networks share: a budget of minutes or rows, several processes, checkpoints and a log."""

import json
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn

from training.learner import Learner, learning_rate

AnyRun = TypeVar("AnyRun", bound="Run")
# Averaged weights -> what they make, to look at, and how far off it is.
Look = Callable[[nn.Module], tuple[Image.Image, dict[str, float]]]


@dataclass
class RunSettings:
    """What determines a run. start: weights to begin with, of another run's checkpoint or of an exported model.

    rows: how many to train on, instead of for so many minutes: then the seed determines the weights.
    """

    out: Path
    start: Path = Path()
    minutes: float = 90.0
    rows: int = 0
    preview_minutes: float = 15.0
    weights: Path = Path("models/weights")
    seed: int = 0
    muon_lr: float = 0.02
    adam_lr: float = 0.002
    device: str = "cpu"


class Run(Learner, ABC):
    """A network in training, on one of `world` ranks."""

    def __init__(self, model: nn.Module, settings: RunSettings, rank: int, world: int):
        super().__init__(model, settings.muon_lr, settings.adam_lr)
        self.settings, self.rank, self.world, self.clock = settings, rank, world, 0.0

    @abstractmethod
    def losses(
        self, network: nn.Module, generator: torch.Generator, chooser: random.Random
    ) -> tuple[dict[str, Tensor], int]:
        """Losses of one batch, by the names that the log gives them, and its rows.

        network: the model, perhaps wrapped for several ranks. `chooser` decides what all ranks share, `generator` what
        each rank sees.
        """

    @property
    def progress(self) -> float:
        """Share of the rows, or of the minutes by the clock that all ranks agree on, that are used up."""
        if self.settings.rows:
            return min(1.0, self.rows / self.settings.rows)
        return min(1.0, self.clock / (60 * self.settings.minutes))

    def train_step(self, network: nn.Module) -> None:
        started = time.perf_counter()
        # Random numbers of a step depend on the seed, the step and the rank alone: a resumed run repeats nothing.
        generator = torch.Generator().manual_seed((self.settings.seed * 1_000_003 + self.step) * 4096 + self.rank)
        losses, rows = self.losses(network, generator, random.Random(self.settings.seed * 1_000_003 + self.step))
        self.learn(torch.stack(list(losses.values())).sum(), learning_rate(self.step, self.progress), self.world * rows)
        self.note(**losses)
        self.seconds += time.perf_counter() - started

    def agree_on_clock(self) -> None:
        """All ranks follow rank 0, or one would stop while another waits for it."""
        clock = torch.tensor([self.seconds], dtype=torch.float64, device=self.settings.device)
        if self.world > 1:
            dist.broadcast(clock, 0)
        self.clock = float(clock)

    @property
    def checkpoint(self) -> Path:
        return self.settings.out / "checkpoint.pt"

    def keep(self) -> None:
        """Saves what a killed run goes on from. Muon's momentum lives on the rank that owns the matrix, so every rank
        keeps a file of its own."""
        settings = {key: str(value) for key, value in asdict(self.settings).items()}
        self.save(self.rank_checkpoint(self.rank), settings=settings)

    def rank_checkpoint(self, rank: int) -> Path:
        return self.checkpoint if rank == 0 else self.settings.out / f"checkpoint.rank{rank}.pt"

    def resume(self) -> bool:
        """Goes on from the last checkpoint; False if there is none. The number of ranks may have changed."""
        if not self.checkpoint.exists():
            return False

        def read(path: Path) -> dict:
            return torch.load(path, map_location=self.settings.device, weights_only=True)

        state, own = read(self.checkpoint), self.rank_checkpoint(self.rank)
        if self.rank and own.exists() and (mine := read(own))["progress"]["step"] == state["progress"]["step"]:
            state = mine
        self.load(state)
        return True


def train(
    start: Callable[[int, int], AnyRun],
    settings: RunSettings,
    look: Callable[[], Look] | None = None,
    *,
    save_every: float = 60.0,
    report_every: float = 20.0,
) -> AnyRun:
    """Runs (or goes on with) a training until its budget is used up.

    start: makes the run of (rank, number of ranks). Beside the checkpoint it writes log.jsonl and, from time to time,
    the picture and the figures of `look`, which is made on the first rank alone.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("nccl" if settings.device == "cuda" else "gloo")
    if settings.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    settings.out.mkdir(parents=True, exist_ok=True)
    run = start(rank, world)
    resumed = run.resume()
    # Batches of pictures alone or sounds alone leave some parameters without a gradient.
    network = nn.parallel.DistributedDataParallel(run.model, find_unused_parameters=True) if world > 1 else run.model
    if rank == 0:
        parameters = sum(p.numel() for p in run.model.parameters()) / 1e6
        state = f"resumed at step {run.step}" if resumed else "new run"
        print(f"{state}, {parameters:.2f} M parameters, {world} rank(s)", flush=True)
    preview = look() if look and rank == 0 and settings.preview_minutes else None
    saved = reported = time.monotonic()
    looked = -1
    while True:
        if run.step % 10 == 0:
            run.agree_on_clock()
        if run.progress >= 1:
            break
        run.train_step(network)
        now = time.monotonic()
        if rank == 0 and now - reported > report_every:
            reported = now
            run.log.append(run.entry())
            write_log(settings.out, {k: round(v, 4) for k, v in run.log[-1].items()})
        if preview and (part := int(run.seconds / 60 // settings.preview_minutes)) > looked:
            looked = part
            sheet, left = preview(run.average)
            sheet.save(settings.out / f"step_{run.step}.png")
            write_log(settings.out, {"step": run.step, "left": left})
        if run.step % 100 == 0 and now - saved > save_every:
            saved = now
            run.keep()
    run.keep()
    if world > 1:
        dist.destroy_process_group()
    return run


def write_log(folder: Path, entry: dict) -> None:
    line = json.dumps(entry)
    print(line, flush=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
