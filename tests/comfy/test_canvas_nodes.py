"""What the nodes put on a canvas, that they leave the old one alone, and what they say to wrong input."""

import pytest
import torch
from node_tools import noise, put, sound
from skycanvas.canvas.canvas import Canvas
from skycanvas.canvas.document import Box, CanvasError
from skycanvas.nodes.canvas import (
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasNew,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceImage,
    SkyCanvasPlaceSound,
)
from skycanvas.nodes.references import SkyCanvasReferenceClip, SkyCanvasReferenceImages, SkyCanvasReferenceVoice
from skycanvas.nodes.types import grid_of

NODES = [
    SkyCanvasNew,
    SkyCanvasPlaceImage,
    SkyCanvasPlaceClip,
    SkyCanvasPlaceSound,
    SkyCanvasMaskRegion,
    SkyCanvasMaskSound,
    SkyCanvasReferenceImages,
    SkyCanvasReferenceClip,
    SkyCanvasReferenceVoice,
]


@pytest.fixture
def canvas() -> Canvas:
    """64 x 64 pixels, 17 frames at 16 per second."""
    return put(SkyCanvasNew)


@pytest.mark.parametrize("node", NODES)
def test_every_input_says_what_it_is(node):
    schema = node.define_schema()
    schema.validate()
    assert schema.node_id == node.__name__ and schema.description and schema.search_aliases
    silent = [i.id for i in schema.inputs if not i.tooltip and not hasattr(i, "template")]
    assert not silent


def test_new_canvas():
    document = put(SkyCanvasNew, width=128, length=33, frame_rate=24.0).document
    assert (document.width, document.height, document.frames, document.fps) == (128, 64, 33, 24.0)


# --- pictures


@pytest.mark.parametrize(
    "size, box",
    [
        ({}, (0, 0, 20, 10)),
        ({"x": -4, "y": 7}, (-4, 7, 20, 10)),
        ({"width": 40}, (0, 0, 40, 20)),
        ({"height": 5}, (0, 0, 10, 5)),
        ({"width": 8, "height": 8}, (0, 0, 8, 8)),
    ],
)
def test_size_of_a_picture(canvas, size, box):
    x, y, width, height = box
    placed = put(SkyCanvasPlaceImage, canvas=canvas, image=noise(1, 10, 20, 3), **size).document.placements[0]
    assert placed.box == Box(x=x, y=y, width=width, height=height) and placed.path == ()
    assert (placed.frame, placed.frames, placed.fit, placed.role) == (0, 1, "cover", "keep")


def test_place_image_leaves_the_old_canvas_and_the_picture_alone(canvas):
    image = noise(1, 8, 8, 4)
    before, digest = image.clone(), canvas.document.digest()
    placed = put(SkyCanvasPlaceImage, canvas=canvas, image=image, mask=noise(1, 8, 8, seed=2))
    assert canvas.document.digest() == digest and not canvas.document.placements and torch.equal(image, before)
    placement = placed.document.placements[0]
    assert torch.equal(placed.media[placement.media], image[..., :3])
    assert torch.equal(placed.media[placement.alpha], image[..., 3] * noise(1, 8, 8, seed=2))


@pytest.mark.parametrize("frame, counted", [(0, 0), (16, 16), (-1, 16), (-17, 0)])
def test_frames_may_be_counted_from_the_end(canvas, frame, counted):
    image = noise(1, 64, 64, 3)
    placed = put(SkyCanvasPlaceImage, canvas=canvas, image=image, frame=frame)
    clip = put(SkyCanvasPlaceClip, canvas=canvas, images=image, frame=frame)
    region = put(SkyCanvasMaskRegion, canvas=canvas, frame=frame)
    assert placed.document.placements[0].frame == clip.document.placements[0].frame == counted
    assert region.document.regions[0].frame == counted


def test_hold_and_move(canvas):
    image = noise(1, 8, 8, 3)
    held = put(SkyCanvasPlaceImage, canvas=canvas, image=image, frame=4, frames=0).document.placements[0]
    assert (held.frame, held.frames) == (4, 13)
    moves = {"frames": 5, "x": 2, "move": True, "to_x": 40, "to_y": 50}
    moved = put(SkyCanvasPlaceImage, canvas=canvas, image=image, **moves).document.placements[0]
    assert moved.box_at(4) == Box(x=40, y=50, width=8, height=8)
    grown = put(SkyCanvasPlaceImage, canvas=canvas, image=image, **moves, to_width=16).document.placements[0]
    assert grown.box_at(4) == Box(x=40, y=50, width=16, height=8)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": noise(3, 8, 8, 3)}, "^image is a batch of 3 pictures: use 'Place Clip'"),
        ({"frame": 17}, "^frame is 17, outside the canvas of 17 frames: use 0 to 16"),
        ({"frame": -18}, r"^frame is -18, the canvas has 17: use -17 \(the first\) to 16"),
        ({"frame": 17, "frames": 0}, "^frame is 17, outside"),
        ({"frame": 9, "frames": 9}, "^frames is 9, from frame 9 on past the end .*: use 8 or fewer"),
        ({"x": 64}, r"^the box \(x, y, width, height\) is 8x8 at \(64, 0\), wholly outside the frame of 64x64"),
        ({"x": 99999}, "^x is 99999: use 16384 or less"),
        ({"width": -1, "height": 4}, "^width is -1: use 1 or more"),
        ({"move": True}, "^move is given, but frames is 1"),
        ({"move": True, "frames": 4, "to_x": 99999}, "^to_x is 99999: use 16384 or less"),
        ({"move": True, "frames": 4, "to_height": -1}, "^to_height is -1: use 1 or more"),
        ({"mask": noise(1, 64, 64)}, "^mask is 64x64, the image 8x8: use "),
        ({"mask": noise(2, 8, 8)}, "^mask has 2 frames: use 1$"),
        ({"image": noise(1, 8, 8, 2)}, r"^image has shape \[1, 8, 8, 2\]"),
        ({"image": noise(1, 0, 8, 3)}, "^image (is empty|has shape)"),
        ({"image": noise(1, 8, 8, 3) / 0}, "^image holds NaN or infinity"),
        ({"fit": "zoom"}, "^fit is \"zoom\": use 'stretch', 'contain' or 'cover'"),
    ],
)
def test_place_image_says_what_is_wrong(canvas, change, message):
    with pytest.raises(CanvasError, match=message):
        put(SkyCanvasPlaceImage, **{"canvas": canvas, "image": noise(1, 8, 8, 3)} | change)


def test_place_clip(canvas):
    clip = noise(9, 64, 64, 3)
    placed = put(SkyCanvasPlaceClip, canvas=canvas, images=clip, frame=4).document.placements[0]
    assert (placed.frame, placed.frames, placed.start) == (4, 9, 0)
    cut = put(SkyCanvasPlaceClip, canvas=canvas, images=clip, frame=12).document.placements[0]
    assert cut.frames == 5
    slow = put(SkyCanvasPlaceClip, canvas=canvas, images=clip, clip_frame_rate=8.0, start=0.25).document.placements[0]
    assert (slow.frames, slow.start) == (14, 0.25)  # 7 frames are left, each of them twice
    few = put(SkyCanvasPlaceClip, canvas=canvas, images=clip, frames=3, mask=noise(9, 64, 64)).document.placements[0]
    assert few.frames == 3 and few.alpha is not None


def test_place_clip_moves_as_a_camera_does(canvas):
    zoom = {"width": 64, "move": True, "to_x": 16, "to_y": 16, "to_width": 32, "to_height": 32}
    placed = put(SkyCanvasPlaceClip, canvas=canvas, images=noise(17, 32, 32, 3), **zoom).document.placements[0]
    assert placed.box_at(0) == Box(x=0, y=0, width=64, height=64)
    assert placed.box_at(16) == Box(x=16, y=16, width=32, height=32)


@pytest.mark.parametrize(
    "place, seconds, expected",
    [
        ({}, 2.0, (0.0, 0.0, 9 / 16)),
        ({"frame": 8}, 2.0, (0.5, 0.0, 9 / 16)),
        ({"frame": -5}, 2.0, (0.75, 0.0, 5 / 16)),
        ({"start": 0.25}, 2.0, (0.0, 0.25, 5 / 16)),
        ({}, 0.25, (0.0, 0.0, 0.25)),
        ({"start": 0.25, "frames": 2}, 0.3, (0.0, 0.25, 0.05)),
    ],
)
def test_the_sound_of_a_clip_goes_where_the_clip_goes(canvas, place, seconds, expected):
    audio = sound(seconds)
    document = put(SkyCanvasPlaceClip, canvas=canvas, images=noise(9, 64, 64, 3), audio=audio, **place).document
    placed = document.sounds[0]
    assert (placed.time, placed.start, placed.duration) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": 10}, "^frames is 10, .* a clip of 9 frames at 16 fps .*: use fewer frames"),
        ({"start": 3.0}, "^start is 3, past the end of a clip of 0.5625 s"),
        ({"clip_frame_rate": 0.0}, "^clip_frame_rate is 0"),
        ({"mask": noise(3, 64, 64)}, "^mask has 3 frames: use 1 or 9"),
        ({"images": noise(9, 64, 64)}, r"^images has shape \[9, 64, 64\]"),
        ({"start": 0.25, "audio": sound(0.2)}, "^start is 0.25, past the end of a sound of 0.2 s"),
        ({"audio": sound(batch=2)}, "^audio is a batch of 2 sounds: connect one"),
        ({"audio": sound(0.0)}, "^audio is empty"),
    ],
)
def test_place_clip_says_what_is_wrong(canvas, change, message):
    with pytest.raises(CanvasError, match=message):
        put(SkyCanvasPlaceClip, **{"canvas": canvas, "images": noise(9, 64, 64, 3)} | change)


# --- sound


def test_place_sound(canvas):
    document = put(SkyCanvasPlaceSound, canvas=canvas, audio=sound(0.5, channels=2), time=0.25).document
    placed = document.sounds[0]
    assert (placed.time, placed.start, placed.duration) == (0.25, 0.0, 0.5)
    surround = put(SkyCanvasPlaceSound, canvas=canvas, audio=sound(0.5, channels=6, sample_rate=48000), duration=0.1)
    placed = surround.document.sounds[0]
    assert placed.duration == 0.1 and surround.document.media[placed.media].channels == 6
    assert len(surround.media[placed.media]) == 2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"audio": sound(0.0)}, "^audio is empty"),
        ({"audio": sound(batch=3)}, "^audio is a batch of 3 sounds"),
        ({"audio": sound(channels=11)}, "^audio has 11 channels"),
        ({"time": 3.0}, "^time is 3, outside the canvas of 1.0625 s"),
        ({"duration": 5.0}, "^duration is 5, more than a sound of 1 s has .*: use 1 or less"),
    ],
)
def test_place_sound_says_what_is_wrong(canvas, change, message):
    with pytest.raises(CanvasError, match=message):
        put(SkyCanvasPlaceSound, **{"canvas": canvas, "audio": sound()} | change)


# --- regions


def test_mask_region_takes_all_at_first(canvas):
    region = put(SkyCanvasMaskRegion, canvas=canvas, frame=5).document.regions[0]
    assert region.action == "generate" and (region.frame, region.frames) == (5, 12)
    assert region.box == Box(x=0, y=0, width=64, height=64)


def test_mask_region_boxes_reach_the_edge_and_move(canvas):
    box = {"action": "keep", "x": 40, "y": 8, "height": 10, "frames": 4}
    region = put(SkyCanvasMaskRegion, canvas=canvas, **box).document.regions[0]
    assert region.action == "keep" and region.box == Box(x=40, y=8, width=24, height=10) and region.frames == 4
    region = put(SkyCanvasMaskRegion, canvas=canvas, **box, move=True, to_width=4).document.regions[0]
    assert region.box_at(3) == Box(x=0, y=0, width=4, height=10)


@pytest.mark.parametrize("count, frames, expected", [(1, 0, 12), (1, 3, 3), (7, 0, 7), (7, 7, 7)])
def test_mask_region_of_a_mask(canvas, count, frames, expected):
    mask = noise(count, 64, 64)
    placed = put(SkyCanvasMaskRegion, canvas=canvas, mask=mask, frame=5, frames=frames)
    region = placed.document.regions[0]
    assert torch.equal(placed.media[region.media], mask) and (region.frame, region.frames) == (5, expected)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frame": 17}, "^frame is 17, outside the canvas"),
        ({"frames": 18}, "^frames is 18, from frame 0 on past the end"),
        ({"x": 64}, "^the box .* wholly outside the frame"),
        ({"mask": noise(1, 64, 32)}, "^mask is a mask 32 pixels wide: use one 64 wide"),
        ({"mask": noise(3, 64, 64), "frames": 5}, "^mask is a mask of 3 frames: use one of 1 or 5"),
        ({"mask": noise(1, 64, 64), "x": 8}, r"^mask is connected, and a box of 0x0 at \(8, 0\) is set"),
        ({"mask": noise(1, 64, 64), "move": True}, "^mask is connected, and a box"),
        ({"action": "erase"}, "^action is \"erase\": use 'generate' or 'keep'"),
    ],
)
def test_mask_region_says_what_is_wrong(canvas, change, message):
    with pytest.raises(CanvasError, match=message):
        put(SkyCanvasMaskRegion, canvas=canvas, **change)


def test_mask_sound(canvas):
    whole = put(SkyCanvasMaskSound, canvas=canvas).document.regions[0]
    assert (whole.action, whole.time, whole.duration) == ("generate", 0, 17 / 16)
    rest = put(SkyCanvasMaskSound, canvas=canvas, action="keep", time=0.5).document.regions[0]
    assert (rest.action, rest.time, rest.duration) == ("keep", 0.5, 17 / 16 - 0.5)
    assert put(SkyCanvasMaskSound, canvas=canvas, time=0.5, duration=0.25).document.regions[0].duration == 0.25
    with pytest.raises(CanvasError, match="^time is 3, outside the canvas of 1.0625 s"):
        put(SkyCanvasMaskSound, canvas=canvas, time=3.0)


# --- references


def tags(canvas: Canvas) -> list[str]:
    return [reference.tag for reference in canvas.document.references]


def test_reference_images_are_numbered_in_order(canvas):
    images = {"image_10": noise(1, 8, 8, 3), "image_2": noise(2, 9, 9, 3), "image_3": None}
    placed = put(SkyCanvasReferenceImages, canvas=canvas, images=images)
    assert tags(placed) == ["@image_1", "@image_2", "@image_3"]
    sizes = [placed.media[reference.media].shape[1] for reference in placed.document.references]
    assert sizes == [9, 9, 8]  # by the numbers of the inputs, which come in any order
    more = put(SkyCanvasReferenceImages, canvas=placed, images={"image_1": noise(1, 8, 8, 4)}, tags=" @Actor-0 ")
    assert tags(more) == ["@image_1", "@image_2", "@image_3", "@Actor-0"] and len(tags(placed)) == 3
    assert put(SkyCanvasReferenceImages, canvas=canvas) == canvas


def test_own_tags_and_free_ones(canvas):
    images = {f"image_{i}": noise(1, 8, 8, 3, seed=i) for i in (1, 2, 3, 4)}
    placed = put(SkyCanvasReferenceImages, canvas=canvas, images=images, tags="@A, , @C")
    assert tags(placed) == ["@A", "@image_1", "@C", "@image_2"]


def test_reference_clip_and_voice(canvas):
    placed = put(SkyCanvasReferenceClip, canvas=canvas, images=noise(5, 8, 8, 3), clip_frame_rate=8.0)
    placed = put(SkyCanvasReferenceVoice, canvas=placed, audio=sound(0.2))
    placed = put(SkyCanvasReferenceVoice, canvas=placed, audio=sound(0.3), tag="@Narrator")
    assert tags(placed) == ["@video_1", "@audio_0", "@Narrator"]
    assert placed.document.media[placed.document.references[0].media].fps == 8


@pytest.mark.parametrize(
    "node, change, message",
    [
        (SkyCanvasReferenceImages, {"tags": "@A, @B"}, "^tags has 2 names, images has 1: use one name"),
        (SkyCanvasReferenceImages, {"tags": "Actor"}, '^tags is "Actor": use a tag such as @image_1'),
        (SkyCanvasReferenceImages, {"tags": "@video_1"}, "^tags is .*its media is of kind image: use @image_"),
        (SkyCanvasReferenceImages, {"images": {"image_1": noise(1, 8, 8, 2)}}, r"^images \(1 of 1\) has shape"),
        (SkyCanvasReferenceClip, {"tag": "@a b"}, '^tag is "@a b": use a tag such as'),
        (SkyCanvasReferenceClip, {"clip_frame_rate": 0.0}, "^clip_frame_rate is 0"),
        (SkyCanvasReferenceVoice, {"audio": sound(0.0)}, "^audio is empty"),
        (SkyCanvasReferenceVoice, {"audio": sound(batch=2)}, "^audio is a batch of 2 sounds"),
        (SkyCanvasReferenceVoice, {"tag": "@Twice"}, "^tag is .*, as .*: use another tag"),
    ],
)
def test_references_say_what_is_wrong(canvas, node, change, message):
    canvas = put(SkyCanvasReferenceVoice, canvas=canvas, audio=sound(0.1), tag="@Twice")
    media = {
        SkyCanvasReferenceImages: {"images": {"image_1": noise(1, 8, 8, 3)}},
        SkyCanvasReferenceClip: {"images": noise(5, 8, 8, 3)},
        SkyCanvasReferenceVoice: {"audio": sound(0.2)},
    }
    with pytest.raises(CanvasError, match=message):
        put(node, **{"canvas": canvas} | media[node] | change)


# --- the grid


def test_grid_of(model):
    video, audio = grid_of(model)
    assert (video, audio) == grid_of()
    assert video.latent_frames(17) == 5 and video.cells(64, 32) == (8, 4) and audio.latents(17 / 16) == 46


def test_grid_of_a_model_of_another_family():
    class Other:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="the model is a Linear.*'Load SkyCanvas Mini'"):
        grid_of(Other())
