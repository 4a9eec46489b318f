/**
 * When the items of a canvas document are: moved in time, trimmed, split.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 */

import { freeId, itemsOf, listOf, seconds, spanOf } from "./document.js";
import { clamp, farthest, known, mapped, needed, replaced, revised } from "./edit_base.js";
import { boxAt, CanvasError, clipFrame, first, MAX_FRAMES, mediaSeconds, shown, touches } from "./schema.js";

const SHORTEST = 0.001; // seconds of sound that trimming leaves

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
export function latest(document, item) {
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
export function lasts(document, item) {
  const length = "media" in item ? mediaSeconds(document.media[item.media]) : null;
  return length === null ? Infinity : length - item.start;
}

/** A placement or region on [first, end) frames: its motion and its clip stay where they were in time. */
export function cut(document, item, first, end) {
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
export function hasMaskOfFrames(document, item) {
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

function sameBox(a, b) {
  return a.x === b.x && a.y === b.y && a.width === b.width && a.height === b.height;
}

/** Seconds without the dust of binary fractions. */
function tidy(time) {
  return Math.round(time * 1e6) / 1e6;
}
