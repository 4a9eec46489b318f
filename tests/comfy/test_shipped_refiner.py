"""The Refiner that is shipped, through stock nodes: better than enlarging, exact where told so, without a seam."""

from pathlib import Path

import pytest
import torch
from comfy_extras.nodes_video import CreateVideo
from comfy_tools import encode, ksampler
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box
from skycanvas.carriers.clip import load_clip
from skycanvas.carriers.skyreels_v4 import load_model
from skycanvas.carriers.vae import SkyCanvasVideoVAE, load_vae
from skycanvas.nodes import loaders
from skycanvas.nodes.compose import SkyCanvasCompose
from skycanvas.nodes.example import SkyCanvasExample
from skycanvas.nodes.refine import SkyCanvasRefine

import nodes
from models.refiner import upsampled

WEIGHTS = Path(loaders.__file__).parents[1] / "models" / "weights"
PROMPT = "a green square bounces slowly on a maroon background"


@pytest.fixture(scope="module")
def mini():
    """MODEL of the Refiner, the prompts, VAE."""
    with torch.inference_mode():
        clip = load_clip(str(WEIGHTS / loaders.TEXT_ENCODER))
        vae = load_vae(SkyCanvasVideoVAE, str(WEIGHTS / loaders.VIDEO_VAE))
        return load_model(str(WEIGHTS / loaders.REFINER)), [encode(clip, text) for text in (PROMPT, "")], vae


@pytest.fixture(scope="module")
def truth():
    return SkyCanvasExample.execute("green_square_large.mkv").result[0]


def refined(mini, images, *, scale=2, frame_factor=2, steps=2, **more):
    model, prompts, vae = mini
    latent = {**nodes.VAEEncode().encode(vae, images)[0], "frame_rate": 16.0}
    *conditioned, latent, fps = SkyCanvasRefine.execute(
        model, *prompts, vae, latent, scale, frame_factor, **more
    ).result
    made = ksampler(*conditioned, latent, steps=steps, cfg=1.0)
    return nodes.VAEDecode().decode(vae, {"samples": made})[0], fps


def psnr(a, b):
    return float(-10 * torch.log10((a - b).square().mean()))


def test_it_is_better_than_enlarging(mini, truth):
    small, audio = SkyCanvasExample.execute("green_square.mkv").result[:2]
    made, fps = refined(mini, small)
    decoded = mini[2].decode(mini[2].encode(small))[0]
    plain = upsampled(decoded.movedim(-1, 0)[None], 2, 2)[0].movedim(0, -1).clamp(0, 1)
    assert made.shape == truth.shape and psnr(made, truth) > psnr(plain, truth) + 1
    assert psnr(made[1::2], truth[1::2]) > psnr(plain[1::2], truth[1::2]) + 1, "and so are the new frames alone"
    parts = CreateVideo.execute(made, fps, audio).result[0].get_components()
    assert parts.frame_rate == 32 and torch.equal(parts.audio["waveform"], audio["waveform"]), "every sample as it was"


def test_what_a_canvas_gives_is_exact_after_compose(mini, truth):
    small = SkyCanvasExample.execute("green_square.mkv").result[0]
    canvas = Canvas.new(128, 128, 33, 32.0).place_clip(truth, 32.0)
    canvas = canvas.region_box("generate", Box(x=16, y=16, width=96, height=80), frame=10, frames=16)
    made, _ = refined(mini, small, canvas=canvas)
    composed = SkyCanvasCompose.execute(canvas, made).result[0]
    there = torch.ones(33, 128, 128, dtype=torch.bool)
    there[10:26, 16:96, 16:112] = False
    assert torch.equal(composed[there], truth[there]) and not torch.equal(composed[~there], truth[~there])


def test_windows_leave_no_seam(mini):
    """Where windows begin and end, neighbouring pixels and frames differ as they do in a clip that is made at once."""
    small = SkyCanvasExample.execute("green_square.mkv").result[0]
    apart, _ = refined(mini, small, tile_size=64, tile_overlap=32, tile_frames=17)
    whole, _ = refined(mini, small, tile_size=0, tile_frames=0)
    assert not torch.equal(apart, whole) and psnr(apart, whole) > 35
    borders = {0: [13, 17, 21], 1: [32, 64, 96], 2: [32, 64, 96]}
    for axis, places in borders.items():
        before, after = ([place - offset for place in places] for offset in (1, 0))
        steps = [
            (clip.index_select(axis, torch.tensor(after)) - clip.index_select(axis, torch.tensor(before))).abs()
            for clip in (apart, whole)
        ]
        excess = float(steps[0].mean() - steps[1].mean())
        assert excess < 0.25 / 255, "a quarter of a level of colour"
