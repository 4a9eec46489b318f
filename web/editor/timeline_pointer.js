/** What the pointer does on the timeline: it seeks, selects, moves and trims, drags keys; its wheel zooms. */
import { t } from "../words.js";
import { element, follow } from "./dom.js";
import { update } from "./edit_items.js";
import { moveInTime, ripple } from "./edit_time.js";
import { nearest } from "./geometry.js";
import { boundariesNear } from "./grid.js";
import { keyMoved, trimmed } from "./timeline_edits.js";
import { moveText, placeText } from "./timeline_texts.js";

/** Pixels within which things snap; boundaries of latent frames, so many frames at most, or all would be one. */
const REACH = 8;
const BOUNDARY = 1.5;
/** Pixels that a pointer moves before it drags; from an edge, where a drag scrolls. */
const STILL = 3;
const EDGE = 28;

/** @typedef {import("./timeline_items.js").View} View */

export class TimelinePointer {
  /** @param {import("./timeline.js").Timeline} timeline that shows `line` and `band` over its items */
  constructor(timeline) {
    this.timeline = timeline;
    this.session = timeline.session;
    /** Where a drag has snapped. */
    this.line = element("div", "timeline-snap", { hidden: true });
    /** What a drag selects. */
    this.band = element("div", "timeline-band", { hidden: true });
    /** @type {(() => void) | null} stops the gesture under way */
    this.stop = null;
    /** Whether an item takes the focus as it is pressed: the press selects by itself, as it may be about to add. */
    this.pressing = false;
  }

  /** Ends the gesture under way without an edit. @returns {boolean} whether there was one */
  cancel() {
    const { stop } = this;
    this.stop = null;
    stop?.();
    return stop !== null;
  }

  /** @param {PointerEvent | null} event null: it left */
  hover(event) {
    if (this.stop === null) this.timeline.hints.hover(event);
  }

  /** Begins what the place of a press tells. @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return;
    const { scroll, items } = this.timeline;
    const root = event.target.closest(".skycanvas-item");
    const head = event.target.closest(".skycanvas-timeline-head");
    if (event.target === scroll) return; // a scrollbar
    event.stopPropagation();
    this.cancel();
    this.hover(null);
    if (head) return this.#scrub(event);
    if (root === null) return this.#rubber(event);
    const view = items.views.get(root.dataset.id);
    this.pressing = true;
    root.focus({ preventScroll: true });
    this.pressing = false;
    const key = event.target.closest(".skycanvas-key");
    if (key && key.dataset.at !== "0") return this.#dragKey(event, view, Number(key.dataset.at));
    const end = event.target.closest(".skycanvas-trim");
    if (end) return this.#trim(event, view, end.classList.contains("skycanvas-trim-start") ? "start" : "end");
    this.#move(event, view);
  }

  /** Zooms with the control key; else the browser scrolls. @param {WheelEvent} event */
  wheel(event) {
    const { scroll, names } = this.timeline;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      event.stopPropagation();
      const rect = scroll.getBoundingClientRect();
      const at = ((event.clientX - rect.left) * scroll.offsetWidth) / rect.width - names;
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
      this.timeline.zoom(2 ** (-event.deltaY * lines * 0.004), Math.max(0, at));
      return;
    }
    const { scrollHeight, clientHeight, scrollWidth, clientWidth } = scroll;
    const across = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    // what cannot scroll lets the graph zoom
    if (across ? scrollWidth > clientWidth : scrollHeight > clientHeight) event.stopPropagation();
  }

  /**
   * Follows a press. move: is told how many frames (not whole) it went, from where, and where it is. edits: whether it
   * changes the document.
   */
  #drag(pressed, { move, click = () => {}, end = () => {}, edits = true }) {
    const { session, timeline } = this;
    const { scroll, viewport, hints } = timeline;
    const rect = scroll.getBoundingClientRect();
    const place = timeline.placeIn(rect);
    const origin = place(pressed.clientX);
    const stop = new AbortController();
    let last = pressed;
    let begun = false;
    let scrolling = 0;
    const step = () => move(place(last.clientX) - origin, last, place(last.clientX));
    const edge = () => {
      scrolling = requestAnimationFrame(edge);
      const ratio = scroll.offsetWidth / rect.width;
      const at = (last.clientX - rect.left) * ratio - timeline.names;
      const past = at < EDGE ? at - EDGE : Math.max(0, at - (viewport.width - EDGE));
      const before = viewport.left;
      if (past) timeline.scrollTo(before + past / 3);
      if (viewport.left !== before) step();
    };
    const done = () => {
      stop.abort();
      cancelAnimationFrame(scrolling);
      this.stop = null;
      this.line.hidden = true;
      hints.hide();
      timeline.root.classList.remove("skycanvas-dragging");
    };
    const cancel = follow(pressed, {
      move: (event) => {
        last = event;
        if (!begun) {
          if (Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < STILL) return;
          if (edits && !session.begin()) {
            cancel();
            return;
          }
          begun = true;
          hints.measure();
          timeline.root.classList.add("skycanvas-dragging");
          scrolling = requestAnimationFrame(edge);
        }
        step();
      },
      end: (event) => {
        done();
        if (!begun) click(event);
        else if (edits) session.commit();
        end();
      },
      cancel: () => {
        done();
        if (begun && edits) session.cancel();
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
    const { session, timeline } = this;
    const seek = (_, __, frame) => session.seek(frame);
    timeline.ruler.focus({ preventScroll: true });
    session.seek(timeline.placeIn(timeline.scroll.getBoundingClientRect())(pressed.clientX));
    this.#drag(pressed, { move: seek, edits: false });
  }

  /** @param {View} view */
  #move(pressed, view) {
    const { session } = this;
    const { items, hints } = this.timeline;
    const more = pressed.shiftKey || pressed.ctrlKey || pressed.metaKey;
    const before = session.selection.has(view.id);
    if (!before) session.select([view.id], { add: more });
    const origin = view.first;
    const ids = [...session.selection];
    const chosen = ids.map((id) => items.views.get(id));
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
        hints.say(event, moveText(session.document, view, origin));
      },
      click: () => {
        if (before && more) session.select([view.id], { add: true });
        else if (before) session.select([view.id]);
      },
    });
  }

  /** @param {View} view */
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
        this.timeline.hints.say(event, placeText(session.document, view));
      },
    });
  }

  /** @param {View} view */
  #dragKey(pressed, view, at) {
    const { session } = this;
    const { item } = view;
    const targets = [session.playhead];
    session.select([view.id]);
    let shown = at;
    this.#drag(pressed, {
      move: (frames, event) => {
        const moved = keyMoved(item, at, this.#snapped(frames, [item.frame + at], targets, event));
        if (moved.at !== shown) {
          shown = moved.at;
          session.preview((document) => update(document, view.id, { path: moved.path }));
        }
        this.timeline.hints.say(event, t("timeline.key_at", { frame: item.frame + moved.at }));
      },
      click: () => session.seek(item.frame + at),
    });
  }

  /** Selects what a rectangle touches. */
  #rubber(pressed) {
    const { session } = this;
    const { scroll, viewport, items } = this.timeline;
    scroll.focus({ preventScroll: true });
    const rect = scroll.getBoundingClientRect();
    const ratio = scroll.offsetHeight / rect.height;
    const down = ({ clientY }) => (clientY - rect.top) * ratio + scroll.scrollTop;
    const add = pressed.shiftKey || pressed.ctrlKey || pressed.metaKey;
    const before = add ? [...session.selection] : [];
    const from = { frame: this.timeline.placeIn(rect)(pressed.clientX), y: down(pressed) };
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
        style.transform = `translate(${first * viewport.scale}px, ${top}px)`;
        style.width = `${(last - first) * viewport.scale}px`;
        style.height = `${bottom - top}px`;
        const touched = [...items.views.values()].filter(
          (view) => view.first < last && view.end > first && view.top < bottom && view.top + view.height > top,
        );
        session.select([...before, ...touched.map(({ id }) => id)]);
      },
      click: () => session.select(before),
      end: () => (this.band.hidden = true),
    });
  }

  /** Frames at which things may snap. @param {Set<string>} moving ids of what has none */
  #targets(moving) {
    const { session } = this;
    const targets = new Set([0, session.document.frames, session.playhead]);
    for (const view of this.timeline.items.views.values()) {
      if (!moving.has(view.id)) targets.add(view.first).add(view.end);
    }
    return [...targets];
  }

  /** A shift of edges that brings one of them onto a target in reach; alt turns the snapping round. */
  #snapped(frames, edges, targets, { altKey }) {
    this.line.hidden = true;
    if (this.session.snapping === altKey) return frames;
    const { scale } = this.timeline.viewport;
    const places = edges.map((edge) => edge + frames);
    const reach = REACH / scale;
    const hit =
      nearest(places, targets, reach) ??
      nearest(places, boundariesNear(places, Math.min(reach, BOUNDARY), this.session.grid), reach);
    if (hit === null) return frames;
    this.line.hidden = false;
    this.line.style.transform = `translateX(${hit.line * scale}px)`;
    return frames + hit.shift;
  }
}
