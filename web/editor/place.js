/** New media on a canvas: where it goes, and for how long. */
import { t } from "../words.js";
import { find, freeId, itemsOf } from "./document.js";
import { setMedia } from "./edit_canvas.js";
import { add, update } from "./edit_items.js";
import { trim } from "./edit_time.js";
import { firstBox } from "./geometry.js";
import { CanvasError } from "./schema.js";

/**
 * A name under which a file can be uploaded and stand in a document, which takes no other spaces than " " and nothing
 * that does not print. Systems differ in how they write accents, and in the spaces of their own file names.
 * @param {string} name
 */
export function fileName(name) {
  return name
    .normalize("NFC")
    .replace(/\p{Z}/gu, " ")
    .replace(/\p{C}|[\\:]/gu, "_");
}

/**
 * Puts a file on the canvas: a picture on the frame, a clip with its sound from the frame on, a sound likewise.
 * @param {import("./schema.js").CanvasDocument} document
 * @param {string} file in ComfyUI's input folder
 * @param {{kind: string, width: ?number, height: ?number, frames: ?number, fps: ?number, alpha: boolean,
 *   sound: ?{samples: number, sample_rate: number, channels: number}}} facts as /skycanvas/media answers
 * @param {{frame: number, point?: ?{x: number, y: number}}} where
 * @returns {{document: import("./schema.js").CanvasDocument, ids: string[]}} ids of what is new
 */
export function placeFile(document, file, { kind, width, height, frames, fps, alpha, sound }, where) {
  if (kind === "sound") return placeSound(document, file, { kind: "sound", file, ...sound }, where.frame);
  const media = { [file]: { kind, width, height, file, ...(kind === "clip" && { frames, fps }) } };
  if (kind === "clip" && /\.gif$/i.test(file)) alpha = false; // all GIFs may have holes, few have
  if (alpha) media[`${file} alpha`] = { kind: "mask", width, height, frames: kind === "clip" ? frames : 1, file };
  const result = placePicture(document, file, media, where, alpha ? `${file} alpha` : null);
  if (kind !== "clip" || !sound) return result;
  const heard = placeSound(result.document, `${file} sound`, { kind: "sound", file, ...sound }, where.frame);
  return { document: heard.document, ids: [...result.ids, ...heard.ids] };
}

/**
 * Puts what comes through an input of the node on the canvas.
 * @param {import("./schema.js").CanvasDocument} document
 * @param {string} input such as "image_0"
 * @param {import("./schema.js").Media} media with the facts that are known
 * @param {{frame: number, point?: ?{x: number, y: number}}} where
 * @throws {CanvasError} for a mask of unknown size: its region must have that very size
 */
export function placeInput(document, input, media, where) {
  if (media.kind === "sound") return placeSound(document, input, media, where.frame);
  if (media.kind !== "mask") return placePicture(document, input, { [input]: media }, where, null);
  const { width, height } = media;
  if (!width || !height) throw new CanvasError(t("editor.run_first", { input }));
  const id = freeId(document, "region");
  const box = { x: 0, y: 0, width, height };
  const frames = Math.min(document.frames - where.frame, (media.frames ?? 1) > 1 ? media.frames : document.frames);
  const region = { kind: "mask", id, action: "generate", media: input, frame: where.frame, frames, box };
  return { document: add(document, "regions", region, { [input]: media }), ids: [id] };
}

/**
 * Reads all media of a file from another one. What was cut out by the alpha channel of the old file shows whole if the
 * new one has none: without one, a mask is the luminance.
 * @param {import("./schema.js").CanvasDocument} document
 * @param {string} old file
 * @param {string} file
 * @param {boolean} alpha whether the new file has an alpha channel
 */
export function replaceFile(document, old, file, alpha) {
  const names = Object.keys(document.media).filter((name) => document.media[name].file === old);
  const cut = (item) => !alpha && names.includes(item.alpha) && names.includes(item.media);
  const show = (result, { id }) => update(result, id, { alpha: null });
  const whole = document.placements.filter(cut).reduce(show, document);
  return names.reduce((result, name) => {
    const { kind } = document.media[name];
    const idle = kind === "mask" && !alpha && !isUsed(whole, name);
    return idle ? result : setMedia(result, name, { kind, file });
  }, whole);
}

function placePicture(document, name, media, { frame, point = null }, alpha) {
  const id = freeId(document, "placement");
  const { kind, width, height } = media[name];
  const box = firstBox({ width: width ?? document.width, height: height ?? document.height }, document, point);
  const item = { id, media: name, frame, frames: 1, box, fit: "cover", alpha };
  const added = add(document, "placements", item, media);
  return { document: kind === "clip" ? trim(added, id, "end", document.frames) : added, ids: [id] };
}

function placeSound(document, name, media, frame) {
  const id = freeId(document, "sound");
  const time = Math.round((frame / document.fps) * 1e6) / 1e6;
  const rest = document.frames / document.fps - time;
  const length = media.samples && media.sample_rate ? media.samples / media.sample_rate : rest;
  const duration = Math.max(Math.floor(Math.min(rest, length) * 1e6) / 1e6, 0.001);
  return { document: add(document, "sounds", { id, media: name, time, duration }, { [name]: media }), ids: [id] };
}

/** How much of a placed clip or sound the canvas has room for, in seconds; null where all of it is there. */
export function cutShort(document, ids, seconds) {
  const ends = ids.map((id) => find(document, id)).map((item) => item.duration ?? item.frames / document.fps);
  const shown = Math.max(...ends);
  return seconds !== null && shown < seconds - 1 / document.fps ? shown : null;
}

/** Whether anything on a canvas, or its prompt, uses a media. */
export function isUsed(document, name) {
  return [...itemsOf(document), ...document.references].some((item) => item.media === name || item.alpha === name);
}
