"""Noise levels, masks and the flow-matching loss."""

from dataclasses import fields

import pytest
import torch

from models.config import MMDiTConfig
from models.mmdit import MMDiT
from training import objective
from training.objective import (
    AROUND_EDIT,
    GIVEN,
    KEYFRAME_GIVEN,
    ROUTES,
    SOUND_GIVEN,
    given_mask,
    given_sound,
    latents_of,
    sample_noising,
    wave_sigma,
    weighted_error,
    whole_cells,
)
from training.sampling import sample_euler, simple_sigmas
from training.stages import EDIT_GIVEN

CONFIG = MMDiTConfig(
    video_channels=2,
    audio_channels=3,
    text_dim=4,
    pooled_dim=4,
    dim=16,
    heads=1,
    dual_blocks=1,
    single_blocks=0,
    audio_patch=2,
    rope_axes=(4, 6, 6),
    keyframes=True,
)


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def model(g):
    return MMDiT(CONFIG).init_weights(g)


def kinds(name, rows):
    return torch.full((rows,), list(GIVEN).index(name))


def test_given_masks(g):
    mask = {name: given_mask(kinds(name, 64), 5, 8, 8, g)[:, 0] for name in GIVEN}
    assert not mask["nothing"].any()
    assert mask["first"][:, 0].all() and not mask["first"][:, 1:].any()
    assert mask["ends"][:, [0, 4]].all() and not mask["ends"][:, 1:4].any()
    prefix = mask["prefix"].flatten(2).float().mean(-1)  # whole frames, from the start on, never all of them
    assert ((prefix == 0) | (prefix == 1)).all() and (prefix.diff(dim=1) <= 0).all()
    assert set(prefix.sum(1).tolist()) == {1.0, 2.0, 3.0, 4.0}
    box = mask["outside a box"]
    assert (box == box[:, :1]).all(), "the box stays where it is"
    assert (box.flatten(1).min(1)[0] == 0).all(), "something is made anew in every row"
    assert torch.equal(mask["inside a box"], mask["inside a box"][:, :1].expand(-1, 5, -1, -1))
    moving = mask["outside a moving box"]
    assert (moving != moving[:, :1]).any(), "some boxes move"
    for picture in [*(1 - box[:, 0]), *mask["inside a box"][:, 0], *(1 - moving.flatten(0, 1))]:
        rows, columns = picture.amax(1), picture.amax(0)
        assert torch.equal(picture, rows[:, None] * columns[None])
    some = mask["some frames"].flatten(2)
    assert torch.equal(some.amin(2), some.amax(2)), "whole frames"
    assert (some.amin((1, 2)) == 0).all() and len(some[:, :, 0].unique(dim=0)) > 10


def test_whole_cells(g):
    given = torch.ones(2, 9, 16, 24, dtype=torch.bool)
    given[0, 0, 3, 3] = given[1, 6, 15, 23] = False
    cells = whole_cells(given, 8)
    assert cells.shape == (2, 1, 3, 2, 3)
    assert (cells == 0).nonzero().tolist() == [[0, 0, 0, 0, 0], [1, 0, 2, 1, 2]]
    assert torch.equal(whole_cells(given[:, :1], 8), cells[:, :, :1]), "a picture alone"


def test_the_mask_around_an_edit_is_the_one_handed_over(model, g):
    unedited = (torch.rand(3, 1, 5, 8, 8, generator=g) < 0.5).float()
    only = {AROUND_EDIT: 1.0}
    for _ in range(8):
        noising, route = sample_noising(3, 5, 8, 8, 10, model, g, only, unedited)
        shown = route != ROUTES.index("clean")
        foley = (noising.sigma == 0).flatten(1).all(1)  # the whole picture is given instead
        rows = shown & ~foley
        assert torch.equal(noising.mask[rows], unedited[rows]) and not noising.mask[~shown].any()
    with pytest.raises(ValueError, match="give `unedited`"):
        sample_noising(3, 5, 8, 8, 10, model, g, only)


def test_given_sound(g):
    given = given_sound(4000, 23, g)
    whole, nothing = given.all(1), ~given.any(1)
    assert abs(float(whole.float().mean()) - SOUND_GIVEN["all"]) < 0.02
    assert abs(float(nothing.float().mean()) - SOUND_GIVEN["nothing"]) < 0.02
    rest = given[~whole & ~nothing]
    assert rest[:, 0].all(), "the beginning is always given"
    changes = rest.int().diff(dim=1).abs().sum(1)
    assert set(changes.tolist()) == {1, 2}, "a beginning, or all but one span"


def test_clean_tokens_are_wholly_given(g, model):
    """In a row with a box: timestep 0 where all four cells of a token are given, the row's sigma elsewhere; but cells
    that are given are clean in every token, as they are when a sampler keeps them."""
    noising, route = sample_noising(2048, 5, 8, 8, 46, model, g)
    rows = 0
    for sigma, cells, mask, way in zip(noising.sigma, noising.cells[:, 0], noising.mask[:, 0], route, strict=True):
        boxed = mask.flatten(1).mean(1)
        one_sigma = len(sigma[sigma > 0].unique()) == 1 and (sigma.flatten(1).amax(1) > 0).all()
        if 0 < boxed[0] < 1 and one_sigma:
            given = mask.unflatten(1, (4, 2)).unflatten(3, (4, 2)).amin((2, 4)).bool()
            assert torch.equal(sigma == 0, given & (way == ROUTES.index("both")))
            assert torch.equal(cells == 0, mask.bool() & (way == ROUTES.index("both")))
            rows += 1
    assert rows > 10


def test_about_half_of_the_rows_share_one_sigma(g, model):
    noising, _ = sample_noising(4000, 5, 8, 8, 46, model, g)
    free = noising.sigma[:, -1, 0, 0]
    together = (noising.audio_sigma[:, 0] == free) & (noising.audio_sigma[:, 0] == noising.audio_sigma[:, -1])
    assert 0.4 < together.float().mean() < 0.6


def test_what_is_given_can_be_chosen(g, model):
    """Of an effect the first frame is, in every row but those that hear a whole film (foley)."""
    noising, route = sample_noising(512, 5, 8, 8, 46, model, g, {"first": 1.0})
    foley = (noising.sigma == 0).flatten(1).all(1)
    assert 0.05 < foley.float().mean() < 0.15
    assert not noising.mask[foley].any()
    for way, clean, shown in (("channels", False, True), ("clean", True, False), ("both", True, True)):
        rows = ~foley & (route == ROUTES.index(way))
        assert (noising.mask[rows][:, :, 0] == shown).all() and not noising.mask[rows][:, :, 1:].any()
        assert not clean or not noising.cells[rows][:, :, 0].any()
    nothing, _ = sample_noising(64, 5, 8, 8, 46, model, g, {"nothing": 1.0})
    assert not nothing.mask.any()


def test_edits_have_few_masks(g, model):
    around = torch.ones(4000, 1, 5, 8, 8)
    noising, route = sample_noising(4000, 5, 8, 8, 46, model, g, EDIT_GIVEN, around)
    shown = noising.mask[route != ROUTES.index("clean")].flatten(2).mean(2)  # [rows, T]
    foley = 0.1
    assert abs(float((shown.sum(1) == 0).float().mean()) - (1 - (1 - EDIT_GIVEN["nothing"]) * (1 - foley))) < 0.02
    usual, route = sample_noising(4000, 5, 8, 8, 46, model, g)
    usual = usual.mask[route != ROUTES.index("clean")].flatten(1)
    assert (usual.sum(1) == 0).float().mean() < 0.65


def test_keyframes_are_as_noisy_as_a_clip_of_one_sigma(g, model):
    """Of a clip that is given, they are as noisy as the sound; elsewhere they have a level of their own."""
    noising, _ = sample_noising(4000, 5, 8, 8, 46, model, g, {"nothing": 1.0}, keyframes=3)
    sigma, clip = noising.keyframe_sigma, noising.sigma[:, :, 0, 0]
    assert sigma.shape == (4000, 3) and sigma.amax() < 1
    given = sigma == 0
    assert abs(float(given.float().mean()) - KEYFRAME_GIVEN) < 0.02
    own = sigma.amax(1, keepdim=True)
    assert torch.equal(sigma, own.expand(-1, 3).masked_fill(given, 0))
    rows = ~given.all(1)
    foley = (clip == 0).all(1)
    together = (clip == clip[:, :1]).all(1) & ~foley
    assert torch.equal((own == clip).all(1)[rows], together[rows]) and 0.4 < together.float().mean() < 0.6
    assert torch.equal(own[rows & foley], noising.audio_sigma[rows & foley, :1]) and foley.any()
    apart = rows & ~foley & ~together
    assert not (own == clip)[apart].any() and own[apart].std() > 0.1


def test_keyframes_leave_the_other_noise_as_it_is(model):
    with_them, without = (
        sample_noising(64, 5, 8, 8, 46, model, torch.Generator().manual_seed(3), keyframes=count) for count in (2, 0)
    )
    assert torch.equal(with_them[1], without[1]) and without[0].keyframe_sigma.shape == (64, 0)
    for field in fields(without[0])[:-1]:
        assert torch.equal(getattr(with_them[0], field.name), getattr(without[0], field.name)), field.name


def test_a_wave_runs_from_noise_to_data_earlier_frames_first():
    place = torch.arange(4).float()
    start, end = (wave_sigma(torch.tensor([[c]]), place, torch.tensor([[0.5]])) for c in (0.0, 2.5))
    assert (start == 1).all() and (end == 0).all()
    middle = wave_sigma(torch.tensor([[1.2]]), place, torch.tensor([[0.5]]))[0]
    assert (middle.diff() >= 0).all() and middle[0] < middle[-1]


def test_the_error_ignores_what_is_clean():
    target = torch.zeros(1, 1, 4)
    sigma = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])
    assert weighted_error(torch.tensor([[[9.0, 9.0, 0.0, 0.0]]]), target, sigma) == 0
    # weights s^2 + (1 - s)^2: one half at 0.5, one at 1
    assert float(weighted_error(torch.ones(1, 1, 4), target, sigma)) == pytest.approx((0.5 + 1.0) / 2)


def test_the_target_is_noise_minus_data(g, model, monkeypatch):
    """A network that knows the answer has no loss; the sign is ComfyUI's (eq. 6 of the paper, negated)."""
    video, audio = torch.randn(4, 2, 3, 4, 4, generator=g), torch.randn(4, 3, 10, generator=g)

    class Oracle(torch.nn.Module):
        config = CONFIG

        def forward(self, noisy, noisy_audio, timestep, text, *, audio_timestep, **_):
            sigma = (timestep / 1000).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, None]
            audio_sigma = (audio_timestep / 1000).repeat_interleave(2, 1)[:, None]
            return (noisy - video) / sigma.clamp(min=1e-6), (noisy_audio - audio) / audio_sigma.clamp(min=1e-6)

    losses = objective.flow_matching_loss(Oracle(), video, audio, torch.zeros(4, 1, 4), torch.zeros(4, 4), generator=g)
    assert all(float(loss) < 1e-6 for loss in losses)


def test_the_target_of_keyframes_is_noise_minus_data(g):
    """The network gets them noisy, at their times; those that are given, clean and with timestep 0."""
    video, audio = torch.randn(64, 2, 3, 4, 4, generator=g), torch.randn(64, 3, 10, generator=g)
    clean = torch.randn(64, 2, 3, 8, 8, generator=g)
    seen = []

    class Oracle(torch.nn.Module):
        config = CONFIG

        def forward(self, noisy, noisy_audio, timestep, text, *, keyframes, **_):
            seen.append(keyframes)
            sigma = (keyframes.timestep / 1000)[:, None, :, None, None]
            velocity = (keyframes.latent - clean) / sigma.clamp(min=1e-6)
            return torch.zeros_like(noisy), torch.zeros_like(noisy_audio), velocity

    losses = objective.flow_matching_loss(
        Oracle(), video, audio, torch.zeros(64, 1, 4), torch.zeros(64, 4), keyframes=(clean, [0.25, 1, 2]), generator=g
    )
    assert losses[2] < 1e-6 and all(loss > 0.1 for loss in losses[:2])
    (keyframes,) = seen
    given = keyframes.timestep == 0
    assert keyframes.times == [0.25, 1, 2] and 0 < given.float().mean() < 0.4
    same = (keyframes.latent == clean).all(4).all(3).all(1)
    assert torch.equal(same, given)


def test_the_loss_of_keyframes_reaches_the_network(g, model):
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=g)
    video, audio = torch.randn(8, 2, 3, 4, 4, generator=g), torch.randn(8, 3, 11, generator=g)
    text, pooled = torch.randn(8, 2, 4, generator=g), torch.randn(8, 4, generator=g)
    keyframes = (torch.randn(8, 2, 2, 8, 8, generator=g), [0.5, 2.0])
    losses = objective.flow_matching_loss(model, video, audio, text, pooled, keyframes=keyframes, generator=g)
    assert len(losses) == 3 and all(loss.isfinite() and loss > 0 for loss in losses)
    losses[2].backward()
    assert float(model.keyframe_marker.grad.abs().max()) > 0
    with pytest.raises(ValueError, match="give its latent too"):
        objective.flow_matching_loss(model, None, audio, text, pooled, keyframes=keyframes, generator=g)


def test_loss_is_finite_and_reaches_the_network(g, model):
    video, audio = torch.randn(8, 2, 3, 4, 4, generator=g), torch.randn(8, 3, 11, generator=g)
    text, pooled = torch.randn(8, 2, 4, generator=g), torch.randn(8, 4, generator=g)
    patch = [(torch.randn(8, 2, 1, 4, 4, generator=g), [1.25])]
    loss = sum(objective.flow_matching_loss(model, video, audio, text, pooled, video_context=patch, generator=g))
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert float(model.dual_blocks[0].video.media.attention.qkv.weight.grad.abs().max()) >= 0
    assert float(model.video_out.project.weight.grad.abs().max()) > 0
    video_loss, audio_loss = objective.flow_matching_loss(model, None, audio, text, pooled, generator=g)
    assert video_loss == 0 and audio_loss > 0


def test_audio_latents_of_a_clip():
    assert [latents_of(t) for t in (1, 5, 9)] == [3, 46, 89]


def test_simple_schedule_runs_from_1_to_0():
    sigmas = simple_sigmas(10, shift=2.0)
    assert sigmas[0] == 1 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    # shift 2 keeps the schedule noisy for longer
    assert float(sigmas[5]) == pytest.approx(2 * 0.5 / (1 + 0.5), abs=1e-3)


def test_euler_follows_a_known_flow(g):
    """For v = x / sigma - x0 / sigma every path ends at x0, whatever the steps."""
    x0 = torch.randn(2, 3, 8, generator=g)

    def network(video, audio, timestep, text, pooled):
        return None, (audio - x0) / (timestep.view(-1, 1, 1) / 1000)

    text = (torch.zeros(2, 1, 4), torch.zeros(2, 4))
    _, audio = sample_euler(network, None, torch.randn(2, 3, 8, generator=g), text, text, steps=5)
    torch.testing.assert_close(audio, x0, atol=1e-4, rtol=1e-4)
