"""A small clip with keyframes of more pixels, made together: what they show, and whether it is the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.quality.detectors import look
from benchmarks.quality.figures import Array, Figure, mean
from benchmarks.quality.held_out import noise_of, prompts_of
from benchmarks.quality.metrics import measure
from benchmarks.quality.pipeline import BATCH, Clips
from benchmarks.quality.setting import Result, Setting
from benchmarks.quality.strip import GAP, Tile, label, stack, tile
from models.mmdit import TEMPORAL_SCALE
from training.objective import latents_of
from training.refiner import Encoder
from training.sampling import sample_euler
from training.toybox import FRAME_SIZE, Scenes

COUNT, SCALE = 3, 2  # from the first frame to the last
SHOWN = 6  # clips on the sheet
NAMES = ("colour", "background", "shape", "one_object")


def keyframes(setting: Setting) -> Result:
    """Clips of 64 pixels with three keyframes of 128."""
    scenes, prompts = setting.scenes, prompts_of(setting.scenes)
    at = frames_of(scenes)
    parts = [generate(setting, prompts[first : first + BATCH], first, at) for first in range(0, len(prompts), BATCH)]
    clip, stills = (torch.cat(column) for column in zip(*parts, strict=True))
    real = scenes.render()
    encoder = encoder_of(setting)
    large = torch.cat([scenes_at(scenes, frame).render() for frame in at], dim=2)
    ceiling = figures(encoder.decode(encoder(real)), alone(encoder, large), scenes, at)
    return Result(figures(clip, stills, scenes, at), ceiling, picture=sheet(prompts, clip, stills, at))


def frames_of(scenes: Scenes) -> list[int]:
    """Of which frames of the clips keyframes are made."""
    return torch.linspace(0, scenes.frames - 1, COUNT).round().int().tolist()


def scenes_at(scenes: Scenes, frame: int) -> Scenes:
    """One frame of each scene, in the keyframes' size."""
    return replace(scenes, start=scenes.positions()[:, frame], frames=1, scale=SCALE)


def encoder_of(setting: Setting) -> Encoder:
    network = setting.network.network
    return Encoder(setting.codecs.video, network.video_latent_mean, network.video_latent_std)


def alone(encoder: Encoder, pictures: Tensor) -> Tensor:
    """Pictures [B, 3, K, H, W], each through the codec by itself."""
    frames = pictures.transpose(1, 2).flatten(0, 1).unsqueeze(2)
    return encoder.decode(encoder(frames))[:, :, 0].unflatten(0, (len(pictures), -1)).transpose(1, 2)


@torch.inference_mode()
def generate(setting: Setting, prompts: list[str], first: int, at: list[int]) -> tuple[Tensor, Tensor]:
    """Clips [B, 3, F, 64, 64] and their keyframes [B, 3, K, 128, 128]; first: number of the first clip."""
    setting.report(f"sampling clips with keyframes: from number {first}")
    mini, config, sampling = setting.network, setting.network.network.config, setting.sampling
    frames, cells = 1 + (setting.scenes.frames - 1) // TEMPORAL_SCALE, FRAME_SIZE // setting.codecs.video.spatial_scale
    shapes = (
        (config.video_channels, frames, cells, cells),
        (config.audio_channels, latents_of(frames)),
        (config.video_channels, len(at), SCALE * cells, SCALE * cells),
    )
    noise = [noise_of(first + row, *shapes, seed=sampling.seed) for row in range(len(prompts))]
    video, audio, pictures = (torch.stack(stream) for stream in zip(*noise, strict=True))
    sequence, pooled = mini.read([*prompts, *[""] * len(prompts)])
    count = len(prompts)
    clip, _, stills = sample_euler(
        mini.network,
        video,
        audio,
        (sequence[:count], pooled[:count]),
        (sequence[count:], pooled[count:]),
        steps=sampling.steps,
        guidance=sampling.guidance,
        shift=mini.shift if sampling.shift is None else sampling.shift,
        keyframes=(pictures, [frame / TEMPORAL_SCALE for frame in at]),
    )
    assert clip is not None and stills is not None
    encoder = encoder_of(setting)
    shown = encoder.decode(stills.transpose(1, 2).flatten(0, 1).unsqueeze(2))[:, :, 0]
    return encoder.decode(clip), shown.unflatten(0, (count, -1)).transpose(1, 2)


def small(pictures: Tensor) -> Tensor:
    """[B, 3, K, H, W] -> [B, 3, K, 64, 64]"""
    frames = F.interpolate(pictures.transpose(1, 2).flatten(0, 1), (FRAME_SIZE, FRAME_SIZE), mode="area")
    return frames.unflatten(0, (len(pictures), -1)).transpose(1, 2)


def figures(clip: Tensor, stills: Tensor, scenes: Scenes, at: list[int]) -> dict[str, Figure]:
    """What clips and keyframes show, and how far the object in a keyframe is from its place in the clip."""
    read = {"keyframes": measure(Clips(small(stills), None), scenes), "the clip": measure(Clips(clip, None), scenes)}
    result = {f"{way}/{name}": row[name] for way, row in read.items() for name in NAMES}
    places = [look(pictures, scenes.level).track for pictures in (small(stills), clip[:, :, at])]
    away = np.stack([distance(places[0], np.roll(places[1], shift, axis=0)) for shift in range(len(clip))])
    chance = float(away[1:].mean()) if len(clip) > 1 else None
    near = mean(away[0])
    result["keyframes/keyframe_away"] = Figure(near.value, near.error, chance)
    return result


def distance(track: Array, other: Array) -> Array:
    """Mean distance (pixels) of two tracks [B, K, 2]; one that is lost is as far away as the box is wide. [B]"""
    return np.nan_to_num(np.linalg.norm(track - other, axis=2), nan=FRAME_SIZE).mean(1)


def sheet(prompts: list[str], clip: Tensor, stills: Tensor, at: list[int]) -> Image.Image:
    """The keyframes of a few clips, and beside them the frames of the clip itself, twice as large as they are."""
    lines = []
    for prompt, frames, pictures in zip(prompts[:SHOWN], clip, stills, strict=False):
        enlarged = frames[:, at].repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3)
        row = tile(Tile(torch.cat([*pictures.unbind(1), *enlarged.unbind(1)], dim=-1)), 1)
        lines.append(stack([label(prompt, row.width), row], 0))
    return stack(lines, 2 * GAP)
