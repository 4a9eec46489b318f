/** Which model a canvas goes to, found along the wires of the graph that its node lies in. No page. */

const CANVAS = "SKYCANVAS_CANVAS";
const MODEL = "MODEL";
/** Widgets in which loaders name a file, and the folder of ComfyUI's models that it lies in. */
const FOLDERS = { ckpt_name: "checkpoints", unet_name: "diffusion_models", model_name: "diffusion_models" };
/** Modes of nodes that do not run: muted, bypassed. */
const IDLE = [2, 4];

/** @typedef {{folder: "checkpoints" | "diffusion_models", file: string}} ModelFile */

/**
 * The file of the model that a canvas is made into a clip by: that of the nearest node which takes the canvas, or what
 * other nodes have made of it, together with a MODEL whose loader names a file.
 * @param {object} node that makes the canvas, of LiteGraph; wires are followed inside its own graph only
 * @returns {ModelFile | null} null: there is none, or its loader names none, as 'Load SkyCanvas Mini'
 */
export function modelOf(node) {
  const { graph } = node;
  for (const reader of reached(node, (each) => targets(graph, each, CANVAS))) {
    if (IDLE.includes(reader.mode)) continue;
    for (const origin of reached(reader, (each) => origins(graph, each, MODEL))) {
      const widget = IDLE.includes(origin.mode) ? undefined : fileWidget(origin);
      if (typeof widget?.value === "string") return { folder: FOLDERS[widget.name], file: widget.value };
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
function targets(graph, { outputs = [] }, type) {
  const links = outputs.filter((output) => carries(output, type)).flatMap((output) => output.links ?? []);
  return links.map((link) => graph.getNodeById(graph.getLink(link)?.target_id)).filter(Boolean);
}

/** Nodes that the inputs of a type come from. */
function origins(graph, { inputs = [] }, type) {
  const links = inputs.filter((input) => carries(input, type)).map((input) => input.link);
  return links.map((link) => graph.getNodeById(graph.getLink(link)?.origin_id)).filter(Boolean);
}

/** Whether a slot has a type, or any, as those of reroutes. */
function carries(slot, type) {
  return slot.type === type || slot.type === "*";
}

/** The widget in which a node names the file of a model, if it has one. */
export function fileWidget({ widgets = [] }) {
  return widgets.find(({ name }) => Object.hasOwn(FOLDERS, name));
}
