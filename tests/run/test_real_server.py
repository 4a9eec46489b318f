"""The launcher with the real ComfyUI. `run.py test` names it in COMFYUI_PATH."""

import copy
import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from importlib.metadata import distribution
from pathlib import Path

import av
import pytest
from comfy_cli.workflow_to_api import convert_ui_to_api

from launcher.server import PromptFailed, PromptRefused, Server, ServerDied
from launcher.workflow import WorkflowError, to_prompt

ROOT = Path(__file__).parents[2]
STOCK = json.loads((Path(__file__).parent / "stock_workflow.json").read_text(encoding="utf-8"))

# Where comfy-cli's converter departs from the editor that we follow (and that refuses nothing of this).
NOT_AS_THE_EDITOR = {
    # no default for the inputs of a dynamic combo that were added after the workflow was saved
    ("SaveVideo", "codec.encoding"),
    ("TextGenerate", "sampling_mode.presence_penalty"),
    ("KlingOmniProImageToVideoNode", "storyboards"),
    ("KlingOmniProTextToVideoNode", "storyboards"),
    # a default for an input that has no widget
    ("RecraftTextToImageNode", "negative_prompt"),
    ("RecraftTextToVectorNode", "negative_prompt"),
    # a bypassed node hands on an input of another type
    ("Hunyuan3Dv2ConditioningMultiView", "left"),
    ("Hunyuan3Dv2ConditioningMultiView", "right"),
    ("WanVaceToVideo", "control_masks"),
    # the upload button for the image
    ("LoadImage", "image"),
    ("LoadImage", "button"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("base")
    comfyui = Path(os.environ["COMFYUI_PATH"])
    with Server(
        python=Path(sys.executable),
        comfyui=comfyui,
        pack=ROOT,
        base_directory=base,
        output_directory=base / "output",
        port=0,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def object_info(server) -> dict:
    return server.get("/object_info")


def test_workflow_runs_to_a_file(server, object_info) -> None:
    reports = []
    prompt = to_prompt(STOCK, object_info)
    files = server.run(prompt, workflow=STOCK, report=lambda *report: reports.append(report))
    assert files == [server.output_directory / "stock" / "grey_00001_.mp4"]
    assert {node for node, _, _ in reports if node} == set(prompt)
    with av.open(str(files[0])) as video:
        assert [stream.codec_context.name for stream in video.streams] == ["h264", "aac"]
        assert video.streams.video[0].frames == 17
        assert video.streams.video[0].average_rate == Fraction(16)
        assert json.loads(video.metadata["workflow"])["nodes"] == STOCK["nodes"]


@pytest.mark.parametrize(
    ("node", "name", "value", "message"),
    [
        ("1", "width", -1, r"node 1 \(EmptyImage\): .*smaller than min.*: width"),
        ("4", "format", "vhs", r"node 4 \(SaveVideo\): Value not in list: format: 'vhs' not in"),
    ],
)
def test_refusal_names_the_node_and_its_input(server, object_info, node, name, value, message) -> None:
    prompt = to_prompt(STOCK, object_info)
    prompt[node]["inputs"][name] = value
    with pytest.raises(PromptRefused, match=message):
        server.run(prompt)


def test_failure_names_the_node_and_the_reason(server, object_info) -> None:
    prompt = to_prompt(STOCK, object_info)
    prompt["4"]["inputs"]["filename_prefix"] = "../outside"
    with pytest.raises(PromptFailed, match=r"(?s)Node 4 \(SaveVideo\) failed: .*outside the output folder"):
        server.run(prompt)


def test_pack_and_settings_lie_in_the_base_directory(server) -> None:
    assert (server.base_directory / "user" / "comfyui.db").is_file()
    assert (server.base_directory / "custom_nodes" / "skycanvas" / "run.py").samefile(ROOT / "run.py")


def test_own_workflows_convert_as_comfy_cli_does(object_info) -> None:
    paths = sorted((ROOT / "workflows").glob("*.json"))
    assert paths
    for path in paths:
        workflow = json.loads(path.read_text(encoding="utf-8"))
        assert to_prompt(workflow, object_info) == convert_ui_to_api(workflow, object_info), path.name


def test_stock_templates_convert_as_comfy_cli_does(object_info) -> None:
    differences, converted = set(), 0
    files = distribution("comfyui-workflow-templates-json").files or []
    for path in (Path(file.locate()) for file in files if file.suffix == ".json"):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(workflow, dict) or "nodes" not in workflow:
            continue
        try:
            ours = to_prompt(copy.deepcopy(workflow), object_info)
        except WorkflowError:
            continue  # most of them were saved by older editors
        converted += 1
        theirs = convert_ui_to_api(workflow, object_info)
        assert ours.keys() == theirs.keys(), path.name
        for node, other in ((ours[id], theirs[id]) for id in ours):
            assert {**node, "inputs": None} == {**other, "inputs": None}, path.name
            one, two = node["inputs"], other["inputs"]
            differing = {name for name in one.keys() | two.keys() if one.get(name, ...) != two.get(name, ...)}
            differences |= {(node["class_type"], name) for name in differing}
    assert converted > 200
    assert differences <= NOT_AS_THE_EDITOR


def test_a_server_that_is_killed_is_noticed(server) -> None:
    """Last, as it takes the server with it."""
    os.kill(server.process_id, 9)
    with pytest.raises(ServerDied, match=r"signal 9.*the last lines of its log"):
        server.get("/queue")


def test_demo_makes_a_clip_with_sound() -> None:
    demo = [sys.executable, "run.py", "demo"]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"step \d+/\d+", done.stdout), "no sampler step was shown"
    path = Path(done.stdout.splitlines()[-1])
    with av.open(str(path)) as video:
        picture, sound = video.streams.video[0], video.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert abs(picture.duration * picture.time_base - sound.duration * sound.time_base) <= 1 / picture.average_rate
    path.unlink()
