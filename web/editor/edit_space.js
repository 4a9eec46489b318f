/**
 * Where the items of a canvas document lie in the frame: their boxes, and the keys between which these move.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 * @typedef {import("./schema.js").Box} Box
 */

import { itemsOf, kindOf } from "./document.js";
import { clamp, farthest, known, mapped, replaced } from "./edit_base.js";
import { boxAt, CanvasError, MAX_SIDE, shown, touches } from "./schema.js";

/**
 * Moves items in the frame, together, as far as all of them still show. One with a path gets a key at that frame.
 * @param {CanvasDocument} document
 * @param {Iterable<string>} ids sounds and spans stay as they are
 * @param {number} dx pixels
 * @param {number} dy pixels
 * @param {?number} frame null, or one at which an item does not show: its whole path moves
 */
export function moveInFrame(document, ids, dx, dy, frame = null) {
  const chosen = known(document, ids);
  if (!Number.isFinite(dx) || !Number.isFinite(dy)) throw new CanvasError(`a move of ${dx}, ${dy}: use numbers`);
  const items = itemsOf(document).filter((item) => chosen.has(item.id) && "box" in item);
  const moved = (x, y) => items.map((item) => shifted(item, x, y, frame));
  const near = ({ box }) => Math.abs(box.x) <= MAX_SIDE && Math.abs(box.y) <= MAX_SIDE;
  const holds = (x, y) =>
    moved(x, y).every((item) => [item, ...item.path].every(near) && touches(item, document.width, document.height));
  const x = farthest(Math.round(dx), (x) => holds(x, 0));
  const y = farthest(Math.round(dy), (y) => holds(x, y));
  if (!x && !y) return document;
  const results = new Map(moved(x, y).map((item) => [item.id, item]));
  return mapped(document, (item) => results.get(item.id) ?? item);
}

/**
 * Gives an item a box. One with a path gets a key at that frame.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {Box} box rounded; if nothing of the item would show, the nearest edge comes in
 * @param {?number} frame null, or one at which the item does not show: its first box is set
 */
export function resize(document, id, box, frame = null) {
  return replaced(document, id, (item) => {
    hasBox(item);
    const at = keyFrame(item, frame);
    const put = (span) => {
      const [x, width] = span(box.x, box.width, document.width);
      const [y, height] = span(box.y, box.height, document.height);
      return at === null ? { ...item, box: { x, y, width, height } } : withKey(item, at, { x, y, width, height });
    };
    const result = put(inReach);
    return touches(result, document.width, document.height) ? result : put(inside);
  });
}

/**
 * Sets a key: the box at a frame of the canvas, on the way to which and from which it moves.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {number} frame one of the item's
 * @param {Box} [box] whole pixels; left out: the one that it has there
 */
export function setKey(document, id, frame, box = undefined) {
  return replaced(document, id, (item) => {
    shows(item, frame);
    return withKey(item, frame - item.frame, box ?? boxAt(item, frame));
  });
}

/**
 * Removes a key. Without its first one, an item begins where the next one puts it.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {number} frame at which there is a key
 */
export function removeKey(document, id, frame) {
  return replaced(document, id, (item) => {
    shows(item, frame);
    const at = frame - item.frame;
    if (at === 0 && item.path.length) return { ...item, box: item.path[0].box };
    if (!item.path.some((key) => key.at === at)) {
      const keys = item.path.map((key) => key.at + item.frame);
      throw new CanvasError(
        `frame is ${frame}, ${shown(id)} has no key there: use one of ${keys.join(", ") || "none"}`,
      );
    }
    return { ...item, path: item.path.filter((key) => key.at !== at) };
  });
}

function hasBox(item) {
  if (!("box" in item)) throw new CanvasError(`${shown(item.id)} is a ${kindOf(item)}, which has no box: use another`);
}

function shows(item, frame) {
  hasBox(item);
  const last = item.frame + item.frames - 1;
  if (!Number.isInteger(frame) || frame < item.frame || frame > last) {
    throw new CanvasError(`frame is ${shown(frame)}, outside ${shown(item.id)}: use ${item.frame} to ${last}`);
  }
}

/** Frames after its first one at which an item that moves gets a key; null where its box or path as such is meant. */
function keyFrame(item, frame) {
  const at = frame === null ? -1 : Math.round(frame) - item.frame;
  return item.path.length && at >= 0 && at < item.frames ? at : null;
}

function shifted(item, dx, dy, frame) {
  const shift = (box) => ({ ...box, x: box.x + dx, y: box.y + dy });
  const at = keyFrame(item, frame);
  if (at !== null) return withKey(item, at, shift(boxAt(item, at + item.frame)));
  return { ...item, box: shift(item.box), path: item.path.map((key) => ({ at: key.at, box: shift(key.box) })) };
}

function withKey(item, at, box) {
  if (at === 0) return { ...item, box };
  const path = [...item.path.filter((key) => key.at !== at), { at, box }];
  return { ...item, path: path.sort((a, b) => a.at - b.at) };
}

/** Start and length of a span, whole, as far out as a document takes it. */
function inReach(start, length) {
  const first = clamp(Math.round(start), -MAX_SIDE, MAX_SIDE);
  return [first, clamp(Math.round(start) + Math.round(length) - first, 1, MAX_SIDE)];
}

/** Start and length of a span of which at least one pixel lies in [0, side). */
function inside(start, length, side) {
  const first = clamp(Math.round(start), -MAX_SIDE, side - 1);
  const end = Math.max(Math.round(start) + Math.round(length), first + 1, 1);
  return [Math.max(first, Math.min(end, side) - MAX_SIDE), Math.min(end - first, MAX_SIDE)];
}
