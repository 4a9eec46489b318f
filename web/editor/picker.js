/** Files of ComfyUI's input folder to choose from. */
import { said, t } from "../words.js";
import { element, icon } from "./dom.js";

const THUMBNAIL = 128;
const SOUND = /\.(aac|aiff?|flac|m4a|mp3|oga|ogg|opus|wav|wma)$/i;
const CLIP = /\.(avi|gif|m4v|mkv|mov|mp4|mpe?g|webm|wmv)$/i;

export class Picker {
  /**
   * @param {{library: import("./media.js").MediaLibrary, files: () => Promise<string[]>,
   *   choose: (file: string) => void}} options
   */
  constructor({ library, files, choose }) {
    this.library = library;
    this.choose = choose;
    this.search = element("input", "field-input search", {
      type: "search",
      placeholder: t("editor.search"),
      "aria-label": t("editor.search"),
      input: () => this.#show(),
    });
    this.list = element("div", "files", { role: "listbox", "aria-label": t("editor.pick") });
    this.root = element("div", "picker", {}, this.search, this.list);
    this.files = [];
    // a picture is asked for once one would see it
    this.observer = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) if (isIntersecting) this.#picture(target);
      },
      { root: this.list },
    );
    files().then(
      (names) => {
        this.files = names;
        this.#show();
      },
      (error) => this.list.replaceChildren(element("p", "note", { textContent: said(error.message) })),
    );
  }

  #show() {
    const words = this.search.value.toLowerCase();
    const shown = this.files.filter((name) => name.toLowerCase().includes(words)).slice(0, 400);
    this.observer.disconnect();
    this.list.replaceChildren(
      ...shown.map((file) =>
        element(
          "button",
          "file",
          { type: "button", role: "option", title: file, "data-file": file, click: () => this.choose(file) },
          element("span", "media-picture", {}, icon(iconOf(file))),
          element("span", "", { textContent: file }),
        ),
      ),
    );
    if (!shown.length) this.list.append(element("p", "note", { textContent: t("editor.no_files_found") }));
    for (const entry of this.list.querySelectorAll("button")) this.observer.observe(entry);
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
