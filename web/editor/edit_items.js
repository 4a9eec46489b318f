/**
 * Items and references of a canvas document: added, changed, put over others, removed.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 * @typedef {import("./schema.js").Media} Media
 */

import { freeId, freeTag, itemsOf, listOf, LISTS } from "./document.js";
import { clamp, fresh, known, mapped, needed, replaced, revised, withMedia } from "./edit_base.js";
import { CanvasError, shown } from "./schema.js";

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
