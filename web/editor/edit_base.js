/**
 * What the operations on a canvas document share; these are in edit_items.js, edit_time.js, edit_space.js,
 * edit_canvas.js and clipboard.js. Each takes a document and returns another one, valid and frozen, that shares all
 * parts that did not change; the first is never touched. Where a gesture would lead out of the canvas, it is carried
 * out as far as it goes; what has no meaning at all (an unknown id, a value of a wrong type) is a CanvasError.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 */

import { find, itemsOf, listOf, LISTS } from "./document.js";
import { CanvasError, document as checked, first, free, shown } from "./schema.js";

/** The document with other values of some fields; only what is new is checked and frozen. */
export function revised(document, changes) {
  return checked({ ...document, ...changes }, document);
}

/** Each item as `change` returns it; null leaves it out. */
export function mapped(document, change) {
  const changes = {};
  for (const list of LISTS) {
    const items = document[list].map(change);
    if (items.some((item, i) => item !== document[list][i])) changes[list] = items.filter((item) => item !== null);
  }
  return Object.keys(changes).length ? revised(document, changes) : document;
}

/** The item of that id as `change` returns it. */
export function replaced(document, id, change) {
  const item = needed(document, id);
  const list = listOf(item);
  const result = change(item);
  if (result === item) return document;
  return revised(document, { [list]: document[list].map((other) => (other === item ? result : other)) });
}

/** The item of that id; a CanvasError if there is none. */
export function needed(document, id) {
  const item = find(document, id);
  if (!item) throw unknown(id);
  return item;
}

/** The ids, as a set; a CanvasError if one is of no item. */
export function known(document, ids) {
  const chosen = new Set(ids);
  const all = new Set(itemsOf(document).map((item) => item.id));
  for (const id of chosen) if (!all.has(id)) throw unknown(id);
  return chosen;
}

function unknown(id) {
  return new CanvasError(`${shown(id)} is no item of the canvas: it may have been removed`);
}

/** A free id for an item of a list, taken from now on. */
export function fresh(taken, list) {
  return claimed(taken, free(taken, `${list.slice(0, -1)}_`));
}

/** The id, taken from now on. */
export function claimed(taken, id) {
  taken.add(id);
  return id;
}

/** The media of the document and some more, or with other facts. */
export function withMedia(document, media) {
  if (!Object.keys(media).length) return document.media;
  return Object.assign(Object.create(null), document.media, media);
}

/** The value, or the bound that it lies beyond. */
export function clamp(value, least, most) {
  return Math.max(least, Math.min(value, most));
}

/** The largest part of a whole number that holds, where 0 does. */
export function farthest(delta, holds) {
  if (holds(delta)) return delta;
  const sign = Math.sign(delta);
  return sign * (first(Math.abs(delta), (i) => !holds(sign * i)) - 1);
}
