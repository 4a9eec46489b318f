/**
 * The canvas itself, its size, length and rate, and its media; its items are fitted to both.
 *
 * @typedef {import("./schema.js").CanvasDocument} CanvasDocument
 * @typedef {import("./schema.js").Media} Media
 */

import { itemsOf, LISTS, spanOf } from "./document.js";
import { revised, withMedia } from "./edit_base.js";
import { cut, hasMaskOfFrames, lasts, latest } from "./edit_time.js";
import { MINI } from "./grid.js";
import { CanvasError, MAX_FRAMES } from "./schema.js";

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

function chosenMedia(document, names) {
  return Object.assign(Object.create(null), ...names.map((name) => ({ [name]: document.media[name] })));
}
