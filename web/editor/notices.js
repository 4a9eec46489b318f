/** What the editor says over the stage: messages, and how far uploads are. */
import { said, t } from "../words.js";
import { button, element, icon, keepFocus } from "./dom.js";

/** Milliseconds that a message stays which is no error. */
const READABLE = 4500;
const MOST_MESSAGES = 3;

export class Notices {
  /** @param {HTMLElement} editor has the focus when a notice goes that had it */
  constructor(editor) {
    this.editor = editor;
    // there from the beginning: screen readers pass over live regions that come together with their text
    this.messages = element("div", "", { "aria-live": "polite" });
    this.uploads = element("div", "", { "aria-live": "polite" });
    this.root = element("div", "notices", {}, this.uploads, this.messages);
  }

  /**
   * Says something; errors stay until they are closed.
   * @param {string} text
   * @param {"info" | "warning" | "error"} [level]
   */
  say(text, level = "info") {
    const notice = element("div", `notice ${level}`, { role: level === "error" ? "alert" : undefined });
    notice.append(
      ...(level === "info" ? [] : [icon("warning")]),
      element("span", "", { textContent: said(text) }),
      button("close", t("editor.close"), () => this.#dismiss(notice)),
    );
    for (const old of [...this.messages.children]) if (old.textContent === notice.textContent) this.#dismiss(old);
    this.messages.append(notice);
    while (this.messages.children.length > MOST_MESSAGES) this.#dismiss(this.messages.firstChild);
    if (level !== "error") setTimeout(() => this.#dismiss(notice), READABLE);
  }

  /**
   * Shows an upload with a button that cancels it.
   * @param {string} name of the file
   * @param {() => void} cancel
   * @returns {{progress(share: number): void, close(): void}}
   */
  upload(name, cancel) {
    const label = t("editor.uploading", { name });
    const bar = element("progress", "progress", { max: 1, value: 0, "aria-label": label });
    const stop = button("close", t("editor.cancel"), cancel, { text: true });
    const notice = element("div", "notice", {}, element("span", "", { textContent: label }), bar, stop);
    this.uploads.append(notice);
    return { progress: (share) => (bar.value = share), close: () => this.#dismiss(notice) };
  }

  #dismiss(notice) {
    keepFocus(this.editor, notice);
    notice.remove();
  }
}
