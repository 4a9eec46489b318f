/**
 * What a canvas document holds: its items, where each of them lies in time, and what two documents differ in.
 *
 * Frames count from the first frame of the canvas; for sounds and spans they may be fractions: seconds times fps.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 * @typedef {import("./schema.js").Item} Item
 */

import { document as checked, first, free, TAG_OF_KIND } from "./schema.js";

/** The lists whose entries have an id, in the order of itemsOf. */
export const LISTS = Object.freeze(["placements", "sounds", "regions"]);

/**
 * An empty canvas.
 * @param {{width?: number, height?: number, frames?: number, fps?: number}} size pixels, frames, frames per second
 * @returns {CanvasDocument}
 */
export function empty({ width = 64, height = 64, frames = 17, fps = 16 } = {}) {
  return checked({ width, height, frames, fps });
}

/**
 * All placements, sounds and regions.
 * @param {CanvasDocument} document
 * @returns {Item[]}
 */
export function itemsOf(document) {
  return LISTS.flatMap((list) => document[list]);
}

/**
 * The placement, sound or region of that id, or null.
 * @param {CanvasDocument} document
 * @param {string} id
 * @returns {?Item}
 */
export function find(document, id) {
  for (const list of LISTS) {
    const item = document[list].find((item) => item.id === id);
    if (item) return item;
  }
  return null;
}

/**
 * What an item is.
 * @param {Item} item
 * @returns {"placement"|"sound"|"box"|"mask"|"span"}
 */
export function kindOf(item) {
  return item.kind ?? ("role" in item ? "placement" : "sound");
}

/** The list of a document that an item stands in. */
export function listOf(item) {
  return { placement: "placements", sound: "sounds" }[kindOf(item)] ?? "regions";
}

/**
 * First frame and end (the first frame after it) of an item; fractions for sounds and spans.
 * @param {CanvasDocument} document
 * @param {Item} item
 * @returns {{first: number, end: number}}
 */
export function spanOf(document, item) {
  if ("frame" in item) return { first: item.frame, end: item.frame + item.frames };
  return { first: item.time * document.fps, end: (item.time + item.duration) * document.fps };
}

/** Length of the canvas in seconds. */
export function seconds(document) {
  return document.frames / document.fps;
}

/**
 * An id that no item has: placement_1, sound_1, region_1, ...
 * @param {CanvasDocument} document
 * @param {"placement"|"sound"|"region"} kind
 */
export function freeId(document, kind) {
  return free(new Set(itemsOf(document).map((item) => item.id)), `${kind}_`);
}

/**
 * A tag that no reference has: @image_1, @video_1, @audio_1, ...
 * @param {CanvasDocument} document
 * @param {"image"|"clip"|"sound"} kind of the media
 */
export function freeTag(document, kind) {
  return free(
    new Set(document.references.map((reference) => reference.tag.toLowerCase())),
    TAG_OF_KIND[kind] ?? TAG_OF_KIND.image,
  );
}

/**
 * Which items of a document came, went, or are others than before: what an operation did, for a message.
 * @param {CanvasDocument} before
 * @param {CanvasDocument} after
 * @returns {{added: string[], removed: string[], changed: string[]}} ids
 */
export function compare(before, after) {
  const old = new Map(itemsOf(before).map((item) => [item.id, item]));
  const now = new Map(itemsOf(after).map((item) => [item.id, item]));
  return {
    added: [...now.keys()].filter((id) => !old.has(id)),
    removed: [...old.keys()].filter((id) => !now.has(id)),
    changed: [...now.keys()].filter((id) => old.has(id) && old.get(id) !== now.get(id)),
  };
}

/**
 * Items of a document that are not in the next one as they no longer fit the canvas, or their media; not those that
 * were removed.
 * @param {CanvasDocument} before
 * @param {CanvasDocument} after
 * @returns {string[]} ids
 */
export function lost(before, after) {
  const resized = ["width", "height", "frames", "fps"].some((field) => before[field] !== after[field]);
  const other = (name) => name in after.media && after.media[name] !== before.media[name];
  return compare(before, after).removed.filter((id) => {
    const { media, alpha } = find(before, id);
    return resized || other(media) || other(alpha);
  });
}

/**
 * The items in lanes, packed into rows without overlap. An item lies in the first row that has room behind the items
 * before it in its list, so rows follow the z-order where it matters.
 * @param {CanvasDocument} document
 * @returns {{kind: "video"|"patch"|"mask"|"sound", rows: string[][]}[]} rows of ids, by time
 */
export function lanes(document) {
  const of = { video: [], patch: [], mask: [], sound: [...document.sounds] };
  for (const item of document.placements) of[document.media[item.media].kind === "clip" ? "video" : "patch"].push(item);
  for (const item of document.regions) of[item.kind === "span" ? "sound" : "mask"].push(item);
  return Object.entries(of).map(([kind, items]) => ({ kind, rows: packed(document, items) }));
}

function packed(document, items) {
  const rows = [];
  for (const item of items) {
    const span = { ...spanOf(document, item), id: item.id };
    const place = (row) => first(row.length, (i) => row[i].first >= span.end);
    let row = rows.find((row) => {
      const at = place(row);
      return at === 0 || row[at - 1].end <= span.first;
    });
    if (!row) rows.push((row = []));
    row.splice(place(row), 0, span);
  }
  return rows.map((row) => row.map((span) => span.id));
}
