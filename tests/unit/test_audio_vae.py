"""The audio codec: an exact lapped transform with few channels, its ends included, and the shipped weights' bars."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from models.audio_vae import AudioVAE, AudioVAEConfig, load_audio_vae, mdct_filters, save_audio_vae, sine_window
from training.codecs import fit_audio, held_out_scenes, matched, measure_audio, onset_times
from training.toybox import sample_scenes

WEIGHTS = Path(__file__).parents[2] / "models" / "weights" / "mini_audio_vae.safetensors"
COMPLETE = AudioVAEConfig(channels=16, hop=16)  # as many channels as samples per hop: nothing is lost


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def shipped() -> AudioVAE:
    return load_audio_vae(WEIGHTS)


def test_filters_are_orthonormal_also_with_their_neighbours():
    filters = mdct_filters(16)
    torch.testing.assert_close(filters @ filters.T, torch.eye(16, dtype=torch.float64))
    torch.testing.assert_close(filters[:, 16:] @ filters[:, :16].T, torch.zeros(16, 16, dtype=torch.float64))
    window = sine_window(16)
    torch.testing.assert_close(window[:16].square() + window[16:].square(), torch.ones(16, dtype=torch.float64))


@pytest.mark.parametrize("samples", [16, 32, 80, 41, 1])
def test_the_transform_is_exact_to_both_ends(samples):
    vae = AudioVAE(COMPLETE, dtype=torch.float64).requires_grad_(False)
    waveform = noise(2, 1, samples)
    latent = vae.encode(waveform)
    hops = -(-samples // 16)
    assert latent.shape == (2, 16, hops)
    decoded = vae.decode(latent)
    assert decoded.shape == (2, 1, hops * 16)
    torch.testing.assert_close(decoded[..., :samples], waveform)
    torch.testing.assert_close(decoded[..., samples:], torch.zeros(2, 1, hops * 16 - samples, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 2, 4096), (1, 4096), (1, 1, 0)])
def test_wrong_waveforms_are_refused(shape):
    with pytest.raises(ValueError, match=r"waveform has shape .*: expected \[B, 1, S\] .* mix channels to mono"):
        AudioVAE(COMPLETE).encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 15, 4), (16, 4), (1, 16, 0)])
def test_wrong_latents_are_refused(shape):
    with pytest.raises(ValueError, match=r"audio latent has shape .*: expected \[B, 16, L\]"):
        AudioVAE(COMPLETE).decode(torch.zeros(shape))


@pytest.mark.parametrize("samples", [1, 1024, 46 * 1024, 89 * 1024 - 5])
def test_any_length(shipped, samples):
    latent = shipped.encode(torch.zeros(2, 1, samples))
    assert latent.shape == (2, shipped.channels, -(-samples // 1024))
    assert not latent.any()  # silence is the latent 0, and the other way round
    assert not shipped.decode(latent).any()


def test_sizes_are_read_from_the_tensors():
    assert AudioVAEConfig.from_state_dict(AudioVAE(COMPLETE).state_dict()) == COMPLETE
    with pytest.raises(ValueError, match="not an audio VAE of SkyCanvas Mini: tensor filters is missing"):
        AudioVAEConfig.from_state_dict({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"filters has shape \[4, 30\]"):
        AudioVAEConfig.from_state_dict({"filters": torch.zeros(4, 30), "scale": torch.ones(())})


def test_files_keep_weights_and_facts(tmp_path):
    path, vae = tmp_path / "vae.safetensors", AudioVAE(COMPLETE)
    save_audio_vae(path, vae, level="easy")
    latent = torch.randn(1, 16, 5)
    assert torch.equal(load_audio_vae(path).decode(latent), vae.decode(latent))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"level": "easy"}
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="vae.safetensors is broken: it has 200 bytes"):
        load_audio_vae(path)


def test_the_shipped_codec_reaches_its_bars(shipped):
    figures = measure_audio(shipped, held_out_scenes(64, "easy").sound())
    assert figures["snr"] >= 15.5
    assert figures["snr_last_hop"] >= 10  # the end is no worse than its tails let it be
    assert figures["onsets_kept"] >= 0.95
    assert figures["onsets_true"] >= 0.95
    assert 0.8 < figures["latent_std"] < 1.3
    longer = measure_audio(shipped, held_out_scenes(32, "easy", frames=33).sound())
    assert longer["snr"] >= 15.5 and longer["onsets_kept"] >= 0.95


def test_the_shipped_codec_keeps_pitch_and_timbre(shipped):
    """The two partials that make pitch and timbre keep their levels; nothing rises beside them."""
    scenes = held_out_scenes(32, "easy")
    sounds = scenes.sound()
    hops = sounds.shape[-1] // 1024
    harmonics = [scenes.level.colours[scenes.attributes(i)["colour"]].harmonic for i in range(32)]
    before, after = (torch.fft.rfft(x[:, 0]).abs() for x in (sounds, shipped.decode(shipped.encode(sounds))))
    for index in scenes.bounces()[0].unique().tolist():
        partials = [harmonics[index] * hops, 2 * harmonics[index] * hops]
        loudest = float(before[index].max())
        assert int(after[index].argmax()) in partials
        assert after[index, partials].tolist() == pytest.approx(before[index, partials].tolist(), abs=0.2 * loudest)


def test_the_shipped_codec_says_how_it_was_fitted():
    with safe_open(WEIGHTS, framework="pt") as file:
        facts = file.metadata()
    assert facts["sample_rate"] == "44100" and facts["level"] == "easy"
    assert float(facts["snr"]) >= 15.5
    assert WEIGHTS.stat().st_size < 5e5


def test_fitting_finds_the_components_of_a_world():
    vae, figures = fit_audio("easy", 24, seed=0, clips=96)
    assert figures["snr"] > 18
    torch.testing.assert_close(vae.filters @ vae.filters.T, torch.eye(24), rtol=0, atol=1e-4)


def test_onsets_are_found_where_sound_sets_in():
    sound = torch.zeros(44_100)
    tone = torch.sin(torch.arange(8000) * 0.05) * torch.exp(-torch.arange(8000) / 2000)
    for begin in (10_000, 30_000):
        sound[begin : begin + 8000] = 0.3 * tone
    times = onset_times(sound)
    assert len(times) == 2
    assert matched([times], [[10_000 / 44_100, 30_000 / 44_100]], 0.03) == 1
    assert onset_times(torch.zeros(44_100)) == []
    assert matched([[0.1, 0.5]], [[0.11]], 0.02) == 0.5


def test_latents_follow_the_sound_in_time(shipped):
    """A clip's first half has the same latents whatever comes after it, save where filters overlap."""
    sounds = sample_scenes(4, frames=33, generator=torch.Generator().manual_seed(0)).sound()
    cut = sounds.clone()
    cut[..., 40 * 1024 :] = 0
    torch.testing.assert_close(shipped.encode(sounds)[..., :39], shipped.encode(cut)[..., :39])
