"""The preview shows what the compiler found, in colours that mean one thing each, and in numbers."""

import re
from dataclasses import replace
from pathlib import Path

import folder_paths
import numpy as np
import pytest
import torch
from node_tools import noise, put, run, sound
from PIL import Image
from skycanvas.canvas.compile import compile_canvas
from skycanvas.canvas.document import CanvasError
from skycanvas.carriers import network
from skycanvas.nodes import sheet
from skycanvas.nodes.canvas import (
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasNew,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceImage,
    SkyCanvasPlaceSound,
)
from skycanvas.nodes.preview import SkyCanvasPreview
from skycanvas.nodes.references import SkyCanvasReferenceImages, SkyCanvasReferenceVoice


@pytest.fixture
def canvas():
    return put(SkyCanvasNew)


def holds(picture: torch.Tensor, colour: tuple[int, int, int]) -> bool:
    return bool(((picture[0] * 255).round().int() == torch.tensor(colour)).all(-1).any())


def test_preview_gives_a_picture_and_numbers(canvas):
    canvas = put(SkyCanvasPlaceClip, canvas=canvas, images=noise(9, 64, 64, 3), audio=sound(0.5))
    digest = canvas.document.digest()
    output = SkyCanvasPreview.execute(canvas)
    image, report = output.result
    assert image.shape[0] == 1 and image.shape[2:] == (sheet.WIDTH, 3) and 0 <= image.min() < image.max() <= 1
    assert report.startswith(compile_canvas(canvas).report()) and canvas.document.digest() == digest
    (saved,) = output.ui["images"]
    file = Path(folder_paths.get_temp_directory(), saved["subfolder"], saved["filename"])
    assert np.array_equal(np.asarray(Image.open(file)), (255 * image[0].numpy()).clip(0, 255).astype(np.uint8))
    assert output.ui["text"] == (report,)


def test_each_colour_stands_for_one_thing(canvas):
    colours = {"GIVEN": sheet.GIVEN, "LOST": sheet.LOST, "PATCH": sheet.PATCH, "GUIDE": sheet.GUIDE}

    def seen(canvas):
        image = put(SkyCanvasPreview, canvas=canvas)
        return {name for name, colour in colours.items() if holds(image, colour)} - {"GIVEN"}

    black = torch.zeros(17, 64, 64, 3)
    clip = put(SkyCanvasPlaceClip, canvas=canvas, images=black)
    assert seen(canvas) == set() and seen(clip) == set()
    assert seen(put(SkyCanvasMaskRegion, canvas=clip, x=8, y=8, width=16, height=16, frame=1)) == set()
    assert seen(put(SkyCanvasMaskRegion, canvas=clip, x=8, y=8, width=17, height=16, frame=1)) == {"LOST"}
    assert seen(put(SkyCanvasPlaceImage, canvas=canvas, image=black[:1, :20, :20], frame=6)) == {"PATCH"}
    assert seen(put(SkyCanvasPlaceImage, canvas=canvas, image=black[:1], frame=6, role="guide")) == {"GUIDE"}
    assert seen(put(SkyCanvasPlaceSound, canvas=canvas, audio=sound(1.0), time=0.3)) == {"LOST"}


def test_what_is_given_is_shown_as_it_is_and_the_rest_hatched(canvas):
    picture = noise(1, 64, 64, 3)
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=picture)
    canvas = put(SkyCanvasMaskRegion, canvas=canvas, x=32, frames=1)
    seen = sheet.Pixels(canvas).frame(0)
    shown = sheet.thumbnail(seen, sheet.Ground(canvas).frame(0), 128, 128)
    assert np.allclose(shown[::2, :64:2], picture[0, :, :32], atol=0.5 / 255)
    hatched = 0.4 * picture[0, :, 32:].numpy() + sheet.made_again(128, 128)[::2, 64::2]  # what was there shines through
    assert np.allclose(shown[::2, 64::2], hatched, atol=0.5 / 255)
    empty = sheet.thumbnail(sheet.Pixels(canvas).frame(1), sheet.Ground(canvas).frame(1), 128, 128)
    assert np.array_equal(empty, sheet.made_again(128, 128))


def test_a_guide_shines_through_and_is_not_given(canvas):
    picture = noise(1, 64, 64, 3)
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=picture, frame=3, role="guide")
    ground = sheet.Ground(canvas)
    assert torch.allclose(ground.frame(3), picture[0], atol=1e-6) and not ground.frame(2).any()
    assert not sheet.Pixels(canvas).frame(3).weight.any()


def test_lost_pixels(canvas):
    """Of a region of 3 pixels in the cell at (8, 8): the other pixels of that cell, on the frames of its latent."""
    canvas = put(SkyCanvasPlaceClip, canvas=canvas, images=noise(17, 64, 64, 3))
    canvas = put(SkyCanvasMaskRegion, canvas=canvas, x=10, y=10, width=3, height=3, frame=6, frames=1)
    plan, pixels = compile_canvas(canvas), sheet.Pixels(canvas)
    cell = np.zeros((64, 64), bool)
    cell[8:16, 8:16] = True
    for frame in range(17):
        expected = cell.copy() if 5 <= frame <= 8 else np.zeros_like(cell)
        if frame == 6:
            expected[10:13, 10:13] = False
        assert np.array_equal(sheet.lost_pixels(plan, pixels.frame(frame), frame, (), 64, 64), expected)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 24, 100])
def test_shown_frames(most):
    canvas = put(SkyCanvasNew, length=121)
    for frame in (30, 77):
        canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 16, 16, 3), frame=frame)
    frames = sheet.shown_frames(compile_canvas(canvas), 121, most)
    assert frames == sorted(set(frames)) and len(frames) == most
    if most >= 7:
        assert {0, 30, 31, 77, 78, 120} <= set(frames)
    assert len(sheet.shown_frames(compile_canvas(canvas), 121, 200)) == 121


@pytest.mark.parametrize(
    "new",
    [
        {"length": 1},
        {"length": 33},
        {"width": 16, "height": 2048, "length": 5},
        {"width": 2048, "height": 16, "length": 5},
        {"width": 960, "height": 544, "length": 9, "frame_rate": 24.0},
    ],
)
def test_any_size_and_length(new):
    canvas = put(SkyCanvasNew, **new)
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 12, 12, 3), x=3, y=3)
    canvas = put(SkyCanvasMaskSound, canvas=canvas)
    canvas = put(SkyCanvasReferenceImages, canvas=canvas, images={"image_1": noise(30, 8, 40, 3)})
    canvas = put(SkyCanvasReferenceVoice, canvas=canvas, audio=sound(0.001), tag="@" + "a" * 200)
    image = put(SkyCanvasPreview, canvas=canvas, thumbnails=5)
    assert image.shape[2] == sheet.WIDTH and image.shape[1] < 2000
    assert image[0, :, -sheet.MARGIN :].std(0).max() < 1e-4  # nothing is written over the margin


def test_cost(canvas, model):
    canvas = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 16, 16, 3), frame=3)
    canvas = put(SkyCanvasReferenceImages, canvas=canvas, images={"image_1": noise(2, 8, 8, 3)})
    network.measured_rate.cache_clear()
    before = torch.get_rng_state()
    for inputs in ({}, {"model": model}):
        line = run(SkyCanvasPreview, canvas=canvas, **inputs)[1].splitlines()[-1]
        found = re.fullmatch(
            r"Cost of 30 steps with guidance: (\d+) tokens \(80 of the picture, (\d+) of the sound, 16 of patches in "
            r"context, 32 of references\), about [\d.]+ GiB, about [\d.]+ (s|min)\.",
            line,
        )
        assert found and int(found[1]) == 80 + int(found[2]) + 16 + 32
    assert torch.equal(torch.get_rng_state(), before)  # what is seeded stays as it is


def test_measured_rate_of_a_large_model_takes_a_small_one(model):
    large = replace(model.model.config, dim=4096, heads=32, dual_blocks=30, rope_axes=(44, 42, 42))
    assert network.measured_rate(large, torch.device("cpu"), torch.float32, (2, 4, 4, 8)) > 0


@pytest.mark.parametrize(
    "new, message",
    [
        ({"length": 30}, r"^length 30 is not 4n\+1: use 29 or 33"),
        ({"width": 72}, "^width 72 is not a multiple of 16: use 64 or 80"),
    ],
)
def test_preview_says_what_does_not_fit_the_model(new, message, model):
    for inputs in ({}, {"model": model}):
        with pytest.raises(CanvasError, match=message):
            run(SkyCanvasPreview, canvas=put(SkyCanvasNew, **new), **inputs)


def test_routing(canvas):
    canvas = put(SkyCanvasPlaceClip, canvas=canvas, images=torch.zeros(17, 64, 64, 3))
    assert not holds(put(SkyCanvasPreview, canvas=canvas), sheet.PATCH)
    assert holds(put(SkyCanvasPreview, canvas=canvas, routing="in_context"), sheet.PATCH)
    with pytest.raises(CanvasError, match="routing is 'best'"):
        put(SkyCanvasPreview, canvas=canvas, routing="best")
