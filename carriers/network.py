"""How large the networks of this pack are, and how fast they run on this machine."""

import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import comfy.model_management
import torch

from ..canvas.compile import Plan
from ..canvas.cost import Cost, ModelCost, estimate
from ..models.config import MMDiTConfig
from ..models.mmdit import MMDiT
from .loading import read_checkpoint

# The network whose speed is measured is never larger than this, so that it takes no time and no memory
MOST_DIM, MOST_BLOCKS = 512, 4  # of each kind
MOST_LATENTS = {"cpu": (5, 16, 16, 64), "other": (5, 64, 64, 256)}  # latent frames, rows and columns; audio latents


def sizes(config: MMDiTConfig, dtype: torch.dtype, parameters: int) -> ModelCost:
    return ModelCost(
        dim=config.dim,
        blocks=config.dual_blocks + config.single_blocks,
        mlp_ratio=config.mlp_ratio,
        parameters=parameters,
        bytes_per_number=dtype.itemsize,
        audio_patch=config.audio_patch,
        sparsity=config.sparsity,
        latent_channels=config.video_channels,
    )


@dataclass(frozen=True)
class Network:
    """A network as it will run here. parameters: how many numbers its weights are."""

    config: MMDiTConfig
    device: torch.device
    dtype: torch.dtype
    parameters: int

    @property
    def cost(self) -> ModelCost:
        return sizes(self.config, self.dtype, self.parameters)

    def rate(self, shape: tuple[int, ...], audio: int) -> float:
        """Operations per second that a small network of this kind reaches on this machine, on a latent of video frames,
        rows and columns, and of sound, or on a part of it if it is large."""
        most = MOST_LATENTS["cpu" if comfy.model_management.is_device_cpu(self.device) else "other"]
        return measured_rate(self.config, self.device, self.dtype, tuple(map(min, (*shape, audio), most)))

    def estimate(self, plan: Plan, **sampling) -> Cost:
        """Cost of sampling a compiled canvas; sampling: as canvas.cost.estimate takes it."""
        return estimate(plan, self.cost, rate=self.rate(plan.given.shape, len(plan.audio_given)), **sampling)


def network_of(model) -> Network:
    """The network of a MODEL."""
    parameters = sum(tensor.numel() for tensor in model.model.diffusion_model.parameters())
    return Network(model.model.config, model.load_device, model.model.get_dtype_inference(), parameters)


def network_of_file(path: str) -> Network:
    """The network of a checkpoint, as it would be loaded in float32."""
    weights, _ = read_checkpoint(path)
    parameters = sum(tensor.numel() for tensor in weights.values())
    device = comfy.model_management.get_torch_device()
    return Network(MMDiTConfig.from_state_dict(weights), device, torch.float32, parameters)


@lru_cache(maxsize=16)
@torch.inference_mode()
def measured_rate(
    config: MMDiTConfig, device: torch.device, dtype: torch.dtype, latents: tuple[int, int, int, int]
) -> float:
    """Operations per second of a network of that kind. latents: frames, rows, columns; audio latents."""
    head_dim = config.dim // config.heads
    heads = min(config.heads, max(1, MOST_DIM // head_dim))
    dual, single = (min(blocks, MOST_BLOCKS) for blocks in (config.dual_blocks, config.single_blocks))
    config = replace(config, dim=heads * head_dim, heads=heads, dual_blocks=dual, single_blocks=single)
    frames, rows, columns, length = latents
    network = MMDiT(config, device="meta", dtype=dtype).to_empty(device=device)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.fill_(0.01)  # not at random: the seeds of others must not notice
    like: dict[str, Any] = {"device": device, "dtype": dtype}
    video = torch.ones(1, config.video_channels, frames, rows, columns, **like)
    audio = torch.ones(1, config.audio_channels, length, **like) if config.audio_channels else None
    given = {"condition": video, "mask": torch.zeros_like(video[:, :1])} if config.refines else {}
    text, pooled = torch.ones(1, 16, config.text_dim, **like), torch.ones(1, config.pooled_dim or 1, **like)
    timestep = torch.tensor([500.0], device=device)

    def run() -> float:
        start = time.perf_counter()
        float(
            network(video, audio, timestep, text, pooled=pooled, **given)[0].sum()
        )  # reading a number waits for the device
        return time.perf_counter() - start

    run()  # the first time sets things up
    grid = network.token_grid(video.shape[2:])
    sound = 0 if audio is None else -(-length // config.audio_patch)
    return sizes(config, dtype, 0).operations(math.prod(grid), sound, text.shape[1], grid) / run()
