"""From the graph that ComfyUI's editor saves (UI format) to the prompt that its server runs (API format).

The editor does this in the browser (`graphToPrompt` in its executionUtil.ts); this is the part of it that a saved
workflow needs. A UI graph stores widget values by position, so their names come from the server's /object_info. What
cannot be converted for certain is an error, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from . import LauncherError

_MUTED, _BYPASSED = 2, 4  # the editor's node modes
_VIRTUAL = ("Note", "MarkdownNote", "PrimitiveNode", "Reroute")  # they exist in the editor alone
_VALUE_TYPES: dict[str, type | tuple[type, ...]] = {
    "INT": (int, float),  # JSON as browsers write it does not tell 1.0 from 1
    "FLOAT": (int, float),
    "BOOLEAN": bool,
    "STRING": str,
    "COMBO": object,
}
_DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
# Inputs with an editor of their own whose values may take several places; no workflow of ours has one.
_OTHER_WIDGETS = (
    "BOUNDING_BOX", "BOUNDING_BOXES", "CHART", "COLOR", "COLORS", "CURVE", "GALLERIA", "IMAGECOMPARE", "MARKDOWN",
    "PAINTER", "RANGE", "TEXTAREA",
)  # fmt: skip
_CHOICE = re.compile(r"(?<!\\)[{}]|//|/\*")  # the editor draws from {a|b} and drops comments when a prompt is queued

Spec = list[Any]
"""An input in /object_info: [type or list of choices, options]."""


class WorkflowError(LauncherError):
    """The workflow cannot be converted; the message names the node."""


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The API-format prompt of the UI-format `workflow`: `{node id: {class_type, inputs, _meta}}`.

    object_info: what the server answers at /object_info.

    Raises WorkflowError for a node type that the server does not know, a subgraph, a value of another type than its
    widget's, a link that leads nowhere, and a text with a random choice.
    """
    if not isinstance(workflow.get("nodes"), list) or not isinstance(workflow.get("links"), list):
        raise WorkflowError("This is no workflow as ComfyUI's editor saves it: it has no nodes and links.")
    graph = _Graph(workflow)
    prompt = {}
    for node in graph.nodes.values():
        if node["type"] not in _VIRTUAL and node.get("mode", 0) not in (_MUTED, _BYPASSED):
            definition = _definition(node, workflow, object_info)
            title = node.get("title") or definition.get("display_name") or node["type"]
            inputs = _widget_values(node, definition) | graph.linked_inputs(node)
            prompt[str(node["id"])] = {"inputs": inputs, "class_type": node["type"], "_meta": {"title": title}}
    return prompt


class _Graph:
    """The nodes and links of a workflow, and where a link really comes from."""

    def __init__(self, workflow: dict[str, Any]) -> None:
        self.nodes: dict[Any, dict[str, Any]] = {node["id"]: node for node in workflow["nodes"]}
        self._sources = {link[0]: (link[1], link[2]) for link in workflow["links"]}

    def linked_inputs(self, node: dict[str, Any]) -> dict[str, Any]:
        """What the links of `node` bring: `[node id, output index]`, or the value of a primitive node."""
        inputs = {}
        for slot in node.get("inputs") or []:
            if slot.get("link") is not None and (source := self._source(slot["link"], slot["type"], node)):
                origin, index = source
                if origin["type"] == "PrimitiveNode":
                    inputs[slot["name"]] = _wrapped(origin["widgets_values"][0])
                else:
                    inputs[slot["name"]] = [str(origin["id"]), index]
        return inputs

    def _source(self, link: int, wanted: str, node: dict[str, Any]) -> tuple[dict[str, Any], int] | None:
        """The node and output that feed `link`, through reroutes and bypassed nodes; None where a muted node does."""
        seen = set()
        while link not in seen:
            seen.add(link)
            if link not in self._sources or self._sources[link][0] not in self.nodes:
                raise WorkflowError(f"Link {link} into node {_name(node)} leads nowhere: save the workflow anew.")
            origin, index = self.nodes[self._sources[link][0]], self._sources[link][1]
            mode, through = origin.get("mode", 0), None
            if mode == _MUTED:
                return None
            if origin["type"] == "Reroute":
                through = origin["inputs"][0].get("link")
            elif mode == _BYPASSED:
                through = _bypass(origin, index, wanted)
            else:
                return origin, index
            if through is None:  # nothing is connected before the reroute or the bypassed node
                return None
            link = through
        raise WorkflowError(f"The links into node {_name(node)} go round in a circle.")


def _bypass(node: dict[str, Any], output: int, wanted: str) -> int | None:
    """The link that stands in for `output` of a bypassed node: that of the input with its type."""
    inputs = node.get("inputs") or []
    if output < len(inputs) and _fits(inputs[output]["type"], wanted):
        return inputs[output].get("link")  # type: ignore[no-any-return]
    return next((slot.get("link") for slot in inputs if _fits(slot["type"], wanted)), None)


def _fits(one: str, other: str) -> bool:
    return "*" in (one, other) or bool(set(str(one).lower().split(",")) & set(str(other).lower().split(",")))


def _definition(node: dict[str, Any], workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    if definition := object_info.get(node["type"]):
        return dict(definition)
    subgraphs = workflow.get("definitions", {}).get("subgraphs", [])
    if any(subgraph["id"] == node["type"] for subgraph in subgraphs):
        raise WorkflowError(f"Node {_name(node)} is a subgraph: unpack it in the editor and save the workflow anew.")
    raise WorkflowError(f"ComfyUI knows no node of type {_name(node)}: install the pack that it comes from.")


def _widget_values(node: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """The values of all widgets of `node` by input name, defaults for those added since it was saved."""
    stored = node.get("widgets_values") or []
    specs = list(_inputs(definition["input"]))
    if isinstance(stored, dict):  # some packs store them by name
        names = {name for name, _ in specs}
        return {name: _wrapped(value) for name, value in stored.items() if name in names}
    values: list[Any] = list(stored)
    named: dict[str, Any] = {}
    for name, spec in specs:
        _take(name, spec, values, named, node)
    # What may remain belongs to upload buttons and to widgets that show a result: they come last and are no inputs.
    return named


def _take(name: str, spec: Spec, values: list[Any], named: dict[str, Any], node: dict[str, Any]) -> None:
    """Move what belongs to the input `name` from the front of `values` to `named`."""
    kind, options = spec[0], _options(spec)
    kind = options.get("widgetType") or ("COMBO" if isinstance(kind, list) else kind)
    if options.get("forceInput") or options.get("rawLink"):
        return
    if kind in _OTHER_WIDGETS:
        raise WorkflowError(f"Input {name} of node {_name(node)} is of type {kind}, which cannot be converted.")
    if kind not in (*_VALUE_TYPES, _DYNAMIC_COMBO):
        return  # an input for links
    value = values.pop(0) if values else _default(spec)
    if value is not None and not isinstance(value, _VALUE_TYPES.get(kind, str)):
        raise WorkflowError(
            f"Input {name} of node {_name(node)} is of type {kind} and its value is {value!r}: the workflow was saved "
            "with another version of this node. Set the value in the editor and save it anew."
        )
    if options.get("dynamicPrompts") and isinstance(value, str) and _CHOICE.search(value):
        raise WorkflowError(
            f"The text of node {_name(node)} holds a random choice {{a|b}} or a comment, which only the editor "
            "resolves: write out one text."
        )
    named[name] = _wrapped(value)
    if kind == _DYNAMIC_COMBO:
        chosen = next((choice for choice in options["options"] if choice["key"] == value), None)
        if chosen is None:
            keys = ", ".join(str(choice["key"]) for choice in options["options"])
            raise WorkflowError(f"Input {name} of node {_name(node)} is {value!r} and can be: {keys}.")
        for part, part_spec in _inputs(chosen["inputs"]):
            _take(f"{name}.{part}", part_spec, values, named, node)
    for _ in range(_companions(name, kind, options)):
        if values:
            values.pop(0)


def _companions(name: str, kind: str, options: dict[str, Any]) -> int:
    """How many widgets the editor puts behind this one: what becomes of its value after a run, and a combo's filter."""
    if kind == "INT":
        return int(bool(options.get("control_after_generate", name in ("seed", "noise_seed"))))
    if kind == "COMBO" and options.get("control_after_generate"):
        return 1 if options.get("remote") else 2
    return 0


def _inputs(sections: dict[str, Any]) -> Iterator[tuple[str, Spec]]:
    """The inputs in the order of their widgets: required ones first."""
    for section in ("required", "optional"):
        yield from (sections.get(section) or {}).items()


def _options(spec: Spec) -> dict[str, Any]:
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def _default(spec: Spec) -> Any:
    kind, options = spec[0], _options(spec)
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options") or []
    if choices:
        return choices[0]["key"] if kind == _DYNAMIC_COMBO else choices[0]
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False, "STRING": ""}.get(str(kind))


def _wrapped(value: Any) -> Any:
    """A list as a value must not look like a link; the server takes the wrapping off."""
    return {"__value__": value} if isinstance(value, list) else value


def _name(node: dict[str, Any]) -> str:
    return f"{node['id']} ({node['type']})"
