/** The stage: the frame at the playhead, on which one drags, resizes, draws regions and paints masks. */
import { t } from "../words.js";
import { find, freeId } from "./document.js";
import { ArrowKeys, element, follow } from "./dom.js";
import { add } from "./edit_items.js";
import { moveInFrame, removeKey, resize, setKey } from "./edit_space.js";
import {
  around,
  between,
  contains,
  fit,
  handleAt,
  HANDLES,
  meets,
  nearest,
  placeOf,
  resized,
  zoomed,
} from "./geometry.js";
import { COLOURS, nameOf, scaled, shownAt } from "./painter.js";
import { boxAt } from "./schema.js";

const ACCENT = "#3ea6ff";
const SNAP_LINE = "#ff5cb8";
/** Pixels of the view: how near is near; and how far a pointer goes before it drags. */
const REACH = { mouse: 7, pen: 9, touch: 16 };
const SNAP = 6;
const STILL = 3;
/** Milliseconds without a change of the picture, before clips are shown sharp. */
const REST = 160;
const CURSORS = { nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize", n: "ns-resize" };

export class Stage {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   brush: import("./brush.js").Brush, painter: import("./painter.js").Painter}} options
   */
  constructor({ session, library, brush, painter }) {
    this.session = session;
    this.brush = brush;
    this.painter = painter;
    this.arrows = new ArrowKeys(session);
    this.canvas = element("canvas", "stage-canvas");
    this.root = element(
      "div",
      "stage",
      {
        tabIndex: 0,
        role: "application",
        "aria-roledescription": t("stage.role"),
        pointerdown: (event) => this.#press(event),
        pointermove: (event) => this.#hover(event),
        pointerleave: () => this.#leave(),
        dblclick: (event) => this.#twice(event),
      },
      this.canvas,
    );
    this.root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    /** Pixels of the view per pixel of the canvas, and the corner of the canvas. */
    this.view = { scale: 1, x: 0, y: 0 };
    this.magnified = false;
    /** Whether it shows what will be made again. */
    this.overlay = true;
    /** Whether the plan is of use: not while the canvas does not compile. */
    this.showPlan = true;
    /** What a drawn box or a painted mask does. @type {"generate" | "keep"} */
    this.action = "generate";
    this.hovered = null;
    this.pointer = null;
    this.lines = [];
    this.rubber = null;
    /** @type {(() => void) | null} stops the gesture under way */
    this.stop = null;
    this.sharp = false;

    this.listening = new AbortController();
    const { signal } = this.listening;
    for (const name of ["document", "selection", "playhead", "tool", "plan"]) {
      session.addEventListener(name, () => this.refresh(), { signal });
    }
    library.addEventListener("change", () => this.refresh(), { signal });
    brush.addEventListener("change", () => this.refresh(), { signal });
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.root);
    this.refresh();
  }

  destroy() {
    this.cancel();
    this.listening.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.waiting);
    clearTimeout(this.resting);
  }

  /** Draws on the next frame of the screen. */
  refresh() {
    this.sharp = false;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.sharp = true;
      this.#request();
    }, REST);
    this.#request();
  }

  /** Shows all of the canvas. */
  fit() {
    this.magnified = false;
    this.#measure();
  }

  /** Larger or smaller around a point of the view, its middle if there is none. */
  zoom(factor, point = { x: this.root.clientWidth / 2, y: this.root.clientHeight / 2 }) {
    const least = this.#fitted().scale;
    const wanted = Math.min(Math.max(this.view.scale * factor, least), Math.max(64, least));
    if (wanted === least) return this.fit();
    this.magnified = true;
    this.view = zoomed(this.view, wanted / this.view.scale, point);
    this.refresh();
  }

  /** Ends the gesture under way without an edit. @returns {boolean} whether there was one */
  cancel() {
    const { stop } = this;
    this.stop = null;
    stop?.();
    return stop !== null;
  }

  /** Moves the selection by so many pixels of the canvas, at each press of an arrow key. */
  nudge(dx, dy) {
    const { session } = this;
    const frame = session.playhead;
    const ids = this.#movable();
    if (!ids.length || session.locked) return;
    const place = (document) => boxAt(find(document, ids[0]), frame);
    const now = place(session.document);
    const moved = this.arrows.press((document) => {
      const { x, y } = place(document);
      return moveInFrame(document, ids, now.x - x + dx, now.y - y + dy, frame);
    });
    if (moved) session.say("info", t("stage.moved", place(session.document)));
  }

  /** Sets keys of the selection at the playhead where there are none; takes them away where all items have one. */
  toggleKey() {
    const { session } = this;
    const frame = session.playhead;
    const items = this.#movable()
      .map((id) => find(session.document, id))
      .filter((item) => frame > item.frame);
    if (!items.length) return session.say("info", t("stage.no_key"));
    const bare = items.filter((item) => item.path.every((key) => key.at !== frame - item.frame));
    const [change, chosen] = bare.length ? [setKey, bare] : [removeKey, items];
    session.edit((document) => chosen.reduce((result, { id }) => change(result, id, frame), document));
  }

  /** The point of the canvas under a pointer; not rounded. */
  pointOf(event) {
    const { x, y } = this.#viewPoint(event);
    return { x: (x - this.view.x) / this.view.scale, y: (y - this.view.y) / this.view.scale };
  }

  // --- the view

  #fitted() {
    const view = { width: this.root.clientWidth, height: this.root.clientHeight };
    return fit(this.session.document, view, view.width < 320 || view.height < 200 ? 10 : 22);
  }

  #measure() {
    if (!this.magnified) this.view = this.#fitted();
    this.refresh();
  }

  #viewPoint(event) {
    const box = this.root.getBoundingClientRect(); // with the zoom of the graph; the view is in layout pixels
    return {
      x: ((event.clientX - box.x) * this.root.clientWidth) / box.width,
      y: ((event.clientY - box.y) * this.root.clientHeight) / box.height,
    };
  }

  #wheel(event) {
    if (event.ctrlKey) this.zoom(Math.exp(-event.deltaY * 0.004), this.#viewPoint(event));
    else if (this.magnified && this.root.contains(document.activeElement)) {
      this.view = { ...this.view, x: this.view.x - event.deltaX, y: this.view.y - event.deltaY };
      this.refresh();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #twice(event) {
    if (this.session.tool === "select" && !this.#stack(this.pointOf(event)).length) this.fit();
  }

  // --- what lies where

  #shown() {
    return shownAt(this.session.document, this.session.playhead);
  }

  /** Selected items that have a place in the frame now. */
  #movable() {
    const { session } = this;
    return this.#shown()
      .filter((item) => session.selection.has(item.id))
      .map((item) => item.id);
  }

  #box(item) {
    return boxAt(item, this.session.playhead);
  }

  /** Items under a point, the topmost first. */
  #stack(point) {
    return this.#shown()
      .filter((item) => contains(this.#box(item), point))
      .reverse();
  }

  /** The one selected item that may be resized: masks have the size that they have. */
  #resizable() {
    const ids = this.#movable();
    const item = ids.length === 1 ? find(this.session.document, ids[0]) : null;
    return item !== null && item.kind !== "mask" && !this.session.locked ? item : null;
  }

  #handle(point, pointerType) {
    const item = this.#resizable();
    return item && handleAt(this.#box(item), point, (REACH[pointerType] ?? REACH.mouse) / this.view.scale);
  }

  // --- pointers

  #press(event) {
    const { session } = this;
    if (event.button === 1 && this.magnified && this.root.closest("dialog")) return this.#pan(event);
    if (event.button !== 0 || !session.readable) return;
    event.stopPropagation();
    this.root.focus({ preventScroll: true });
    this.cancel();
    const point = this.pointOf(event);
    if (session.locked) {
      const [item] = this.#stack(point);
      return session.select(item ? [item.id] : []);
    }
    if (session.tool === "brush" || session.tool === "erase") return this.#paint(event);
    if (session.tool === "box") return this.#drawBox(event, point);
    const handle = this.#handle(point, event.pointerType);
    if (handle) return this.#resize(event, handle);
    const stack = this.#stack(point);
    const chosen = stack.find((item) => session.selection.has(item.id)) ?? stack[0];
    if (!chosen) return this.#select(event, point);
    const was = session.selection.has(chosen.id);
    if (event.shiftKey || event.ctrlKey || event.metaKey) session.select([chosen.id], { add: true });
    else if (!was) session.select([chosen.id]);
    this.#move(event, () => {
      // a click that moved nothing goes to what lies below
      if (!was || event.shiftKey || event.ctrlKey || event.metaKey) return;
      session.select([stack[(stack.indexOf(chosen) + 1) % stack.length].id]);
    });
  }

  /**
   * Follows a pointer; `change` is told how far it went, in pixels of the canvas, once it has gone further than a
   * trembling hand.
   */
  #drag(event, { change, end = () => {}, cancel = () => {}, click = () => {} }) {
    const start = this.pointOf(event);
    let moved = false;
    const leave = () => {
      this.stop = null;
      this.lines = [];
      this.rubber = null;
      this.dragging = false;
      this.refresh();
    };
    this.stop = follow(event, {
      move: (now) => {
        moved ||= Math.hypot(now.clientX - event.clientX, now.clientY - event.clientY) > STILL;
        if (!moved) return;
        this.dragging = true;
        const point = this.pointOf(now);
        change(point, { dx: point.x - start.x, dy: point.y - start.y, event: now });
        this.refresh();
      },
      end: (last) => {
        leave();
        if (moved) end(last);
        else click(last);
      },
      cancel: () => {
        leave();
        cancel();
      },
    });
  }

  /** A drag that edits: previews are those of the document as it was when the drag began. */
  #edit(event, make, more = {}) {
    const { session } = this;
    let begun = false;
    this.#drag(event, {
      ...more,
      change: (point, way) => {
        begun ||= session.begin();
        session.preview((document) => make(document, point, way));
      },
      end: () => {
        if (begun) session.commit();
        more.end?.();
      },
      cancel: () => {
        if (begun) session.cancel();
      },
    });
  }

  #move(event, click) {
    const { session } = this;
    const ids = this.#movable();
    const frame = session.playhead;
    const before = around(ids.map((id) => this.#box(find(session.document, id))));
    if (before === null) return;
    this.#edit(
      event,
      (document, _, { dx, dy, event: now }) => {
        let way = { x: Math.round(dx), y: Math.round(dy) };
        if (now.shiftKey) way = Math.abs(dx) > Math.abs(dy) ? { ...way, y: 0 } : { ...way, x: 0 };
        const free = now.ctrlKey || now.metaKey;
        const box = { ...before, x: before.x + way.x, y: before.y + way.y };
        const shift = this.#snap(ids, sidesOf(box, "x", "width"), sidesOf(box, "y", "height"), free);
        return moveInFrame(document, ids, way.x + shift.x, way.y + shift.y, frame);
      },
      { click },
    );
  }

  #resize(event, handle) {
    const { session } = this;
    const item = this.#resizable();
    const frame = session.playhead;
    const box = this.#box(item);
    this.#edit(event, (document, _, { dx, dy, event: now }) => {
      const how = { proportional: now.shiftKey, centred: now.altKey };
      let way = { x: Math.round(dx), y: Math.round(dy) };
      const pulled = resized(box, handle, way.x, way.y, how);
      const edge = (sign, start, side) => (sign ? [sign < 0 ? start : start + side] : []);
      const shift = this.#snap(
        [item.id],
        edge(handle.x, pulled.x, pulled.width),
        edge(handle.y, pulled.y, pulled.height),
        now.ctrlKey || now.metaKey || how.proportional,
      );
      way = { x: way.x + shift.x, y: way.y + shift.y };
      return resize(document, item.id, resized(box, handle, way.x, way.y, how), frame);
    });
  }

  #drawBox(event, start) {
    const { session } = this;
    const { playhead: frame } = session;
    const id = freeId(session.document, "region");
    const first = this.#snapPoint(start);
    const draw = (document, point) => {
      const box = between(first, this.#snapPoint(point));
      const frames = document.frames - frame;
      return add(document, "regions", { kind: "box", id, action: this.action, frame, frames, box, path: [] });
    };
    this.#edit(event, draw, {
      end: () => {
        if (!find(session.document, id)) return;
        session.setTool("select");
        session.select([id]);
      },
    });
  }

  #select(event, start) {
    const { session } = this;
    const adds = event.shiftKey || event.ctrlKey || event.metaKey;
    const before = adds ? [...session.selection] : [];
    this.#drag(event, {
      change: (point) => {
        this.rubber = between(start, point);
        const inside = this.#shown().filter((item) => meets(this.#box(item), this.rubber));
        session.select([...before, ...inside.map((item) => item.id)]);
      },
      click: () => adds || session.select([]),
    });
  }

  #paint(event) {
    const { session, brush } = this;
    const at = (now) => ({ ...this.pointOf(now), pressure: now.pointerType === "pen" ? now.pressure : 1 });
    brush.start(at(event), { erase: session.tool === "erase" || event.altKey, action: this.action });
    this.stop = follow(event, {
      move: (now) => {
        this.pointer = this.#viewPoint(now);
        const steps = now.getCoalescedEvents?.() ?? []; // none of an event that a program makes
        for (const step of steps.length ? steps : [now]) brush.move(at(step));
      },
      end: () => {
        this.stop = null;
        brush.end();
      },
      cancel: () => {
        this.stop = null;
        brush.cancel();
      },
    });
  }

  #pan(event) {
    event.preventDefault();
    event.stopPropagation();
    const { view } = this;
    const start = this.#viewPoint(event);
    this.stop = follow(event, {
      move: (now) => {
        const point = this.#viewPoint(now);
        this.view = { ...view, x: view.x + point.x - start.x, y: view.y + point.y - start.y };
        this.refresh();
      },
      end: () => (this.stop = null),
      cancel: () => (this.stop = null),
    });
  }

  #hover(event) {
    this.pointer = this.#viewPoint(event);
    if (this.stop !== null || event.buttons) return;
    const { tool, locked } = this.session;
    const point = this.pointOf(event);
    const [top] = tool === "select" ? this.#stack(point) : [];
    const handle = tool === "select" ? this.#handle(point, event.pointerType) : null;
    const cursor = { box: "crosshair", brush: "none", erase: "none" }[tool];
    const grip = handle && (CURSORS[handle.name] ?? (handle.name === "s" ? "ns-resize" : "ew-resize"));
    this.root.style.cursor = locked ? "default" : (cursor ?? grip ?? (top ? "move" : "default"));
    if (this.hovered !== (top?.id ?? null) || cursor) this.#request();
    this.hovered = top?.id ?? null;
  }

  #leave() {
    this.pointer = null;
    this.hovered = null;
    this.#request();
  }

  // --- snapping

  /** How far edges go to lie on a line; the lines are shown. */
  #snap(ids, xs, ys, free) {
    this.lines = [];
    if (free || !this.session.snapping) return { x: 0, y: 0 };
    const targets = this.#targets(new Set(ids));
    const distance = SNAP / this.view.scale;
    const [x, y] = [nearest(xs, targets.x, distance), nearest(ys, targets.y, distance)];
    if (x) this.lines.push({ x: x.line });
    if (y) this.lines.push({ y: y.line });
    return { x: Math.round(x?.shift ?? 0), y: Math.round(y?.shift ?? 0) };
  }

  #snapPoint({ x, y }) {
    const shift = this.#snap([], [x], [y], false);
    return { x: x + shift.x, y: y + shift.y };
  }

  /** Edges and middles of the frame and of what shows in it; edges of the latent cells, while they can be told apart. */
  #targets(ids) {
    const { document, plan } = this.session;
    const boxes = [{ x: 0, y: 0, width: document.width, height: document.height }];
    for (const item of this.#shown()) if (!ids.has(item.id)) boxes.push(this.#box(item));
    const x = new Set(boxes.flatMap((box) => sidesOf(box, "x", "width")));
    const y = new Set(boxes.flatMap((box) => sidesOf(box, "y", "height")));
    if (this.overlay && plan) {
      const [, rows, columns] = plan.latent;
      const cell = document.width / columns;
      if (cell * this.view.scale > 2.5 * SNAP) {
        for (let i = 1; i < columns; i++) x.add(i * cell);
        for (let i = 1; i < rows; i++) y.add(i * cell);
      }
    }
    return { x, y };
  }

  // --- drawing

  #request() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#draw();
    });
  }

  #draw() {
    const { session, canvas, root, view } = this;
    const [width, height] = [root.clientWidth, root.clientHeight];
    if (!width || !height) return;
    const seen = root.getBoundingClientRect().width / width; // the zoom of the graph
    const density = Math.min(Math.max(devicePixelRatio * seen, 1), 3);
    const size = { width: Math.round(width * density), height: Math.round(height * density) };
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!session.readable) return;
    const { document, playhead } = session;
    if (this.size !== `${document.width} ${document.height}`) {
      this.size = `${document.width} ${document.height}`;
      return this.fit();
    }
    this.painter.draw(context, document, playhead, view, {
      sharp: this.sharp,
      plan: this.overlay && this.showPlan ? session.plan : null,
      stale: session.plan?.document !== document,
    });
    this.brush.draw(context, view);
    this.#frame(context, document);
    this.#outlines(context, document, playhead);
    this.#guides(context);
    this.#describe(document, playhead);
  }

  #frame(context, document) {
    const { plan } = this.session;
    const box = scaled({ x: 0, y: 0, width: document.width, height: document.height }, this.view);
    const drawing = this.dragging && this.overlay && plan;
    if (drawing) {
      const cell = (document.width / plan.latent[2]) * this.view.scale;
      context.beginPath();
      for (let x = box.x + cell; cell >= 5 && x < box.x + box.width - 1; x += cell) {
        context.moveTo(x, box.y);
        context.lineTo(x, box.y + box.height);
      }
      for (let y = box.y + cell; cell >= 5 && y < box.y + box.height - 1; y += cell) {
        context.moveTo(box.x, y);
        context.lineTo(box.x + box.width, y);
      }
      context.strokeStyle = "#ffffff24";
      context.lineWidth = 1;
      context.stroke();
    }
    context.strokeStyle = "#8a909c";
    context.lineWidth = 1;
    context.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
  }

  #outlines(context, document, frame) {
    const { session } = this;
    const ids = this.#movable();
    const hovered = this.#shown().find((item) => item.id === this.hovered);
    if (hovered && !session.selection.has(hovered.id)) {
      const box = scaled(this.#box(hovered), this.view);
      context.strokeStyle = `${ACCENT}b0`;
      context.lineWidth = 1.5;
      context.strokeRect(box.x, box.y, box.width, box.height);
    }
    for (const id of ids) {
      const item = find(document, id);
      this.#path(context, item);
      const box = scaled(boxAt(item, frame), this.view);
      context.strokeStyle = "#00000080";
      context.lineWidth = 3;
      context.strokeRect(box.x, box.y, box.width, box.height);
      context.strokeStyle = ACCENT;
      context.lineWidth = 1.5;
      context.strokeRect(box.x, box.y, box.width, box.height);
    }
    const item = this.#resizable();
    if (item && session.tool === "select") this.#handles(context, scaled(this.#box(item), this.view));
  }

  #handles(context, box) {
    context.fillStyle = "#fff";
    context.strokeStyle = ACCENT;
    context.lineWidth = 1.5;
    for (const handle of HANDLES) {
      if ((!handle.x && box.width < 4 * REACH.mouse) || (!handle.y && box.height < 4 * REACH.mouse)) continue;
      const { x, y } = placeOf(handle, box);
      context.beginPath();
      context.roundRect(x - 4, y - 4, 8, 8, 2);
      context.fill();
      context.stroke();
    }
  }

  /** The way of the middle of an item that moves: a diamond at each key. */
  #path(context, item) {
    if (!item.path.length) return;
    const middle = (box) => placeOf({ x: 0, y: 0 }, scaled(box, this.view));
    const points = [item.box, ...item.path.map((key) => key.box)].map(middle);
    context.beginPath();
    for (const { x, y } of points) context.lineTo(x, y);
    context.setLineDash([2, 4]);
    context.strokeStyle = "#fff";
    context.lineWidth = 1.5;
    context.stroke();
    context.setLineDash([]);
    points.forEach(({ x, y }, index) => {
      const at = index ? item.path[index - 1].at : 0;
      context.beginPath();
      context.moveTo(x, y - 5);
      context.lineTo(x + 5, y);
      context.lineTo(x, y + 5);
      context.lineTo(x - 5, y);
      context.closePath();
      context.fillStyle = item.frame + at === this.session.playhead ? ACCENT : "#fff";
      context.fill();
      context.strokeStyle = "#000a";
      context.lineWidth = 1;
      context.stroke();
    });
  }

  #guides(context) {
    const { view } = this;
    const { document, tool } = this.session;
    context.strokeStyle = SNAP_LINE;
    context.lineWidth = 1;
    context.beginPath();
    for (const { x, y } of this.lines) {
      if (x !== undefined) {
        const at = Math.round(view.x + x * view.scale) + 0.5;
        context.moveTo(at, view.y - 8);
        context.lineTo(at, view.y + document.height * view.scale + 8);
      } else {
        const at = Math.round(view.y + y * view.scale) + 0.5;
        context.moveTo(view.x - 8, at);
        context.lineTo(view.x + document.width * view.scale + 8, at);
      }
    }
    context.stroke();
    if (this.rubber) {
      const box = scaled(this.rubber, view);
      context.fillStyle = `${ACCENT}22`;
      context.fillRect(box.x, box.y, box.width, box.height);
      context.strokeStyle = ACCENT;
      context.strokeRect(box.x + 0.5, box.y + 0.5, box.width, box.height);
    }
    if (this.pointer && (tool === "brush" || tool === "erase") && !this.session.locked) {
      context.beginPath();
      context.arc(this.pointer.x, this.pointer.y, Math.max((this.brush.size / 2) * view.scale, 2), 0, 2 * Math.PI);
      context.strokeStyle = "#000c";
      context.lineWidth = 3;
      context.stroke();
      context.strokeStyle =
        tool === "erase" ? "#fff" : { generate: COLOURS.generate, keep: COLOURS.given }[this.action];
      context.lineWidth = 1.5;
      context.stroke();
    }
  }

  /** In words, for screen readers. */
  #describe(document, frame) {
    const names = this.#movable().map((id) => {
      const item = find(document, id);
      const { x, y, width, height } = boxAt(item, frame);
      const name = item.media ? nameOf(document.media[item.media]) : id;
      return t("stage.item", { name, x, y, width, height });
    });
    const text = t("stage.label", { frame, last: document.frames - 1, count: this.#shown().length });
    const label = [text, ...names].join(" ");
    if (this.root.getAttribute("aria-label") !== label) this.root.setAttribute("aria-label", label);
  }
}

/** Start, middle and end of a box along an axis. */
function sidesOf(box, axis, side) {
  return [box[axis], box[axis] + box[side] / 2, box[axis] + box[side]];
}
