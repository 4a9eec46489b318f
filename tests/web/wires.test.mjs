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
  box: { inputs: [CANVAS, MODEL], outputs: [CANVAS, MODEL] },
  shell: { inputs: [CANVAS, MODEL], outputs: [CANVAS, MODEL] },
};
const BORDER = [CANVAS, MODEL];
const LTX = { folder: "checkpoints", file: "ltx.safetensors" };

/**
 * The editor of a graph of LiteGraph.
 * @param {string} wires such as "editor>encode checkpoint>encode": from the first output to the first input that fits;
 *   a number behind a name is another node of the kind; "<0" and ">0" are the canvas that comes into a subgraph and
 *   that goes out of it, "<1" and ">1" the model
 * @param {Record<string, number>} [modes] of nodes
 * @param {Record<string, string>} [inside] wires of the subgraph that a node stands for, "box" or "shell"
 */
function editorOf(wires, modes = {}, inside = {}) {
  const root = { subgraphs: new Map(), nodes: [] };
  const graphs = [build(root, wires), ...root.subgraphs.values()];
  return graphs.flatMap(({ nodes }) => nodes).find(({ id }) => id === "editor") ?? root.add("editor");

  function build(graph, wires) {
    const [nodes, links] = [new Map(), new Map()];
    Object.assign(graph, { rootGraph: root, nodes: [], inputs: [], outputs: [] });
    Object.assign(graph, { getNodeById: (id) => nodes.get(id) ?? null, getLink: (id) => links.get(id) });
    const node = (id) => {
      if (nodes.has(id)) return nodes.get(id);
      const { inputs = [], outputs = [], widgets = {} } = NODES[id.replace(/\d+$/, "")] ?? {};
      const made = { id, graph, mode: modes[id] ?? 0 };
      made.inputs = inputs.map((type) => ({ type, link: null }));
      made.outputs = outputs.map((type) => ({ type, links: null }));
      made.widgets = Object.entries(widgets).map(([name, value]) => ({ name, value }));
      nodes.set(id, made);
      graph.nodes.push(made);
      if (id in inside) {
        made.subgraph = {};
        root.subgraphs.set(id, made.subgraph);
        build(made.subgraph, inside[id]);
      }
      return made;
    };
    graph.add = node;
    for (const wire of wires.split(" ").filter(Boolean)) {
      const [, begin, end] = /^(<?\w+)>(>?\w+)$/.exec(wire);
      const id = links.size + 1;
      const link = { id };
      links.set(id, link);
      const border = (text) => (/^[<>]\d$/.test(text) ? Number(text[1]) : null);
      const fits = (a, b) => a === b || a === "*" || b === "*";
      const [input, output] = [border(begin), border(end)];
      const outputs = input === null ? node(begin).outputs : [{ type: BORDER[input] }];
      const inputs = output === null ? node(end).inputs : [{ type: BORDER[output], link: null }];
      const free = inputs.filter((slot) => slot.link === null);
      const from = outputs.find(({ type }) => free.some((slot) => fits(type, slot.type)));
      const to = free.find(({ type }) => fits(type, from.type));
      if (input === null) {
        (from.links ??= []).push(id);
        Object.assign(link, { origin_id: begin, origin_slot: outputs.indexOf(from) });
      } else {
        (graph.inputs[input] ??= { linkIds: [] }).linkIds.push(id);
        Object.assign(link, { origin_id: -10, origin_slot: input });
      }
      if (output === null) {
        to.link = id;
        Object.assign(link, { target_id: end, target_slot: node(end).inputs.indexOf(to) });
      } else {
        (graph.outputs[output] ??= { linkIds: [] }).linkIds.push(id);
        Object.assign(link, { target_id: -20, target_slot: output });
      }
    }
    return graph;
  }
}

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

test("there is none: no wires, no model, Mini, outside of all graphs, a circle", () => {
  const none = ["", "editor>encode", "editor>encode mini>encode", "editor>>0", "checkpoint>encode"];
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

test("wires are followed into subgraphs", () => {
  assert.deepEqual(found("editor>box", {}, { box: "<0>encode checkpoint>encode" }), LTX);
  assert.deepEqual(found("editor>box checkpoint>box", {}, { box: "<0>place place>encode <1>lora lora>encode" }), LTX);
  const nested = { box: "<0>shell <1>shell", shell: "<0>encode <1>encode" };
  assert.deepEqual(found("editor>box checkpoint>box", {}, nested), LTX);
  assert.deepEqual(found("editor>encode box>encode", {}, { box: "checkpoint>lora lora>>1" }), LTX);
});

test("wires are followed out of subgraphs", () => {
  assert.deepEqual(found("box>encode checkpoint>encode", {}, { box: "editor>place place>>0" }), LTX);
  assert.deepEqual(found("checkpoint>box", {}, { box: "editor>encode <1>encode" }), LTX);
  const nested = { box: "shell>>0", shell: "editor>>0" };
  assert.deepEqual(found("box>encode checkpoint>encode", {}, nested), LTX);
});

test("a subgraph that does not run is not entered", () => {
  const inside = { box: "<0>encode1 unet>encode1" };
  assert.equal(found("editor>box editor>encode2 checkpoint>encode2", {}, inside).file, "sub/a.safetensors");
  for (const mode of [MUTED, BYPASSED]) {
    assert.deepEqual(found("editor>box editor>encode2 checkpoint>encode2", { box: mode }, inside), LTX);
  }
});

test("the name of a file may stand on the node of a subgraph, not come through a wire", () => {
  const editor = editorOf("editor>box", {}, { box: "<0>encode checkpoint>encode" });
  const host = editor.graph.getNodeById("box");
  const loader = host.subgraph.getNodeById("checkpoint");
  loader.inputs.push({ type: "COMBO", link: "name", widget: { name: "ckpt_name" } });
  const { getLink } = host.subgraph;
  host.subgraph.getLink = (id) => (id === "name" ? { origin_id: -10, origin_slot: 2 } : getLink(id));
  host.inputs.push({ type: "COMBO", link: null, widget: { name: "model_file" } });
  host.widgets.push({ name: "model_file", value: "other.safetensors" });
  assert.deepEqual(modelOf(editor), { folder: "checkpoints", file: "other.safetensors" });
  host.inputs[2].link = "text";
  editor.graph.getLink = ((own) => (id) => (id === "text" ? { origin_id: "a node" } : own(id)))(editor.graph.getLink);
  assert.equal(modelOf(editor), null);
});
