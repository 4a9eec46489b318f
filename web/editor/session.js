/**
 * One editing session: the document on show, what is selected, where the playhead stands. Only the document is a value
 * of the node; the rest is never in it.
 *
 * Events: "document" (detail {committed}: false while a gesture goes on), "selection", "playhead", "tool" (tool, brush
 * size, loop, snapping), "plan", "media" (the document's media are others), "message" (detail {level, text}).
 */

import { empty, itemsOf, lost } from "./document.js";
import { MINI } from "./grid.js";
import { bytes, canonical, CanvasError, MAX_JSON, parse } from "./schema.js";
import { t } from "../words.js";

/** @typedef {import("./schema.js").CanvasDocument} CanvasDocument */
/** @typedef {CanvasDocument | ((document: CanvasDocument) => CanvasDocument)} Change a document or an operation */

export const TOOLS = Object.freeze(["select", "box", "brush", "erase"]);

export class Session extends EventTarget {
  #document = empty();
  #text = null;
  #canonical = canonical(this.#document); // of the committed document: two texts may mean the same
  #error = null;
  #locked = false;
  #away = false;
  #selection = new Set();
  #playhead = 0;
  #base = null; // the document before the gesture
  #waiting = []; // changes that wait for the end of a gesture, or for the node
  #onCommit;
  #tool = { tool: "select", brushSize: 16, loop: true, snapping: true };
  #plan = null;

  /** @param {{onCommit: (text: string) => void}} options what to do with the text of a change: once per change */
  constructor({ onCommit }) {
    super();
    this.#onCommit = onCommit;
  }

  /** What to show; empty while the text is unreadable. @returns {CanvasDocument} */
  get document() {
    return this.#document;
  }

  /** The text as it was loaded or committed; null before. @returns {?string} */
  get text() {
    return this.#text;
  }

  /** Whether the text is a canvas. If not it is kept as it is, and nothing can be edited. */
  get readable() {
    return this.#error === null;
  }

  /** Why the text is unreadable, or null. @returns {?string} */
  get error() {
    return this.#error;
  }

  /** Whether a wire drives the value: nothing can be edited. */
  get locked() {
    return this.#locked;
  }

  set locked(locked) {
    if (locked === this.#locked) return;
    this.#locked = locked;
    if (locked) this.cancel();
    this.#tell("document", { committed: true });
  }

  /** Whether the node is gone, perhaps to come back, as at an undo: nothing can be edited, and later waits. */
  get away() {
    return this.#away;
  }

  set away(away) {
    if (away === this.#away) return;
    this.#away = away;
    this.cancel();
    this.#tell("document", { committed: true });
    this.#goOn();
  }

  get editable() {
    return this.readable && !this.locked && !this.away;
  }

  /** Takes a value of the node. Never throws; the echo of a commit is passed over. @param {string} text */
  load(text) {
    if (text === this.#text) return;
    this.#base = null;
    this.#text = text;
    let document = empty();
    this.#error = null;
    try {
      document = parse(text);
    } catch (error) {
      this.#error = error.message;
    }
    this.#canonical = canonical(document);
    this.#show(document, true);
    this.#goOn();
  }

  // --- changes

  /**
   * Carries out a change and commits it; a gesture that is under way is committed first.
   * @param {Change} change
   * @returns {boolean} false if it could not be done; the reason is a "message"
   */
  edit(change) {
    this.commit();
    return this.begin() && (this.preview(change) || this.cancel()) && this.commit();
  }

  /**
   * Carries out a change that was not asked for just now, such as that of an upload that has finished: not in the
   * middle of a gesture and not while the node is away, but as soon as neither is the case.
   * @param {Change} change
   * @returns {Promise<boolean>} as edit
   */
  later(change) {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(this.edit(change));
        } catch (error) {
          reject(error);
        }
      });
      this.#goOn();
    });
  }

  /** Whether the canvas cannot be edited; the reason is a "message". @returns {boolean} */
  refuses() {
    if (!this.editable) this.say("warning", this.#error ?? t(this.locked ? "session.locked" : "session.away"));
    return !this.editable;
  }

  /** Begins a gesture. @returns {boolean} false if the canvas cannot be edited; the reason is a "message" */
  begin() {
    this.commit();
    if (this.refuses()) return false;
    this.#base = this.#document;
    return true;
  }

  get gesturing() {
    return this.#base !== null;
  }

  /**
   * Shows a document that is not committed yet.
   * @param {Change} change an operation is given the document as it was when the gesture began
   * @returns {boolean} false if it could not be done, or no gesture is under way
   */
  preview(change) {
    if (!this.gesturing) return false;
    try {
      this.#show(typeof change === "function" ? change(this.#base) : change, false);
    } catch (error) {
      if (!(error instanceof CanvasError)) throw error;
      this.say("error", error.message);
      return false;
    }
    return true;
  }

  /** Ends a gesture: its outcome is the value from now on. @returns {boolean} whether the value is another one */
  commit() {
    if (!this.gesturing) return false;
    const text = canonical(this.#document);
    if (bytes(text) > MAX_JSON) {
      this.say("error", t("session.large", { bytes: bytes(text), most: MAX_JSON }));
      this.cancel();
      return false;
    }
    const gone = lost(this.#base, this.#document).length;
    this.#base = null;
    const changed = text !== this.#canonical;
    if (changed) this.#text = this.#canonical = text; // before the node echoes it
    this.#tell("document", { committed: true });
    if (changed) this.#onCommit(text);
    if (gone) this.say("warning", t("session.lost", { count: gone }));
    this.#goOn();
    return changed;
  }

  /** Ends a gesture as if it had not been. @returns {false} */
  cancel() {
    if (this.gesturing) {
      const base = this.#base;
      this.#base = null;
      this.#show(base, true);
      this.#goOn();
    }
    return false;
  }

  // --- what is no value

  /** Ids of the selected items; of existing ones only. @returns {ReadonlySet<string>} */
  get selection() {
    return this.#selection;
  }

  /**
   * Selects items.
   * @param {Iterable<string>} ids
   * @param {{add?: boolean}} options add: to those that are selected; one that already is, is selected no longer
   */
  select(ids, { add = false } = {}) {
    const selection = new Set(add ? this.#selection : []);
    for (const id of ids) if (!add || !selection.delete(id)) selection.add(id);
    this.#setSelection(selection);
  }

  /** The frame that is shown. */
  get playhead() {
    return this.#playhead;
  }

  /** Goes to a frame, the nearest of the canvas. @param {number} frame */
  seek(frame) {
    const playhead = Math.max(0, Math.min(Math.floor(frame), this.#document.frames - 1));
    if (playhead === this.#playhead || Number.isNaN(playhead)) return;
    this.#playhead = playhead;
    this.#tell("playhead");
  }

  get tool() {
    return this.#tool.tool;
  }

  /** @param {"select"|"box"|"brush"|"erase"} tool */
  setTool(tool) {
    if (!TOOLS.includes(tool)) throw new RangeError(`tool is ${tool}: use ${TOOLS.join(", ")}`);
    this.#setOption("tool", tool);
  }

  /** Diameter of the brush in pixels of the canvas, 1 to 1024. */
  get brushSize() {
    return this.#tool.brushSize;
  }

  set brushSize(size) {
    this.#setOption("brushSize", Math.max(1, Math.min(Math.round(size), 1024)));
  }

  /** Whether playback begins again at the end. */
  get loop() {
    return this.#tool.loop;
  }

  set loop(loop) {
    this.#setOption("loop", loop);
  }

  get snapping() {
    return this.#tool.snapping;
  }

  set snapping(snapping) {
    this.#setOption("snapping", snapping);
  }

  /** What the mask compiler makes of the document, as /skycanvas/plan answers; null while it is not known. */
  get plan() {
    return this.#plan;
  }

  set plan(plan) {
    if (plan === this.#plan) return;
    this.#plan = plan;
    this.#tell("plan");
  }

  /** The latent grid in time of the model that will make the clip. @returns {import("./grid.js").Grid} */
  get grid() {
    return this.#plan?.grid ?? MINI;
  }

  /** A message for the artist. @param {"info"|"warning"|"error"} level @param {string} text */
  say(level, text) {
    this.#tell("message", { level, text });
  }

  // --- inside

  /** Carries out what has waited, as far as nothing is in its way. */
  #goOn() {
    while (!this.gesturing && !this.away && this.#waiting.length) this.#waiting.shift()();
  }

  #show(document, committed) {
    const before = this.#document;
    if (document === before && !committed) return;
    this.#document = document;
    if (this.#playhead >= document.frames) this.seek(document.frames - 1);
    if (this.#selection.size) this.#setSelection(this.#selection);
    if (document.media !== before.media) this.#tell("media");
    this.#tell("document", { committed });
  }

  #setSelection(ids) {
    const existing = new Set(itemsOf(this.#document).map((item) => item.id));
    const selection = new Set([...ids].filter((id) => existing.has(id)));
    const same = selection.size === this.#selection.size && [...selection].every((id) => this.#selection.has(id));
    if (same) return;
    this.#selection = selection;
    this.#tell("selection");
  }

  #setOption(name, value) {
    if (this.#tool[name] === value) return;
    this.#tool[name] = value;
    this.#tell("tool");
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
