"""What is shown while ComfyUI samples: frames of the clip in a row, and below them how loud its sound is.

Every stock sampler shows it, as ComfyUI's own previewer draws it. The colours are a linear guess of what the video VAE
would decode (`latent_rgb_factors` of the latent format); `picture` stands as `latent_rgb_factors_reshape`, and arranges
the latent of a step such that these factors turn it into our picture. That hook gets the first stream of a latent
alone, so `with_sound` brings the sound.
"""

import functools
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import comfy.sd
import comfy.utils
import latent_preview
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:  # the latent formats import `picture`
    from .latent_format import Shapes, Statistics, VideoLatentFormat

SAMPLES, CELLS = 32, 4  # random latents to decode, and their rows and columns
FRAMES = 4  # of the clip, in the preview
SOUND_HEIGHT = 1 / 8  # of the preview
SOUND_COLOUR, SOUND_GROUND = (96, 208, 255), (16, 20, 28)

_sound: ContextVar[Tensor | None] = ContextVar("sound of the step that is being shown, [B, Ca, L]", default=None)


def fit_preview(latent_format: "VideoLatentFormat", vae: comfy.sd.VAE) -> None:
    """Decodes random first frames and fits the mean colour of a cell's pixels to its latent by least squares."""
    generator = torch.Generator().manual_seed(0)
    latent = 0.5 * torch.randn(SAMPLES, len(latent_format.video.mean), 1, CELLS, CELLS, generator=generator)
    pictures = vae.decode(latent_format.video.restore(latent))  # [SAMPLES, 1, H, W, 3] in 0..1
    colours = F.adaptive_avg_pool2d(pictures[:, 0].float().cpu().movedim(-1, 1), CELLS) * 2 - 1
    cells = latent[:, :, 0].movedim(1, -1).flatten(0, 2)
    cells = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    factors = torch.linalg.lstsq(cells, colours.movedim(1, -1).flatten(0, 2)).solution
    latent_format.set_preview(factors.tolist())


def with_sound(callback: Callable | None, shapes: "Shapes") -> Callable | None:
    """A sampler's callback, (step, x0, x, steps) of packed latents of these shapes, whose previews know the sound."""
    if callback is None or len(shapes) < 2:
        return callback

    def shown(step, x0, x, total_steps):
        token = _sound.set(comfy.utils.unpack_latents(x0, shapes)[1])
        try:
            callback(step, x0, x, total_steps)
        finally:
            _sound.reset(token)

    return shown


def picture(latent_format: "VideoLatentFormat", latent: Tensor) -> Tensor:
    """The first stream of a step, [B, C, T, H, W] or a sound alone [B, Ca, L], as the latent [1, C, h, w] to show.

    It has a cell for each pixel. If it cannot be made, it is blank and the cause is logged once; sampling goes on.
    """
    try:
        return _picture(latent_format, latent[:1])
    except Exception as error:  # whatever it is, hours of sampling must not be lost for a preview
        _warn_once(str(error))
        return torch.zeros(1, len(latent_format.latent_rgb_factors), 1, 1)


@functools.cache
def _warn_once(error: str) -> None:
    logging.warning("the previews are blank: %s", error, exc_info=True)


def _picture(latent_format: "VideoLatentFormat", latent: Tensor) -> Tensor:
    largest = latent_preview.MAX_PREVIEW_RESOLUTION
    if latent.ndim == 3:
        return _strip(latent_format, latent, largest, int(largest * SOUND_HEIGHT))
    length, *cells = latent.shape[2:]
    count = min(length, FRAMES)
    limit = min(largest, max(largest // 2, cells[0], cells[1] * count))  # the server enlarges what has few cells
    strip = int(limit * SOUND_HEIGHT)
    row, sound = _frames_in_a_row(latent, count, limit, limit - strip), _sound.get()
    if sound is None:
        return row
    return torch.cat([row, _strip(latent_format, sound[:1], row.shape[-1], strip)], dim=2)


def _frames_in_a_row(video: Tensor, count: int, width: int, height: int) -> Tensor:
    """Frames from all of a clip [1, C, T, H, W], as large as the row fits into so many pixels. -> [1, C, h, w]"""
    length, *cells = video.shape[2:]
    middles = [int((i + 0.5) * length / count) for i in range(count)]
    frames = video[0, :, middles].float().cpu().movedim(1, 0)
    scale = min(height / cells[0], width // count / cells[1])
    size = [max(1, round(scale * side)) for side in cells]
    frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
    return torch.cat(list(frames), dim=-1)[None]


def _strip(latent_format: "VideoLatentFormat", audio: Tensor, width: int, height: int) -> Tensor:
    """The envelope of an audio latent in our two colours. -> [1, C, height, width]"""
    factors, bias = (torch.tensor(x) for x in (latent_format.latent_rgb_factors, latent_format.latent_rgb_factors_bias))
    colours = torch.tensor([SOUND_GROUND, SOUND_COLOUR]) / 127.5 - 1
    cells = (colours - bias) @ torch.linalg.pinv(factors)  # [2, C]
    return cells[envelope(audio, latent_format.audio, width, height).long()].movedim(-1, 0)[None]


def envelope(audio: Tensor, statistics: "Statistics", width: int, height: int) -> Tensor:
    """Which pixels a normalised audio latent [1, Ca, L] fills, time from left to right. -> bool [height, width]

    Loudness is taken to be the root mean square of the latent as the VAE emits it, which is 0 in silence for Mini's.
    The loudest moment fills the height, unless the whole is quieter than the average of what the model has learned.
    """
    latent = statistics.restore(audio).float().cpu()
    usual = (statistics.mean.square() + statistics.std.square()).mean().sqrt()
    loudness = latent.square().mean(1, keepdim=True).sqrt()  # [1, 1, L]
    bars = F.interpolate(loudness / torch.maximum(loudness.max(), usual), size=width, mode="linear")[0, 0]
    middle = (height - 1) / 2
    return (torch.arange(height) - middle).abs()[:, None] <= bars * middle
