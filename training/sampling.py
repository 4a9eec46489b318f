"""A plain Euler sampler with classifier-free guidance: what ComfyUI's KSampler does with `euler`, `simple`.

Training and benchmarks use it where ComfyUI is not installed; tests/comfy holds the two equal.
"""

import torch
from torch import Tensor

from models.mmdit import TIMESTEP_SCALE, MMDiT

SIGMA_COUNT = 1000  # entries of ComfyUI's table of sigmas


def simple_sigmas(steps: int, shift: float) -> Tensor:
    """ComfyUI's `simple` schedule over the shifted flow: from 1 down to 0. [steps + 1]"""
    t = torch.arange(1, SIGMA_COUNT + 1, dtype=torch.float32) / SIGMA_COUNT
    table = shift * t / (1 + (shift - 1) * t)
    stride = SIGMA_COUNT / steps
    return torch.tensor([*(float(table[-(1 + int(i * stride))]) for i in range(steps)), 0.0])


@torch.inference_mode()
def sample_euler(
    model: MMDiT,
    video: Tensor | None,
    audio: Tensor,
    text: tuple[Tensor, Tensor],
    unconditional: tuple[Tensor, Tensor],
    *,
    steps: int = 30,
    guidance: float = 2.0,
    shift: float = 2.0,
    **conditions,
) -> tuple[Tensor | None, Tensor]:
    """Denoises normalised noise `video` [B, C, T, H, W] (or None) and `audio` [B, Ca, L] together.

    text, unconditional: (sequence [B, Lt, D], pooled [B, D]) of the prompt and of the empty one. conditions:
    `condition`, `mask`, `video_context` of MMDiT.forward, given to both passes.
    """
    sigmas = simple_sigmas(steps, shift)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        timestep = torch.full((audio.shape[0],), float(sigma) * TIMESTEP_SCALE)
        with_text = model(video, audio, timestep, text[0], pooled=text[1], **conditions)
        without = model(video, audio, timestep, unconditional[0], pooled=unconditional[1], **conditions)
        velocity = [None if w is None else u + guidance * (w - u) for w, u in zip(with_text, without, strict=True)]
        step = float(following - sigma)
        video = None if video is None else video + step * velocity[0]
        audio = audio + step * velocity[1]
    return video, audio
