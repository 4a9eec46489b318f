"""What is measured of refined clips: the figures tell sharp from blurred, and new frames from means of two."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.quality.figures import mean
from benchmarks.quality.held_out import held_out_scenes
from benchmarks.quality.pipeline import REFINER_FILE, Codecs, Mini, Sampling
from benchmarks.quality.refine import WAYS, Way, _figures, _gains, away, interpolated, refine, refined, sharpness
from benchmarks.quality.setting import Setting
from models.refiner import upsampled
from training.refiner import refined_scenes, small_of

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import write_tiny_mini  # noqa: E402


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def scenes(g):
    return refined_scenes(3, 3, 2, 2, "easy", g)


@pytest.fixture(scope="module")
def refiner(tmp_path_factory):
    tiny = write_tiny_mini(tmp_path_factory.mktemp("weights"))
    return Mini.load(tiny.folder, tiny.folder / REFINER_FILE)


def test_steepness_is_lost_by_blur_and_not_gained_by_noise(scenes, g):
    truth = scenes.render()
    blurred = F.avg_pool3d(F.pad(truth, (1, 1, 1, 1, 0, 0), mode="replicate"), (1, 3, 3), 1)
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=g)
    assert np.allclose(sharpness(truth, truth), 1) and np.allclose(sharpness(truth * 0, truth), 0)
    assert (sharpness(blurred, truth) < 0.8).all() and np.allclose(sharpness(noisy, truth), 1, atol=0.1)


def test_interpolated_latents_keep_ends_and_centres():
    ramp = torch.arange(3.0).view(1, 1, 3, 1, 1).expand(1, 2, 3, 2, 2)
    made = interpolated(ramp, 2, 2)
    assert made.shape == (1, 2, 5, 4, 4) and torch.allclose(made[0, 0, :, 1, 1], torch.arange(5) / 2)
    row = interpolated(torch.arange(6.0).expand(1, 1, 1, 4, 6), 2, 1)[0, 0, 0, 2]
    assert torch.allclose(row[1:-1], torch.arange(10) / 2 + 0.25)


def test_means_of_two_gain_nothing_and_the_truth_gains_everywhere(scenes):
    truth, way = scenes.render(), Way(2, 2, keyframes=2)
    blended = upsampled(small_of(scenes, 2).render(), 2, 2).clamp(-1, 1)
    nothing = torch.zeros(3, 1, *truth.shape[2:])
    near = torch.lerp(truth, blended, 0.1)
    plain, better, best = (_figures(video, truth, scenes, way, nothing) for video in (blended, near, truth * 0.999))
    assert all(mean(value).value == 0 for name, value in _gains(plain, plain, plain).items())
    gains = _gains(better, plain, best)
    assert set(gains) == {"refined_gain", "sharper", "new_gain", "motion_gain", "keyframe_loss"}
    assert all((value > 0).all() for value in gains.values()), "and it is below the best at keyframes"
    assert (_gains(plain, better, best)["motion_gain"] < 0).all()


def test_keyframes_are_evenly_spread_frames_of_the_small_clip():
    assert Way(2, 2, keyframes=3).keyframes_of(33) == [0, 16, 32] and Way(2, 1, keyframes=2).keyframes_of(17) == [0, 16]


def test_the_object_is_looked_for_on_new_frames(scenes):
    truth = scenes.render()
    assert (away(truth[:, :, 1::2], scenes) < 0.5).all()
    assert (away(truth[:, :, 1::2].roll(8, -1), scenes) > 2).all()


def test_clips_do_not_depend_on_their_batch_and_given_parts_are_theirs(refiner, g):
    scenes = refined_scenes(2, 3, 2, 2, "easy", g)
    way = Way(2, 2, given=True)
    both = refined(refiner, scenes, way, first=0, seed=0)
    alone = refined(refiner, scenes.select(torch.arange(1, 2), scenes.frames), Way(2, 2), first=1, seed=0)
    assert both.truth.shape == both.refined.shape == both.codec.shape == (2, 3, 9, 128, 128)
    assert both.given.shape == (2, 1, 3, 16, 16) and 0 < both.given.mean() < 1 and not alone.given.any()
    plain = refined(refiner, scenes, Way(2, 2), first=0, seed=0)
    torch.testing.assert_close(plain.refined[1:], alone.refined, rtol=0, atol=1e-3)
    keyed = refined(refiner, scenes, Way(2, 2, keyframes=1), first=0, seed=0)
    assert not torch.allclose(keyed.refined, plain.refined, atol=1e-2)


def test_the_task_measures_every_set(refiner, monkeypatch):
    monkeypatch.setattr("benchmarks.quality.refine.LARGE", 2)
    codecs = Codecs.__new__(Codecs)
    setting = Setting(codecs, None, held_out_scenes(2, frames=5), Sampling(), refiner=refiner, refiner_steps=1)
    with torch.inference_mode():
        result = refine(setting)
    assert {key.rpartition("/")[0] for key in result.figures} == set(WAYS)
    assert result.ceiling.keys() == result.figures.keys()
    assert [comparison.title for comparison in result.comparisons] == [f"{name} (2 clips)" for name in WAYS]
    assert result.settings == {"steps": 1, "guidance": 1.0} and result.picture is not None
    with pytest.raises(ValueError, match="give it the Refiner"):
        refine(Setting(codecs, None, held_out_scenes(2, frames=5), Sampling()))
