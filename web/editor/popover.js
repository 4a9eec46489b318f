/** A small dialog over the editor, one at a time: a menu, the shortcuts, notes, files to choose from. */
import { t } from "../words.js";
import { button, element } from "./dom.js";

export class Popover {
  /** @type {HTMLElement | null} */
  #shown = null;
  /** What had the focus before. @type {Element | null} */
  #opener = null;

  /** @param {HTMLElement} editor */
  constructor(editor) {
    this.editor = editor;
  }

  /**
   * Shows it, or closes it where the one of that title is shown already.
   * @param {string} title
   * @param {HTMLElement[]} children
   * @param {{left?: boolean}} [more] left: at the left of the editor, not at the right
   */
  show(title, children, { left = false } = {}) {
    const was = this.#shown?.dataset.title;
    this.close();
    if (was === title) return;
    this.#shown = element(
      "div",
      left ? "popover left" : "popover",
      { role: "dialog", "aria-label": title, tabIndex: -1 },
      element(
        "header",
        "",
        {},
        element("strong", "", { textContent: title }),
        button("close", t("editor.close"), () => this.close()),
      ),
      ...children,
    );
    this.#shown.dataset.title = title;
    this.#opener = document.activeElement;
    this.editor.append(this.#shown);
    this.#shown.focus({ preventScroll: true });
  }

  /** @returns {boolean} whether there was one */
  close() {
    if (this.#shown === null) return false;
    const focused = this.#shown.contains(document.activeElement);
    this.#shown.remove();
    this.#shown = null;
    if (focused) (this.editor.contains(this.#opener) ? this.#opener : this.editor).focus({ preventScroll: true });
    return true;
  }

  /** Closes it if one presses elsewhere. @param {Element} target */
  pressed(target) {
    if (!this.#shown?.contains(target)) this.close();
  }
}
