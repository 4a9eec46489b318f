"""Ways in and out of the token stream: plain patches, or a small convolution stem and head at full latent resolution.

The paper's network cuts latents into patches with one linear layer. A network as small as Mini cannot spare the
detail that a 2x2 patch hides, nor see the picture's border in a rotary position, so it may have a convolution stem
(which also sees the neighbouring latent frames and the absolute place in the picture) and a head with a skip from it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BORDER_FEATURES = 12  # sin and cos of k pi y and k pi x, k = 1, 2, 3


def patchify(x: Tensor, size: int) -> Tensor:
    """[B, T, H, W, C] -> [B, T, H/size, W/size, size * size * C]"""
    b, t, h, w, c = x.shape
    x = x.reshape(b, t, h // size, size, w // size, size, c)
    return x.permute(0, 1, 2, 4, 3, 5, 6).reshape(b, t, h // size, w // size, size * size * c)


def unpatchify(x: Tensor, size: int) -> Tensor:
    """[B, T, h, w, size * size * C] -> [B, T, h * size, w * size, C]"""
    b, t, h, w, _ = x.shape
    x = x.reshape(b, t, h, w, size, size, -1)
    return x.permute(0, 1, 2, 4, 3, 5, 6).reshape(b, t, h * size, w * size, -1)


def border_features(height: int, width: int, like: Tensor) -> Tensor:
    """Absolute place of each latent cell, relative to the picture's size: [height, width, 12]"""
    y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) / width
    place = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1) * math.pi
    return torch.cat([f(k * place) for k in (1, 2, 3) for f in (torch.sin, torch.cos)], dim=-1).to(like.dtype)


def neighbours(x: Tensor) -> Tensor:
    """Each frame with the one before and the one after it (zero beyond the ends). [B, T, ..., C] -> [B, T, ..., 3C]"""
    empty = torch.zeros_like(x[:, :1])
    return torch.cat([torch.cat([empty, x[:, :-1]], dim=1), x, torch.cat([x[:, 1:], empty], dim=1)], dim=-1)


def repeat_cells(x: Tensor, size: int) -> Tensor:
    """Token-grid values [B, t, h, w, C] to the latent grid; axes of length 1 stay as they are (they broadcast)."""
    for axis in (2, 3):
        if x.shape[axis] > 1:
            x = x.repeat_interleave(size, dim=axis)
    return x


class ModulatedConv(nn.Module):
    """Residual pair of 3x3 convolutions at latent resolution, modulated by the time embedding (FiLM)."""

    def __init__(self, channels: int, dim: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.norm = operations.LayerNorm(channels, elementwise_affine=False, eps=1e-6, **factory)
        self.conv_in = operations.Conv2d(channels, channels, 3, padding=1, **factory)
        self.conv_out = operations.Conv2d(channels, channels, 3, padding=1, **factory)
        self.modulation = operations.Linear(dim, 2 * channels, **factory)

    def forward(self, x: Tensor, embedding: Tensor, patch: int) -> Tensor:
        """x [B, T, H, W, channels], embedding [B, t, h, w, dim] broadcastable over the token grid -> like x"""
        shift, scale = repeat_cells(self.modulation(embedding), patch).chunk(2, dim=-1)
        hidden = conv_frames(self.conv_in, F.silu(self.norm(x)))
        return x + conv_frames(self.conv_out, F.silu(self.norm(hidden) * (1 + scale) + shift))


def conv_frames(conv: nn.Module, x: Tensor) -> Tensor:
    """Applies a 2D convolution to every frame of x [B, T, H, W, C]."""
    return conv(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class PatchEmbedding(nn.Module):
    """One linear layer per patch, as in the paper. latent [B, T, H, W, C_in] -> tokens [B, T, h, w, dim]"""

    def __init__(self, channels: int, dim: int, patch: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        self.patch = patch
        self.project = operations.Linear(patch * patch * channels, dim, dtype=dtype, device=device)

    def forward(self, latent: Tensor, sigma: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.project(patchify(latent, self.patch)), None


class PatchHead(nn.Module):
    """Modulated norm and one linear layer. tokens [B, T, h, w, dim] -> latent [B, T, H, W, C_out]"""

    def __init__(self, channels: int, dim: int, patch: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.patch = patch
        self.norm = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, **factory)
        self.modulation = operations.Linear(dim, 2 * dim, **factory)
        self.project = operations.Linear(dim, patch * patch * channels, **factory)

    def forward(self, tokens: Tensor, skip: Tensor | None, embedding: Tensor) -> Tensor:
        shift, scale = self.modulation(embedding).chunk(2, dim=-1)
        return unpatchify(self.project(self.norm(tokens) * (1 + scale) + shift), self.patch)


class ConvStem(nn.Module):
    """Convolutions over each frame, its neighbours, its place and its noise level, then patches.

    latent [B, T, H, W, C_in], sigma [B, t, h, w, 1] -> tokens [B, T, h, w, dim] and the skip [B, T, H, W, stem]
    """

    def __init__(self, channels: int, dim: int, patch: int, stem: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.patch = patch
        self.conv = operations.Conv2d(3 * channels + BORDER_FEATURES + 1, stem, 3, padding=1, **factory)
        self.residual = ModulatedConv(stem, dim, operations=operations, **factory)
        self.project = operations.Linear(patch * patch * stem, dim, **factory)

    def forward(self, latent: Tensor, sigma: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor | None]:
        frame = latent.shape[:4]
        place = border_features(latent.shape[2], latent.shape[3], latent).expand(*frame, -1)
        noise = repeat_cells(sigma, self.patch).expand(*frame, 1)
        x = conv_frames(self.conv, torch.cat([neighbours(latent), place, noise.to(latent)], dim=-1))
        x = self.residual(x, embedding, self.patch)
        return self.project(patchify(x, self.patch)), x


class ConvHead(nn.Module):
    """Patches back to latent cells, the stem's skip, convolutions. -> latent [B, T, H, W, C_out]"""

    def __init__(
        self, channels: int, dim: int, patch: int, stem: int, blocks: int, *, operations=nn, dtype=None, device=None
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.patch = patch
        self.norm = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, **factory)
        self.expand = operations.Linear(dim, patch * patch * stem, **factory)
        self.blocks = nn.ModuleList([ModulatedConv(stem, dim, operations=operations, **factory) for _ in range(blocks)])
        self.out_norm = operations.LayerNorm(stem, elementwise_affine=False, eps=1e-6, **factory)
        self.project = operations.Linear(stem, channels, **factory)

    def forward(self, tokens: Tensor, skip: Tensor | None, embedding: Tensor) -> Tensor:
        x = unpatchify(self.expand(self.norm(tokens)), self.patch)
        if skip is not None:
            x = x + skip
        for block in self.blocks:
            x = block(x, embedding, self.patch)
        return self.project(self.out_norm(x))
