/** Which model a canvas goes to, found along the wires of the graph. No page. */

const CANVAS = "SKYCANVAS_CANVAS";
const MODEL = "MODEL";
/** Widgets in which loaders name a file, and the folder of ComfyUI's models that it lies in. */
const FOLDERS = { ckpt_name: "checkpoints", unet_name: "diffusion_models", model_name: "diffusion_models" };
/** Modes of nodes that do not run: muted, bypassed. */
const IDLE = [2, 4];

/** What LiteGraph calls the two ends of a subgraph, where its wires go on outside. */
const [INPUTS, OUTPUTS] = [-10, -20];

/** @typedef {{folder: "checkpoints" | "diffusion_models", file: string}} ModelFile */

/**
 * The file of the model that a canvas is made into a clip by: that of the nearest node which takes the canvas, or what
 * other nodes have made of it, together with a MODEL whose loader names a file.
 * @param {object} node that makes the canvas, of LiteGraph; wires are followed into subgraphs and out of them
 * @returns {ModelFile | null} null: there is none, or its loader names none, as 'Load SkyCanvas Mini'
 */
export function modelOf(node) {
  for (const reader of reached(node, (each) => targets(each, CANVAS))) {
    if (IDLE.includes(reader.mode)) continue;
    for (const origin of reached(reader, (each) => origins(each, MODEL))) {
      const file = IDLE.includes(origin.mode) ? null : fileOf(origin);
      if (file !== null) return file;
    }
  }
  return null;
}

/** A node and all that one comes to from it, the nearest first, each once: wires may go round in a circle. */
function reached(node, next) {
  const found = new Set([node]);
  for (const each of found) for (const other of next(each)) found.add(other); // which goes on with what was added
  return found;
}

/** Nodes that the outputs of a type go to. */
function targets({ graph, outputs = [] }, type) {
  return outputs.filter((output) => carries(output, type)).flatMap((output) => endsOf(graph, output));
}

/** Nodes that the inputs of a type come from. */
function origins({ graph, inputs = [] }, type) {
  return inputs.filter((input) => carries(input, type)).flatMap((input) => endsOf(graph, input));
}

/** Nodes at the other ends of a slot's wires: an output's targets, an input's origin. Subgraphs are no ends. */
function endsOf(graph, slot) {
  if (slot === undefined) return []; // a wire that is being changed
  const forth = "links" in slot;
  return (forth ? (slot.links ?? []) : [slot.link]).flatMap((id) => endOf(graph, id, forth));
}

function endOf(graph, id, forth) {
  const link = graph.getLink(id);
  if (!link) return [];
  const [end, slot] = forth ? [link.target_id, link.target_slot] : [link.origin_id, link.origin_slot];
  if (end === INPUTS || end === OUTPUTS) {
    return hostsOf(graph).flatMap((host) => endsOf(host.graph, (forth ? host.outputs : host.inputs)[slot]));
  }
  const node = graph.getNodeById(end);
  if (!node) return [];
  const { subgraph } = node;
  if (!subgraph || IDLE.includes(node.mode)) return [node];
  const inner = (forth ? subgraph.inputs : subgraph.outputs)[slot];
  return (inner?.linkIds ?? []).flatMap((each) => endOf(subgraph, each, forth));
}

/** The nodes that stand for a subgraph: one, unless it was copied. */
function hostsOf(graph) {
  const { rootGraph = graph } = graph;
  const all = [rootGraph, ...(rootGraph.subgraphs?.values() ?? [])].flatMap(({ nodes }) => nodes);
  return all.filter((node) => node.subgraph === graph);
}

/** The file of a model that a node loads; null if it is none that does, or a wire brings the name. */
function fileOf(node) {
  const widget = fileWidget(node);
  const value = widget && valueOf(node, widget.name);
  return typeof value === "string" ? { folder: FOLDERS[widget.name], file: value } : null;
}

/** The value of a widget, or of the one on the node of its subgraph that stands for it. */
function valueOf(node, name) {
  const link = node.graph.getLink(node.inputs?.find((input) => input.widget?.name === name)?.link);
  if (!link) return node.widgets.find((widget) => widget.name === name)?.value;
  const [host] = link.origin_id === INPUTS ? hostsOf(node.graph) : [];
  const outside = host?.inputs[link.origin_slot]?.widget;
  return outside && valueOf(host, outside.name);
}

/** Whether a slot has a type, or any, as those of reroutes. */
function carries(slot, type) {
  return slot.type === type || slot.type === "*";
}

/** The widget in which a node names the file of a model, if it has one. */
export function fileWidget({ widgets = [] }) {
  return widgets.find(({ name }) => Object.hasOwn(FOLDERS, name));
}
