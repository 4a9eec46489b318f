"""The weights that are shipped: they load, belong together, and obey a prompt through stock nodes."""

import json
from pathlib import Path

import pytest
import torch
from comfy_tools import encode, ksampler
from skycanvas.carriers.clip import load_clip, unknown_words
from skycanvas.carriers.latent_format import JointLatentFormat, Statistics
from skycanvas.carriers.preview import fit_preview
from skycanvas.carriers.skyreels_v4 import load_model
from skycanvas.carriers.vae import SkyCanvasAudioVAE, SkyCanvasVideoVAE, load_vae
from skycanvas.nodes import loaders
from skycanvas.nodes.latent import SkyCanvasEmptyLatent
from skycanvas.nodes.output import SkyCanvasDecode

ROOT = Path(loaders.__file__).parents[1]
WEIGHTS = ROOT / "models" / "weights"
MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def model():
    with torch.inference_mode():
        return load_model(str(WEIGHTS / loaders.MODEL))


@pytest.fixture(scope="module")
def clip():
    with torch.inference_mode():
        return load_clip(str(WEIGHTS / loaders.TEXT_ENCODER))


@pytest.fixture(scope="module")
def vae():
    with torch.inference_mode():
        return load_vae(SkyCanvasVideoVAE, str(WEIGHTS / loaders.VIDEO_VAE))


@pytest.fixture(scope="module")
def audio_vae():
    with torch.inference_mode():
        return load_vae(SkyCanvasAudioVAE, str(WEIGHTS / loaders.AUDIO_VAE))


def test_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= MAX_BYTES


def test_weights_belong_together(model, clip, vae, audio_vae):
    config = model.model.config
    ((text, more),) = encode(clip, "a red circle")
    assert (config.video_channels, config.audio_channels) == (vae.latent_channels, audio_vae.latent_channels)
    assert (config.text_dim, config.pooled_dim) == (text.shape[-1], more["pooled_output"].shape[-1])
    assert audio_vae.audio_sample_rate == 44100 and config.audio_channels >= config.video_channels  # for EasyCache


def test_workflows_use_words_that_mini_knows(clip):
    for path in (ROOT / "workflows").glob("*.json"):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        if not any(node["type"] == "SkyCanvasLoadMini" for node in nodes):
            continue
        for node in nodes:
            if node["type"] in ("SkyCanvasPrompt", "CLIPTextEncode"):
                assert unknown_words(clip, node["widgets_values"][0]) == [], path.name


def test_default_prompt_is_known(clip):
    from skycanvas.nodes.prompt import SkyCanvasPrompt

    (text,) = [entry for entry in SkyCanvasPrompt.GET_SCHEMA().inputs if entry.id == "text"]
    assert unknown_words(clip, text.default) == []


def test_preview_resembles_the_decoded_picture(vae):
    """On a latent that the fit has not seen: colours right to about a tenth of their range."""
    unit = Statistics(torch.zeros(vae.latent_channels), torch.ones(vae.latent_channels))
    form = JointLatentFormat(unit, unit)
    fit_preview(form, vae)
    latent = 0.5 * torch.randn(16, len(form.video.mean), 1, 4, 4, generator=torch.Generator().manual_seed(9))
    picture = vae.decode(form.video.restore(latent))[:, 0].movedim(-1, 1) * 2 - 1
    colours = torch.nn.functional.avg_pool2d(picture, 8)
    factors, bias = torch.tensor(form.latent_rgb_factors), torch.tensor(form.latent_rgb_factors_bias)
    guess = (latent[:, :, 0].movedim(1, -1) @ factors + bias).movedim(-1, 1)
    assert (guess - colours).pow(2).mean().sqrt() < 0.2


def test_prompt_is_obeyed(model, clip, vae, audio_vae):
    """Short sampling suffices to tell colours and backgrounds: red on black, then blue on gray."""
    latent = SkyCanvasEmptyLatent.execute(64, 64, 5, 16.0, 1, model).result[0]
    films = []
    for colour, background in (("red", "black"), ("blue", "gray")):
        prompt = f"a {colour} circle bounces slowly on a {background} background <sfx> low ping </sfx>"
        samples = ksampler(model, encode(clip, prompt), encode(clip, ""), latent, steps=10)
        images, audio, _ = SkyCanvasDecode.execute({"samples": samples}, vae, audio_vae).result
        assert images.shape == (5, 64, 64, 3) and audio["waveform"].isfinite().all()
        films.append(images)
    red, blue = (film.flatten(0, 2) for film in films)
    object_colour = [film[film.amax(-1) > 0.6].mean(0) for film in (red, blue)]
    assert object_colour[0][0] > object_colour[0][2] and object_colour[1][2] > object_colour[1][0]
    assert blue.median() > red.median() + 0.1  # the background: gray is lighter than black
