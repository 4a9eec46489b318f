/** The timeline: what lies on the canvas when. Here: its parts put together, the scale, and what part is in sight. */
import { t } from "../words.js";
import { itemsOf, spanOf } from "./document.js";
import { button, element } from "./dom.js";
import { split } from "./edit_time.js";
import { HEIGHT as HEAD } from "./ruler.js";
import { TimelineHints } from "./timeline_hints.js";
import { TimelineItems } from "./timeline_items.js";
import { TimelineKeys } from "./timeline_keys.js";
import { TimelinePainter } from "./timeline_painter.js";
import { TimelinePointer } from "./timeline_pointer.js";
import { clockText } from "./timescale.js";

/** Pixels of the height below which rows are lower. */
const LOW = 190;
/** Width of the names of the lanes; of their icons where the timeline is narrow. */
const NAMES = [76, 24];
const NARROW = 440;
/** Pixels per frame. */
const LARGEST = 64;

/**
 * What is seen of the frames, in pixels; scale: pixels per frame.
 * @typedef {{left: number, width: number, scale: number}} Viewport
 */

/**
 * Its parts use what is named here without a #: `scroll` holds all that scrolls, `ruler` is the slider of the playhead,
 * and screen readers say the text of `voice`.
 */
export class Timeline {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   plan: import("./plan.js").PlanView, actions: {toggleKey(): void, trim(edge: "start" | "end"): void}}} options
   *   actions: what the editor does with the selection at the playhead
   */
  constructor({ session, library, plan, actions }) {
    this.session = session;
    this.plan = plan;
    this.actions = actions;
    this.fitted = true; // all of the canvas is shown, whatever the width
    /** Kept here, as a question to the page would lay it out anew. @type {Viewport} */
    this.viewport = { left: 0, width: 0, scale: 8 };
    /** Width of the names of the lanes, left of the frames, in pixels. */
    this.names = NAMES[0];

    const { viewport } = this;
    this.items = new TimelineItems({
      session,
      viewport,
      repaint: () => this.painter.request("items"),
      takeFocus: () => this.scroll.focus({ preventScroll: true }),
    });
    this.hints = new TimelineHints(this);
    this.pointer = new TimelinePointer(this);
    this.keys = new TimelineKeys(this);
    this.#build();
    const { items, ruler, root } = this;
    this.painter = new TimelinePainter({ session, library, plan, viewport, items, ruler, root });

    this.listening = new AbortController();
    const { signal } = this.listening;
    session.addEventListener("document", ({ detail }) => this.#sync(detail.committed), { signal });
    session.addEventListener("selection", () => items.showSelection(), { signal });
    const seek = () => {
      this.#showPlayhead();
      this.#followPlayhead();
    };
    session.addEventListener("playhead", seek, { signal });
    session.addEventListener("tool", () => this.#showTools(), { signal });
    plan.addEventListener("change", () => this.painter.request("ruler"), { signal });
    session.addEventListener("plan", () => items.showCells(), { signal });
    library.addEventListener("change", () => this.painter.request("arrivals"), { signal });
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.scroll);
    // ComfyUI changes its theme by a class or by variables
    this.theme = new MutationObserver(() => this.painter.refresh());
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
    this.painter.destroy();
    this.hints.destroy();
  }

  /** The frame under a pointer, also outside of the canvas: where a file was dropped, for example. */
  frameAt({ clientX }) {
    return Math.floor(this.placeIn(this.scroll.getBoundingClientRect())(clientX));
  }

  /**
   * How to find the frame (not whole) at a pixel of the page, which is asked once where the timeline is.
   * @param {DOMRect} rect of `scroll`
   * @returns {(clientX: number) => number}
   */
  placeIn(rect) {
    const { viewport } = this;
    const ratio = this.scroll.offsetWidth / rect.width; // the graph around the node is zoomed
    return (clientX) => ((clientX - rect.left) * ratio - this.names + viewport.left) / viewport.scale;
  }

  /**
   * How to find the item that an element shows, also when that is made anew; null where it shows none.
   * @param {Element} element
   * @returns {(() => ?Element) | null}
   */
  finder(element) {
    const { id } = element.dataset;
    return this.items.root.contains(element) && id ? () => this.items.views.get(id)?.root ?? null : null;
  }

  /** Ends the gesture under way without an edit. @returns {boolean} whether there was one */
  cancel() {
    return this.pointer.cancel();
  }

  /** Larger or smaller; the frame at a pixel of the window stays there: at the playhead, if none is given. */
  zoom(factor, at = this.#pixelOfPlayhead()) {
    const least = this.#fitting();
    const scale = Math.min(Math.max(this.viewport.scale * factor, least), Math.max(LARGEST, least));
    if (scale <= least) return this.fit();
    this.fitted = false;
    this.#setScale(scale, at);
  }

  /** Shows all of the canvas. */
  fit() {
    this.fitted = true;
    this.#setScale(this.#fitting(), 0);
  }

  /** Goes to a pixel of the frames. @param {number} left first one that is seen */
  scrollTo(left) {
    const most = Math.max(0, this.frames * this.viewport.scale + (this.fitted ? 0 : 60) - this.viewport.width);
    this.viewport.left = Math.min(Math.max(0, left), most);
    this.scroll.scrollLeft = this.viewport.left;
    this.painter.request("ruler", "items");
  }

  /** Scrolls until an item is in sight. @param {import("./timeline_items.js").View} view */
  reveal({ first, end, top, height }) {
    const { left, width, scale } = this.viewport;
    const [from, to] = [first * scale, end * scale];
    if (from < left || from > left + width - 20) this.scrollTo(from - 24);
    else if (to > left + width && to - from < width) this.scrollTo(to - width + 24);
    const { scrollTop, clientHeight } = this.scroll;
    if (top - HEAD < scrollTop) this.scroll.scrollTop = top - HEAD;
    else if (top + height > scrollTop + clientHeight) this.scroll.scrollTop = top + height - clientHeight + 4;
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
      keydown: (event) => this.keys.pressOnRuler(event),
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
    const head = element("div", "timeline-head", {}, corner, this.ruler, this.grip);
    this.playhead = element("div", "timeline-playhead");
    const { items, pointer } = this;
    const over = element("div", "timeline-over", {}, pointer.line, pointer.band, this.playhead);
    this.content = element("div", "timeline-content", {}, head, items.laneBox, items.root, over);
    const scroll = { tabIndex: -1, role: "group", "aria-label": t("timeline.name") };
    this.scroll = element("div", "timeline-scroll", scroll, this.content);
    this.voice = element("div", "unseen", { "aria-live": "polite" });
    const keydown = (event) => this.keys.press(event);
    this.root = element("div", "timeline", { keydown }, this.bar, this.scroll, this.hints.root, this.voice);

    this.scroll.addEventListener("pointerdown", (event) => pointer.press(event));
    this.scroll.addEventListener("pointermove", (event) => pointer.hover(event));
    this.scroll.addEventListener("pointerleave", () => pointer.hover(null));
    this.scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.scroll.addEventListener("wheel", (event) => pointer.wheel(event), { passive: false });
    items.root.addEventListener("focusin", ({ target }) => this.#focused(target));
  }

  /** Brings the elements up to the document. arrange: also into rows, which stay as they are during a gesture. */
  #sync(arrange) {
    const { document } = this.session;
    const changed = document.frames !== this.frames || document.fps !== this.fps;
    [this.frames, this.fps] = [document.frames, document.fps];
    this.items.sync(arrange, changed);
    if (changed) {
      this.ruler.setAttribute("aria-valuemax", document.frames - 1);
      this.#setScale(this.fitted ? this.#fitting() : this.viewport.scale, 0);
    }
    this.root.classList.toggle("skycanvas-locked", !this.session.editable);
    this.items.showSelection();
  }

  /** An item that takes the focus is selected, as by the tab key; a press selects by itself. */
  #focused(target) {
    const { session, items, pointer } = this;
    const id = target.dataset?.id;
    if (id === undefined || pointer.stop !== null) return;
    items.setCurrent(id);
    if (!pointer.pressing && !session.selection.has(id)) session.select([id]);
  }

  #showPlayhead() {
    const { playhead, document } = this.session;
    const place = `translateX(${playhead * this.viewport.scale}px)`;
    for (const mark of [this.playhead, this.grip]) mark.style.transform = place;
    const time = clockText(playhead / document.fps);
    this.ruler.setAttribute("aria-valuenow", playhead);
    this.ruler.setAttribute("aria-valuetext", t("timeline.frame_at", { frame: playhead, time }));
  }

  /** Pages while it plays; a pointer that drags the playhead scrolls by itself. */
  #followPlayhead() {
    const at = this.#pixelOfPlayhead();
    const { left, width } = this.viewport;
    if (this.pointer.stop === null && (at < 0 || at > width)) this.scrollTo(at + left - 24);
  }

  #showTools() {
    this.snapButton.setAttribute("aria-pressed", String(this.session.snapping));
  }

  #measure() {
    const { clientWidth: width, clientHeight: height } = this.scroll;
    this.names = NAMES[Number(width < NARROW)];
    this.viewport.width = Math.max(0, width - this.names);
    this.root.classList.toggle("skycanvas-narrow", width < NARROW);
    this.content.style.setProperty("--names", `${this.names}px`);
    this.items.setLow(height < LOW);
    if (this.fitted) this.#setScale(this.#fitting(), 0);
    this.painter.request("ruler", "items");
  }

  #fitting() {
    return Math.max(0.01, (this.viewport.width - 12) / this.session.document.frames);
  }

  #pixelOfPlayhead() {
    return this.session.playhead * this.viewport.scale - this.viewport.left;
  }

  /** @param {number} at pixel of the window under which the frame stays */
  #setScale(scale, at) {
    const frame = (this.viewport.left + at) / this.viewport.scale;
    if (scale !== this.viewport.scale) this.painter.settle();
    this.viewport.scale = scale;
    this.items.rescale();
    this.playhead.style.width = `${scale}px`;
    this.content.style.width = `${this.names + this.frames * scale + (this.fitted ? 0 : 60)}px`;
    this.scrollTo(frame * scale - at);
    this.#showPlayhead();
  }

  #scrolled() {
    this.viewport.left = this.scroll.scrollLeft;
    this.painter.request("ruler", "items");
  }
}
