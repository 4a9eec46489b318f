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
_INPUTS = -10  # stands for the node outside, in the links of a subgraph
_NOTHING = object()  # that a link brings from a muted node, for one
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

    object_info: what the server answers at /object_info. The nodes inside of a subgraph node 3 are "3:1", "3:2", ...

    Raises WorkflowError for a node type that the server does not know, a subgraph that an older editor saved, a value
    of another type than its widget's, a link that leads nowhere, and a text with a random choice.
    """
    if not isinstance(workflow.get("nodes"), list) or not isinstance(workflow.get("links"), list):
        raise WorkflowError("This is no workflow as ComfyUI's editor saves it: it has no nodes and links.")
    subgraphs = {subgraph["id"]: subgraph for subgraph in workflow.get("definitions", {}).get("subgraphs", [])}
    prompt = {}
    for graph, node in _Graph(workflow, subgraphs).executed():
        definition = object_info.get(node["type"])
        if not definition:
            raise WorkflowError(f"ComfyUI knows no node of type {_name(node)}: install the pack that it comes from.")
        title = node.get("title") or definition.get("display_name") or node["type"]
        inputs = _widget_values(node, definition) | graph.linked_inputs(node)
        prompt[graph.path(node)] = {"inputs": inputs, "class_type": node["type"], "_meta": {"title": title}}
    return prompt


class _Graph:
    """The nodes and links of a workflow, or of one subgraph node in it, and where a link really comes from.

    subgraphs: all definitions, by the node type that stands for each.
    outer, instances: the graph around it, and the subgraph nodes around it, of which the last one is its own.
    """

    def __init__(
        self,
        content: dict[str, Any],
        subgraphs: dict[str, dict[str, Any]],
        outer: _Graph | None = None,
        instances: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.nodes: dict[Any, dict[str, Any]] = {node["id"]: node for node in content["nodes"]}
        self._content, self._outer, self._instances = content, outer, instances
        self._sources = {link: source for link, *source in map(_link, content["links"])}
        self._inner: dict[Any, _Graph] = {}
        for id, node in self.nodes.items():
            if node["type"] in subgraphs and _is_active(node):
                _check_instance(node, instances)
                self._inner[id] = _Graph(subgraphs[node["type"]], subgraphs, self, (*instances, node))

    def path(self, node: dict[str, Any]) -> str:
        """The id of `node` in the prompt: the ids of the subgraph nodes around it, and its own."""
        return ":".join(str(one["id"]) for one in (*self._instances, node))

    def executed(self) -> Iterator[tuple[_Graph, dict[str, Any]]]:
        """The nodes that the server is to run, each with its graph."""
        for id, node in self.nodes.items():
            if id in self._inner:
                yield from self._inner[id].executed()
            elif node["type"] not in _VIRTUAL and _is_active(node):
                yield self, node

    def linked_inputs(self, node: dict[str, Any]) -> dict[str, Any]:
        """What the links of `node` bring: `[node id, output index]`, or the value of a widget outside of it."""
        inputs = {}
        for slot in node.get("inputs") or []:
            if slot.get("link") is not None:
                value = self._value(slot["link"], slot["type"], node, set())
                if value is not _NOTHING:
                    inputs[slot["name"]] = value
        return inputs

    def _value(self, link: int, wanted: str, node: dict[str, Any], seen: set[tuple[_Graph, int]]) -> Any:
        """What `link` brings to `node`, through reroutes, bypassed nodes and the borders of subgraphs."""
        if (self, link) in seen:
            raise WorkflowError(f"The links into node {_name(node)} go round in a circle.")
        seen.add((self, link))
        id, index = self._sources.get(link, (None, 0))
        if id == _INPUTS:
            return self._outside(index, wanted, seen)
        if id not in self.nodes:
            raise WorkflowError(f"Link {link} into node {_name(node)} leads nowhere: save the workflow anew.")
        origin = self.nodes[id]
        if origin.get("mode", 0) == _MUTED:
            return _NOTHING
        if origin["type"] == "Reroute":
            through = origin["inputs"][0].get("link")
        elif origin.get("mode", 0) == _BYPASSED:
            through = _bypass(origin, index, wanted)
        elif origin["type"] == "PrimitiveNode":
            return _wrapped(origin["widgets_values"][0])
        elif id in self._inner:
            return self._inner[id]._output(index, wanted, seen)
        else:
            return [self.path(origin), index]
        # None: nothing is connected before the reroute or the bypassed node
        return _NOTHING if through is None else self._value(through, wanted, node, seen)

    def _outside(self, index: int, wanted: str, seen: set[tuple[_Graph, int]]) -> Any:
        """What the subgraph node has at its input `index`: what is connected there, else the value of its widget."""
        assert self._outer, "a workflow has no inputs"
        name, instance = self._content["inputs"][index]["name"], self._instances[-1]
        slots = {slot["name"]: slot for slot in instance["inputs"]}
        slot = slots.get(name, {})
        if slot.get("link") is not None:
            return self._outer._value(slot["link"], wanted, instance, seen)
        if "widget" not in slot:
            return _NOTHING
        widgets = [name for name, slot in slots.items() if "widget" in slot]
        return _wrapped(instance["widgets_values"][widgets.index(name)])

    def _output(self, index: int, wanted: str, seen: set[tuple[_Graph, int]]) -> Any:
        """What leaves the subgraph at its output `index`."""
        links = self._content["outputs"][index].get("linkIds")
        return self._value(links[0], wanted, self._instances[-1], seen) if links else _NOTHING


def _link(link: list[Any] | dict[str, Any]) -> tuple[int, Any, int]:
    """Id, node and output of a link, which is a list in a workflow and an object in a subgraph."""
    if isinstance(link, dict):
        return link["id"], link["origin_id"], link["origin_slot"]
    return link[0], link[1], link[2]


def _is_active(node: dict[str, Any]) -> bool:
    return node.get("mode", 0) not in (_MUTED, _BYPASSED)


def _check_instance(node: dict[str, Any], around: tuple[dict[str, Any], ...]) -> None:
    """WorkflowError if a subgraph node lies in itself, or does not have a value for each of its widgets."""
    if any(node["type"] == other["type"] for other in around):
        raise WorkflowError(f"The subgraph of node {_name(node)} contains itself: unpack it in the editor.")
    widgets = [slot for slot in node.get("inputs") or [] if "widget" in slot]
    if "proxyWidgets" in node.get("properties", {}) or len(node.get("widgets_values") or []) != len(widgets):
        raise WorkflowError(
            f"Subgraph node {_name(node)} was saved by an older editor: open the workflow in ComfyUI and save it anew."
        )


def _bypass(node: dict[str, Any], output: int, wanted: str) -> int | None:
    """The link that stands in for `output` of a bypassed node: that of the input with its type."""
    inputs = node.get("inputs") or []
    if output < len(inputs) and _fits(inputs[output]["type"], wanted):
        return inputs[output].get("link")  # type: ignore[no-any-return]
    return next((slot.get("link") for slot in inputs if _fits(slot["type"], wanted)), None)


def _fits(one: str, other: str) -> bool:
    return "*" in (one, other) or bool(set(str(one).lower().split(",")) & set(str(other).lower().split(",")))


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
