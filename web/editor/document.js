/**
 * Operations on a canvas document. Each takes a document and returns another one, valid and frozen, that shares all
 * parts that did not change; the first is never touched. Where a gesture would lead out of the canvas, it is carried
 * out as far as it goes; what has no meaning at all (an unknown id, a value of a wrong type) is a CanvasError.
 *
 * Frames count from the first frame of the canvas; for sounds and spans they may be fractions: seconds times fps.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 * @typedef {import("./schema.js").Item} Item
 * @typedef {import("./schema.js").Box} Box
 * @typedef {import("./schema.js").Media} Media
 */

import {
  boxAt,
  bytes,
  canonical,
  CanvasError,
  document as checked,
  first,
  free,
  clipFrame,
  MAX_FRAMES,
  MAX_JSON,
  MAX_SIDE,
  mediaSeconds,
  parse,
  shown,
  TAG_OF_KIND,
  touches,
} from "./schema.js";
import { MINI } from "./grid.js";
import { writeJson } from "./json.js";

export { boxAt, bytes, canonical, CanvasError, clipFrame, MAX_FRAMES, MAX_JSON, MAX_SIDE, mediaSeconds, parse };

/** The lists whose entries have an id, in the order of itemsOf. */
export const LISTS = Object.freeze(["placements", "sounds", "regions"]);

const SHORTEST = 0.001; // seconds of sound that trimming leaves

// --- looking

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

/**
 * The target nearest to a value if it lies within a distance, else the value.
 * @param {number} value
 * @param {Iterable<number>} targets
 * @param {number} distance
 */
export function snap(value, targets, distance) {
  let best = value;
  let least = distance;
  for (const target of targets) {
    const away = Math.abs(target - value);
    if (away < least || (away === least && best === value)) [best, least] = [target, away];
  }
  return best;
}

// --- adding, changing, removing

/**
 * Adds an item behind (over) the others, or a reference.
 * @param {CanvasDocument} document
 * @param {"placements"|"sounds"|"regions"|"references"} list
 * @param {object} item fields with defaults may be left out, so may the id or tag
 * @param {Record<string, Media>} [media] entries that it needs
 */
export function add(document, list, item, media = {}) {
  if (![...LISTS, "references"].includes(list)) {
    throw new CanvasError(`list is ${shown(list)}: use placements, sounds, regions or references`);
  }
  const all = withMedia(document, media);
  const name =
    list === "references"
      ? { tag: item.tag ?? freeTag(document, all[item.media]?.kind) }
      : { id: item.id ?? freeId(document, list.slice(0, -1)) };
  return revised(document, { media: all, [list]: [...document[list], { ...item, ...name }] });
}

/**
 * Sets fields of an item; nothing is clamped.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {object} changes {field: value}
 */
export function update(document, id, changes) {
  return replaced(document, id, (item) => ({ ...item, ...changes }));
}

/**
 * Removes items; their media stay (pruneMedia).
 * @param {CanvasDocument} document
 * @param {Iterable<string>} ids
 */
export function remove(document, ids) {
  const gone = known(document, ids);
  return mapped(document, (item) => (gone.has(item.id) ? null : item));
}

/**
 * Puts an item at a place of its list: the later wins a pixel.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {number} to index, clamped
 */
export function reorder(document, id, to) {
  const item = needed(document, id);
  const list = listOf(item);
  const others = document[list].filter((other) => other !== item);
  others.splice(clamp(Math.round(to), 0, others.length), 0, item);
  return revised(document, { [list]: others });
}

/**
 * Adds copies right above the originals, in the same place; they get fresh ids.
 * @param {CanvasDocument} document
 * @param {Iterable<string>} ids
 */
export function duplicate(document, ids) {
  const chosen = known(document, ids);
  const taken = new Set(itemsOf(document).map((item) => item.id));
  const lists = LISTS.map((list) => [
    list,
    document[list].flatMap((item) => (chosen.has(item.id) ? [item, { ...item, id: fresh(taken, list) }] : [item])),
  ]);
  return revised(document, Object.fromEntries(lists));
}

/**
 * Changes, adds or removes a reference.
 * @param {CanvasDocument} document
 * @param {string} tag of the reference; one that is not there is added
 * @param {?{tag?: string, media?: string}} changes null removes it
 */
export function setReference(document, tag, changes) {
  const { references } = document;
  const same = (reference) => reference.tag.toLowerCase() === tag.toLowerCase();
  if (changes === null) return revised(document, { references: references.filter((reference) => !same(reference)) });
  if (!references.some(same)) return revised(document, { references: [...references, { tag, ...changes }] });
  return revised(document, {
    references: references.map((reference) => (same(reference) ? { ...reference, ...changes } : reference)),
  });
}

// --- media

/**
 * Adds media or sets their facts; items that no longer fit them are trimmed or removed (lost says which).
 * @param {CanvasDocument} document
 * @param {string} name
 * @param {Partial<Media>} media
 */
export function setMedia(document, name, media) {
  return fitted(document, { media: withMedia(document, { [name]: media }) });
}

/**
 * Drops media that nothing uses.
 * @param {CanvasDocument} document
 */
export function pruneMedia(document) {
  const used = new Set([...itemsOf(document), ...document.references].flatMap((item) => [item.media, item.alpha]));
  const names = Object.keys(document.media).filter((name) => used.has(name));
  return names.length === Object.keys(document.media).length
    ? document
    : revised(document, { media: chosenMedia(document, names) });
}

// --- time

/**
 * Moves items in time, together: no further than the first of them may go.
 * @param {CanvasDocument} document
 * @param {Iterable<string>} ids
 * @param {number|{seconds: number}} delta frames; with a picture among the items, whole ones for all of them
 */
export function moveInTime(document, ids, delta) {
  const chosen = known(document, ids);
  const frames = typeof delta === "number" ? delta : delta.seconds * document.fps;
  if (!Number.isFinite(frames)) throw new CanvasError(`delta is ${shown(frames)}: use frames, or {seconds}`);
  const items = itemsOf(document).filter((item) => chosen.has(item.id));
  let [least, most] = [-Infinity, Infinity];
  for (const item of items) {
    const { first, end } = spanOf(document, item);
    least = Math.max(least, -first);
    // a sound may reach past the end, but begins before it
    most = Math.min(most, Math.max(0, "frame" in item ? document.frames - end : document.frames - 1 - first));
  }
  const step = items.some((item) => "frame" in item)
    ? clamp(Math.round(frames), Math.ceil(least), Math.floor(most))
    : clamp(frames, least, most);
  if (!step) return document;
  return mapped(document, (item) => {
    if (!chosen.has(item.id)) return item;
    if ("frame" in item) return { ...item, frame: item.frame + step };
    return { ...item, time: Math.max(0, tidy(item.time + step / document.fps)) };
  });
}

/**
 * Moves everything that begins at a frame or later.
 * @param {CanvasDocument} document
 * @param {number} from frame
 * @param {number} delta frames
 */
export function ripple(document, from, delta) {
  const later = itemsOf(document).filter((item) => spanOf(document, item).first >= from - 1e-6);
  return moveInTime(
    document,
    later.map((item) => item.id),
    delta,
  );
}

/**
 * Moves one end of an item; what it shows or sounds at the frames that stay is the same as before, to one pixel at
 * most while it moves.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {"start"|"end"} edge
 * @param {number} frame the first frame of the item ("start"), or the first one after it ("end")
 */
export function trim(document, id, edge, frame) {
  if (edge !== "start" && edge !== "end") throw new CanvasError(`edge is ${shown(edge)}: use "start" or "end"`);
  if (!Number.isFinite(frame)) throw new CanvasError(`frame is ${shown(frame)}: use a number`);
  return replaced(document, id, (item) => {
    const { first, end } = spanOf(document, item);
    const start = edge === "start";
    if ("frame" in item) {
      const [from, least, most] = start
        ? [first, earliest(document, item), end - 1]
        : [end, first + 1, latest(document, item)];
      const trimmed = (delta) => cut(document, item, ...(start ? [first + delta, end] : [first, end + delta]));
      const seen = (delta) => touches(trimmed(delta), document.width, document.height);
      return trimmed(farthest(clamp(Math.round(frame), least, most) - from, seen));
    }
    const { time } = item;
    const stop = time + item.duration;
    const at = tidy(frame / document.fps);
    const last = Math.min(stop - SHORTEST, (document.frames - 1) / document.fps);
    return start
      ? cutSound(document, item, clamp(at, Math.max(0, time - (item.start ?? 0)), Math.max(time, last)), stop)
      : cutSound(document, item, time, clamp(at, Math.min(stop, time + SHORTEST), latestTime(document, item)));
  });
}

/**
 * Cuts an item in two; the second half gets a fresh id and lies right above the first.
 * @param {CanvasDocument} document
 * @param {string} id
 * @param {number} frame the first of the second half; one that does not lie inside the item is a CanvasError
 */
export function split(document, id, frame) {
  const item = needed(document, id);
  const list = listOf(item);
  const { first, end } = spanOf(document, item);
  const at = "frame" in item ? Math.round(frame) : frame;
  if (!(first < at && at < end)) {
    throw new CanvasError(
      `frame is ${shown(frame)}, not inside ${shown(id)}: use one after ${first} and before ${end}`,
    );
  }
  const halves =
    "frame" in item
      ? [cut(document, item, first, at), cut(document, item, at, end)]
      : [
          cutSound(document, item, item.time, tidy(at / document.fps)),
          cutSound(document, item, tidy(at / document.fps), item.time + item.duration),
        ];
  halves[1] = { ...halves[1], id: freeId(document, list.slice(0, -1)) };
  return revised(document, { [list]: document[list].flatMap((other) => (other === item ? halves : [other])) });
}

/** The earliest frame at which an item may begin: a clip has nothing before its start. */
function earliest(document, item) {
  if (document.media[item.media]?.kind !== "clip") return 0;
  return Math.max(0, item.frame - Math.floor(item.start * document.fps + 1e-6));
}

/** The latest frame at which an item may end. */
function latest(document, item) {
  return Math.min(document.frames, item.frame + fills(document, item));
}

/** How many frames an item may last, by its media. */
function fills(document, item) {
  const media = document.media[item.media];
  if (media?.kind !== "clip" || !media.frames || !media.fps) return MAX_FRAMES;
  return first(MAX_FRAMES, (frames) => clipFrame(document, item, item.frame + frames) >= media.frames);
}

/** The latest time at which a sound or span may end. */
function latestTime(document, item) {
  const end = Math.min(seconds(document), item.time + lasts(document, item));
  return Math.max(end, item.time + item.duration);
}

/** How many seconds a sound or span may last, by its media. */
function lasts(document, item) {
  const length = "media" in item ? mediaSeconds(document.media[item.media]) : null;
  return length === null ? Infinity : length - item.start;
}

/** A placement or region on [first, end) frames: its motion and its clip stay where they were in time. */
function cut(document, item, first, end) {
  const delta = first - item.frame;
  const frames = end - first;
  if (!delta && frames === item.frames) return item;
  if (frames !== item.frames && hasMaskOfFrames(document, item)) {
    throw new CanvasError(
      `${shown(item.id)} has a mask with a picture for each of its ${item.frames} frames, and masks have no start: ` +
        "it can be moved, not trimmed or split; cut the mask itself before it comes here",
    );
  }
  let { box, path } = item;
  if (delta > 0) {
    box = boxAt(item, first);
    path = path.filter((key) => key.at > delta);
  } else if (delta < 0 && path.length) {
    path = [{ at: 0, box }, ...path]; // so that it still sets out when it did
  }
  path = path.map((key) => ({ at: key.at - delta, box: key.box }));
  if (path.length && path.at(-1).at >= frames) {
    path = path.filter((key) => key.at < frames);
    const last = boxAt(item, end - 1);
    if (!sameBox(last, path.at(-1)?.box ?? box)) path.push({ at: frames - 1, box: last });
  }
  const clip = document.media[item.media]?.kind === "clip";
  const start = clip && delta ? { start: Math.max(0, item.start + delta / document.fps) } : {};
  return { ...item, frame: first, frames, box, path, ...start };
}

/** Whether an item has a mask with a picture for each of its frames; that of a clip has one for each of the clip's. */
function hasMaskOfFrames(document, item) {
  const mask = document.media[item.kind === "mask" ? item.media : item.alpha];
  return mask?.frames > 1 && document.media[item.media].kind !== "clip";
}

/** A sound or span from one time to another: what sounds stays where it was. */
function cutSound(document, item, time, end) {
  const delta = time - item.time;
  if (!delta && end === item.time + item.duration) return item;
  const start = "start" in item ? { start: Math.max(0, tidy(item.start + delta)) } : {};
  const result = { ...item, time, ...start };
  return { ...result, duration: Math.min(tidy(end - time), lasts(document, result)) };
}

// --- space

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

/** The largest part of a whole number that holds, where 0 does. */
function farthest(delta, holds) {
  if (holds(delta)) return delta;
  const sign = Math.sign(delta);
  return sign * (first(Math.abs(delta), (i) => !holds(sign * i)) - 1);
}

// --- the canvas

/**
 * Sets size, length and rate. What no longer fits is trimmed, what lies wholly outside is removed: lost says which. At
 * another rate everything keeps its time, so that frames are counted anew; the canvas too, if its length is left out.
 * @param {CanvasDocument} document
 * @param {{width?: number, height?: number, frames?: number, fps?: number}} size
 * @param {import("./grid.js").Grid} [grid] in whose latent frames a length is counted that is left out
 */
export function setCanvas(document, { width, height, frames, fps }, grid = MINI) {
  const before = { ...document, ...retimed(document, fps ?? document.fps, grid) };
  return fitted(before, {
    width: width ?? before.width,
    height: height ?? before.height,
    frames: frames ?? before.frames,
    fps: fps ?? before.fps,
  });
}

/** What another rate makes of the length of a canvas and of its items that count in frames. */
function retimed(document, fps, { temporal }) {
  const ratio = fps / document.fps;
  if (ratio === 1 || !(ratio > 0 && ratio < Infinity)) return {};
  const scaled = (frame) => Math.round(frame * ratio);
  const step = (document.frames - 1) % temporal ? 1 : temporal;
  const frames = Math.min(step * Math.round(((document.frames - 1) * ratio) / step) + 1, MAX_FRAMES);
  const moved = (item) => {
    const first = Math.min(scaled(item.frame), frames - 1);
    if (hasMaskOfFrames(document, item)) return { ...item, frame: first };
    const length = Math.max(1, scaled(item.frame + item.frames) - first);
    const keys = new Map(item.path.map(({ at, box }) => [Math.min(scaled(item.frame + at) - first, length - 1), box]));
    const path = [...keys].filter(([at]) => at > 0).map(([at, box]) => ({ at, box }));
    return { ...item, frame: first, frames: length, path };
  };
  const regions = document.regions.map((region) => ("frame" in region ? moved(region) : region));
  return { frames, placements: document.placements.map(moved), regions };
}

/** The document with other fields, its items trimmed to them; those that do not fit even so are left out. */
function fitted(document, changes) {
  const bare = revised(document, { ...changes, placements: [], sounds: [], regions: [] });
  const lists = LISTS.map((list) => [
    list,
    document[list].flatMap((item) => {
      try {
        return revised(bare, { [list]: [shortened(bare, item)] })[list];
      } catch (error) {
        if (error instanceof CanvasError) return [];
        throw error;
      }
    }),
  ]);
  return revised(document, { ...changes, ...Object.fromEntries(lists) });
}

function shortened(document, item) {
  if ("frame" in item) {
    const { first, end } = spanOf(document, item);
    return cut(document, item, first, Math.min(end, latest(document, item)));
  }
  const most = lasts(document, item);
  return item.duration <= most ? item : { ...item, duration: most };
}

// --- the clipboard

/**
 * Items and the media that they need, as the text of a canvas.
 * @param {CanvasDocument} document
 * @param {Iterable<string>} ids
 * @returns {string}
 */
export function copy(document, ids) {
  const chosen = known(document, ids);
  const only = mapped(document, (item) => (chosen.has(item.id) ? item : null));
  return canonical(pruneMedia(revised(only, { references: [] })));
}

/**
 * Adds the items, media and references of another canvas, or of what copy wrote; they get fresh names where theirs are
 * taken. Those that do not fit are trimmed or left out.
 * @param {CanvasDocument} document
 * @param {string} text
 * @param {?number} frame the earliest of them begins there; null: where it did
 * @throws {CanvasError} for text that is no canvas, and if nothing of it fits
 */
export function paste(document, text, frame = null) {
  const other = pruneMedia(landed(document, parse(text), frame));
  if (!itemsOf(other).length && !other.references.length) {
    const room = `${document.width}x${document.height} pixels and ${document.frames} frames`;
    throw new CanvasError(`nothing of it fits into ${room}: copy an item, and paste it at an earlier frame`);
  }
  const media = Object.assign(Object.create(null), document.media);
  const names = new Map([[null, null]]); // no alpha
  for (const [name, entry] of Object.entries(other.media)) {
    const differs = name in media && writeJson(media[name]) !== writeJson(entry);
    names.set(name, differs ? free(new Set(Object.keys(media)), `${name}_`) : name);
    media[names.get(name)] = entry;
  }
  const taken = new Set(itemsOf(document).map((item) => item.id));
  const changes = { media };
  for (const list of LISTS) {
    const items = other[list].map((item) => {
      const id = taken.has(item.id) ? fresh(taken, list) : claimed(taken, item.id);
      const fields = ["media", "alpha"].filter((field) => field in item);
      return { ...item, id, ...Object.fromEntries(fields.map((field) => [field, names.get(item[field])])) };
    });
    changes[list] = [...document[list], ...items];
  }
  return other.references.reduce(
    (result, { tag, media }) => {
      const used = result.references.some((reference) => reference.tag.toLowerCase() === tag.toLowerCase());
      return add(result, "references", { media: names.get(media), ...(!used && { tag }) });
    },
    revised(document, changes),
  );
}

/** Another canvas with size, rate and length of this one; its earliest item begins at a frame. */
function landed({ width, height, frames, fps }, other, frame) {
  const long = setCanvas(other, { width, height, fps, frames: MAX_FRAMES });
  const items = itemsOf(long);
  if (frame === null || !items.length) return setCanvas(long, { frames });
  const begin = Math.min(...items.map((item) => spanOf(long, item).first));
  const ids = items.map((item) => item.id);
  return setCanvas(moveInTime(long, ids, frame - begin), { frames });
}

// --- tools

/** The document with other values of some fields; only what is new is checked and frozen. */
function revised(document, changes) {
  return checked({ ...document, ...changes }, document);
}

/** Each item as `change` returns it; null leaves it out. */
function mapped(document, change) {
  const changes = {};
  for (const list of LISTS) {
    const items = document[list].map(change);
    if (items.some((item, i) => item !== document[list][i])) changes[list] = items.filter((item) => item !== null);
  }
  return Object.keys(changes).length ? revised(document, changes) : document;
}

function replaced(document, id, change) {
  const item = needed(document, id);
  const list = listOf(item);
  const result = change(item);
  if (result === item) return document;
  return revised(document, { [list]: document[list].map((other) => (other === item ? result : other)) });
}

function needed(document, id) {
  const item = find(document, id);
  if (!item) throw unknown(id);
  return item;
}

function known(document, ids) {
  const chosen = new Set(ids);
  const all = new Set(itemsOf(document).map((item) => item.id));
  for (const id of chosen) if (!all.has(id)) throw unknown(id);
  return chosen;
}

function unknown(id) {
  return new CanvasError(`${shown(id)} is no item of the canvas: it may have been removed`);
}

function fresh(taken, list) {
  return claimed(taken, free(taken, `${list.slice(0, -1)}_`));
}

function claimed(taken, id) {
  taken.add(id);
  return id;
}

function withMedia(document, media) {
  if (!Object.keys(media).length) return document.media;
  return Object.assign(Object.create(null), document.media, media);
}

function chosenMedia(document, names) {
  return Object.assign(Object.create(null), ...names.map((name) => ({ [name]: document.media[name] })));
}

function sameBox(a, b) {
  return a.x === b.x && a.y === b.y && a.width === b.width && a.height === b.height;
}

function clamp(value, least, most) {
  return Math.max(least, Math.min(value, most));
}

/** Seconds without the dust of binary fractions. */
function tidy(time) {
  return Math.round(time * 1e6) / 1e6;
}
