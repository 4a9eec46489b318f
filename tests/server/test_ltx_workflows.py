"""The workflows for LTX-2.3: their files are those of ComfyUI's templates, and each runs on tiny weights, end to end.

The server has them under the names of the real ones (tests/ltx_tools.py). A canvas is a quarter as wide and high as
shipped, and 17 frames long; all else runs as it is, both VAEs included.
"""

import json
from importlib.metadata import distribution
from pathlib import Path

import av
import numpy as np
import pytest
from film_tools import frames_of, psnr, sound_of
from ltx_tools import model_files
from PIL import Image
from server_tools import LTX_WORKFLOWS, MINI_WORKFLOWS, ROOT, Prompt, read_workflow

from canvas.document import Document

LOADERS = {
    "CheckpointLoaderSimple": ("checkpoints",),
    "LTXVAudioVAELoader": ("checkpoints",),
    "LTXAVTextEncoderLoader": ("text_encoders", "checkpoints"),
    "LoraLoaderModelOnly": ("loras",),
}
SCALE, LENGTH, STEPS = 4, 17, 8
# Frames and counts of frames, and seconds: as shipped, and on the short canvas
FRAMES = {0: 0, 1: 1, 16: 8, 17: 9, 25: 9, 45: 7, 96: 16}
SECONDS = {0.64: 0.32, 0.65: 0.37}
# name: frames of the short canvas that are given as a whole, and the example that they show
GIVEN_FRAMES = {
    "ltx_image_to_video": (range(1), "magenta_triangle.png"),
    "ltx_region_inpainting": (range(9), "blue_triangle.mkv"),
    "ltx_extension": (range(9), "red_circle.mkv"),
    "ltx_voice_reference": (range(1), "face.png"),
}
GIVEN_SOUNDS = {"ltx_region_inpainting": (0.37, "blue_triangle.mkv"), "ltx_extension": (0.36, "red_circle.mkv")}


def templates() -> list[dict]:
    """All nodes of ComfyUI's templates for LTX-2.3, those of subgraphs too."""
    files = distribution("comfyui-workflow-templates-json").files or []
    paths = [Path(file.locate()) for file in files if "ltx2_3" in file.name and file.suffix == ".json"]
    workflows = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    graphs = [graph for one in workflows for graph in (one, *one.get("definitions", {}).get("subgraphs", []))]
    return [node for graph in graphs for node in graph["nodes"]]


def shrunk(prompt: Prompt) -> Prompt:
    """The same prompt on a canvas that tiny weights fill in a moment."""
    for node in prompt.values():
        kind, values = node["class_type"], node["inputs"]
        if kind == "SkyCanvasEditor":
            values["document"] = small_document(values["document"])
        elif kind == "SkyCanvasNew":
            values |= {"width": values["width"] // SCALE, "height": values["height"] // SCALE, "length": LENGTH}
        elif kind in ("SkyCanvasPlaceImage", "SkyCanvasPlaceClip", "SkyCanvasMaskRegion"):
            values |= {side: values[side] // SCALE for side in ("x", "y", "width", "height")}
            values |= {name: FRAMES[values[name]] for name in ("frame", "frames")}
        elif kind == "SkyCanvasMaskSound":
            values |= {name: SECONDS[values[name]] for name in ("time", "duration")}
    return prompt


def small_document(text: str) -> str:
    document = json.loads(text)
    document |= {"width": document["width"] // SCALE, "height": document["height"] // SCALE, "frames": LENGTH}
    for placement in document["placements"]:
        placement["frame"] = FRAMES[placement["frame"]]
        placement["box"] = {side: value // SCALE for side, value in placement["box"].items()}
    return Document.parse(json.dumps(document)).json()


# --- what they are made of


@pytest.mark.parametrize("name", LTX_WORKFLOWS)
def test_files_are_those_of_comfyuis_templates(name):
    nodes = read_workflow(name)["nodes"]
    files = model_files(nodes)
    assert files and files <= model_files(templates())
    note = next(node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    for file in files:
        assert f"[{file.name}]({file.url})" in note and f"`models/{file.directory}`" in note


@pytest.mark.parametrize("name", LTX_WORKFLOWS)
def test_each_loader_knows_where_its_files_come_from(object_info, name):
    loaders = [node for node in read_workflow(name)["nodes"] if node["type"] in LOADERS]
    assert {node["type"] for node in loaders} >= {"CheckpointLoaderSimple", "LTXVAudioVAELoader"}
    for node in loaders:
        named = {(file.name, file.directory) for file in model_files([node])}
        assert named == set(zip(node["widgets_values"], LOADERS[node["type"]], strict=False))
    assert model_files(loaders) == model_files(read_workflow(name)["nodes"])


@pytest.mark.parametrize("name", LTX_WORKFLOWS)
def test_sampling_is_that_of_comfyuis_templates(name):
    nodes, theirs = read_workflow(name)["nodes"], templates()
    kinds = [node["type"] for node in nodes]
    assert kinds.count("SkyCanvasNoise") == 1
    for kind in ("ManualSigmas", "CFGGuider", "SamplerEulerAncestral", "KSamplerSelect"):
        ours = [node["widgets_values"] for node in nodes if node["type"] == kind]
        assert all(values in [node["widgets_values"] for node in theirs if node["type"] == kind] for values in ours)
    (negative,) = [n["widgets_values"] for n in nodes if n.get("title", "").startswith("Negative prompt")]
    assert negative in [node["widgets_values"] for node in theirs if node["type"] == "CLIPTextEncode"]


# --- from end to end


@pytest.mark.parametrize("name", LTX_WORKFLOWS)
def test_workflow_runs_on_tiny_weights(server, run, prompt_of, name):
    prompt = shrunk(prompt_of(name))
    result = run(prompt)
    assert (result.end, result.error) == ("success", "")
    assert STEPS in result.steps
    (path,) = result.files(server)
    width, height = {"ltx_any_place_patches": (192, 128)}.get(name, (128, 128))
    frames = frames_of(path)
    assert frames.shape == (LENGTH, height, width, 3)
    assert np.abs(np.diff(frames.astype(int), axis=0)).max() > 8
    with av.open(str(path)) as file:
        picture, tone = file.streams.video[0], file.streams.audio[0]
        assert float(picture.average_rate) == 25
        assert float(tone.duration * tone.time_base) == pytest.approx(LENGTH / 25, abs=1 / 25)
    sound, rate = sound_of(path)
    assert np.isfinite(sound).all() and sound.std() > 1e-4
    for frame, example in (
        (frame, example) for given, example in [GIVEN_FRAMES.get(name, ((), ""))] for frame in given
    ):
        source = frames_of(ROOT / "example_media" / example)
        shown = source[min(frame * 16 // 25, len(source) - 1)]
        assert psnr(smaller(frames[frame], shown), shown) > 26, f"frame {frame}"
    if name in GIVEN_SOUNDS:
        end, example = GIVEN_SOUNDS[name]
        given, source_rate = sound_of(ROOT / "example_media" / example)
        spans = [part[0, : int(end * hertz)] for part, hertz in ((given, source_rate), (sound, rate))]
        loudness = [np.sqrt([block.mean() for block in np.array_split(np.square(span), 16)]) for span in spans]
        assert np.abs(np.subtract(*loudness)).max() < 0.02  # AAC changes them a little


def smaller(frame: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((like.shape[1], like.shape[0]), Image.Resampling.BOX))


def test_loras_reach_the_model(server, run, prompt_of):
    assert run(shrunk(prompt_of("ltx_voice_reference"))).end == "success"
    assert "lora key not loaded" not in server.log_path.read_text(encoding="utf-8", errors="replace")


# --- one graph, two families

CHECKPOINT, TEXT_ENCODER = "ltx-2.3-22b-distilled-fp8.safetensors", "gemma_3_12B_it_fp4_mixed.safetensors"
LTX_NODES = {
    "ltx model": ("CheckpointLoaderSimple", {"ckpt_name": CHECKPOINT}),
    "ltx audio": ("LTXVAudioVAELoader", {"ckpt_name": CHECKPOINT}),
    "ltx text": (
        "LTXAVTextEncoderLoader",
        {"text_encoder": TEXT_ENCODER, "ckpt_name": CHECKPOINT, "device": "default"},
    ),
}
# outputs of 'Load SkyCanvas Mini', and what takes their place
INSTEAD = {0: ["ltx model", 0], 1: ["ltx text", 0], 2: ["ltx model", 2], 3: ["ltx audio", 0]}
WAVES = {"wave_sampler", "wave_sampler_advanced"}


def on_ltx(prompt: Prompt) -> Prompt:
    """The same prompt with the loaders of LTX-2.3 wired in the place of Mini's."""
    (mini,) = [key for key, node in prompt.items() if node["class_type"] == "SkyCanvasLoadMini"]
    nodes = {key: {**node, "inputs": dict(node["inputs"])} for key, node in prompt.items() if key != mini}
    for node in nodes.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value and value[0] == mini:
                node["inputs"][name] = INSTEAD[value[1]]
    return nodes | {key: {"class_type": kind, "inputs": dict(inputs)} for key, (kind, inputs) in LTX_NODES.items()}


def canvases_of_mini() -> list[str]:
    """Workflows whose canvas goes to the sampler. A refined one takes Mini's Refiner too."""
    kinds = {name: {node["type"] for node in read_workflow(name)["nodes"]} for name in MINI_WORKFLOWS}
    return [name for name in kinds if "SkyCanvasEncode" in kinds[name] and "SkyCanvasRefine" not in kinds[name]]


@pytest.mark.parametrize("name", [name for name in canvases_of_mini() if name not in WAVES])
def test_canvas_of_mini_runs_on_ltx(server, run, prompt_of, name):
    prompt = prompt_of(name)
    result = run(on_ltx(prompt))
    assert (result.end, result.error) == ("success", "")
    (path,) = result.files(server)
    frames, (sound, _) = frames_of(path), sound_of(path)
    assert frames.shape[1:] == (64, 64, 3) and len(frames) in (17, 25, 33)
    assert sound.std() > 1e-4
    for preview in [key for key, node in prompt.items() if node["class_type"] == "SkyCanvasPreview"]:
        needed = {preview}
        while (
            more := {value[0] for key in needed for value in prompt[key]["inputs"].values() if isinstance(value, list)}
            - needed
        ):
            needed |= more
        mini = run({key: prompt[key] for key in needed}).outputs[preview]["text"][0].splitlines()
        ltx = result.outputs[preview]["text"][0].splitlines()
        assert mini[:2] == ltx[:2]  # what is on the canvas; the rest depends on the grid


@pytest.mark.parametrize("name", sorted(WAVES))
def test_wave_on_ltx_is_refused(run, prompt_of, name):
    result = run(on_ltx(prompt_of(name)))
    assert result.end == "error" and "the wave needs a model with a noise level per token" in result.error
