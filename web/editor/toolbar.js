/** The toolbar: tools, what can be added, what is shown. */
import { t } from "../words.js";
import { button, element, icon, keepFocus } from "./dom.js";

const TOOLS = [
  ["select", "V"],
  ["box", "R"],
  ["brush", "B"],
  ["erase", "E"],
];

export class Toolbar {
  /**
   * @param {{editor: HTMLElement, session: import("./session.js").Session, stage: import("./stage.js").Stage,
   *   inspector: import("./inspector.js").Inspector, actions: {add(): void, help(): void, full(): void}}} options
   */
  constructor({ editor, session, stage, inspector, actions }) {
    this.editor = editor;
    this.session = session;
    this.stage = stage;
    this.inspector = inspector;
    this.tools = TOOLS.map(([tool, shortcut]) => [
      tool,
      button(tool, t(`editor.tool.${tool}`), () => session.setTool(tool), {
        shortcut,
        pressed: false,
        name: `tool-${tool}`,
      }),
    ]);
    this.addButton = button("add", t("editor.add"), actions.add, { name: "primary" });
    this.overlayButton = button("overlay", t("editor.overlay"), () => this.toggleOverlay(), {
      shortcut: "O",
      pressed: true,
    });
    this.panelButton = button("panel", t("editor.panel"), () => this.togglePanel(), {
      shortcut: "I",
      pressed: true,
      name: "panel-button",
    });
    this.fullButton = button("full", t("editor.full"), actions.full, { shortcut: "F" });
    this.root = element(
      "div",
      "toolbar",
      { role: "toolbar", "aria-label": t("editor.tools") },
      element("div", "group", {}, ...this.tools.map(([, made]) => made)),
      this.addButton,
      element("span", "space"),
      this.overlayButton,
      this.panelButton,
      button("help", t("editor.help"), actions.help, { shortcut: "?" }),
      this.fullButton,
    );
  }

  refresh() {
    const { tool: chosen, editable } = this.session;
    for (const [tool, made] of this.tools) {
      made.setAttribute("aria-pressed", String(tool === chosen));
      made.disabled = !editable;
    }
    this.addButton.disabled = !editable;
  }

  toggleOverlay() {
    this.stage.overlay = !this.stage.overlay;
    this.overlayButton.setAttribute("aria-pressed", String(this.stage.overlay));
    this.stage.refresh();
  }

  togglePanel() {
    keepFocus(this.editor, this.inspector.root);
    const closed = this.editor.classList.toggle("skycanvas-no-panel");
    this.panelButton.setAttribute("aria-pressed", String(!closed));
    this.inspector.refresh();
  }

  /** @param {boolean} full whether the editor fills the screen */
  showFull(full) {
    this.fullButton.replaceChildren(icon(full ? "small" : "full"));
  }
}
