/** The keyboard shortcuts of the editor. */
import { t } from "../words.js";
import { duplicateSelected, removeSelected, trimSelected } from "./commands.js";
import { find, itemsOf } from "./document.js";
import { element } from "./dom.js";

/** Pixels of the canvas that an arrow key moves, and with shift. */
const STEPS = [1, 8];
/** Keys by which sliders and check boxes are set. */
const OPERATING = /^( |Arrow.*|Home|End|Page.*)$/;

export class Shortcuts {
  /**
   * @param {{editor: HTMLElement, session: import("./session.js").Session, player: import("./player.js").Player,
   *   stage: import("./stage.js").Stage, timeline: import("./timeline.js").Timeline,
   *   toolbar: import("./toolbar.js").Toolbar, popover: import("./popover.js").Popover,
   *   fullScreen: import("./fullscreen.js").FullScreen}} parts
   */
  constructor({ editor, session, player, stage, timeline, toolbar, popover, fullScreen }) {
    this.editor = editor;
    this.session = session;
    this.player = player;
    this.stage = stage;
    this.timeline = timeline;
    this.toolbar = toolbar;
    this.popover = popover;
    this.fullScreen = fullScreen;
    this.keys = this.#table();
  }

  /** What each key does; those with a label are listed by the help button. */
  #table() {
    const { session } = this;
    const step = (frames) => session.seek(Math.max(0, session.playhead + frames));
    const arrow = (dx, dy) => (event) => {
      const pixels = STEPS[Number(event.shiftKey)];
      const placed = [...session.selection].some((id) => "box" in find(session.document, id));
      if (placed) this.stage.nudge(dx * pixels, dy * pixels);
      else if (dx) step(dx);
    };
    const grow = (factor) => () =>
      (session.brushSize = Math.max(1, Math.round(session.brushSize * factor + Math.sign(factor - 1))));
    return [
      { keys: [" "], shown: "Space", label: "editor.key.play", run: () => this.player.toggle() },
      { keys: [","], shown: ",   .", label: "editor.key.step", run: () => step(-1) },
      { keys: ["."], run: () => step(1) },
      { keys: ["<"], run: () => step(-session.grid.temporal) },
      { keys: [">"], run: () => step(session.grid.temporal) },
      { keys: ["Home"], shown: "Home   End", label: "editor.key.ends", run: () => session.seek(0) },
      { keys: ["End"], run: () => session.seek(session.document.frames - 1) },
      { keys: ["ArrowLeft"], shown: "← ↑ → ↓", label: "editor.key.nudge", run: arrow(-1, 0) },
      { keys: ["ArrowRight"], shown: "Shift + ←", label: "editor.key.nudge_far", run: arrow(1, 0) },
      { keys: ["ArrowUp"], run: arrow(0, -1) },
      { keys: ["ArrowDown"], run: arrow(0, 1) },
      { keys: ["v"], shown: "V", label: "editor.tool.select", run: () => session.setTool("select") },
      { keys: ["r"], shown: "R", label: "editor.tool.box", run: () => session.setTool("box") },
      { keys: ["b"], shown: "B", label: "editor.tool.brush", run: () => session.setTool("brush") },
      { keys: ["e"], shown: "E", label: "editor.tool.erase", run: () => session.setTool("erase") },
      { keys: ["-"], shown: "-   +", label: "brush.size", run: grow(1 / 1.2) },
      { keys: ["+", "="], run: grow(1.2) },
      { keys: ["["], shown: "[   ]", label: "editor.key.trim", run: () => trimSelected(session, "start") },
      { keys: ["]"], run: () => trimSelected(session, "end") },
      { keys: ["s"], shown: "S", label: "editor.key.split", run: () => this.timeline.split() },
      { keys: ["k"], shown: "K", label: "editor.key.key", run: () => this.stage.toggleKey() },
      {
        keys: ["Delete", "Backspace"],
        shown: "Delete",
        label: "editor.key.remove",
        run: () => removeSelected(session),
      },
      { keys: ["Ctrl+d"], shown: "Ctrl D", label: "editor.duplicate", run: () => duplicateSelected(session) },
      { keys: [], shown: "Ctrl C   X   V", label: "editor.key.clipboard" },
      { keys: [], shown: "Ctrl Z   Y", label: "editor.key.undo" },
      {
        keys: ["Ctrl+a"],
        shown: "Ctrl A",
        label: "editor.key.all",
        run: () => session.select(itemsOf(session.document).map((item) => item.id)),
      },
      { keys: ["o"], shown: "O", label: "editor.overlay", run: () => this.toolbar.toggleOverlay() },
      { keys: ["n"], shown: "N", label: "editor.key.snap", run: () => (session.snapping = !session.snapping) },
      { keys: ["l"], shown: "L", label: "editor.loop", run: () => (session.loop = !session.loop) },
      { keys: ["i"], shown: "I", label: "editor.panel", run: () => this.toolbar.togglePanel() },
      { keys: ["0"], shown: "0", label: "editor.key.fit", run: () => this.stage.fit() },
      { keys: [], shown: "Ctrl + wheel", label: "editor.key.zoom" },
      { keys: [], shown: "Shift   Alt   Ctrl", label: "editor.key.drag" },
      { keys: ["f"], shown: "F", label: "editor.full", run: () => this.fullScreen.toggle() },
      { keys: ["Escape"], shown: "Escape", label: "editor.key.escape", run: () => this.#escape() },
      { keys: ["?"], shown: "?", label: "editor.help", run: () => this.showHelp() },
    ];
  }

  /** Lists the shortcuts. */
  showHelp() {
    const rows = this.keys
      .filter(({ label }) => label)
      .map(({ label, shown }) =>
        element(
          "div",
          "key-row",
          {},
          element("span", "", { textContent: t(label, { frames: this.session.grid.temporal }) }),
          element("kbd", "", { textContent: shown }),
        ),
      );
    this.popover.show(t("editor.help"), [element("div", "key-list", {}, ...rows)]);
  }

  #escape() {
    const { session } = this;
    if (this.stage.cancel() || this.timeline.cancel() || this.popover.close()) return;
    if (session.tool !== "select") session.setTool("select");
    else if (session.selection.size) session.select([]);
    else this.fullScreen.close();
  }

  /** Runs the key's action; no key but those with Ctrl that are ComfyUI's own goes on to ComfyUI. */
  press(event) {
    this.editor.classList.remove("skycanvas-by-pointer");
    if (event.defaultPrevented) return event.stopPropagation();
    const control = event.ctrlKey || event.metaKey;
    const typing = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
    const pressing =
      (event.target.matches("button, summary") && (event.key === " " || event.key === "Enter")) ||
      (event.target.matches("input[type=range], input[type=checkbox]") && OPERATING.test(event.key));
    const name = (control ? "Ctrl+" : "") + (event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const found = this.keys.find(({ keys }) => keys.includes(name));
    if (!control) event.stopPropagation();
    if (control && !typing && /^[zy]$/i.test(event.key)) event.preventDefault(); // else fields undo what was typed, too
    if (event.altKey || pressing || (typing && event.key !== "Escape") || !found || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    found.run(event);
  }
}
