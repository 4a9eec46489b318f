"""Costs: tokens are those that the network gets, operations those that it runs."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from canvas.canvas import Canvas
from canvas.compile import compile_canvas
from canvas.cost import LATENT_COPIES, ModelCost, duration, estimate
from canvas.document import Box
from canvas.grid import VideoGrid
from models import sparse_attention
from models.config import MMDiTConfig
from models.mmdit import Keyframes, MMDiT
from models.refiner import refiner_config
from models.sparse_attention import TokenLayout, attention_operations, top_k_of

sys.path.append(str(Path(__file__).parents[1]))
from memory_tools import PeakMemory  # noqa: E402

MODEL = ModelCost(dim=64, blocks=3, mlp_ratio=2.0, parameters=1_000_000, bytes_per_number=2, audio_patch=2)


def attend(q, k, v):
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


@pytest.mark.parametrize("streams", ["both", "video", "audio"])
@pytest.mark.parametrize(("dual", "single"), [(2, 0), (0, 2), (1, 1)])
def test_operations_are_those_of_the_blocks(streams, dual, single):
    config = MMDiTConfig(
        video_channels=4,
        audio_channels=4,
        text_dim=16,
        pooled_dim=0,
        dim=64,
        heads=2,
        dual_blocks=dual,
        single_blocks=single,
        mlp_ratio=3.0,
        rope_axes=(12, 10, 10),
    )
    network = MMDiT(config)
    video = torch.zeros(1, 4, 3, 8, 12) if streams != "audio" else None  # 3 x 4 x 6 tokens
    audio = torch.zeros(1, 4, 21) if streams != "video" else None
    counted = []

    def count(index, block, inputs):
        with FlopCounterMode(display=False) as counter:
            outputs = block(inputs)
        counted.append(counter.get_total_flops())
        return outputs

    with torch.no_grad():
        network(video, audio, torch.zeros(1), torch.zeros(1, 9, 16), attention=attend, run_block=count)
    model = ModelCost(64, dual + single, 3.0, 0)
    assert model.operations(72 if video is not None else 0, 21 if audio is not None else 0, 9) == sum(counted)


def test_tokens():
    canvas = Canvas.new(64, 48, 17, 16.0)
    for frame in (3, 7):
        canvas = canvas.place_image(torch.rand(1, 9, 9, 3), frame=frame, box=Box(x=3, y=3, width=9, height=9))
    canvas = canvas.reference(torch.rand(1, 8, 8, 3), kind="image")
    canvas = canvas.reference(torch.rand(18, 8, 8, 3), kind="clip", fps=32.0)  # 9 frames of the canvas: 3 latent ones
    canvas = canvas.reference(torch.rand(1, 44100), kind="sound", sample_rate=44100)  # 44 latents
    cost = estimate(compile_canvas(canvas), MODEL, text_tokens=20, steps=10, passes=3, rate=1e9)
    per_frame = 3 * 4
    assert cost.video_tokens == 5 * per_frame
    assert cost.audio_tokens == 23
    assert cost.context_tokens == 2 * per_frame
    assert cost.reference_tokens == 4 * per_frame + 22
    assert cost.text_tokens == 20
    assert cost.operations == MODEL.operations(11 * per_frame, 45, 20)
    assert cost.seconds == pytest.approx(30 * cost.operations / 1e9)


@pytest.mark.parametrize(
    ("frames", "fps", "latents"), [(1, 16.0, 1), (5, 16.0, 2), (8, 16.0, 2), (9, 16.0, 3), (9, 8.0, 5)]
)
def test_reference_clips_are_counted_at_the_rate_of_the_canvas(frames, fps, latents):
    canvas = Canvas.new(16, 16, 17, 16.0).reference(torch.rand(frames, 8, 8, 3), kind="clip", fps=fps)
    assert estimate(compile_canvas(canvas), MODEL).reference_tokens == latents


def test_half_filled_tokens_count():
    plan = compile_canvas(Canvas.new(40, 24, 1, 16.0), VideoGrid(token=1))  # 3 x 5 cells
    assert estimate(replace(plan, video=VideoGrid(token=2)), MODEL).video_tokens == 2 * 3


def test_more_on_the_canvas_costs_more():
    canvas = Canvas.new(64, 64, 17, 16.0)
    patched = canvas.place_image(torch.rand(1, 9, 9, 3), frame=3)
    less, more = (estimate(compile_canvas(c), MODEL, rate=1e9) for c in (canvas, patched))
    assert less.bytes < more.bytes and less.seconds < more.seconds and less.operations < more.operations
    assert less.bytes > 2 * MODEL.parameters


def test_the_text_says_it_in_one_line():
    canvas = Canvas.new(64, 48, 17, 16.0).place_image(torch.rand(1, 9, 9, 3), frame=3)
    plan = compile_canvas(canvas)
    cost = estimate(plan, MODEL, text_tokens=20, rate=1e6)
    assert cost.text() == (
        "115 tokens (60 of the picture, 23 of the sound, 12 of patches in context, 20 of words), about 0.00 GiB, "
        f"about {duration(cost.seconds)}."
    )
    assert estimate(plan, MODEL).text().endswith("about 0.00 GiB.")
    assert estimate(plan, MODEL).seconds is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4 s"), (37.2, "37 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (9000, "2.5 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


MEASURED = MMDiTConfig(
    video_channels=8,
    audio_channels=16,
    text_dim=32,
    pooled_dim=0,
    dim=128,
    heads=4,
    dual_blocks=1,
    single_blocks=1,
    mlp_ratio=3.0,
    audio_patch=2,
    rope_axes=(12, 10, 10),
    keyframes=True,
)


@pytest.mark.parametrize("kind", ["base", "masked", "keyframes", "refiner"])
def test_memory_is_about_what_a_pass_takes(kind, monkeypatch):
    monkeypatch.setitem(sparse_attention.GATHERED, "cpu", 2**16)  # so little, as the rest is small too
    config = refiner_config(MEASURED, 0.9) if kind == "refiner" else MEASURED
    network = MMDiT(config).requires_grad_(False)
    for parameter in network.parameters():
        parameter.fill_(0.01)
    video, tokens = torch.zeros(1, 8, 5, 32, 32), 5 * 16 * 16 + 16
    audio = torch.zeros(1, 16, 32) if kind != "refiner" else None
    timestep, inputs = torch.tensor([500.0]), {}
    if kind == "refiner":
        inputs, tokens = {"condition": video, "mask": torch.zeros_like(video[:, :1])}, tokens - 16
    elif kind == "masked":
        inputs, timestep = {"audio_timestep": timestep}, timestep.expand(1, 5, 16, 16)
    elif kind == "keyframes":
        inputs, tokens = {"keyframes": Keyframes(torch.zeros(1, 8, 1, 64, 64), [0.5], timestep)}, tokens + 32 * 32
    with torch.inference_mode(), PeakMemory() as memory:
        network(video, audio, timestep, torch.zeros(1, 4, 32), **inputs)
    model = ModelCost(128, 2, 3.0, 0, bytes_per_number=4, sparsity=config.sparsity)
    predicted = model.bytes(tokens, own_timesteps=kind in ("masked", "keyframes"))
    assert 2 / 3 < predicted / memory.peak < 3 / 2


def test_latents_need_memory_too():
    assert MODEL.bytes(0, cells=1000) - MODEL.bytes(0) == 4 * LATENT_COPIES * 16 * 1000


@pytest.mark.parametrize("grid", [(4, 8, 8), (5, 7, 9), (1, 3, 2)])
@pytest.mark.parametrize("others", [0, 37])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 1.0])
def test_sparse_operations_are_those_that_the_attention_counts(grid, others, sparsity):
    layout = TokenLayout(grid, before=others)
    counted = attention_operations(layout, top_k_of(sparsity, layout.tiles), heads=2, head_dim=32, gate=True)
    video = math.prod(grid) + others
    sparse = replace(MODEL, sparsity=sparsity)
    assert sparse.attention(video, 0, 0, grid) == 2 * sparse.blocks * counted.sparse
    gates = 2 * sparse.blocks * video * sparse.dim**2
    dense = MODEL.operations(video, 0, 0) - MODEL.attention(video, 0, 0)
    assert sparse.operations(video, 0, 0, grid) == dense + gates + sparse.attention(video, 0, 0, grid)


def test_sparse_operations_need_the_grid():
    with pytest.raises(ValueError, match="grid"):
        replace(MODEL, sparsity=0.5).operations(64, 0, 0)
