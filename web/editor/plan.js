/** What will be made again, as the server's mask compiler says: asked for as one edits, never worked out here. */
import { t } from "../words.js";
import { errorOf, reached } from "./media.js";
import { canonical } from "./schema.js";

/** Milliseconds without an edit before the server is asked. */
export const PAUSE = 200;

/**
 * Shares of a latent frame's cells, or of the audio latents of a stretch: together 1.
 * given: kept. lost: given in part, so made again with the rest. again: the rest.
 * @typedef {{given: number, lost: number, again: number}} Shares
 */

/**
 * What the server says of a document. given, partial: 1 or 0 for each latent cell [T, h, w], row by row.
 * @typedef {{family: string, grid: import("./grid.js").Grid, latent: [number, number, number], given: Uint8Array,
 *   partial: Uint8Array, concat: Uint8Array,
 *   patches: {frame: number, time: number, box: object, placements: string[]}[],
 *   audio: {latents: number, given: Uint8Array, partial: Uint8Array}, given_pixels: number[],
 *   notes: {level: "info" | "warning", text: string}[], report: string, tokens: {total: number},
 *   bytes: number | null, seconds: number | null, text: string, document: object, shares: Shares[]}} Plan
 *   family: of models whose grid it is on; bytes, seconds: null where they are not known; document: that it belongs
 *   to; shares: of each latent frame
 */

/** Event "change": of `state`, `plan` or `error`. The session has the plan too: a new one is its "plan" event. */
export class PlanView extends EventTarget {
  #model = null;
  /** @type {"idle" | "computing" | "ready" | "failed"} */
  state = "idle";
  /** @type {Plan | null} the last good one; it belongs to an older document while `state` is not "ready" */
  plan = null;
  /** @type {string | null} why the canvas does not compile, in the server's words */
  error = null;

  /**
   * @param {{session: import("./session.js").Session, server: import("../comfy.js").Server, pause?: number}} options
   */
  constructor({ session, server, pause = PAUSE }) {
    super();
    this.session = session;
    this.server = server;
    this.pause = pause;
    /** @type {AbortController | null} of the request under way */
    this.request = null;
    this.timer = undefined;
    this.listening = new AbortController();
    session.addEventListener("document", () => this.#changed(), { signal: this.listening.signal });
    this.refresh();
  }

  /** The file of the model that will make the clip; null: Mini. @type {import("../wires.js").ModelFile | null} */
  get model() {
    return this.#model;
  }

  set model(model) {
    if (JSON.stringify(model) === JSON.stringify(this.#model)) return;
    this.#model = model;
    this.refresh();
  }

  /** A commit shows the document that was previewed last: its plan is known, or on its way. */
  #changed() {
    if (this.session.document !== this.asked || !this.session.readable) this.refresh();
  }

  /** Asks anew, after the pause: also for media that have changed under the same name. */
  refresh() {
    clearTimeout(this.timer);
    this.request?.abort();
    this.request = null;
    this.asked = this.session.document;
    if (!this.session.readable) {
      this.plan = null;
      this.#tell("idle", null);
      return;
    }
    if (this.state !== "computing") this.#tell("computing", null);
    this.timer = setTimeout(() => this.#ask(), this.pause);
  }

  destroy() {
    this.listening.abort();
    clearTimeout(this.timer);
    this.request?.abort();
    this.request = null;
  }

  async #ask() {
    const { document } = this.session;
    const request = (this.request = new AbortController());
    let plan = null;
    let error = null;
    try {
      const response = await reached(
        this.server.fetch("/skycanvas/plan", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ document: canonical(document), model: this.#model }),
          signal: request.signal,
        }),
      );
      if (!response.ok) throw new Error(await errorOf(response));
      plan = decode(await response.json(), document);
    } catch (reason) {
      error = reason.message;
    }
    if (request !== this.request) return; // the document, or the model, has changed since
    this.request = null;
    this.plan = plan ?? this.plan;
    this.#tell(error === null ? "ready" : "failed", error);
  }

  #tell(state, error) {
    this.state = state;
    this.error = error;
    this.session.plan = this.plan;
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * Bits as the server packs them: the first is the highest of the first byte.
 * @param {string} base64
 * @param {number} count
 * @returns {Uint8Array} 1 or 0 for each
 */
export function bits(base64, count) {
  const bytes = atob(base64);
  if (bytes.length !== Math.ceil(count / 8)) {
    throw new Error(t("plan.cells", { bytes: bytes.length, cells: count }));
  }
  const result = new Uint8Array(count);
  for (let i = 0; i < count; i++) result[i] = (bytes.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1;
  return result;
}

/**
 * The server's answer, unpacked.
 * @param {any} answer
 * @param {object} document that it belongs to
 * @returns {Plan}
 */
export function decode(answer, document) {
  const [latents, rows, columns] = answer.latent;
  const cells = rows * columns;
  const given = bits(answer.given, latents * cells);
  const partial = bits(answer.partial, latents * cells);
  const { audio } = answer;
  return {
    ...answer,
    given,
    partial,
    concat: bits(answer.concat, latents * cells),
    audio: {
      latents: audio.latents,
      given: bits(audio.given, audio.latents),
      partial: bits(audio.partial, audio.latents),
    },
    document,
    shares: Array.from({ length: latents }, (_, latent) =>
      sharesOf(given, partial, latent * cells, (latent + 1) * cells),
    ),
  };
}

/**
 * Shares of cells `first` to `last` (not included).
 * @param {Uint8Array} given
 * @param {Uint8Array} partial
 * @returns {Shares}
 */
export function sharesOf(given, partial, first, last) {
  let kept = 0;
  let lost = 0;
  for (let i = first; i < last; i++) {
    kept += given[i];
    lost += partial[i];
  }
  const count = last - first;
  return { given: kept / count, lost: lost / count, again: (count - kept - lost) / count };
}

/**
 * Notes that name an item, by its id or, of a region, by its number.
 * @param {Plan} plan
 * @param {string} id
 */
export function notesOn(plan, id) {
  const region = plan.document.regions.findIndex((item) => item.id === id);
  const names = [`'${id}'`, `Region ${region + 1} `];
  return plan.notes.filter(({ text }) => (region < 0 ? text.includes(names[0]) : names.some((n) => text.includes(n))));
}
