"""Latent grids: every frame, pixel and sample belongs to exactly one latent."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canvas.errors import CanvasError
from canvas.grid import AudioGrid, VideoGrid

GRIDS = st.builds(
    VideoGrid,
    temporal=st.integers(1, 8),
    spatial=st.integers(1, 32),
    causal=st.booleans(),
    token=st.integers(1, 4),
)


@given(GRIDS, st.integers(1, 20))
def test_latent_frames_share_the_frames_among_them(grid, latents):
    frames = [frame for t in range(latents) for frame in grid.frames_of(t)]
    assert frames == list(range(len(frames)))
    assert grid.latent_frames(len(frames)) == latents
    assert [grid.latent_of(frame) for frame in frames] == [t for t in range(latents) for _ in grid.frames_of(t)]


def test_the_first_frame_stands_alone():
    grid = VideoGrid()
    assert [list(grid.frames_of(t)) for t in range(3)] == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert list(VideoGrid(causal=False).frames_of(0)) == [0, 1, 2, 3]


def test_a_frame_lies_between_the_latent_frames_as_in_videocanvas():
    assert [VideoGrid().time_of(frame) for frame in (0, 1, 4, 41)] == [0.0, 0.25, 1.0, 10.25]


@pytest.mark.parametrize(
    ("grid", "frames", "message"),
    [
        (VideoGrid(), 30, "length 30 is not 4n+1: use 29 or 33"),
        (VideoGrid(), 2, "length 2 is not 4n+1: use 1 or 5"),
        (VideoGrid(), 0, "length 0 is not 4n+1: use 1"),
        (VideoGrid(temporal=8), 16, "length 16 is not 8n+1: use 9 or 17"),
        (VideoGrid(causal=False), 3, "length 3 is not a multiple of 4: use 4"),
        (VideoGrid(causal=False), 17, "length 17 is not a multiple of 4: use 16 or 20"),
    ],
)
def test_a_latent_frame_cannot_be_half_filled(grid, frames, message):
    with pytest.raises(CanvasError) as error:
        grid.latent_frames(frames)
    assert str(error.value) == message


def test_cells():
    assert VideoGrid().cells(48, 64) == (6, 8)
    assert VideoGrid(token=1).cells(1080, 1920) == (135, 240)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (48, 100, "width 100 is not a multiple of 16: use 96 or 112"),
        (1080, 1920, "height 1080 is not a multiple of 16: use 1072 or 1088"),
        (8, 64, "height 8 is not a multiple of 16: use 16"),
    ],
)
def test_a_picture_consists_of_whole_tokens(height, width, message):
    with pytest.raises(CanvasError) as error:
        VideoGrid().cells(height, width)
    assert str(error.value) == message


@given(st.integers(1, 2048), st.integers(8000, 96000), st.integers(1, 10**7))
def test_audio_latents_just_cover_the_samples(hop, rate, samples):
    grid = AudioGrid(hop, rate)
    latents = grid.latents(samples / rate)
    assert grid.span_of(0)[0] == 0
    assert grid.span_of(latents - 1)[1] == grid.span_of(latents)[0]
    assert abs(grid.span_of(latents - 1)[0] - (samples - 1)) <= hop  # rounding may decide at the edge of a latent


@given(st.integers(1, 100), st.integers(1, 100), st.integers(0, 10**6))
def test_the_latent_of_a_sample_spans_it(hop, first, sample):
    grid = AudioGrid(hop, first=min(first, hop))
    start, end = grid.span_of(grid.latent_of(sample))
    assert start <= sample < end and end - start == (grid.first if start == 0 else hop)


def test_the_first_audio_latent_of_ltx_is_short():
    grid = AudioGrid(hop=1764, first=441)  # 0.04 s, and 0.01 s
    assert [grid.span_of(i) for i in range(3)] == [(0, 441), (441, 2205), (2205, 3969)]


@pytest.mark.parametrize("frames", [1, 5, 17, 33, 81, 241])
@pytest.mark.parametrize("fps", [8.0, 16.0, 24.0, 29.97])
def test_the_joint_latent_has_as_many(frames, fps):
    assert AudioGrid().latents(frames / fps) == math.ceil(frames / fps * (44100 / 1024))  # 'Empty SkyCanvas Latent'
