"""A network that learns: its average, its optimizers and how far it is, kept in a checkpoint from which it goes on."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.optim import build_optimizers

EMA = 0.999  # of the averaged weights; less in the first steps
CLIP_NORM = 1.5
WARMUP_STEPS = 50
HOLD = 0.45  # of the run at full learning rate, then linear to LAST_RATE
LAST_RATE = 0.02
SMOOTH = 0.97  # of the losses that are reported


def learning_rate(step: int, done: float, warmup: int = WARMUP_STEPS) -> float:
    """Share of the full rate in this step, when so much of the run is done."""
    falling = max(0.0, done - HOLD) / (1 - HOLD)
    return min(1.0, (step + 1) / warmup) * (1 - (1 - LAST_RATE) * falling)


class Learner:
    """progress: step, rows seen, seconds spent; losses, smoothed; log: what was reported of them."""

    def __init__(self, model: nn.Module, muon_lr: float, adam_lr: float):
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimizers = build_optimizers(model, muon_lr, adam_lr)
        self.step, self.rows, self.seconds = 0, 0, 0.0
        self.smooth: dict[str, float] = {}
        self.log: list[dict] = []

    def learn(self, loss: Tensor, rate: float, rows: int) -> None:
        """One step down the gradient, at this share of the learning rates; rows: of the batch, over all ranks."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * rate
            optimizer.step()
        self.step += 1
        self.rows += rows
        decay = min(EMA, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), [p.detach() for p in self.model.parameters()], 1 - decay)

    def note(self, **losses: Tensor) -> None:
        for name, loss in losses.items():
            self.smooth[name] = SMOOTH * self.smooth.get(name, loss.item()) + (1 - SMOOTH) * loss.item()

    def entry(self) -> dict[str, Any]:
        """How far it is, for the log."""
        return {"step": self.step, "rows": self.rows, "seconds": round(self.seconds), **self.smooth}

    def save(self, path: Path, **facts: Any) -> None:
        """Written aside and renamed, so that a kill leaves the last one whole. facts: what else to remember."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": {"step": self.step, "rows": self.rows, "seconds": self.seconds, "smooth": self.smooth},
            "log": self.log,
            **facts,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.part")
        torch.save(state, aside)
        aside.rename(path)

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `save` wrote."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for key, value in state["progress"].items():
            setattr(self, key, value)
        self.log = state["log"]
