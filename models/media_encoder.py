"""How Mini's text encoder sees and hears a reference: a picture, a clip or a sound becomes two words of its own.

The two vectors stand in the prompt right behind the tag's word and are read by the same frozen transformer, as a
multimodal language model reads its vision tokens. Trained by `training/media.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import merge_heads, split_heads

TOKENS = 2  # per reference
SIDE = 64  # pixels: pictures are read at this size, whatever their own
CHUNK = 16  # frames made smaller at once, which bounds the memory that large ones take
SAMPLE_RATE = 44_100  # of the sounds that are read; others have to be resampled before
WINDOW, HOP = 2048, 1024  # samples of the short-time Fourier transform
HEADS = 4
PICTURE_WIDTHS = (24, 48, 96)  # channels of the convolutions, each of which halves the side
SOUND_WIDTH = 64
SILENCE = 1e-2  # power below which a frequency counts as silent: a sine of amplitude 0.0002


def shrink(images: Tensor) -> Tensor:
    """[N, H, W, C >= 3] of any size -> [N, SIDE, SIDE, 3], each pixel the mean of what it covers."""
    if images.shape[1:3] == (SIDE, SIDE):
        return images[..., :3]
    parts = (F.interpolate(part[..., :3].movedim(-1, 1), (SIDE, SIDE), mode="area") for part in images.split(CHUNK))
    return torch.cat(list(parts)).movedim(1, -1)


class AttentionPool(nn.Module):
    """A set of features of any size -> TOKENS vectors, read off by learned queries."""

    def __init__(self, width: int, dim: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.norm = operations.LayerNorm(width, **factory)
        self.queries = nn.Parameter(torch.empty(TOKENS, dim, **factory))
        self.key = operations.Linear(width, dim, **factory)
        self.value = operations.Linear(width, dim, **factory)
        self.mlp = nn.Sequential(
            operations.Linear(dim, dim, **factory),
            nn.GELU(approximate="tanh"),
            operations.Linear(dim, dim, **factory),
        )
        nn.init.normal_(self.queries)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, N, width] -> [B, TOKENS, dim]"""
        x = self.norm(x)
        queries = split_heads(self.queries.to(x).expand(len(x), -1, -1), HEADS)
        read = F.scaled_dot_product_attention(
            queries, split_heads(self.key(x), HEADS), split_heads(self.value(x), HEADS)
        )
        read = merge_heads(read)
        return read + self.mlp(read)


class MediaEncoder(nn.Module):
    """Pictures, clips and sounds -> TOKENS vectors each, of the width `dim` of the word embeddings."""

    def __init__(self, dim: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        widths = (6, *PICTURE_WIDTHS)  # colours, and their change since the frame before
        self.convolutions = nn.ModuleList(
            operations.Conv2d(one, other, 5 if one == 6 else 3, stride=2, padding=2 if one == 6 else 1, **factory)
            for one, other in zip(widths, widths[1:], strict=False)
        )
        self.picture_pool = AttentionPool(PICTURE_WIDTHS[-1], dim, operations=operations, **factory)
        self.spectrum = operations.Linear(WINDOW // 2 + 1, SOUND_WIDTH, **factory)
        self.sound_pool = AttentionPool(SOUND_WIDTH, dim, operations=operations, **factory)

    def pictures(self, images: Tensor) -> Tensor:
        """images [B, F, H, W, 3] in 0..1, of any size; F = 1: still pictures, more: clips -> [B, TOKENS, dim]"""
        batch, frames = images.shape[:2]
        x = shrink(images.flatten(0, 1)).movedim(-1, 1).to(self.picture_pool.queries.dtype)
        colours = x.unflatten(0, (batch, frames)) * 2 - 1
        change = torch.cat([torch.zeros_like(colours[:, :1]), colours.diff(dim=1)], dim=1)
        x = torch.cat([colours, change], dim=2).flatten(0, 1)
        for convolution in self.convolutions:
            x = F.gelu(convolution(x), approximate="tanh")
        return self.picture_pool(x.unflatten(0, (batch, frames)).movedim(2, -1).flatten(1, 3))

    def sounds(self, waveform: Tensor) -> Tensor:
        """waveform [B, channels, S >= 1] in -1..1 at SAMPLE_RATE -> [B, TOKENS, dim]"""
        mono = waveform.mean(1).float()
        mono = F.pad(mono, (WINDOW // 2, WINDOW // 2))  # silence around: a sound may be shorter than a window
        window = torch.hann_window(WINDOW, device=mono.device)
        power = torch.stft(mono, WINDOW, HOP, window=window, center=False, return_complex=True).abs().square()
        spectra = ((power + SILENCE).log10() - 1) / 2  # -1.5 (silent) to 2.2 (a sine of amplitude 1)
        x = F.gelu(self.spectrum(spectra.mT.to(self.sound_pool.queries.dtype)), approximate="tanh")
        return self.sound_pool(x)
