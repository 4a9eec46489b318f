"""Every equation of SkyReels-V4 sec. 3.1 against a plain reference from the paper, and one block bit for bit."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from models.attention import QKV, CrossAttention, scaled_dot_product
from models.blocks import BlockInputs, Branch, DualStream, JointBlock, SingleStream, Streams

DIM, HEADS, VIDEO, AUDIO, TEXT = 16, 2, 6, 5, 3


@pytest.fixture
def g():
    return torch.Generator().manual_seed(7)


def randomised(module, g):
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * 0.2 + (1.0 if p.ndim == 1 else 0.0))
    return module


def branch(tokens, g, batch=2):
    return Branch(
        modulation=torch.randn(batch, tokens, 6, DIM, generator=g),
        text_modulation=torch.randn(batch, 1, 6, DIM, generator=g),
        angles=torch.randn(tokens, DIM // HEADS // 2, generator=g),
        time_angles=torch.randn(tokens, DIM // HEADS // 2, generator=g),
    )


# -- the plain reference: loops over batch and heads, softmax written out ---------------------------------------------


def rotate(x, angles):
    a, b = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


def rms(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def norm(x):
    x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def softmax_attention(q, k, v):
    """One head: [N, D] x [M, D] x [M, D] -> [N, D]"""
    weights = torch.exp(q @ k.T / q.shape[-1] ** 0.5)
    return (weights / weights.sum(-1, keepdim=True)) @ v


def heads_of(x):
    return x.view(x.shape[0], HEADS, -1).unbind(1)


def qkv_reference(layer: QKV, x, angles):
    """Eq. 1 or 2 for one clip: lists of heads."""
    q, k, v = (layer.qkv.weight @ x.T).T.chunk(3, -1)
    q = [rms(h, layer.q_norm.weight) for h in heads_of(q)]
    k = [rms(h, layer.k_norm.weight) for h in heads_of(k)]
    if angles is not None:
        q, k = [rotate(h, angles) for h in q], [rotate(h, angles) for h in k]
    return q, k, heads_of(v)


def modulated(x, shift, scale):
    return norm(x) * (1 + scale) + shift


def table(layer, modulation):
    return (modulation + layer.modulation_table).unbind(1)


def mlp(layer, x):
    return layer.mlp_out(F.gelu(layer.mlp_in(x), approximate="tanh"))


def dual_reference(layer: DualStream, x, text, b: Branch, i):
    """Eq. 1-3 for clip i: separate parameters, attention over the concatenation."""
    m, mt = table(layer.media, b.modulation[i]), table(layer.text, b.text_modulation[i])
    qv, kv, vv = qkv_reference(layer.media.attention, modulated(x, m[0], m[1]), b.angles)
    qt, kt, vt = qkv_reference(layer.text.attention, modulated(text, mt[0], mt[1]), None)
    joint = [
        softmax_attention(torch.cat([qv[h], qt[h]]), torch.cat([kv[h], kt[h]]), torch.cat([vv[h], vt[h]]))
        for h in range(HEADS)
    ]
    out = torch.cat(joint, -1)
    x = x + m[2] * layer.media.attention_out(out[: len(x)])
    text = text + mt[2] * layer.text.attention_out(out[len(x) :])
    x_mlp = x + m[5] * mlp(layer.media, modulated(x, m[3], m[4]))
    text_mlp = text + mt[5] * mlp(layer.text, modulated(text, mt[3], mt[4]))
    return x, text, x_mlp, text_mlp


def cross_reference(layer: CrossAttention, x, context, angles, context_angles):
    """Eq. 4 and 5 for one clip: what is added to x."""
    q = [rms(h, layer.q_norm.weight) for h in heads_of(layer.q(norm(x)))]
    k, v = layer.kv(norm(context)).chunk(2, -1)
    k = [rms(h, layer.k_norm.weight) for h in heads_of(k)]
    if angles is not None:
        q, k = [rotate(h, angles) for h in q], [rotate(h, context_angles) for h in k]
    out = [softmax_attention(q[h], k[h], heads_of(v)[h]) for h in range(HEADS)]
    return layer.out(torch.cat(out, -1))


# -- the tests --------------------------------------------------------------------------------------------------------


def test_dual_stream_is_eq_1_to_3(g):
    layer, b = randomised(DualStream(DIM, HEADS, 2.0), g), branch(VIDEO, g)
    x, text = torch.randn(2, VIDEO, DIM, generator=g), torch.randn(2, TEXT, DIM, generator=g)
    attended, attended_text = layer.attend(x, text, b, scaled_dot_product)
    after, after_text = layer.feed_forward(attended, attended_text, b)
    for i in range(2):
        expected = dual_reference(layer, x[i], text[i], b, i)
        for got, want in zip((attended, attended_text, after, after_text), expected, strict=True):
            torch.testing.assert_close(got[i], want, atol=1e-5, rtol=1e-5)


def test_single_stream_is_a_dual_stream_with_shared_parameters(g):
    single, b = randomised(SingleStream(DIM, HEADS, 2.0), g), branch(VIDEO, g)
    dual = DualStream(DIM, HEADS, 2.0)
    dual.media.load_state_dict(single.both.state_dict())
    dual.text.load_state_dict(single.both.state_dict())
    x, text = torch.randn(2, VIDEO, DIM, generator=g), torch.randn(2, TEXT, DIM, generator=g)
    for got, want in zip(
        single.attend(x, text, b, scaled_dot_product), dual.attend(x, text, b, scaled_dot_product), strict=True
    ):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    for got, want in zip(single.feed_forward(x, text, b), dual.feed_forward(x, text, b), strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_cross_attention_is_eq_4_and_5(g, rotary):
    layer = randomised(CrossAttention(DIM, HEADS), g)
    x, context = torch.randn(2, VIDEO, DIM, generator=g), torch.randn(2, AUDIO, DIM, generator=g)
    angles = (torch.randn(VIDEO, 4, generator=g), torch.randn(AUDIO, 4, generator=g)) if rotary else (None, None)
    got = layer(x, context, scaled_dot_product, *angles)
    for i in range(2):
        torch.testing.assert_close(got[i], cross_reference(layer, x[i], context[i], *angles), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("single", [False, True])
def test_joint_block_runs_eq_1_to_5_in_the_papers_order(g, single):
    """Self-attention, text into video (eq. 4), video into audio, then the updated audio into video (eq. 5), MLP."""
    block = randomised(JointBlock(DIM, HEADS, 2.0, single=single), g)
    bv, ba = branch(VIDEO, g), branch(AUDIO, g)
    video, audio = torch.randn(2, VIDEO, DIM, generator=g), torch.randn(2, AUDIO, DIM, generator=g)
    words = torch.randn(2, TEXT, DIM, generator=g)
    got = block(Streams(video, words, audio, words), BlockInputs(bv, ba, words, scaled_dot_product))

    v, vt = block.video.attend(video, words, bv, scaled_dot_product)
    a, at = block.audio.attend(audio, words, ba, scaled_dot_product)
    for i in range(2):
        vi = v[i] + cross_reference(block.text_to_video, v[i], words[i], None, None)
        ai = a[i] + cross_reference(block.video_to_audio, a[i], vi, ba.time_angles, bv.time_angles)
        vi = vi + cross_reference(block.audio_to_video, vi, ai, bv.time_angles, ba.time_angles)
        row = [Branch(b.modulation[i : i + 1], b.text_modulation[i : i + 1], b.angles, b.time_angles) for b in (bv, ba)]
        want_v, want_vt = block.video.feed_forward(vi[None], vt[i : i + 1], row[0])
        want_a, want_at = block.audio.feed_forward(ai[None], at[i : i + 1], row[1])
        want = (want_v, want_vt, want_a, want_at)
        for x, y in zip(got, want, strict=True):
            torch.testing.assert_close(x[i : i + 1], y, atol=2e-5, rtol=2e-5)


def test_a_branch_that_does_not_run_leaves_the_other_untouched_by_it(g):
    block = randomised(JointBlock(DIM, HEADS, 2.0, single=False), g)
    ba, words = branch(AUDIO, g), torch.randn(2, TEXT, DIM, generator=g)
    audio = torch.randn(2, AUDIO, DIM, generator=g)
    out = block(Streams(None, None, audio, words), BlockInputs(None, ba, words, scaled_dot_product))
    a, at = block.audio.attend(audio, words, ba, scaled_dot_product)
    a, at = block.audio.feed_forward(a, at, ba)
    assert out.video is None and out.video_text is None
    assert torch.equal(out.audio, a) and torch.equal(out.audio_text, at)


def integer_weights(module):
    """Small multiples of 1/8: exact, and the same on every machine and PyTorch version."""
    with torch.no_grad():
        for n, p in enumerate(module.parameters()):
            index = torch.arange(p.numel()).view(p.shape)
            p.copy_(((index * (2 * n + 3)) % 7 - 3) / 8)
    return module


def test_golden_block():
    """One dual-stream block, fixed bit for bit: float64, where kernels of different processors agree to 1e-9."""
    block = integer_weights(JointBlock(DIM, HEADS, 2.0, single=False)).double()

    def ramp(*shape):
        return ((torch.arange(torch.Size(shape).numel()) % 11) / 8 - 0.625).view(shape).double()

    bv = Branch(ramp(1, VIDEO, 6, DIM), ramp(1, 1, 6, DIM), ramp(VIDEO, 4), ramp(VIDEO, 4))
    ba = Branch(ramp(1, AUDIO, 6, DIM), ramp(1, 1, 6, DIM), ramp(AUDIO, 4), ramp(AUDIO, 4))
    words = ramp(1, TEXT, DIM)
    out = block(
        Streams(ramp(1, VIDEO, DIM), words, ramp(1, AUDIO, DIM), words), BlockInputs(bv, ba, words, scaled_dot_product)
    )
    digest = hashlib.sha256()
    for x in out:
        digest.update((x * 1e9).round().to(torch.int64).numpy().tobytes())
    assert digest.hexdigest()[:16] == "59e13e70e3fad4d4"
