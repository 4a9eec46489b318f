/** The editor: toolbar, stage, timeline and inspector around one session, in a node or on the full screen. */
import { said, t } from "../words.js";
import { Brush } from "./brush.js";
import { copy } from "./clipboard.js";
import { duplicateSelected, pasteText, removeSelected, trimSelected } from "./commands.js";
import { itemsOf } from "./document.js";
import { button, element, icon } from "./dom.js";
import { dropArea } from "./drop.js";
import { setMedia } from "./edit_canvas.js";
import { FullScreen } from "./fullscreen.js";
import { Importer } from "./importer.js";
import { Inspector } from "./inspector.js";
import { Notices } from "./notices.js";
import { Painter } from "./painter.js";
import { PlanView } from "./plan.js";
import { Player } from "./player.js";
import { Popover } from "./popover.js";
import { Shortcuts } from "./shortcuts.js";
import { splitter } from "./splitter.js";
import { Stage } from "./stage.js";
import { StatusLine } from "./status.js";
import { Timeline } from "./timeline.js";
import { ToolOptions } from "./tool_options.js";
import { Toolbar } from "./toolbar.js";
import { Transport } from "./transport.js";

/**
 * Something that is wired to an input of the node. input: without the name of its group; file: where it comes straight
 * from a loader; origin: where from, another one for another output of a node.
 * @typedef {{input: string, kind: "image" | "clip" | "sound" | "mask", file: string | null, origin: string}} Wire
 */

export class Editor {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   server: import("../comfy.js").Server}} options
   */
  constructor({ session, library, server }) {
    this.session = session;
    this.library = library;
    /** @type {Wire[]} */
    this.inputs = [];
    /**
     * Finds what has the focus, or had it before the editor was taken out of the page.
     * @type {(() => ?Element) | null}
     */
    this.focused = null;
    this.listening = new AbortController();
    const { signal } = this.listening;
    this.root = element("div", "editor", {
      tabIndex: -1,
      role: "group",
      "aria-label": t("editor.name"),
      keydown: (event) => this.shortcuts.press(event),
      keyup: (event) => event.stopPropagation(),
      pointerdown: (event) => this.#pressed(event),
    });
    this.root.dataset.captureWheel = "true"; // else Nodes 2.0 zooms the graph although the editor has the focus

    this.plan = new PlanView({ session, server });
    this.player = new Player({ session, library });
    const painter = new Painter(library);
    const brush = new Brush({ session, library, painter });
    this.stage = new Stage({ session, library, brush, painter });
    this.timeline = new Timeline({
      session,
      library,
      plan: this.plan,
      actions: { toggleKey: () => this.stage.toggleKey(), trim: (edge) => trimSelected(session, edge) },
    });
    this.notices = new Notices(this.root);
    this.popover = new Popover(this.root);
    this.fullScreen = new FullScreen(this.root, () => this.#shownFull());
    const { root: editor, plan, player, stage, timeline, notices, popover, fullScreen } = this;
    this.importer = new Importer({ session, library, notices, popover, signal });
    this.inspector = new Inspector({ session, library, actions: this.#inspectorActions() });
    this.toolbar = new Toolbar({ editor, session, stage, inspector: this.inspector, actions: this.#toolbarActions() });
    this.options = new ToolOptions({ editor, session, stage, brush });
    this.transport = new Transport({ session, player });
    this.status = new StatusLine({ session, plan, popover });
    const { toolbar } = this;
    this.shortcuts = new Shortcuts({ editor, session, player, stage, timeline, toolbar, popover, fullScreen });
    this.#build();

    for (const name of ["document", "tool", "selection"])
      session.addEventListener(name, () => this.refresh(), { signal });
    session.addEventListener("playhead", () => this.transport.refresh(), { signal });
    session.addEventListener("message", ({ detail }) => this.notices.say(detail.text, detail.level), { signal });
    this.plan.addEventListener("change", () => this.#showPlan(), { signal });
    this.player.addEventListener("change", () => this.transport.refresh(), { signal });
    // nothing says that ComfyUI takes the editor out of the page, and with it the focus
    for (const name of ["focusin", "pointerdown"]) {
      document.addEventListener(name, (event) => this.#follow(event), { capture: true, signal });
    }
    // the clipboard's events come to what the page has selected, not to what has the focus
    for (const name of ["copy", "cut", "paste"]) {
      window.addEventListener(name, (event) => this.#clipboard(event), { capture: true, signal });
    }
    this.refresh();
    this.#showPlan();
  }

  destroy() {
    this.fullScreen.close();
    this.listening.abort();
    for (const part of [this.plan, this.player, this.stage, this.timeline, this.inspector]) part.destroy();
    this.root.remove();
  }

  /** Remembers where the focus is inside the editor, and forgets it as soon as one goes elsewhere. */
  #follow({ type, target }) {
    if (!this.root.contains(target)) this.focused = null;
    else if (type === "focusin" && !this.session.away) {
      this.focused = this.timeline.finder(target) ?? this.inspector.finder(target) ?? (() => target);
    }
  }

  /** Gives the focus back to what had it last, or to the editor where that is gone, unless one went elsewhere. */
  refocus() {
    const { focused } = this;
    if (focused === null) return;
    const found = focused();
    const element = this.root.contains(found) ? found : this.root;
    if (document.activeElement !== element) element.focus({ preventScroll: true });
    this.focused = focused; // what is not there yet may come
  }

  /**
   * What is wired to the node: it can be placed. Its pictures are known after a run, or from the file of a loader.
   * @param {Wire[]} inputs
   */
  setInputs(inputs) {
    if (JSON.stringify(inputs) === JSON.stringify(this.inputs)) return;
    this.inputs = inputs;
    const known = this.library.inputs;
    const same = ({ input, origin }) => (known.get(input)?.origin === origin ? known.get(input) : null);
    this.library.setInputs(inputs.map((wire) => ({ preview: null, ...wire, ...same(wire), file: wire.file })));
    this.inspector.refresh();
  }

  /** Takes what the inputs brought on the last run, with a picture of each; the canvas remembers its size. */
  showInputs(inputs) {
    const { session } = this;
    const wires = new Map(this.inputs.map(({ input, file, origin }) => [input, { file, origin }]));
    this.library.setInputs(inputs.map((found) => ({ file: null, ...found, ...wires.get(found.input) })));
    if (!session.readable || session.locked) return;
    const seen = new Map(inputs.map(({ input, preview, ...facts }) => [input, facts]));
    session.later((document) =>
      Object.entries(document.media).reduce((result, [name, { kind, input }]) => {
        const facts = seen.get(input);
        // a batch of pictures may serve as one clip or as masks: only what was taken for the same is known
        return facts?.kind === kind ? setMedia(result, name, { ...facts, input }) : result;
      }, document),
    );
  }

  /** Shows the state of the session anew. */
  refresh() {
    const { session, root } = this;
    const { document } = session;
    root.classList.toggle("skycanvas-locked", session.locked);
    root.classList.toggle("skycanvas-unreadable", !session.readable);
    this.broken.hidden = session.readable;
    this.broken.querySelector("p").textContent = said(session.error ?? "");
    this.lock.hidden = !session.locked || !session.readable;
    const blank = session.readable && !session.locked && !itemsOf(document).length && session.tool === "select";
    this.blank.hidden = !blank;
    this.toolbar.refresh();
    this.options.refresh();
    this.transport.refresh();
  }

  #showPlan() {
    const failed = this.plan.state === "failed";
    this.stage.showPlan = !failed; // the last one that compiled says nothing of this canvas
    this.root.classList.toggle("skycanvas-failing", failed);
    this.root.classList.toggle("skycanvas-computing", this.plan.state === "computing");
    this.status.refresh();
  }

  #shownFull() {
    this.toolbar.showFull(this.fullScreen.dialog !== null);
    this.root.focus({ preventScroll: true });
    this.stage.fit();
    this.inspector.refresh();
  }

  #build() {
    const { session, stage, timeline, importer, notices } = this;
    this.blank = element(
      "div",
      "blank",
      {},
      icon("upload"),
      element("strong", "", { textContent: t("editor.blank") }),
      element("p", "", { textContent: t("editor.blank.more") }),
      element(
        "div",
        "buttons",
        {},
        button("upload", t("editor.upload"), () => importer.upload(), { text: true, name: "primary" }),
        button("files", t("editor.pick"), () => importer.pick(), { text: true }),
      ),
    );
    this.broken = element(
      "div",
      "state",
      { role: "alert", hidden: true },
      icon("warning"),
      element("strong", "", { textContent: t("editor.unreadable") }),
      element("p", ""),
      element("p", "note", { textContent: t("editor.unreadable.more") }),
    );
    this.lock = element(
      "div",
      "banner",
      { role: "status", hidden: true },
      icon("lock"),
      element("span", "", { textContent: t("editor.locked") }),
    );
    const over = [this.blank, this.lock, this.options.root, this.broken, notices.root];
    const scene = element("div", "scene", {}, stage.root, ...over);
    timeline.bar.prepend(this.transport.root);
    const main = element("div", "main");
    main.append(scene, splitter(main, timeline.root), timeline.root);
    this.root.append(
      this.toolbar.root,
      element("div", "body", {}, main, this.inspector.root),
      this.status.root,
      dropArea(this.root, { session, stage, timeline, importer, notices }),
      importer.input,
    );
  }

  #inspectorActions() {
    const { session, importer } = this;
    return {
      upload: () => importer.upload(),
      pick: () => importer.pick(),
      place: (file) => importer.place(file),
      placeInput: (input) => importer.placeInput(input),
      replace: (name) => importer.replace(name),
      duplicate: () => duplicateSelected(session),
      split: () => this.timeline.split(),
      remove: () => removeSelected(session),
      key: () => this.stage.toggleKey(),
    };
  }

  #toolbarActions() {
    return {
      add: () => this.importer.showMenu(this.inputs),
      help: () => this.shortcuts.showHelp(),
      full: () => this.fullScreen.toggle(),
    };
  }

  /** Keeps the focus in the editor, so that its keys are its own. */
  #pressed(event) {
    if (event.button !== 0) return;
    this.root.classList.add("skycanvas-by-pointer");
    this.popover.pressed(event.target);
    if (!this.root.contains(document.activeElement)) this.root.focus({ preventScroll: true });
  }

  #clipboard(event) {
    const focused = document.activeElement;
    if (!this.root.contains(focused) || focused.matches("input, select, textarea")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const { session } = this;
    if (event.type !== "paste") {
      if (!session.selection.size || !session.readable) return;
      event.clipboardData.setData("text/plain", copy(session.document, session.selection));
      if (event.type === "cut") removeSelected(session);
      return;
    }
    const files = [...event.clipboardData.files];
    if (files.length) this.importer.addFiles(files);
    else pasteText(session, event.clipboardData.getData("text/plain"));
  }
}
