"""A Refiner at work in windows over time and space, so that its memory does not grow with the clip.

In each step every window gets a pass of its own, and where windows overlap their velocities are blended (as in
MultiDiffusion, Bar-Tal et al. 2023): all of them follow one common clip, so no seam is left between them.
"""

import itertools
import math
from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import torch
from torch import Tensor

from ..canvas.windows import windows
from ..models.mmdit import TEMPORAL_SCALE

KEY = "skycanvas_tiles"
WHOLE = 2**31  # more latent frames or tokens than any clip has


@dataclass(frozen=True)
class Tiles:
    """Windows of so many latent frames, and tokens down and across; neighbours share at least `overlap` of them."""

    size: tuple[int, int, int]
    overlap: tuple[int, int, int]

    def of(self, shape: tuple[int, ...], patch: int) -> list[list[slice]]:
        """The windows of each axis over a latent of so many frames, rows and columns, with patch cells to a token."""
        parts = []
        for length, size, overlap, step in zip(shape, self.size, self.overlap, (1, patch, patch), strict=True):
            starts = windows(-(-length // step), size, overlap)
            parts.append([slice(start * step, min((start + size) * step, length)) for start in starts])
        return parts


def tile(model: comfy.model_patcher.ModelPatcher, tiles: Tiles) -> comfy.model_patcher.ModelPatcher:
    """The model with its passes cut into windows; instead of those that it may have had."""
    model = model.clone()
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    model.remove_wrappers_with_key(kind, KEY)
    model.add_wrapper_with_key(kind, KEY, _Tiled(tiles))
    return model


def ramps(parts: list[slice], length: int) -> list[Tensor]:
    """Weights of each window of an axis, [its length]: rising and falling where it overlaps others, together 1."""
    weights = torch.zeros(len(parts), length)
    for index, part in enumerate(parts):
        place = torch.arange(part.start, part.stop, dtype=torch.float32)
        rise = (place - part.start + 1) / (parts[index - 1].stop - part.start + 1) if index else torch.ones_like(place)
        last = index == len(parts) - 1
        fall = torch.ones_like(place) if last else (part.stop - place) / (part.stop - parts[index + 1].start + 1)
        weights[index, part] = torch.minimum(rise, fall).clamp(max=1)
    weights /= weights.sum(0)
    return [row[part] for row, part in zip(weights, parts, strict=True)]


class _Tiled:
    """Wrapper of the network: calls it for each window."""

    def __init__(self, tiles: Tiles):
        self.tiles = tiles

    def __call__(self, executor, x, timestep, context, transformer_options, **conditions):
        (video,) = x
        patch = executor.class_obj.config.video_patch
        parts = self.tiles.of(video.shape[2:], patch)
        if math.prod(map(len, parts)) == 1:
            return executor(x, timestep, context, transformer_options, **conditions)
        weights = [ramps(*one) for one in zip(parts, video.shape[2:], strict=True)]
        velocity = torch.zeros_like(video)
        for index in itertools.product(*(range(len(axis)) for axis in parts)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            window = (..., *(axis[i] for axis, i in zip(parts, index, strict=True)))
            time, row, column = (axis[i].to(video) for axis, i in zip(weights, index, strict=True))
            inside = {name: conditions[name][window] for name in ("condition", "mask")}
            made = executor(
                [video[window]], _tokens(timestep, window, patch), context, transformer_options, **conditions | inside
            )
            velocity[window] += made * (time[:, None, None] * row[:, None] * column)
        return velocity


def _tokens(timestep: Tensor, window: tuple, patch: int) -> Tensor:
    """Timesteps of a window's tokens, of those of all tokens [B, T, h, w]; [B] is every token's."""
    if timestep.ndim == 1:
        return timestep
    _, time, *sides = window
    rows, columns = (slice(side.start // patch, -(-side.stop // patch)) for side in sides)
    return timestep[:, time, rows, columns]


def tiles_of(frames: int, side: int, overlap: int, *, spatial: int, patch: int) -> Tiles:
    """Windows given in frames and pixels; 0 frames, or a side of 0: as long, or as large, as the clip.

    frames: 4n+1; side: width and height, overlap: what neighbours share of them, both whole tokens of patch cells of
    `spatial` pixels. In time windows share a quarter. ValueError names what does not fit.
    """
    token = spatial * patch
    for name, value in (("tile_size", side), ("tile_overlap", overlap)):
        if value < 0 or value % token:
            low = max(0, value) // token * token
            raise ValueError(f"{name} is {value}, no multiple of {token}: use {low} or {low + token}")
    if side and overlap >= side:
        raise ValueError(f"tile_overlap is {overlap}: use less than tile_size, {side}")
    if frames and frames % TEMPORAL_SCALE != 1:
        low = max(0, frames - 1) // TEMPORAL_SCALE * TEMPORAL_SCALE + 1
        raise ValueError(f"tile_frames is {frames}, not 4n+1: use {low} or {low + TEMPORAL_SCALE}, or 0 for all")
    time = 1 + (frames - 1) // TEMPORAL_SCALE if frames else WHOLE
    tokens = side // token if side else WHOLE
    return Tiles((time, tokens, tokens), (time // 4 if frames else 0, *[overlap // token if side else 0] * 2))
