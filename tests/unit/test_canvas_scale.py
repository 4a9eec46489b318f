"""A canvas in another size."""

import sys
from pathlib import Path

import pytest
import torch

from canvas.canvas import Canvas
from canvas.compile import compile_canvas
from canvas.document import Box
from canvas.errors import CanvasError
from canvas.pixels import Pixels
from canvas.scale import scaled

sys.path.append(str(Path(__file__).parents[1]))
from random_canvases import noise  # noqa: E402


def box(x, y, width, height) -> Box:
    return Box(x=x, y=y, width=width, height=height)


def test_everything_lies_in_the_same_places():
    picture = noise(1, 1, 64, 64, 3)
    canvas = Canvas.new(64, 64, 9, 16.0).place_image(picture, frames=9)
    canvas = canvas.place_image(
        noise(2, 1, 8, 8, 3), frame=2, frames=3, box=box(10, 20, 30, 17), to=box(-6, 20, 30, 17)
    )
    canvas = canvas.place_sound(noise(3, 1, 4000), 8000).reference(noise(4, 1, 5, 5, 3), kind="image")
    canvas = canvas.region_box("generate", box(16, 16, 32, 32), frame=4).region_sound("generate", 0.1, 0.2)
    half = scaled(canvas, 0.5)
    d = half.document
    assert (d.width, d.height, d.frames, d.fps) == (32, 32, 9, 16.0)
    moving = d.placements[1]
    assert (moving.box, moving.path[0].box) == (box(5, 10, 15, 9), box(-3, 10, 15, 9))
    assert d.regions[0].box == box(8, 8, 16, 16) and d.regions[1] == canvas.document.regions[1]
    assert d.sounds == canvas.document.sounds and d.references == canvas.document.references
    small, large = (Pixels(one).frame(0) for one in (half, canvas))
    mean = large.picture.unflatten(1, (32, 2)).unflatten(0, (32, 2)).mean((1, 3))
    assert (small.picture - mean).abs().mean() < 0.05
    plans = compile_canvas(half), compile_canvas(scaled(half, 2.0))
    assert plans[0].given.float().mean() == plans[1].given.float().mean()


def test_once_as_large_is_the_same():
    canvas = Canvas.new(32, 48, 5, 16.0).place_image(noise(1, 1, 9, 9, 3), box=box(-3, 5, 9, 9))
    canvas = canvas.region_mask("generate", torch.ones(1, 48, 32))
    assert scaled(canvas, 1.0) == canvas


def test_masks_are_resized_with_their_box_and_keep_it_as_they_move():
    mask = torch.zeros(2, 9, 13)
    mask[1, :, 6:] = 1
    canvas = Canvas.new(64, 64, 9, 16.0).place_clip(noise(1, 9, 64, 64, 3), 16.0)
    canvas = canvas.region_mask("generate", mask, frame=1, frames=2, box=box(3, 3, 13, 9), to=box(8, 4, 13, 9))
    region = scaled(canvas, 0.5).document.regions[0]
    assert (region.box, region.path[0].box) == (box(2, 2, 6, 4), box(4, 2, 6, 4))
    shown = scaled(canvas, 0.5).media[region.media]
    assert (
        shown.shape == (2, 4, 6) and shown[0].max() == 0 and shown[1, :, -2:].min() == 1 and shown[1, :, :2].max() == 0
    )
    assert len(scaled(canvas, 0.5).media) == 2  # the mask of the old size is gone


def test_one_mask_for_boxes_of_other_sizes():
    """Of as many pixels, they have as many or one less at half the size, as their edges fall."""
    mask = torch.ones(1, 9, 9)
    canvas = Canvas.new(64, 64, 1, 16.0).place_image(noise(1, 1, 64, 64, 3))
    for x in (0, 1):
        canvas = canvas.region_mask("generate", mask, box=box(x, 0, 9, 9))
    half = scaled(canvas, 0.5)
    assert [region.box.width for region in half.document.regions] == [5, 4]
    assert [half.media[region.media].shape for region in half.document.regions] == [(1, 5, 5), (1, 5, 4)]
    assert compile_canvas(half).given_pixels.item() == 32 * 32 - 5 * 5


def test_what_is_less_than_half_a_pixel_of_the_frame_is_left_out():
    canvas = Canvas.new(64, 64, 1, 16.0).place_image(noise(1, 1, 64, 64, 3))
    canvas = canvas.place_image(noise(2, 1, 9, 9, 3), box=box(63, 0, 9, 9))
    canvas = canvas.region_box("generate", box(0, 63, 9, 9)).region_mask(
        "keep", torch.ones(1, 9, 9), box=box(63, 0, 9, 9)
    )
    half = scaled(canvas, 0.5)
    assert len(half.document.placements) == 1 and not half.document.regions and len(half.media) == 1
    assert len(scaled(canvas, 2.0).document.placements) == 2


def test_a_tiny_box_does_not_vanish():
    canvas = Canvas.new(64, 64, 1, 16.0).place_image(noise(1, 1, 1, 1, 3), box=box(4, 4, 1, 1))
    assert scaled(canvas, 0.25).document.placements[0].box == box(1, 1, 1, 1)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (0.0, "scale is 0: use a number above 0"),
        (float("nan"), "scale is nan: use"),
        (0.3, "scale 0.3 makes the width 64 to 19.2: use another"),
    ],
)
def test_sizes_that_cannot_be(factor, message):
    with pytest.raises(CanvasError, match=message):
        scaled(Canvas.new(64, 64, 1, 16.0), factor)
