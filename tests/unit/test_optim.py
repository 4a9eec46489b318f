"""Muon: orthogonal updates, and progress on a small problem."""

import torch
from torch import nn

from models.mmdit import MMDiT
from training.optim import Muon, build_optimizers, orthogonalise
from training.train import mini_config


def test_orthogonalise_brings_singular_values_to_about_one():
    g = torch.Generator().manual_seed(0)
    for shape in ((3, 16, 16), (2, 8, 32), (2, 32, 8)):
        matrices = torch.randn(shape, generator=g)
        values = torch.linalg.svdvals(orthogonalise(matrices))
        assert values.min() > 0.2 and values.max() < 1.4
        # the singular vectors stay: the update still points where the gradient did
        assert (orthogonalise(matrices) * matrices).sum() > 0


def test_muon_solves_least_squares():
    g = torch.Generator().manual_seed(1)
    target, weight = torch.randn(16, 8, generator=g), nn.Parameter(torch.zeros(16, 8))
    optimizer = Muon([weight], lr=0.05, weight_decay=0.0)
    losses = []
    for step in range(200):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 200)
        optimizer.zero_grad()
        loss = (weight - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]


def test_every_parameter_has_exactly_one_optimizer():
    model = MMDiT(mini_config(8, 16, 128, 128))
    muon, adam = build_optimizers(model, 0.02, 0.002)
    grouped = [p for optimizer in (muon, adam) for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(model.parameters()))
    matrices = [p for group in muon.param_groups for p in group["params"]]
    assert all(p.ndim == 2 for p in matrices) and len(matrices) > 40
