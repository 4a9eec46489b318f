/** Binds the editor and the view to their nodes. */
import * as comfy from "./comfy.js";
import { Editor } from "./editor/editor.js";
import { MediaLibrary } from "./editor/media.js";
import { Session } from "./editor/session.js";
import { element } from "./editor/dom.js";
import { attachView } from "./result/view.js";
import { setLocale } from "./words.js";

const EDITOR = "SkyCanvasEditor";
const VIEW = "SkyCanvasView";
const VALUE = "document";
const LEAST_HEIGHT = 340; // pixels of the editor, as in style.css
const SIZE = [740, 760]; // of a new node
const KEPT = 8;
const MOUNTED = 30; // frames of the screen in which a new node is shown
const SOON = 10_000; // milliseconds in which undo has made a node anew

/**
 * Editors whose nodes are gone, by the workflow and the place of the node: undo creates every node anew, as does coming
 * back to a tab, and the editor goes on with its pictures, its selection and its zoom, in full screen too. Workflows may
 * share their id, as copies of one file do. The latest stand last.
 * @type {Map<string, Binding>}
 */
const waiting = new Map();
/** @type {Set<Binding>} those whose nodes are there */
const bound = new Set();

/** An editor and the node that it belongs to now. */
class Binding {
  constructor() {
    this.node = null;
    /** @type {HTMLElement | null} what holds the editor inside its node */
    this.home = null;
    this.reading = 0;
    this.session = new Session({ onCommit: (text) => this.#write(text) });
    this.library = new MediaLibrary({ server: comfy.server });
    this.editor = new Editor({ session: this.session, library: this.library, server: comfy.server });
    // a loader at the other end of a wire does not say when it has another file
    this.editor.root.addEventListener("pointerenter", () => comfy.attempt(() => this.trace()));
  }

  /** The widget that holds the value. */
  get source() {
    return this.node.widgets.find((widget) => widget.name === VALUE);
  }

  /** Shows what the node holds now. */
  read() {
    this.session.load(String(this.source.value));
    this.session.locked = comfy.isWired(this.node, VALUE);
    this.session.away = false;
    this.trace();
    cancelAnimationFrame(this.mounting);
    this.#refocus();
  }

  /** Brings the focus back until ComfyUI has done with the new node, whose elements it puts into the page one by one. */
  #refocus(frames = MOUNTED) {
    this.editor.refocus();
    if (frames) this.mounting = requestAnimationFrame(() => this.#refocus(frames - 1));
  }

  /** Reads when ComfyUI has done: it adds a node, and its wires, before it gives it its value. */
  readSoon() {
    clearTimeout(this.reading);
    this.reading = setTimeout(() => comfy.attempt(() => bound.has(this) && this.read()));
  }

  /** Lets go of its node, until another one takes its place. */
  leave() {
    bound.delete(this);
    this.session.away = true;
    this.editor.player.pause();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => bound.has(this) || this.library.empty(), SOON);
  }

  /** Takes what the wires bring now, and where they lead to. */
  trace() {
    if (!bound.has(this) || !this.node.graph) return; // a subgraph that goes does not tell its nodes
    this.editor.setInputs(comfy.wiredInputs(this.node));
    this.editor.plan.model = comfy.modelOf(this.node);
  }

  #write(text) {
    const { source } = this;
    source.value = text;
    source.callback?.(text);
    comfy.captureUndo();
  }
}

function attachEditor(node) {
  comfy.addStyle("./editor/timeline.css");
  comfy.addStyle("./editor/style.css");
  const source = node.widgets.find((widget) => widget.name === VALUE);
  const home = element("div", "home");
  comfy.addElement(node, "editor", "SKYCANVAS_EDITOR", home, LEAST_HEIGHT);
  source.hidden = true;
  source.options.hidden = true;
  node.setSize?.(node.size.map((side, axis) => Math.max(side, SIZE[axis])));

  /** @type {Binding | null} */
  let binding = null;
  let place = ""; // as it was while the node was there: a graph that is cleared has forgotten its id
  // a node has its number only after it was created, and a clone that is never added needs no editor
  const bind = () => {
    if (binding !== null || node.id === -1) return;
    place = comfy.placeOf(node);
    const name = `${comfy.workflowOf()}:${place}`;
    binding = waiting.get(name) ?? new Binding();
    waiting.delete(name);
    binding.node = node;
    // Nodes 2.0 leaves the element of the node before in its place, and does not show this one
    binding.home?.replaceWith(home);
    binding.home = home;
    bound.add(binding);
    if (binding.editor.fullScreen.dialog === null) home.append(binding.editor.root);
    else binding.editor.fullScreen.home = home;
    binding.readSoon();
  };
  comfy.chain(node, "onAdded", bind);
  comfy.chain(node, "onConfigure", () => {
    bind();
    binding?.readSoon();
  });
  comfy.chain(node, "onConnectionsChange", () => binding?.readSoon());
  comfy.chain(source, "callback", () => binding?.read());
  comfy.chain(node, "onExecuted", (output) => {
    if (output?.skycanvas_inputs) binding?.editor.showInputs(output.skycanvas_inputs);
  });
  comfy.chain(node, "onRemoved", () => {
    if (binding === null) return;
    const name = `${comfy.workflowOf({ leaving: true })}:${place}`;
    waiting.get(name)?.editor.destroy();
    waiting.delete(name); // so that it stands last
    waiting.set(name, binding);
    binding.leave();
    binding = null;
    if (waiting.size <= KEPT) return;
    const [[oldest, { editor }]] = waiting;
    waiting.delete(oldest);
    editor.destroy();
  });
}

/** Follows all wires anew: somewhere one was changed, or the model that a loader names. */
function traceAll() {
  for (const binding of bound) comfy.attempt(() => binding.trace());
}

comfy.watchLoading();
comfy.onReconnected(() => {
  for (const { library } of bound) library.retry();
});
comfy.onGraphChanged(traceAll);
// ComfyUI does not tell a node why it refuses a value: a file that is gone has to be found here
comfy.onRun(() => {
  for (const { library, editor } of bound) library.review().then((changed) => changed && editor.plan.refresh());
});
comfy.register({
  name: "SkyCanvas",
  afterConfigureGraph() {
    // a node that is gone for good takes no more edits
    for (const { editor } of waiting.values()) comfy.attempt(() => editor.fullScreen.close());
  },
  nodeCreated(node) {
    comfy.attempt(() => {
      setLocale(comfy.locale());
      if (node.comfyClass === EDITOR) attachEditor(node);
      if (node.comfyClass === VIEW) attachView(node, comfy);
      const loaded = comfy.fileWidget(node);
      if (loaded) comfy.chain(loaded, "callback", traceAll);
    });
  },
});
