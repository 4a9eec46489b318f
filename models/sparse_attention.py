"""Video Sparse Attention (VSA, arXiv 2505.13389; SkyReels-V4 sec. 4.5) for joint sequences of video and other tokens.

The grid of video tokens is cut into tiles. A coarse stage compares the means of the tiles; a fine stage attends
exactly, but each tile of queries only to the tiles of keys that the coarse stage ranked highest. Tokens that are no
part of the grid (references and patches in front, words behind) stay dense: they see and are seen by all.
"""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BACKENDS = ("auto", "torch", "flex", "kernel", "dense")
TILE = (4, 4, 4)  # frames, rows, columns: 64 tokens, one block of the GPU kernels (VSA sec. 2.2)
BLOCK = 64  # tokens; the kernels' rows and columns
EAGER_TOKENS = 8192  # most tokens for flex without compilation, which holds the whole score matrix
GATHERED = {"cpu": 2**22, "cuda": 2**27}  # numbers in the keys and values that the torch back end gathers at a time


@dataclass(frozen=True)
class TokenLayout:
    """Where the video tokens of a sequence are, and their tiles.

    grid: video tokens over time, rows and columns, row-major. before, after: other tokens around them.
    tile: tokens of a tile over time, rows and columns; tiles at the grid's far edges may be smaller.

    Attention works on *packed* tiles: those of the video in row-major order, then the other tokens, cut into tiles of
    their own. Each has `tile_tokens` places, its tokens first and zeros behind them.
    """

    grid: tuple[int, int, int]
    before: int = 0
    after: int = 0
    tile: tuple[int, int, int] = TILE

    def __post_init__(self):
        for name in ("grid", "tile"):
            sizes = tuple(getattr(self, name))
            if len(sizes) != 3 or min(sizes) < 1:
                raise ValueError(f"{name} {sizes} must be three numbers from 1: time, rows, columns")
            object.__setattr__(self, name, sizes)  # a list could not be hashed
        if self.before < 0 or self.after < 0:
            raise ValueError(f"before {self.before} and after {self.after} are numbers of tokens, from 0")

    @property
    def video_tokens(self) -> int:
        return math.prod(self.grid)

    @property
    def other_tokens(self) -> int:
        return self.before + self.after

    @property
    def tokens(self) -> int:
        return self.video_tokens + self.other_tokens

    @property
    def tile_tokens(self) -> int:
        return math.prod(self.tile)

    @property
    def tiles(self) -> int:
        """Tiles of the video, those that compete in the top K."""
        return math.prod(-(-size // side) for size, side in zip(self.grid, self.tile, strict=True))

    @property
    def other_tiles(self) -> int:
        """Tiles of the other tokens, which are always kept."""
        return -(-self.other_tokens // self.tile_tokens)

    def pack(self, x: Tensor) -> Tensor:
        """Tokens [B, heads, tokens, D] -> tiles [B, heads, tiles + other_tiles, tile_tokens, D], padded with zeros."""
        places, counts = _places(self, x.device)
        # Zeros, and not whatever memory holds: a tile's mean is its sum over its count.
        packed = x.new_zeros(*x.shape[:2], len(counts) * self.tile_tokens, x.shape[-1])
        return packed.index_copy_(2, places, x).unflatten(2, (len(counts), self.tile_tokens))

    def unpack(self, packed: Tensor) -> Tensor:
        """The way back from `pack`."""
        return packed.flatten(2, 3).index_select(2, _places(self, packed.device)[0])

    def counts(self, device: torch.device) -> Tensor:
        """Tokens of each packed tile, [tiles + other_tiles], int32."""
        return _places(self, device)[1]

    def valid(self, device: torch.device) -> Tensor:
        """Which places of the packed tiles hold tokens, [tiles + other_tiles, tile_tokens]."""
        return torch.arange(self.tile_tokens, device=device) < self.counts(device)[:, None]

    def padded(self) -> bool:
        """Whether any packed tile has places without a token."""
        return (self.tiles + self.other_tiles) * self.tile_tokens != self.tokens


@lru_cache(maxsize=16)
def _places(layout: TokenLayout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Place of each token of the sequence among the packed ones, [tokens]; tokens of each packed tile, int32."""
    with torch.inference_mode(False):  # whoever trains later must be able to save what is cached here
        tile = place = torch.zeros(1, dtype=torch.long)
        counts = torch.ones(1, dtype=torch.long)
        for size, side in zip(layout.grid, layout.tile, strict=True):  # digit by digit: time, rows, columns
            x = torch.arange(size)
            sizes = torch.full((-(-size // side),), side)
            sizes[-1] = size - (len(sizes) - 1) * side
            tile = (tile[:, None] * len(sizes) + x // side).flatten()
            place = (place[:, None] * sizes[x // side] + x % side).flatten()
            counts = (counts[:, None] * sizes).flatten()
        video = tile * layout.tile_tokens + place
        # Nothing pools the other tokens, so tokens of before and after may share a tile.
        others = layout.tiles * layout.tile_tokens + torch.arange(layout.other_tokens)
        ends = torch.arange(layout.other_tiles) * layout.tile_tokens
        counts = torch.cat([counts, (layout.other_tokens - ends).clamp(max=layout.tile_tokens)])
        places = torch.cat([others[: layout.before], video, others[layout.before :]])
        return places.to(device), counts.to(device, torch.int32)


def top_k_of(sparsity: float, tiles: int) -> int:
    """Tiles of keys that each tile of queries keeps at a sparsity from 0 (all) to 1 (one), as FastVideo counts them."""
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity {sparsity} must be from 0 (dense) to 1 (one tile)")
    return min(max(math.ceil(round((1 - sparsity) * tiles, 6)), 1), tiles)  # 0.3 of 10 tiles are 3.0000000000000004


def check_top_k(top_k: int, layout: TokenLayout) -> None:
    """Raises ValueError unless 1 <= top_k <= tiles. Call it before sampling, where the grid is known."""
    if not 1 <= top_k <= layout.tiles:
        grid = "x".join(map(str, layout.grid))
        raise ValueError(f"top_k {top_k} must be from 1 to {layout.tiles}, the tiles of the {grid} token grid")


class Operations(NamedTuple):
    """Multiply-adds of one attention over all heads, for one element of the batch."""

    dense: int
    fine: int
    coarse: int

    @property
    def sparse(self) -> int:
        return self.fine + self.coarse

    @property
    def ratio(self) -> float:
        """How many times fewer the sparse ones are."""
        return self.dense / self.sparse


def attention_operations(
    layout: TokenLayout, top_k: int, *, heads: int, head_dim: int, gate: bool = False
) -> Operations:
    """Counts the multiply-adds of the matrix products. Partial tiles among the top K count as whole ones."""
    check_top_k(top_k, layout)
    pair = 2 * heads * head_dim  # one query and one key: their score, and the value's part in the output
    keys = min(top_k * layout.tile_tokens, layout.video_tokens) + layout.other_tokens
    return Operations(
        dense=layout.tokens**2 * pair,
        fine=(layout.video_tokens * keys + layout.other_tokens * layout.tokens) * pair,
        coarse=layout.tiles**2 * (pair if gate else pair // 2),
    )


def sparse_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    layout: TokenLayout,
    top_k: int,
    *,
    gate: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """fine(q, k, v) + gate * coarse(q, k, v) (VSA eq. 3-5, with the fine stage's gate fixed at 1).

    q, k, v [B, heads, layout.tokens, D], after rotary positions -> like q. top_k: tiles that the queries of one tile
    and head attend to in the fine stage, 1 .. layout.tiles, beside the tokens that are no video; all: dense attention.
    gate [B, heads, layout.video_tokens, D]; None: zero, the fine stage alone (a network that was not trained for the
    coarse stage is spoilt by it). The choice of tiles passes no gradients.

    backend: "torch" runs anywhere, in bounded memory; "flex" (FlexAttention) on CUDA, and uncompiled on a CPU for
    small sizes; "kernel" (the package fastvideo-kernel) on CUDA; "dense" attends to all tiles, whatever top_k is;
    "auto" takes the best that can run.

    Raises ValueError if shapes or top_k do not fit, RuntimeError if the back end that is named cannot run here.
    """
    _check(q, k, v, gate, layout, top_k)
    backend = choose_backend(backend, q, layout, top_k)
    if backend == "dense" and gate is None:
        return F.scaled_dot_product_attention(q, k, v)
    q_tiles, k_tiles, v_tiles = (layout.pack(x) for x in (q, k, v))
    # Softmax over the tiles of the video alone. MiniMax-H3's recipe lets means of the other tokens compete as well; but
    # the fine stage never drops those, and a mean of unrelated words would depend on where they are cut into tiles.
    scores = _means(q_tiles, layout) @ _means(k_tiles, layout).mT * q.shape[-1] ** -0.5
    if backend == "dense":
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        # In order, so that equal sets are summed up equally.
        chosen = scores.detach().topk(top_k, sorted=False).indices.sort().values
        out = layout.unpack(_FINE[backend](q_tiles, k_tiles, v_tiles, chosen, layout))
    if gate is None:
        return out
    before, video, after = out.split([layout.before, layout.video_tokens, layout.after], dim=2)
    places = _places(layout, q.device)[0][layout.before : layout.before + layout.video_tokens]
    coarse = (scores.softmax(-1) @ _means(v_tiles, layout)).to(q.dtype)
    return torch.cat([before, video + gate * coarse.index_select(2, places // layout.tile_tokens), after], dim=2)


def _check(q: Tensor, k: Tensor, v: Tensor, gate: Tensor | None, layout: TokenLayout, top_k: int) -> None:
    check_top_k(top_k, layout)
    if q.ndim != 4 or q.shape != k.shape or q.shape != v.shape or q.shape[2] != layout.tokens:
        raise ValueError(
            f"q {list(q.shape)}, k {list(k.shape)} and v {list(v.shape)} must all be [B, heads, {layout.tokens}, D]: "
            f"{layout.before} tokens, a grid of {'x'.join(map(str, layout.grid))}, {layout.after} tokens"
        )
    wanted = (*q.shape[:2], layout.video_tokens, q.shape[3])
    if gate is not None and gate.shape != wanted:
        raise ValueError(f"gate {list(gate.shape)} must be {list(wanted)}: one number for each channel of video tokens")


def _means(packed: Tensor, layout: TokenLayout) -> Tensor:
    """Mean token of each video tile: [B, heads, tiles, D], of float32 or better."""
    sums = packed[:, :, : layout.tiles].sum(3, dtype=torch.promote_types(packed.dtype, torch.float32))
    return sums / layout.counts(packed.device)[: layout.tiles, None]


# -- back ends of the fine stage: q, k, v packed, chosen [B, heads, tiles, K] -> packed ------------------------------


def choose_backend(backend: str, q: Tensor, layout: TokenLayout, top_k: int) -> str:
    """The back end that is meant by a name: "auto" is the first of dense (if nothing is left out), kernel, flex, torch.

    Raises ValueError for an unknown name, RuntimeError if the one that is named cannot run.
    """
    if backend not in BACKENDS:
        raise ValueError(f"sparse attention back end '{backend}' is unknown: choose one of {', '.join(BACKENDS)}")
    if backend == "auto":
        if top_k == layout.tiles:
            return "dense"
        fast = ("kernel", "flex") if q.is_cuda else ()
        return next((name for name in fast if unavailable(name, q, layout) is None), "torch")
    reason = unavailable(backend, q, layout)
    if reason is not None:
        raise RuntimeError(f"sparse attention back end '{backend}' cannot run here: {reason}")
    return backend


def unavailable(backend: str, q: Tensor, layout: TokenLayout) -> str | None:
    """Why a back end cannot run on queries like q, and the way out; None: it can."""
    head_dim = q.shape[-1]
    if backend == "flex":
        if q.device.type not in ("cuda", "cpu"):
            return f"FlexAttention needs CUDA, the tensors are on {q.device.type}; choose 'torch'"
        if importlib.util.find_spec("torch.nn.attention.flex_attention") is None:
            return f"FlexAttention needs PyTorch 2.5, this is {torch.__version__}; update it or choose 'torch'"
        if not q.is_cuda:
            too_many = layout.tokens > EAGER_TOKENS
            limit = f"on a CPU it holds all scores in memory: {layout.tokens} tokens are more than {EAGER_TOKENS}"
            return f"{limit}; choose 'torch'" if too_many else None
        if importlib.util.find_spec("triton") is None:
            return "FlexAttention compiles with Triton, which is not installed; install it or choose 'torch'"
        if layout.tile_tokens % BLOCK or head_dim < 16:
            return (
                f"it takes tiles of a multiple of {BLOCK} tokens and heads of 16 channels or more; got tiles of "
                f"{layout.tile_tokens}, heads of {head_dim}; choose 'torch'"
            )
    if backend == "kernel":
        kernel = _block_sparse_kernel()
        if isinstance(kernel, str):
            return kernel
        if not q.is_cuda or q.dtype != torch.bfloat16 or head_dim not in (64, 128) or layout.tile_tokens != BLOCK:
            return (
                f"fastvideo-kernel takes bfloat16 on CUDA, heads of 64 or 128 channels and tiles of {BLOCK} tokens; "
                f"got {q.dtype} on {q.device.type}, heads of {head_dim}, tiles of {layout.tile_tokens}; choose 'torch'"
            )
    return None


def _torch_fine(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, layout: TokenLayout) -> Tensor:
    """Gathers the chosen tiles of keys and values, for as many tiles of queries at a time as memory allows."""
    batch, heads, count, size, dim = q.shape
    others = torch.arange(layout.tiles, count, device=q.device).expand(*chosen.shape[:3], -1)
    chosen = torch.cat([chosen, others], dim=-1).flatten(0, 1)  # [B * heads, tiles, S]
    # A mask costs CUDA its fastest kernel: only where there is something to mask.
    valid = layout.valid(q.device) if layout.padded() else None
    first = torch.arange(batch * heads, device=q.device)[:, None, None] * count
    k_tiles, v_tiles = k.flatten(0, 2), v.flatten(0, 2)  # [B * heads * count, size, D]

    def attend(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor) -> Tensor:
        """q [B * heads, g, size, D], chosen [B * heads, g, S] -> like q"""
        rows = (first + chosen).flatten()
        keys, values = (x.index_select(0, rows).view(*q.shape[:2], -1, dim) for x in (k, v))
        mask = None if valid is None else valid[chosen].flatten(2).unsqueeze(2)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

    gathered = GATHERED.get(q.device.type, GATHERED["cpu"])
    group = max(1, gathered // (2 * batch * heads * chosen.shape[-1] * size * dim))
    trains = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    parts = []
    queries = q[:, :, : layout.tiles].flatten(0, 1)
    for some, their in zip(queries.split(group, dim=1), chosen.split(group, dim=1), strict=True):
        if trains:  # gathers once more in the backward pass, instead of keeping all that was gathered
            parts.append(
                checkpoint(attend, some, k_tiles, v_tiles, their, use_reentrant=False, preserve_rng_state=False)
            )
        else:
            parts.append(attend(some, k_tiles, v_tiles, their))
    video = torch.cat(parts, dim=1).unflatten(0, (batch, heads))
    if not layout.other_tiles:
        return video
    dense = F.scaled_dot_product_attention(
        q[:, :, layout.tiles :].flatten(2, 3),
        k.flatten(2, 3),
        v.flatten(2, 3),
        attn_mask=None if valid is None else valid.view(1, 1, 1, -1),
    )
    return torch.cat([video, dense.unflatten(2, (-1, size))], dim=2)


def _block_map(chosen: Tensor, layout: TokenLayout) -> Tensor:
    """Which packed tiles of queries see which tiles of keys: [B, heads, tiles + other_tiles, tiles + other_tiles]"""
    n, count = layout.tiles, layout.tiles + layout.other_tiles
    sees = torch.ones(*chosen.shape[:2], count, count, dtype=torch.bool, device=chosen.device)
    sees[:, :, :n, :n] = False
    sees[:, :, :n, :n].scatter_(-1, chosen, True)
    return sees


def _flex_fine(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, layout: TokenLayout) -> Tensor:
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    size, sees, valid = layout.tile_tokens, _block_map(chosen, layout), layout.valid(q.device)

    def mask(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return sees[batch, head, query // size, key // size] & valid[key // size, key % size]

    def ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
        """How many blocks each row has, and which: theirs first."""
        indices = blocks.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
        return blocks.sum(-1, dtype=torch.int32), indices.to(torch.int32)

    full = valid.all(-1)  # the mask is computed in the other blocks alone
    blocks = BlockMask.from_kv_blocks(
        *ordered(sees & ~full), *ordered(sees & full), BLOCK_SIZE=(size, size), mask_mod=mask
    )
    # Blocks of the kernel must divide those of the mask; by itself it takes up to 128.
    options: Any = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_M1": 32, "BLOCK_N1": 64, "BLOCK_M2": 64, "BLOCK_N2": 32}
    attend: Callable[..., Any] = _compiled_flex() if q.is_cuda else flex_attention
    sequences = [x.flatten(2, 3) for x in (q, k, v)]
    out = attend(*sequences, block_mask=blocks, kernel_options=options)
    return out.unflatten(2, (-1, size))


@lru_cache(maxsize=1)
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, fullgraph=True)  # what is not compiled would hold all scores in memory


def _kernel_fine(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, layout: TokenLayout) -> Tensor:
    kernel = _block_sparse_kernel()
    assert not isinstance(kernel, str)  # `unavailable` has told
    sequences = [x.flatten(2, 3) for x in (q, k, v)]
    out, _ = kernel(*sequences, _block_map(chosen, layout), layout.counts(q.device))
    return out.unflatten(2, (-1, layout.tile_tokens))


@lru_cache(maxsize=1)
def _block_sparse_kernel() -> Callable[..., tuple[Tensor, Tensor]] | str:
    """fastvideo-kernel's attention over blocks of 64 tokens, forward and backward, or why it is not there.

    (q, k, v [B, heads, N, D], map [B, heads, N / 64, N / 64] bool, tokens of each block) -> output, log-sum-exp
    """
    try:
        from fastvideo_kernel.block_sparse_attn import block_sparse_attn
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "fastvideo_kernel":
            return f"fastvideo-kernel misses another package: {error}"
        return "fastvideo-kernel is not installed: `pip install fastvideo-kernel` (Linux, CUDA), or choose 'auto'"
    except (ImportError, OSError, RuntimeError) as error:  # built for another CUDA or PyTorch
        return f"fastvideo-kernel is installed but does not load ({error}); choose 'auto'"
    return block_sparse_attn


_FINE: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor, TokenLayout], Tensor]] = {
    "torch": _torch_fine,
    "flex": _flex_fine,
    "kernel": _kernel_fine,
}
