"""Colours for the previews that ComfyUI shows while it samples: a linear guess of what the video VAE would decode."""

import comfy.sd
import torch
import torch.nn.functional as F

from .latent_format import JointLatentFormat

SAMPLES, CELLS = 32, 4  # random latents to decode, and their rows and columns


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
