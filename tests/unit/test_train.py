"""The trainer on the real world, at a few clips: a stopped run goes on as if it had not stopped."""

import itertools
from pathlib import Path

import pytest
import torch

from training import train as training
from training.data import cache_path, encode_clips, load_or_encode, zero_padded_patch
from training.train import Settings, Trainer

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def steady_clock(monkeypatch):
    """Every step takes one second, so that the learning rate of a step is always the same."""
    monkeypatch.setattr(training.time, "perf_counter", itertools.count().__next__)
    monkeypatch.setattr(training, "ROWS", {frames: 2 for frames in training.ROWS})


def trainer(out, cache):
    out.mkdir(exist_ok=True)
    return Trainer(Settings(out=out, minutes=0.1, clips=64, cache=cache, weights=WEIGHTS), rank=0, world=1)


def run(t, steps):
    for _ in range(steps):
        t.agree_on_clock()
        t.train_step(t.model)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, cache):
    whole = trainer(tmp_path / "whole", cache)
    run(whole, 4)
    first = trainer(tmp_path / "parts", cache)
    run(first, 2)
    first.save()
    second = trainer(tmp_path / "parts", cache)
    assert second.resume()
    assert second.step == 2 and second.rows == first.rows
    run(second, 2)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name
    assert not trainer(tmp_path / "other", cache).resume()


def test_every_kind_of_batch_trains(tmp_path, cache, monkeypatch):
    t = trainer(tmp_path / "kinds", cache)
    before = [p.clone() for p in t.model.parameters()]
    for frames in training.ROWS:
        monkeypatch.setattr(training, "STAGES", ((1.0, {frames: 1.0}),))
        monkeypatch.setattr(training, "PATCH_SHARE", 1.0)
        run(t, 1)
    assert set(t.smooth) == {"audio0", "video1", "audio1", "video3", "audio3", "video5", "audio5", "video9", "audio9"}
    assert all(0 < loss < 10 for loss in t.smooth.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, t.model.parameters(), strict=True))


def test_the_networks_latents_have_unit_variance(tmp_path, cache):
    t = trainer(tmp_path / "unit", cache)
    data, m = t.clips.tensors, t.model
    video = training.normalise(data["video"], m.video_latent_mean, m.video_latent_std)
    audio = training.normalise(data["audio"], m.audio_latent_mean, m.audio_latent_std)
    for latent in (video, audio):
        assert float(latent.square().mean().sqrt()) == pytest.approx(1, abs=0.02)
    strongest = video.std((0, 2, 3, 4))
    assert strongest[0] > 2 * strongest[-1], "the codec's order of importance is kept"
    assert m.black_latent.abs().max() > 0.1


def test_learning_rate_warms_up_holds_and_falls(tmp_path, cache):
    t = trainer(tmp_path / "rate", cache)
    rates = []
    for step, clock in ((0, 0), (60, 1), (60, 0.4 * 6), (60, 0.75 * 6), (60, 6)):
        t.step, t.clock = step, clock
        rates.append(t.learning_rate())
    assert rates[0] < 0.05 and rates[1] == rates[2] == 1 and 0.02 < rates[3] < 1
    assert rates[4] == pytest.approx(training.LAST_RATE)


def test_the_cache_is_made_once_and_named_by_what_it_holds(tmp_path, cache):
    what = dict(clips=64, frames=5, level="easy", seed=3)
    one = load_or_encode(tmp_path, WEIGHTS, **what)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    two = load_or_encode(tmp_path, WEIGHTS, **what)
    assert path.stat().st_mtime_ns == stamp and len(two) == 64
    assert torch.equal(one.tensors["video"], two.tensors["video"])
    assert one.scenes.attributes(7) == two.scenes.attributes(7)
    assert cache_path(tmp_path, WEIGHTS, **{**what, "seed": 4}) != path


def test_a_patch_is_a_rectangle_on_mid_grey():
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        patch = zero_padded_patch(torch.ones(2, 3, 1, 64, 48), g)
        kept = patch[0, 0, 0] == 1
        rows, columns = kept.any(1), kept.any(0)
        assert torch.equal(kept, rows[:, None] & columns[None])
        assert 13 <= int(rows.sum()) <= 64 and 10 <= int(columns.sum()) <= 48


def test_an_interrupted_encoding_leaves_no_cache(tmp_path, monkeypatch):
    path = tmp_path / "clips.safetensors"
    monkeypatch.setattr("training.data.save_file", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    from models.audio_vae import load_audio_vae
    from models.video_vae import load_video_vae

    with pytest.raises(OSError, match="disk full"):
        encode_clips(
            path,
            load_video_vae(WEIGHTS / "mini_video_vae.safetensors"),
            load_audio_vae(WEIGHTS / "mini_audio_vae.safetensors"),
            clips=64,
            frames=5,
            level="easy",
            seed=0,
            report=None,
        )
    assert not path.exists()
