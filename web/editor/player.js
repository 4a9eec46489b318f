/** Plays the canvas: frames at its rate, and the mix of its sounds as the canvas will give it. */
import { BLOCK } from "./media.js";

/** Seconds before the end of a round at which the sounds of the next one are set, so that a loop has no gap. */
const AHEAD = 0.25;
/** Seconds after which an audio clock that does not run (no sound device) is given up. */
const PATIENCE = 1;

/** @typedef {{id: string, media: string, time: number, start: number, duration: number}} Piece */

/**
 * What is heard: the sounds without what a span region has made again, cut at the end of the canvas. Seconds.
 * @param {object} document
 * @returns {Piece[]}
 */
export function heard(document) {
  const end = document.frames / document.fps;
  /** @type {[number, number][]} where nothing is given, apart from each other */
  let silent = [];
  for (const region of document.regions) {
    if (region.kind !== "span") continue;
    silent = without(silent, region.time, region.time + region.duration);
    if (region.action === "generate") silent.push([region.time, region.time + region.duration]);
  }
  return document.sounds.flatMap(({ id, media, time, start, duration }) => {
    /** @type {[number, number][]} */
    let parts = [[time, Math.min(time + duration, end)]];
    for (const [from, to] of silent) parts = without(parts, from, to);
    return parts.map(([from, to]) => ({ id, media, time: from, start: start + from - time, duration: to - from }));
  });
}

/**
 * Intervals without what lies between `from` and `to`.
 * @param {[number, number][]} intervals
 * @returns {[number, number][]}
 */
export function without(intervals, from, to) {
  return intervals
    .flatMap(([first, last]) => [
      [first, Math.min(last, from)],
      [Math.max(first, to), last],
    ])
    .filter(([first, last]) => last > first);
}

/**
 * Pieces cut where the blocks of the library end, and to what is heard from second `from` of the canvas on.
 * @param {Piece[]} pieces
 * @param {number} from
 * @returns {(Piece & {block: number, offset: number})[]} offset: seconds into the block
 */
export function blocksOf(pieces, from) {
  return pieces.flatMap((piece) => {
    const skip = Math.max(0, from - piece.time);
    const end = piece.start + piece.duration;
    const blocks = [];
    for (let start = piece.start + skip; end - start > 1e-6; ) {
      const block = Math.floor(start / BLOCK + 1e-9);
      const stop = Math.min(end, (block + 1) * BLOCK);
      blocks.push({
        ...piece,
        time: piece.time + start - piece.start,
        start,
        duration: stop - start,
        block,
        offset: Math.max(0, start - block * BLOCK),
      });
      start = stop;
    }
    return blocks;
  });
}

/** Seconds that go on as sounds are heard; by the computer's clock where there are none, or no device plays them. */
export class Clock {
  /**
   * @param {{audio: (() => number) | null, computer: () => number}} clocks both in seconds
   */
  constructor({ audio, computer }) {
    this.audio = audio;
    this.computer = computer;
    this.offset = 0; // of the computer's clock, after the audio clock was given up
    this.last = audio?.() ?? 0;
    this.moved = computer();
  }

  now() {
    if (this.audio === null) return this.computer() + this.offset;
    const time = this.audio();
    if (time > this.last) {
      this.last = time;
      this.moved = this.computer();
    } else if (this.computer() - this.moved > PATIENCE) {
      this.audio = null;
      this.offset = this.last - this.computer();
    }
    return this.last;
  }
}

/** Event "change": it starts or stops. */
export class Player extends EventTarget {
  /** @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary}} options */
  constructor({ session, library }) {
    super();
    this.session = session;
    this.library = library;
    this.playing = false;
    /** @type {AudioContext | null} made at the first sound: browsers allow it after a click or key only */
    this.context = null;
    /** @type {Map<string, AudioBufferSourceNode>} those that are not over yet, by round and place */
    this.sources = new Map();
    this.driving = false;
    this.listening = new AbortController();
    const { signal } = this.listening;
    session.addEventListener("document", () => this.#edited(), { signal });
    session.addEventListener("playhead", () => this.#sought(), { signal });
    library.addEventListener("change", () => this.playing && this.#schedule(), { signal });
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** From the playhead on; from the start if it stands on the last frame. */
  play() {
    const { document, readable, playhead } = this.session;
    if (this.playing || !readable) return;
    this.playing = true;
    if (playhead >= document.frames - 1) this.#drive(0);
    this.#start();
    this.dispatchEvent(new Event("change"));
    const tick = () => {
      if (!this.playing) return;
      this.#tick();
      this.frame = requestAnimationFrame(tick);
    };
    this.frame = requestAnimationFrame(tick);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.frame);
    this.#silence();
    this.context?.suspend();
    this.dispatchEvent(new Event("change"));
  }

  destroy() {
    this.pause();
    this.listening.abort();
    this.context?.close();
    this.context = null;
  }

  /** Begins a round at the playhead. */
  #start() {
    const { document, playhead } = this.session;
    this.#silence();
    this.pieces = heard(document);
    if (this.pieces.length) this.context ??= new AudioContext();
    const { context } = this;
    context?.resume();
    this.clock = new Clock({
      audio: this.pieces.length ? () => context.currentTime : null,
      computer: () => performance.now() / 1000,
    });
    this.from = playhead / document.fps;
    this.origin = this.clock.now() - this.from; // what the clock says at second 0 of this round
    this.round = 0;
    this.#schedule();
  }

  #tick() {
    const { document, loop } = this.session;
    const length = document.frames / document.fps;
    const now = this.clock.now();
    if (this.clock.audio === null) this.#silence(); // a device that comes back later would be out of step
    if (loop && now - this.origin > length - AHEAD) this.#schedule(1);
    if (now - this.origin >= length) {
      if (!loop) {
        this.#drive(document.frames - 1);
        this.pause();
        return;
      }
      this.origin += length;
      this.round += 1;
      this.from = 0;
    }
    // what is heard now left the audio clock a little earlier
    const late = this.clock.audio === null ? 0 : (this.context.outputLatency ?? 0);
    const time = Math.max(this.from, now - this.origin - late);
    this.#drive(Math.min(document.frames - 1, Math.floor(time * document.fps + 1e-6)));
  }

  /** Sets the sounds that have arrived and are not set yet. ahead: 1 for those of the next round. */
  #schedule(ahead = 0) {
    const { document } = this.session;
    const { context } = this;
    if (!this.pieces.length || this.clock.audio === null) return;
    const origin = this.origin + (ahead * document.frames) / document.fps;
    for (const piece of blocksOf(this.pieces, ahead ? 0 : this.from)) {
      const key = `${this.round + ahead} ${piece.id} ${piece.start}`;
      const sound = this.library.sound(document.media[piece.media], { start: piece.start });
      const buffer = sound.value?.buffer;
      if (this.sources.has(key) || !buffer) continue;
      const late = Math.max(0, context.currentTime - (origin + piece.time));
      if (late >= piece.duration) continue;
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(context.destination); // the sum is clipped, as the mix is when it is written to a file
      source.start(origin + piece.time + late, piece.offset + late, piece.duration - late);
      this.sources.set(key, source);
      source.onended = () => {
        source.disconnect();
        this.sources.delete(key);
      };
    }
  }

  #silence() {
    for (const source of this.sources.values()) {
      source.onended = null;
      source.disconnect();
    }
    this.sources.clear();
  }

  #drive(frame) {
    if (frame === this.session.playhead) return;
    this.driving = true;
    this.session.seek(frame);
    this.driving = false;
  }

  #sought() {
    if (this.playing && !this.driving) this.#start();
  }

  #edited() {
    if (!this.playing) return;
    if (!this.session.readable) this.pause();
    else if (JSON.stringify(heard(this.session.document)) !== JSON.stringify(this.pieces)) this.#start();
  }
}
