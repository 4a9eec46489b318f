/** Paints masks: strokes on the frame at the playhead, which become a region whose mask lies in the input folder. */
import { said, t } from "../words.js";
import { find, freeId } from "./document.js";
import { pruneMedia, setMedia } from "./edit_canvas.js";
import { add, remove, update } from "./edit_items.js";
import { split } from "./edit_time.js";
import { MOST_SIDE } from "./media.js";
import { COLOURS, SHARP } from "./painter.js";
import { boxAt } from "./schema.js";

const PAINTING = ["brush", "erase"];
const COLOUR_OF_ACTION = { generate: COLOURS.generate, keep: COLOURS.given };

/**
 * A mask in work: white where it is opaque, of the size of the canvas or more.
 * @typedef {{canvas: HTMLCanvasElement, x: number, y: number, frame: number, region: string | null,
 *   action: "generate" | "keep", colour: string, unsaved: boolean}} Work
 *   x, y: of its corner on the canvas; region: the one that it changes, null of one that is yet to come; unsaved: its
 *   last stroke could not be saved, and waits for another one
 */

export class Brush extends EventTarget {
  /**
   * Event "change": it looks different.
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   painter: import("./painter.js").Painter}} options
   */
  constructor({ session, library, painter }) {
    super();
    this.session = session;
    this.library = library;
    this.painter = painter;
    /** Whether a stroke on a later frame of a mask changes it from there on only. */
    this.fromHere = false;
    /** @type {Work | null} */
    this.work = null;
    this.painting = false;
    /** Strokes are saved one after the other. @type {Promise<void>} */
    this.saving = Promise.resolve();
    this.pending = 0;
    session.addEventListener("tool", () => this.#giveUp());
  }

  /** Across, in pixels of the canvas. */
  get size() {
    return this.session.brushSize;
  }

  /**
   * Begins a stroke.
   * @param {{x: number, y: number, pressure: number}} point of the canvas
   * @param {{erase: boolean, action: "generate" | "keep"}} how
   */
  start(point, { erase, action }) {
    const { session } = this;
    const region = this.#target();
    const goesOn = this.work !== null && (this.work.unsaved || this.work.frame === session.playhead);
    if (!goesOn) {
      if (erase && region === null) return session.say("info", t("brush.nothing"));
      const work = this.#begin(region, region?.action ?? action);
      if (work === null) return session.say("info", t("brush.loading"));
      this.work = work;
      this.painter.hidden = region?.id ?? null;
    }
    this.painting = true;
    this.erase = erase;
    this.last = point;
    this.move(point);
  }

  move(point) {
    if (!this.painting) return;
    const { canvas, x, y, colour } = this.work;
    const context = canvas.getContext("2d");
    context.globalCompositeOperation = this.erase ? "destination-out" : "source-over";
    context.strokeStyle = colour;
    context.lineCap = "round";
    context.lineWidth = Math.max(1, this.size * (0.25 + 0.75 * point.pressure));
    context.beginPath();
    context.moveTo(this.last.x - x, this.last.y - y);
    context.lineTo(point.x - x, point.y - y);
    context.stroke();
    this.last = point;
    this.dispatchEvent(new Event("change"));
  }

  /** Ends the stroke and saves the mask; the document changes as soon as its file is there. */
  end() {
    if (!this.painting) return;
    this.painting = false;
    const { work } = this;
    const mask = cropped(work);
    this.pending += 1;
    this.saving = this.saving.then(async () => {
      try {
        await this.#save(work, mask);
        work.unsaved = false;
      } catch (error) {
        work.unsaved = true;
        this.session.say("error", t("brush.failed", { error: said(error.message) }));
      }
      this.pending -= 1;
      if (this.pending === 0 && !this.painting && !this.work?.unsaved) this.#drop();
      this.#giveUp();
    });
  }

  /** Forgets the stroke, and those that are not saved yet. */
  cancel() {
    if (!this.painting) return;
    this.painting = false;
    this.#drop();
  }

  /** Draws the mask in work; `view` as the stage has it. */
  draw(context, view) {
    if (this.work === null) return;
    const { canvas, x, y } = this.work;
    context.globalAlpha = 0.5;
    context.imageSmoothingEnabled = view.scale < 2;
    context.drawImage(
      canvas,
      view.x + x * view.scale,
      view.y + y * view.scale,
      canvas.width * view.scale,
      canvas.height * view.scale,
    );
    context.imageSmoothingEnabled = true;
    context.globalAlpha = 1;
  }

  /**
   * The mask region that a stroke changes: the one that is selected and shows at the playhead, of one picture that the
   * server gives at full size.
   */
  #target() {
    const { document, selection, playhead } = this.session;
    const masks = document.regions.filter(
      (item) =>
        item.kind === "mask" &&
        selection.has(item.id) &&
        playhead >= item.frame &&
        playhead < item.frame + item.frames &&
        this.#paintable(document.media[item.media]),
    );
    return masks.length === 1 ? masks[0] : null;
  }

  #paintable(media) {
    const { width, height, frames } = this.library.known(media);
    return media.file !== null && frames === 1 && Math.max(width, height) <= MOST_SIDE;
  }

  /** @returns {Work | null} null: the mask that it would change is not there yet */
  #begin(region, action) {
    const { document, playhead: frame } = this.session;
    const canvas = globalThis.document.createElement("canvas");
    const colour = COLOUR_OF_ACTION[action];
    const work = { canvas, x: 0, y: 0, frame, region: region?.id ?? null, action, colour, unsaved: false };
    Object.assign(canvas, { width: document.width, height: document.height });
    canvas.getContext("2d", { willReadFrequently: true }); // it is read after each stroke
    if (region === null) return work;
    const media = document.media[region.media];
    const { width, height } = this.library.size(media);
    const stencil = this.painter.stencil(media, colour, Math.max(SHARP, width, height)); // all of its pixels
    if (stencil === null) return null;
    const box = boxAt(region, frame);
    work.x = Math.min(0, box.x);
    work.y = Math.min(0, box.y);
    canvas.width = Math.max(document.width, box.x + box.width) - work.x;
    canvas.height = Math.max(document.height, box.y + box.height) - work.y;
    canvas.getContext("2d").drawImage(stencil, box.x - work.x, box.y - work.y, box.width, box.height);
    return work;
  }

  async #save(work, mask) {
    const { session, library } = this;
    const regionIn = (document) => (work.region === null ? null : find(document, work.region));
    const old = session.document.media[regionIn(session.document)?.media]?.file;
    if (mask === null) {
      const drop = (document) => pruneMedia(remove(document, [work.region]));
      await session.later((document) => (regionIn(document) ? drop(document) : document));
    } else {
      const blob = await new Promise((resolve) => mask.canvas.toBlob(resolve, "image/png"));
      const file = await library.upload(blob, { name: `mask_${randomName()}.png`, folder: "skycanvas" });
      await library.hold(file, blob);
      const { width, height } = mask.canvas;
      const media = { kind: "mask", width, height, frames: 1, file };
      const box = { x: mask.x, y: mask.y, width, height };
      const { gesturing } = session; // what is dragged stays selected
      const made = await session.later((document) => {
        const found = regionIn(document);
        return found
          ? this.#repaint(document, found, work, file, media, box)
          : this.#paint(document, work, file, media, box);
      });
      if (made && !gesturing) session.select([work.region]);
    }
    // undo brings it back from the server
    const used = Object.values(session.document.media).some(({ file }) => file === old);
    if (old && !used) library.forget(old);
  }

  #paint(document, work, file, media, box) {
    const frame = Math.min(work.frame, document.frames - 1);
    work.region = freeId(document, "region");
    const frames = document.frames - frame;
    const item = { kind: "mask", id: work.region, action: work.action, media: file, frame, frames, box, path: [] };
    return add(document, "regions", item, { [file]: media });
  }

  /** Gives a region another mask, from its first frame on or from the one that was painted on. */
  #repaint(document, region, work, file, media, box) {
    if (this.fromHere && work.frame > region.frame && work.frame < region.frame + region.frames) {
      const before = new Set(document.regions.map((item) => item.id));
      document = split(document, region.id, work.frame);
      region = document.regions.find((item) => !before.has(item.id));
      work.region = region.id;
    }
    const old = boxAt(region, work.frame);
    const moved = ({ x, y }) => ({ ...box, x: x + box.x - old.x, y: y + box.y - old.y });
    const changes = {
      media: file,
      box: moved(region.box),
      path: region.path.map((key) => ({ at: key.at, box: moved(key.box) })),
    };
    return pruneMedia(update(setMedia(document, file, media), region.id, changes));
  }

  /** Forgets what could not be saved, if the tool at hand paints no more. */
  #giveUp() {
    const idle = this.pending === 0 && !this.painting;
    if (idle && this.work?.unsaved && !PAINTING.includes(this.session.tool)) this.#drop();
  }

  #drop() {
    this.work = null;
    this.painter.hidden = null;
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * The opaque part of a mask in work, white, with a sharp edge: a pixel is in it or not. null: nothing is opaque.
 * @param {Work} work
 * @returns {{canvas: HTMLCanvasElement, x: number, y: number} | null}
 */
function cropped({ canvas, x, y }) {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height);
  const box = opaqueBox(pixels);
  if (box === null) return null;
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    data[i] = data[i + 1] = data[i + 2] = 255;
    data[i + 3] = data[i + 3] < 128 ? 0 : 255;
  }
  const part = document.createElement("canvas");
  Object.assign(part, { width: box.width, height: box.height });
  part.getContext("2d").putImageData(pixels, -box.x, -box.y);
  return { canvas: part, x: x + box.x, y: y + box.y };
}

/**
 * The box around the pixels that are half opaque or more; null where there are none.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} pixels
 */
export function opaqueBox({ data, width, height }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (data[4 * (y * width + x) + 3] < 128) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return right < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

function randomName() {
  return [...crypto.getRandomValues(new Uint32Array(3))].map((part) => part.toString(16).padStart(8, "0")).join("");
}
