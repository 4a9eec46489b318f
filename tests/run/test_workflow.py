"""The conversion of saved workflows, case by case. test_real_server.py holds it against the real node definitions."""

import pytest

from launcher.workflow import WorkflowError, to_prompt

OBJECT_INFO = {
    "Source": {"input": {"required": {"seed": ["INT", {"default": 0}], "name": [["a", "b"], {}]}}},
    "Sampler": {
        "input": {
            "required": {
                "latent": ["LATENT", {}],
                "steps": ["INT", {"default": 20}],
                "seed": ["INT", {"control_after_generate": True}],
                "model": ["COMBO", {"options": ["x", "y"], "control_after_generate": True}],
            },
            "optional": {"text": ["STRING", {"default": "hi"}], "strength": ["FLOAT", {"forceInput": True}]},
        }
    },
    "Save": {
        "input": {
            "required": {
                "codec": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {"key": "auto", "inputs": {}},
                            {"key": "h264", "inputs": {"required": {"crf": ["FLOAT", {"default": 23.0}]}}},
                        ]
                    },
                ],
                "prefix": ["STRING", {}],
            }
        }
    },
    "Load": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
    "Prompt": {"input": {"required": {"text": ["STRING", {"dynamicPrompts": True}]}}},
    "Mix": {"input": {"required": {"a": ["IMAGE"], "b": ["IMAGE"], "points": [["p", "q"], {}]}}},
}


def node(
    id: int, type: str, values: list | dict | None = None, inputs: list | None = None, mode: int = 0, **more
) -> dict:
    slots = [{"name": name, "type": kind, "link": link} for name, kind, link in inputs or []]
    return {"id": id, "type": type, "widgets_values": values, "inputs": slots, "mode": mode, **more}


def convert(*nodes: dict, links: list | None = None) -> dict:
    """Node id -> inputs of the prompt."""
    prompt = to_prompt({"nodes": list(nodes), "links": links or []}, OBJECT_INFO)
    return {int(id): entry["inputs"] for id, entry in prompt.items()}


def test_values_come_in_order_without_the_editors_own_widgets() -> None:
    sampler = node(2, "Sampler", [8, 42, "randomize", "y", "fixed", "filter", "hello"], [("latent", "LATENT", 5)])
    source = node(1, "Source", [7, "fixed", "b"])
    assert convert(source, sampler, links=[[5, 1, 3, 2, 0, "LATENT"]]) == {
        1: {"seed": 7, "name": "b"},
        2: {"latent": ["1", 3], "steps": 8, "seed": 42, "model": "y", "text": "hello"},
    }


def test_inputs_added_since_it_was_saved_get_their_default() -> None:
    assert convert(node(1, "Sampler", [8])) == {1: {"steps": 8, "seed": 0, "model": "x", "text": "hi"}}


def test_title_and_type_are_kept() -> None:
    prompt = to_prompt(
        {"nodes": [node(1, "Source", [], title="Mine"), node(2, "Source", [])], "links": []}, OBJECT_INFO
    )
    assert [(entry["class_type"], entry["_meta"]["title"]) for entry in prompt.values()] == [
        ("Source", "Mine"),
        ("Source", "Source"),
    ]


@pytest.mark.parametrize(
    ("values", "inputs"),
    [
        (["auto", "out"], {"codec": "auto", "prefix": "out"}),
        (["h264", 18.0, "out"], {"codec": "h264", "codec.crf": 18.0, "prefix": "out"}),
        ([], {"codec": "auto", "prefix": ""}),
    ],
)
def test_dynamic_combo_brings_the_inputs_of_its_choice(values, inputs) -> None:
    assert convert(node(1, "Save", values)) == {1: inputs}


def test_values_by_name() -> None:
    assert convert(node(1, "Source", {"seed": 3, "name": "b", "videopreview": {}})) == {1: {"seed": 3, "name": "b"}}


def test_upload_buttons_and_shown_results_are_no_inputs() -> None:
    assert convert(node(1, "Load", ["a.png", "image", None])) == {1: {"image": "a.png"}}


def test_a_list_does_not_look_like_a_link() -> None:
    assert convert(node(1, "Mix", [["1", 0]])) == {1: {"points": {"__value__": ["1", 0]}}}


def test_reroute_primitive_and_note_vanish() -> None:
    nodes = [
        node(1, "Source", [1, "fixed", "a"]),
        node(2, "Reroute", None, [("", "*", 1)]),
        node(3, "Reroute", None, [("", "*", 2)]),
        node(4, "PrimitiveNode", [12, "fixed"]),
        node(5, "Note", ["read me"]),
        node(6, "Sampler", [8, 42, "fixed", "x", "fixed", ""], [("latent", "LATENT", 3), ("steps", "INT", 4)]),
    ]
    links = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 3, 0, "*"], [3, 3, 0, 6, 0, "*"], [4, 4, 0, 6, 1, "INT"]]
    prompt = convert(*nodes, links=links)
    assert set(prompt) == {1, 6}
    assert prompt[6]["latent"] == ["1", 0]
    assert prompt[6]["steps"] == 12


def test_bypassed_node_hands_through_the_input_of_its_type() -> None:
    nodes = [
        node(1, "Source", []),
        node(2, "Mix", ["p"], [("mask", "MASK", None), ("a", "IMAGE", 1)], mode=4, outputs=[{"type": "IMAGE"}]),
        node(3, "Mix", ["p"], [("a", "IMAGE", 2)]),
    ]
    prompt = convert(*nodes, links=[[1, 1, 1, 2, 1, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]])
    assert prompt == {1: {"seed": 0, "name": "a"}, 3: {"a": ["1", 1], "points": "p"}}


def test_muted_node_leaves_the_input_open() -> None:
    nodes = [node(1, "Source", [], mode=2), node(2, "Mix", ["p"], [("a", "IMAGE", 1)])]
    assert convert(*nodes, links=[[1, 1, 0, 2, 0, "IMAGE"]]) == {2: {"points": "p"}}


@pytest.mark.parametrize(
    ("nodes", "links", "message"),
    [
        ([node(1, "Gone", [])], [], "knows no node of type 1 \\(Gone\\): install the pack"),
        (
            [node(1, "Source", ["a", "fixed", 1])],
            [],
            "Input seed of node 1 \\(Source\\) is of type INT and its value is 'a'",
        ),
        ([node(1, "Save", ["av1"])], [], "Input codec of node 1 \\(Save\\) is 'av1' and can be: auto, h264"),
        ([node(1, "Mix", ["p"], [("a", "IMAGE", 9)])], [], "Link 9 into node 1 \\(Mix\\) leads nowhere"),
        ([node(1, "Prompt", ["a {red|blue} ball"])], [], "random choice"),
        (
            [node(1, "Reroute", None, [("", "*", 1)]), node(2, "Mix", ["p"], [("a", "IMAGE", 2)])],
            [[1, 1, 0, 1, 0, "*"], [2, 1, 0, 2, 0, "*"]],
            "go round in a circle",
        ),
    ],
    ids=["unknown type", "wrong type", "unknown choice", "lost link", "random prompt", "circle"],
)
def test_what_cannot_be_converted_for_certain_is_refused(nodes, links, message) -> None:
    with pytest.raises(WorkflowError, match=message):
        convert(*nodes, links=links)


def test_sound_tags_are_ordinary_text() -> None:
    text = "a red circle bounces slowly <sfx> low ping </sfx>"
    assert convert(node(1, "Prompt", [text])) == {1: {"text": text}}


# --- subgraphs


def subgraph(id: str, nodes: list, links: list, inputs: list | None = None, outputs: list | None = None) -> dict:
    """A definition. links: (id, origin, output, target, input), with -10 and -20 for the input and output node;
    inputs: names; outputs: ids of the links that lead to them."""
    parts = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    return {
        "id": id,
        "nodes": nodes,
        "links": [dict(zip(parts, link, strict=True)) for link in links],
        "inputs": [{"name": name} for name in inputs or []],
        "outputs": [{"name": "out", "linkIds": [link]} for link in outputs or []],
    }


def instance(id: int, type: str, values: list, inputs: list, widgets: tuple = (), **more) -> dict:
    """A node that stands for a subgraph. widgets: the inputs that have one, with `values`."""
    made = node(id, type, values, inputs, **more)
    for slot in made["inputs"]:
        if slot["name"] in widgets:
            slot["widget"] = {"name": slot["name"]}
    return made


# A sampler whose latent, steps and text come from outside.
SAMPLING = subgraph(
    "sampling",
    [
        node(
            4,
            "Sampler",
            [8, 42, "fixed", "x", "fixed", "", "inside"],
            [("latent", "LATENT", 1), ("steps", "INT", 2), ("text", "STRING", 3)],
        )
    ],
    [(1, -10, 0, 4, 0), (2, -10, 1, 4, 1), (3, -10, 2, 4, 2), (4, 4, 0, -20, 0)],
    inputs=["latent", "steps", "text"],
    outputs=[4],
)
SLOTS = [("latent", "LATENT", 1), ("steps", "INT", None), ("text", "STRING", None)]
WIDGETS = ("steps", "text")


def convert_with(subgraphs: list, *nodes: dict, links: list | None = None) -> dict:
    """Node id -> inputs of the prompt."""
    workflow = {"nodes": list(nodes), "links": links or [], "definitions": {"subgraphs": subgraphs}}
    return {id: entry["inputs"] for id, entry in to_prompt(workflow, OBJECT_INFO).items()}


def test_nodes_of_a_subgraph_get_what_comes_from_outside() -> None:
    prompt = convert_with(
        [SAMPLING],
        node(1, "Source", []),
        instance(2, "sampling", [30, "outside"], SLOTS, WIDGETS),
        node(3, "Mix", ["p"], [("a", "IMAGE", 2)]),
        links=[[1, 1, 0, 2, 0, "LATENT"], [2, 2, 0, 3, 0, "IMAGE"]],
    )
    assert prompt == {
        "1": {"seed": 0, "name": "a"},
        "2:4": {"latent": ["1", 0], "steps": 30, "seed": 42, "model": "x", "text": "outside"},
        "3": {"a": ["2:4", 0], "points": "p"},
    }


def test_a_link_from_outside_wins_over_the_widget() -> None:
    slots = [("latent", "LATENT", None), ("steps", "INT", 1), ("text", "STRING", 2)]
    prompt = convert_with(
        [SAMPLING],
        node(1, "PrimitiveNode", [12, "fixed"]),
        node(3, "Source", []),
        instance(2, "sampling", [30, "outside"], slots, WIDGETS),
        links=[[1, 1, 0, 2, 1, "INT"], [2, 3, 1, 2, 2, "STRING"]],
    )
    assert prompt["2:4"] == {"steps": 12, "seed": 42, "model": "x", "text": ["3", 1]}  # latent is open


def test_two_instances_of_a_subgraph_are_two_sets_of_nodes() -> None:
    slots = [("latent", "LATENT", None), *SLOTS[1:]]
    prompt = convert_with(
        [SAMPLING],
        instance(2, "sampling", [1, "one"], slots, WIDGETS),
        instance(3, "sampling", [2, "two"], [("latent", "LATENT", 1), *SLOTS[1:]], WIDGETS),
        links=[[1, 2, 0, 3, 0, "LATENT"]],
    )
    assert prompt["2:4"]["text"] == "one"
    assert (prompt["3:4"]["text"], prompt["3:4"]["latent"]) == ("two", ["2:4", 0])


def test_subgraph_in_a_subgraph() -> None:
    slots = [("latent", "LATENT", None), ("steps", "INT", 1), ("text", "STRING", None)]
    outer = subgraph(
        "outer",
        [instance(7, "sampling", [30, "middle"], slots, WIDGETS)],
        [(1, -10, 0, 7, 1), (2, 7, 0, -20, 0)],
        inputs=["steps"],
        outputs=[2],
    )
    prompt = convert_with(
        [SAMPLING, outer],
        instance(5, "outer", [9], [("steps", "INT", None)], ("steps",)),
        node(6, "Mix", ["p"], [("a", "IMAGE", 1)]),
        links=[[1, 5, 0, 6, 0, "IMAGE"]],
    )
    assert prompt["5:7:4"]["steps"] == 9
    assert prompt["5:7:4"]["text"] == "middle"
    assert prompt["6"]["a"] == ["5:7:4", 0]


@pytest.mark.parametrize(("mode", "expected"), [(2, {"points": "p"}), (4, {"a": ["1", 0], "points": "p"})])
def test_muted_and_bypassed_subgraphs(mode, expected) -> None:
    prompt = convert_with(
        [SAMPLING],
        node(1, "Source", []),
        instance(2, "sampling", [30, "outside"], SLOTS, WIDGETS, mode=mode),
        node(3, "Mix", ["p"], [("a", "LATENT", 2)]),
        links=[[1, 1, 0, 2, 0, "LATENT"], [2, 2, 0, 3, 0, "LATENT"]],
    )
    assert set(prompt) == {"1", "3"}
    assert prompt["3"] == expected


@pytest.mark.parametrize(
    ("subgraphs", "node", "message"),
    [
        ([SAMPLING], instance(2, "sampling", [], SLOTS, WIDGETS), "2 \\(sampling\\) was saved by an older editor"),
        (
            [SAMPLING],
            instance(2, "sampling", [1, ""], SLOTS, WIDGETS, properties={"proxyWidgets": [["4", "steps"]]}),
            "was saved by an older editor: open the workflow in ComfyUI and save it anew",
        ),
        ([subgraph("loop", [node(4, "loop")], [])], node(2, "loop"), "4 \\(loop\\) contains itself"),
        ([subgraph("other", [node(4, "Gone")], [])], node(2, "other"), "no node of type 4 \\(Gone\\)"),
        ([], node(2, "lost"), "no node of type 2 \\(lost\\)"),
    ],
    ids=["no values", "proxy widgets", "in itself", "unknown type inside", "no definition"],
)
def test_subgraph_that_cannot_be_converted_for_certain_is_refused(subgraphs, node, message) -> None:
    with pytest.raises(WorkflowError, match=message):
        convert_with(subgraphs, node)


def test_a_prompt_is_no_workflow() -> None:
    with pytest.raises(WorkflowError, match="no nodes and links"):
        to_prompt({"1": {"class_type": "Source", "inputs": {}}}, OBJECT_INFO)
