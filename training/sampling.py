"""A plain Euler sampler with classifier-free guidance: what ComfyUI's KSampler does with `euler`, `simple`.

Training and benchmarks use it where ComfyUI is not installed; tests/comfy holds the two equal.
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.mmdit import TIMESTEP_SCALE, Context, Keyframes, MMDiT

SIGMA_COUNT = 1000  # entries of ComfyUI's table of sigmas


def simple_sigmas(steps: int, shift: float) -> Tensor:
    """ComfyUI's `simple` schedule over the shifted flow: from 1 down to 0. [steps + 1]"""
    t = torch.arange(1, SIGMA_COUNT + 1, dtype=torch.float32) / SIGMA_COUNT
    table = shift * t / (1 + (shift - 1) * t)
    stride = SIGMA_COUNT / steps
    return torch.tensor([*(float(table[-(1 + int(i * stride))]) for i in range(steps)), 0.0])


def token_noise(video_mask: Tensor, audio_mask: Tensor, model: MMDiT) -> tuple[Tensor, Tensor]:
    """Which tokens hold anything that is made anew: a token is as noisy as its noisiest cell.

    Noise masks [B, 1, T, H, W] and [B, 1, L] -> [B, T, h, w] and [B, n], by which a sampler multiplies its timestep.
    """
    patch = model.config.video_patch
    video = F.max_pool3d(video_mask, (1, patch, patch), ceil_mode=True)[:, 0]
    return video, F.max_pool1d(audio_mask, model.config.audio_patch, ceil_mode=True)[:, 0]


@torch.inference_mode()
def sample_euler(
    model: MMDiT,
    video: Tensor | None,
    audio: Tensor | None,
    text: tuple[Tensor, Tensor],
    unconditional: tuple[Tensor, Tensor],
    *,
    steps: int = 30,
    guidance: float = 2.0,
    shift: float = 2.0,
    noise_masks: tuple[Tensor, Tensor] | None = None,
    keyframes: Context | None = None,
    **conditions,
) -> tuple[Tensor | None, ...]:
    """Denoises normalised noise `video` [B, C, T, H, W] and `audio` [B, Ca, L] together, or one of them.

    text, unconditional: (sequence [B, Lt, D], pooled [B, D]) of the prompt and of the empty one; with guidance 1 the
    latter is not looked at.
    noise_masks: [B, 1, T, H, W] of `video` and [B, 1, L] of `audio`, 1 = made anew. Where they are 0, `video` and
    `audio` hold clean latents, which stay as they are; tokens of nothing else have timestep 0.
    keyframes: noise [B, C, K, H', W'] of pictures and their times in latent frames; they come out third.
    conditions: `condition`, `mask`, `video_context`, `audio_context` of MMDiT.forward, given to both passes.
    """
    streams: list[Any] = [video, audio, *([] if keyframes is None else [keyframes[0]])]

    def velocities(timestep: Tensor, words: tuple[Tensor, Tensor]) -> list[Any]:
        return list(model(*streams[:2], timestep, words[0], pooled=words[1], **conditions))

    for level, following in pairwise(simple_sigmas(steps, shift).tolist()):
        timestep = torch.full((len(text[0]),), level * TIMESTEP_SCALE, device=text[0].device)
        if keyframes is not None:
            conditions["keyframes"] = Keyframes(streams[2], keyframes[1] or (), timestep)
        if noise_masks is not None:
            video_tokens, audio_tokens = token_noise(*noise_masks, model)
            timestep = level * TIMESTEP_SCALE * video_tokens
            conditions["audio_timestep"] = level * TIMESTEP_SCALE * audio_tokens
        made = velocities(timestep, text)
        if guidance != 1:
            without = velocities(timestep, unconditional)
            made = [None if v is None else u + guidance * (v - u) for u, v in zip(without, made, strict=True)]
        if noise_masks is not None:
            made[:2] = [None if v is None else v * mask for v, mask in zip(made, noise_masks, strict=False)]
        moved = zip(streams, made, strict=True)
        streams = [None if x is None else x + (following - level) * v for x, v in moved]
    return tuple(streams)


@torch.inference_mode()
def sample_wave(
    model: MMDiT,
    video: Tensor,
    audio: Tensor,
    text: tuple[Tensor, Tensor],
    unconditional: tuple[Tensor, Tensor],
    *,
    steps: int = 12,
    guidance: float = 2.0,
    shift: float = 2.0,
    delay: float = 0.5,
    audio_lag: float = 1.0,
    **conditions,
) -> tuple[Tensor, Tensor]:
    """What 'SkyCanvas Wave' does where nothing is kept: earlier frames ahead of later ones, the sound following.

    As `sample_euler` without noise masks; steps is how many each latent frame gets, delay and audio_lag are those of
    the node.
    """
    sigmas, frames, latents = simple_sigmas(steps, shift), video.shape[2], audio.shape[2]
    patch = model.config.audio_patch
    place = torch.arange(frames, dtype=torch.float32)
    sound_place = model.audio_times(latents, frame_rate=16.0).clamp(0, frames - 1) + audio_lag
    starts = delay * steps * place, delay * steps * sound_place
    length = math.ceil(steps + float(max(start.max() for start in starts)) - 1e-4)

    def levels(step: int) -> list[Tensor]:
        """Sigmas of the latent frames [T] and of the audio tokens [n] before that step."""
        result = []
        for start in starts:
            progress = (step - start).clamp(steps if step == length else 0, steps)
            before = progress.long().clamp(max=steps - 1)
            result.append(torch.lerp(sigmas[before], sigmas[before + 1], progress - before))
        return result

    for step in range(length):
        now, following = levels(step), levels(step + 1)
        timestep, audio_timestep = (level * TIMESTEP_SCALE for level in now)
        arguments = {**conditions, "audio_timestep": audio_timestep.expand(len(audio), -1)}
        timestep = timestep.view(1, -1, 1, 1).expand(len(video), -1, 1, 1)
        with_text = model(video, audio, timestep, text[0], pooled=text[1], **arguments)
        without = model(video, audio, timestep, unconditional[0], pooled=unconditional[1], **arguments)
        velocity = [u + guidance * (w - u) for w, u in zip(with_text, without, strict=True)]
        move, audio_move = (after - before for before, after in zip(now, following, strict=True))
        video = video + move.view(-1, 1, 1) * velocity[0]
        audio = audio + audio_move.repeat_interleave(patch)[:latents] * velocity[1]
    return video, audio
