"""Transformer blocks of the dual-stream MMDiT (SkyReels-V4 sec. 3.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import QKV, AttentionKernel, CrossAttention, merge_heads, split_heads

# Sparse self-attention: (q, k, v, gates) -> like q, [B, heads, N, head_dim] each; gates of all media tokens at least.
SparseKernel = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Streams(NamedTuple):
    """Tokens that flow through the blocks, Tensor [B, N, dim] each; both of a branch that does not run are None."""

    video: Any
    video_text: Any
    audio: Any
    audio_text: Any


@dataclass(frozen=True)
class Branch:
    """What the blocks of one branch (video or audio) need to know about its tokens.

    modulation [B, N or 1, 6, dim] for media tokens, text_modulation [B, 1, 6, dim]; angles [N, head_dim / 2] for
    self-attention, time_angles [N, head_dim / 2] (time alone) for audio-video cross-attention. sparse: kernel of the
    self-attention in layers that have gates; None: the one of all attentions.
    """

    modulation: Tensor
    text_modulation: Tensor
    angles: Tensor
    time_angles: Tensor
    sparse: SparseKernel | None = None


@dataclass(frozen=True)
class BlockInputs:
    """What is the same for every block: branches that run, text embeddings [B, Lt, dim], the attention kernel.

    cross_modal: whether the branches see each other (eq. 5).
    """

    video: Branch | None
    audio: Branch | None
    text: Tensor
    attention: AttentionKernel
    cross_modal: bool = True


class Modulation(NamedTuple):
    """Shift, scale and gate of the attention and of the MLP, each [B, N or 1, dim]."""

    attention_shift: Tensor
    attention_scale: Tensor
    attention_gate: Tensor
    mlp_shift: Tensor
    mlp_scale: Tensor
    mlp_gate: Tensor


class TokenLayers(nn.Module):
    """Adaptive layer norm, QKV, output projection and MLP of one kind of tokens.

    gated: whether the coarse stage of sparse attention has a gate here (VSA sec. 2.2).
    """

    def __init__(
        self, dim: int, heads: int, mlp_ratio: float, *, gated: bool = False, operations=nn, dtype=None, device=None
    ):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.modulation_table = nn.Parameter(torch.zeros(6, dim, **factory))
        self.norm = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, **factory)
        self.attention = QKV(dim, heads, operations=operations, **factory)
        self.attention_out = operations.Linear(dim, dim, bias=False, **factory)
        self.mlp_in = operations.Linear(dim, round(dim * mlp_ratio), **factory)
        self.mlp_out = operations.Linear(round(dim * mlp_ratio), dim, **factory)
        if gated:
            self.coarse_gate = operations.Linear(dim, dim, **factory)

    def modulation(self, modulation: Tensor) -> Modulation:
        """The shared modulation [B, N, 6, dim] plus this layer's own table."""
        return Modulation(*(modulation + self.modulation_table.to(modulation)).unbind(-2))

    def project(self, x: Tensor, m: Modulation, angles: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        return self.attention(self._modulated(x, m), angles)

    def gates(self, x: Tensor, m: Modulation) -> Tensor:
        """Gates of the coarse stage, [B, heads, N, head_dim]."""
        return split_heads(self.coarse_gate(self._modulated(x, m)), self.attention.heads)

    def _modulated(self, x: Tensor, m: Modulation) -> Tensor:
        return torch.addcmul(m.attention_shift, self.norm(x), 1 + m.attention_scale)

    def add_attention(self, x: Tensor, attended: Tensor, m: Modulation) -> Tensor:
        return torch.addcmul(x, m.attention_gate, self.attention_out(attended))

    def add_mlp(self, x: Tensor, m: Modulation) -> Tensor:
        hidden = self.mlp_in(torch.addcmul(m.mlp_shift, self.norm(x), 1 + m.mlp_scale))
        return torch.addcmul(x, m.mlp_gate, self.mlp_out(F.gelu(hidden, approximate="tanh")))


class JointAttention(nn.Module):
    """Media and text tokens of one branch meet in joint self-attention, each kind with its layers (eq. 1-3)."""

    media: TokenLayers
    text: TokenLayers

    def attend(self, x: Tensor, text: Tensor, branch: Branch, attention: AttentionKernel) -> tuple[Tensor, Tensor]:
        m, mt = self.media.modulation(branch.modulation), self.text.modulation(branch.text_modulation)
        media_qkv = self.media.project(x, m, branch.angles)
        text_qkv = self.text.project(text, mt, None)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(media_qkv, text_qkv, strict=True))
        out = branch.sparse(q, k, v, self.media.gates(x, m)) if branch.sparse else attention(q, k, v)
        attended, attended_text = merge_heads(out).split([x.shape[1], text.shape[1]], dim=1)
        return self.media.add_attention(x, attended, m), self.text.add_attention(text, attended_text, mt)

    def feed_forward(self, x: Tensor, text: Tensor, branch: Branch) -> tuple[Tensor, Tensor]:
        m, mt = self.media.modulation(branch.modulation), self.text.modulation(branch.text_modulation)
        return self.media.add_mlp(x, m), self.text.add_mlp(text, mt)


class DualStream(JointAttention):
    """Media and text tokens have parameters of their own (SkyReels-V4 sec. 3.1, the first M layers)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, *, gated: bool = False, **factory):
        super().__init__()
        self.media = TokenLayers(dim, heads, mlp_ratio, gated=gated, **factory)
        self.text = TokenLayers(dim, heads, mlp_ratio, **factory)


class SingleStream(JointAttention):
    """Media and text tokens share all parameters (SkyReels-V4 sec. 3.1, the later N layers)."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, *, gated: bool = False, **factory):
        super().__init__()
        self.both = TokenLayers(dim, heads, mlp_ratio, gated=gated, **factory)

    @property
    def media(self) -> TokenLayers:  # type: ignore[override]
        return self.both

    @property
    def text(self) -> TokenLayers:  # type: ignore[override]
        return self.both


class JointBlock(nn.Module):
    """One layer of both branches: self-attention with text, text cross-attention, audio <-> video, MLP (eq. 1-5).

    audio: False leaves out the audio branch and what joins it to the video. gated: whether the video's self-attention
    has gates for sparse attention.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float,
        *,
        single: bool,
        audio: bool = True,
        gated: bool = False,
        **factory,
    ):
        super().__init__()
        layer = SingleStream if single else DualStream
        self.video = layer(dim, heads, mlp_ratio, gated=gated, **factory)
        if audio:
            self.audio = layer(dim, heads, mlp_ratio, **factory)
        self.text_to_video = CrossAttention(dim, heads, **factory)
        if audio:
            self.video_to_audio = CrossAttention(dim, heads, **factory)
            self.audio_to_video = CrossAttention(dim, heads, **factory)

    def forward(self, streams: Streams, inputs: BlockInputs) -> Streams:
        video, video_text, audio, audio_text = streams
        v, a, attention = inputs.video, inputs.audio, inputs.attention
        if v is not None:
            video, video_text = self.video.attend(video, video_text, v, attention)  # eq. 1-3
            video = video + self.text_to_video(video, inputs.text, attention)  # eq. 4
        if a is not None:
            audio, audio_text = self.audio.attend(audio, audio_text, a, attention)  # eq. 1-3
        if v is not None and a is not None and inputs.cross_modal:  # eq. 5: audio first, video reads the updated audio
            audio = audio + self.video_to_audio(audio, video, attention, a.time_angles, v.time_angles)
            video = video + self.audio_to_video(video, audio, attention, v.time_angles, a.time_angles)
        if v is not None:
            video, video_text = self.video.feed_forward(video, video_text, v)
        if a is not None:
            audio, audio_text = self.audio.feed_forward(audio, audio_text, a)
        return Streams(video, video_text, audio, audio_text)
