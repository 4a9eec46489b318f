/** Fills the screen with the editor, and brings it back into its node. */
import { t } from "../words.js";
import { element } from "./dom.js";

export class FullScreen {
  /** @type {HTMLDialogElement | null} null: inside the node */
  dialog = null;
  /** Where the editor goes back to. @type {HTMLElement | null} */
  home = null;

  /**
   * @param {HTMLElement} editor
   * @param {() => void} changed
   */
  constructor(editor, changed) {
    this.editor = editor;
    this.changed = changed;
  }

  toggle() {
    if (this.dialog) return this.dialog.close();
    this.home = this.editor.parentElement;
    const dialog = element("dialog", "full", { "aria-label": t("editor.name") }, this.editor);
    document.body.append(dialog);
    // Escape belongs to the editor first: it ends a gesture, then lets go of the selection
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      this.dialog = null;
      this.home.append(this.editor);
      dialog.remove();
      this.changed();
    });
    dialog.addEventListener("pointerdown", (event) => event.stopPropagation());
    dialog.showModal();
    this.dialog = dialog;
    this.changed();
  }

  close() {
    this.dialog?.close();
  }
}
