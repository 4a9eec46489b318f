"""The shipped blueprints, and a small workflow around each of them, as the editor would save it."""

import copy
import json
import uuid
from typing import Any

from server_tools import ROOT

FOLDER = ROOT / "subgraphs"
TEXT_TO_VIDEO = "Text to Video and Sound (SkyCanvas Mini)"
# Widgets of the blueprint that differ from what is shipped, so that it runs fast; frames, side and rate of its result.
CASES: dict[str, tuple[dict[str, Any], tuple[int, int, float]]] = {
    TEXT_TO_VIDEO: ({"steps": 2, "length": 5, "width": 80}, (5, 64, 16)),
    "Image to Video and Sound (SkyCanvas)": ({"steps": 2, "length": 5, "width": 80}, (5, 64, 16)),
    "Canvas to Video and Sound (SkyCanvas)": ({"steps": 2}, (9, 64, 16)),
    "Extend Video (SkyCanvas)": ({"steps": 2, "seconds": 0.2, "window": 13}, (15, 64, 16)),
    "Inpaint Video in a Box (SkyCanvas)": ({"steps": 2, "box_x": 32, "box_width": 32, "box_height": 40}, (9, 64, 16)),
    "Inpaint Video in a Mask (SkyCanvas)": ({"steps": 2, "grow": 3, "sound": "generate"}, (9, 64, 16)),
    "Edit Video by Instruction (SkyCanvas)": ({"steps": 2}, (9, 64, 16)),
    "Refine Video (SkyCanvas)": ({"steps": 1}, (17, 128, 32)),
    "Sound for a Video (SkyCanvas)": ({"steps": 2}, (9, 64, 16)),
}
GIVEN = "red_circle.mkv"  # of which the video that goes in has the first frames
GIVEN_FRAMES = 11  # two more than whole latent frames


def blueprint_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_blueprint(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def definition_of(blueprint: dict[str, Any]) -> dict[str, Any]:
    (definition,) = blueprint["definitions"]["subgraphs"]
    return definition


class Workflow:
    """A graph that is put together node by node."""

    def __init__(self, object_info: dict[str, Any]) -> None:
        self._object_info = object_info
        self.nodes: list[dict[str, Any]] = []
        self.links: list[list[Any]] = []

    def add(self, kind: str, *values: Any, **sources: tuple[dict[str, Any], str]) -> dict[str, Any]:
        """A node. values: of its widgets; sources: the nodes, and their outputs, that feed its inputs."""
        outputs = zip(self._object_info[kind]["output_name"], self._object_info[kind]["output"], strict=True)
        node = {
            "type": kind,
            "inputs": [{"name": name, "type": "*", "link": None} for name in sources],
            "outputs": [{"name": name, "type": type, "links": []} for name, type in outputs],
            "properties": {"Node name for S&R": kind},
            "widgets_values": list(values),
        }
        return self.place(node, **sources)

    def place(self, node: dict[str, Any], **sources: tuple[dict[str, Any], str]) -> dict[str, Any]:
        """A node that is there already."""
        count = len(self.nodes)
        where = {"pos": [450 * (count % 4), 600 * (count // 4)], "size": [400, 300], "flags": {}, "order": count}
        node = where | {"mode": 0} | copy.deepcopy(node) | {"id": count + 100}
        node["pos"] = where["pos"]
        for name, (origin, output) in sources.items():
            slot = next(slot for slot in node["inputs"] if slot["name"] == name)
            index = [slot["name"] for slot in origin["outputs"]].index(output)
            out = origin["outputs"][index]
            slot["link"] = len(self.links) + 1
            slot["type"] = out["type"] if slot["type"] == "*" else slot["type"]
            out["links"] = [*(out["links"] or []), slot["link"]]
            self.links.append([slot["link"], origin["id"], index, node["id"], node["inputs"].index(slot), out["type"]])
        self.nodes.append(node)
        return node

    def saved(self, **definitions: Any) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "revision": 0,
            "last_node_id": max(node["id"] for node in self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [],
            "definitions": definitions,
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def workflow_around(name: str, object_info: dict[str, Any]) -> dict[str, Any]:
    """A workflow in which the blueprint gets what it needs, and 'Save Video' what it makes."""
    blueprint, graph = read_blueprint(name), Workflow(object_info)
    (instance,) = copy.deepcopy(blueprint["nodes"])
    widgets = [slot["name"] for slot in instance["inputs"] if "widget" in slot]
    for widget, value in CASES[name][0].items():
        instance["widgets_values"][widgets.index(widget)] = value
    wanted = {slot["name"] for slot in instance["inputs"]}
    sources = {}
    if wanted & {"model", "refiner"}:
        load = graph.add("SkyCanvasLoadMini", "default")
        outputs = {"model": "MODEL", "refiner": "refiner", "clip": "CLIP", "vae": "vae", "audio_vae": "audio_vae"}
        sources = {name: (load, output) for name, output in outputs.items() if name in wanted}
    if "video" in wanted:
        example = graph.add("SkyCanvasExample", GIVEN)
        frames = graph.add("ImageFromBatch", 0, GIVEN_FRAMES, image=(example, "images"))
        fps, audio = (example, "frame_rate"), (example, "audio")
        video = graph.add("CreateVideo", 16.0, 8, images=(frames, "IMAGE"), fps=fps, audio=audio)
        sources["video"] = (video, "VIDEO")
        if "mask" in wanted:  # of more frames than the video
            sources["mask"] = (example, "mask")
    if "image" in wanted:
        sources["image"] = (graph.add("SkyCanvasExample", "magenta_triangle.png"), "images")
    if "canvas" in wanted:
        sources["canvas"] = (graph.add("SkyCanvasNew", 64, 64, 9, 16.0), "canvas")
    placed = graph.place(instance, **sources)
    graph.add("SaveVideo", "blueprints/clip", "auto", "auto", video=(placed, "video"))
    return graph.saved(subgraphs=blueprint["definitions"]["subgraphs"])
