"""Video Sparse Attention against dense attention and a plain reference with a mask over tokens, and its benchmark."""

import importlib.util
import sys
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import models.sparse_attention as module
from models.sparse_attention import (
    TokenLayout,
    attention_operations,
    check_top_k,
    choose_backend,
    sparse_attention,
    top_k_of,
    unavailable,
)

CPU = torch.device("cpu")
ODD = TokenLayout((5, 6, 7), before=3, after=5)  # 2 x 2 x 2 tiles, of which one is whole
EXACT = {"atol": 1e-12, "rtol": 1e-12}
quiet = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def tensors(layout, *, dim=8, batch=2, heads=3, dtype=torch.float64, seed=0, count=3):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, layout.tokens, dim, generator=g, dtype=dtype) for _ in range(count)]


def gate_for(layout, q, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*q.shape[:2], layout.video_tokens, q.shape[3], generator=g, dtype=q.dtype)


def dense(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


# -- the plain reference: token by token, tile by tile ---------------------------------------------------------------


def tile_of_tokens(layout):
    """The tile of each video token, counted in the order of the tiles' corners: list of lists of token numbers."""
    tiles = {}
    for number, place in enumerate(product(*map(range, layout.grid))):
        tiles.setdefault(tuple(x // side for x, side in zip(place, layout.tile, strict=True)), []).append(number)
    return [tiles[corner] for corner in sorted(tiles)]


def reference(q, k, v, layout, top_k, gate=None):
    """Output, and which tiles each tile of queries has chosen [B, heads, tiles, tiles]."""
    tiles = [[layout.before + n for n in tile] for tile in tile_of_tokens(layout)]
    mean_q, mean_k, mean_v = (torch.stack([x[:, :, tile].mean(2) for tile in tiles], dim=2) for x in (q, k, v))
    scores = mean_q @ mean_k.transpose(-1, -2) / q.shape[-1] ** 0.5
    order = scores.argsort(dim=-1, descending=True)
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order[..., :top_k], True)
    sees = torch.ones(*q.shape[:2], layout.tokens, layout.tokens, dtype=torch.bool)
    for i, j in product(range(len(tiles)), repeat=2):
        sees[:, :, torch.tensor(tiles[i])[:, None], torch.tensor(tiles[j])] = chosen[:, :, i, j, None, None]
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~sees, -torch.inf).softmax(-1)
    out = weights @ v
    if gate is not None:
        coarse = scores.softmax(-1) @ mean_v
        for i, tile in enumerate(tiles):
            inside = [n - layout.before for n in tile]
            out[:, :, tile] += gate[:, :, inside] * coarse[:, :, i, None]
    return out, chosen


# -- layout ----------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(
    grid=st.tuples(*[st.integers(1, 9)] * 3),
    tile=st.tuples(*[st.integers(1, 4)] * 3),
    before=st.integers(0, 70),
    after=st.integers(0, 5),
)
def test_packed_tiles_hold_their_tokens_first_and_zeros_behind(grid, tile, before, after):
    layout = TokenLayout(grid, before, after, tile)
    names = torch.arange(1.0, layout.tokens + 1)[None, None, :, None]
    packed = layout.pack(names)
    tiles = [[float(before + n + 1) for n in tokens] for tokens in tile_of_tokens(layout)]
    assert layout.tiles == len(tiles)
    assert packed.shape == (1, 1, layout.tiles + layout.other_tiles, layout.tile_tokens, 1)
    for place, tokens in zip(packed[0, 0, :, :, 0].tolist(), tiles, strict=False):
        assert place == tokens + [0.0] * (layout.tile_tokens - len(tokens))
    others = packed[0, 0, layout.tiles :, :, 0].flatten().tolist()
    assert others[: before + after] == [*range(1, before + 1), *range(layout.tokens - after + 1, layout.tokens + 1)]
    assert not any(others[before + after :])
    assert layout.valid(CPU).sum(-1).tolist() == layout.counts(CPU).tolist()
    assert torch.equal(packed[0, 0, :, :, 0] != 0, layout.valid(CPU))
    assert layout.padded() == (not layout.valid(CPU).all())
    assert torch.equal(layout.unpack(packed), names)


def test_the_mean_of_a_partial_tile_is_that_of_its_tokens():
    (x,) = tensors(ODD, count=1)
    means = module._means(ODD.pack(x), ODD)
    for i, tile in enumerate(tile_of_tokens(ODD)):
        torch.testing.assert_close(means[:, :, i], x[:, :, [3 + n for n in tile]].mean(2), **EXACT)
    assert module._means(ODD.pack(x.bfloat16()), ODD).dtype == torch.float32


def test_what_was_cached_in_inference_serves_training():
    layout = TokenLayout((3, 5, 2), before=1)
    with torch.inference_mode():
        sparse_attention(*tensors(layout), layout, 1, backend="torch")
    q, k, v = (x.requires_grad_() for x in tensors(layout))
    sparse_attention(q, k, v, layout, 1, backend="torch").sum().backward()
    assert all(x.grad is not None for x in (q, k, v))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 0, 4),), r"grid \(4, 0, 4\) must be three numbers from 1"),
        (((4, 4),), r"grid \(4, 4\) must be three numbers"),
        (((4, 4, 4), 0, 0, (4, -1, 4)), r"tile \(4, -1, 4\) must be three"),
        (((4, 4, 4), -2), "before -2 and after 0"),
    ],
)
def test_layouts_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenLayout(*arguments)


# -- attention -------------------------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("backend", ["torch", "flex", "dense"])
@settings(max_examples=6, deadline=None)
@given(grid=st.tuples(*[st.integers(1, 7)] * 3), before=st.integers(0, 70), after=st.integers(0, 3))
def test_all_tiles_are_dense_attention(backend, grid, before, after):
    layout = TokenLayout(grid, before, after)
    q, k, v = tensors(layout, batch=1, heads=2)
    torch.testing.assert_close(
        sparse_attention(q, k, v, layout, layout.tiles, backend=backend), dense(q, k, v), **EXACT
    )
    q, k, v = q.float(), k.float(), v.float()
    out = sparse_attention(q, k, v, layout, layout.tiles, backend=backend)
    torch.testing.assert_close(out, dense(q, k, v), atol=1e-5, rtol=1e-5)


@quiet
@pytest.mark.parametrize("backend", ["torch", "flex"])
@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize(
    "layout",
    [ODD, TokenLayout((8, 4, 8)), TokenLayout((3, 7, 5), 0, 66, (2, 3, 2))],
    ids=["odd", "whole tiles", "other tile"],
)
def test_the_top_k_are_those_of_the_plain_reference(backend, top_k, layout):
    q, k, v = tensors(layout)
    gate = gate_for(layout, q)
    for g in (None, gate):
        out = sparse_attention(q, k, v, layout, top_k, gate=g, backend=backend)
        torch.testing.assert_close(out, reference(q, k, v, layout, top_k, g)[0], **EXACT)
    assert not torch.allclose(out, dense(q, k, v), atol=1e-3)


def test_the_coarse_stage_joins_the_dense_one_too():
    q, k, v = tensors(ODD)
    gate = gate_for(ODD, q)
    out = sparse_attention(q, k, v, ODD, 2, gate=gate, backend="dense")
    torch.testing.assert_close(out, reference(q, k, v, ODD, ODD.tiles, gate)[0], **EXACT)


@pytest.mark.parametrize("backend", ["torch", "dense"])
def test_a_gate_of_zero_leaves_the_fine_stage(backend):
    q, k, v = tensors(ODD)
    closed = torch.zeros_like(gate_for(ODD, q))
    out = sparse_attention(q, k, v, ODD, 2, gate=closed, backend=backend)
    assert torch.equal(out, sparse_attention(q, k, v, ODD, 2, backend=backend))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_the_reference(dtype):
    q, k, v = (x.to(dtype) for x in tensors(ODD))
    gate = gate_for(ODD, q)
    out = sparse_attention(q, k, v, ODD, 3, gate=gate, backend="torch")
    assert out.dtype == dtype
    wanted = reference(*(x.double() for x in (q, k, v)), ODD, 3, gate.double())[0]
    torch.testing.assert_close(out.double(), wanted, atol=0.03, rtol=0.03)


def test_queries_are_taken_in_groups_of_bounded_memory(monkeypatch):
    q, k, v = tensors(ODD)
    whole = sparse_attention(q, k, v, ODD, 3, backend="torch")
    sizes, attend = [], F.scaled_dot_product_attention

    def watched(q, k, v, **options):
        sizes.append(k.numel())
        return attend(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    one = 2 * 3 * (3 + 1) * 64 * 8  # numbers in the keys of one tile of queries, with the tokens around the video
    for gathered, groups in ((2 * one, 8), (2 * 3 * one, 3), (2 * 100 * one, 1)):
        sizes.clear()
        monkeypatch.setitem(module.GATHERED, "cpu", gathered)
        torch.testing.assert_close(sparse_attention(q, k, v, ODD, 3, backend="torch"), whole, **EXACT)
        assert len(sizes) == groups + 1
        assert 2 * max(sizes[:-1]) <= gathered


def test_gradients(monkeypatch):
    monkeypatch.setitem(module.GATHERED, "cpu", 1)  # a group for each tile
    layout = TokenLayout((2, 3, 3), 1, 1, (2, 2, 2))
    q, k, v = tensors(layout, batch=1, heads=1, dim=2)
    inputs = [x.requires_grad_() for x in (q, k, v, gate_for(layout, q))]
    assert torch.autograd.gradcheck(
        lambda q, k, v, gate: sparse_attention(q, k, v, layout, 2, gate=gate, backend="torch"), inputs
    )


def test_gradients_are_those_of_the_reference_in_groups_too():
    q, k, v = tensors(ODD)
    gate, weights = gate_for(ODD, q), tensors(ODD, seed=2, count=1)[0]

    def gradients(attend):
        inputs = [x.clone().requires_grad_() for x in (q, k, v, gate)]
        return torch.autograd.grad((attend(*inputs) * weights).sum(), inputs)

    ours = gradients(lambda q, k, v, gate: sparse_attention(q, k, v, ODD, 3, gate=gate, backend="torch"))
    theirs = gradients(lambda q, k, v, gate: reference(q, k, v, ODD, 3, gate)[0])
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-10, rtol=1e-10)


@quiet
@pytest.mark.parametrize("backend", ["torch", "flex"])
def test_padding_has_no_weight(backend):
    layout = TokenLayout((5, 5, 5), before=2)
    packed = [layout.pack(x) for x in tensors(layout)]
    chosen = torch.tensor([0, 3, 7]).expand(2, 3, layout.tiles, 3)
    wanted = layout.unpack(module._FINE[backend](*packed, chosen, layout))
    for x in packed:
        x[:, :, ~layout.valid(CPU)] = 1e6
    assert torch.equal(layout.unpack(module._FINE[backend](*packed, chosen, layout)), wanted)


def test_heads_and_batch_do_not_mix():
    q, k, v = tensors(ODD)
    gate = gate_for(ODD, q)
    out = sparse_attention(q, k, v, ODD, 2, gate=gate, backend="torch")
    b, h = torch.tensor([1, 0])[:, None], torch.tensor([2, 0, 1])
    moved = sparse_attention(*(x[b, h] for x in (q, k, v)), ODD, 2, gate=gate[b, h], backend="torch")
    torch.testing.assert_close(moved, out[b, h], **EXACT)
    alone = sparse_attention(*(x[1:, 2:] for x in (q, k, v)), ODD, 2, gate=gate[1:, 2:], backend="torch")
    torch.testing.assert_close(alone, out[1:, 2:], **EXACT)


def test_a_dropped_tile_has_no_influence():
    q, k, v = tensors(ODD, dtype=torch.float32)
    out, chosen = sparse_attention(q, k, v, ODD, 3, backend="torch"), reference(q, k, v, ODD, 3)[1]
    tiles = tile_of_tokens(ODD)
    for dropped in range(ODD.tiles):
        tokens = [ODD.before + n for n in tiles[dropped]]
        other_k, other_v = k.clone(), v.clone()
        other_k[:, :, tokens] *= -0.7
        other_v[:, :, tokens] += 1e4
        changed = sparse_attention(q, other_k, other_v, ODD, 3, backend="torch")
        used = chosen[..., dropped] | reference(q, other_k, other_v, ODD, 3)[1][..., dropped]
        assert used.any() and not used.all()
        for i, tile in enumerate(tiles):
            same = (changed == out)[:, :, [ODD.before + n for n in tile]].all(-1)
            assert torch.equal(same.all(-1), ~used[:, :, i])
            assert torch.equal(same.any(-1), ~used[:, :, i])


@quiet
@pytest.mark.parametrize("backend", ["torch", "flex"])
def test_tokens_that_are_no_video_are_seen_by_all_and_see_all(backend):
    q, k, v = tensors(ODD)
    out = sparse_attention(q, k, v, ODD, 1, backend=backend)
    others = [*range(ODD.before), *range(ODD.tokens - ODD.after, ODD.tokens)]
    torch.testing.assert_close(out[:, :, others], dense(q, k, v)[:, :, others], **EXACT)
    for token in others:
        changed = v.clone()
        changed[:, :, token] += 100.0
        assert (sparse_attention(q, k, changed, ODD, 1, backend=backend) != out).all()


# -- back ends -------------------------------------------------------------------------------------------------------


def plain_kernel(q, k, v, block_map, counts):
    """What fastvideo-kernel computes, with its demands on shapes and types."""
    assert all(x.is_contiguous() for x in (q, k, v)) and q.shape[2] % 64 == 0
    assert block_map.dtype == torch.bool and counts.dtype == torch.int32
    assert block_map.shape == (*q.shape[:2], q.shape[2] // 64, q.shape[2] // 64)
    inside = (torch.arange(64) < counts[:, None]).flatten()
    sees = block_map.repeat_interleave(64, -1).repeat_interleave(64, -2) & inside
    return F.scaled_dot_product_attention(q, k, v, attn_mask=sees), torch.zeros(q.shape[:3])


@pytest.mark.parametrize("layout", [ODD, TokenLayout((8, 4, 4)), TokenLayout((4, 5, 6), 70, 70)])
def test_the_kernel_gets_whole_tiles_and_a_map_of_them(layout, monkeypatch):
    monkeypatch.setattr(module, "_block_sparse_kernel", lambda: plain_kernel)
    monkeypatch.setattr(module, "unavailable", lambda *_: None)  # it would miss the GPU
    q, k, v = tensors(layout)
    out = sparse_attention(q, k, v, layout, 2, backend="kernel")
    torch.testing.assert_close(out, reference(q, k, v, layout, 2)[0], **EXACT)


@pytest.fixture
def no_kernel(monkeypatch):
    """As if fastvideo-kernel were not installed."""
    monkeypatch.setitem(sys.modules, "fastvideo_kernel", None)
    module._block_sparse_kernel.cache_clear()
    yield
    module._block_sparse_kernel.cache_clear()


def test_a_missing_kernel_says_how_to_install_it(no_kernel):
    q, k, v = tensors(ODD)
    with pytest.raises(RuntimeError, match="cannot run here: .* not installed: `pip install fastvideo-kernel`"):
        sparse_attention(q, k, v, ODD, 2, backend="kernel")


def test_the_optional_library_is_not_imported_before_it_is_asked_for(monkeypatch):
    asked = []

    class Watch:
        def find_spec(self, name, path=None, target=None):
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Watch(), *sys.meta_path])
    spec = importlib.util.spec_from_file_location("fresh_sparse_attention", module.__file__)
    fresh = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, fresh)
    spec.loader.exec_module(fresh)
    q, k, v = tensors(ODD)
    fresh.sparse_attention(q, k, v, fresh.TokenLayout(ODD.grid, 3, 5), 2)
    assert "fastvideo_kernel" not in asked
    fresh._block_sparse_kernel()
    assert "fastvideo_kernel" in asked


class On:
    """Stands for a tensor on some device, as far as the choice of a back end asks."""

    def __init__(self, kind, *, dtype=torch.bfloat16, head_dim=64):
        self.device, self.is_cuda, self.dtype = torch.device(kind), kind == "cuda", dtype
        self.shape = (1, 1, 1, head_dim)


def test_what_auto_takes(monkeypatch):
    layout = TokenLayout((8, 8, 8))
    monkeypatch.setattr(module, "_block_sparse_kernel", lambda: plain_kernel)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # Triton is there

    def auto(q, layout=layout):
        return choose_backend("auto", q, layout, 2)

    assert choose_backend("auto", On("cuda"), layout, 8) == "dense"
    assert auto(On("cuda")) == "kernel"
    assert auto(On("cuda", head_dim=128)) == "kernel"
    assert auto(On("cuda", head_dim=96)) == auto(On("cuda", dtype=torch.float32)) == "flex"
    assert auto(On("cuda", head_dim=8)) == auto(On("cpu")) == auto(On("mps")) == "torch"
    assert auto(On("cuda"), TokenLayout((8, 8, 24), tile=(4, 8, 8))) == "flex"
    assert auto(On("cuda"), TokenLayout((8, 8, 8), tile=(2, 4, 4))) == "torch"
    monkeypatch.setattr(module, "_block_sparse_kernel", lambda: "fastvideo-kernel is not installed")
    assert auto(On("cuda")) == "flex"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else name)
    assert auto(On("cuda")) == "torch"


def test_why_a_back_end_cannot_run(monkeypatch):
    layout, huge = TokenLayout((8, 8, 8)), TokenLayout((16, 32, 32))
    monkeypatch.setattr(module, "_block_sparse_kernel", lambda: plain_kernel)
    assert unavailable("torch", On("mps"), layout) is None
    assert "16384 tokens are more than 8192" in unavailable("flex", On("cpu"), huge)
    assert "needs CUDA, the tensors are on mps" in unavailable("flex", On("mps"), layout)
    assert "got torch.bfloat16 on cpu" in unavailable("kernel", On("cpu"), layout)
    assert "heads of 96" in unavailable("kernel", On("cuda", head_dim=96), layout)
    assert "tiles of 256" in unavailable("kernel", On("cuda"), TokenLayout((8, 8, 8), tile=(4, 8, 8)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else name)
    assert "Triton, which is not installed" in unavailable("flex", On("cuda"), layout)
    with pytest.raises(RuntimeError, match="'flex' cannot run here: on a CPU it holds all scores"):
        choose_backend("flex", On("cpu"), huge, 2)
    with pytest.raises(ValueError, match="'fast' is unknown: choose one of auto, torch, flex, kernel, dense"):
        choose_backend("fast", On("cpu"), layout, 2)


# -- bad input, counting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [0, 9])
def test_more_tiles_than_there_are(top_k):
    message = f"top_k {top_k} must be from 1 to 8, the tiles of the 5x6x7 token grid"
    with pytest.raises(ValueError, match=message):
        check_top_k(top_k, ODD)
    with pytest.raises(ValueError, match=message):
        sparse_attention(*tensors(ODD), ODD, top_k)
    with pytest.raises(ValueError, match=message):
        attention_operations(ODD, top_k, heads=1, head_dim=1)


def test_shapes_that_do_not_fit():
    q, k, v = tensors(ODD)
    with pytest.raises(ValueError, match=r"q \[2, 3, 217, 8\].* must all be \[B, heads, 218, D\].*a grid of 5x6x7"):
        sparse_attention(q[:, :, 1:], k[:, :, 1:], v[:, :, 1:], ODD, 2)
    with pytest.raises(ValueError, match=r"k \[2, 2, 218, 8\]"):
        sparse_attention(q, k[:, :2], v, ODD, 2)
    with pytest.raises(ValueError, match=r"gate \[2, 3, 218, 8\] must be \[2, 3, 210, 8\]"):
        sparse_attention(q, k, v, ODD, 2, gate=torch.zeros_like(q))


def test_top_k_of_a_sparsity():
    assert [top_k_of(s, 10) for s in (0, 0.1, 0.7, 0.75, 0.9, 0.95, 1)] == [10, 9, 3, 3, 1, 1, 1]
    assert top_k_of(0.9, 364) == 37 and top_k_of(0.5, 1) == 1
    assert all(1 <= top_k_of(s / 20, n) <= n for s in range(21) for n in range(1, 30))
    for sparsity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="must be from 0"):
            top_k_of(sparsity, 10)


def test_operations_are_those_of_the_matrix_products():
    layout = TokenLayout((8, 8, 8), before=10, after=6)
    counted = attention_operations(layout, 2, heads=3, head_dim=16)
    assert counted.dense == 2 * 3 * 16 * 528 * 528
    assert counted.fine == 2 * 3 * 16 * (512 * (2 * 64 + 16) + 16 * 528)
    assert counted.coarse == 3 * 16 * 8 * 8
    assert attention_operations(layout, 2, heads=3, head_dim=16, gate=True).coarse == 2 * counted.coarse
    assert counted.ratio == counted.dense / (counted.fine + counted.coarse)
    everything = attention_operations(ODD, ODD.tiles, heads=2, head_dim=8)
    assert everything.fine == everything.dense
