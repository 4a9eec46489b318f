/** The edits that only the timeline makes. No page. */
import { find, spanOf } from "./document.js";
import { clamp } from "./edit_base.js";
import { ripple, trim } from "./edit_time.js";

/** An edge of an item brought to a frame; with `ripples`, what follows goes along and the item stays where it began. */
export function trimmed(document, id, edge, frame, ripples) {
  const before = spanOf(document, find(document, id));
  const result = trim(document, id, edge, frame);
  if (!ripples) return result;
  const after = spanOf(result, find(result, id));
  if (edge === "end") return ripple(result, before.end, after.end - before.end);
  return ripple(result, after.first, before.first - after.first);
}

/**
 * An item's path with the key at frame `at` moved in time, up to its neighbours.
 * @param {{path: {at: number, box: object}[], frames: number}} item
 * @param {number} at of a key in its path
 * @param {number} frames later; rounded
 * @returns {{path: object[], at: number}} at: where the key lies then
 */
export function keyMoved({ path, frames: length }, at, frames) {
  const index = path.findIndex((key) => key.at === at);
  const least = (path[index - 1]?.at ?? 0) + 1;
  const most = (path[index + 1]?.at ?? length) - 1;
  const moved = clamp(Math.round(at + frames), least, most);
  return { path: path.with(index, { at: moved, box: path[index].box }), at: moved };
}
