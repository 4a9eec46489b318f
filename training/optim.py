"""Muon for the matrices inside the blocks, AdamW for everything else.

`torch.optim.Muon` orthogonalises one matrix at a time in bfloat16, which CPUs emulate; here all matrices of one shape
are one batch in float32, shared out over the data-parallel ranks.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration of Muon's authors
NEWTON_SCHULZ_STEPS = 4


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximately the nearest semi-orthogonal matrices: singular values go to about 1. [n, rows, columns]"""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Nesterov), for 2D parameters. lr is the step's spectral norm for a square matrix."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.01
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = torch.zeros(len(parameters), *shape, device=parameters[0].device)
                mine = range(rank, len(parameters), world)
                if len(mine):
                    updates[list(mine)] = orthogonalise(
                        torch.stack([self._momentum(parameters[i], group) for i in mine])
                    )
                if world > 1:
                    dist.all_reduce(updates)
                step = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=step)

    def _momentum(self, parameter: nn.Parameter, group: dict) -> Tensor:
        gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        buffer.mul_(group["momentum"]).add_(gradient)
        return gradient.add(buffer, alpha=group["momentum"])


def build_optimizers(model: nn.Module, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices of the blocks, AdamW for the rest. Each group remembers its `base_lr`."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        inside = name.startswith(("dual_blocks.", "single_blocks.")) and name.endswith(".weight")
        (matrices if inside and parameter.ndim == 2 else rest).append(parameter)
    optimizers = [Muon(matrices, lr=muon_lr), torch.optim.AdamW(rest, lr=adam_lr, betas=(0.9, 0.97), weight_decay=0.0)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers
