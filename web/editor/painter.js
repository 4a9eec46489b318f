/** What a frame of a canvas looks like: its media, its regions, and what will be made again. */
import { t } from "../words.js";
import { fitted, runs } from "./geometry.js";
import { latentOf } from "./grid.js";
import { boxAt } from "./schema.js";

/** The colours of 'Preview Canvas' (nodes/sheet.py). */
export const COLOURS = {
  given: "#58c480",
  generate: "#8668ec",
  lost: "#ff9826",
  patch: "#40d4f0",
  guide: "#f668c4",
};
const COLOUR_OF_ACTION = { generate: COLOURS.generate, keep: COLOURS.given };

/** Frames of a clip that are asked for together, and the side of their cells: what scrubbing shows. */
const BLOCK = 32;
const SIDES = [64, 128, 256];
/** The longest side of a picture that the stage asks for. */
export const SHARP = 1024;

/** How names of masks begin that were painted in the editor. */
export const PAINTED = "skycanvas/mask_";

const isShown = (item, frame) => item.frame !== undefined && frame >= item.frame && frame < item.frame + item.frames;

/** Placements, then regions, that show on a frame, the lowest first. */
export function shownAt(document, frame) {
  return [...document.placements, ...document.regions].filter((item) => isShown(item, frame));
}

export class Painter {
  /** @param {import("./media.js").MediaLibrary} library */
  constructor(library) {
    this.library = library;
    this.frame = document.createElement("canvas");
    this.scratch = document.createElement("canvas");
    /** The region that is being painted anew, and drawn by the brush. @type {string | null} */
    this.hidden = null;
    this.hatching = hatching();
    /** @type {WeakMap<object, Map<string, HTMLCanvasElement>>} what was made of pictures, as long as those are there */
    this.copies = new WeakMap();
    this.cells = null;
  }

  /**
   * Draws a frame into the box that it takes in a context, in whose pixels `view` is.
   * @param {CanvasRenderingContext2D} context
   * @param {object} document
   * @param {number} frame
   * @param {{scale: number, x: number, y: number}} view
   * @param {{sharp: boolean, plan: import("./plan.js").Plan | null, stale: boolean}} options
   *   sharp: shows clips as large as they are; stale: the plan is that of an older document
   */
  draw(context, document, frame, view, { sharp, plan, stale }) {
    const { width, height } = document;
    const box = { x: view.x, y: view.y, width: width * view.scale, height: height * view.scale };
    const placements = document.placements.filter((item) => isShown(item, frame));
    this.#beyond(context, document, frame, view, placements);

    // the pixels of the canvas as they are, or fewer where the view has fewer
    const scale = Math.min(1, view.scale);
    this.frame.width = Math.max(1, Math.round(width * scale));
    this.frame.height = Math.max(1, Math.round(height * scale));
    const inner = this.frame.getContext("2d");
    inner.fillStyle = "#101116";
    inner.fillRect(0, 0, this.frame.width, this.frame.height);
    for (const item of placements) {
      inner.globalAlpha = item.role === "guide" ? 0.6 : 1;
      this.#placement(inner, document, item, frame, { scale, x: 0, y: 0 }, sharp);
    }
    context.imageSmoothingEnabled = view.scale < 2;
    context.drawImage(this.frame, box.x, box.y, box.width, box.height);
    context.imageSmoothingEnabled = true;

    context.save();
    context.beginPath();
    context.rect(box.x, box.y, box.width, box.height);
    context.clip();
    if (plan !== null) {
      context.globalAlpha = stale ? 0.55 : 1;
      this.#overlay(context, document, plan, frame, view);
      context.globalAlpha = 1;
    }
    for (const region of document.regions) {
      if (isShown(region, frame) && region.id !== this.hidden) this.#region(context, document, region, frame, view);
    }
    for (const item of placements) this.#missing(context, document, item, frame, view);
    context.restore();
  }

  /**
   * What there is to draw of a placement's media at a frame.
   * @returns {{state: "ready" | "loading" | "failed", error: string | null, image: CanvasImageSource,
   *   part: {x: number, y: number, width: number, height: number}} | {state: string, error: string | null}}
   */
  look(document, item, frame, sharp) {
    const media = document.media[item.media];
    if (media.kind === "image" || media.file === null) return ready(this.library.picture(media, { side: SHARP }));
    const time = (frame - item.frame) / document.fps + item.start;
    const side = SIDES.find((least) => least >= Math.max(item.box.width, item.box.height)) ?? SIDES.at(-1);
    if (sharp && side < Math.max(item.box.width, item.box.height)) {
      const picture = ready(this.library.picture(media, { time, side: SHARP }));
      if (picture.state === "ready") return picture;
    }
    const block = Math.floor((frame - item.frame) / BLOCK);
    const sheet = this.library.sheet(media, {
      fps: document.fps,
      start: item.start + (block * BLOCK) / document.fps,
      frames: Math.min(BLOCK, item.frames - block * BLOCK),
      side,
    });
    if (sheet.state !== "ready") return { state: sheet.state, error: sheet.error };
    const part = sheet.value.cell((frame - item.frame) % BLOCK);
    return { state: "ready", error: null, image: sheet.value.image, part };
  }

  /**
   * A mask as a picture of one colour, opaque where the mask is white; null until it is there.
   * @param {object} media of kind "mask"
   * @param {string} colour
   * @param {number} [side] the longer one, in pixels, at most
   */
  stencil(media, colour, side = SHARP) {
    const source = this.library.picture(media, { side }).value;
    return source && this.#copy(source, colour, () => stencil(source, colour));
  }

  #copy(source, name, make) {
    const copies = this.copies.get(source) ?? new Map();
    this.copies.set(source, copies);
    if (!copies.has(name)) copies.set(name, make());
    return copies.get(name);
  }

  /** A look without the alpha channel that a picture of the server has: it counts where the placement says so only. */
  #opaque(look, media) {
    const file = media.kind === "image" ? this.library.fileOf(media) : null;
    if (file === null || !this.library.facts(file).value?.alpha) return look;
    return { ...look, image: this.#copy(look.image, "opaque", () => opaque(look.image)) };
  }

  #placement(context, document, item, frame, view, sharp) {
    const look = this.look(document, item, frame, sharp);
    if (look.state !== "ready") return;
    const media = document.media[item.media];
    const box = boxAt(item, frame);
    const place = scaled(fitted(look.part, box, item.fit), view);
    const clip = scaled(box, view);
    const alpha = item.alpha === null ? null : document.media[item.alpha];
    context.save();
    context.beginPath();
    context.rect(clip.x, clip.y, clip.width, clip.height);
    context.clip();
    if (alpha === null) {
      drawPart(context, this.#opaque(look, media), place);
    } else if (alpha.file !== null && alpha.file === media.file) {
      drawPart(context, look, place); // with the alpha channel of its own file
    } else {
      const mask = this.stencil(alpha, "#fff");
      const whole = this.#opaque(look, media);
      if (mask !== null) context.drawImage(this.#cut(whole, mask, place), place.x, place.y, place.width, place.height);
    }
    context.restore();
  }

  /** A picture with the opacity of a mask. */
  #cut(look, mask, place) {
    this.scratch.width = Math.max(1, Math.round(place.width));
    this.scratch.height = Math.max(1, Math.round(place.height));
    const context = this.scratch.getContext("2d");
    const whole = { x: 0, y: 0, width: this.scratch.width, height: this.scratch.height };
    drawPart(context, look, whole);
    context.globalCompositeOperation = "destination-in";
    context.drawImage(mask, 0, 0, whole.width, whole.height);
    return this.scratch;
  }

  /** What lies beyond the frame, faintly. */
  #beyond(context, document, frame, view, placements) {
    const { width, height } = document;
    context.globalAlpha = 0.22;
    for (const item of placements) {
      const box = boxAt(item, frame);
      if (box.x < 0 || box.y < 0 || box.x + box.width > width || box.y + box.height > height) {
        this.#placement(context, document, item, frame, view, false);
      }
    }
    context.globalAlpha = 1;
  }

  #region(context, document, region, frame, view) {
    const box = scaled(boxAt(region, frame), view);
    const colour = COLOUR_OF_ACTION[region.action];
    if (region.kind === "mask") {
      const mask = this.stencil(document.media[region.media], colour);
      if (mask !== null) {
        context.globalAlpha = 0.5;
        context.imageSmoothingEnabled = view.scale < 2;
        context.drawImage(mask, box.x, box.y, box.width, box.height);
        context.imageSmoothingEnabled = true;
        context.globalAlpha = 1;
      }
    } else {
      context.globalAlpha = 0.14;
      context.fillStyle = colour;
      context.fillRect(box.x, box.y, box.width, box.height);
      context.globalAlpha = 1;
    }
    context.setLineDash([5, 4]);
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.strokeRect(box.x + 0.75, box.y + 0.75, Math.max(box.width - 1.5, 0), Math.max(box.height - 1.5, 0));
    context.setLineDash([]);
  }

  /** A box in place of a picture that has not come, with its name. */
  #missing(context, document, item, frame, view) {
    const look = this.look(document, item, frame, false);
    if (look.state === "ready") return;
    const box = scaled(boxAt(item, frame), view);
    const failed = look.state === "failed";
    context.fillStyle = failed ? "#3a1d22e0" : "#2b2e36c0";
    context.fillRect(box.x, box.y, box.width, box.height);
    context.strokeStyle = failed ? "#ff6b6b" : "#8a909c";
    context.setLineDash([4, 4]);
    context.lineWidth = 1;
    context.strokeRect(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1);
    context.setLineDash([]);
    const media = document.media[item.media];
    const text = failed ? t("stage.missing", { name: nameOf(media) }) : t("stage.loading", { name: nameOf(media) });
    context.fillStyle = failed ? "#ffb3b3" : "#d6d9e0";
    context.font = "11px sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    if (box.height >= 14) context.fillText(text, box.x + box.width / 2, box.y + box.height / 2, box.width - 6);
  }

  #overlay(context, document, plan, frame, view) {
    const fits = plan.document.width === document.width && plan.document.height === document.height;
    const [latents, rows, columns] = plan.latent;
    const latent = latentOf(frame, plan.grid);
    if (!fits || latent >= latents) return;
    const cells = this.#cells(plan, latent);
    const [width, height] = [(document.width / columns) * view.scale, (document.height / rows) * view.scale];
    const path = (list) => {
      const made = new Path2D();
      for (const { row, column, length } of list) {
        made.rect(view.x + column * width, view.y + row * height, length * width, height);
      }
      return made;
    };
    const patches = plan.patches.filter((patch) => patch.frame === frame);
    context.save();
    if (patches.length) {
      const open = new Path2D();
      open.rect(view.x, view.y, document.width * view.scale, document.height * view.scale);
      for (const patch of patches) {
        const box = scaled(patchBox(patch), view);
        open.rect(box.x, box.y, box.width, box.height);
      }
      context.clip(open, "evenodd");
    }
    const made = path(cells.made);
    context.fillStyle = "#12101fa0";
    context.fill(made);
    context.fillStyle = context.createPattern(this.hatching, "repeat");
    context.fill(made);
    if (cells.lost.length && plan.given_pixels[frame] > 0) this.#lost(context, document, frame, view, path(cells.lost));
    context.restore();
    context.lineWidth = 1.5;
    for (const patch of patches) {
      const guides = document.placements.filter((item) => patch.placements.includes(item.id) && item.role === "guide");
      const box = scaled(patchBox(patch), view);
      context.strokeStyle = guides.length === patch.placements.length ? COLOURS.guide : COLOURS.patch;
      context.strokeRect(box.x + 0.75, box.y + 0.75, box.width - 1.5, box.height - 1.5);
    }
  }

  /** Cells that are made again although something is given there, where it is. */
  #lost(context, document, frame, view, cells) {
    const given = new Path2D();
    for (const item of document.placements) {
      if (item.role !== "keep" || !isShown(item, frame)) continue;
      const box = scaled(boxAt(item, frame), view);
      given.rect(box.x, box.y, box.width, box.height);
    }
    context.save();
    context.clip(given);
    context.globalAlpha *= 0.4;
    context.fillStyle = COLOURS.lost;
    context.fill(cells);
    context.globalAlpha /= 0.4;
    context.strokeStyle = COLOURS.lost;
    context.lineWidth = 1;
    context.stroke(cells);
    context.restore();
  }

  /** Runs of cells of a latent frame that are made again, and of those that are lost. */
  #cells(plan, latent) {
    if (this.cells?.plan !== plan || this.cells.latent !== latent) {
      const [, rows, columns] = plan.latent;
      const at = (row, column) => (latent * rows + row) * columns + column;
      const kept = (i) => plan.concat[i] || plan.given[i];
      this.cells = {
        plan,
        latent,
        made: runs(rows, columns, (row, column) => !kept(at(row, column))),
        lost: runs(rows, columns, (row, column) => plan.partial[at(row, column)] && !plan.concat[at(row, column)]),
      };
    }
    return this.cells;
  }
}

/** What an artist calls a media: the name of its file, without folders, or of its input. */
export function nameOf(media) {
  if (media.file?.startsWith(PAINTED)) return t("brush.painted");
  return media.file?.split("/").at(-1) ?? media.input ?? "";
}

export function scaled(box, view) {
  return {
    x: view.x + box.x * view.scale,
    y: view.y + box.y * view.scale,
    width: box.width * view.scale,
    height: box.height * view.scale,
  };
}

function patchBox({ box }) {
  if (!Array.isArray(box)) return box;
  const [x, y, width, height] = box;
  return { x, y, width, height };
}

function ready(asset) {
  const { state, error, value: image } = asset;
  if (state !== "ready") return { state, error };
  return { state, error, image, part: { x: 0, y: 0, width: image.width, height: image.height } };
}

function drawPart(context, { image, part }, place) {
  context.drawImage(image, part.x, part.y, part.width, part.height, place.x, place.y, place.width, place.height);
}

/** The tile of the hatching, as nodes/sheet.py draws it. */
function hatching(period = 10) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = period;
  const context = tile.getContext("2d");
  for (let y = 0; y < period; y++) {
    for (let x = 0; x < period; x++) {
      context.fillStyle = (x + y) % period < Math.floor(period / 3) ? "#8668ec9e" : "#8668ec42";
      context.fillRect(x, y, 1, 1);
    }
  }
  return tile;
}

/** A picture without its alpha channel. */
function opaque(source) {
  const made = document.createElement("canvas");
  made.width = source.width;
  made.height = source.height;
  const context = made.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  const pixels = context.getImageData(0, 0, made.width, made.height);
  for (let i = 3; i < pixels.data.length; i += 4) pixels.data[i] = 255;
  context.putImageData(pixels, 0, 0);
  return made;
}

/** One colour, as opaque as a mask says: by its alpha channel, or by its luminance where it has none. */
function stencil(source, colour) {
  const made = document.createElement("canvas");
  made.width = source.width;
  made.height = source.height;
  const context = made.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  const pixels = context.getImageData(0, 0, made.width, made.height);
  const { data } = pixels;
  let opaque = true;
  for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
  if (opaque) {
    for (let i = 0; i < data.length; i += 4) {
      data[i + 3] = 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
    }
    context.putImageData(pixels, 0, 0);
  }
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, made.width, made.height);
  return made;
}
