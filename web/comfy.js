/** All that the pack asks of ComfyUI's page. No other file imports app or api. */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

export { fileWidget, modelOf } from "./wires.js";

/** Nodes that read a file of the input folder, and the inputs that name it. */
const LOADERS = [
  ["LoadImage", "image"],
  ["LoadVideo", "file"],
  ["LoadAudio", "audio"],
];
/** Media of the pack, as the routes call them: see nodes/files.py. */
const EXAMPLES = [["SkyCanvasExample", "example", "example:"]];
/** What a socket of a type brings. */
const KIND_OF_TYPE = { IMAGE: "image", VIDEO: "clip", AUDIO: "sound", MASK: "mask" };

/**
 * ComfyUI's server, as the editor's parts take it. post: a POST that tells how far it is, 0 to 1; fetch cannot.
 * @typedef {{fetch(path: string, options?: RequestInit): Promise<Response>, url(path: string): string,
 *   post(path: string, body: FormData, options: {progress(share: number): void, signal?: AbortSignal}):
 *     Promise<Response>}} Server
 * @type {Server}
 */
export const server = {
  fetch: (path, options) => api.fetchApi(path, options),
  /** For what the browser loads by itself: pictures, sound. */
  url: (path) => api.apiURL(path),
  post: (path, body, { progress, signal }) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const request = new XMLHttpRequest();
      request.open("POST", api.apiURL(path));
      request.setRequestHeader("Comfy-User", api.user ?? "");
      request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
      request.onload = () => resolve(new Response(request.response, { status: request.status }));
      request.onerror = () => reject(new TypeError("the connection is lost")); // as of fetch
      request.onabort = () => reject(signal?.reason);
      signal?.addEventListener("abort", () => request.abort());
      request.send(body);
    }),
};

/** @param {object} extension as ComfyUI takes it */
export function register(extension) {
  app.registerExtension(extension);
}

/** The language of the page, such as "en" or "zh-TW". @returns {string} */
export function locale() {
  return app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
}

/** Does something each time that the server is there again. */
export function onReconnected(what) {
  api.addEventListener("reconnected", () => attempt(what));
}

/** Does something each time that the graph on the screen has changed: a wire, a widget, the place of a node. */
export function onGraphChanged(what) {
  api.addEventListener("graphChanged", () => attempt(what));
}

/** Does something each time that Run is pressed. */
export function onRun(what) {
  api.addEventListener("promptQueueing", () => attempt(what));
}

/** Makes what was just edited one step of undo. */
export function captureUndo() {
  app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.captureCanvasState?.();
}

/**
 * Gives a node an element of its own that is no value of it: it stands last, in no workflow and in no prompt.
 * @param {object} node just created
 * @param {string} name
 * @param {string} type
 * @param {HTMLElement} element
 * @param {number} least height in pixels; the style of the element has to say it too, for Nodes 2.0
 */
export function addElement(node, name, type, element, least) {
  const widget = node.addDOMWidget(name, type, element, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    getMinHeight: () => least,
    getValue: () => undefined,
    setValue() {},
  });
  widget.serialize = false; // not in the workflow
  // classic nodes move their elements when they are drawn, and the page shows this one only a moment later
  requestAnimationFrame(() => requestAnimationFrame(() => node.setDirtyCanvas?.(true, true)));
  forwardPointer(element);
  return widget;
}

/** Classic nodes: the overlay swallows the wheel and the middle button, which zoom and pan the graph. */
function forwardPointer(element) {
  const classic = () => !globalThis.LiteGraph?.vueNodesMode && !element.querySelector("dialog[open]");
  element.addEventListener(
    "wheel",
    (event) => {
      if (!classic()) return;
      event.preventDefault();
      event.stopPropagation();
      app.canvas.processMouseWheel(event);
    },
    { passive: false },
  );
  element.addEventListener(
    "pointerdown",
    (event) => classic() && event.button === 1 && app.canvas.processMouseDown(event),
  );
  element.addEventListener(
    "pointermove",
    (event) => classic() && event.buttons & 4 && app.canvas.processMouseMove(event),
  );
  element.addEventListener("pointerup", (event) => classic() && event.button === 1 && app.canvas.processMouseUp(event));
}

/** Whether the value of a widget comes through a wire, or from the subgraph around its node. */
export function isWired(node, name) {
  return (node.inputs ?? []).some((input) => input.widget?.name === name && input.link != null);
}

/**
 * The inputs of a node that bring media and are wired.
 * @returns {import("./editor/editor.js").Wire[]}
 */
export function wiredInputs(node) {
  return (node.inputs ?? []).flatMap((input, slot) => {
    if (input.link == null || input.widget || !Object.hasOwn(KIND_OF_TYPE, input.type)) return [];
    const kind = KIND_OF_TYPE[input.type];
    const file = kind === "mask" ? null : loadedFile(node, slot);
    const { origin_id, origin_slot } = node.getInputLink(slot) ?? {};
    return [{ input: input.name.split(".").at(-1), kind, file, origin: `${origin_id}:${origin_slot}` }];
  });
}

/** The file that the loader at the other end of a wire reads; null where something else is there. */
function loadedFile(node, slot) {
  const origin = node.getInputNode?.(slot);
  const [, name, prefix = ""] = [...LOADERS, ...EXAMPLES].find(([type]) => type === origin?.comfyClass) ?? [];
  const value = origin?.widgets?.find((widget) => widget.name === name)?.value;
  return typeof value === "string" && !value.endsWith("]") ? prefix + value : null; // "a.png [output]" lies elsewhere
}

/** The workflow whose nodes ComfyUI creates now. @type {?{path?: string}} */
let loading = null;

/** Has workflowOf know the workflow that is being loaded: ComfyUI calls it the active one only afterwards. */
export function watchLoading() {
  const load = app.loadGraphData;
  app.loadGraphData = async function (...given) {
    loading = typeof given[3] === "object" && given[3] !== null ? given[3] : {}; // else it makes a new one
    try {
      return await load.apply(this, given);
    } finally {
      loading = null;
    }
  };
}

/**
 * What the workflow of the nodes on the screen is called; while one is loaded, that of the nodes that are made.
 * @param {{leaving?: boolean}} [options] leaving: that of the nodes that go
 */
export function workflowOf({ leaving = false } = {}) {
  const active = app.extensionManager?.workflow?.activeWorkflow;
  return String((leaving ? active : (loading ?? active))?.path);
}

/** What a node is called inside its workflow as long as it exists, also when undo creates it anew. */
export function placeOf(node) {
  return `${node.graph?.id}:${node.id}`;
}

/**
 * Lets a node, or a widget, do something more on one of its occasions. What goes wrong with it is logged: an error
 * would keep the whole workflow from opening.
 */
export function chain(target, occasion, more) {
  const before = target[occasion];
  target[occasion] = function (...given) {
    const result = before?.apply(this, given);
    attempt(() => more(...given));
    return result;
  };
}

/** Does something that must not break what ComfyUI does around it. */
export function attempt(what) {
  try {
    what();
  } catch (error) {
    console.error("SkyCanvas:", error);
  }
}

/** Loads a style sheet beside this file, once. @param {string} path */
export function addStyle(path) {
  const { href } = new URL(path, import.meta.url);
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return;
  if (document.querySelector(`link[href="${CSS.escape(href)}"]`)) return;
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}
