"""A Refiner at work in windows over time and space, so that its memory does not grow with the clip.

In each step every window gets a pass of its own, and where windows overlap their velocities are blended (as in
MultiDiffusion, Bar-Tal et al. 2023): all of them follow one common clip, so no seam is left between them.
"""

import itertools
import math
from collections.abc import Sequence

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import torch
from torch import Tensor

from ..canvas.windows import Tiles

KEY = "skycanvas_tiles"


def tile(model: comfy.model_patcher.ModelPatcher, tiles: Tiles) -> comfy.model_patcher.ModelPatcher:
    """The model with its passes cut into windows; instead of those that it may have had."""
    model, tiled = model.clone(), _Tiled(tiles)
    kinds = comfy.patcher_extension.WrappersMP
    for kind, wrapper in ((kinds.DIFFUSION_MODEL, tiled), (kinds.PREPARE_SAMPLING, tiled.estimate)):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    return model


def slices(tiles: Tiles, shape: Sequence[int], patch: int) -> list[list[slice]]:
    """The windows along each axis of a latent of so many frames, rows and columns, with patch cells to a token."""
    steps = (1, patch, patch)
    frames, rows, columns = (-(-length // step) for length, step in zip(shape, steps, strict=True))
    starts = tiles.over((frames, rows, columns))
    axes = zip(starts, tiles.size, steps, shape, strict=True)
    return [
        [slice(start * step, min((start + size) * step, length)) for start in places]
        for places, size, step, length in axes
    ]


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
        parts = slices(self.tiles, video.shape[2:], patch)
        if math.prod(map(len, parts)) == 1:
            return executor(x, timestep, context, transformer_options, **conditions)
        weights = [ramps(*one) for one in zip(parts, video.shape[2:], strict=True)]
        velocity = torch.zeros_like(video)
        for index in itertools.product(*(range(len(axis)) for axis in parts)):
            comfy.model_management.throw_exception_if_processing_interrupted()
            frames, rows, columns = (axis[i] for axis, i in zip(parts, index, strict=True))
            window = (..., frames, rows, columns)
            time, row, column = (axis[i].to(video) for axis, i in zip(weights, index, strict=True))
            inside = {name: conditions[name][window] for name in ("condition", "mask")}
            made = executor(
                [video[window]],
                _tokens(timestep, frames, rows, columns, patch),
                context,
                transformer_options,
                **conditions | inside,
            )
            velocity[window] += made * (time[:, None, None] * row[:, None] * column)
        return velocity

    def estimate(self, executor, model, noise_shape, conds, *more, **named):
        """ComfyUI makes room for one window, not for the whole clip."""
        patch = model.model.config.video_patch
        largest = [max(part.stop - part.start for part in axis) for axis in slices(self.tiles, noise_shape[2:], patch)]
        return executor(model, [*noise_shape[:2], *largest], conds, *more, **named)


def _tokens(timestep: Tensor, frames: slice, rows: slice, columns: slice, patch: int) -> Tensor:
    """Timesteps of a window's tokens, of those of all tokens [B, T, h, w]; [B] is every token's."""
    if timestep.ndim == 1:
        return timestep
    down, across = (slice(side.start // patch, -(-side.stop // patch)) for side in (rows, columns))
    return timestep[:, frames, down, across]
