"""Rotary positions: relative, float, and a sound shares its place with the frame that shows it."""

import math

import pytest
import torch

from models import rope
from models.mmdit import AUDIO_LATENT_RATE


def plain_rotation(vector, angle):
    """2 x 2 rotation of the pairs (i, i + D/2), written out."""
    half = len(vector) // 2
    out = vector.clone()
    for i in range(half):
        c, s = math.cos(angle[i]), math.sin(angle[i])
        out[i] = c * vector[i] - s * vector[i + half]
        out[i + half] = s * vector[i] + c * vector[i + half]
    return out


def test_rotate_matches_the_plain_rotation():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 3, 8, generator=g)
    angles = torch.randn(3, 4, generator=g)
    expected = torch.stack([plain_rotation(x[0, 0, n], angles[n].tolist()) for n in range(3)])
    torch.testing.assert_close(rope.rotate(x, angles)[0, 0], expected)


def test_no_angles_leave_the_tokens_alone():
    x = torch.randn(1, 2, 3, 8)
    assert rope.rotate(x, None) is x


def test_scores_depend_on_the_distance_alone():
    g = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=g)
    frequencies = rope.frequencies(8, theta=64.0, scale=4.0)

    def score(a, b):
        return float((rope.rotate(q, frequencies * a) * rope.rotate(k, frequencies * b)).sum())

    assert score(0.25, 1.5) == pytest.approx(score(7.25, 8.5), abs=1e-4)
    assert score(0.25, 1.5) != pytest.approx(score(0.25, 1.75), abs=1e-3)


def test_frequencies_follow_theta_and_scale():
    f = rope.frequencies(4, theta=16.0, scale=3.0)
    torch.testing.assert_close(f, torch.tensor([3.0, 1.5, 0.75, 0.375]))


def test_video_positions_run_time_first_then_rows_then_columns():
    p = rope.video_positions(torch.tensor([-1.0, 1.25]), rows=2, columns=3)
    assert p.shape == (12, 3)
    assert p[0].tolist() == [-1.0, 0.0, 0.0]
    assert p[5].tolist() == [-1.0, 1.0, 2.0]
    assert p[6].tolist() == [1.25, 0.0, 0.0]


def test_angles_3d_split_the_head_into_time_row_column():
    time, space = torch.tensor([1.0, 0.5]), torch.tensor([2.0])
    angles = rope.angles_3d(torch.tensor([[3.0, 5.0, 7.0]]), time, space)
    assert angles.tolist() == [[3.0, 1.5, 10.0, 14.0]]


@pytest.mark.parametrize("frame_rate", [16.0, 24.0])
@pytest.mark.parametrize("frame", [0, 5, 32, 200])
def test_a_sound_in_the_middle_of_a_frame_sits_at_frame_over_4(frame, frame_rate):
    seconds = (frame + 0.5) / frame_rate
    latent = seconds * AUDIO_LATENT_RATE - 0.5  # a latent with this (real) index has its middle there
    times = rope.audio_positions(math.ceil(latent) + 2, 1, frame_rate=frame_rate, latent_rate=AUDIO_LATENT_RATE)
    below, above = times[math.floor(latent)], times[math.floor(latent) + 1]
    here = torch.lerp(below, above, latent - math.floor(latent))
    assert float(here) == pytest.approx(frame / 4, abs=1e-4)


def test_audio_patches_sit_in_the_middle_of_what_they_cover():
    one = rope.audio_positions(6, 1, frame_rate=16.0, latent_rate=AUDIO_LATENT_RATE)
    two = rope.audio_positions(5, 2, frame_rate=16.0, latent_rate=AUDIO_LATENT_RATE)
    torch.testing.assert_close(two, one.view(3, 2).mean(1))
