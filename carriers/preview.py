"""What is shown while ComfyUI samples: the colours of the clip, and how loud its sound is.

Stock samplers show the first frame, in colours that are a linear guess of what the video VAE would decode. Our own
sampler shows several frames of the clip in a row, and below them the sound, each moment under its picture.
"""

import logging
from collections.abc import Callable

import comfy.sd
import comfy.utils
import latent_preview
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from .latent_format import JointLatentFormat, Statistics

SAMPLES, CELLS = 32, 4  # random latents to decode, and their rows and columns
FRAMES = 4  # of the clip, in the preview
SOUND_HEIGHT = 1 / 8  # of the largest preview
SOUND_COLOUR, SOUND_GROUND = (96, 208, 255), (16, 20, 28)


def fit_preview(latent_format: JointLatentFormat, vae: comfy.sd.VAE) -> None:
    """Decodes random first frames and fits the mean colour of a cell's pixels to its latent by least squares."""
    generator = torch.Generator().manual_seed(0)
    latent = 0.5 * torch.randn(SAMPLES, len(latent_format.video.mean), 1, CELLS, CELLS, generator=generator)
    pictures = vae.decode(latent_format.video.restore(latent))  # [SAMPLES, 1, H, W, 3] in 0..1
    colours = F.adaptive_avg_pool2d(pictures[:, 0].float().cpu().movedim(-1, 1), CELLS) * 2 - 1
    cells = latent[:, :, 0].movedim(1, -1).flatten(0, 2)
    cells = torch.cat([cells, torch.ones(len(cells), 1)], dim=1)
    factors = torch.linalg.lstsq(cells, colours.movedim(1, -1).flatten(0, 2)).solution
    latent_format.set_preview(factors.tolist())


def preview_callback(model, steps: int) -> Callable:
    """Callback of a sampler, (step, x0, x, steps): moves the progress bar, with a picture if previews are on.

    x0 is a NestedTensor (video, audio, and keyframes, which are not shown) or a sound alone, in the network's units.
    Stands in for latent_preview.prepare_callback, which sees the video only. A picture that fails is logged; sampling
    goes on.
    """
    latent_format = model.model.latent_format
    previewer = latent_preview.get_previewer(model.load_device, latent_format)
    bar = comfy.utils.ProgressBar(steps)

    def callback(step, x0, x, total_steps):
        picture = None
        if previewer is not None:
            try:
                picture = _picture(previewer, latent_format, x0)
            except Exception:  # whatever it is, hours of sampling must not be lost for a preview
                logging.warning("no preview of this step", exc_info=True)
        preview = picture and ("JPEG", picture, latent_preview.MAX_PREVIEW_RESOLUTION)
        bar.update_absolute(step + 1, total_steps, preview)

    return callback


def _picture(previewer: latent_preview.LatentPreviewer, latent_format: JointLatentFormat, x0) -> Image.Image:
    limit = latent_preview.MAX_PREVIEW_RESOLUTION
    if not x0.is_nested:
        return ImageOps.contain(previewer.decode_latent_to_preview(x0), (limit, limit), Image.Resampling.BILINEAR)
    video, audio = x0.unbind()[:2]
    count = min(video.shape[2], FRAMES)
    middles = [int((i + 0.5) * video.shape[2] / count) for i in range(count)]
    frames = [previewer.decode_latent_to_preview(video[:1, :, t : t + 1]) for t in middles]
    strip = int(limit * SOUND_HEIGHT)
    size = limit // count, limit - strip
    frames = [ImageOps.contain(frame, size, Image.Resampling.BILINEAR) for frame in frames]
    width, height = frames[0].size
    picture = Image.new("RGB", (width * count, height + strip))
    for i, frame in enumerate(frames):
        picture.paste(frame, (width * i, 0))
    picture.paste(picture_of_sound(audio[:1], latent_format.audio, width * count, strip), (0, height))
    return picture


def picture_of_sound(audio: Tensor, statistics: Statistics, width: int, height: int) -> Image.Image:
    """The envelope of a normalised audio latent [1, Ca, L], time from left to right.

    Loudness is taken to be the root mean square of the latent as the VAE emits it, which is 0 in silence for Mini's.
    The loudest moment fills the height, unless the whole is quieter than the average of what the model has learned.
    """
    latent = statistics.restore(audio).float().cpu()
    usual = (statistics.mean.square() + statistics.std.square()).mean().sqrt()
    loudness = latent.square().mean(1, keepdim=True).sqrt()  # [1, 1, L]
    bars = F.interpolate(loudness / torch.maximum(loudness.max(), usual), size=width, mode="linear")[0, 0].numpy()
    middle = (height - 1) / 2
    inside = np.abs(np.arange(height) - middle)[:, None] <= bars * middle
    return Image.fromarray(np.where(inside[..., None], SOUND_COLOUR, SOUND_GROUND).astype(np.uint8))
