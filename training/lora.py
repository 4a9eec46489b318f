"""Low-rank adapters (LoRA, Hu et al. 2021): a layer's W x becomes W x + (alpha / rank) B A x, and W stays as it is.

Files name weights as PEFT does, `diffusion_model.<layer>.lora_A.weight` and `.lora_B.weight`, and `.alpha` beside them.
ComfyUI's own LoRA loaders find the layers of our MODEL by these names; nothing of this file is needed to use one.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

PREFIX = "diffusion_model."  # of every name: so ComfyUI calls the network in a MODEL
LAYERS = ("dual_blocks.*", "single_blocks.*")  # attention and MLP of all blocks
Layer = nn.Linear | nn.Conv1d | nn.Conv2d


class LowRank(nn.Module):
    """A linear or convolution layer with a low-rank addition, which is zero before training.

    lora_A maps to `rank` channels as the layer itself would (its kernel, stride and padding), lora_B on from there.
    """

    def __init__(self, layer: Layer, rank: int, alpha: float, generator: torch.Generator):
        super().__init__()
        self.layer, self.alpha, self.scale = layer, alpha, alpha / rank
        self.lora_A: Layer
        self.lora_B: Layer
        if isinstance(layer, nn.Linear):
            self.lora_A = nn.Linear(layer.in_features, rank, bias=False)
            self.lora_B = nn.Linear(rank, layer.out_features, bias=False)
        else:
            kind, kernel, stride, padding = type(layer), layer.kernel_size, layer.stride, layer.padding
            self.lora_A = kind(layer.in_channels, rank, kernel, stride, padding, bias=False)
            self.lora_B = kind(rank, layer.out_channels, 1, bias=False)
        nn.init.normal_(self.lora_A.weight, std=layer.weight[0].numel() ** -0.5, generator=generator)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + self.scale * self.lora_B(self.lora_A(x))


def add_lora(
    model: nn.Module, *, rank: int, alpha: float, layers: Sequence[str] = LAYERS, generator: torch.Generator
) -> dict[str, LowRank]:
    """Freezes `model` and puts an adapter around every layer whose name fits one of the patterns, in place.

    layers: shell patterns of module names, e.g. `*.attention.qkv`. Returns layer name -> adapter. ValueError if no
    layer fits, or if the rank is not from 1 to the smallest width of a layer (a higher one would add nothing).
    """
    every = {name: layer for name, layer in model.named_modules() if isinstance(layer, Layer)}
    chosen = {name: layer for name, layer in every.items() if any(fnmatchcase(name, pattern) for pattern in layers)}
    if not chosen:
        some = ", ".join(list(every)[:: max(1, len(every) // 4)])
        raise ValueError(f"no layer's name fits {' or '.join(layers)}; there are {some} and others")
    widths = {name: min(layer.weight.flatten(1).shape) for name, layer in chosen.items()}
    narrowest = min(widths, key=widths.__getitem__)
    if not 1 <= rank <= widths[narrowest]:
        raise ValueError(f"rank {rank} is not from 1 to {widths[narrowest]}, the width of layer {narrowest}")
    model.requires_grad_(False)
    adapters = {}
    for name, layer in chosen.items():
        parent, _, child = name.rpartition(".")
        adapters[name] = LowRank(layer, rank, alpha, generator)
        setattr(model.get_submodule(parent), child, adapters[name])
    return adapters


def lora_tensors(adapters: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """What a file holds of these adapters: two factors and alpha of each layer, float32."""
    tensors = {}
    for name, adapter in adapters.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = adapter.lora_A.weight
        tensors[f"{PREFIX}{name}.lora_B.weight"] = adapter.lora_B.weight
        tensors[f"{PREFIX}{name}.alpha"] = torch.tensor(adapter.alpha)
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}


@torch.no_grad()
def merge_lora(model: nn.Module, tensors: Mapping[str, Tensor], strength: float = 1.0) -> None:
    """Adds strength * (alpha / rank) B A to the weights of `model`, which has no adapters, in place.

    ValueError, before anything is changed, names a tensor that fits no layer: the file is for another architecture.
    """
    weights, changes = dict(model.named_parameters()), {}
    for key in tensors:
        layer, _, _ = key.removesuffix(".weight").rpartition(".")
        a, b, alpha = (tensors.get(f"{layer}.{part}") for part in ("lora_A.weight", "lora_B.weight", "alpha"))
        weight = weights.get(f"{layer.removeprefix(PREFIX)}.weight")
        if weight is None or a is None or b is None or alpha is None:
            raise ValueError(f"tensor '{key}' of the LoRA has no layer or no partner: it is for another architecture")
        shape = [len(b), *a.shape[1:]]
        if shape != list(weight.shape):
            raise ValueError(
                f"tensor '{key}' of the LoRA is for a layer of {shape}, this one has {list(weight.shape)}: it is for "
                "another architecture"
            )
        change = (b.flatten(1) @ a.flatten(1)).view(shape)
        changes[weight] = change.to(weight) * (strength * float(alpha) / len(a))
    for weight, change in changes.items():
        weight.add_(change)
