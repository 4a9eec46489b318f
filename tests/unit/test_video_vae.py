"""The video codec: shapes, causality, chunks, files, and the quality of the shipped weights."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from models.video_vae import VideoVAE, VideoVAEConfig, load_video_vae, save_video_vae
from training.codecs import fit_video_skeleton, held_out_scenes, measure_video, video_losses
from training.toybox import sample_scenes

WEIGHTS = Path(__file__).parents[2] / "models" / "weights" / "mini_video_vae.safetensors"
TINY = VideoVAEConfig(channels=4, encoder_dim=8, encoder_blocks=1, decoder_dim=12, decoder_blocks=2)


def tiny(config: VideoVAEConfig = TINY, seed: int = 0) -> VideoVAE:
    torch.manual_seed(seed)
    return VideoVAE(config).eval().requires_grad_(False)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def shipped() -> VideoVAE:
    return load_video_vae(WEIGHTS)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 64), (5, 8, 8), (17, 24, 40), (37, 16, 8)])
def test_shapes_of_any_size(frames, height, width):
    video = noise(2, 3, frames, height, width)
    vae = tiny()
    latent = vae.encode(video)
    assert latent.shape == (2, 4, 1 + (frames - 1) // 4, height // 8, width // 8)
    decoded = vae.decode(latent)
    assert decoded.shape == video.shape
    assert decoded.abs().max() <= 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 30, 64, 64), r"length 30 is not 4n\+1: use 29 or 33"),
        ((1, 3, 0, 64, 64), r"length 0 is not 4n\+1: use 1"),
        ((1, 3, 17, 60, 64), "height 60 is not a multiple of 8: use 56 or 64"),
        ((1, 3, 17, 64, 7), "width 7 is not a multiple of 8: use 8"),
        ((3, 17, 64, 64), r"video has shape \[3, 17, 64, 64\]: expected \[B, 3, F, H, W\]"),
        ((1, 4, 17, 64, 64), r"expected \[B, 3, F, H, W\]"),
    ],
)
def test_wrong_videos_are_refused_with_the_nearest_right_values(shape, message):
    with pytest.raises(ValueError, match=message):
        tiny().encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 5, 3, 8, 8), (1, 4, 0, 8, 8)])
def test_wrong_latents_are_refused(shape):
    with pytest.raises(ValueError, match=r"video latent has shape .*: expected \[B, 4, T, h, w\]"):
        tiny().decode(torch.zeros(shape))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_chunks_change_nothing(chunk):
    whole, parts = tiny(), tiny()
    whole.chunk, parts.chunk = 1000, chunk
    video = noise(2, 3, 33, 24, 16)
    latent = whole.encode(video)
    torch.testing.assert_close(parts.encode(video), latent, rtol=0, atol=1e-6)
    torch.testing.assert_close(parts.decode(latent), whole.decode(latent), rtol=0, atol=1e-6)


def test_chunks_of_the_shipped_codec_are_exact(shipped):
    latent = torch.randn(1, 8, 9, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = shipped.decode(latent)
    shipped.chunk = 3
    try:
        parts = shipped.decode(latent)
    finally:
        del shipped.chunk  # back to the class's own
    assert torch.equal(whole, parts)


def test_latents_never_see_the_future(shipped):
    video = held_out_scenes(2, "easy").render()
    changed = video.clone()
    changed[:, :, 5:] = noise(2, 3, 12, 64, 64)
    before, after = shipped.encode(video), shipped.encode(changed)
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2])
    assert not torch.allclose(before[:, :, 2:], after[:, :, 2:])
    torch.testing.assert_close(shipped.encode(video[:, :, :1]), before[:, :, :1])


def test_a_decoded_frame_needs_its_own_and_the_previous_latent_only(shipped):
    latent = torch.randn(1, 8, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    changed = latent.clone()
    changed[:, :, 2] += 1
    difference = (shipped.decode(latent) - shipped.decode(changed)).abs().amax((0, 1, 3, 4))
    touched = torch.zeros(17, dtype=torch.bool)
    touched[5:13] = True  # frames of latent 2, and of latent 3 which looks back at it
    assert torch.equal(difference > 1e-5, touched)


@pytest.mark.parametrize(
    "config",
    [TINY, VideoVAEConfig(), VideoVAEConfig(channels=3, spatial_scale=4, temporal_scale=2, encoder_blocks=2)],
    ids=["tiny", "default", "other scales"],
)
def test_the_sizes_are_read_from_the_tensors(config):
    assert VideoVAEConfig.from_state_dict(VideoVAE(config, device="meta").state_dict()) == config


def test_a_foreign_checkpoint_is_named():
    sd = tiny().state_dict()
    del sd["stem.weight"]
    with pytest.raises(ValueError, match="not a video VAE of SkyCanvas Mini: tensor stem.weight is missing"):
        VideoVAEConfig.from_state_dict(sd)
    sd = tiny().state_dict() | {"encode_first.project.weight": torch.zeros(4, 190)}
    with pytest.raises(ValueError, match="patches of 190 numbers"):
        VideoVAEConfig.from_state_dict(sd)


def test_files_keep_weights_and_facts(tmp_path):
    path, vae = tmp_path / "vae.safetensors", tiny()
    save_video_vae(path, vae, level="easy")
    latent = torch.randn(1, 4, 2, 2, 2)
    assert torch.equal(load_video_vae(path).decode(latent), vae.decode(latent))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"level": "easy"}


def test_broken_and_missing_files_are_named(tmp_path):
    path = tmp_path / "half.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="half.safetensors is broken: it has 100000 bytes instead of"):
        load_video_vae(path)
    with pytest.raises(FileNotFoundError):
        load_video_vae(tmp_path / "none.safetensors")


def test_the_shipped_codec_reaches_its_bars(shipped):
    figures = measure_video(shipped, held_out_scenes(16, "easy").render())
    assert figures["psnr_first"] >= 32.5
    assert figures["psnr_rest"] >= 29.5
    assert figures["psnr_rest_noisy"] >= 29  # robust to what a diffusion model gets wrong
    assert 0.8 < figures["latent_std"] < 1.2


def test_the_shipped_codec_says_how_it_was_trained():
    with safe_open(WEIGHTS, framework="pt") as file:
        facts = file.metadata()
    assert facts["frame_rate"] == "16" and facts["level"] == "easy"
    assert float(facts["psnr_first"]) >= 29 and float(facts["psnr_rest"]) >= 27
    assert WEIGHTS.stat().st_size < 4e6


def test_half_precision_decodes_nearly_the_same(shipped):
    latent = shipped.encode(held_out_scenes(1, "easy").render())
    half = load_video_vae(WEIGHTS, dtype=torch.bfloat16)
    assert (half.decode(latent.bfloat16()).float() - shipped.decode(latent)).abs().mean() < 0.02


def test_the_skeleton_alone_is_a_codec_and_speaks_one_language():
    scenes = sample_scenes(48, level="easy", generator=torch.Generator().manual_seed(1))
    vae = VideoVAE(VideoVAEConfig(encoder_dim=8, decoder_dim=8, decoder_blocks=1))
    fit_video_skeleton(vae, scenes.render())
    held_out = held_out_scenes(8, "easy")
    figures = measure_video(vae, held_out.render())
    assert figures["psnr_first"] > 23 and figures["psnr_rest"] > 21
    # A picture that stands still has nearly the same latent first and later.
    latent = vae.encode(held_out.render()[:, :, :1].repeat(1, 1, 5, 1, 1)).detach()
    assert (latent[:, :, 0] - latent[:, :, 1]).square().mean() < 0.2 * latent.var()


def test_every_correction_learns_and_the_skeleton_stays():
    torch.manual_seed(0)
    vae = VideoVAE(VideoVAEConfig(encoder_dim=8, decoder_dim=8, decoder_blocks=1))
    video = sample_scenes(8, frames=9, generator=torch.Generator().manual_seed(0)).render()
    fit_video_skeleton(vae, video)
    optimizer = torch.optim.Adam([p for p in vae.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):  # the corrections start at zero: what feeds them has a gradient from the second step on
        optimizer.zero_grad()
        loss = video_losses(vae, video, torch.Generator().manual_seed(0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    frozen = {"encode_first.project", "encode_rest.project", "decode_first.expand", "decode_rest.expand"}
    for name, parameter in vae.named_parameters():
        if name.rpartition(".")[0] in frozen:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.any(), name
