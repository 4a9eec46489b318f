/** Files of ComfyUI's input folder to choose from. */
import { said, t } from "../words.js";
import { element, icon } from "./dom.js";

const THUMBNAIL = 128;
/** Files that are shown at a time. */
const MOST_SHOWN = 400;
const SOUND = /\.(aac|aiff?|flac|m4a|mp3|oga|ogg|opus|wav|wma)$/i;
const CLIP = /\.(avi|gif|m4v|mkv|mov|mp4|mpe?g|webm|wmv)$/i;

export class Picker {
  /**
   * @param {{library: import("./media.js").MediaLibrary, choose: (file: string) => void}} options
   */
  constructor({ library, choose }) {
    this.library = library;
    this.choose = choose;
    this.search = element("input", "field-input search", {
      type: "search",
      placeholder: t("editor.search"),
      "aria-label": t("editor.search"),
      input: () => this.#show(),
    });
    this.list = element("div", "files", { role: "listbox", "aria-label": t("editor.pick") });
    this.note = element("p", "note", { role: "status" });
    const keydown = (event) => this.#key(event);
    this.root = element("div", "picker", { keydown }, this.search, this.list, this.note);
    /** @type {string[] | null} null: not known yet */
    this.files = null;
    this.cut = false;
    // a picture is asked for once one would see it
    this.observer = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) if (isIntersecting) this.#picture(target);
      },
      { root: this.list },
    );
    library.files().then(
      (found) => {
        Object.assign(this, found);
        this.#show();
      },
      (error) => (this.note.textContent = said(error.message)),
    );
  }

  #show() {
    if (!this.files) return;
    const words = this.search.value.toLowerCase();
    const fitting = this.files.filter((name) => name.toLowerCase().includes(words));
    const shown = fitting.slice(0, MOST_SHOWN);
    this.observer.disconnect();
    this.list.replaceChildren(
      ...shown.map((file) =>
        element(
          "button",
          "file",
          { type: "button", role: "option", tabIndex: -1, title: file, "data-file": file, click: () => this.choose(file) },
          element("span", "media-picture", {}, icon(iconOf(file))),
          element("span", "", { textContent: file }),
        ),
      ),
    );
    this.note.textContent = [
      shown.length ? "" : t("editor.no_files_found"),
      shown.length < fitting.length ? t("editor.files_shown", { shown: shown.length, count: fitting.length }) : "",
      this.cut ? t("editor.files_cut", { count: this.files.length }) : "",
    ]
      .filter(Boolean)
      .join(" ");
    for (const entry of this.list.children) this.observer.observe(entry);
    if (shown.length) this.list.firstChild.tabIndex = 0; // Tab comes to the list, arrow keys go through it
  }

  #key(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault(); // and the arrow keys of the editor move nothing
    const entries = [...this.list.children];
    const at = entries.indexOf(event.target);
    (at + step < 0 ? this.search : entries[at + step])?.focus();
  }

  async #picture(entry) {
    this.observer.unobserve(entry);
    const { file } = entry.dataset;
    if (SOUND.test(file)) return;
    const kind = CLIP.test(file) ? "clip" : "image";
    try {
      const image = await this.library.picture({ kind, file, input: null }, { side: THUMBNAIL });
      const canvas = element("canvas", "", { width: image.width, height: image.height });
      canvas.getContext("2d").drawImage(image, 0, 0);
      entry.firstChild.replaceChildren(canvas);
    } catch {
      entry.firstChild.replaceChildren(icon("warning")); // choosing it says what is wrong
    }
  }
}

function iconOf(file) {
  return SOUND.test(file) ? "sound" : CLIP.test(file) ? "clip" : "image";
}
