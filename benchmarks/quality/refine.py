"""Refined clips against the truth, beside what needs no network: bicubic pictures and frames that are means of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.quality.detectors import look
from benchmarks.quality.figures import Array, Figure, mean
from benchmarks.quality.held_out import generator_of_conditions, noise_of, prompts_of
from benchmarks.quality.pipeline import Mini
from benchmarks.quality.setting import Comparison, Result, Setting
from benchmarks.quality.strip import GAP, Tile, label, stack, tile
from models.mmdit import MMDiT
from models.refiner import refined_shape, upsampled
from training.codecs import psnr
from training.objective import GIVEN, given_mask
from training.refiner import Encoder, Window, pixels_of, small_of, source_of
from training.sampling import sample_euler
from training.toybox import FRAME_SIZE, Scenes

STEPS = 2  # without guidance; more add detail that is not the truth's: compare --refiner-steps 8
BATCH = 6  # clips refined together
EDGE = 0.2  # least slope of an edge, from pixel to pixel, of values in -1..1
LARGE = 12  # clips of sets that are more than twice as large
COLUMNS = {
    "psnr": "picture (dB)",
    "sharpness": "steepness of edges",
    "new_psnr": "new frames (dB)",
    "motion": "motion to and from them (dB)",
    "new_away": "object on them, off by (pixels)",
}


@dataclass(frozen=True)
class Way:
    """A set of refined clips. keyframes: how many, from the first frame to the last; given: whether a part is."""

    scale: int
    frame_factor: int
    keyframes: int = 0
    given: bool = False

    def keyframes_of(self, frames: int) -> list[int]:
        """Those of a refined clip of so many frames, each a frame of the small one."""
        small = torch.linspace(0, (frames - 1) // self.frame_factor, self.keyframes)
        return [self.frame_factor * frame for frame in small.round().int().tolist()]


WAYS = {
    "2x": Way(2, 1),
    "3x": Way(3, 1),
    "4x": Way(4, 1),
    "2x frames": Way(1, 2),
    "2x, 2x frames": Way(2, 2),
    "4x, 2x frames": Way(4, 2),
    "2x, 2x frames, 2 keyframes": Way(2, 2, keyframes=2),
    "2x, 2x frames, 5 keyframes": Way(2, 2, keyframes=5),
    "2x, 2x frames, a part given": Way(2, 2, given=True),
}


def refine(setting: Setting) -> Result:
    """Clips of 64 pixels and 16 frames per second, through the codec, made larger and smoother."""
    figures: dict[str, Figure] = {}
    ceiling: dict[str, Figure] = {}
    comparisons: list[Comparison] = []
    shown: Image.Image | None = None
    for name, way in WAYS.items():
        setting.report(f"refining: {name}")
        count = len(setting.scenes) if way.scale <= 2 else min(LARGE, len(setting.scenes))
        frames = 1 + (setting.scenes.frames - 1) * way.frame_factor
        scenes = setting.scenes.select(torch.arange(count), frames)
        scenes = replace(scenes, fps=scenes.fps * way.frame_factor, scale=way.scale)
        parts = [_measured(setting, part, way, first) for part, first in _parts(scenes)]
        rows = {row: {key: np.concatenate([p[row][key] for p in parts]) for key in parts[0][row]} for row in parts[0]}
        for result, row in ((figures, "refined"), (ceiling, "truth through the codec")):
            gains = _gains(rows[row], rows["bicubic, blended"], rows["truth through the codec"])
            result |= {f"{name}/{key}": mean(value) for key, value in gains.items()}
        table: dict[str, list[Figure | None]] = {
            row: [mean(of[key]) if key in of else None for key in COLUMNS] for row, of in rows.items()
        }
        comparisons.append(Comparison(f"{name} ({count} clips)", list(COLUMNS.values()), table))
        if name == "2x, 2x frames":
            shown = _first_clip(setting, scenes, way)
    settings = {"steps": setting.refiner_steps or STEPS, "guidance": 1.0}
    return Result(figures, ceiling, None, prompts_of(setting.scenes), comparisons, picture=shown, settings=settings)


def _parts(scenes: Scenes) -> Iterator[tuple[Scenes, int]]:
    """The scenes in batches, each with the number of its first."""
    size = max(1, BATCH * 4 // scenes.scale**2)
    for first in range(0, len(scenes), size):
        yield scenes.select(torch.arange(first, min(first + size, len(scenes))), scenes.frames), first


@dataclass
class Refined:
    """Clips [B, 3, F, H, W] in -1..1, and the mask [B, 1, T, h, w] of what was given of them."""

    truth: Tensor
    blended: Tensor
    latents_interpolated: Tensor
    source: Tensor
    refined: Tensor
    codec: Tensor
    given: Tensor


@torch.inference_mode()
def refined(mini: Mini, scenes: Scenes, way: Way, first: int, seed: int, steps: int = STEPS) -> Refined:
    """Refines scenes; first: the number of the first, which decides its noise."""
    network: MMDiT = mini.network
    encoder = Encoder(mini.codecs.video, network.video_latent_mean, network.video_latent_std)
    small, truth = encoder(small_of(scenes, way.frame_factor).render()), scenes.render()
    large, whole = encoder(truth), Window(0, 0, way.scale * small.shape[-1])
    mask = torch.zeros_like(large[:, :1])
    if way.given:
        kind = torch.full((len(scenes),), list(GIVEN).index("outside a box"))
        mask = given_mask(kind, *large.shape[2:], generator=generator_of_conditions(seed, first))
    given = pixels_of(mask, whole, whole.side, encoder.vae.spatial_scale)
    source = source_of(encoder, small, way.scale, way.frame_factor, whole)
    given[:, :, way.keyframes_of(scenes.frames)] = True
    start = source_of(encoder, small, way.scale, way.frame_factor, whole, (truth, given))
    prompts = prompts_of(scenes)
    sequence, pooled = mini.read([*prompts, *[""] * len(prompts)])
    count = len(prompts)
    noise = torch.stack([noise_of(first + row, start.shape[1:], seed=seed)[0] for row in range(count)])
    latent, _ = sample_euler(
        network,
        noise,
        None,
        (sequence[:count], pooled[:count]),
        (sequence[count:], pooled[count:]),
        steps=steps,
        guidance=1.0,
        shift=mini.shift,
        condition=start,
        mask=mask,
    )
    assert latent is not None
    plain = encoder.decode(small)
    return Refined(
        truth,
        upsampled(plain, way.scale, way.frame_factor).clamp(-1, 1),
        encoder.decode(interpolated(small, way.scale, way.frame_factor)),
        encoder.decode(source),
        encoder.decode(latent),
        encoder.decode(large),
        mask,
    )


def interpolated(latent: Tensor, scale: int, frame_factor: int) -> Tensor:
    """Latents between latents [B, C, T, H, W], linearly in time and in space: what SkyReels-V4 sec. 4.5 describes."""
    time, height, width = refined_shape(latent.shape[2:], scale, frame_factor)
    flat = F.interpolate(latent.flatten(3), (time, latent[0, 0, 0].numel()), mode="bilinear", align_corners=True)
    frames = flat.unflatten(3, latent.shape[3:]).transpose(1, 2).flatten(0, 1)
    large = F.interpolate(frames, (height, width), mode="bilinear", align_corners=False)
    return large.unflatten(0, (len(latent), time)).transpose(1, 2)


def _measured(setting: Setting, scenes: Scenes, way: Way, first: int) -> dict[str, dict[str, Array]]:
    """Figures of each clip, for each way to make it."""
    made = refined(setting.refining, scenes, way, first, setting.sampling.seed, setting.refiner_steps or STEPS)
    side = made.given.shape[-1]
    given = pixels_of(made.given, Window(0, 0, side), side, made.truth.shape[-1] // side)
    rows = {
        "latents interpolated": made.latents_interpolated,
        "bicubic, blended": made.blended,
        "bicubic, blended, encoded again": made.source,
        "refined": made.refined,
        "truth through the codec": made.codec,
    }
    return {row: _figures(video, made.truth, scenes, way, given) for row, video in rows.items()}


def _figures(video: Tensor, truth: Tensor, scenes: Scenes, way: Way, given: Tensor) -> dict[str, Array]:
    figures = {"psnr": psnr(video, truth).double().numpy(), "sharpness": sharpness(video, truth)}
    if way.frame_factor > 1:
        figures["new_psnr"] = psnr(video[:, :, 1::2], truth[:, :, 1::2]).double().numpy()
        figures["motion"] = psnr(video.diff(dim=2), truth.diff(dim=2)).double().numpy()
        figures["new_away"] = away(video[:, :, 1::2], scenes)
    if way.keyframes:
        frames = way.keyframes_of(scenes.frames)
        figures["keyframe"] = psnr(video[:, :, frames], truth[:, :, frames]).double().numpy()
    if way.given:
        error = ((video - truth).square() * given).flatten(1).sum(1) / (3 * given.flatten(1).sum(1))
        figures["part"] = (10 * torch.log10(4 / error)).double().numpy()
    return figures


def _gains(row: dict[str, Array], plain: dict[str, Array], codec: dict[str, Array]) -> dict[str, Array]:
    """How much better clips are than those made without a network, and how far below the codec what they were given."""
    gains = {
        "refined_gain": row["psnr"] - plain["psnr"],
        "sharper": np.abs(plain["sharpness"] - 1) - np.abs(row["sharpness"] - 1),
    }
    if "new_psnr" in row:
        gains["new_gain"] = row["new_psnr"] - plain["new_psnr"]
        gains["motion_gain"] = row["motion"] - plain["motion"]
    return gains | {f"{name}_loss": codec[name] - row[name] for name in ("keyframe", "part") if name in row}


def sharpness(video: Tensor, truth: Tensor) -> Array:
    """Steepness of the truth's edges in clips [B, 3, F, H, W]: 1 as steep as in the truth, 0 none is left. [B]

    Slopes along the truth's own, where these are steep: noise counts for nothing, ghosts beside an edge neither.
    """
    slopes, wanted = (torch.stack([x.diff(dim=-1)[..., :-1, :], x.diff(dim=-2)[..., :-1]]) for x in (video, truth))
    edge = wanted.norm(dim=0, keepdim=True) > EDGE
    along = (slopes * wanted * edge).sum((0, 2, 3, 4, 5)) / (wanted.square() * edge).sum((0, 2, 3, 4, 5))
    return along.double().numpy()


def away(video: Tensor, scenes: Scenes) -> Array:
    """Distance of the object from its place on the new frames, in pixels of the small clip. [B]"""
    batch, _, frames = video.shape[:3]
    small = F.interpolate(video.transpose(1, 2).flatten(0, 1), (FRAME_SIZE, FRAME_SIZE), mode="area")
    track = look(small.unflatten(0, (batch, frames)).transpose(1, 2), scenes.level).track
    places = scenes.positions()[:, 1::2].double().numpy()
    return np.nan_to_num(np.linalg.norm(track - places, axis=2), nan=FRAME_SIZE).mean(1)


def _first_clip(setting: Setting, scenes: Scenes, way: Way) -> Image.Image:
    """The middle of a clip, every frame that is new and those beside it."""
    made = refined(
        setting.refining,
        scenes.select(torch.arange(1), scenes.frames),
        way,
        0,
        setting.sampling.seed,
        setting.refiner_steps or STEPS,
    )
    rows = {"bicubic, blended": made.blended, "refined": made.refined, "truth": made.truth}
    lines, middle = [], scenes.frames // 2
    for caption, clip in rows.items():
        frames = torch.cat(clip[0, :, max(0, middle - 3) : middle + 3].unbind(1), dim=-1)
        lines.append(tile(Tile(frames), 2))
        lines[-1] = stack([label(caption, lines[-1].width), lines[-1]], 0)
    return stack(lines, 2 * GAP)
