"""Composing: what is given comes back bit for bit, and a feather touches the generated side only."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.canvas import Canvas
from canvas.compile import compile_canvas
from canvas.compose import compose_audio, compose_video, continued, distance, nearest
from canvas.errors import CanvasError
from canvas.pixels import Pixels

sys.path.append(str(Path(__file__).parents[1]))
from random_canvases import RATE, canvases, noise, plain_frame, plain_samples, sound_canvases  # noqa: E402

SETTINGS = settings(max_examples=60, deadline=None)


def generated(canvas: Canvas, seed: int = 7) -> torch.Tensor:
    document = canvas.document
    shape = document.frames, document.height, document.width, 3
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def made(canvas: Canvas, rate: int = RATE, channels: int = 1) -> torch.Tensor:
    return noise(7, 1, channels, round(canvas.document.seconds * rate)) - 2


@pytest.fixture
def canvas():
    return Canvas.new(32, 32, 5, 16.0)


# --- pictures


@SETTINGS
@given(canvases() | canvases(zoom=True), st.integers(0, 2**31), st.sampled_from([0, 1, 5]))
def test_given_pixels_come_back_bit_for_bit(canvas, seed, feather):
    images = generated(canvas, seed)
    result, pixels = compose_video(canvas, images, feather), Pixels(canvas)
    assert result.shape == images.shape and result.isfinite().all()
    own_size = all(
        canvas.media[p.media].shape[1:3] == (p.box.height, p.box.width) and p.alpha is None
        for p in canvas.document.placements
    )
    for index, image in enumerate(result):
        colours, owner = plain_frame(canvas, index)
        known, frame = owner >= 0, pixels.frame(index)
        assert torch.equal(image[known], frame.picture[known])
        if own_size:
            assert torch.equal(image[known], colours[known])  # the source itself
        if not feather:
            assert torch.equal(image[frame.weight == 0], images[index][frame.weight == 0])


@SETTINGS
@given(canvases())
def test_what_the_plan_gives_is_what_comes_back(canvas):
    """No pixel of a given cell is ever the model's."""
    result, plan, pixels = (
        compose_video(canvas, torch.zeros_like(generated(canvas))),
        compile_canvas(canvas),
        Pixels(canvas),
    )
    cells = plan.given.repeat_interleave(8, 1).repeat_interleave(8, 2)
    for index, image in enumerate(result):
        kept = cells[plan.video.latent_of(index)]
        assert image[kept].all() and torch.equal(image[kept], pixels.frame(index).picture[kept])
        assert ((image != 0).any(-1) & ~kept)[pixels.frame(index).given].sum() == plan.lost_pixels[index]


def test_an_empty_canvas_changes_nothing(canvas):
    images = generated(canvas)
    for feather in (0, 8):
        assert torch.equal(compose_video(canvas, images, feather), images)
    assert torch.equal(compose_audio(canvas, made(canvas), RATE, 5.0), made(canvas))


def test_translucent_pixels_are_blended(canvas):
    image, images = noise(1, 1, 32, 32, 3), generated(canvas)
    result = compose_video(canvas.place_image(image, alpha=torch.full((1, 32, 32), 0.25)), images)
    torch.testing.assert_close(result[0], 0.25 * image[0] + 0.75 * images[0])
    assert torch.equal(result[1:], images[1:])


def test_what_the_model_made_under_given_pixels_does_not_matter(canvas):
    images = torch.full((5, 32, 32, 3), float("nan"))
    result = compose_video(canvas.place_image(noise(1, 1, 32, 32, 3), frames=5), images)
    assert torch.equal(result, noise(1, 1, 32, 32, 3).expand(5, -1, -1, -1))


def test_half_precision_pictures_do_not_round_what_is_given(canvas):
    image = noise(1, 1, 32, 32, 3)
    result = compose_video(canvas.place_image(image), generated(canvas).half())
    assert result.dtype == torch.float32 and torch.equal(result[0], image[0])


@pytest.mark.parametrize(
    ("shape", "feather", "message"),
    [
        ((4, 32, 32, 3), 0, r"images have the shape \[4, 32, 32, 3\], the canvas is \[5, 32, 32, 3\]"),
        ((5, 32, 48, 3), 0, r"images have the shape \[5, 32, 48, 3\]"),
        ((5, 32, 32, 4), 0, r"images have the shape \[5, 32, 32, 4\]"),
        ((5, 32, 32, 3), -1, "feather is -1: use 0 to 256 pixels"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(canvas, shape, feather, message):
    with pytest.raises(CanvasError, match=message):
        compose_video(canvas, torch.zeros(shape), feather)


# --- feather


@pytest.mark.parametrize("feather", [2, 4, 9])
def test_a_feather_fades_the_difference_at_the_seam(canvas, feather):
    """The model is 1/4 too dark everywhere: that is mended beside the seam, and less and less up to `feather`."""
    canvas = canvas.place_image(torch.full((1, 32, 12, 3), 0.75))
    images = torch.full((5, 32, 32, 3), 0.5)
    row = compose_video(canvas, images, feather)[0, 16, :, 0]
    away = torch.arange(1, 21)
    expected = 0.5 + 0.25 * (1 - away / feather).clamp(min=0)
    torch.testing.assert_close(row[12:], expected)
    assert (row[:12] == 0.75).all()


@SETTINGS
@given(canvases(most=2), st.integers(1, 6))
def test_a_feather_reaches_no_further(canvas, feather):
    images = generated(canvas)
    result, pixels = compose_video(canvas, images, feather), Pixels(canvas)
    for index, image in enumerate(result):
        frame = pixels.frame(index)
        far = (distance(frame.given, feather) >= feather) & (frame.weight == 0)
        assert torch.equal(image[far], images[index][far])
        assert image.min() >= 0 and image.max() <= 1


@SETTINGS
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**31))
def test_distance(height, width, limit, seed):
    marked = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) > 0.93
    places = marked.nonzero()
    for y in range(height):
        for x in range(width):
            exact = min((((a - y) ** 2 + (b - x) ** 2) ** 0.5 for a, b in places.tolist()), default=limit)
            assert float(distance(marked, limit)[y, x]) == pytest.approx(min(exact, limit))


def test_a_picture_goes_on_beside_what_is_shown():
    """Along rows, then along columns, as if the edge had been clamped; and not at all where nothing is to be seen."""
    picture = noise(1, 6, 8, 3)
    shown = torch.zeros(6, 8, dtype=torch.bool)
    assert continued(picture, shown) is picture
    shown[2:4, 3:7] = True
    expected = picture[torch.arange(6).clamp(2, 3)][:, torch.arange(8).clamp(3, 6)]
    assert torch.equal(continued(picture, shown), expected)
    shown[3, 4:6] = False  # a gap is filled from both sides
    assert torch.equal(continued(picture, shown)[3, 3:7], picture[3, [3, 3, 6, 6]])
    assert continued(picture, ~torch.zeros_like(shown)) is picture


def test_nearest():
    marked = torch.tensor([False, True, False, False, False, True, False])
    assert nearest(marked).tolist() == [1, 1, 1, 1, 5, 5, 5]
    assert nearest(torch.zeros(3, dtype=torch.bool)).tolist() == [-1, -1, -1]


# --- sound


@SETTINGS
@given(sound_canvases(), st.sampled_from([1, 2]), st.sampled_from([0.0, 3.0]))
def test_given_samples_come_back_bit_for_bit(canvas, channels, feather):
    waveform = made(canvas, channels=channels)
    result = compose_audio(canvas, waveform, RATE, feather)
    source, known = plain_samples(canvas)
    assert torch.equal(result.expand(1, 2, -1)[0][:, known], source[:, known])
    assert result.isfinite().all()
    if not feather:
        assert torch.equal(result[0][:, ~known], waveform.expand(1, result.shape[1], -1)[0][:, ~known])


def test_the_result_is_stereo_if_either_is(canvas):
    mono, stereo = (canvas.place_sound(noise(1, channels, 100), RATE) for channels in (1, 2))
    for placed, channels, expected in ((mono, 1, 1), (mono, 2, 2), (stereo, 1, 2), (stereo, 2, 2), (canvas, 1, 1)):
        assert compose_audio(placed, made(canvas, channels=channels), RATE).shape == (1, expected, 312)


def test_a_cut_does_not_click(canvas):
    """A jump of 1 at both cuts fades out over 20 samples."""
    canvas = canvas.place_sound(torch.full((1, 100), 0.5), RATE, time=0.1)
    result = compose_audio(canvas, torch.full((1, 1, 312), -0.5), RATE, feather_ms=20.0)[0, 0]
    assert (result[100:200] == 0.5).all()
    assert result.diff().abs().max() <= 1 / 20 + 1e-6
    assert (result[:81] == -0.5).all() and (result[219:] == -0.5).all()


@pytest.mark.parametrize(
    ("shape", "feather", "message"),
    [
        ((1, 1, 311), 0.0, r"the sound has the shape \[1, 1, 311\], the canvas lasts 312 samples at 1000 Hz"),
        ((1, 3, 312), 0.0, r"\[1, 3, 312\]"),
        ((2, 1, 312), 0.0, r"\[2, 1, 312\]"),
        ((1, 312), 0.0, r"\[1, 312\]"),
        ((1, 1, 312), -1.0, "feather_ms is -1: use 0 or more milliseconds"),
    ],
)
def test_sounds_that_do_not_fit_are_refused(canvas, shape, feather, message):
    with pytest.raises(CanvasError, match=message):
        compose_audio(canvas, torch.zeros(shape), RATE, feather)
