/** What the items of a timeline hold: filmstrips and waveforms, painted where they can be seen. */
import { BLOCK, MOST_CELLS } from "./media.js";
import { film, filmRate } from "./timescale.js";

/** The longer side of a picture in a filmstrip, in pixels: enough for a row on a dense screen. */
const SIDE = 128;
/** A picture is at most so many times as wide as high, and at least its inverse. */
const WIDEST = 3;

/**
 * Paints an item's media from pixel `from` to `to` of its length.
 * @param {CanvasRenderingContext2D} context whose origin is the item's upper left corner
 * @param {{document: object, item: object, library: import("./media.js").MediaLibrary, from: number, to: number,
 *   height: number, scale: number, colour: string}} options scale: pixels per frame; colour: of a waveform
 * @returns {import("./media.js").Asset<any>[]} what it was painted from: paint again when the state of one changes
 */
export function paintItem(context, options) {
  const { document, item, library } = options;
  const media = document.media[item.media];
  if (media === undefined) return []; // a region that is a box or a span
  const used = [];
  const use = (asset) => {
    used.push(asset);
    return asset.state === "ready" ? asset.value : null;
  };
  if (media.kind === "sound") {
    waveform(context, media, use, options);
    return used;
  }
  const size = library.size(media);
  const file = library.fileOf(media);
  const known = size !== null && (media.kind !== "clip" || library.seconds(media) !== null);
  if (!known && file !== null) use(library.facts(file));
  const { width, height } = size ?? { width: 1, height: 1 };
  const aspect = Math.min(Math.max(width / height, 1 / WIDEST), WIDEST);
  const step = Math.max(4, Math.round(options.height * aspect));
  // of what comes through an input there is one picture at most, but from a loader's file
  if (media.kind === "clip" && file !== null) filmstrip(context, media, use, step, options);
  else pictures(context, media, use, step, options);
  return used;
}

function pictures(context, media, use, step, { library, from, to, height }) {
  const picture = use(library.picture(media, { side: SIDE }));
  if (picture === null) return;
  for (let x = Math.floor(from / step) * step; x < to; x += step) context.drawImage(picture, x, 0, step, height);
}

function filmstrip(context, media, use, step, { document, item, library, from, to, height, scale }) {
  const { fps } = document;
  const seconds = library.seconds(media);
  if (seconds === null) return;
  const rate = filmRate(fps, step, scale);
  const count = Math.max(1, Math.ceil(seconds * rate - 1e-6));
  for (const { x, time } of film({ from, to, width: step, start: item.start, scale, fps })) {
    const index = Math.min(count - 1, Math.floor(time * rate + 1e-6));
    const first = index - (index % MOST_CELLS);
    const frames = Math.min(MOST_CELLS, count - first);
    const sheet = use(library.sheet(media, { fps: rate, start: first / rate, frames, side: SIDE }));
    if (sheet === null) continue;
    const cell = sheet.cell(index - first);
    context.drawImage(sheet.image, cell.x, cell.y, cell.width, cell.height, x, 0, step, height);
  }
}

function waveform(context, media, use, { document, item, library, from, to, height, scale, colour }) {
  const seconds = (x) => x / (scale * document.fps);
  const end = Math.min(item.start + item.duration, item.start + seconds(to));
  const middle = height / 2;
  context.fillStyle = colour;
  for (let time = item.start + seconds(Math.max(0, from)); time < end - 1e-6; ) {
    const block = Math.floor(time / BLOCK + 1e-9);
    const stop = Math.min(end, (block + 1) * BLOCK);
    const sound = use(library.sound(media, { start: time }));
    const [left, right] = [time, stop].map((at) => (at - item.start) * document.fps * scale);
    const columns = Math.max(1, Math.round(right - left));
    if (sound !== null) {
      const peaks = sound.peaks(columns, time - block * BLOCK, stop - block * BLOCK);
      for (let i = 0; i < columns; i++) {
        const top = middle - peaks[2 * i + 1] * middle;
        const bottom = middle - peaks[2 * i] * middle;
        context.fillRect(left + i, Math.min(top, middle - 0.5), 1, Math.max(bottom - top, 1));
      }
    }
    time = stop;
  }
}
