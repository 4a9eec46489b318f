"""Mini's audio codec: a lapped transform with few channels, one latent per 1024 samples of 44.1 kHz mono.

Each channel is a waveform of two hops: a principal component of the modified discrete cosine transform (MDCT, sine
window; Princen and Bradley 1986) of the training sounds. Analysis and synthesis are one strided convolution each, with
the same filters; amplitudes are companded by a signed square root, which brings loud onsets and soft tails closer
together. The filters are fitted to the toybox: sounds of another world are projected onto them, and lose most.
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


def mdct_filters(hop: int) -> Tensor:
    """The windowed MDCT as orthonormal filters, [hop, 2 * hop], float64: row k is frequency (k + 1/2) / 2 per hop."""
    time = torch.arange(2 * hop, dtype=torch.float64) + 0.5
    frequency = torch.arange(hop, dtype=torch.float64) + 0.5
    cosines = torch.cos(math.pi / hop * frequency[:, None] * (time + hop / 2))
    return cosines * sine_window(hop) * math.sqrt(2 / hop)


def sine_window(hop: int) -> Tensor:
    """[2 * hop], float64; the squares of its two halves add up to 1."""
    return torch.sin(math.pi / (2 * hop) * (torch.arange(2 * hop, dtype=torch.float64) + 0.5))


@dataclass(frozen=True)
class AudioVAEConfig:
    """Sizes of an AudioVAE. hop: samples per latent; sample_rate: samples per second."""

    channels: int = 16
    hop: int = 1024
    sample_rate: int = 44_100

    @classmethod
    def from_state_dict(cls, sd: Mapping[str, Tensor]) -> AudioVAEConfig:
        """Raises ValueError naming the tensor that is missing or has an impossible shape."""
        for name in ("filters", "scale"):
            if name not in sd:
                raise ValueError(f"not an audio VAE of SkyCanvas Mini: tensor {name} is missing")
        shape = tuple(sd["filters"].shape)
        if len(shape) != 2 or shape[1] % 4:
            raise ValueError(f"filters has shape {list(shape)}: expected [channels, 2 * hop] with an even hop")
        return cls(channels=shape[0], hop=shape[1] // 2)


class AudioVAE(nn.Module):
    """Waveform [B, 1, S] in [-1, 1]  <->  latent [B, C, L], L = ceil(S / 1024), latent i at the middle of hop i.

    A filter covers its hop and half a hop on either side, where neighbours overlap and cancel each other's aliasing.
    The two ends of a clip have no neighbour: the encoder continues the sound there in a way that the decoder knows
    (silence before the start, the last hop repeated after the end), and the decoder solves for the rest.
    """

    def __init__(self, config: AudioVAEConfig | None = None, *, operations=nn, dtype=None, device=None):
        super().__init__()
        self.config = config = config or AudioVAEConfig()
        filters = mdct_filters(config.hop)[: config.channels].to(dtype=dtype or torch.float32, device=device)
        self.filters = nn.Parameter(filters)  # orthonormal rows; there is no layer here for `operations` to make
        self.scale = nn.Parameter(torch.ones((), dtype=dtype, device=device))

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def hop(self) -> int:
        return self.config.hop

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    def encode(self, waveform: Tensor) -> Tensor:
        """[B, 1, S] -> [B, C, ceil(S / hop)]; the end is padded with silence to a whole hop."""
        if waveform.ndim != 3 or waveform.shape[1] != 1 or not waveform.shape[2]:
            raise ValueError(
                f"waveform has shape {list(waveform.shape)}: expected [B, 1, S] with S >= 1; mix channels to mono first"
            )
        x = F.pad(waveform.to(self.filters.dtype), (0, -waveform.shape[2] % self.hop))
        amplitudes = self.analyse(x)
        return amplitudes.sign() * amplitudes.abs().sqrt() / self.scale.to(x)

    def decode(self, latent: Tensor) -> Tensor:
        """[B, C, L] -> waveform [B, 1, L * hop], clamped to [-1, 1]."""
        if latent.ndim != 3 or latent.shape[1] != self.channels or not latent.shape[2]:
            raise ValueError(f"audio latent has shape {list(latent.shape)}: expected [B, {self.channels}, L], L >= 1")
        z = latent.to(self.filters.dtype) * self.scale.to(self.filters.dtype)
        return self.synthesise(z.sign() * z.square()).clamp(-1, 1)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Filter amplitudes [B, C, L] of [B, 1, L * hop]."""
        half = self.hop // 2
        before = torch.zeros_like(waveform[..., :half])
        after = waveform[..., -self.hop : -half]
        return F.conv1d(torch.cat([before, waveform, after], -1), self.filters[:, None], stride=self.hop)

    def synthesise(self, amplitudes: Tensor) -> Tensor:
        """Waveform [B, 1, L * hop] of [B, C, L]; the exact inverse of `analyse` where C = hop."""
        hop, half = self.hop, self.hop // 2
        waveform = F.conv_transpose1d(amplitudes, self.filters[:, None], stride=hop)[..., half:-half].clone()
        # Without a neighbour, overlap-add leaves w(n)^2 x(n) +- w(n) w(m) x(m), with m the mirror image of n.
        window = sine_window(hop).to(waveform)
        inner, outer = window[half:hop], window[:half].flip(0)
        waveform[..., :half] /= inner.square()  # x(m) = 0
        repeated = waveform[..., -hop:-half].flip(-1)  # x(m) is the last hop's first half once more
        inner, outer = inner.flip(0), outer.flip(0)
        waveform[..., -half:] = (waveform[..., -half:] - inner * outer * repeated) / inner.square()
        return waveform


def save_audio_vae(path: str | Path, vae: AudioVAE, **facts: str) -> None:
    """Writes float32 weights, and `facts` as the metadata of a safetensors file."""
    weights = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in vae.state_dict().items()}
    save_file(weights, path, metadata=facts)


def load_audio_vae(path: str | Path, *, operations=nn, dtype=torch.float32, device=None) -> AudioVAE:
    """Reads what `save_audio_vae` wrote; the codec is frozen and in eval mode. `operations` has no layer to make here.

    FileNotFoundError if there is no such file; ValueError if it is broken (says its size) or of another architecture.
    """
    sd, _ = read_checkpoint(path)
    vae = AudioVAE(AudioVAEConfig.from_state_dict(sd), operations=operations, dtype=dtype, device=device)
    vae.load_state_dict(sd)
    return vae.eval().requires_grad_(False)
