"""The shipped blueprints: what they are made of, how they lie on the screen, and each from end to end on Mini."""

import itertools
import uuid

import av
import numpy as np
import pytest
from blueprint_tools import (
    CASES,
    GIVEN,
    GIVEN_FRAMES,
    TEXT_TO_VIDEO,
    blueprint_names,
    definition_of,
    read_blueprint,
    workflow_around,
)
from server_tools import ROOT

from launcher.workflow import to_prompt

TITLE = 30  # pixels of a node's title bar, above its position
INPUTS, OUTPUTS = -10, -20  # stand for the node outside, in the links of a subgraph
RESULT = [("video", "VIDEO"), ("images", "IMAGE"), ("audio", "AUDIO"), ("fps", "FLOAT")]
MODELS = {
    TEXT_TO_VIDEO: [],  # Mini is inside
    "Refine Video (SkyCanvas)": ["refiner", "clip", "vae"],
}
every_blueprint = pytest.mark.parametrize("name", blueprint_names())


def test_every_blueprint_is_tried():
    assert blueprint_names() == sorted(CASES)


# --- what they are made of


@every_blueprint
def test_blueprint_is_one_node_with_a_name_a_category_and_a_description(name):
    blueprint = read_blueprint(name)
    (instance,), definition = blueprint["nodes"], definition_of(blueprint)
    assert instance["type"] == definition["id"]
    assert instance["title"] == definition["name"] == name  # the node library shows the name of the file
    assert definition["category"] == "SkyCanvas"
    assert definition["description"].endswith(".")
    ids = [blueprint["id"], definition["id"], *(slot["id"] for slot in definition["inputs"] + definition["outputs"])]
    assert len({uuid.UUID(id) for id in ids}) == len(ids)


def test_blueprints_have_different_ids():
    ids = [definition_of(read_blueprint(name))["id"] for name in blueprint_names()]
    assert len(set(ids)) == len(ids)


@every_blueprint
def test_models_come_first_then_media_then_the_prompt(name):
    (instance,) = read_blueprint(name)["nodes"]
    sockets = [slot["name"] for slot in instance["inputs"] if "widget" not in slot]
    widgets = [slot["name"] for slot in instance["inputs"] if "widget" in slot]
    assert [slot["name"] for slot in instance["inputs"]] == sockets + widgets
    models = MODELS.get(name, ["model", "clip", "vae", "audio_vae"])
    assert sockets[: len(models)] == models
    assert widgets[0] == "prompt"
    assert [(slot["name"], slot["type"]) for slot in instance["outputs"]] == RESULT


@every_blueprint
def test_links_join_slots_of_one_type(name):
    definition = definition_of(read_blueprint(name))
    nodes = {node["id"]: node for node in definition["nodes"]}
    outer = {INPUTS: definition["inputs"], OUTPUTS: definition["outputs"]}
    for link in definition["links"]:
        origin = (outer.get(link["origin_id"]) or nodes[link["origin_id"]]["outputs"])[link["origin_slot"]]
        target = (outer.get(link["target_id"]) or nodes[link["target_id"]]["inputs"])[link["target_slot"]]
        assert origin["type"] == link["type"] and link["type"] in target["type"].split(","), link
        assert link["id"] in (origin.get("links") or origin["linkIds"])
        assert link["id"] in (target.get("linkIds") or [target["link"]])
    assert all(slot["linkIds"] for slot in definition["inputs"] + definition["outputs"])


@every_blueprint
def test_widgets_outside_hold_what_the_widgets_inside_do(object_info, name):
    blueprint = read_blueprint(name)
    (instance,), definition = blueprint["nodes"], definition_of(blueprint)
    slots = instance["inputs"]
    assert [(slot["name"], slot["type"]) for slot in slots] == [
        (slot["name"], slot["type"]) for slot in definition["inputs"]
    ]
    values = dict(zip((slot["name"] for slot in slots if "widget" in slot), instance["widgets_values"], strict=True))
    # The nodes inside by themselves: their own values, with nothing outside to override them.
    nodes = [node | {"inputs": []} for node in definition["nodes"]]
    inside = to_prompt({"nodes": nodes, "links": []}, object_info)
    for link in definition["links"]:
        if link["origin_id"] == INPUTS and (input := definition["inputs"][link["origin_slot"]])["name"] in values:
            target = next(node for node in definition["nodes"] if node["id"] == link["target_id"])
            slot = target["inputs"][link["target_slot"]]
            assert inside[str(target["id"])]["inputs"][slot["name"]] == values[input["name"]], input["name"]


@every_blueprint
def test_seeds_are_fixed_and_nodes_are_there(object_info, name):
    for node in definition_of(read_blueprint(name))["nodes"]:
        assert node["type"] in object_info
        if any(slot["name"] == "seed" for slot in node["inputs"]):
            assert "fixed" in node["widgets_values"]


# --- on the screen


@every_blueprint
def test_nodes_lie_in_groups_between_input_and_output(name):
    definition = definition_of(read_blueprint(name))
    boxes = {str(node["id"]): (*node["pos"], *node["size"]) for node in definition["nodes"]}
    boxes = {id: (x, y - TITLE, x + width, y + height) for id, (x, y, width, height) in boxes.items()}
    groups = {group["title"]: rectangle(group["bounding"]) for group in definition["groups"]}
    ends = {end: rectangle(definition[end]["bounding"]) for end in ("inputNode", "outputNode")}
    for things in (boxes, groups | ends):
        assert not [pair for pair in itertools.combinations(things, 2) if overlap(*(things[key] for key in pair))]
    for node, box in boxes.items():
        assert sum(overlap(box, group) and union(box, group) == group for group in groups.values()) == 1, node
    left, right = min(box[0] for box in groups.values()), max(box[2] for box in groups.values())
    assert ends["inputNode"][2] <= left and right <= ends["outputNode"][0]


def rectangle(bounding):
    x, y, width, height = bounding
    return x, y, x + width, y + height


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def union(one, other):
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


# --- on the server


def test_server_lists_them(server):
    listed = [entry for entry in server.get("/global_subgraphs").values() if entry["source"] == "custom_node"]
    assert sorted(entry["name"] for entry in listed) == blueprint_names()
    assert {entry["info"]["node_pack"] for entry in listed} == {"custom_nodes.skycanvas"}


@every_blueprint
def test_conversion_agrees_with_comfy_cli(object_info, name):
    from comfy_cli.workflow_to_api import convert_ui_to_api

    workflow = workflow_around(name, object_info)
    assert convert_ui_to_api(workflow, object_info) == to_prompt(workflow, object_info)


@every_blueprint
def test_blueprint_makes_a_clip_with_sound(server, run, object_info, name):
    prompt = to_prompt(workflow_around(name, object_info), object_info)
    result = run(prompt)
    assert (result.end, result.error) == ("success", "")
    values, (count, side, rate) = CASES[name]
    assert values["steps"] in result.steps
    (path,) = result.files(server)
    with av.open(str(path)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
        assert float(file.streams.video[0].average_rate) == rate
    assert frames.shape == (count, side, values.get("width", side), 3)
    with av.open(str(path)) as file:
        sound = np.concatenate([part.to_ndarray() for part in file.decode(audio=0)], axis=-1)
    assert np.isfinite(sound).all() and sound.shape[-1] >= count / rate * 44100 * 0.9
    # What of the source is kept; H.264 changes it a little.
    kept = {
        "Extend Video (SkyCanvas)": np.s_[:GIVEN_FRAMES],
        "Inpaint Video in a Box (SkyCanvas)": np.s_[:, :, :30],  # left of it
        "Inpaint Video in a Mask (SkyCanvas)": np.s_[:, :8],  # above it
        "Sound for a Video (SkyCanvas)": np.s_[:],
    }
    if name in kept:
        with av.open(str(ROOT / "example_media" / GIVEN)) as file:
            given = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])[:count]
        error = np.abs(frames.astype(float) - given)[kept[name]]
        assert error.mean() < 6
