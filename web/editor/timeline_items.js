/** The items of the timeline: an element each, in the rows of their lanes. */
import { t } from "../words.js";
import { itemsOf, kindOf, lanes, spanOf } from "./document.js";
import { button, element } from "./dom.js";
import { HEIGHT as HEAD } from "./ruler.js";
import { labelOf, titleOf } from "./timeline_texts.js";

/** Heights of the rows of each lane, and of a lane without items, in pixels; the second where the timeline is low. */
const ROWS = { video: [46, 30], patch: [40, 28], mask: [28, 22], sound: [36, 26] };
const EMPTY = [22, 18];
const ICONS = { video: "clip", patch: "image", mask: "mask", sound: "sound" };

/**
 * An item on show. first, end: in frames. top, height: in pixels, from the top of the timeline's head. shift: of the
 * label. painted: the pixels of its picture. assets: what its picture was painted from, each with its state then.
 * @typedef {{id: string, root: HTMLElement, canvas: HTMLCanvasElement, label: HTMLElement, item: object,
 *   media: object | undefined, first: number, end: number, top: number, height: number, lane: string,
 *   selected: boolean, shift: number, path: object[] | null,
 *   painted: {from: number, to: number, scale: number} | null, pictured: string | null,
 *   assets: [import("./media.js").Asset<any>, string][], error: string | null}} View
 */

export class TimelineItems {
  /**
   * @param {{session: import("./session.js").Session, viewport: import("./timeline.js").Viewport, repaint(): void,
   *   takeFocus(): void}} options repaint: paints what is not painted; takeFocus: from an item that goes
   */
  constructor({ session, viewport, repaint, takeFocus }) {
    this.session = session;
    this.viewport = viewport;
    this.repaint = repaint;
    this.takeFocus = takeFocus;
    /** Those on show, by id. @type {Map<string, View>} */
    this.views = new Map();
    /** Their ids, row by row. @type {string[]} */
    this.order = [];
    /** Id of the one that the keyboard is at. @type {string | null} */
    this.current = null;
    this.selected = new Set();
    this.low = false;
    this.laneBox = element("div", "timeline-lanes");
    this.root = element("div", "timeline-items", {
      role: "listbox",
      "aria-label": t("timeline.items"),
      "aria-multiselectable": true,
      "aria-orientation": "horizontal",
    });
  }

  /** Makes the rows lower where there is little room. @param {boolean} low */
  setLow(low) {
    if (low === this.low) return;
    this.low = low;
    this.#arrange(this.session.document);
  }

  /**
   * Brings the elements up to the document.
   * @param {boolean} arrange also into rows, which stay as they are during a gesture
   * @param {boolean} resized whether the canvas has other frames, or another rate
   */
  sync(arrange, resized) {
    const { document } = this.session;
    const items = itemsOf(document);
    const known = new Set(items.map(({ id }) => id));
    for (const [id, view] of this.views) if (!known.has(id)) this.#discard(view);
    for (const item of items) {
      let view = this.views.get(item.id);
      if (view === undefined) {
        view = this.#create(item.id);
        this.views.set(item.id, view);
        arrange = true;
      }
      const same = view.item === item && view.media === document.media[item.media];
      if (!same || resized) this.#update(view, document, item);
    }
    if (arrange) this.#arrange(document);
  }

  /** Brings the elements up to the scale. */
  rescale() {
    // each by itself: all that is inside would be styled anew for a variable that it inherits
    for (const view of this.views.values()) this.#position(view);
    this.laneBox.style.setProperty("--frame", `${this.viewport.scale}px`);
    this.showCells();
  }

  /** Latent frames on the lanes, while they can be told apart. */
  showCells() {
    const cell = this.session.grid.temporal * this.viewport.scale;
    this.laneBox.style.setProperty("--cell", cell >= 10 ? `${cell}px` : "0px");
  }

  showSelection() {
    const { selection } = this.session;
    for (const id of new Set([...this.selected, ...selection])) {
      const view = this.views.get(id);
      if (view === undefined || view.selected === selection.has(id)) continue;
      view.selected = selection.has(id);
      view.root.classList.toggle("skycanvas-selected", view.selected);
      view.root.setAttribute("aria-selected", String(view.selected));
    }
    this.selected = new Set(selection);
    if (!selection.has(this.current) && selection.size) this.setCurrent([...selection][selection.size - 1]);
    if (!this.views.has(this.current)) this.setCurrent(this.order[0] ?? null);
  }

  /** One item takes part in the tab order. @param {string | null} id */
  setCurrent(id) {
    const before = this.views.get(this.current);
    if (before) before.root.tabIndex = -1;
    this.current = id;
    const view = this.views.get(id);
    if (view) view.root.tabIndex = 0;
  }

  /** Name and state, for eyes and for screen readers. @param {View} view */
  describe(view, document) {
    const name = titleOf(document, view.item);
    if (view.label.textContent !== name) view.label.textContent = name;
    view.root.classList.toggle("skycanvas-failed", view.error !== null);
    view.root.setAttribute("aria-label", labelOf(document, view));
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
    this.root.append(root);
    return { id, root, canvas, label, item: null, path: null, painted: null, pictured: null, assets: [], error: null };
  }

  /** @param {View} view */
  #discard(view) {
    if (view.root.contains(document.activeElement)) this.takeFocus();
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
      this.repaint();
    }
    Object.assign(view, { item, first, end, media: document.media[item.media] });
    this.#position(view);
    if (item.path !== view.path || stretched) showKeys(view);
    view.root.className = classOf(item, view.media);
    if (view.selected) view.root.classList.add("skycanvas-selected");
    this.describe(view, document);
  }

  /** @param {View} view */
  #position({ root, first, end, top }) {
    const { scale } = this.viewport;
    root.style.transform = `translate(${first * scale}px, ${top + 1}px)`;
    root.style.width = `${Math.max(4, (end - first) * scale - 1)}px`;
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
    this.laneBox.replaceChildren(...names.map(laneOf));
    this.repaint();
  }
}

function laneOf({ kind, height, empty }) {
  const name = t(`timeline.lane_${kind}`);
  const symbol = button(ICONS[kind], name, () => {}).firstChild;
  const title = element("span", "lane-name", { title: name }, symbol, element("span", "", { textContent: name }));
  const lane = element("div", `lane lane-${kind}`, {}, title);
  if (empty) lane.append(element("span", "lane-hint", { textContent: t(`timeline.empty_${kind}`) }));
  lane.style.height = `${height}px`;
  return lane;
}

/** @param {View} view */
function showKeys(view) {
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

function classOf(item, media) {
  const kind = kindOf(item);
  const parts = ["item", `item-${media === undefined || kind === "mask" ? kind : media.kind}`];
  if (item.action) parts.push(`item-${item.action}`);
  if (item.role === "guide") parts.push("item-guide");
  return parts.map((part) => `skycanvas-${part}`).join(" ");
}
