/** What the keyboard does on the timeline: it seeks, goes from item to item, moves and trims. */
import { t } from "../words.js";
import { find, spanOf } from "./document.js";
import { ArrowKeys } from "./dom.js";
import { update } from "./edit_items.js";
import { moveInTime } from "./edit_time.js";
import { keyMoved, trimmed } from "./timeline_edits.js";
import { placeText } from "./timeline_texts.js";

export class TimelineKeys {
  /** @param {import("./timeline.js").Timeline} timeline */
  constructor(timeline) {
    this.timeline = timeline;
    this.session = timeline.session;
    this.arrows = new ArrowKeys(timeline.session);
  }

  /** A key that is pressed on the ruler: it seeks. @param {KeyboardEvent} event */
  pressOnRuler(event) {
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

  /** What the editor's own keys do not do, or do elsewhere. @param {KeyboardEvent} event */
  press(event) {
    const { timeline, session } = this;
    const { items, actions } = timeline;
    if (event.target === timeline.ruler || event.defaultPrevented) return;
    const { key, shiftKey: shift } = event;
    const control = event.ctrlKey || event.metaKey;
    const inItems = items.root.contains(event.target);
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const step = shift ? session.grid.temporal : 1;
    if (arrow && inItems && control) this.#focus(items.order.indexOf(items.current) + arrow, shift);
    else if (arrow && inItems && event.altKey) this.#nudgeKey(arrow * step);
    else if (arrow && inItems) this.#nudge(arrow * step);
    else if (key === "Home" && inItems && control) this.#focus(0, false);
    else if (key === "End" && inItems && control) this.#focus(items.order.length - 1, false);
    else if ((key === "Enter" || key === " ") && inItems && control) session.select([items.current], { add: true });
    else if (control || event.altKey) return;
    else if (key === "[") actions.trim("start");
    else if (key === "]") actions.trim("end");
    else if (key === "{") this.#rippleTo("start");
    else if (key === "}") this.#rippleTo("end");
    else if (key === "+" || key === "=") timeline.zoom(1.5);
    else if (key === "-") timeline.zoom(1 / 1.5);
    else if (key === "0") timeline.fit();
    else return;
    handled(event);
  }

  /** Focus, and with it the selection, goes to the n-th item. */
  #focus(index, add) {
    const { session } = this;
    const { items } = this.timeline;
    const id = items.order[Math.min(Math.max(index, 0), items.order.length - 1)];
    const view = items.views.get(id);
    if (view === undefined) return;
    items.setCurrent(id);
    view.root.focus({ preventScroll: true });
    session.select(add ? [...session.selection, id] : [id]);
    this.timeline.reveal(view);
  }

  /** Moves the selection; what is held down is one edit. */
  #nudge(frames) {
    const { session, timeline } = this;
    const ids = [...session.selection];
    if (!ids.length) return;
    const place = (document) => spanOf(document, find(document, ids[0])).first;
    const now = place(session.document);
    const moved = this.arrows.press((document) => moveInTime(document, ids, now - place(document) + frames));
    const view = timeline.items.views.get(timeline.items.current);
    if (!moved || !view) return;
    timeline.voice.textContent = placeText(session.document, view);
    timeline.reveal(view);
  }

  /** Moves the key of the current item that lies at the playhead, and the playhead with it. */
  #nudgeKey(frames) {
    const { session } = this;
    const { items } = this.timeline;
    const { id, item, first } = items.views.get(items.current);
    const at = session.playhead - first;
    if (!item.path?.some((key) => key.at === at)) {
      session.say("info", t("timeline.no_key"));
      return;
    }
    const moved = keyMoved(item, at, frames);
    if (this.arrows.press((document) => update(document, id, { path: moved.path }))) session.seek(first + moved.at);
  }

  /** Trims what is selected at the playhead, and what follows goes along. */
  #rippleTo(edge) {
    const { session } = this;
    const frame = session.playhead + (edge === "end" ? 1 : 0); // the one at the playhead is the last that stays
    const ids = [...session.selection];
    session.edit((document) => ids.reduce((result, id) => trimmed(result, id, edge, frame, true), document));
  }
}

function handled(event) {
  event.preventDefault();
  event.stopPropagation();
}
