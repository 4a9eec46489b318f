/** The model behind a canvas: which way its wires are followed, and where that ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { modelOf } from "../../web/wires.js";

const [CANVAS, MODEL] = ["SKYCANVAS_CANVAS", "MODEL"];
const [MUTED, BYPASSED] = [2, 4];
const NODES = {
  editor: { outputs: [CANVAS] },
  place: { inputs: ["IMAGE", CANVAS], outputs: [CANVAS] },
  either: { inputs: ["*", "*"], outputs: ["*"] },
  reroute: { inputs: ["*"], outputs: ["*"] },
  encode: { inputs: [MODEL, CANVAS], outputs: ["LATENT"] },
  preview: { inputs: [CANVAS, MODEL], outputs: ["IMAGE"] },
  lora: { inputs: [MODEL, "CLIP"], outputs: [MODEL, "CLIP"], widgets: { lora_name: "style.safetensors" } },
  checkpoint: { outputs: [MODEL, "CLIP", "VAE"], widgets: { ckpt_name: "ltx.safetensors" } },
  unet: { outputs: [MODEL], widgets: { unet_name: "sub/a.safetensors", weight_dtype: "default" } },
  skyreels: { outputs: [MODEL], widgets: { model_name: "b.safetensors" } },
  mini: { outputs: [MODEL, "CLIP"], widgets: { weight_dtype: "default" } },
};
const LTX = { folder: "checkpoints", file: "ltx.safetensors" };

/**
 * The editor of a graph of LiteGraph.
 * @param {string} wires such as "editor>encode checkpoint>encode": from the first output to the first input that fits;
 *   a number behind a name is another node of the kind
 * @param {Record<string, number>} [modes] of nodes
 */
function editorOf(wires, modes = {}) {
  const [nodes, links] = [new Map(), new Map()];
  const graph = { getNodeById: (id) => nodes.get(id) ?? null, getLink: (id) => links.get(id) };
  const node = (id) => {
    const { inputs = [], outputs = [], widgets = {} } = NODES[id.replace(/\d+$/, "")] ?? {};
    if (!nodes.has(id)) {
      nodes.set(id, {
        graph,
        mode: modes[id] ?? 0,
        inputs: inputs.map((type) => ({ type, link: null })),
        outputs: outputs.map((type) => ({ type, links: null })),
        widgets: Object.entries(widgets).map(([name, value]) => ({ name, value })),
      });
    }
    return nodes.get(id);
  };
  for (const wire of wires.split(" ").filter(Boolean)) {
    const [from, to] = wire.split(">");
    const fits = (a, b) => a === b || a === "*" || b === "*";
    const takes = ({ type }) => to in OUTSIDE || node(to).inputs.some((input) => fits(input.type, type));
    const output = node(from).outputs.find(takes);
    const link = links.size + 1;
    links.set(link, { origin_id: from, target_id: OUTSIDE[to] ?? to });
    (output.links ??= []).push(link);
    const free = (input) => input.link === null && fits(input.type, output.type);
    if (!(to in OUTSIDE)) node(to).inputs.find(free).link = link;
  }
  return node("editor");
}

/** The output of a subgraph, which is no node of it. */
const OUTSIDE = { outside: -20 };

const found = (...given) => modelOf(editorOf(...given));

test("the loader of the node that the canvas goes to names the file", () => {
  assert.deepEqual(found("editor>encode checkpoint>encode"), LTX);
  assert.deepEqual(found("editor>preview unet>preview"), { folder: "diffusion_models", file: "sub/a.safetensors" });
  assert.deepEqual(found("editor>encode skyreels>encode"), { folder: "diffusion_models", file: "b.safetensors" });
});

test("canvas and model may come through other nodes", () => {
  const canvas = "editor>place1 place1>reroute1 reroute1>place2 place2>encode";
  assert.deepEqual(found(`${canvas} checkpoint>lora1 lora1>reroute2 reroute2>lora2 lora2>encode`), LTX);
});

test("nodes that are bypassed pass on, and are no loaders and no readers", () => {
  const modes = { lora: BYPASSED, place: MUTED };
  assert.deepEqual(found("editor>place place>encode checkpoint>lora lora>encode", modes), LTX);
  const both = "editor>encode1 editor>encode2 unet>encode1 checkpoint>encode2";
  assert.equal(found(both).file, "sub/a.safetensors");
  assert.deepEqual(found(both, { encode1: MUTED }), LTX);
  assert.deepEqual(found(both, { unet: BYPASSED }), LTX);
});

test("a node without a model, or with one of no file, leaves it to the next", () => {
  assert.deepEqual(found("editor>preview editor>encode checkpoint>encode"), LTX);
  assert.deepEqual(found("editor>preview mini>preview editor>encode checkpoint>encode"), LTX);
});

test("there is none: no wires, no model, Mini, another graph, a circle", () => {
  const none = ["", "editor>encode", "editor>encode mini>encode", "editor>outside", "checkpoint>encode"];
  for (const wires of [...none, "editor>encode lora1>lora2 lora2>lora1 lora1>encode"]) {
    assert.equal(found(wires), null, wires);
  }
  assert.equal(found("editor>either1 either1>either2 either2>either1"), null);
});

test("a wire whose other end is gone leads nowhere", () => {
  const editor = editorOf("editor>encode checkpoint>encode");
  editor.graph.getLink = () => undefined;
  assert.equal(modelOf(editor), null);
});
