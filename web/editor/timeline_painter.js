/** Paints the timeline on the next frame of the screen: the ruler, and the pictures of the items in sight. */
import { element } from "./dom.js";
import { paintItem } from "./film.js";
import { COLOURS } from "./painter.js";
import { HEIGHT as HEAD, paintRuler } from "./ruler.js";

/** Height of an item's label, in pixels. */
const LABEL = 14;
/** Pixels of an item's length that its border and the gap to the next one take. */
const FRAME = 3;
/** Milliseconds after which a zoom has come to rest, and pictures are painted anew. */
const SETTLE = 120;
/** Milliseconds of a frame of the screen that go into painting items; the others wait for the next one. */
const BUDGET = 6;
/** Painted by the processor: two hundred pictures on layers of their own would cost far more to put together. */
const PLAIN = { willReadFrequently: true };

/** @typedef {import("./timeline_items.js").View} View */

export class TimelinePainter {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   plan: import("./plan.js").PlanView, viewport: import("./timeline.js").Viewport,
   *   items: import("./timeline_items.js").TimelineItems, ruler: HTMLCanvasElement, root: HTMLElement}} options
   *   root: gives the colours
   */
  constructor({ session, library, plan, viewport, items, ruler, root }) {
    this.session = session;
    this.library = library;
    this.plan = plan;
    this.viewport = viewport;
    this.items = items;
    this.ruler = ruler;
    this.root = root;
    this.scratch = element("canvas");
    this.due = new Set();
  }

  destroy() {
    cancelAnimationFrame(this.waiting);
    clearTimeout(this.settling);
  }

  /** Paints all anew, in the colours of the page as they are now. */
  refresh() {
    this.colours = null;
    for (const view of this.items.views.values()) view.painted = null;
    this.request("ruler", "items");
  }

  /** @param {...("ruler" | "items" | "arrivals")} what is painted on the next frame of the screen */
  request(...what) {
    for (const part of what) this.due.add(part);
    this.waiting ??= requestAnimationFrame(() => this.#paint());
  }

  /** Paints the items anew once the scale, which has changed, rests: until then their pictures are stretched. */
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.settled = this.viewport.scale;
      this.request("items");
    }, SETTLE);
  }

  #paint() {
    const { due } = this;
    this.waiting = undefined;
    this.due = new Set();
    this.colours ??= coloursOf(this.root);
    if (due.has("ruler")) this.#paintRuler();
    if (!due.has("items") && !due.has("arrivals")) return;
    if (due.has("arrivals")) {
      for (const view of this.items.views.values()) {
        // what failed is asked for again
        if (view.error !== null || view.assets.some(([asset, state]) => asset.state !== state)) view.painted = null;
      }
    }
    const end = performance.now() + BUDGET;
    for (const view of this.items.views.values()) {
      this.#keepLabel(view);
      if (!this.#needsPaint(view)) continue;
      if (performance.now() > end) {
        this.request("items");
        break;
      }
      this.#paintItem(view);
    }
  }

  #paintRuler() {
    const { left, width, scale } = this.viewport;
    const { plan, colours } = this;
    const context = sized(this.ruler, width, HEAD);
    paintRuler(context, { document: this.session.document, plan, left, width, scale, colours });
  }

  /** The label of an item that begins left of the window stays in sight. @param {View} view */
  #keepLabel(view) {
    const { left, scale } = this.viewport;
    const hidden = left - view.first * scale;
    const shift = Math.max(0, Math.min(hidden, (view.end - view.first) * scale - 40));
    if (shift === (view.shift ?? 0)) return;
    view.shift = shift;
    view.label.style.transform = `translateX(${shift}px)`;
  }

  /** The pixels of an item that are seen, and a margin on either side. @param {View} view */
  #seen({ first, end }, margin) {
    const { left, width, scale } = this.viewport;
    const from = Math.max(0, Math.floor(left - margin - first * scale));
    const length = (end - first) * scale - FRAME;
    const to = Math.min(length, left + width + margin - first * scale);
    return { from, to: Math.ceil(to) };
  }

  /** @param {View} view */
  #needsPaint(view) {
    const { from, to } = this.#seen(view, 0);
    if (view.media === undefined || to <= from) return false;
    const { painted } = view;
    const { scale } = this.viewport;
    if (painted === null || painted.scale === scale) return !(painted?.from <= from && painted?.to >= to);
    return this.settled === scale; // until then its picture is stretched
  }

  /** @param {View} view */
  #paintItem(view) {
    const { width, scale } = this.viewport;
    const { from, to } = this.#seen(view, width / 2);
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
      scale,
      colour: this.colours.wave,
    });
    view.painted = { from, to, scale };
    view.assets = assets.map((asset) => [asset, asset.state]);
    // what is there already is better than a gap while the rest is fetched
    const complete = assets.every(({ state }) => state === "ready");
    if (complete || view.pictured !== view.item.media) {
      view.pictured = complete ? view.item.media : null;
      sized(view.canvas, to - from, height, PLAIN).drawImage(this.scratch, 0, 0, to - from, height);
      // in shares of the item, so that it is stretched by a zoom until it is painted anew
      const share = 100 / ((view.end - view.first) * scale - FRAME);
      view.canvas.style.left = `${from * share}%`;
      view.canvas.style.width = `${(to - from) * share}%`;
    }
    const error = assets.find((asset) => asset.state === "failed")?.error ?? null;
    if (error === view.error) return;
    view.error = error;
    this.items.describe(view, this.session.document);
  }
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
