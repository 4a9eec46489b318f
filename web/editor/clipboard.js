/**
 * Items as the text that goes to the clipboard, and back onto a canvas.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 */

import { itemsOf, LISTS, spanOf } from "./document.js";
import { claimed, fresh, known, mapped, revised } from "./edit_base.js";
import { pruneMedia, setCanvas } from "./edit_canvas.js";
import { add } from "./edit_items.js";
import { moveInTime } from "./edit_time.js";
import { writeJson } from "./json.js";
import { canonical, CanvasError, free, MAX_FRAMES, parse } from "./schema.js";

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
