"""The Refiner: from small latents to large ones, the network without sound, and its training."""

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.config import MMDiTConfig
from models.mmdit import MMDiT
from models.refiner import (
    RESIDUAL_STD,
    refined_frames,
    refined_shape,
    refiner_config,
    refiner_weights,
    upsampled,
)
from models.video_vae import load_video_vae
from training import refiner as training
from training.refiner import (
    Encoder,
    RefinerRun,
    Settings,
    Window,
    pixels_of,
    refined_scenes,
    small_of,
    source_of,
)

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import MODEL_CONFIG  # noqa: E402

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
BASE = replace(MODEL_CONFIG, video_channels=3, audio_channels=2, text_dim=8, pooled_dim=8, dual_blocks=1)


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def base(g):
    model = MMDiT(BASE).init_weights(g)
    for parameter in model.parameters():  # not even those that start at zero are zero in a base that was trained
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=g)
    return model


def refiner_of(base: MMDiT, sparsity: float) -> MMDiT:
    model = MMDiT(refiner_config(base.config, sparsity)).init_weights(torch.Generator().manual_seed(1))
    model.load_state_dict(refiner_weights(base.state_dict(), model.state_dict()))
    return model.eval()


@pytest.fixture
def inputs(g):
    def random_like(*shape):
        return torch.randn(*shape, generator=g)

    return {
        "video": random_like(2, 3, 5, 16, 12),
        "timestep": torch.tensor([300.0, 900.0]),
        "text": random_like(2, 6, 8),
        "pooled": random_like(2, 8),
        "condition": random_like(2, 3, 5, 16, 12),
        "mask": torch.zeros(2, 1, 5, 16, 12),
    }


def with_output(refiner: MMDiT) -> MMDiT:
    """As if it had learned something."""
    torch.nn.init.normal_(refiner.video_out.project.weight, generator=torch.Generator().manual_seed(2))
    return refiner


def velocity(model, inputs, **changes):
    given = {**inputs, **changes}
    with torch.no_grad():
        return model(given.pop("video"), None, given.pop("timestep"), given.pop("text"), **given)[0]


# -- latents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "factor", "refined"), [(17, 1, 17), (17, 2, 33), (1, 2, 1), (121, 2, 241), (5, 2, 9)]
)
def test_first_and_last_frame_stay_first_and_last(frames, factor, refined):
    assert refined_frames(frames, factor) == refined
    shape = refined_shape((1 + (frames - 1) // 4, 8, 6), 3, factor)
    assert shape == (1 + (refined - 1) // 4, 24, 18)


def test_frames_between_are_means_of_their_neighbours():
    ramp = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 3, 3, 4, 4)
    assert torch.allclose(upsampled(ramp, 1, 2)[0, 0, :, 2, 2], torch.arange(5) / 2)
    assert torch.equal(upsampled(ramp, 1, 1), ramp)


def test_pixels_are_enlarged_between_their_centres(g):
    ramp = torch.arange(6.0).view(1, 1, 1, 1, 6).expand(1, 3, 1, 6, 6)
    row = upsampled(ramp, 2, 1)[0, 0, 0, 6]
    assert torch.allclose(row.view(6, 2).mean(1)[2:-2], torch.tensor([2.0, 3.0]), atol=1e-5)
    x = torch.rand(1, 3, 3, 4, 4, generator=g)
    tall = upsampled(x, 3, 1)
    assert torch.allclose(tall[..., 1::3, 1::3], x, atol=1e-5), "the middle of three new pixels is the old one"


@pytest.mark.parametrize(("scale", "factor", "message"), [(5, 1, "scale 5 is not one of 1"), (2, 3, "factor 3 is not")])
def test_what_cannot_be_refined_to_is_refused(scale, factor, message):
    with pytest.raises(ValueError, match=message):
        refined_shape((2, 4, 4), scale, factor)


# -- the network -----------------------------------------------------------------------------------------------------


def test_a_refiner_has_what_the_base_has_but_sound(base):
    refiner = refiner_of(base, 0.5)
    weights = refiner.state_dict()
    assert not [name for name in weights if "audio" in name]
    new = {name for name in weights if name not in base.state_dict()}
    assert {name.rpartition(".")[0].rpartition(".")[2] or name for name in new} == {
        "coarse_gate",
        "residual_std",
        "sparsity",
    }
    same = {name for name, value in weights.items() if name not in new and torch.equal(value, base.state_dict()[name])}
    assert weights.keys() - new - same == {"video_out.project.weight", "video_out.project.bias"}
    read = MMDiTConfig.from_state_dict(weights)
    assert (read.audio_channels, read.residual_std, read.sparsity) == (0, pytest.approx(RESIDUAL_STD), 0.5)
    assert sum(p.numel() for p in refiner.parameters()) < sum(p.numel() for p in base.parameters())


@pytest.mark.parametrize("level", [0.05, 0.5, 1.0])
def test_a_new_refiner_gives_back_its_source(base, inputs, g, level):
    """From any noise level, but for what it cannot know of the residual."""
    refiner, source, noise = refiner_of(base, 0.5), inputs["condition"], torch.randn(2, 3, 5, 16, 12, generator=g)
    made = step(refiner, inputs, torch.lerp(source, noise, level), level)
    shrink = RESIDUAL_STD**2 * (1 - level) / (level**2 + ((1 - level) * RESIDUAL_STD) ** 2)
    assert torch.allclose(made, source + shrink * level * noise, atol=1e-4)


def step(refiner, inputs, noisy, level, **changes):
    """Where the network sees the clean latent, from one noise level."""
    timestep = torch.full((2,), 1000.0 * level)
    return noisy - level * velocity(refiner, inputs, video=noisy, timestep=timestep, **changes)


def test_nothing_is_added_to_what_is_given(base, inputs, g):
    refiner, noise = refiner_of(base, 0.5), torch.randn(2, 3, 5, 16, 12, generator=g)
    for parameter in refiner.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=g)
    mask = (torch.rand(2, 1, 5, 16, 12, generator=g) < 0.5).float()
    noisy = torch.lerp(inputs["condition"], noise, 0.6)
    made = step(refiner, inputs, noisy, 0.6, mask=mask)
    error = (made - inputs["condition"]).abs() * torch.ones_like(made)
    assert (error * mask).max() < 1e-4 < (error * (1 - mask)).max()


def test_a_refiner_sees_the_condition_everywhere(base, inputs):
    other = {"condition": inputs["condition"] + 1}
    assert torch.equal(velocity(base, inputs), velocity(base, inputs, **other)), "the base sees what the mask gives"
    assert not torch.allclose(velocity(refiner_of(base, 0.5), inputs), velocity(refiner_of(base, 0.5), inputs, **other))


def test_sparse_attention_and_its_gates_are_at_work(base, inputs):
    dense, sparse = (with_output(refiner_of(base, sparsity)) for sparsity in (0.0, 0.75))
    assert not torch.allclose(velocity(dense, inputs), velocity(sparse, inputs), atol=1e-4)
    assert torch.allclose(velocity(dense, inputs), velocity(sparse, inputs, sparse_backend="dense"), atol=1e-5)
    for name, parameter in sparse.named_parameters():
        if "coarse_gate" in name:
            assert not parameter.any()
            parameter.data += 0.1
    assert not torch.allclose(velocity(dense, inputs), velocity(sparse, inputs, sparse_backend="dense"), atol=1e-4)


def test_references_and_odd_sizes_pass_through_sparse_attention(base, inputs, g):
    reference = torch.randn(1, 3, 1, 16, 12, generator=g)
    odd = {name: value[..., :13, :9] if value.ndim == 5 else value for name, value in inputs.items()}
    refiner = with_output(refiner_of(base, 0.6))
    plain = velocity(refiner, odd)
    seen = velocity(refiner, odd, video_context=[(reference[..., :13, :9], [-1.0])])
    assert plain.shape == seen.shape == (2, 3, 5, 13, 9) and not torch.allclose(plain, seen)


def test_what_a_refiner_cannot_take_is_refused(base, inputs):
    refiner = refiner_of(base, 0.5)
    with pytest.raises(ValueError, match="a Refiner needs a condition everywhere"):
        velocity(refiner, {**inputs, "condition": None, "mask": None})
    with pytest.raises(ValueError, match="this checkpoint has no audio branch"):
        refiner(inputs["video"], torch.zeros(2, 2, 8), inputs["timestep"], inputs["text"], pooled=inputs["pooled"])
    foreign = base.state_dict() | {"video_in.conv.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"tensor 'video_in.conv.weight' \[1\] fits no Refiner, which has shape"):
        refiner_weights(foreign, refiner.state_dict())


# -- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae():
    return load_video_vae(WEIGHTS / "mini_video_vae.safetensors")


@pytest.fixture(scope="module")
def encoder(vae):
    return Encoder(vae, torch.zeros(vae.config.channels), torch.ones(vae.config.channels))


def test_the_small_clip_is_the_large_one_seen_by_the_base(g):
    large = refined_scenes(2, 5, 2, 2, "easy", g)
    small = small_of(large, 2)
    assert (large.fps, large.frames, large.scale) == (32.0, 17, 2) and (small.fps, small.frames) == (16.0, 9)
    halved = torch.nn.functional.avg_pool3d(large.render()[:, :, ::2], (1, 2, 2))
    assert (halved - small.render()).abs().mean() < 0.003


def test_a_window_is_encoded_as_the_whole_picture_is(encoder, g):
    video = refined_scenes(1, 2, 1, 2, "easy", g).render()
    whole = encoder(video)
    for window in (Window(0, 0, 8), Window(5, 8, 8), Window(8, 3, 8)):
        part = encoder.windowed(video, window)
        assert part.shape == (1, whole.shape[1], 2, 8, 8)
        assert (part - window.cut(whole)).abs().max() < 0.02 * whole.std()


def test_source_and_truth_lie_on_one_grid(encoder, g):
    scenes, window = refined_scenes(2, 5, 2, 2, "easy", g), Window(4, 0, 8)
    large = encoder.windowed(scenes.render(), window)
    source = source_of(encoder, encoder(small_of(scenes, 2).render()), 2, 2, window)
    assert source.shape == large.shape == (2, large.shape[1], 5, 8, 8)
    near = (source - large).square().mean()
    other = (source.flip(-1) - large).square().mean()
    assert near < 0.2 * other, "the same things are in the same places"


def test_what_is_given_comes_from_the_large_clip(encoder, g):
    scenes, window = refined_scenes(1, 3, 2, 2, "easy", g), Window(4, 0, 8)
    clip, mask = scenes.render(), torch.zeros(1, 1, 3, 8, 8)
    mask[:, :, 1, 2:6] = 1
    given = pixels_of(mask, window, 16, 8)
    assert given.shape == (1, 1, 9, 128, 128) and given.sum() == mask.sum() * 4 * 64
    assert given[0, 0, 1:5, 48:80, :64].all()
    small = encoder(small_of(scenes, 2).render())
    source = source_of(encoder, small, 2, 2, window, (clip, given))
    large = encoder.windowed(clip, window)
    assert torch.allclose(source[:, :, 1, 3:5, :7], large[:, :, 1, 3:5, :7], atol=1e-4)
    assert not torch.allclose(source[:, :, 2], large[:, :, 2], atol=1e-2)
    frame = torch.zeros(1, 1, 9, 1, 1, dtype=torch.bool)
    frame[:, :, 6] = True
    keyframe = source_of(encoder, small, 2, 2, window, (clip, frame))
    assert (keyframe - large)[:, :, 2].square().mean() < (source - large)[:, :, 2].square().mean()


def test_a_run_learns_and_is_the_same_again(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CELLS", 2 * 5 * 8 * 8)
    monkeypatch.setattr(training, "LENGTHS", {1: 0.3, 5: 0.7})
    settings = Settings(out=tmp_path, start=WEIGHTS / "mini.safetensors", weights=WEIGHTS, rows=8)

    def trained(run: RefinerRun) -> RefinerRun:
        while run.progress < 1:
            run.train_step(run.model)
        return run

    one, two = (trained(RefinerRun(settings, rank=0, world=1)) for _ in range(2))
    assert one.rows == two.rows >= 8 and set(one.smooth) <= {"video1", "video5"}
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name
    gates = [p for name, p in one.model.named_parameters() if "coarse_gate.weight" in name]
    assert gates and all(gate.any() for gate in gates), "they leave zero"
    one.keep()
    again = RefinerRun(settings, rank=0, world=1)
    assert again.resume() and again.rows == one.rows


def test_losses_name_the_length_and_every_choice_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CELLS", 64)
    run = RefinerRun(Settings(out=tmp_path, start=WEIGHTS / "mini.safetensors", weights=WEIGHTS), rank=0, world=1)
    monkeypatch.setattr(training, "LENGTHS", {1: 1.0})
    losses, rows = run.losses(run.model, torch.Generator().manual_seed(0), random.Random(0))
    assert list(losses) == ["video1"] and rows == 1 and torch.isfinite(losses["video1"])


def test_a_look_shows_what_is_gained(tmp_path, monkeypatch, base):
    monkeypatch.setattr(training, "PREVIEWED", 2)
    settings = Settings(out=tmp_path, start=WEIGHTS / "mini.safetensors", weights=WEIGHTS)
    run = RefinerRun(settings, rank=0, world=1)
    look = training.Look(settings, steps=1)
    look.scenes = replace(look.scenes, frames=33)
    image, figures = look(run.average)
    assert image.size == (9 * 128, 6 * 128) and set(figures) == {"plain", "refined", "ceiling"}
    assert figures["plain"] < figures["ceiling"]
