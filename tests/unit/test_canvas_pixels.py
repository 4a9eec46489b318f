"""What a canvas shows on a frame: exact where media has its own size, cut and blended as it should elsewhere."""

import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.canvas import Canvas
from canvas.coverage import NOBODY, Surveyor, bounding_box
from canvas.document import Box
from canvas.layers import CACHE_FRAMES, Layers, fitted_size
from canvas.pixels import Pixels

sys.path.append(str(Path(__file__).parents[1]))
from random_canvases import canvases, noise, plain_frame  # noqa: E402

SETTINGS = settings(max_examples=60, deadline=None)


def box(x, y, width, height):
    return Box(x=x, y=y, width=width, height=height)


@pytest.fixture
def canvas():
    return Canvas.new(32, 16, 9, 16.0)


# --- what is given


@SETTINGS
@given(canvases())
def test_given_pixels_are_those_of_the_topmost_opaque_placement(canvas):
    pixels = Pixels(canvas)
    translucent = any(placement.alpha for placement in canvas.document.placements)
    for index in range(canvas.document.frames):
        frame = pixels.frame(index)
        colours, owner = plain_frame(canvas, index)
        assert torch.equal(frame.owner.long(), owner)
        assert torch.equal(frame.given, owner >= 0)
        if not translucent:
            assert torch.equal(frame.picture[frame.given], colours[frame.given])


@SETTINGS
@given(canvases(zoom=True))
def test_resized_placements_cover_their_boxes(canvas):
    pixels = Pixels(canvas)
    for index in range(canvas.document.frames):
        assert torch.equal(pixels.frame(index).owner.long(), plain_frame(canvas, index)[1])


@SETTINGS
@given(canvases(roles=("keep", "guide")) | canvases(zoom=True, roles=("keep", "guide")))
def test_pictures_and_weights_are_numbers_in_range(canvas):
    pixels = Pixels(canvas)
    names = [placement.id for placement in canvas.document.placements]
    for index in range(canvas.document.frames):
        frame, (patch, _) = pixels.frame(index), pixels.patch(index, names)
        for value in (frame.picture, frame.weight, patch):
            assert value.isfinite().all() and value.min() >= 0 and value.max() <= 1
        assert (frame.weight[frame.given] == 1).all()
        assert (frame.picture[frame.weight == 0] == 0).all()
        assert (frame.picture <= frame.weight[..., None] + 1e-6).all()  # on black


@SETTINGS
@given(st.permutations(range(4)), st.data())
def test_order_does_not_matter_where_nothing_overlaps(order, data):
    quarters = [box(0, 0, 13, 7), box(13, 0, 19, 7), box(0, 7, 13, 9), box(13, 7, 19, 9)]
    frames = data.draw(st.lists(st.integers(1, 9), min_size=4, max_size=4))

    def build(order):
        canvas = Canvas.new(32, 16, 9, 16.0)
        for i in order:
            media = noise(i, frames[i], quarters[i].height, quarters[i].width, 3)
            canvas = canvas.place_clip(media, 16.0, box=quarters[i], frames=frames[i])
        return Pixels(canvas)

    one, other = build(range(4)), build(order)
    for index in range(9):
        a, b = one.frame(index), other.frame(index)
        assert torch.equal(a.picture, b.picture) and torch.equal(a.given, b.given)


def test_the_later_placement_wins(canvas):
    below, above = noise(1, 1, 16, 32, 3), noise(2, 1, 4, 4, 3)
    frame = Pixels(canvas.place_image(below).place_image(above, box=box(30, -2, 4, 4))).frame(0)
    assert torch.equal(frame.picture[:2, 30:], above[0, 2:, :2])
    assert torch.equal(frame.picture[2:], below[0, 2:])
    assert (frame.owner[:2, 30:] == 1).all() and (frame.owner[2:] == 0).all()


# --- alpha


def test_translucent_pixels_are_blended_and_not_given(canvas):
    image = noise(1, 1, 16, 32, 3)
    frame = Pixels(canvas.place_image(image, alpha=torch.full((1, 16, 32), 0.25))).frame(0)
    torch.testing.assert_close(frame.picture, 0.25 * image[0])
    assert (frame.weight == 0.25).all() and not frame.given.any()


def test_what_is_translucent_over_something_opaque_is_given(canvas):
    below, above, alpha = noise(1, 1, 16, 32, 3), noise(2, 1, 16, 32, 3), torch.rand(1, 16, 32)
    frame = Pixels(canvas.place_image(below).place_image(above, alpha=alpha)).frame(0)
    torch.testing.assert_close(frame.picture, torch.lerp(below[0], above[0], alpha[0, ..., None]))
    assert frame.given.all() and (frame.weight == 1).all() and (frame.owner == 0).all()


def test_two_translucent_placements_add_up(canvas):
    image = torch.ones(1, 16, 32, 3)
    half = torch.full((1, 16, 32), 0.5)
    frame = Pixels(canvas.place_image(image, alpha=half).place_image(image, alpha=half)).frame(0)
    assert (frame.weight == 0.75).all() and (frame.picture == 0.75).all() and not frame.given.any()


def test_an_image_follows_its_alpha_over_time(canvas):
    alpha = torch.zeros(3, 16, 32)
    alpha[1] = 1
    pixels = Pixels(canvas.place_image(noise(1, 1, 16, 32, 3), frame=4, frames=3, alpha=alpha))
    assert [bool(pixels.frame(index).given.any()) for index in (3, 4, 5, 6, 7)] == [False, False, True, False, False]


def test_a_clip_that_is_resampled_takes_its_alpha_along(canvas):
    clip, alpha = noise(1, 4, 16, 32, 3), torch.zeros(4, 16, 32)
    alpha[2] = 1
    pixels = Pixels(canvas.place_clip(clip, 8.0, alpha=alpha))  # each of its frames is held for two
    assert [bool(pixels.frame(index).given.all()) for index in range(8)] == [False] * 4 + [True] * 2 + [False] * 2
    assert torch.equal(pixels.frame(5).picture, clip[2])


def test_the_inside_of_a_resized_mask_stays_opaque(canvas):
    alpha = torch.zeros(1, 40, 40)
    alpha[:, 10:30, 10:30] = 1
    frame = Pixels(canvas.place_image(noise(1, 1, 40, 40, 3), box=box(0, 0, 13, 13), alpha=alpha)).frame(0)
    assert frame.given[5:8, 5:8].all()
    assert not frame.given[:2].any() and not frame.weight[:2].any()


# --- size


@pytest.mark.parametrize(
    ("fit", "seen"),
    [
        ("stretch", (2, 4, 14, 28)),
        ("contain", (2, 10, 14, 22)),  # a square of 12 in the middle
        ("cover", (2, 4, 14, 28)),
    ],
)
def test_fits(canvas, fit, seen):
    frame = Pixels(canvas.place_image(noise(1, 1, 6, 6, 3), box=box(4, 2, 24, 12), fit=fit)).frame(0)
    assert bounding_box(frame.given) == seen and frame.given.sum() == (seen[2] - seen[0]) * (seen[3] - seen[1])


def test_cover_cuts_equally_on_both_sides(canvas):
    image = noise(1, 1, 12, 6, 3)
    frame = Pixels(canvas.place_image(image, box=box(0, 0, 6, 4), fit="cover")).frame(0)
    assert torch.equal(frame.picture[:4, :6], image[0, 4:8])


@given(*[st.integers(1, 300)] * 4)
def test_fits_keep_inside_or_cover(height, width, box_height, box_width):
    area = box(0, 0, box_width, box_height)
    inside, over = fitted_size(height, width, area, "contain"), fitted_size(height, width, area, "cover")
    assert inside[0] <= box_height and inside[1] <= box_width and (inside[0] == box_height or inside[1] == box_width)
    assert over[0] >= box_height and over[1] >= box_width and (over[0] == box_height or over[1] == box_width)


@pytest.mark.parametrize("place", [box(0, 0, 13, 9), box(-20, -9, 60, 40), box(5, -30, 20, 70), box(-3, 4, 50, 3)])
def test_resized_media_is_the_whole_resized_and_cut(canvas, place):
    image = noise(1, 1, 17, 23, 3)
    frame = Pixels(canvas.place_image(image, box=place)).frame(0)
    whole = F.interpolate(image.movedim(-1, 1), (place.height, place.width), mode="bicubic", antialias=True)
    padded = F.pad(whole[0].movedim(0, -1).clamp(0, 1), (0, 0, 64, 64, 64, 64))
    expected = padded[64 - place.y : 80 - place.y, 64 - place.x : 96 - place.x]
    torch.testing.assert_close(frame.picture, expected, atol=1e-5, rtol=0)


def test_resized_pictures_do_not_pile_up():
    canvas = Canvas.new(16, 16, 97, 16.0)
    canvas = canvas.place_image(noise(1, 1, 32, 32, 3), frames=97, box=box(0, 0, 16, 16), to=box(-100, -100, 216, 216))
    layers = Layers(canvas)
    for index in range(97):
        layers.colours(layers.of(index, "keep")[0])
    assert 0 < layers._recent.held <= CACHE_FRAMES * 3 * 16 * 16
    assert layers._recent.held == sum(tensor.numel() for tensor in layers._recent.tensors.values())


# --- time


def test_a_clip_of_another_rate_is_resampled_by_time(canvas):
    clip = noise(1, 12, 16, 32, 3)
    pixels = Pixels(canvas.place_clip(clip, 24.0, frame=1, start=0.125))
    for index, shown in ((1, 3), (2, 4), (3, 6), (4, 7), (5, 9)):
        assert torch.equal(pixels.frame(index).picture, clip[shown])


def test_frames_that_look_the_same_are_drawn_once(canvas):
    pixels = Pixels(canvas.place_image(noise(1, 1, 16, 32, 3), frames=4).place_image(noise(2, 1, 4, 4, 3), frame=5))
    frames = [pixels.frame(index) for index in range(9)]
    assert (
        frames[0] is frames[3] and frames[3] is not frames[4] and frames[4] is not frames[5] and frames[6] is frames[8]
    )


def test_only_what_is_asked_for_is_drawn(canvas, monkeypatch):
    surveyed = []
    survey = Surveyor.survey
    monkeypatch.setattr(Surveyor, "survey", lambda self, scene: surveyed.append(scene) or survey(self, scene))
    pixels = Pixels(canvas.place_clip(noise(1, 9, 16, 32, 3), 16.0))
    pixels.frame(3)
    assert [layer.media_frame for scene in surveyed for layer in scene.layers] == [3]


# --- regions


@pytest.mark.parametrize("order", list(permutations(["generate all", "keep left"])))
def test_regions_apply_in_order(canvas, order):
    canvas = canvas.place_image(noise(1, 1, 16, 32, 3))
    for region in order:
        action, where = region.split()
        canvas = canvas.region_box(action, box(0, 0, 32 if where == "all" else 16, 16))
    given = Pixels(canvas).frame(0).given
    assert given[:, :16].all() == (order[0] == "generate all")
    assert not given[:, 16:].any()


def test_a_region_keeps_nothing_where_nothing_was_placed(canvas):
    canvas = canvas.place_image(noise(1, 1, 8, 8, 3)).region_box("keep", box(0, 0, 32, 16))
    assert bounding_box(Pixels(canvas).frame(0).given) == (0, 0, 8, 8)


def test_a_soft_mask_takes_away_in_part(canvas):
    image, mask = noise(1, 1, 16, 32, 3), torch.zeros(1, 16, 32)
    mask[:, :, 8:16], mask[:, :, 16:] = 0.25, 1
    frame = Pixels(canvas.place_image(image).region_mask("generate", mask)).frame(0)
    assert frame.given[:, :8].all() and not frame.given[:, 8:].any()
    assert (frame.weight[:, 8:16] == 0.75).all() and (frame.weight[:, 16:] == 0).all()
    torch.testing.assert_close(frame.picture[:, 8:16], 0.75 * image[0, :, 8:16])
    assert torch.equal(frame.picture[:, :8], image[0, :, :8])


def test_a_region_moves(canvas):
    canvas = canvas.place_image(noise(1, 1, 16, 32, 3), frames=9)
    canvas = canvas.region_box("generate", box(0, 0, 4, 4), to=box(16, 8, 4, 4))
    pixels = Pixels(canvas)
    assert [bounding_box(~pixels.frame(index).given) for index in (0, 4, 8)] == [
        (0, 0, 4, 4),
        (4, 8, 8, 12),
        (8, 16, 12, 20),
    ]


# --- patches


def test_a_patch_is_grey_outside_what_it_shows(canvas):
    image = noise(1, 1, 4, 6, 3)
    canvas = canvas.place_image(image, box=box(3, 2, 6, 4)).place_image(noise(2, 1, 4, 4, 3), box=box(20, 0, 4, 4))
    patch, shown = Pixels(canvas).patch(0, ["placement_1"])
    assert torch.equal(patch[2:6, 3:9], image[0])
    assert shown[2:6, 3:9].all() and shown.sum() == 4 * 6
    assert (patch[~shown] == 0.5).all()


@pytest.mark.parametrize("opacity", [1.0, 0.25])
def test_a_patch_lies_on_the_ground_that_is_asked_for(canvas, opacity):
    """Also where it is mid grey, and so that soft edges let through what is under them."""
    ground, alpha = noise(2, 1, 16, 32, 3)[0], torch.full((1, 4, 6), opacity)
    canvas = canvas.place_image(torch.full((1, 4, 6, 3), 0.5), box=box(3, 2, 6, 4), role="guide", alpha=alpha)
    before = ground.clone()
    patch, shown = Pixels(canvas).patch(0, ["placement_1"], ground)
    torch.testing.assert_close(patch[2:6, 3:9], torch.lerp(ground[2:6, 3:9], torch.tensor(0.5), opacity))
    assert torch.equal(patch[~shown], ground[~shown]) and torch.equal(ground, before)


def test_a_guide_is_shown_in_patches_only(canvas):
    image, alpha = noise(1, 1, 16, 32, 3), torch.full((1, 16, 32), 0.5)
    pixels = Pixels(canvas.place_image(image, role="guide", alpha=alpha))
    frame = pixels.frame(0)
    assert not frame.picture.any() and not frame.weight.any() and (frame.owner == NOBODY).all()
    torch.testing.assert_close(pixels.patch(0, ["placement_1"])[0], image[0] / 2 + 0.25)
    assert not pixels.patch(1, ["placement_1"])[1].any()


def test_what_is_kept_lies_above_guides_in_a_patch(canvas):
    kept, guide = noise(1, 1, 4, 4, 3), noise(2, 1, 16, 32, 3)
    pixels = Pixels(canvas.place_image(kept).place_image(guide, role="guide"))
    patch, _ = pixels.patch(0, ["placement_1", "placement_2"])
    assert torch.equal(patch[:4, :4], kept[0])
    assert torch.equal(patch[4:], guide[0, 4:])


def test_a_patch_shows_given_pixels_only(canvas):
    canvas = canvas.place_image(noise(1, 1, 16, 32, 3)).region_box("generate", box(0, 0, 16, 16))
    canvas = canvas.place_image(noise(2, 1, 4, 4, 3), box=box(28, 0, 4, 4))
    _, shown = Pixels(canvas).patch(0, ["placement_1"])
    assert not shown[:, :16].any() and not shown[:4, 28:].any() and shown[4:, 16:].all()
