"""A Refiner is a native MODEL: stock samplers, masks and errors, on the picture alone."""

import comfy.sample
import node_helpers
import pytest
import torch
from comfy_tools import PROMPT, advanced, empty_latent, encode, finite, ksampler, plain_network

from models.config import MMDiTConfig
from training.sampling import sample_euler, simple_sigmas

SHAPE = (1, 4, 5, 8, 8)


@pytest.fixture
def path(mini):
    return mini.refiner


@pytest.fixture
def refiner(loaded):
    return loaded[4].clone()


@pytest.fixture
def source():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def prompts(loaded, source):
    values = {"skycanvas_condition": source, "skycanvas_mask": torch.zeros_like(source[:, :1])}
    return [node_helpers.conditioning_set_values(encode(loaded[1], text), values) for text in (PROMPT, "")]


def test_what_is_loaded_is_what_was_saved(path, refiner):
    config = refiner.model.config
    assert (config.audio_channels, config.refines, config.sparsity) == (0, True, 0.5)
    assert vars(config) == vars(MMDiTConfig.from_state_dict(plain_network(path).state_dict()))
    assert refiner.model.latent_format.latent_channels == 4


@pytest.mark.parametrize("masked", [False, True])
def test_ksampler_samples_it_as_the_plain_network_is_sampled(path, refiner, prompts, source, masked):
    network, latent = plain_network(path), {"samples": torch.randn(SHAPE, generator=torch.Generator().manual_seed(6))}
    mean, std = (getattr(network, f"video_latent_{part}").view(1, -1, 1, 1, 1) for part in ("mean", "std"))
    mask = torch.ones(1, 1, 5, 8, 8)
    start = comfy.sample.prepare_noise(latent["samples"], 3)
    if masked:
        mask[:, :, 0], mask[..., :3] = 0, 0
        latent["noise_mask"] = mask
        start = torch.where(mask > 0, start, (latent["samples"] - mean) / std)
    texts = [(prompt[0][0], prompt[0][1]["pooled_output"]) for prompt in prompts]
    conditions = {"condition": (source - mean) / std, "mask": torch.zeros_like(source[:, :1])}
    if masked:
        with torch.inference_mode():
            ours = masked_euler(network, start, texts, mask, conditions)
    else:
        ours, _ = sample_euler(network, start, None, *texts, steps=3, guidance=2.0, shift=2.0, **conditions)
    theirs = ksampler(refiner, *prompts, latent, steps=3, cfg=2.0)
    torch.testing.assert_close(ours * std + mean, theirs, rtol=2e-3, atol=2e-3)
    if masked:
        assert torch.equal(theirs[:, :, 0], latent["samples"][:, :, 0]), "what is kept comes out bit for bit"


def masked_euler(network, x, texts, mask, conditions):
    """Cells with mask 0 stay clean, and tokens of nothing else have timestep 0."""
    tokens = torch.nn.functional.max_pool3d(mask, (1, 2, 2))[:, 0]
    sigmas = simple_sigmas(3, 2.0)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        with_text, without = (
            network(x, None, 1000 * sigma * tokens, text, pooled=pooled, **conditions)[0] for text, pooled in texts
        )
        x = x + (following - sigma) * (without + 2.0 * (with_text - without)) * mask
    return x


def test_custom_samplers_and_batches_run(refiner, prompts):
    made = advanced(refiner, *prompts, {"samples": torch.zeros(2, *SHAPE[1:])}, steps=2)
    assert made.shape == (2, *SHAPE[1:]) and finite(made) and not torch.equal(made[0], made[1])


def test_what_a_refiner_needs_is_said_before_it_samples(refiner, loaded, prompts, model):
    plain = [encode(loaded[1], text) for text in (PROMPT, "")]
    with pytest.raises(ValueError, match="a Refiner needs the clip that it shall refine"):
        ksampler(refiner, *plain, {"samples": torch.zeros(SHAPE)})
    with pytest.raises(ValueError, match="a Refiner makes the picture alone"):
        ksampler(refiner, *prompts, empty_latent(9, 1, model))
    with pytest.raises(ValueError, match=r"skycanvas_condition covers \[5, 8, 8\]"):
        ksampler(refiner, *prompts, {"samples": torch.zeros(1, 4, 5, 6, 8)})
