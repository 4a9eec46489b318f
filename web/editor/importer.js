/** Brings media onto the canvas: files that are uploaded or picked from the input folder, and what is wired. */
import { said, t } from "../words.js";
import { addSpan } from "./commands.js";
import { find } from "./document.js";
import { button, element } from "./dom.js";
import { Picker } from "./picker.js";
import { cutShort, placeFile, placeInput, replaceFile } from "./place.js";
import { hundredths } from "./timescale.js";

const ACCEPTED = "image/*,video/*,audio/*,.mkv,.flac,.opus,.m4a";

/** @typedef {import("./schema.js").CanvasDocument} CanvasDocument */

export class Importer {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   notices: import("./notices.js").Notices, popover: import("./popover.js").Popover, signal: AbortSignal}} options
   *   signal: ends uploads
   */
  constructor({ session, library, notices, popover, signal }) {
    this.session = session;
    this.library = library;
    this.notices = notices;
    this.popover = popover;
    this.signal = signal;
    this.input = element("input", "", {
      type: "file",
      multiple: true,
      accept: ACCEPTED,
      hidden: true,
      change: () => {
        this.addFiles([...this.input.files]);
        this.input.value = "";
      },
    });
  }

  /** Lets one choose files of one's own. */
  upload() {
    this.input.click();
  }

  /**
   * Uploads files and puts them on the canvas at the playhead, one after the other until one is cancelled.
   * @param {File[]} files
   * @param {{frame?: number, point?: {x: number, y: number} | null}} [where]
   */
  async addFiles(files, { frame = this.session.playhead, point = null } = {}) {
    if (this.session.refuses()) return;
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.signal]);
    for (const file of files) {
      const notice = this.notices.upload(file.name, () => stop.abort());
      try {
        const name = await this.library.upload(file, { progress: notice.progress, signal });
        await this.place(name, { frame, point, signal });
      } catch (error) {
        if (signal.aborted) return this.notices.say(t("editor.cancelled", { name: file.name }));
        this.notices.say(t("editor.not_added", { name: file.name, error: said(error.message) }), "error");
      } finally {
        notice.close();
      }
    }
  }

  /** Puts a file of the input folder on the canvas. */
  async place(file, { frame = this.session.playhead, point = null, signal = undefined } = {}) {
    this.library.forget(file);
    const facts = await this.library.facts(file);
    signal?.throwIfAborted();
    const ids = await this.#put((document) =>
      placeFile(document, file, facts, { frame: Math.min(frame, document.frames - 1), point }),
    );
    const { document } = this.session;
    const [item] = ids.map((id) => find(document, id)).filter(Boolean);
    if (!item) return;
    const length = this.library.seconds(document.media[item.media]);
    const short = cutShort(document, [item.id], length);
    if (short === null) return;
    this.notices.say(t("editor.cut_short", { shown: hundredths(short), length: hundredths(length) }));
  }

  /** Puts what is wired to an input on the canvas. */
  async placeInput(input) {
    let known = this.library.inputs.get(input);
    if (known?.file) {
      try {
        const facts = await this.library.facts(known.file);
        known = known.kind === "sound" ? { ...facts.sound, kind: "sound" } : facts;
      } catch {
        // its picture says why
      }
    }
    const fields = ["kind", "width", "height", "frames", "fps", "samples", "sample_rate", "channels"];
    const facts = Object.fromEntries(fields.filter((name) => known?.[name]).map((name) => [name, known[name]]));
    if (facts.kind === "image" || facts.kind === "mask") delete facts.fps;
    if (facts.kind === "image") delete facts.frames;
    await this.#put((document) => placeInput(document, input, { ...facts, input }, { frame: this.session.playhead }));
  }

  /**
   * Puts something on the canvas and selects it; a gesture that is under way goes before.
   * @param {(document: CanvasDocument) => {document: CanvasDocument, ids: string[]}} place
   * @returns {Promise<string[]>} ids of what is new
   */
  async #put(place) {
    const { gesturing } = this.session;
    let ids = [];
    const change = (before) => {
      const placed = place(before);
      ids = placed.ids;
      return placed.document;
    };
    if (!(await this.session.later(change))) return [];
    if (!gesturing) this.session.select(ids);
    return ids;
  }

  /** Shows the input folder. chosen: what to do with a file; places it, if left out. */
  pick(chosen = (file) => this.place(file)) {
    const picker = new Picker({
      library: this.library,
      choose: async (file) => {
        this.popover.close();
        try {
          await chosen(file);
        } catch (error) {
          this.notices.say(t("editor.not_added", { name: file, error: said(error.message) }), "error");
        }
      },
    });
    this.popover.show(t("editor.pick"), [picker.root], { left: true });
    picker.search.focus({ preventScroll: true });
  }

  /** Puts another file in the place of one that is gone. @param {string} name of the media */
  replace(name) {
    this.pick(async (file) => {
      const { kind, file: old } = this.session.document.media[name];
      const facts = await this.library.facts(file);
      if (facts.kind !== kind && !(kind === "mask" && facts.kind === "image") && !(kind === "sound" && facts.sound)) {
        throw new Error(
          t("editor.other_kind", { kind: t(`inspector.kind.${facts.kind}`), wanted: t(`inspector.kind.${kind}`) }),
        );
      }
      await this.session.later((document) => replaceFile(document, old, file, facts.alpha));
    });
  }

  /** Shows all that can be added. @param {import("./editor.js").Wire[]} wires */
  showMenu(wires) {
    const entry = (picture, label, click) =>
      button(
        picture,
        label,
        () => {
          this.popover.close();
          click();
        },
        { text: true, name: "menu-entry" },
      );
    const { session } = this;
    const entries = [
      entry("upload", t("editor.upload"), () => this.upload()),
      entry("files", t("editor.pick"), () => this.pick()),
      ...wires.map(({ input, kind }) => entry(kind, t("editor.input", { input }), () => this.placeInput(input))),
      element("hr", "line"),
      entry("box", t("editor.add.box"), () => session.setTool("box")),
      entry("brush", t("editor.add.mask"), () => session.setTool("brush")),
      entry("sound", t("editor.add.span"), () => addSpan(session)),
    ];
    this.popover.show(t("editor.add"), entries, { left: true });
  }
}
