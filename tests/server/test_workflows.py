"""The shipped workflows: how they lie on the screen, what they are made of, and each of Mini's from end to end."""

import itertools
from collections import Counter

import av
import numpy as np
import pytest
from film_tools import envelope, frames_of, psnr, sound_of
from PIL import Image
from server_tools import MINI_WORKFLOWS, ROOT, read_workflow, workflow_names

from canvas.document import Document

TITLE = 30  # pixels of a node's title bar, above its position
PICTURES, SOUND = {"video"}, {"audio"}
STREAMS = {"text_to_image": PICTURES, "text_to_audio": SOUND}  # all others have both
TASKS = [name for name in workflow_names() if not name.startswith("text_to_")]
NO_CANVAS = {"long_extension", "sound_layers", "two_shots"}
# name: frames, width and height, and frame rate of the refined clip
REFINED = {
    "refine_clip": (33, 128, 32),
    "double_frame_rate": (65, 64, 32),
    "refine_inpainted": (33, 128, 32),
    "keyframes_and_refiner": (33, 128, 32),
}
PAINTED = {"any_place_patches", "paint_on_canvas", "ltx_any_place_patches"}  # in the editor
CANVASES = [name for name in TASKS if name not in (NO_CANVAS | REFINED.keys() | PAINTED)]
FRAMES = {"seamless_loop": 25, "long_extension": 201}  # where the result is longer than a latent
SAMPLERS = ("KSampler", "SkyCanvasSampler", "BasicScheduler", "SkyCanvasExtend")
NOT_IN_A_WORKFLOW = {
    "SkyCanvasLoadModel",  # there is no other checkpoint yet
    "SkyCanvasPackForTraining",  # trains for minutes
}
# name: (frame of the result, example, frame of the example) for pictures that are given as a whole
GIVEN_FRAMES = {
    "image_to_video": [(0, "magenta_triangle.png", 0)],
    "first_last_frame": [(0, "red_circle.mkv", 0), (16, "red_circle.mkv", 16)],
    "any_frame_images": [(frame, "green_square.mkv", frame) for frame in (2, 9, 15)],
    "video_extension": [(frame, "red_circle.mkv", frame) for frame in range(17)],
    "region_inpainting": [(frame, "green_square.mkv", frame) for frame in (*range(5), *range(13, 17))],
    "camera_zoom_pan": [(0, "green_square.mkv", 0)],
    "scene_transition": [
        *((frame, "red_circle.mkv", frame) for frame in range(9)),
        *((17 + frame, "green_square.mkv", frame) for frame in range(8, 16)),
    ],
    "seamless_loop": [(frame, "green_square.mkv", frame) for frame in range(17)],
    "long_extension": [(frame, "blue_triangle.mkv", frame) for frame in range(33)],
    "keep_picture_remake_sound": [(frame, "red_circle.mkv", frame) for frame in range(17)],
    "wave_sampler": [(0, "white_circle.png", 0)],
    "wave_sampler_advanced": [(0, "white_circle.png", 0)],
    "effect_reference": [(0, "white_circle.png", 0)],
    "talking_face": [(0, "face.png", 0)],
    "edit_in_a_mask": [(frame, "red_circle.mkv", frame) for frame in range(17)],  # the same clip without the logo
    "refine_inpainted": [(frame, "green_square_large.mkv", frame) for frame in (*range(10), *range(26, 33))],
}
# name: the example whose sound is given from the start, as long as it is
GIVEN_SOUNDS = {
    "video_extension": "red_circle.mkv",
    "outpainting": "red_circle.mkv",
    "camera_zoom_pan": "green_square.mkv",
    "background_inpainting": "red_circle.mkv",
    "keep_sound_remake_picture": "red_circle.mkv",
    "seamless_loop": "green_square.mkv",
    "long_extension": "blue_triangle.mkv",
    "remove_overlay": "red_circle.mkv",
    "edit_in_a_mask": "red_circle.mkv",
    "add_subject": "red_circle.mkv",
    "remove_subject": "red_circle.mkv",
    "edit_background": "red_circle.mkv",
    "style_transfer": "red_circle.mkv",
    "camera_control": "green_square.mkv",
    "scene_attributes": "red_circle.mkv",
    "background_video_reference": "red_circle.mkv",
    "refine_clip": "red_circle.mkv",
    "double_frame_rate": "blue_triangle.mkv",
    "refine_inpainted": "green_square_large.mkv",
}
# Elsewhere it may be that the object reaches no wall, and makes no sound.
BOUNCES = {*GIVEN_SOUNDS, "keep_picture_remake_sound", *(name for name in MINI_WORKFLOWS if name not in TASKS)}


# --- on the screen


def rectangle(node: dict) -> tuple[float, float, float, float]:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def bounding(group: dict) -> tuple[float, float, float, float]:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(one: tuple, other: tuple) -> bool:
    return other[0] <= one[0] and other[1] <= one[1] and one[2] <= other[2] and one[3] <= other[3]


@pytest.mark.parametrize("name", workflow_names())
def test_nothing_overlaps(name):
    workflow = read_workflow(name)
    nodes = {f"{node['id']} ({node['type']})": rectangle(node) for node in workflow["nodes"]}
    groups = {group["title"]: bounding(group) for group in workflow["groups"]}
    for things in (nodes, groups):
        assert not [pair for pair in itertools.combinations(things, 2) if overlap(*(things[key] for key in pair))]
    for node, place in nodes.items():
        touched = [group for group in groups.values() if overlap(place, group)]
        assert not touched or (len(touched) == 1 and inside(place, touched[0])), node


@pytest.mark.parametrize("name", workflow_names())
def test_links_run_from_left_to_right(name):
    workflow = read_workflow(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for _, origin, output, target, slot, kind in workflow["links"]:
        assert nodes[origin]["pos"][0] <= nodes[target]["pos"][0], (origin, target)
        assert nodes[origin]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][slot]["link"] is not None


@pytest.mark.parametrize("name", workflow_names())
def test_workflow_says_what_it_is_about(name):
    (note,) = [node for node in read_workflow(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert note["title"] == "About this workflow" and note["widgets_values"][0].startswith("## ")
    if name in TASKS:
        assert "**Change**" in note["widgets_values"][0]


# --- what they are made of


@pytest.mark.parametrize("name", workflow_names())
def test_nodes_are_saved_with_the_inputs_that_they_have_now(object_info, name):
    for node in read_workflow(name)["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        sections = object_info[node["type"]]["input"]
        names = [key for section in ("required", "optional") for key in sections.get(section) or {}]
        saved = list(dict.fromkeys(slot["name"].partition(".")[0] for slot in node["inputs"]))
        assert saved == names[: len(saved)], node["type"]
        assert set(names[len(saved) :]) <= set(sections.get("optional", {})), node["type"]  # added since
        widgets = sum("widget" in slot for slot in node["inputs"])
        after_generation = sum(slot["name"] in ("seed", "noise_seed") for slot in node["inputs"])
        assert len(node["widgets_values"]) == widgets + after_generation, node["type"]


def test_every_node_of_the_pack_is_in_a_workflow(object_info):
    pack = {name for name, info in object_info.items() if info["python_module"].endswith("skycanvas")}
    used = {node["type"] for name in workflow_names() for node in read_workflow(name)["nodes"]}
    assert pack - used == NOT_IN_A_WORKFLOW


@pytest.mark.parametrize("name", CANVASES)
def test_canvas_is_shown_before_and_put_back_after_sampling(name):
    kinds = Counter(node["type"] for node in read_workflow(name)["nodes"])
    once = ("New", "Preview", "Encode", "Decode", "Compose")
    assert [kinds[f"SkyCanvas{part}"] for part in once] == [1] * len(once) and kinds["SaveVideo"] == 1


@pytest.mark.parametrize("name", sorted(PAINTED))
def test_canvas_is_painted_and_the_result_is_viewed(name):
    nodes = read_workflow(name)["nodes"]
    kinds = Counter(node["type"] for node in nodes)
    once = ("Editor", "Encode", "Decode", "Compose", "View")
    assert [kinds[f"SkyCanvas{part}"] for part in once] == [1] * len(once) and kinds["SaveVideo"] == 1
    (document,) = [node["widgets_values"][0] for node in nodes if node["type"] == "SkyCanvasEditor"]
    assert Document.parse(document).json() == document  # as the editor writes it: opening it changes nothing


@pytest.mark.parametrize("name", workflow_names())
def test_conversion_agrees_with_comfy_cli(object_info, prompt_of, name):
    from comfy_cli.workflow_to_api import convert_ui_to_api

    def plain(prompt):
        return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()}

    assert plain(convert_ui_to_api(read_workflow(name), object_info)) == plain(prompt_of(name))


def test_reference_clips_are_as_long_as_the_canvas(prompt_of):
    """An instruction edits frame by frame: Mini has learnt no other lengths together."""
    found = 0
    for prompt in map(prompt_of, CANVASES):
        (canvas,) = [node["inputs"] for node in prompt.values() if node["class_type"] == "SkyCanvasNew"]
        for node in prompt.values():
            if node["class_type"] == "SkyCanvasReferenceClip":
                example = prompt[node["inputs"]["images"][0]]["inputs"]["example"]
                assert len(frames_of(ROOT / "example_media" / example)) == canvas["length"]
                found += 1
    assert found


# --- from end to end


@pytest.mark.parametrize("name", MINI_WORKFLOWS)
def test_workflow_runs_as_shipped(server, run, prompt_of, name):
    prompt = prompt_of(name)
    result = run(prompt)
    assert (result.end, result.error) == ("success", "")
    for key, node in prompt.items():
        if node["class_type"] == "SkyCanvasPrompt":
            # A node that ComfyUI has cached from the workflow before, with the same prompt, does not speak again.
            assert result.texts.get(key, "All words are known.") == "All words are known."
    (path,) = result.files(server)
    inputs = {node["class_type"]: node["inputs"] for node in prompt.values()}
    steps = next(inputs[kind]["steps"] for kind in SAMPLERS if kind in inputs)
    assert steps in result.steps
    size = inputs.get("SkyCanvasNew") or inputs.get("SkyCanvasEmptyLatent", {"width": 64, "height": 64})
    if name in PAINTED:
        canvas = Document.parse(inputs["SkyCanvasEditor"]["document"])
        size = {"width": canvas.width, "height": canvas.height, "length": canvas.frames, "frame_rate": canvas.fps}
    if path.suffix == ".png":
        assert Image.open(path).size == (size["width"], size["height"])
        return
    with av.open(str(path)) as file:
        assert {stream.type for stream in file.streams} == STREAMS.get(name, PICTURES | SOUND)
    sound, rate = sound_of(path)
    assert rate == 44100
    if name in BOUNCES:
        assert sound.std() > 1e-4
    if STREAMS.get(name) == SOUND:
        return
    frames, length, frame_rate = frames_of(path), FRAMES.get(name, size.get("length")), size.get("frame_rate", 16)
    width, height = size["width"], size["height"]
    if name in REFINED:
        length, width, frame_rate = REFINED[name]
        height = width
    assert frames.shape == (length, height, width, 3)
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 8
    with av.open(str(path)) as file:
        picture, tone = file.streams.video[0], file.streams.audio[0]
        assert (picture.codec_context.name, tone.codec_context.name) == ("h264", "aac")
        assert float(picture.average_rate) == frame_rate
        assert float(picture.duration * picture.time_base) == pytest.approx(length / frame_rate, abs=1e-3)
        # A sound that is left alone lasts a little longer than the refined clip: up to one frame of the small one.
        spare = (2 if name in REFINED else 1) / frame_rate
        assert float(tone.duration * tone.time_base) == pytest.approx(length / frame_rate, abs=spare)
    examples = {example: frames_of(ROOT / "example_media" / example) for _, example, _ in GIVEN_FRAMES.get(name, [])}
    for frame, example, source in GIVEN_FRAMES.get(name, []):  # H.264 changes them a little
        assert psnr(frames[frame], examples[example][source]) > 26, f"frame {frame}"
    if name in GIVEN_SOUNDS:
        given = envelope(sound_of(ROOT / "example_media" / GIVEN_SOUNDS[name])[0])
        assert np.corrcoef(given, envelope(sound)[: len(given)])[0, 1] > 0.95
