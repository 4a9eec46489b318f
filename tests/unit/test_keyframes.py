"""Keyframes: pictures of more pixels that the base makes together with the video (SkyReels-V4 sec. 4.5)."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from models import rope
from models.config import MMDiTConfig
from models.mmdit import Keyframes, MMDiT
from training.sampling import sample_euler, simple_sigmas

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import MODEL_CONFIG  # noqa: E402

CONFIG = replace(
    MODEL_CONFIG, video_channels=3, audio_channels=2, text_dim=8, pooled_dim=8, dual_blocks=1, keyframes=True
)


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def model(g):
    made = MMDiT(CONFIG).init_weights(g).eval()
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=g)
    return made


@pytest.fixture
def run(model, g):
    video, audio = torch.randn(2, 3, 5, 8, 6, generator=g), torch.randn(2, 2, 9, generator=g)
    text, pooled = torch.randn(2, 6, 8, generator=g), torch.randn(2, 8, generator=g)

    def forward(keyframes=None, network=model, **more):
        with torch.no_grad():
            return network(video, audio, torch.tensor([300.0, 700.0]), text, pooled=pooled, keyframes=keyframes, **more)

    return forward


def some(g, count=2, height=16, width=12, times=(1.0, 2.5)):
    latent = torch.randn(2, 3, count, height, width, generator=g)
    return Keyframes(latent, list(times)[:count], torch.tensor([300.0, 700.0]))


def test_velocities_have_the_sizes_of_what_is_made(run, g):
    video, audio, keyframes = run(some(g))
    assert video.shape == (2, 3, 5, 8, 6) and audio.shape == (2, 2, 9) and keyframes.shape == (2, 3, 2, 16, 12)
    assert len(run()) == 2, "without keyframes there is no third"
    odd = run(some(g, 1, 15, 11))
    assert odd[2].shape == (2, 3, 1, 15, 11)


def test_keyframes_and_video_see_each_other(run, g):
    one, other = some(g), some(g)
    assert not torch.allclose(run(one)[0], run(other)[0]) and not torch.allclose(run(one)[0], run()[0])
    changed = one._replace(latent=torch.cat([one.latent[:, :, :1], other.latent[:, :, 1:]], 2))
    assert not torch.allclose(run(one)[2][:, :, 0], run(changed)[2][:, :, 0]), "and one another"


def test_their_order_does_not_matter(run, g):
    keyframes = some(g)
    swapped = Keyframes(keyframes.latent.flip(2), keyframes.times[::-1], keyframes.timestep)
    for straight, turned in zip(run(keyframes), run(swapped), strict=True):
        turned = turned.flip(2) if turned.shape == keyframes.latent.shape else turned
        assert torch.allclose(straight, turned, atol=1e-5)


def test_their_times_count(run, g):
    keyframes = some(g)
    assert not torch.allclose(run(keyframes)[2], run(keyframes._replace(times=[1.0, 3.0]))[2], atol=1e-4)


def test_each_may_have_a_noise_level_of_its_own(run, g):
    keyframes = some(g)
    each = keyframes._replace(timestep=torch.tensor([[300.0, 300.0], [700.0, 700.0]]))
    assert torch.equal(run(each)[2], run(keyframes)[2])
    given = keyframes._replace(timestep=torch.tensor([[0.0, 300.0], [0.0, 700.0]]))
    assert not torch.allclose(run(given)[2][:, :, 1], run(keyframes)[2][:, :, 1], atol=1e-4)


def test_tokens_lie_where_the_video_has_the_same_place(model, run, g, monkeypatch):
    """Twice the rows and columns: the middles of two neighbours lie a quarter token beside the one that they fill."""
    seen = []
    angles_3d = rope.angles_3d
    monkeypatch.setattr(rope, "angles_3d", lambda place, *more: seen.append(place) or angles_3d(place, *more))
    run(some(g, 1, 16, 12, times=(2.5,)))
    (place,) = seen
    keyframe, video = place[: 8 * 6], place[8 * 6 :]
    assert set(keyframe[:, 0].tolist()) == {2.5} and len(video) == 5 * 4 * 3
    assert sorted(set(keyframe[:, 1].tolist())) == [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]
    middle = keyframe[:, 1:].view(4, 2, 3, 2, 2).mean((1, 3))
    assert torch.allclose(middle, video[: 4 * 3, 1:].view(4, 3, 2), atol=1e-6)


def test_a_checkpoint_says_whether_it_makes_keyframes(model, run, g):
    assert MMDiTConfig.from_state_dict(model.state_dict()).keyframes
    plain = MMDiT(replace(CONFIG, keyframes=False))
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if name != "keyframe_marker"})
    for ours, theirs in zip(run(), run(network=plain.eval()), strict=True):
        assert torch.equal(ours, theirs), "the marker is for keyframes alone"
    with pytest.raises(ValueError, match="was not trained to make keyframes"):
        run(some(g), network=plain)


def test_keyframes_that_do_not_fit_are_refused(model, run, g):
    with pytest.raises(ValueError, match=r"keyframes \[2, 3, 2, 16, 12\] at 1 times do not fit"):
        run(some(g)._replace(times=[1.0]))
    with pytest.raises(ValueError, match="give its latent too"):
        model(
            None,
            torch.zeros(1, 2, 8),
            torch.zeros(1),
            torch.zeros(1, 2, 8),
            pooled=torch.zeros(1, 8),
            keyframes=some(g),
        )


def test_a_sampler_makes_them_with_the_clip(model, g):
    """Third stream of the plain sampler: the same steps as the others; with guidance 1 one pass a step."""
    video, audio = torch.randn(2, 3, 5, 8, 6, generator=g), torch.randn(2, 2, 9, generator=g)
    words, empty = ((torch.randn(2, 6, 8, generator=g), torch.randn(2, 8, generator=g)) for _ in range(2))
    pictures, times = torch.randn(2, 3, 2, 16, 12, generator=g), [0.0, 2.5]
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    made = sample_euler(model, video, audio, words, empty, steps=2, guidance=1.0, keyframes=(pictures, times))
    assert len(calls) == 2 and [x.shape for x in made] == [video.shape, audio.shape, pictures.shape]
    handle.remove()
    streams = [video, audio, pictures]
    for sigma, following in pairwise(simple_sigmas(2, 2.0).tolist()):
        level = torch.full((2,), 1000 * sigma)
        with torch.no_grad():
            velocities = model(
                *streams[:2], level, words[0], pooled=words[1], keyframes=Keyframes(streams[2], times, level)
            )
        streams = [x + (following - sigma) * v for x, v in zip(streams, velocities, strict=True)]
    for ours, theirs in zip(made, streams, strict=True):
        torch.testing.assert_close(ours, theirs)
    guided = sample_euler(model, video, audio, words, empty, steps=2, keyframes=(pictures, times))
    assert not torch.allclose(guided[2], made[2])
    assert len(sample_euler(model, video, audio, words, empty, steps=1)) == 2
