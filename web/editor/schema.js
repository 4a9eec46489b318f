/**
 * The canvas document, version 2: what may stand in it, how it is read, checked and written. The counterpart of
 * canvas/document.py, which says what the fields mean; both hold to the vectors in tests/vectors/canvas.
 *
 * Units: pixels and frames, and seconds for sound.
 *
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 * @typedef {{at: number, box: Box}} Key
 * @typedef {{kind: "image"|"clip"|"sound"|"mask", width: ?number, height: ?number, frames: ?number, fps: ?number,
 *   samples: ?number, sample_rate: ?number, channels: ?number, file: ?string, input: ?string}} Media
 * @typedef {{id: string, media: string, frame: number, frames: number, box: Box, path: Key[],
 *   fit: "stretch"|"contain"|"cover", alpha: ?string, role: "keep"|"guide", start: number}} Placement
 * @typedef {{id: string, media: string, time: number, start: number, duration: number}} Sound
 * @typedef {{kind: "box"|"mask"|"span", id: string, action: "generate"|"keep", media?: string, frame?: number,
 *   frames?: number, box?: Box, path?: Key[], time?: number, duration?: number}} Region
 * @typedef {{tag: string, media: string}} Reference
 * @typedef {Placement|Sound|Region} Item
 * @typedef {{format: "skycanvas", version: 2, width: number, height: number, frames: number, fps: number,
 *   media: Record<string, Media>, placements: Placement[], sounds: Sound[], regions: Region[],
 *   references: Reference[]}} CanvasDocument
 */

import { joined, quoted, readJson, Real, writeJson } from "./json.js";

export const FORMAT = "skycanvas";
export const VERSION = 2;
export const MAX_JSON = 4 * 2 ** 20; // bytes
export const MAX_ITEMS = 1000; // of placements, of sounds, of regions, and of keys of each
export const MAX_REFERENCES = 64;
export const MAX_SIDE = 16384; // pixels
export const MAX_FRAMES = 100_000;
export const MAX_SECONDS = 1_000_000;
export const TAG_OF_KIND = Object.freeze({ image: "@image_", clip: "@video_", sound: "@audio_" });
const FACTS = {
  image: ["width", "height"],
  clip: ["width", "height", "frames", "fps"],
  sound: ["samples", "sample_rate", "channels"],
  mask: ["width", "height", "frames"],
};

/** Something on a canvas is wrong; the message names it, the value seen, and what is allowed. */
export class CanvasError extends Error {
  name = "CanvasError";
}

const isObject = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Real);

// --- values: each check takes a value, the key that it stands at and the place of what it stands in, and returns the
// value or throws. A place is {key, up}: a path is put together only for an error.

function where(key, up) {
  if (!up) return typeof key === "string" ? key : "";
  const before = where(up.key, up.up);
  if (typeof key === "number") return `${before}[${key}]`;
  const name = shown(key).slice(1, -1);
  return before ? `${before}.${name}` : name;
}

const pathOf = (place) => where(place.key, place.up);
const wrong = (value, key, up, allowed) => new CanvasError(`${where(key, up)} is ${shown(value)}: ${allowed}`);

function ranged(value, key, up, { ge, gt, le, lt }) {
  if (ge !== undefined && value < ge) throw wrong(value, key, up, `use ${ge} or more`);
  if (gt !== undefined && value <= gt) throw wrong(value, key, up, `use more than ${gt}`);
  if (le !== undefined && value > le) throw wrong(value, key, up, `use ${le} or less`);
  if (lt !== undefined && value >= lt) throw wrong(value, key, up, `use less than ${lt}`);
  return value + 0; // -0 is 0
}

const whole = (range) => (value, key, up) => {
  if (!Number.isInteger(value)) throw wrong(value, key, up, "use a whole number");
  return ranged(value, key, up, range);
};

const real = (range) => (value, key, up) => {
  const number = value instanceof Real ? value.valueOf() : value;
  if (typeof number !== "number") throw wrong(value, key, up, "use a number");
  if (!Number.isFinite(number)) throw wrong(number, key, up, "use a finite number");
  return ranged(number, key, up, range);
};

const choice =
  (...values) =>
  (value, key, up) => {
    if (!values.includes(value)) {
      const names = values.map((name) => `'${name}'`);
      throw wrong(value, key, up, `use ${[names.slice(0, -1).join(", "), names.at(-1)].filter(Boolean).join(" or ")}`);
    }
    return value;
  };

const text = (check) => (value, key, up) => {
  if (typeof value !== "string") throw wrong(value, key, up, "use a text");
  if (/\p{Surrogate}/u.test(value)) throw wrong(value, key, up, "use valid Unicode");
  if (value.length > 255 && [...value].length > 255) throw wrong(value, key, up, "use 255 characters or fewer");
  const mend = check(value);
  if (mend) throw wrong(value, key, up, mend);
  return value;
};

const nullable = (check) => (value, key, up) => (value === null ? null : check(value, key, up));

/** Remembers what it made: an operation on a large document checks only what is new in it. */
const remembering = (check) => {
  const made = new WeakSet();
  return (value, key, up) => {
    if (made.has(value)) return value;
    const result = Object.freeze(check(value, key, up));
    made.add(result);
    return result;
  };
};

const list = (check, most) =>
  remembering((value, key, up) => {
    if (!Array.isArray(value)) throw wrong(value, key, up, "use a list");
    if (value.length > most)
      throw new CanvasError(`${where(key, up)} has ${value.length} entries: use ${most} or fewer`);
    const here = { key, up };
    return value.map((entry, i) => check(entry, i, here));
  });

/**
 * An object of these fields.
 * @param fields {field: check}
 * @param defaults {field: value}; the other fields must be given
 * @param check of fields that belong together; takes the object and its place
 */
const object = (fields, defaults = {}, check = () => {}) => {
  const names = Object.keys(fields);
  return remembering((value, key, up) => {
    if (!isObject(value)) throw wrong(value, key, up, "use an object");
    const here = { key, up };
    const result = {};
    for (const name of names) {
      if (Object.hasOwn(value, name)) result[name] = fields[name](value[name], name, here);
      else if (name in defaults) result[name] = defaults[name];
      else throw new CanvasError(`${where(name, here)} is missing: add it`);
    }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(fields, name))
        throw new CanvasError(`${where(name, here)} is no field of a canvas: remove it`);
    }
    check(result, here);
    return result;
  });
};

// Python's str.isprintable
const unprintable = /[\p{C}\p{Z}]/u;
const name = (value) => {
  if (value === "") return "use 1 or more characters";
  return unprintable.test(value.replaceAll(" ", "")) ? "use printable characters only" : null;
};
// Windows drops spaces and dots at the end of a name, so ".. " may lead up as ".." does
const outside = (value) => /[\\:]/.test(value) || value.split("/").some((part) => /^[ .]*$/.test(part));
const file = (value) =>
  name(value) ??
  (outside(value)
    ? "use the name of a file inside ComfyUI's input folder, as picture.png or folder/picture.png"
    : null);
const tag = (value) =>
  /^@[A-Za-z]\w*(-\w+)*$/.test(value) ? null : "use a tag such as @image_1, @video_1, @audio_0 or @Actor-0";

const Name = text(name);
const Frame = whole({ ge: 0, lt: MAX_FRAMES });
const Frames = whole({ ge: 1, le: MAX_FRAMES });
const Coordinate = whole({ ge: -MAX_SIDE, le: MAX_SIDE });
const Side = whole({ ge: 1, le: MAX_SIDE });
const Count = whole({ ge: 1, le: 2 ** 40 });
const Rate = real({ ge: 0.1, le: 1000 });
const Time = real({ ge: 0, le: MAX_SECONDS });
const Duration = real({ gt: 0, le: MAX_SECONDS });
const Action = choice("generate", "keep");

const BoxModel = object({ x: Coordinate, y: Coordinate, width: Side, height: Side });
const KeyModel = object({ at: whole({ ge: 1, lt: MAX_FRAMES }), box: BoxModel });
const Path = list(KeyModel, MAX_ITEMS);
const STILL = Object.freeze([]);

const MediaModel = object(
  {
    kind: choice("image", "clip", "sound", "mask"),
    width: nullable(Side),
    height: nullable(Side),
    frames: nullable(Count),
    fps: nullable(Rate),
    samples: nullable(Count),
    sample_rate: nullable(Count),
    channels: nullable(Count),
    file: nullable(text(file)),
    input: nullable(Name),
  },
  Object.fromEntries(
    ["width", "height", "frames", "fps", "samples", "sample_rate", "channels", "file", "input"].map((key) => [
      key,
      null,
    ]),
  ),
  checkMedia,
);

const moving = { frame: Frame, frames: Frames, box: BoxModel, path: Path };

const PlacementModel = object(
  {
    ...moving,
    id: Name,
    media: Name,
    fit: choice("stretch", "contain", "cover"),
    alpha: nullable(Name),
    role: choice("keep", "guide"),
    start: Time,
  },
  { path: STILL, fit: "stretch", alpha: null, role: "keep", start: 0 },
  checkPath,
);

const SoundModel = object(
  { id: Name, media: Name, time: Time, start: Time, duration: Duration },
  { time: 0, start: 0 },
);

const REGIONS = {
  box: object({ ...moving, kind: choice("box"), id: Name, action: Action }, { path: STILL }, checkPath),
  mask: object(
    { ...moving, kind: choice("mask"), id: Name, action: Action, media: Name },
    { path: STILL },
    checkMaskPath,
  ),
  span: object({ kind: choice("span"), id: Name, action: Action, time: Time, duration: Duration }),
};

const RegionModel = (value, key, up) => {
  if (!isObject(value)) throw wrong(value, key, up, "use an object");
  if (!Object.hasOwn(REGIONS, value.kind)) {
    throw new CanvasError(`${where(key, up)}.kind is missing or unknown: use box, mask or span`);
  }
  return REGIONS[value.kind](value, key, up);
};

const ReferenceModel = object({ tag: text(tag), media: Name });

const MediaMap = remembering((value, key, up) => {
  if (!isObject(value)) throw wrong(value, key, up, "use an object");
  const result = Object.create(null);
  const here = { key, up };
  for (const name of Object.keys(value)) {
    Name(name, "a key of media", null);
    result[name] = MediaModel(value[name], name, here);
  }
  return result;
});

const DocumentModel = object(
  {
    format: choice(FORMAT),
    version: (value) => value, // migrate has seen to it
    width: Side,
    height: Side,
    frames: Frames,
    fps: Rate,
    media: MediaMap,
    placements: list(PlacementModel, MAX_ITEMS),
    sounds: list(SoundModel, MAX_ITEMS),
    regions: list(RegionModel, MAX_ITEMS),
    references: list(ReferenceModel, MAX_REFERENCES),
  },
  {
    format: FORMAT,
    version: VERSION,
    media: Object.freeze(Object.create(null)),
    placements: STILL,
    sounds: STILL,
    regions: STILL,
    references: STILL,
  },
);

// --- the whole

/** {n: function from the JSON object of version n to that of version n + 1} */
export const MIGRATIONS = Object.freeze({ 1: fromVersion1 });

/**
 * Reads the JSON of this version or of an older one.
 * @param {string} text
 * @param {Record<number, (data: object) => object>} migrations
 * @returns {CanvasDocument} frozen all the way down; media has no prototype
 * @throws {CanvasError} for whatever the reader in Python refuses
 */
export function parse(text, migrations = MIGRATIONS) {
  if (typeof text !== "string") throw new CanvasError(`the canvas is ${shown(text)}: use a text`);
  const size = bytes(text);
  if (size > MAX_JSON) {
    throw new CanvasError(`the canvas has ${size} bytes: use at most ${MAX_JSON}, and keep media in files`);
  }
  let data;
  try {
    data = readJson(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new CanvasError(error.message);
  }
  return document(migrate(data, migrations));
}

/**
 * The canonical text, bit for bit that of Document.json() in Python.
 * @param {CanvasDocument} document
 * @returns {string}
 */
export function canonical(document) {
  const { media, placements, sounds, regions, references, ...rest } = document;
  const lists = { placements, sounds, regions, references };
  const parts = Object.entries(rest).map(([field, value]) => [field, writeJson(value)]);
  parts.push(["media", joined(Object.entries(media).map(([name, entry]) => [name, written(entry)]))]);
  for (const [field, list] of Object.entries(lists)) parts.push([field, `[${list.map(written).join()}]`]);
  return joined(parts);
}

const texts = new WeakMap();

/** The text of an entry, which never changes: most of them stand in many documents. */
function written(entry) {
  let text = texts.get(entry);
  if (text === undefined) texts.set(entry, (text = writeJson(entry)));
  return text;
}

/**
 * A document of these fields, checked as a whole. Parts that stood in `before` and stand in the same place are not
 * checked again.
 * @param {object} fields
 * @param {CanvasDocument} [before]
 * @returns {CanvasDocument}
 */
export function document(fields, before) {
  const result = DocumentModel(fields, null, null);
  const same = ["width", "height", "frames", "fps", "media"].every(
    (field) => before && before[field] === result[field],
  );
  const checks = {
    placements: checkPlacement,
    sounds: checkSound,
    regions: checkRegion,
    references: checkReference,
  };
  for (const [list, check] of Object.entries(checks)) {
    if (same && result[list] === before[list]) continue;
    const known = same ? new Set(before[list]) : new Set();
    result[list].forEach((item, i) => known.has(item) || check(result, `${list}[${i}]`, item));
  }
  unique("id", result, ["placements", "sounds", "regions"], (id) => id);
  unique("tag", result, ["references"], (tag) => tag.toLowerCase()); // as the text encoders read them
  return result;
}

/** Bytes of a text in UTF-8. */
export function bytes(text) {
  return text.length > MAX_JSON ? text.length : new TextEncoder().encode(text).length;
}

function migrate(data, migrations) {
  if (!isObject(data)) throw new CanvasError(`the canvas is ${shown(data)}: use an object`);
  for (const field of ["format", "version"]) {
    if (!(field in data)) {
      throw new CanvasError(`${field} is missing: a canvas begins with format ${shown(FORMAT)} and version ${VERSION}`);
    }
  }
  if (data.format !== FORMAT) throw new CanvasError(`format is ${shown(data.format)}: use ${shown(FORMAT)}`);
  while (data.version !== VERSION) {
    const { version } = data;
    if (!Number.isInteger(version) || !Object.hasOwn(migrations, version)) {
      const known = [...Object.keys(migrations).map(Number), VERSION].sort((a, b) => a - b);
      const newer = Number.isInteger(version) && version > VERSION;
      const mend = newer ? "update SkyCanvas, or save the canvas with an older one" : `use ${VERSION}`;
      throw new CanvasError(`version is ${shown(version)}, this SkyCanvas reads ${known.join(", ")}: ${mend}`);
    }
    data = Object.assign(Object.create(null), migrations[version](data), { version: version + 1 });
  }
  return data;
}

/** Boxes moved to one other box, mask regions had the canvas' size, and regions no names. */
function fromVersion1(data) {
  const path = (item) => {
    if (!isObject(item) || !("to" in item)) return item;
    const { to, ...rest } = item;
    return { ...rest, path: to === null ? [] : [{ at: item.frames - 1, box: to }] };
  };
  const items = (list, change) => (Array.isArray(list) ? list.map(change) : list);
  const result = { ...data };
  if ("placements" in data) result.placements = items(data.placements, path);
  if ("regions" in data) {
    const taken = new Set([data.placements, data.sounds].flatMap((list) => items(list, (item) => item?.id) ?? []));
    const whole = { x: 0, y: 0, width: data.width, height: data.height };
    result.regions = items(data.regions, (region) => {
      if (!isObject(region)) return region;
      const id = free(taken, "region_");
      taken.add(id);
      return { ...path(region), id, ...(region.kind === "mask" && { box: whole }) };
    });
  }
  return result;
}

/**
 * The first of prefix1, prefix2, ... that is not taken.
 * @param {Set<string>} taken
 * @param {string} prefix
 */
export function free(taken, prefix) {
  for (let n = 1; ; n++) if (!taken.has(prefix + n)) return prefix + n;
}

// --- checks between fields

function checkMedia(media, place) {
  if (media.file !== null && media.input !== null) {
    throw new CanvasError(
      `${pathOf(place)}.input is ${shown(media.input)}, and file ${shown(media.file)}: give one of them`,
    );
  }
  for (const [field, value] of Object.entries(media)) {
    const concerns = FACTS[media.kind].includes(field);
    if (concerns && value === null && media.file === null && media.input === null) {
      throw new CanvasError(
        `${pathOf(place)}.${field} is missing: it may be left open only where a file or an input is named`,
      );
    }
    if (value !== null && !concerns && !["kind", "file", "input"].includes(field)) {
      throw new CanvasError(`${pathOf(place)}.${field} is ${shown(value)}: leave it out, of kind ${media.kind}`);
    }
  }
}

function checkPath(item, place) {
  let before = 0;
  item.path.forEach(({ at }, i) => {
    if (at <= before || at >= item.frames) {
      const allowed = before + 1 < item.frames ? `${before + 1} to ${item.frames - 1}` : "fewer keys";
      throw new CanvasError(`${pathOf(place)}.path[${i}].at is ${at}, of ${item.frames} frames: use ${allowed}`);
    }
    before = at;
  });
}

/** A mask keeps its size. */
function checkMaskPath(item, place) {
  checkPath(item, place);
  const { width, height } = item.box;
  item.path.forEach(({ box }, i) => {
    if (box.width !== width || box.height !== height) {
      throw new CanvasError(
        `${pathOf(place)}.path[${i}].box is ${box.width}x${box.height}, the mask is ${width}x${height}: ` +
          "a mask moves, but keeps its size",
      );
    }
  });
}

function checkPlacement(document, path, placement) {
  const media = mediaOf(document, `${path}.media`, placement.media, "image", "clip");
  checkFrames(document, path, placement);
  checkBox(document, path, placement);
  if (media.kind === "image" && placement.start) {
    throw new CanvasError(`${path}.start is ${brief(placement.start)}: an image has no time, use 0`);
  }
  if (media.kind === "clip" && media.frames && media.fps) {
    checkStart(path, placement, media);
    if (clipFrame(document, placement, placement.frame + placement.frames - 1) >= media.frames) {
      throw new CanvasError(
        `${path}.frames is ${placement.frames}, more than a clip of ${media.frames} frames at ` +
          `${brief(media.fps)} fps fills from ${brief(placement.start)} s on: use fewer frames, or an earlier start`,
      );
    }
  }
  if (placement.alpha !== null) {
    const alpha = mediaOf(document, `${path}.alpha`, placement.alpha, "mask");
    const frames = media.kind === "clip" ? media.frames : placement.frames;
    checkMask(`${path}.alpha`, alpha, media.width, media.height, frames);
  }
}

function checkSound(document, path, sound) {
  const media = mediaOf(document, `${path}.media`, sound.media, "sound");
  checkTime(document, path, sound);
  const length = mediaSeconds(media);
  if (length === null) return;
  checkStart(path, sound, media);
  const left = length - sound.start;
  // seconds may be rounded: one sample of tolerance
  if (sound.duration > left + 1 / media.sample_rate) {
    throw new CanvasError(
      `${path}.duration is ${brief(sound.duration)}, more than a sound of ${brief(length)} s has from ` +
        `${brief(sound.start)} s on: use ${brief(left)} or less, or an earlier start`,
    );
  }
}

function checkRegion(document, path, region) {
  if (region.kind === "span") {
    checkTime(document, path, region);
    return;
  }
  checkFrames(document, path, region);
  checkBox(document, path, region);
  if (region.kind === "mask") {
    const mask = mediaOf(document, `${path}.media`, region.media, "mask");
    checkMask(`${path}.media`, mask, region.box.width, region.box.height, region.frames);
  }
}

function checkReference(document, path, reference) {
  const media = mediaOf(document, `${path}.media`, reference.media, ...Object.keys(TAG_OF_KIND));
  for (const [kind, prefix] of Object.entries(TAG_OF_KIND)) {
    if (reference.tag.toLowerCase().startsWith(prefix) && media.kind !== kind) {
      throw new CanvasError(
        `${path}.tag is ${shown(reference.tag)}, its media is of kind ${media.kind}: use ` +
          `${TAG_OF_KIND[media.kind]}..., or a name of its own such as @Actor-0`,
      );
    }
  }
}

function mediaOf(document, path, name, ...kinds) {
  const media = document.media[name];
  if (!media) {
    const names = listed(Object.keys(document.media));
    throw new CanvasError(`${path} is ${shown(name)}, which is not in media: use one of its names (${names})`);
  }
  if (!kinds.includes(media.kind)) {
    throw new CanvasError(`${path} is ${shown(name)}, of kind ${media.kind}: use one of kind ${kinds.join(", ")}`);
  }
  return media;
}

function checkFrames(document, path, item) {
  if (item.frame >= document.frames) {
    throw new CanvasError(
      `${path}.frame is ${item.frame}, outside the canvas of ${document.frames} frames: ` +
        `use 0 to ${document.frames - 1}`,
    );
  }
  if (item.frame + item.frames > document.frames) {
    throw new CanvasError(
      `${path}.frames is ${item.frames}, from frame ${item.frame} on past the end of a canvas of ${document.frames} ` +
        `frames: use ${document.frames - item.frame} or fewer`,
    );
  }
}

function checkBox(document, path, item) {
  if (touches(item, document.width, document.height)) return;
  const { x, y, width, height } = item.box;
  throw new CanvasError(
    `${path}.box is ${width}x${height} at (${x}, ${y})${item.path.length ? ", and so is its path" : ""}, wholly ` +
      `outside the frame of ${document.width}x${document.height}: let it overlap the frame`,
  );
}

function checkTime(document, path, item) {
  const length = document.frames / document.fps;
  if (item.time >= length) {
    throw new CanvasError(
      `${path}.time is ${brief(item.time)}, outside the canvas of ${brief(length)} s: use less than that`,
    );
  }
}

function checkStart(path, item, media) {
  const length = mediaSeconds(media);
  if (item.start >= length) {
    throw new CanvasError(
      `${path}.start is ${brief(item.start)}, past the end of a ${media.kind} of ${brief(length)} s: ` +
        "use less than that",
    );
  }
}

/** A mask must have that size, and one frame or that many; what is not known yet passes. */
function checkMask(path, mask, width, height, frames) {
  for (const [seen, side, needed] of [
    [mask.width, "wide", width],
    [mask.height, "high", height],
  ]) {
    if (seen && needed && seen !== needed) {
      throw new CanvasError(`${path} is a mask ${seen} pixels ${side}: use one ${needed} ${side}`);
    }
  }
  if (mask.frames && frames && mask.frames !== 1 && mask.frames !== frames) {
    const allowed = frames === 1 ? "1" : `1 or ${frames}`;
    throw new CanvasError(`${path} is a mask of ${mask.frames} frames: use one of ${allowed}`);
  }
}

function unique(field, document, lists, folded) {
  const values = lists.flatMap((list) => document[list].map((item) => folded(item[field])));
  if (new Set(values).size === values.length) return;
  const seen = new Map();
  for (const list of lists) {
    document[list].forEach((item, i) => {
      const value = folded(item[field]);
      const first = seen.get(value);
      if (first !== undefined) {
        const place = `${first.list}[${first.i}].${field}`;
        throw new CanvasError(`${list}[${i}].${field} is ${shown(item[field])}, as ${place}: use another ${field}`);
      }
      seen.set(value, { list, i });
    });
  }
}

// --- time and motion

/**
 * Length of a clip or sound in seconds, or null where it is not known.
 * @param {Media} media
 */
export function mediaSeconds(media) {
  if (media.kind === "clip" && media.frames && media.fps) return media.frames / media.fps;
  return media.samples && media.sample_rate ? media.samples / media.sample_rate : null;
}

/**
 * The frame of its media that a placement shows at a frame of the canvas: resampled by time, 0 of an image.
 * @param {CanvasDocument} document
 * @param {Placement} placement
 * @param {number} frame
 */
export function clipFrame(document, placement, frame) {
  const { fps } = document.media[placement.media];
  if (fps === null) return 0;
  // the small number keeps a time that rounding has put just before a frame from showing the frame before
  return Math.floor(((frame - placement.frame) / document.fps + placement.start) * fps + 1e-6);
}

/**
 * The box of a placement, box region or mask region at a frame of the canvas: linear from key to key, each edge rounded
 * half up to a whole pixel; after the last key it stays.
 * @param {Placement|Region} item
 * @param {number} frame before the item's first frame: as at that
 * @returns {Box}
 */
export function boxAt(item, frame) {
  const { path } = item;
  const step = frame - item.frame;
  if (!path.length || step <= 0) return item.box;
  let low = 0; // keys before it lie at or before the frame
  for (let high = path.length; low < high;) {
    const middle = (low + high) >> 1;
    if (path[middle].at <= step) low = middle + 1;
    else high = middle;
  }
  if (low === path.length) return path[low - 1].box;
  const [from, a] = low ? [path[low - 1].at, path[low - 1].box] : [0, item.box];
  return between(a, path[low].box, step - from, path[low].at - from);
}

/** The box `step` of `steps` frames on the way from a to b. */
function between(a, b, step, steps) {
  if (step === 0) return a;
  const edge = (first, last) => Math.floor((2 * (first * steps + (last - first) * step) + steps) / (2 * steps));
  const x = edge(a.x, b.x);
  const y = edge(a.y, b.y);
  return {
    x,
    y,
    width: edge(a.x + a.width, b.x + b.width) - x,
    height: edge(a.y + a.height, b.y + b.height) - y,
  };
}

/**
 * Whether any of an item, at any of its frames, lies in a frame of that size.
 * @param {Placement|Region} item
 * @param {number} width
 * @param {number} height
 */
export function touches(item, width, height) {
  const inside = (box) => box.x < width && box.y < height && box.x + box.width > 0 && box.y + box.height > 0;
  if (inside(item.box) || item.path.some((key) => inside(key.box))) return true;
  let from = { at: 0, box: item.box };
  for (const key of item.path) {
    if (fliesThrough(from.box, key.box, key.at - from.at, width, height)) return true;
    from = key;
  }
  return false;
}

/** Whether a box that is outside at both ends is inside on the way: each edge moves one way only, so each of these
 * holds up to a frame or from a frame on. */
function fliesThrough(a, b, steps, width, height) {
  let begin = 0;
  let end = steps + 1;
  for (const test of [
    (box) => box.x < width,
    (box) => box.x + box.width > 0,
    (box) => box.y < height,
    (box) => box.y + box.height > 0,
  ]) {
    if (test(b))
      begin = Math.max(
        begin,
        first(steps + 1, (step) => test(between(a, b, step, steps))),
      );
    else if (test(a))
      end = Math.min(
        end,
        first(steps + 1, (step) => !test(between(a, b, step, steps))),
      );
    else return false;
  }
  return begin < end;
}

/**
 * The first of 0, 1, ..., count - 1 for which a test holds that holds from one of them on; count if for none.
 * @param {number} count
 * @param {(i: number) => boolean} test
 */
export function first(count, test) {
  let low = 0;
  for (let high = count; low < high;) {
    const middle = Math.floor((low + high) / 2);
    if (test(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

// --- words

/** A value as an error message quotes it: short, whatever it is. */
export function shown(value) {
  if (typeof value === "string") return quoted(value);
  if (value instanceof Real) return value.text.slice(0, 80);
  if (Array.isArray(value)) return "a list";
  if (value !== null && typeof value === "object") return "an object";
  return String(value);
}

function listed(names) {
  return names.length ? names.slice(0, 5).join(", ") + (names.length > 5 ? ", ..." : "") : "none";
}

function brief(number) {
  return String(Number(number.toPrecision(6)));
}
