/** What the tool at hand does: to make again or to keep, and how large. */
import { t } from "../words.js";
import { choices, element, keepFocus } from "./dom.js";

const ACTIONS = ["generate", "keep"];

export class ToolOptions {
  /** @type {() => void} shows the values in the elements of the tool */
  #read;

  /**
   * @param {{editor: HTMLElement, session: import("./session.js").Session, stage: import("./stage.js").Stage,
   *   brush: import("./brush.js").Brush}} options
   */
  constructor({ editor, session, stage, brush }) {
    this.editor = editor;
    this.session = session;
    this.stage = stage;
    this.brush = brush;
    this.root = element("div", "options", { role: "group", "aria-label": t("editor.options") });
  }

  refresh() {
    const { tool, editable, brushSize, document } = this.session;
    const paints = tool === "brush" || tool === "erase";
    this.root.hidden = !editable || !(paints || tool === "box");
    if (!this.root.hidden && this.root.dataset.tool === tool) return this.#read();
    keepFocus(this.editor, this.root);
    if (this.root.hidden) return;
    this.root.dataset.tool = tool;
    const buttons = ACTIONS.map((action) =>
      element("button", "choice", {
        type: "button",
        title: t(`inspector.action.${action}.more`),
        textContent: t(`inspector.action.${action}`),
        click: () => {
          this.stage.action = action;
          this.#read();
        },
      }),
    );
    const actions = choices(t("inspector.action"), buttons);
    const size = element("input", "range", {
      type: "range",
      min: 1,
      max: Math.max(8, Math.round(Math.max(document.width, document.height) / 2)),
      "aria-label": t("brush.size"),
      title: t("brush.size"),
      input: () => (this.session.brushSize = size.valueAsNumber),
    });
    const number = element("span", "faint");
    const here = element("input", "", { type: "checkbox", change: () => (this.brush.fromHere = here.checked) });
    this.#read = () => {
      actions.show(ACTIONS.indexOf(this.stage.action));
      size.value = String(this.session.brushSize);
      number.textContent = `${this.session.brushSize} px`;
      here.checked = this.brush.fromHere;
    };
    this.root.replaceChildren(
      ...(tool === "erase" ? [] : [actions.root]),
      ...(paints
        ? [size, number, element("label", "check", { title: t("brush.here.more") }, here, t("brush.here"))]
        : []),
      element("span", "faint hint", { textContent: t(`editor.hint.${tool}`) }),
    );
    if (paints && brushSize > Number(size.max)) this.session.brushSize = Number(size.max);
    this.#read();
  }
}
