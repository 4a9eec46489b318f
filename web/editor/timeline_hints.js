/** The hints of the timeline: a text at the pointer, about what lies under it or what a drag does. */
import { element } from "./dom.js";
import { latentOf } from "./grid.js";
import { VIDEO } from "./ruler.js";
import { itemText, latentText } from "./timeline_texts.js";

/** Milliseconds until a hint shows: of a latent frame, of an item. */
const WAIT = { latent: 60, item: 600 };

export class TimelineHints {
  /** @param {import("./timeline.js").Timeline} timeline that shows `root` */
  constructor(timeline) {
    this.timeline = timeline;
    this.root = element("div", "timeline-tip", { hidden: true });
    /** The latent frame, or the id of the item, under the pointer. @type {number | string | null} */
    this.hovered = null;
  }

  destroy() {
    clearTimeout(this.waiting);
  }

  /** Asks the page where the timeline is, once before texts are shown. */
  measure() {
    const { root } = this.timeline;
    const rect = root.getBoundingClientRect();
    this.place = { rect, ratio: root.offsetWidth / rect.width };
  }

  /** Shows a text at a pointer. @param {PointerEvent} event */
  say(event, ...lines) {
    const { root } = this;
    const text = lines.join("\n");
    root.hidden = false;
    if (root.textContent !== text) root.textContent = text;
    const { rect, ratio } = this.place;
    const x = (event.clientX - rect.left) * ratio;
    const y = (event.clientY - rect.top) * ratio;
    root.style.setProperty("--x", `${x}px`);
    root.style.setProperty("--y", `${y}px`);
    root.classList.toggle("skycanvas-left", x > rect.width * ratio * 0.6);
    root.classList.toggle("skycanvas-above", y > rect.height * ratio * 0.5);
  }

  hide() {
    this.root.hidden = true;
  }

  /**
   * Shows, after a while, what is under a pointer that makes no gesture.
   * @param {PointerEvent | null} event null: the pointer left
   */
  hover(event) {
    const hovered = event === null ? null : this.#under(event);
    if (hovered === this.hovered) return;
    this.hovered = hovered;
    clearTimeout(this.waiting);
    this.hide();
    if (hovered === null) return;
    const show = () => {
      this.measure();
      const lines = this.#linesOf(hovered);
      if (lines.length) this.say(event, ...lines);
    };
    this.waiting = setTimeout(show, typeof hovered === "number" ? WAIT.latent : WAIT.item);
  }

  /** The latent frame, or the item, under a pointer. @returns {number | string | null} */
  #under(event) {
    const { session, ruler, viewport } = this.timeline;
    if (event.target === ruler && event.offsetY >= VIDEO.top) {
      const frame = Math.floor((event.offsetX + viewport.left) / viewport.scale);
      return frame < session.document.frames ? latentOf(frame, session.grid) : null;
    }
    return event.target.closest(".skycanvas-item")?.dataset.id ?? null;
  }

  #linesOf(hovered) {
    const { session, plan, items } = this.timeline;
    if (typeof hovered === "number") return latentText(hovered, plan);
    const view = items.views.get(hovered);
    return view === undefined ? [] : itemText(session.document, view, plan.plan);
  }
}
