"""Attention layers shared by every block: QK-normalised, rotary, with an exchangeable kernel."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .rope import rotate

# (q, k, v), each [B, heads, N, head_dim] -> [B, heads, N, head_dim]. ComfyUI hands in its optimised kernels here.
AttentionKernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def scaled_dot_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own kernel. [B, heads, N, head_dim] each"""
    return F.scaled_dot_product_attention(q, k, v)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, heads * D] -> [B, heads, N, D]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, heads, N, D] -> [B, N, heads * D]"""
    return x.transpose(1, 2).flatten(2)


class QKV(nn.Module):
    """Queries, keys and values of one stream, with QK-RMSNorm (SkyReels-V4 eq. 1 and 2)."""

    def __init__(self, dim: int, heads: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.heads = heads
        self.qkv = operations.Linear(dim, 3 * dim, bias=False, **factory)
        self.q_norm = operations.RMSNorm(dim // heads, eps=1e-6, **factory)
        self.k_norm = operations.RMSNorm(dim // heads, eps=1e-6, **factory)

    def forward(self, x: Tensor, angles: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, N, dim], angles [N, head_dim / 2] or None -> q, k, v [B, heads, N, head_dim]"""
        q, k, v = (split_heads(y, self.heads) for y in self.qkv(x).chunk(3, dim=-1))
        return rotate(self.q_norm(q), angles), rotate(self.k_norm(k), angles), v


class CrossAttention(nn.Module):
    """Queries from one stream, keys and values from another (SkyReels-V4 eq. 4 and 5); starts at zero output."""

    def __init__(self, dim: int, heads: int, *, operations=nn, dtype=None, device=None):
        super().__init__()
        factory = {"dtype": dtype, "device": device}
        self.heads = heads
        self.norm = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, **factory)
        self.context_norm = operations.LayerNorm(dim, elementwise_affine=False, eps=1e-6, **factory)
        self.q = operations.Linear(dim, dim, bias=False, **factory)
        self.kv = operations.Linear(dim, 2 * dim, bias=False, **factory)
        self.q_norm = operations.RMSNorm(dim // heads, eps=1e-6, **factory)
        self.k_norm = operations.RMSNorm(dim // heads, eps=1e-6, **factory)
        self.out = operations.Linear(dim, dim, bias=False, **factory)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        attention: AttentionKernel,
        angles: Tensor | None = None,
        context_angles: Tensor | None = None,
    ) -> Tensor:
        """x [B, N, dim], context [B, M, dim], angles [N | M, head_dim / 2] -> what is to be added to x, [B, N, dim]"""
        q = split_heads(self.q(self.norm(x)), self.heads)
        k, v = (split_heads(y, self.heads) for y in self.kv(self.context_norm(context)).chunk(2, dim=-1))
        q, k = rotate(self.q_norm(q), angles), rotate(self.k_norm(k), context_angles)
        return self.out(merge_heads(attention(q, k, v)))
