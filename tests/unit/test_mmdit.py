"""The whole network: positions, conditions, per-token timesteps, sizes from a checkpoint, gradients, errors."""

import dataclasses

import pytest
import torch

from models import rope
from models.config import ArchitectureError, MMDiTConfig
from models.mmdit import MMDiT

C, CA, TEXT_DIM = 3, 5, 12
PLAIN = MMDiTConfig(
    video_channels=C,
    audio_channels=CA,
    text_dim=TEXT_DIM,
    pooled_dim=0,
    dim=32,
    heads=2,
    dual_blocks=1,
    single_blocks=1,
    mlp_ratio=2.0,
    rope_axes=(8, 4, 4),
)
MINI = dataclasses.replace(
    PLAIN, pooled_dim=6, audio_patch=2, stem_channels=8, head_blocks=1, preconditioned=True, rope_axes=(4, 6, 6)
)
CONFIGS = {"plain": PLAIN, "mini": MINI, "paper audio positions": dataclasses.replace(PLAIN, audio_rope_scale=21 / 218)}


def build(config, seed=0):
    """A network whose zero-initialised layers are random too, so that nothing is hidden."""
    g = torch.Generator().manual_seed(seed)
    model = MMDiT(config).init_weights(g)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g) * 0.05)
        model.black_latent.copy_(torch.randn(model.black_latent.shape, generator=g))
    return model


@pytest.fixture(params=CONFIGS, ids=str)
def model(request):
    return build(CONFIGS[request.param])


def inputs(model, batch=2, frames=3, height=4, width=6, latents=7, seed=1):
    g = torch.Generator().manual_seed(seed)
    pooled = torch.randn(batch, model.config.pooled_dim, generator=g) if model.config.pooled_dim else None
    return dict(
        video=torch.randn(batch, C, frames, height, width, generator=g),
        audio=torch.randn(batch, CA, latents, generator=g),
        timestep=torch.rand(batch, generator=g) * 1000,
        text=torch.randn(batch, 4, TEXT_DIM, generator=g),
        pooled=pooled,
    )


def assert_same(got, want):
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, atol=2e-5, rtol=2e-5)


def changed(got, want):
    return [float((g - w).detach().abs().max()) > 1e-4 for g, w in zip(got, want, strict=True)]


def test_velocities_have_the_shapes_of_the_latents(model):
    x = inputs(model)
    video, audio = model(**x)
    assert video.shape == x["video"].shape and audio.shape == x["audio"].shape
    assert video.isfinite().all() and audio.isfinite().all()


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (2, 5, 3, 9)])
def test_sizes_that_are_no_multiple_of_the_patch(model, size):
    frames, height, width, latents = size
    x = inputs(model, frames=frames, height=height, width=width, latents=latents)
    video, audio = model(**x)
    assert video.shape == x["video"].shape and audio.shape == x["audio"].shape


def test_rows_of_a_batch_do_not_mix(model):
    x = inputs(model)
    both = model(**x)
    alone = model(**{k: v[1:] if v is not None else None for k, v in x.items()})
    assert_same([y[1:] for y in both], alone)


def test_each_stream_hears_and_sees_the_other(model):
    x = inputs(model)
    base = model(**x)
    assert changed(model(**{**x, "audio": x["audio"] + 1}), base) == [True, True]
    assert changed(model(**{**x, "video": x["video"] + 1}), base) == [True, True]
    assert changed(model(**{**x, "text": x["text"].flip(0)}), base) == [True, True]


def test_one_branch_alone(model):
    x = inputs(model)
    no_video, audio = model(**{**x, "video": None})
    video, no_audio = model(**{**x, "audio": None})
    assert no_video is None and no_audio is None
    assert audio.shape == x["audio"].shape and video.shape == x["video"].shape
    with pytest.raises(ValueError, match="neither"):
        model(**{**x, "video": None, "audio": None})


def test_one_timestep_equals_the_same_timestep_for_every_token(model):
    x = inputs(model)
    t = x["timestep"]
    tokens = -(-7 // model.config.audio_patch)
    spelled = dict(timestep=t.view(2, 1, 1, 1).expand(2, 3, 2, 3), audio_timestep=t.view(2, 1).expand(2, tokens))
    assert_same(model(**{**x, **spelled}), model(**x))
    by_frame = dict(timestep=t.view(2, 1, 1, 1).expand(2, 3, 1, 1), audio_timestep=t)
    assert_same(model(**{**x, **by_frame}), model(**x))


def test_a_single_tokens_timestep_matters(model):
    x = inputs(model)
    t = torch.full((2, 3, 2, 3), 500.0)
    other = t.clone()
    other[:, 1, 0, 2] = 100.0
    spelled = {**x, "audio_timestep": torch.full((2,), 500.0)}
    assert any(changed(model(**{**spelled, "timestep": other}), model(**{**spelled, "timestep": t})))


def test_only_given_cells_of_the_condition_are_read(model):
    x = inputs(model)
    mask = torch.zeros(2, 1, 3, 4, 6)
    mask[:, :, 0] = 1
    condition = torch.randn(x["video"].shape, generator=torch.Generator().manual_seed(3))
    elsewhere = torch.where(mask > 0, condition, condition + 5)
    given = model(**x, condition=condition, mask=mask)
    assert_same(model(**x, condition=elsewhere, mask=mask), given)
    assert changed(model(**x, condition=condition + 1, mask=mask), given)[0]
    assert changed(given, model(**x))[0]


def test_nothing_given_is_an_empty_mask_over_black(model):
    """Eq. 7: frames that are not conditions are black, M = 0."""
    x = inputs(model)
    empty = dict(condition=torch.zeros_like(x["video"]), mask=torch.zeros(2, 1, 3, 4, 6))
    assert_same(model(**x, **empty), model(**x))
    base = model(**x)
    with torch.no_grad():
        model.black_latent.add_(1)
    assert changed(model(**x), base)[0]


def test_context_reaches_both_streams_and_its_time_matters(model):
    x = inputs(model)
    g = torch.Generator().manual_seed(4)
    patch = torch.randn(2, C, 1, 4, 6, generator=g)
    base, at_one = model(**x), model(**x, video_context=[(patch, [1.0])])
    assert changed(at_one, base) == [True, True]
    assert changed(model(**x, video_context=[(patch, [1.25])]), at_one)[0]
    assert changed(model(**x, video_context=[(patch, [-1.0])]), at_one)[0]
    voice = torch.randn(2, CA, 4, generator=g)
    assert changed(model(**x, audio_context=[(voice, [-4.0, -3.0, -2.0, -1.0])]), base) == [True, True]


def test_the_order_of_contexts_is_irrelevant_their_times_are_not(model):
    x = inputs(model)
    a, b = torch.randn(2, 2, C, 1, 4, 6, generator=torch.Generator().manual_seed(5))
    one = model(**x, video_context=[(a, [-2.0]), (b, [-1.0])])
    assert_same(model(**x, video_context=[(b, [-1.0]), (a, [-2.0])]), one)
    assert changed(model(**x, video_context=[(a, [-1.0]), (b, [-2.0])]), one)[0]


def test_references_of_another_size(model):
    x = inputs(model)
    reference = torch.randn(1, C, 2, 2, 2, generator=torch.Generator().manual_seed(6))
    video, _ = model(**x, video_context=[(reference, [-2.0, -1.0])])
    assert video.shape == x["video"].shape


def test_frame_rate_places_the_sound():
    for name, moves in (("plain", True), ("paper audio positions", False)):
        model = build(CONFIGS[name])
        x = inputs(model)
        assert any(changed(model(**x, frame_rate=24.0), model(**x, frame_rate=16.0))) is moves


def test_paper_positions_scale_the_token_index():
    model = build(CONFIGS["paper audio positions"])
    times = model.audio_times(218, frame_rate=16.0)
    torch.testing.assert_close(times, torch.arange(218) * 21 / 218)
    aligned = build(PLAIN).audio_times(218, frame_rate=16.0)
    assert float(times[-1] - aligned[-1]) == pytest.approx(0.75, abs=0.2)  # the paper's scale drifts by the end


def test_preconditioning_is_the_best_linear_guess():
    """With a raw output of zero the velocity must equal the regression of noise - x0 on x for unit-variance data."""
    model = build(MINI)
    with torch.no_grad():
        for layer in (model.video_out.project, model.audio_out):
            layer.weight.zero_(), layer.bias.zero_()
    x = inputs(model)
    sigma = x["timestep"] / 1000
    slope = (2 * sigma - 1) / (sigma**2 + (1 - sigma) ** 2)
    video, audio = model(**x)
    torch.testing.assert_close(video, slope.view(2, 1, 1, 1, 1) * x["video"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(audio, slope.view(2, 1, 1) * x["audio"], atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter(model):
    x = inputs(model)
    g = torch.Generator().manual_seed(8)
    context = [(torch.randn(2, C, 1, 4, 6, generator=g), [0.25])]
    voice = [(torch.randn(2, CA, 2, generator=g), [-2.0, -1.0])]
    video, audio = model(**x, video_context=context, audio_context=voice)
    (video.square().sum() + audio.square().sum()).backward()
    # The last single block's text tokens go nowhere, but share their parameters with tokens that do.
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


def test_a_fresh_network_starts_with_silent_cross_attentions():
    model = MMDiT(MINI).init_weights(torch.Generator().manual_seed(0))
    for block in [*model.dual_blocks, *model.single_blocks]:
        for name in ("text_to_video", "video_to_audio", "audio_to_video"):
            assert not getattr(block, name).out.weight.any()


def test_hooks_see_every_block_and_the_kernel_is_exchangeable(model):
    x, seen, calls = inputs(model), [], []

    def run(index, block, streams):
        seen.append(index)
        return block(streams)

    def kernel(q, k, v):
        calls.append(q.shape)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    assert_same(model(**x, run_block=run, attention=kernel), model(**x))
    assert seen == [0, 1]
    assert len(calls) == 2 * 5  # per block: two self-attentions, text to video, and both ways between the streams


def sizes(config):
    """What a checkpoint's shapes can tell: all but the constants that its frequency buffers hold."""
    return dataclasses.replace(config, rope_theta=0, rope_time_scale=0, rope_space_scale=0)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_sizes_are_read_back_from_a_checkpoint(name, prefix):
    model = build(CONFIGS[name])
    sd = {prefix + k: v for k, v in model.state_dict().items()}
    config = MMDiTConfig.from_state_dict(sd, prefix)
    expected = sizes(CONFIGS[name])
    if expected.audio_rope_scale is not None:
        assert config.audio_rope_scale == pytest.approx(expected.audio_rope_scale)
        config = dataclasses.replace(config, audio_rope_scale=expected.audio_rope_scale)
    assert sizes(config) == expected
    twin = MMDiT(config)
    twin.load_state_dict(model.state_dict())
    x = inputs(model)
    assert_same(twin(**x), model(**x))


@pytest.mark.parametrize(
    "drop, message",
    [
        ("video_latent_mean", "'video_latent_mean' is missing"),
        ("text_in.weight", "'text_in.weight' is missing"),
        ("audio_in.weight", "'audio_in.weight' is missing"),
        ("dual_blocks.0.video.media.attention.q_norm.weight", "q_norm.weight' is missing"),
    ],
)
def test_a_missing_tensor_is_named(drop, message):
    sd = build(PLAIN).state_dict()
    del sd[drop]
    with pytest.raises(ArchitectureError, match=message):
        MMDiTConfig.from_state_dict(sd)


def test_a_tensor_of_another_shape_is_named():
    sd = {**build(PLAIN).state_dict(), "text_in.weight": torch.zeros(4)}
    with pytest.raises(ArchitectureError, match=r"'text_in.weight' has shape \[4\], expected 2"):
        MMDiTConfig.from_state_dict(sd)
    sd = {**build(PLAIN).state_dict(), "time_frequencies": torch.zeros(7)}
    with pytest.raises(ArchitectureError, match="rope_axes"):
        MMDiTConfig.from_state_dict(sd)
    with pytest.raises(ArchitectureError, match="no block"):
        MMDiTConfig.from_state_dict({k: v for k, v in build(PLAIN).state_dict().items() if "_blocks" not in k})


def test_what_does_not_fit_is_said():
    model = build(MINI)
    x = inputs(model)
    with pytest.raises(ValueError, match="4 channels, this checkpoint takes 3"):
        model(**{**x, "video": torch.zeros(2, 4, 1, 4, 4)})
    with pytest.raises(ValueError, match="2 channels, this checkpoint takes 5"):
        model(**{**x, "audio": torch.zeros(2, 2, 4)})
    with pytest.raises(ValueError, match="pooled text embedding of width 6"):
        model(**{**x, "pooled": None})
    with pytest.raises(ValueError, match="together"):
        model(**x, mask=torch.zeros(2, 1, 3, 4, 6))
    with pytest.raises(ValueError, match="must fit the video latent"):
        model(**x, condition=torch.zeros(2, C, 1, 4, 6), mask=torch.zeros(2, 1, 1, 4, 6))
    with pytest.raises(ValueError, match="one time for each of its latent frames; got 2"):
        model(**x, video_context=[(torch.zeros(2, C, 1, 4, 6), [0.0, 1.0])])
    with pytest.raises(ValueError, match="one time for each latent; got 1"):
        model(**x, audio_context=[(torch.zeros(2, CA, 3), [0.0])])
    with pytest.raises(ValueError, match="not a multiple of heads"):
        dataclasses.replace(PLAIN, heads=3)
    with pytest.raises(ValueError, match="must be even"):
        dataclasses.replace(PLAIN, rope_axes=(6, 5, 5))


def test_positions_of_the_target_do_not_depend_on_contexts():
    place = rope.video_positions(torch.arange(2).float(), 1, 1)
    assert place[:, 0].tolist() == [0.0, 1.0]


def test_isolated_branches_do_not_see_each_other(model):
    x = inputs(model)
    other = {**x, "audio": x["audio"] + 1}
    assert_same(model(**x, cross_modal=False)[:1], model(**other, cross_modal=False)[:1])
    assert not torch.allclose(model(**x)[0], model(**other)[0]), "together they do"
    assert_same(model(**x, cross_modal=False)[1:], model(**{**x, "video": x["video"] + 1}, cross_modal=False)[1:])


def test_context_without_a_position_may_come_in_any_order(model):
    """Two frames without times are a set; with times they are a sequence."""
    x = inputs(model)
    frames = torch.randn(2, 1, C, 1, 4, 6, generator=torch.Generator().manual_seed(2))

    def run(order, times):
        return model(**x, video_context=[(frames[i], time) for i, time in zip(order, times, strict=True)])

    assert_same(run([0, 1], [None, None]), run([1, 0], [None, None]))
    assert not torch.allclose(run([0, 1], [[0.5], [1.0]])[0], run([1, 0], [[0.5], [1.0]])[0])
    assert not torch.allclose(run([0, 1], [[0.0], [0.0]])[0], run([0, 1], [None, None])[0])
