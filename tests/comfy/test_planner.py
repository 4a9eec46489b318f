"""Plan Clip: the counts are those of the networks and windows that will run, and its text is on the node."""

import re

import node_helpers
import pytest
import torch
from comfy_tools import PROMPT, encode, ksampler
from memory_tools import PeakMemory
from node_tools import run
from skycanvas.canvas.cost import LATENT_COPIES
from skycanvas.canvas.errors import CanvasError
from skycanvas.carriers import network
from skycanvas.carriers import tiles as carrier
from skycanvas.nodes import cost, planner
from skycanvas.nodes.planner import SkyCanvasPlan


@pytest.fixture
def refiner(loaded):
    return loaded[4].clone()


def test_report_is_shown_and_given(loaded):
    defaults = {
        x.id: x.default for x in SkyCanvasPlan.define_schema().inputs if getattr(x, "default", None) is not None
    }
    output = SkyCanvasPlan.execute(**defaults)
    (text,) = output.result
    assert output.ui.as_dict()["text"] == (text,)
    lines = text.splitlines()
    assert lines[0] == "128 x 128, 33 frames, 1.0 s at 32 fps:" and lines[-1] == planner.TIMES
    assert [line.split(":")[0] for line in lines[1:5]] == [
        "direct, base",
        "refined, base",
        "refined, Refiner",
        "refined, together",
    ]
    assert all(re.search(r"[\d.]+ (s|min|h)$", line) for line in lines[1:5])
    tokens = 9 * 8 * 8 + 23  # 33 / 32 s are 45 audio latents, two in a token
    assert f"{tokens} tokens  60 passes" in lines[1]


def test_networks_are_those_that_are_connected_or_minis(model, refiner):
    text = run(SkyCanvasPlan, model=model, refiner=refiner, scheme="refined", keyframes=2, guidance=False)[0]
    assert "30 passes" in text and "direct" not in text
    for one, file in ((model, planner.MODEL), (refiner, planner.REFINER)):
        connected, shipped = cost.network_of(one), cost.network_of(None, file)
        assert vars(connected.config) == vars(shipped.config)
        assert connected.cost.sparsity == connected.config.sparsity
    assert planner.networks_of(None, refiner)[1].cost.sparsity == 0.5


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"width": 112}, "width 112 is not a multiple of 32: use 96 or 128"),
        ({"length": 29}, r"length 29 is not 8n\+1: use 25 or 33"),
        ({"keyframes": 18}, "keyframes is 18: use 0 to 17"),
        ({"tile_size": 100}, "tile_size is 100, no multiple of 16: use 96 or 112"),
        ({"tile_size": 64, "tile_overlap": 64}, "tile_overlap is 64: use less than tile_size, 64"),
        ({"tile_frames": 32}, r"tile_frames is 32, not 4n\+1: use 29 or 33"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_timed(inputs, message, monkeypatch, loaded):
    monkeypatch.setattr(network, "measured_rate", None)
    with pytest.raises(CanvasError, match=message):
        run(SkyCanvasPlan, **inputs)


def test_models_in_the_wrong_place(model, refiner):
    with pytest.raises(ValueError, match="model is a Refiner"):
        run(SkyCanvasPlan, model=refiner)
    with pytest.raises(ValueError, match="refiner is no Refiner"):
        run(SkyCanvasPlan, refiner=model)


def test_a_sampler_holds_about_as_many_latents_as_are_counted(refiner, loaded):
    """Two clips in windows of one size: what the larger one takes more is its latents."""
    peaks, sizes = [], []
    for side in (16, 16, 24):  # the first time loads the model
        source = torch.ones(1, 4, 5, side, side)
        values = {"skycanvas_condition": source, "skycanvas_mask": torch.zeros_like(source[:, :1])}
        prompts = [node_helpers.conditioning_set_values(encode(loaded[1], text), values) for text in (PROMPT, "")]
        tiled = carrier.tile(refiner, carrier.Tiles((5, 4, 4), (0, 0, 0)))
        with PeakMemory() as memory:
            ksampler(tiled, *prompts, {"samples": source}, steps=2, cfg=1.0)
        peaks.append(memory.peak)
        sizes.append(4 * source.numel())
    copies = (peaks[2] - peaks[1]) / (sizes[2] - sizes[1])
    assert 2 / 3 < copies / LATENT_COPIES < 3 / 2
