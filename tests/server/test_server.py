"""The pack in the real ComfyUI: what the server lists and serves, and what it answers to prompts of all kinds."""

import io
import urllib.request

import numpy as np
import pytest
from PIL import Image
from server_tools import ROOT, read_workflow, workflow_names

DOCS = sorted((ROOT / "web" / "docs").glob("*.md"))
NODES = {path.stem for path in DOCS}


def fetch(server, path: str) -> bytes:
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return answer.read()


def test_every_node_is_registered_and_documented(object_info):
    found = {name: info for name, info in object_info.items() if info["python_module"].endswith("skycanvas")}
    assert set(found) == NODES and len(NODES) >= 6
    for name, info in found.items():
        assert info["description"] and info["display_name"] != name and info["category"].startswith("SkyCanvas/")


@pytest.mark.parametrize("doc", DOCS, ids=lambda path: path.stem)
def test_docs_are_served(server, doc):
    assert fetch(server, f"/extensions/skycanvas/docs/{doc.name}") == doc.read_bytes()


def test_workflows_are_templates(server):
    assert sorted(server.get("/workflow_templates")["skycanvas"]) == workflow_names()
    for name in workflow_names():
        assert server.get(f"/api/workflow_templates/skycanvas/{name}.json") == read_workflow(name)


def test_advanced_workflow_makes_the_same_film(server, run, prompt_of):
    films = []
    for name in ("text_to_video_audio", "text_to_video_audio_advanced"):
        prompt = prompt_of(name, steps=4)
        for key, node in list(prompt.items()):  # H.264 comes out a little different each time, PNG does not
            if node["class_type"] == "CreateVideo":
                images = prompt.pop(key)["inputs"]["images"]
            elif node["class_type"] == "SaveVideo":
                save = prompt[key] = {"class_type": "SaveImage", "inputs": {"filename_prefix": f"same/{name}"}}
        save["inputs"]["images"] = images
        films.append([np.asarray(Image.open(path)) for path in run(prompt).files(server)])
    assert len(films[0]) == 17 and np.array_equal(*films)


def test_previews_arrive_while_sampling(server, run, prompt_of):
    result = run(prompt_of("text_to_video_audio", seed=11, steps=5))
    assert result.end == "success" and len(result.previews) >= 4
    picture = Image.open(io.BytesIO(result.previews[-1][4:]))
    assert picture.size == (512, 128 + 64) and np.asarray(picture).std() > 1  # four frames, and their sound


def test_unknown_words_are_shown_in_the_node(server, run, prompt_of):
    prompt = prompt_of("text_to_image", steps=1)
    (node,) = [key for key, node in prompt.items() if node["class_type"] == "SkyCanvasPrompt"]
    prompt[node]["inputs"]["text"] = "a red circle with polka dots"
    result = run(prompt)
    assert result.end == "success" and result.texts[node] == "Not known, ignored: polka, dots"
    assert result.outputs[node]["text"] == [result.texts[node]]


def test_empty_prompt(server, run, prompt_of):
    assert run(prompt_of("text_to_video_audio", text="", steps=2, seed=12)).end == "success"


def test_interrupted_run_leaves_no_trace(server, run, prompt_of):
    prompt = prompt_of("text_to_image", seed=21, steps=6)

    def picture():
        server.post("/free", {"unload_models": True, "free_memory": True})  # else the result would come from the cache
        result = run(prompt)
        assert result.end == "success" and result.steps[-1] == 6
        (path,) = result.files(server)
        return np.asarray(Image.open(path))

    before = picture()
    interrupted = run(prompt_of("text_to_video_audio", seed=22, steps=5000), interrupt_at=3)
    assert interrupted.end == "interrupted" and max(interrupted.steps) < 5000
    assert np.array_equal(picture(), before)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"length": 30}, "length 30 is not 4n+1: use 29 or 33"),
        ({"width": 100}, "width 100 is not a multiple of 16: use 96 or 112"),
    ],
)
def test_wrong_sizes_are_answered_with_right_ones(run, prompt_of, changes, message):
    result = run(prompt_of("text_to_video_audio", **changes))
    assert result.end == "error" and message in result.error


def test_latent_of_a_picture_alone_is_answered_with_the_way_out(run, prompt_of):
    prompt = prompt_of("text_to_video_audio")
    (node,) = [node for node in prompt.values() if node["class_type"] == "SkyCanvasEmptyLatent"]
    node["class_type"], node["inputs"] = "EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}
    result = run(prompt)
    assert result.end == "error" and "'Empty SkyCanvas Latent'" in result.error
