"""Mini's video codec: 8x8 spatial, causal 4x temporal, the first frame alone.

The skeleton of encoder and decoder is linear: the principal components of 8x8 patches (first frame) and of 8x8x4
patches (every four frames after it). Small ConvNeXt stacks at latent resolution correct what a linear map loses. The
skeleton alone reaches 24 to 26 dB on the toybox, which is what makes the fit a matter of minutes on a CPU.
A latent never depends on later frames; a decoded frame depends on its own latent and on the one before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .checkpoint import read_checkpoint

RGB = 3


@dataclass(frozen=True)
class VideoVAEConfig:
    """Sizes of a VideoVAE; `from_state_dict` reads them back from a checkpoint."""

    channels: int = 8
    spatial_scale: int = 8
    temporal_scale: int = 4
    encoder_dim: int = 128
    encoder_blocks: int = 1
    decoder_dim: int = 256
    decoder_blocks: int = 3

    @property
    def first_patch(self) -> int:
        """Numbers in a patch of the first frame."""
        return RGB * self.spatial_scale**2

    @property
    def rest_patch(self) -> int:
        """Numbers in a patch of `temporal_scale` later frames."""
        return self.first_patch * self.temporal_scale

    @classmethod
    def from_state_dict(cls, sd: Mapping[str, Tensor]) -> VideoVAEConfig:
        """Raises ValueError naming the tensor that is missing or has an impossible shape."""

        def shape(name: str) -> tuple[int, ...]:
            if name not in sd:
                raise ValueError(f"not a video VAE of SkyCanvas Mini: tensor {name} is missing")
            return tuple(sd[name].shape)

        channels, first = shape("encode_first.project.weight")
        rest = shape("encode_rest.project.weight")[1]
        scale = math.isqrt(first // RGB)
        if RGB * scale**2 != first or rest % first:
            raise ValueError(
                f"encode_first.project.weight sees patches of {first} numbers, encode_rest.project.weight of {rest}: "
                f"expected 3 x s x s (192 for s=8) and a multiple of it"
            )
        return cls(
            channels=channels,
            spatial_scale=scale,
            temporal_scale=rest // first,
            encoder_dim=shape("encode_first.embed.weight")[0],
            encoder_blocks=_count_blocks(sd, "encode_first.blocks."),
            decoder_dim=shape("stem.weight")[0],
            decoder_blocks=_count_blocks(sd, "blocks."),
        )


def _count_blocks(sd: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in sd if name.startswith(prefix)})


class ConvBlock(nn.Module):
    """ConvNeXt block (Liu et al. 2022): depthwise 3x3 convolution, then a pointwise MLP. [N, h, w, dim] -> same."""

    def __init__(self, dim: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        kwargs = {"dtype": dtype, "device": device}
        self.conv = operations.Conv2d(dim, dim, 3, padding=1, groups=dim, **kwargs)
        self.norm = operations.LayerNorm(dim, **kwargs)
        self.up = operations.Linear(dim, 2 * dim, **kwargs)
        self.down = operations.Linear(2 * dim, dim, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        y = _convolve(self.conv, x)
        return x + self.down(F.gelu(self.up(self.norm(y))))


class PatchEncoder(nn.Module):
    """Patches [N, h, w, patch] -> latents [N, h, w, channels]: principal components plus a learned correction."""

    def __init__(self, patch: int, config: VideoVAEConfig, *, operations=nn, dtype=None, device=None):
        super().__init__()
        kwargs = {"dtype": dtype, "device": device}
        self.project = operations.Linear(patch, config.channels, **kwargs)
        self.embed = operations.Linear(patch, config.encoder_dim, **kwargs)
        self.blocks = nn.ModuleList(
            ConvBlock(config.encoder_dim, operations=operations, **kwargs) for _ in range(config.encoder_blocks)
        )
        self.out = operations.Linear(config.encoder_dim, config.channels, **kwargs)

    def forward(self, patches: Tensor) -> Tensor:
        x = F.gelu(self.embed(patches))
        for block in self.blocks:
            x = block(x)
        return self.project(patches) + self.out(x)


class PatchDecoder(nn.Module):
    """Latents and features -> patches: the principal components' expansion plus a learned correction."""

    def __init__(self, patch: int, config: VideoVAEConfig, *, operations=nn, dtype=None, device=None):
        super().__init__()
        kwargs = {"dtype": dtype, "device": device}
        self.expand = operations.Linear(config.channels, patch, **kwargs)
        self.norm = operations.LayerNorm(config.decoder_dim, **kwargs)
        self.out = operations.Linear(config.decoder_dim, patch, **kwargs)

    def forward(self, latent: Tensor, features: Tensor) -> Tensor:
        return self.expand(latent) + self.out(self.norm(features))


class VideoVAE(nn.Module):
    """Video [B, 3, F, H, W] in [-1, 1], F = 4n+1, H and W multiples of 8  <->  latent [B, C, 1+n, H/8, W/8].

    Latents are deterministic, of about unit scale over all channels together; decoding tolerates noise of about 0.1
    on them. Both directions work through time in chunks of `chunk` latent frames, so that the memory for activations
    does not grow with the length.
    """

    chunk = 8  # latent frames per step

    def __init__(self, config: VideoVAEConfig | None = None, *, operations=nn, dtype=None, device=None):
        super().__init__()
        self.config = config = config or VideoVAEConfig()
        kwargs = {"operations": operations, "dtype": dtype, "device": device}
        self.encode_first = PatchEncoder(config.first_patch, config, **kwargs)
        self.encode_rest = PatchEncoder(config.rest_patch, config, **kwargs)
        self.stem = operations.Conv2d(2 * config.channels, config.decoder_dim, 3, padding=1, dtype=dtype, device=device)
        self.position = nn.Parameter(torch.zeros(2, config.decoder_dim, dtype=dtype, device=device))  # first, rest
        self.blocks = nn.ModuleList(ConvBlock(config.decoder_dim, **kwargs) for _ in range(config.decoder_blocks))
        self.decode_first = PatchDecoder(config.first_patch, config, **kwargs)
        self.decode_rest = PatchDecoder(config.rest_patch, config, **kwargs)

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def spatial_scale(self) -> int:
        return self.config.spatial_scale

    @property
    def temporal_scale(self) -> int:
        return self.config.temporal_scale

    def encode(self, video: Tensor) -> Tensor:
        """[B, 3, F, H, W] in [-1, 1] -> [B, C, 1 + (F-1)/4, H/8, W/8]. Raises ValueError for other shapes."""
        self._check_video(video)
        latents = [self.encode_first(self.to_patches(video[:, :, :1], 1))]
        step = self.temporal_scale * self.chunk
        for start in range(1, video.shape[2], step):
            latents.append(self.encode_rest(self.to_patches(video[:, :, start : start + step], self.temporal_scale)))
        return torch.cat([self._to_video_order(latent, len(video)) for latent in latents], 2)

    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, T, h, w] -> video [B, 3, 1 + 4(T-1), 8h, 8w], clamped to [-1, 1]."""
        if latent.ndim != 5 or latent.shape[1] != self.channels or not latent.shape[2]:
            raise ValueError(
                f"video latent has shape {list(latent.shape)}: expected [B, {self.channels}, T, h, w], T >= 1"
            )
        return self.reconstruct(latent).clamp_(-1, 1)

    def reconstruct(self, latent: Tensor) -> Tensor:
        """`decode` without the clamp, whose gradient would vanish where the decoder overshoots: for training."""
        starts = (0, *range(1, latent.shape[2], self.chunk))
        return torch.cat([self._decode_chunk(latent, start) for start in starts], 2)

    def _decode_chunk(self, latent: Tensor, start: int) -> Tensor:
        """Video of latent frame 0 (start 0), or of latent frames start ... start+chunk-1."""
        first = start == 0
        now = latent[:, :, start : 1 if first else start + self.chunk]
        before = torch.zeros_like(now) if first else latent[:, :, start - 1 : start - 1 + now.shape[2]]
        batch, channels, frames, height, width = now.shape
        pair = torch.cat([now, before], 1).permute(0, 2, 3, 4, 1).reshape(-1, height, width, 2 * channels)

        position = self.position[0 if first else 1].to(pair)
        features = F.gelu(_convolve(self.stem, pair) + position)
        for block in self.blocks:
            features = block(features)
        patches = (self.decode_first if first else self.decode_rest)(pair[..., :channels], features)

        scale, group = self.spatial_scale, 1 if first else self.temporal_scale
        video = patches.view(batch, frames, height, width, group, RGB, scale, scale).permute(0, 5, 1, 4, 2, 6, 3, 7)
        return video.reshape(batch, RGB, frames * group, height * scale, width * scale)

    def to_patches(self, video: Tensor, group: int) -> Tensor:
        """[B, 3, n * group, H, W] -> [B * n, H/8, W/8, group * 3 * 8 * 8]: one patch per `group` frames."""
        batch, _, frames, height, width = video.shape
        scale = self.spatial_scale
        rows, columns = height // scale, width // scale
        patches = video.reshape(batch, RGB, frames // group, group, rows, scale, columns, scale)
        return patches.permute(0, 2, 4, 6, 3, 1, 5, 7).reshape(batch * (frames // group), rows, columns, -1)

    @staticmethod
    def _to_video_order(latent: Tensor, batch: int) -> Tensor:
        """[B * T, h, w, C] -> [B, C, T, h, w]."""
        return latent.view(batch, -1, *latent.shape[1:]).permute(0, 4, 1, 2, 3)

    def _check_video(self, video: Tensor) -> None:
        if video.ndim != 5 or video.shape[1] != RGB:
            raise ValueError(f"video has shape {list(video.shape)}: expected [B, 3, F, H, W]")
        frames, *size = video.shape[2:]
        for name, value, unit, rest in (
            ("length", frames, self.temporal_scale, 1),
            ("height", size[0], self.spatial_scale, 0),
            ("width", size[1], self.spatial_scale, 0),
        ):
            if value < 1 or value % unit != rest:
                low = (value - rest) // unit * unit + rest
                nearest = f"{low} or {low + unit}" if low > 0 else f"{low + unit}"
                rule = f"{unit}n+{rest}" if rest else f"a multiple of {unit}"
                raise ValueError(f"{name} {value} is not {rule}: use {nearest}")


def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """A convolution on channels-last [N, h, w, C]; the permuted view is what kernels call channels_last memory."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def save_video_vae(path: str | Path, vae: VideoVAE, *, dtype: torch.dtype = torch.float32, **facts: str) -> None:
    """Writes weights as `dtype`, and `facts` as the metadata of a safetensors file."""
    weights = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in vae.state_dict().items()}
    save_file(weights, path, metadata=facts)


def load_video_vae(path: str | Path, *, operations=nn, dtype=torch.float32, device=None) -> VideoVAE:
    """Reads what `save_video_vae` wrote; the codec is frozen and in eval mode.

    FileNotFoundError if there is no such file; ValueError if it is broken (says its size) or of another architecture.
    """
    sd, _ = read_checkpoint(path)
    vae = VideoVAE(VideoVAEConfig.from_state_dict(sd), operations=operations, dtype=dtype, device=device)
    vae.load_state_dict(sd)
    return vae.eval().requires_grad_(False)
