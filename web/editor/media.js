/** What the media of a canvas look and sound like, in the pieces that are needed: never a whole file. */
import { t } from "../words.js";
import { fileName } from "./place.js";
import { mediaSeconds } from "./schema.js";

/** Seconds of sound that are fetched at a time. */
export const BLOCK = 30;
/** Pictures that are fetched at a time; the server gives at most 1024. */
export const MOST_CELLS = 64;
/** The longest side of a picture that the server gives. */
export const MOST_SIDE = 4096;
/** Requests at a time: a browser has six per server, and ComfyUI's own page needs some of them. */
const MOST_REQUESTS = 3;
/** What was used in the last so many milliseconds stays: what is on screen must not be thrown out and fetched again. */
const FRESH = 10_000;
/** Milliseconds after which what failed is fetched anew when it is asked for; after each failure twice as many. */
const RETRY = 5_000;
/** Samples that the finest stored peak of a waveform stands for. */
const PEAK = 128;

/**
 * What a value takes, in bytes, and how it gives them back: pictures lie where no garbage collection counts them.
 * @template T
 * @typedef {{bytesOf(value: T): number, close(value: T): void}} Kind
 */
const FACTS = { bytesOf: () => 256, close() {} };
const MB = 2 ** 20;
const PICTURE = { bytesOf: bytesOfImage, close: (image) => image.close() };
const SHEET = { bytesOf: ({ image }) => bytesOfImage(image), close: ({ image }) => image.close() };
/** The samples, and their copy for playing. */
const SOUND = { bytesOf: ({ channels }) => 2 * channels.length * channels[0].byteLength, close() {} };

/**
 * Something that is fetched once. `await` gives its value or throws its error; a drawing reads `state` and `value` and
 * is drawn again on "change".
 * @template T
 */
export class Asset {
  /** @type {"loading" | "ready" | "failed" | "forgotten"} forgotten: ask the library for another one */
  state = "loading";
  /** @type {T | null} */
  value = null;
  /** @type {string | null} the server's own words */
  error = null;
  /** When it was asked for last, and when it may be fetched again if it failed. */
  used = 0;
  again = 0;

  /**
   * @param {string} key
   * @param {() => Promise<T>} load
   * @param {Kind<T>} kind
   * @param {number} [wait] milliseconds from its failure until it may be fetched again
   */
  constructor(key, load, kind, wait = RETRY) {
    this.key = key;
    this.kind = kind;
    this.wait = wait;
    this.bytes = 0;
    this.promise = load().then(
      (value) => {
        this.bytes = kind.bytesOf(value);
        this.value = value;
        if (this.state === "loading") this.state = "ready";
        return value;
      },
      (error) => {
        this.error = error.message;
        if (this.state === "loading") this.state = "failed";
        throw error;
      },
    );
    this.promise.catch(() => {}); // who draws reads `state`, and awaits nothing
  }

  then(resolve, reject) {
    return this.promise.then(resolve, reject);
  }

  /** Gives its memory back; what has not come yet belongs to those who await it. */
  close() {
    if (this.value !== null) this.kind.close(this.value);
  }
}

/**
 * Frames of a clip in one picture, row by row.
 * @typedef {{image: ImageBitmap, count: number,
 *   cell(index: number): {x: number, y: number, width: number, height: number}}} Sheet
 */

/**
 * A block of a sound. `peaks(count, start, end)`: lowest and highest samples of `count` equal parts of it, of all
 * channels: [low, high, low, high, ...]; start, end: seconds into the block.
 * @typedef {{buffer: AudioBuffer | null, sampleRate: number, channels: Float32Array[], seconds: number,
 *   peaks(count: number, start?: number, end?: number): Float32Array}} SoundBlock
 */

export class MediaLibrary extends EventTarget {
  /**
   * Events: "change" when anything arrives, fails, or is forgotten; once per frame of the screen at most.
   * @param {{server: import("../comfy.js").Server, bytes?: number, now?: () => number}} options
   *   bytes: how much is kept, decoded
   */
  constructor({ server, bytes = 384 * 2 ** 20, now = () => performance.now() }) {
    super();
    this.server = server;
    this.bytes = bytes;
    this.now = now;
    /** @type {Map<string, Asset<any>>} the least recently used one first */
    this.assets = new Map();
    /** @type {Map<string, object>} what the inputs of the node brought on its last run */
    this.inputs = new Map();
    this.requests = 0;
    /** @type {(() => void)[]} */
    this.waiting = [];
    this.announced = false;
  }

  /**
   * What a file in ComfyUI's input folder is, from its header.
   * @param {string} file
   * @returns {Asset<{kind: string, width: number, height: number, frames: number, fps: number, alpha: boolean,
   *   sound: {samples: number, sample_rate: number, channels: number} | null, bytes: number, modified: number}>}
   */
  facts(file) {
    return this.#asset(`facts ${file}`, async () => (await this.#get("/skycanvas/media", { file })).json(), FACTS);
  }

  /**
   * Names of pictures, clips and sounds in ComfyUI's input folder and its folders. cut: there are more.
   * @returns {Promise<{files: string[], cut: boolean}>}
   */
  async files() {
    return (await this.#get("/skycanvas/files")).json();
  }

  /** The file that a media is read from, its own or that of the loader wired to its input; null where there is none. */
  fileOf(media) {
    return media.file ?? this.inputs.get(media.input)?.file ?? null;
  }

  /**
   * A media of the document with what its file or its input says in place of each null; null where that is not known
   * (yet).
   * @param {object} media
   */
  known(media) {
    let facts = null;
    const file = this.fileOf(media);
    if (file !== null) {
      const { value } = this.facts(file);
      facts = value && media.kind === "sound" ? value.sound : value;
      if (facts && media.kind === "mask") facts = { ...facts, frames: facts.frames ?? 1 }; // that of a picture
    } else if (media.input !== null) {
      facts = this.inputs.get(media.input) ?? null;
    }
    if (facts === null) return media;
    return Object.fromEntries(Object.entries(media).map(([name, value]) => [name, value ?? facts[name] ?? null]));
  }

  /** Seconds that a clip or a sound lasts; null where that is not known (yet). */
  seconds(media) {
    return mediaSeconds(media) ?? mediaSeconds(this.known(media));
  }

  /** Pixels of an image, a clip or a mask; null where that is not known (yet). */
  size(media) {
    const { width, height } = media.width && media.height ? media : this.known(media);
    return width && height ? { width, height } : null;
  }

  /**
   * Frames of a clip as the canvas shows them: the i-th at start + i / fps seconds. `side`: the longer one, in pixels.
   * @param {object} media of the document, read from a file
   * @param {{fps?: number, start?: number, frames?: number, side?: number}} [options]
   * @returns {Asset<Sheet>}
   */
  sheet(media, { fps = 1, start = 0, frames = 1, side = 96 } = {}) {
    const query = { file: this.fileOf(media), fps, start, frames, side };
    return this.#asset(
      `sheet ${Object.values(query).join(" ")}`,
      async () => {
        const response = await this.#get("/skycanvas/sheet", query);
        const size = response.headers.get("X-SkyCanvas-Cell") ?? "";
        const image = await createImageBitmap(await response.blob());
        return { image, count: frames, cell: cellsOf(size, frames) };
      },
      SHEET,
    );
  }

  /**
   * One sharp picture of an image, a mask, or a clip `time` seconds into it. `side`: the longer one, in pixels.
   * @param {object} media of the document
   * @param {{time?: number, side?: number}} [options]
   * @returns {Asset<ImageBitmap>}
   */
  picture(media, { time = 0, side = 1024 } = {}) {
    const file = this.fileOf(media);
    if (file === null) return this.#preview(media);
    const held = this.assets.get(`held ${file}`);
    if (held !== undefined) return this.#used(held);
    const query = { file, time, side };
    return this.#asset(
      `picture ${Object.values(query).join(" ")}`,
      async () => createImageBitmap(await (await this.#get("/skycanvas/picture", query)).blob()),
      PICTURE,
    );
  }

  /**
   * Takes the picture of a file that was made here: it is seen, at its full size, before the server gives it.
   * @param {string} file
   * @param {Blob} blob
   * @returns {Asset<ImageBitmap>}
   */
  hold(file, blob) {
    return this.#asset(`held ${file}`, () => createImageBitmap(blob), PICTURE);
  }

  /**
   * The block of a sound, or of a clip's own sound, in which second `start` lies: the n-th begins at n * BLOCK.
   * @param {object} media of the document
   * @param {{start?: number}} [options]
   * @returns {Asset<SoundBlock>}
   */
  sound(media, { start = 0 } = {}) {
    const file = this.fileOf(media);
    if (file === null) {
      return this.#asset(
        `unheard ${media.input}`,
        async () => {
          throw new Error(t("media.unheard"));
        },
        SOUND,
      );
    }
    const block = Math.floor(start / BLOCK + 1e-9);
    return this.#asset(
      `sound ${block} ${file}`,
      async () => {
        const query = { file, start: block * BLOCK, duration: BLOCK };
        return soundBlock(await (await this.#get("/skycanvas/sound", query)).arrayBuffer());
      },
      SOUND,
    );
  }

  /**
   * Puts a file into ComfyUI's input folder.
   * @param {Blob} blob
   * @param {{name?: string, folder?: string, progress?: (share: number) => void, signal?: AbortSignal}} [options]
   *   folder: inside of it; progress: 0 to 1; signal: its reason is thrown if it ends the upload
   * @returns {Promise<string>} its name there, which differs where one of that name and other content is there already
   */
  async upload(blob, { name = blob.name, folder = "", progress = () => {}, signal } = {}) {
    const limits = this.#asset("limits", async () => (await this.#get("/skycanvas/limits")).json(), FACTS);
    const { upload: most } = await limits;
    // ComfyUI ends the connection in the middle of what is too large: the page would not hear why
    if (most !== null && blob.size > most) {
      const size = Math.ceil(blob.size / MB);
      throw new Error(t("media.too_large", { size, most: Math.floor(most / MB), enough: size + 1 }));
    }
    const body = new FormData();
    body.append("image", blob, fileName(name));
    body.append("subfolder", folder);
    body.append("type", "input");
    const response = await reached(this.server.post("/upload/image", body, { progress, signal }));
    if (response.status === 413) throw new Error(t("media.too_large_here"));
    if (!response.ok) throw new Error(await errorOf(response, "media.refused"));
    const saved = await response.json();
    const file = saved.subfolder ? `${saved.subfolder}/${saved.name}` : saved.name;
    this.forget(file);
    return file;
  }

  /**
   * What is wired to the node, as its last run saw it. file: where the wire comes straight from a loader.
   * @param {{input: string, kind: string, file?: string | null,
   *   preview: {filename: string, subfolder: string, type: string} | null}[]} inputs
   */
  setInputs(inputs) {
    this.inputs = new Map(inputs.map((input) => [input.input, input]));
    this.#drop(({ key }) => key.startsWith("preview ") || key.startsWith("unheard "));
    this.#change();
  }

  /** Fetches all of a file anew when it is asked for next, failed parts too. */
  forget(file) {
    this.#drop(({ key }) => ` ${key} `.includes(` ${file} `));
    this.#change();
  }

  /** Fetches what failed anew when it is asked for next: the server is there again. */
  retry() {
    this.#drop(({ state }) => state === "failed");
    this.#change();
  }

  /**
   * Looks whether the files are what they were, and forgets those that are not.
   * @returns {Promise<boolean>} whether there are any
   */
  async review() {
    const known = [...this.assets.values()].filter(({ key, state }) => key.startsWith("facts ") && state === "ready");
    const changed = await Promise.all(known.map(({ key, value }) => this.#hasChanged(key.slice(6), value)));
    return changed.includes(true);
  }

  async #hasChanged(file, { bytes, modified }) {
    try {
      const now = await (await this.#get("/skycanvas/media", { file })).json();
      if (now.bytes === bytes && now.modified === modified) return false;
    } catch {
      // it is gone, and whoever asks for it next is told so
    }
    this.forget(file);
    return true;
  }

  /** Gives back all memory. Nobody is told: who is on a page draws again by itself, and others must not ask anew. */
  empty() {
    this.#drop(() => true);
  }

  /** @param {(asset: Asset<any>) => boolean} which */
  #drop(which) {
    for (const asset of [...this.assets.values()].filter(which)) {
      asset.state = "forgotten";
      this.#remove(asset);
    }
  }

  /** @param {Asset<any>} asset */
  #remove(asset) {
    this.assets.delete(asset.key);
    asset.close();
  }

  #preview(media) {
    const preview = this.inputs.get(media.input)?.preview;
    return this.#asset(
      `preview ${media.input}`,
      async () => {
        // it is gone after a restart of the server: another run makes it again
        const response = preview ? await this.#get("/view", preview).catch(() => null) : null;
        if (response === null) throw new Error(t("media.not_run", { input: String(media.input) }));
        return createImageBitmap(await response.blob());
      },
      PICTURE,
    );
  }

  /**
   * @template T
   * @param {string} key
   * @param {() => Promise<T>} load
   * @param {Kind<T>} kind
   * @returns {Asset<T>}
   */
  #asset(key, load, kind) {
    const known = this.assets.get(key);
    if (known !== undefined) {
      if (known.state !== "failed" || this.now() < known.again) return this.#used(known);
      known.state = "forgotten";
    }
    const asset = new Asset(key, load, kind, known && 2 * known.wait);
    const done = () => {
      asset.again = this.now() + asset.wait;
      this.#evict();
      this.#change();
    };
    asset.promise.then(done, done);
    return this.#used(asset);
  }

  /**
   * @template T
   * @param {Asset<T>} asset
   */
  #used(asset) {
    asset.used = this.now();
    this.assets.delete(asset.key); // a Map keeps the order of insertion
    this.assets.set(asset.key, asset);
    return asset;
  }

  #evict() {
    let bytes = 0;
    for (const asset of this.assets.values()) bytes += asset.bytes;
    for (const asset of [...this.assets.values()]) {
      if (bytes <= this.bytes || asset.used > this.now() - FRESH) return;
      if (asset.state !== "ready") continue;
      this.#remove(asset);
      bytes -= asset.bytes;
    }
  }

  #change() {
    if (this.announced) return;
    this.announced = true;
    const announce = () => {
      this.announced = false;
      this.dispatchEvent(new Event("change"));
    };
    if (globalThis.requestAnimationFrame) requestAnimationFrame(announce);
    else setTimeout(announce);
  }

  /** @param {string} path @param {Record<string, string | number>} query */
  async #get(path, query = {}) {
    if (this.requests === MOST_REQUESTS) await new Promise((resolve) => this.waiting.push(resolve));
    else this.requests += 1;
    try {
      const question = new URLSearchParams(/** @type {any} */ (query));
      const response = await reached(this.server.fetch(`${path}?${question}`));
      if (!response.ok) throw new Error(await errorOf(response));
      return response;
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.requests -= 1;
    }
  }
}

/**
 * An answer of the server; an error that says so where none came.
 * @param {Promise<Response>} answer
 * @returns {Promise<Response>}
 */
export async function reached(answer) {
  try {
    return await answer;
  } catch (error) {
    throw error instanceof TypeError ? new Error(t("media.no_connection")) : error;
  }
}

/**
 * Why a request failed, in the server's own words where it has some.
 * @param {Response} response
 * @param {string} [otherwise] key of the words where it has none
 */
export async function errorOf(response, otherwise = "media.status") {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string") return error;
  } catch {
    // a proxy's or ComfyUI's own page says nothing that an artist could use
  }
  return t(otherwise, { status: response.status });
}

/**
 * Where the cells of a sheet lie. size: of a cell, as "WxH".
 * @param {string} size
 * @param {number} count
 */
export function cellsOf(size, count) {
  const [width, height] = size.split("x").map(Number);
  if (!(width > 0 && height > 0)) throw new Error(t("media.sheet", { size }));
  const columns = Math.ceil(Math.sqrt(count));
  return (index) => {
    const cell = Math.min(Math.max(index, 0), count - 1);
    return { x: (cell % columns) * width, y: Math.floor(cell / columns) * height, width, height };
  };
}

/** @param {ImageBitmap} image */
function bytesOfImage(image) {
  return image.width * image.height * 4;
}

/**
 * Reads 16 bit PCM WAV.
 * @param {ArrayBuffer} bytes
 * @returns {{sampleRate: number, channels: Float32Array[]}} samples are -1 to 1
 */
export function readWav(bytes) {
  const view = new DataView(bytes);
  const tag = (at) => String.fromCharCode(...new Uint8Array(bytes, at, 4));
  const bad = () => new Error(t("media.wav"));
  if (bytes.byteLength < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") throw bad();
  let sampleRate = 0;
  let count = 0;
  for (let at = 12; at + 8 <= bytes.byteLength; ) {
    const name = tag(at);
    const size = Math.min(view.getUint32(at + 4, true), bytes.byteLength - at - 8);
    if (name === "fmt ") {
      count = view.getUint16(at + 10, true);
      sampleRate = view.getUint32(at + 12, true);
      if (count < 1 || view.getUint16(at + 22, true) !== 16) throw bad();
    } else if (name === "data" && count) {
      const samples = Math.floor(size / (2 * count));
      const channels = Array.from({ length: count }, () => new Float32Array(samples));
      for (let i = 0, from = at + 8; i < samples; i++) {
        for (let c = 0; c < count; c++, from += 2) channels[c][i] = view.getInt16(from, true) / 32768;
      }
      return { sampleRate, channels };
    }
    at += 8 + size + (size % 2);
  }
  throw bad();
}

/**
 * Lowest and highest samples of all channels, for each `size` samples: [low, high, low, high, ...].
 * @param {Float32Array[]} channels
 * @param {number} [size]
 */
export function peaksOf(channels, size = PEAK) {
  const samples = channels[0].length;
  const peaks = new Float32Array(2 * Math.ceil(samples / size));
  for (let bin = 0; 2 * bin < peaks.length; bin++) {
    let low = 1;
    let high = -1;
    for (const channel of channels) {
      for (let i = bin * size, end = Math.min(samples, i + size); i < end; i++) {
        if (channel[i] < low) low = channel[i];
        if (channel[i] > high) high = channel[i];
      }
    }
    peaks[2 * bin] = low;
    peaks[2 * bin + 1] = high;
  }
  return peaks;
}

/**
 * Peaks of `count` equal parts of peaks `first` to `last` (not included, both may be fractions); 0, 0 past their end.
 * @param {Float32Array} peaks
 */
export function regroup(peaks, count, first, last) {
  const bins = peaks.length / 2;
  const result = new Float32Array(2 * count);
  for (let part = 0; part < count; part++) {
    const from = Math.max(0, Math.floor(first + ((last - first) * part) / count));
    const to = Math.min(bins, Math.max(from + 1, Math.ceil(first + ((last - first) * (part + 1)) / count)));
    if (from >= to) continue;
    let low = 1;
    let high = -1;
    for (let bin = from; bin < to; bin++) {
      if (peaks[2 * bin] < low) low = peaks[2 * bin];
      if (peaks[2 * bin + 1] > high) high = peaks[2 * bin + 1];
    }
    result[2 * part] = low;
    result[2 * part + 1] = high;
  }
  return result;
}

/** @param {ArrayBuffer} bytes @returns {SoundBlock} */
function soundBlock(bytes) {
  const { sampleRate, channels } = readWav(bytes);
  const stored = peaksOf(channels);
  const seconds = channels[0].length / sampleRate;
  /** @type {AudioBuffer | null} */
  let buffer = null;
  return {
    sampleRate,
    channels,
    seconds,
    /** Made when it is played first; null of a sound without samples. */
    get buffer() {
      if (buffer === null && channels[0].length) {
        buffer = new AudioBuffer({ length: channels[0].length, numberOfChannels: channels.length, sampleRate });
        channels.forEach((channel, index) => buffer.copyToChannel(channel, index));
      }
      return buffer;
    },
    peaks: (count, start = 0, end = seconds) =>
      regroup(stored, count, (start * sampleRate) / PEAK, (end * sampleRate) / PEAK),
  };
}
