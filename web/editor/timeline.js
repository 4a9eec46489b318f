/** The timeline: what lies on the canvas when, moved and trimmed by pointer and by keyboard. */
import { said, t } from "../words.js";
import {
  find,
  itemsOf,
  kindOf,
  lanes,
  moveInTime,
  ripple,
  spanOf,
  split,
  trim,
  update,
} from "./document.js";
import { ArrowKeys, button, element, follow } from "./dom.js";
import { paintItem } from "./film.js";
import { nearest } from "./geometry.js";
import { boundariesNear, framesOf, latentOf } from "./grid.js";
import { COLOURS, nameOf } from "./painter.js";
import { notesOn } from "./plan.js";
import { HEIGHT as HEAD, paintRuler, VIDEO } from "./ruler.js";
import { clockText } from "./timescale.js";

/** Heights of the rows of each lane, and of a lane without items, in pixels; the second where the timeline is low. */
const ROWS = { video: [46, 30], patch: [40, 28], mask: [28, 22], sound: [36, 26] };
const EMPTY = [22, 18];
const LOW = 190;
/** Width of the names of the lanes; of their icons where the timeline is narrow. */
const NAMES = [76, 24];
const NARROW = 440;
/** Height of an item's label, in pixels. */
const LABEL = 14;
/** Pixels of an item's length that its border and the gap to the next one take. */
const FRAME = 3;
/** Pixels per frame. */
const LARGEST = 64;
/** Pixels within which things snap; boundaries of latent frames, so many frames at most, or all would be one. */
const REACH = 8;
const BOUNDARY = 1.5;
/** Milliseconds after which a zoom has come to rest, and pictures are painted anew. */
const SETTLE = 120;
/** Milliseconds of a frame of the screen that go into painting items; the others wait for the next one. */
const BUDGET = 6;
/** Painted by the processor: two hundred pictures on layers of their own would cost far more to put together. */
const PLAIN = { willReadFrequently: true };
/** Pixels that a pointer moves before it drags; from an edge, where a drag scrolls. */
const STILL = 3;
const EDGE = 28;
const ICONS = { video: "clip", patch: "image", mask: "mask", sound: "sound" };

/**
 * An item on show. first, end: in frames. assets: what its picture was painted from, each with its state then.
 * @typedef {{id: string, root: HTMLElement, canvas: HTMLCanvasElement, label: HTMLElement, item: object, first: number,
 *   end: number, top: number, height: number, lane: string, path: object[] | null, painted: object | null,
 *   pictured: string | null, assets: [import("./media.js").Asset<any>, string][], error: string | null}} View
 */

export class Timeline {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   plan: import("./plan.js").PlanView, actions: {toggleKey(): void, trim(edge: "start" | "end"): void}}} options
   *   actions: what the editor does with the selection at the playhead
   */
  constructor({ session, library, plan, actions }) {
    this.session = session;
    this.library = library;
    this.plan = plan;
    this.actions = actions;
    this.scale = 8; // pixels per frame
    this.fitted = true; // all of the canvas is shown, whatever the width
    /** What is seen of the frames, in pixels: kept here, as a question to the page would lay it out anew. */
    this.window = { left: 0, width: 0 };
    this.names = NAMES[0];
    this.low = false;
    /** @type {Map<string, View>} */
    this.views = new Map();
    this.selected = new Set();
    this.current = null; // id of the item that the keyboard is at
    /** @type {(() => void) | null} stops the gesture under way */
    this.stop = null;
    this.arrows = new ArrowKeys(session);
    this.pressing = false;
    this.scratch = element("canvas");
    this.due = new Set();

    this.#build();
    this.listening = new AbortController();
    const { signal } = this.listening;
    session.addEventListener("document", ({ detail }) => this.#sync(detail.committed), { signal });
    session.addEventListener("selection", () => this.#showSelection(), { signal });
    const seek = () => {
      this.#showPlayhead();
      this.#followPlayhead();
    };
    session.addEventListener("playhead", seek, { signal });
    session.addEventListener("tool", () => this.#showTools(), { signal });
    plan.addEventListener("change", () => this.#request("ruler"), { signal });
    session.addEventListener("plan", () => this.#showCells(), { signal });
    library.addEventListener("change", () => this.#request("arrivals"), { signal });
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.scroll);
    // ComfyUI changes its theme by a class or by variables
    this.theme = new MutationObserver(() => this.refresh());
    for (const node of [document.documentElement, document.body]) {
      this.theme.observe(node, { attributes: true, attributeFilter: ["class", "style"] });
    }
    this.#sync(true);
    this.#showTools();
  }

  destroy() {
    this.cancel();
    this.listening.abort();
    this.observer.disconnect();
    this.theme.disconnect();
    cancelAnimationFrame(this.waiting);
    clearTimeout(this.settling);
    clearTimeout(this.hinting);
  }

  /** Paints all anew, in the colours of the page as they are now. */
  refresh() {
    this.colours = null;
    for (const view of this.views.values()) view.painted = null;
    this.#request("ruler", "items");
  }

  /** The frame under a pointer, also outside of the canvas: where a file was dropped, for example. */
  frameAt({ clientX }) {
    return Math.floor(this.#place(this.scroll.getBoundingClientRect())(clientX));
  }

  /**
   * How to find the item that an element shows, also when that is made anew; null where it shows none.
   * @param {Element} element
   * @returns {(() => ?Element) | null}
   */
  finder(element) {
    const { id } = element.dataset;
    return this.itemBox.contains(element) && id ? () => this.views.get(id)?.root ?? null : null;
  }

  /** Ends the gesture under way without an edit. @returns {boolean} whether there was one */
  cancel() {
    const { stop } = this;
    this.stop = null;
    stop?.();
    return stop !== undefined && stop !== null;
  }

  /** Larger or smaller; the frame at a pixel of the window stays there: at the playhead, if none is given. */
  zoom(factor, at = this.#pixelOfPlayhead()) {
    const least = this.#fitting();
    const scale = Math.min(Math.max(this.scale * factor, least), Math.max(LARGEST, least));
    if (scale <= least) return this.fit();
    this.fitted = false;
    this.#setScale(scale, at);
  }

  /** Shows all of the canvas. */
  fit() {
    this.fitted = true;
    this.#setScale(this.#fitting(), 0);
  }

  /** Cuts what is selected, or all that lies there if nothing is, at the playhead. */
  split() {
    const { session } = this;
    const at = session.playhead;
    const inside = (item) => {
      const { first, end } = spanOf(session.document, item);
      return first < at && at < end;
    };
    const all = itemsOf(session.document).filter(inside);
    const chosen = session.selection.size ? all.filter(({ id }) => session.selection.has(id)) : all;
    if (!chosen.length) {
      session.say("info", t("timeline.nothing_to_split"));
      return;
    }
    session.edit((document) => chosen.reduce((result, { id }) => split(result, id, at), document));
  }

  // --- elements

  #build() {
    const { session } = this;
    this.snapButton = button("snap", t("timeline.snap"), () => (session.snapping = !session.snapping), {
      shortcut: "N",
      pressed: session.snapping,
    });
    const small = (text, label, shortcut, click) =>
      element("button", "button", {
        type: "button",
        title: `${label} (${shortcut})`,
        "aria-label": label,
        "aria-keyshortcuts": shortcut,
        textContent: text,
        click,
      });
    this.bar = element(
      "div",
      "timeline-bar",
      { role: "toolbar", "aria-label": t("timeline.name") },
      button("split", t("timeline.split"), () => this.split(), { shortcut: "S" }),
      button("key", t("timeline.key"), () => this.actions.toggleKey(), { shortcut: "K" }),
      this.snapButton,
      element("span", "timeline-space"),
      small("−", t("timeline.smaller"), "-", () => this.zoom(1 / 1.5)),
      small("+", t("timeline.larger"), "+", () => this.zoom(1.5)),
      button("fit", t("timeline.fit"), () => this.fit(), { shortcut: "0" }),
    );

    this.ruler = element("canvas", "timeline-ruler", {
      tabIndex: 0,
      role: "slider",
      "aria-label": t("timeline.playhead"),
      "aria-valuemin": 0,
      keydown: (event) => this.#rulerKey(event),
    });
    const corner = element(
      "div",
      "timeline-corner",
      {},
      element("span", "", { textContent: t("timeline.seconds") }),
      element("span", "", { textContent: t("timeline.frames") }),
      element("span", "", { textContent: t("timeline.given") }),
    );
    this.grip = element("i", "timeline-grip");
    this.head = element("div", "timeline-head", {}, corner, this.ruler, this.grip);
    this.laneBox = element("div", "timeline-lanes");
    this.itemBox = element("div", "timeline-items", {
      role: "listbox",
      "aria-label": t("timeline.items"),
      "aria-multiselectable": true,
      "aria-orientation": "horizontal",
    });
    this.playhead = element("div", "timeline-playhead");
    this.line = element("div", "timeline-snap", { hidden: true });
    this.band = element("div", "timeline-band", { hidden: true });
    this.over = element("div", "timeline-over", {}, this.line, this.band, this.playhead);
    this.content = element("div", "timeline-content", {}, this.head, this.laneBox, this.itemBox, this.over);
    const scroll = { tabIndex: -1, role: "group", "aria-label": t("timeline.name") };
    this.scroll = element("div", "timeline-scroll", scroll, this.content);
    this.tip = element("div", "timeline-tip", { hidden: true });
    this.voice = element("div", "unseen", { "aria-live": "polite" });
    const key = (event) => this.#key(event);
    this.root = element("div", "timeline", { keydown: key }, this.bar, this.scroll, this.tip, this.voice);

    this.scroll.addEventListener("pointerdown", (event) => this.#press(event));
    this.scroll.addEventListener("pointermove", (event) => this.#hover(event));
    this.scroll.addEventListener("pointerleave", () => this.#hover(null));
    this.scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.scroll.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.itemBox.addEventListener("focusin", ({ target }) => this.#focused(target));
  }

  /** @returns {View} */
  #create(id) {
    const canvas = element("canvas", "item-picture", { "aria-hidden": true });
    const label = element("span", "item-label");
    const root = element(
      "div",
      "item",
      { role: "option", tabIndex: -1 },
      canvas,
      label,
      element("i", "trim trim-start"),
      element("i", "trim trim-end"),
    );
    root.dataset.id = id;
    this.itemBox.append(root);
    return { id, root, canvas, label, item: null, path: null, painted: null, pictured: null, assets: [], error: null };
  }

  /** Brings the elements up to the document. arrange: also into rows, which stay as they are during a gesture. */
  #sync(arrange) {
    const { document } = this.session;
    const items = itemsOf(document);
    const known = new Set(items.map(({ id }) => id));
    for (const [id, view] of this.views) if (!known.has(id)) this.#discard(view);
    const changed = document.frames !== this.frames || document.fps !== this.fps;
    [this.frames, this.fps] = [document.frames, document.fps];
    for (const item of items) {
      let view = this.views.get(item.id);
      if (view === undefined) {
        view = this.#create(item.id);
        this.views.set(item.id, view);
        arrange = true;
      }
      const same = view.item === item && view.media === document.media[item.media];
      if (!same || changed) this.#update(view, document, item);
    }
    if (arrange) this.#arrange(document);
    if (changed) {
      this.ruler.setAttribute("aria-valuemax", document.frames - 1);
      this.#setScale(this.fitted ? this.#fitting() : this.scale, 0);
    }
    this.root.classList.toggle("skycanvas-locked", !this.session.editable);
    this.#showSelection();
  }

  /** @param {View} view */
  #discard(view) {
    if (view.root.contains(document.activeElement)) this.scroll.focus({ preventScroll: true });
    view.root.remove();
    this.views.delete(view.id);
    if (this.current === view.id) this.current = null;
  }

  /** @param {View} view */
  #update(view, document, item) {
    const { first, end } = spanOf(document, item);
    const stretched = end - first !== view.end - view.first;
    if (view.media !== document.media[item.media] || view.item?.start !== item.start || stretched) {
      view.painted = null;
      this.#request("items");
    }
    Object.assign(view, { item, first, end, media: document.media[item.media] });
    this.#position(view);
    if (item.path !== view.path || stretched) this.#showKeys(view);
    view.root.className = classOf(item, view.media);
    if (view.selected) view.root.classList.add("skycanvas-selected");
    this.#describe(view, document);
  }

  /** @param {View} view */
  #position({ root, first, end, top }) {
    root.style.transform = `translate(${first * this.scale}px, ${top + 1}px)`;
    root.style.width = `${Math.max(4, (end - first) * this.scale - 1)}px`;
  }

  /** Name and state, for eyes and for screen readers. @param {View} view */
  #describe(view, document) {
    const { item, media } = view;
    const name = titleOf(document, item);
    if (view.label.textContent !== name) view.label.textContent = name;
    view.root.classList.toggle("skycanvas-failed", view.error !== null);
    view.root.setAttribute(
      "aria-label",
      [
        name,
        media === undefined ? "" : t(`timeline.kind_${media.kind}`),
        item.role === "guide" ? t("timeline.guide") : "",
        placeText(document, view),
        item.path?.length ? t("timeline.keys", { count: item.path.length + 1 }) : "",
        view.error === null ? "" : t("timeline.failed", { error: said(view.error) }),
      ]
        .filter(Boolean)
        .join(", "),
    );
  }

  /** @param {View} view */
  #showKeys(view) {
    const { path = [] } = view.item;
    view.path = path;
    for (const old of view.root.querySelectorAll(".skycanvas-key")) old.remove();
    for (const { at } of path.length ? [{ at: 0 }, ...path] : []) {
      const key = element("i", at ? "key" : "key key-first");
      key.style.left = `calc(${(100 * (at + 0.5)) / view.item.frames}% - 6px)`;
      key.dataset.at = String(at);
      view.root.append(key);
    }
  }

  #arrange(document) {
    const low = Number(this.low);
    let top = HEAD;
    const rows = lanes(document);
    const names = [];
    this.order = [];
    for (const lane of rows) {
      const begin = top;
      const height = ROWS[lane.kind][low];
      for (const row of lane.rows) {
        for (const id of row) {
          const view = this.views.get(id);
          this.order.push(id);
          if (view.top === top && view.height === height - 2) continue;
          if (view.height !== height - 2) view.painted = null;
          Object.assign(view, { top, height: height - 2, lane: lane.kind });
          view.root.style.height = `${height - 2}px`;
          this.#position(view);
        }
        top += height;
      }
      if (!lane.rows.length) top += EMPTY[low];
      names.push({ kind: lane.kind, top: begin, height: top - begin, empty: !lane.rows.length });
    }
    const text = JSON.stringify(names);
    if (text === this.laneText) return;
    this.laneText = text;
    this.laneBox.replaceChildren(...names.map((lane) => this.#lane(lane)));
    this.#request("items");
  }

  #lane({ kind, height, empty }) {
    const name = t(`timeline.lane_${kind}`);
    const symbol = button(ICONS[kind], name, () => {}).firstChild;
    const title = element("span", "lane-name", { title: name }, symbol, element("span", "", { textContent: name }));
    const lane = element("div", `lane lane-${kind}`, {}, title);
    if (empty) lane.append(element("span", "lane-hint", { textContent: t(`timeline.empty_${kind}`) }));
    lane.style.height = `${height}px`;
    return lane;
  }

  // --- what changes often

  #showSelection() {
    const { selection } = this.session;
    for (const id of new Set([...this.selected, ...selection])) {
      const view = this.views.get(id);
      if (view === undefined || view.selected === selection.has(id)) continue;
      view.selected = selection.has(id);
      view.root.classList.toggle("skycanvas-selected", view.selected);
      view.root.setAttribute("aria-selected", String(view.selected));
    }
    this.selected = new Set(selection);
    if (!selection.has(this.current) && selection.size) this.#setCurrent([...selection][selection.size - 1]);
    if (!this.views.has(this.current)) this.#setCurrent(this.order[0] ?? null);
  }

  /** One item takes part in the tab order. */
  #setCurrent(id) {
    const before = this.views.get(this.current);
    if (before) before.root.tabIndex = -1;
    this.current = id;
    const view = this.views.get(id);
    if (view) view.root.tabIndex = 0;
  }

  #showPlayhead() {
    const { playhead, document } = this.session;
    for (const mark of [this.playhead, this.grip]) mark.style.transform = `translateX(${playhead * this.scale}px)`;
    this.ruler.setAttribute("aria-valuenow", playhead);
    this.ruler.setAttribute("aria-valuetext", t("timeline.frame_at", {
      frame: playhead,
      time: clockText(playhead / document.fps),
    }));
  }

  /** Pages while it plays; a pointer that drags the playhead scrolls by itself. */
  #followPlayhead() {
    const at = this.#pixelOfPlayhead();
    if (this.stop === null && (at < 0 || at > this.window.width)) this.#scrollTo(at + this.window.left - 24);
  }

  #showTools() {
    this.snapButton.setAttribute("aria-pressed", String(this.session.snapping));
  }


  // --- window and painting

  #measure() {
    const { clientWidth: width, clientHeight: height } = this.scroll;
    const low = height < LOW;
    this.names = NAMES[Number(width < NARROW)];
    this.window.width = Math.max(0, width - this.names);
    this.root.classList.toggle("skycanvas-narrow", width < NARROW);
    this.content.style.setProperty("--names", `${this.names}px`);
    if (low !== this.low) {
      this.low = low;
      this.#arrange(this.session.document);
    }
    if (this.fitted) this.#setScale(this.#fitting(), 0);
    this.#request("ruler", "items");
  }

  #fitting() {
    return Math.max(0.01, (this.window.width - 12) / this.session.document.frames);
  }

  #pixelOfPlayhead() {
    return this.session.playhead * this.scale - this.window.left;
  }

  /** @param {number} at pixel of the window under which the frame stays */
  #setScale(scale, at) {
    const frame = (this.window.left + at) / this.scale;
    if (scale !== this.scale) {
      clearTimeout(this.settling);
      this.settling = setTimeout(() => {
        this.settled = this.scale;
        this.#request("items");
      }, SETTLE);
    }
    this.scale = scale;
    // each by itself: all that is inside would be styled anew for a variable that it inherits
    for (const view of this.views.values()) this.#position(view);
    this.laneBox.style.setProperty("--frame", `${scale}px`);
    this.#showCells();
    this.playhead.style.width = `${scale}px`;
    this.content.style.width = `${this.names + this.frames * scale + (this.fitted ? 0 : 60)}px`;
    this.#scrollTo(frame * scale - at);
    this.#showPlayhead();
  }

  /** Latent frames on the lanes, while they can be told apart. */
  #showCells() {
    const cell = this.session.grid.temporal * this.scale;
    this.laneBox.style.setProperty("--cell", cell >= 10 ? `${cell}px` : "0px");
  }

  #scrollTo(left) {
    const most = Math.max(0, this.frames * this.scale + (this.fitted ? 0 : 60) - this.window.width);
    this.window.left = Math.min(Math.max(0, left), most);
    this.scroll.scrollLeft = this.window.left;
    this.#request("ruler", "items");
  }

  #scrolled() {
    this.window.left = this.scroll.scrollLeft;
    this.#request("ruler", "items");
  }

  /** @param {...("ruler" | "items" | "arrivals")} what is painted on the next frame of the screen */
  #request(...what) {
    for (const part of what) this.due.add(part);
    this.waiting ??= requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    const { due } = this;
    this.waiting = undefined;
    this.due = new Set();
    this.colours ??= coloursOf(this.root);
    if (due.has("ruler")) this.#paintRuler();
    if (!due.has("items") && !due.has("arrivals")) return;
    if (due.has("arrivals")) {
      for (const view of this.views.values()) {
        // what failed is asked for again
        if (view.error !== null || view.assets.some(([asset, state]) => asset.state !== state)) view.painted = null;
      }
    }
    const end = performance.now() + BUDGET;
    for (const view of this.views.values()) {
      this.#keepLabel(view);
      if (!this.#needsPaint(view)) continue;
      if (performance.now() > end) {
        this.#request("items");
        break;
      }
      this.#paintItem(view);
    }
  }

  #paintRuler() {
    const context = sized(this.ruler, this.window.width, HEAD);
    paintRuler(context, {
      document: this.session.document,
      plan: this.plan,
      left: this.window.left,
      width: this.window.width,
      scale: this.scale,
      colours: this.colours,
    });
  }

  /** The label of an item that begins left of the window stays in sight. @param {View} view */
  #keepLabel(view) {
    const hidden = this.window.left - view.first * this.scale;
    const shift = Math.max(0, Math.min(hidden, (view.end - view.first) * this.scale - 40));
    if (shift === (view.shift ?? 0)) return;
    view.shift = shift;
    view.label.style.transform = `translateX(${shift}px)`;
  }

  /** The pixels of an item that are seen, and a margin on either side. @param {View} view */
  #seen({ first, end }, margin) {
    const from = Math.max(0, Math.floor(this.window.left - margin - first * this.scale));
    const length = (end - first) * this.scale - FRAME;
    const to = Math.min(length, this.window.left + this.window.width + margin - first * this.scale);
    return { from, to: Math.ceil(to) };
  }

  #needsPaint(view) {
    const { from, to } = this.#seen(view, 0);
    if (view.media === undefined || to <= from) return false;
    const { painted } = view;
    if (painted === null || painted.scale === this.scale) return !(painted?.from <= from && painted?.to >= to);
    return this.settled === this.scale; // until then its picture is stretched
  }

  /** @param {View} view */
  #paintItem(view) {
    const { from, to } = this.#seen(view, this.window.width / 2);
    const height = Math.max(4, view.height - 2 - (view.media.kind === "sound" ? 0 : LABEL));
    const context = sized(this.scratch, to - from, height);
    context.translate(-from, 0);
    const assets = paintItem(context, {
      document: this.session.document,
      item: view.item,
      library: this.library,
      from,
      to,
      height,
      scale: this.scale,
      colour: this.colours.wave,
    });
    view.painted = { from, to, scale: this.scale };
    view.assets = assets.map((asset) => [asset, asset.state]);
    // what is there already is better than a gap while the rest is fetched
    const complete = assets.every(({ state }) => state === "ready");
    if (complete || view.pictured !== view.item.media) {
      view.pictured = complete ? view.item.media : null;
      sized(view.canvas, to - from, height, PLAIN).drawImage(this.scratch, 0, 0, to - from, height);
      // in shares of the item, so that it is stretched by a zoom until it is painted anew
      const share = 100 / ((view.end - view.first) * this.scale - FRAME);
      view.canvas.style.left = `${from * share}%`;
      view.canvas.style.width = `${(to - from) * share}%`;
    }
    const error = assets.find((asset) => asset.state === "failed")?.error ?? null;
    if (error === view.error) return;
    view.error = error;
    this.#describe(view, this.session.document);
  }

  // --- pointer

  #place(rect) {
    const ratio = this.scroll.offsetWidth / rect.width; // the graph around the node is zoomed
    return (clientX) => ((clientX - rect.left) * ratio - this.names + this.window.left) / this.scale;
  }

  #press(event) {
    if (event.button !== 0) return;
    const root = event.target.closest(".skycanvas-item");
    const head = event.target.closest(".skycanvas-timeline-head");
    if (event.target === this.scroll) return; // a scrollbar
    event.stopPropagation();
    this.cancel();
    this.#hover(null);
    if (head) return this.#scrub(event);
    if (root === null) return this.#rubber(event);
    const view = this.views.get(root.dataset.id);
    this.pressing = true;
    root.focus({ preventScroll: true });
    this.pressing = false;
    const key = event.target.closest(".skycanvas-key");
    if (key && key.dataset.at !== "0") return this.#dragKey(event, view, Number(key.dataset.at));
    const end = event.target.closest(".skycanvas-trim");
    if (end) return this.#trim(event, view, end.classList.contains("skycanvas-trim-start") ? "start" : "end");
    this.#move(event, view);
  }

  /**
   * Follows a press. move: is told how many frames (not whole) it went, from where, and where it is. edits: whether it
   * changes the document.
   */
  #drag(pressed, { move, click = () => {}, end = () => {}, edits = true }) {
    const rect = this.scroll.getBoundingClientRect();
    const place = this.#place(rect);
    const origin = place(pressed.clientX);
    const stop = new AbortController();
    let last = pressed;
    let begun = false;
    let scrolling = 0;
    const step = () => move(place(last.clientX) - origin, last, place(last.clientX));
    const edge = () => {
      scrolling = requestAnimationFrame(edge);
      const ratio = this.scroll.offsetWidth / rect.width;
      const at = (last.clientX - rect.left) * ratio - this.names;
      const past = at < EDGE ? at - EDGE : Math.max(0, at - (this.window.width - EDGE));
      const before = this.window.left;
      if (past) this.#scrollTo(before + past / 3);
      if (this.window.left !== before) step();
    };
    const done = () => {
      stop.abort();
      cancelAnimationFrame(scrolling);
      this.stop = null;
      this.line.hidden = true;
      this.#say(null);
      this.root.classList.remove("skycanvas-dragging");
    };
    const cancel = follow(pressed, {
      move: (event) => {
        last = event;
        if (!begun) {
          if (Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < STILL) return;
          if (edits && !this.session.begin()) {
            cancel();
            return;
          }
          begun = true;
          this.tipPlace = this.#tipPlace();
          this.root.classList.add("skycanvas-dragging");
          scrolling = requestAnimationFrame(edge);
        }
        step();
      },
      end: (event) => {
        done();
        if (!begun) click(event);
        else if (edits) this.session.commit();
        end();
      },
      cancel: () => {
        done();
        if (begun && edits) this.session.cancel();
        end();
      },
    });
    this.stop = cancel;
    const escape = (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      cancel();
    };
    window.addEventListener("keydown", escape, { capture: true, signal: stop.signal });
  }

  #scrub(pressed) {
    const seek = (_, __, frame) => this.session.seek(frame);
    this.ruler.focus({ preventScroll: true });
    this.session.seek(this.#place(this.scroll.getBoundingClientRect())(pressed.clientX));
    this.#drag(pressed, { move: seek, edits: false });
  }

  #move(pressed, view) {
    const { session } = this;
    const more = pressed.shiftKey || pressed.ctrlKey || pressed.metaKey;
    const before = session.selection.has(view.id);
    if (!before) session.select([view.id], { add: more });
    const start = session.document;
    const ids = [...session.selection];
    const chosen = ids.map((id) => this.views.get(id));
    const whole = chosen.some(({ item }) => "frame" in item);
    const from = Math.min(...chosen.map(({ first }) => first));
    const edges = chosen.length > 1 ? [from, Math.max(...chosen.map(({ end }) => end))] : [view.first, view.end];
    const targets = this.#targets(new Set(ids));
    let shown = null;
    this.#drag(pressed, {
      move: (frames, event) => {
        const snapped = this.#snapped(frames, edges, targets, event);
        const delta = whole ? Math.round(snapped) : snapped;
        if (shown?.delta !== delta || shown.ripple !== event.shiftKey) {
          shown = { delta, ripple: event.shiftKey };
          const operation = shown.ripple ? [ripple, from] : [moveInTime, ids];
          session.preview((document) => operation[0](document, operation[1], delta));
        }
        this.#say(event, this.#moveText(view, start));
      },
      click: () => {
        if (before && more) session.select([view.id], { add: true });
        else if (before) session.select([view.id]);
      },
    });
  }

  #trim(pressed, view, edge) {
    const { session } = this;
    const { first, end } = view;
    const from = edge === "start" ? first : end;
    const targets = this.#targets(new Set([view.id]));
    session.select([view.id]);
    let shown = null;
    this.#drag(pressed, {
      move: (frames, event) => {
        const frame = from + this.#snapped(frames, [from], targets, event);
        if (shown?.frame !== frame || shown.ripple !== event.shiftKey) {
          shown = { frame, ripple: event.shiftKey };
          session.preview((document) => trimmed(document, view.id, edge, frame, shown.ripple));
        }
        this.#say(event, placeText(session.document, view));
      },
    });
  }

  #dragKey(pressed, view, at) {
    const { session } = this;
    const { item } = view;
    const others = item.path.filter((key) => key.at !== at).map((key) => key.at);
    const least = Math.max(0, ...others.filter((other) => other < at)) + 1;
    const most = Math.min(item.frames, ...others.filter((other) => other > at)) - 1;
    const targets = [session.playhead];
    session.select([view.id]);
    let shown = at;
    this.#drag(pressed, {
      move: (frames, event) => {
        const delta = this.#snapped(frames, [item.frame + at], targets, event);
        const moved = Math.min(Math.max(Math.round(at + delta), least), most);
        if (moved !== shown) {
          shown = moved;
          const path = item.path.map((key) => (key.at === at ? { at: moved, box: key.box } : key));
          session.preview((document) => update(document, view.id, { path }));
        }
        this.#say(event, t("timeline.key_at", { frame: item.frame + moved }));
      },
      click: () => session.seek(item.frame + at),
    });
  }

  /** Selects what a rectangle touches. */
  #rubber(pressed) {
    const { session } = this;
    this.scroll.focus({ preventScroll: true });
    const rect = this.scroll.getBoundingClientRect();
    const ratio = this.scroll.offsetHeight / rect.height;
    const down = ({ clientY }) => (clientY - rect.top) * ratio + this.scroll.scrollTop;
    const add = pressed.shiftKey || pressed.ctrlKey || pressed.metaKey;
    const before = add ? [...session.selection] : [];
    const from = { frame: this.#place(rect)(pressed.clientX), y: down(pressed) };
    if (pressed.pointerType === "touch") {
      this.#drag(pressed, { move: () => {}, click: () => session.select([]), edits: false });
      return; // the browser scrolls
    }
    this.#drag(pressed, {
      edits: false,
      move: (frames, event) => {
        const [first, last] = [from.frame, from.frame + frames].sort((a, b) => a - b);
        const [top, bottom] = [from.y, down(event)].sort((a, b) => a - b);
        const { style } = this.band;
        this.band.hidden = false;
        style.transform = `translate(${first * this.scale}px, ${top}px)`;
        style.width = `${(last - first) * this.scale}px`;
        style.height = `${bottom - top}px`;
        const touched = [...this.views.values()].filter(
          (view) => view.first < last && view.end > first && view.top < bottom && view.top + view.height > top,
        );
        session.select([...before, ...touched.map(({ id }) => id)]);
      },
      click: () => session.select(before),
      end: () => (this.band.hidden = true),
    });
  }

  /** Frames at which things may snap. */
  #targets(moving) {
    const { session } = this;
    const targets = new Set([0, session.document.frames, session.playhead]);
    for (const view of this.views.values()) if (!moving.has(view.id)) targets.add(view.first).add(view.end);
    return [...targets];
  }

  /** A shift of edges that brings one of them onto a target in reach; alt turns the snapping round. */
  #snapped(frames, edges, targets, { altKey }) {
    this.line.hidden = true;
    if (this.session.snapping === altKey) return frames;
    const places = edges.map((edge) => edge + frames);
    const reach = REACH / this.scale;
    const hit =
      nearest(places, targets, reach) ??
      nearest(places, boundariesNear(places, Math.min(reach, BOUNDARY), this.session.grid), reach);
    if (hit === null) return frames;
    this.line.hidden = false;
    this.line.style.transform = `translateX(${hit.line * this.scale}px)`;
    return frames + hit.shift;
  }

  #moveText(view, before) {
    const { document } = this.session;
    const delta = view.first - spanOf(before, find(before, view.id)).first;
    const text = Math.round(delta * 100) / 100;
    return `${placeText(document, view)}  (${text > 0 ? "+" : ""}${text})`;
  }

  // --- hints

  /** Shows a text at a pointer, or hides it. */
  #say(event, ...lines) {
    this.tip.hidden = event === null;
    if (event === null) return;
    const text = lines.join("\n");
    if (this.tip.textContent !== text) this.tip.textContent = text;
    const { rect, ratio } = this.tipPlace;
    const x = (event.clientX - rect.left) * ratio;
    const y = (event.clientY - rect.top) * ratio;
    this.tip.style.setProperty("--x", `${x}px`);
    this.tip.style.setProperty("--y", `${y}px`);
    this.tip.classList.toggle("skycanvas-left", x > rect.width * ratio * 0.6);
    this.tip.classList.toggle("skycanvas-above", y > rect.height * ratio * 0.5);
  }

  #tipPlace() {
    const rect = this.root.getBoundingClientRect();
    return { rect, ratio: this.root.offsetWidth / rect.width };
  }

  #hover(event) {
    if (this.stop !== null) return;
    const hovered = event === null ? null : this.#hovered(event);
    if (hovered === this.hovered) return;
    this.hovered = hovered;
    clearTimeout(this.hinting);
    this.#say(null);
    if (hovered === null) return;
    this.hinting = setTimeout(
      () => {
        this.tipPlace = this.#tipPlace();
        const lines = typeof hovered === "number" ? this.#latentText(hovered) : this.#itemText(hovered);
        if (lines.length) this.#say(event, ...lines);
      },
      typeof hovered === "number" ? 60 : 600,
    );
  }

  /** The latent frame, or the item, under a pointer. @returns {number | string | null} */
  #hovered(event) {
    if (event.target === this.ruler && event.offsetY >= VIDEO.top) {
      const frame = Math.floor((event.offsetX + this.window.left) / this.scale);
      return frame < this.frames ? latentOf(frame, this.session.grid) : null;
    }
    return event.target.closest(".skycanvas-item")?.dataset.id ?? null;
  }

  #latentText(latent) {
    const { plan, state } = this.plan;
    const shares = plan?.shares[latent];
    if (shares === undefined) return [];
    const [first, end] = framesOf(latent, plan.grid);
    const percent = (share) => `${Math.round(share * 1000) / 10} %`;
    const patches = plan.patches.filter(({ frame }) => frame >= first && frame < end);
    return [
      first === end - 1
        ? t("timeline.latent_one", { latent, first })
        : t("timeline.latent", { latent, first, last: end - 1 }),
      t("timeline.shares", {
        given: percent(shares.given),
        lost: percent(shares.lost),
        again: percent(shares.again),
      }),
      ...(patches.length ? [t("timeline.in_context", { frames: patches.map(({ frame }) => frame).join(", ") })] : []),
      ...(state === "computing" ? [t("plan.computing")] : []),
    ];
  }

  #itemText(id) {
    const view = this.views.get(id);
    if (view === undefined) return [];
    const { document } = this.session;
    const notes = this.plan.plan?.document === document ? notesOn(this.plan.plan, id) : [];
    return [
      titleOf(document, view.item),
      placeText(document, view),
      ...(view.error === null ? [] : [t("timeline.failed", { error: said(view.error) })]),
      ...notes.map(({ level, text }) => `${level === "warning" ? "⚠ " : ""}${said(text)}`),
    ];
  }

  // --- wheel and keyboard

  #wheel(event) {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      event.stopPropagation();
      const rect = this.scroll.getBoundingClientRect();
      const at = ((event.clientX - rect.left) * this.scroll.offsetWidth) / rect.width - this.names;
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
      this.zoom(2 ** (-event.deltaY * lines * 0.004), Math.max(0, at));
      return;
    }
    const { scrollHeight, clientHeight, scrollWidth, clientWidth } = this.scroll;
    const across = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    // what cannot scroll lets the graph zoom
    if (across ? scrollWidth > clientWidth : scrollHeight > clientHeight) event.stopPropagation();
  }

  #rulerKey(event) {
    const { session } = this;
    const step = event.shiftKey ? session.grid.temporal : 1;
    const goals = {
      ArrowLeft: session.playhead - step,
      ArrowRight: session.playhead + step,
      Home: 0,
      End: session.document.frames - 1,
    };
    if (!(event.key in goals) || event.ctrlKey || event.metaKey || event.altKey) return;
    session.seek(Math.max(0, goals[event.key]));
    handled(event);
  }

  /** What the editor's own keys do not do, or do elsewhere. */
  #key(event) {
    if (event.target === this.ruler || event.defaultPrevented) return;
    const { key, shiftKey: shift } = event;
    const control = event.ctrlKey || event.metaKey;
    const inItems = this.itemBox.contains(event.target);
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const step = shift ? this.session.grid.temporal : 1;
    if (arrow && inItems && control) this.#focus(this.order.indexOf(this.current) + arrow, shift);
    else if (arrow && inItems && event.altKey) this.#nudgeKey(arrow * step);
    else if (arrow && inItems) this.#nudge(arrow * step);
    else if (key === "Home" && inItems && control) this.#focus(0, false);
    else if (key === "End" && inItems && control) this.#focus(this.order.length - 1, false);
    else if ((key === "Enter" || key === " ") && inItems && control) this.session.select([this.current], { add: true });
    else if (control || event.altKey) return;
    else if (key === "[") this.actions.trim("start");
    else if (key === "]") this.actions.trim("end");
    else if (key === "{") this.#rippleTo("start");
    else if (key === "}") this.#rippleTo("end");
    else if (key === "+" || key === "=") this.zoom(1.5);
    else if (key === "-") this.zoom(1 / 1.5);
    else if (key === "0") this.fit();
    else return;
    handled(event);
  }

  /** Focus, and with it the selection, goes to the n-th item. */
  #focus(index, add) {
    const id = this.order[Math.min(Math.max(index, 0), this.order.length - 1)];
    const view = this.views.get(id);
    if (view === undefined) return;
    this.#setCurrent(id);
    view.root.focus({ preventScroll: true });
    this.session.select(add ? [...this.session.selection, id] : [id]);
    this.#reveal(view);
  }

  #focused(target) {
    const id = target.dataset?.id;
    if (id === undefined || this.stop !== null) return;
    this.#setCurrent(id);
    // a press selects by itself, as it may be about to add
    if (!this.pressing && !this.session.selection.has(id)) this.session.select([id]);
  }

  /** @param {View} view */
  #reveal({ first, end, top, height }) {
    const { left, width } = this.window;
    const [from, to] = [first * this.scale, end * this.scale];
    if (from < left || from > left + width - 20) this.#scrollTo(from - 24);
    else if (to > left + width && to - from < width) this.#scrollTo(to - width + 24);
    const { scrollTop, clientHeight } = this.scroll;
    if (top - HEAD < scrollTop) this.scroll.scrollTop = top - HEAD;
    else if (top + height > scrollTop + clientHeight) this.scroll.scrollTop = top + height - clientHeight + 4;
  }

  /** Moves the selection; what is held down is one edit. */
  #nudge(frames) {
    const { session } = this;
    const ids = [...session.selection];
    if (!ids.length) return;
    const place = (document) => spanOf(document, find(document, ids[0])).first;
    const now = place(session.document);
    const moved = this.arrows.press((document) => moveInTime(document, ids, now - place(document) + frames));
    const view = this.views.get(this.current);
    if (!moved || !view) return;
    this.voice.textContent = placeText(session.document, view);
    this.#reveal(view);
  }

  /** Moves the key of the current item that lies at the playhead, and the playhead with it. */
  #nudgeKey(frames) {
    const { session } = this;
    const view = this.views.get(this.current);
    const at = session.playhead - view.first;
    const index = view.item.path?.findIndex((key) => key.at === at) ?? -1;
    if (index < 0) {
      session.say("info", t("timeline.no_key"));
      return;
    }
    const { path } = view.item;
    const least = (path[index - 1]?.at ?? 0) + 1;
    const most = (path[index + 1]?.at ?? view.item.frames) - 1;
    const moved = Math.min(Math.max(at + frames, least), most);
    const changed = path.with(index, { at: moved, box: path[index].box });
    if (this.arrows.press((document) => update(document, view.id, { path: changed }))) session.seek(view.first + moved);
  }

  /** Trims what is selected at the playhead, and what follows goes along. */
  #rippleTo(edge) {
    const { session } = this;
    const frame = session.playhead + (edge === "end" ? 1 : 0); // the one at the playhead is the last that stays
    const ids = [...session.selection];
    session.edit((document) => ids.reduce((result, id) => trimmed(result, id, edge, frame, true), document));
  }
}

/** An edge of an item brought to a frame; with `ripples`, what follows goes along and the item stays where it began. */
export function trimmed(document, id, edge, frame, ripples) {
  const before = spanOf(document, find(document, id));
  const result = trim(document, id, edge, frame);
  if (!ripples) return result;
  const after = spanOf(result, find(result, id));
  if (edge === "end") return ripple(result, before.end, after.end - before.end);
  return ripple(result, after.first, before.first - after.first);
}

/** What an artist calls an item. */
export function titleOf(document, item) {
  if (kindOf(item) === "box") return t(`timeline.box_${item.action}`);
  if (kindOf(item) === "span") return t(`timeline.span_${item.action}`);
  if (kindOf(item) === "mask") return t(`timeline.mask_${item.action}`);
  return nameOf(document.media[item.media]) || item.id;
}

/** Where a view lies, in words. @param {{item: object, first: number, end: number}} view */
export function placeText(document, { item, first, end }) {
  if (!("frame" in item)) {
    return t("timeline.from_to", { from: clockText(first / document.fps), to: clockText(end / document.fps) });
  }
  if (end - first === 1) return t("timeline.one_frame", { frame: first });
  return t("timeline.frames_to", { first, last: end - 1, count: end - first });
}

function classOf(item, media) {
  const kind = kindOf(item);
  const parts = ["item", `item-${media === undefined || kind === "mask" ? kind : media.kind}`];
  if (item.action) parts.push(`item-${item.action}`);
  if (item.role === "guide") parts.push("item-guide");
  return parts.map((part) => `skycanvas-${part}`).join(" ");
}

function handled(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** A canvas of that size in pixels of the page, cleared, as dense as the screen. */
function sized(canvas, width, height, options) {
  const density = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.max(1, Math.round(height * density));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d", options);
  context.scale(density, density);
  return context;
}

/** Colours for what is painted, from that of the text. */
function coloursOf(root) {
  const text = getComputedStyle(root).color;
  const faint = (share) => text.replace(/rgba?\(([^,]+, [^,]+, [^,)]+).*\)/, `rgba($1, ${share})`);
  return {
    text: faint(0.9),
    quiet: faint(0.6),
    mark: faint(0.28),
    canvas: faint(0.05),
    empty: faint(0.08),
    wave: faint(0.8),
    given: COLOURS.given,
    lost: COLOURS.lost,
    again: COLOURS.generate,
    patch: COLOURS.patch,
  };
}
