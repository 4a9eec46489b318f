/** The editor: toolbar, stage, timeline and inspector around one session. */
import { said, t } from "../words.js";
import { Brush } from "./brush.js";
import {
  CanvasError,
  copy,
  duplicate,
  find,
  itemsOf,
  paste,
  pruneMedia,
  remove,
  seconds,
  setMedia,
  trim,
  add,
} from "./document.js";
import { button, choices, element, follow, icon } from "./dom.js";
import { Inspector } from "./inspector.js";
import { Painter } from "./painter.js";
import { Picker } from "./picker.js";
import { cutShort, placeFile, placeInput, replaceFile } from "./place.js";
import { PlanView } from "./plan.js";
import { Player } from "./player.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";

/** The family that Mini is of, which the status line does not name. */
const MINI_FAMILY = "SkyReels-V4";
const ACCEPTED = "image/*,video/*,audio/*,.mkv,.flac,.opus,.m4a";
/** Milliseconds that a message stays which is no error. */
const READABLE = 4500;
/** Pixels of the canvas that an arrow key moves, and with shift. */
const STEPS = [1, 8];
/** Pixels that the stage and the timeline keep at least. */
const LEAST_SCENE = 96;
const LEAST_TIMELINE = 96;
/** Keys by which sliders and check boxes are set. */
const OPERATING = /^( |Arrow.*|Home|End|Page.*)$/;
const TOOLS = [
  ["select", "V"],
  ["box", "R"],
  ["brush", "B"],
  ["erase", "E"],
];

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
    this.plan = new PlanView({ session, server });
    this.player = new Player({ session, library });
    this.painter = new Painter(library);
    this.brush = new Brush({ session, library, painter: this.painter });
    this.stage = new Stage({ session, library, brush: this.brush, painter: this.painter });
    this.timeline = new Timeline({
      session,
      library,
      plan: this.plan,
      actions: { toggleKey: () => this.stage.toggleKey(), trim: (edge) => this.#trim(edge) },
    });
    this.inspector = new Inspector({ session, library, actions: this.#actions() });
    this.keys = this.#keys();
    /** @type {Wire[]} */
    this.inputs = [];
    this.dialog = null;
    /** Finds what has the focus, or had it before the editor was taken out of the page. @type {(() => ?Element) | null} */
    this.focused = null;
    /** Where it goes back to from the full screen. @type {HTMLElement | null} */
    this.home = null;
    this.#build();

    this.listening = new AbortController();
    const { signal } = this.listening;
    for (const name of ["document", "tool", "selection"])
      session.addEventListener(name, () => this.refresh(), { signal });
    session.addEventListener("playhead", () => this.#showTime(), { signal });
    session.addEventListener("message", ({ detail }) => this.notify(detail.text, detail.level), { signal });
    this.plan.addEventListener("change", () => this.#showPlan(), { signal });
    this.player.addEventListener("change", () => this.#showTime(), { signal });
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
    this.dialog?.close();
    this.listening.abort();
    for (const part of [this.plan, this.player, this.stage, this.timeline, this.inspector]) part.destroy();
    this.root.remove();
  }

  /**
   * Says something over the stage; errors stay until they are closed.
   * @param {string} text
   * @param {"info" | "warning" | "error"} [level]
   */
  notify(text, level = "info") {
    const notice = element("div", `notice ${level}`, { role: level === "error" ? "alert" : undefined });
    notice.append(
      ...(level === "info" ? [] : [icon("warning")]),
      element("span", "", { textContent: said(text) }),
      button("close", t("editor.close"), () => this.#dismiss(notice)),
    );
    for (const old of [...this.notices.children]) if (old.textContent === notice.textContent) this.#dismiss(old);
    this.notices.append(notice);
    while (this.notices.children.length > 3) this.#dismiss(this.notices.firstChild);
    if (level !== "error") setTimeout(() => this.#dismiss(notice), READABLE);
  }

  #dismiss(notice) {
    this.#keepFocus(notice);
    notice.remove();
  }

  /** Takes the focus back from an element that goes: ComfyUI would have the keys. */
  #keepFocus(element) {
    if (element.contains(document.activeElement)) this.root.focus({ preventScroll: true });
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

  /** Takes what the inputs brought on the last run of the node, with a picture of each; the canvas remembers its size. */
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
    for (const [tool, made] of this.tools) {
      made.setAttribute("aria-pressed", String(tool === session.tool));
      made.disabled = !session.editable;
    }
    for (const made of this.changing) made.disabled = !session.editable;
    this.#showOptions();
    this.#showTime();
  }

  // --- elements

  #build() {
    this.tools = TOOLS.map(([tool, shortcut]) => [
      tool,
      button(tool, t(`editor.tool.${tool}`), () => this.session.setTool(tool), {
        shortcut,
        pressed: false,
        name: `tool-${tool}`,
      }),
    ]);
    const adds = button("add", t("editor.add"), () => this.#showMenu(adds), { name: "primary" });
    this.changing = [adds];
    this.overlayButton = button("overlay", t("editor.overlay"), () => this.#toggleOverlay(), {
      shortcut: "O",
      pressed: true,
    });
    this.panelButton = button("panel", t("editor.panel"), () => this.#togglePanel(), {
      shortcut: "I",
      pressed: true,
      name: "panel-button",
    });
    this.fullButton = button("full", t("editor.full"), () => this.toggleFull(), { shortcut: "F" });
    const help = button("help", t("editor.help"), () => this.#showHelp(help), { shortcut: "?" });
    this.helpButton = help;
    const toolbar = element(
      "div",
      "toolbar",
      { role: "toolbar", "aria-label": t("editor.tools") },
      element("div", "group", {}, ...this.tools.map(([, made]) => made)),
      adds,
      element("span", "space"),
      this.overlayButton,
      this.panelButton,
      help,
      this.fullButton,
    );

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
        button("upload", t("editor.upload"), () => this.input.click(), { text: true, name: "primary" }),
        button("files", t("editor.pick"), () => this.pick(), { text: true }),
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
    this.options = element("div", "options", { role: "group", "aria-label": t("editor.options") });
    // there from the beginning: screen readers pass over live regions that come together with their text
    this.notices = element("div", "", { "aria-live": "polite" });
    this.uploads = element("div", "", { "aria-live": "polite" });
    this.drop = element(
      "div",
      "drop",
      { hidden: true },
      icon("upload"),
      element("strong", "", { textContent: t("editor.drop") }),
    );
    const scene = element(
      "div",
      "scene",
      {},
      this.stage.root,
      this.blank,
      this.lock,
      this.options,
      this.broken,
      element("div", "notices", {}, this.uploads, this.notices),
    );

    this.playButton = button("play", t("editor.play"), () => this.player.toggle(), { shortcut: "Space", name: "play" });
    this.loopButton = button("loop", t("editor.loop"), () => (this.session.loop = !this.session.loop), {
      shortcut: "L",
      pressed: true,
    });
    this.time = element("span", "time", { "aria-live": "off" });
    const transport = element(
      "div",
      "transport",
      { role: "group", "aria-label": t("editor.transport") },
      button("first", t("editor.first"), () => this.session.seek(0), { shortcut: "Home" }),
      this.playButton,
      button("last", t("editor.last"), () => this.session.seek(this.session.document.frames - 1), { shortcut: "End" }),
      this.loopButton,
      this.time,
    );

    this.timeline.bar.prepend(transport);

    this.status = element("span", "status-text");
    this.cost = element("span", "status-cost");
    this.notes = button("warning", t("editor.notes"), () => this.#showNotes(), { name: "status-notes" });
    const status = element("div", "status", { role: "status" }, this.status, this.cost, this.notes);
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

    this.root = element(
      "div",
      "editor",
      {
        tabIndex: -1,
        role: "group",
        "aria-label": t("editor.name"),
        keydown: (event) => this.#key(event),
        keyup: (event) => event.stopPropagation(),
        dragenter: (event) => this.#dragged(event),
        dragover: (event) => this.#dragged(event),
        dragleave: (event) => this.#dragLeft(event),
        drop: (event) => this.#dropped(event),
      },
      toolbar,
      element(
        "div",
        "body",
        {},
        (this.main = element("div", "main", {}, scene, this.#splitter(), this.timeline.root)),
        this.inspector.root,
      ),
      status,
      this.drop,
      this.input,
    );
    this.root.dataset.captureWheel = "true"; // else Nodes 2.0 zooms the graph although the editor has the focus
    this.root.addEventListener("pointerdown", (event) => this.#pressed(event));
  }

  /** A bar that gives the timeline more room, or less. */
  #splitter() {
    const set = (height) => {
      const most = this.main.clientHeight - LEAST_SCENE;
      const pixels = Math.max(LEAST_TIMELINE, Math.min(height, most));
      this.main.style.setProperty("--sky-timeline", `${pixels}px`);
      bar.setAttribute("aria-valuenow", pixels);
      bar.setAttribute("aria-valuemax", most);
    };
    const bar = element("div", "splitter", {
      tabIndex: 0,
      role: "separator",
      "aria-orientation": "horizontal",
      "aria-label": t("editor.splitter"),
      "aria-valuemin": LEAST_TIMELINE,
      title: t("editor.splitter"),
      focus: () => set(this.timeline.root.offsetHeight), // says how high it is now
      keydown: (event) => {
        const step = { ArrowUp: 16, ArrowDown: -16 }[event.key];
        if (!step) return;
        event.preventDefault();
        set(this.timeline.root.offsetHeight + step);
      },
      pointerdown: (event) => {
        if (event.button !== 0) return;
        event.stopPropagation();
        const zoom = this.main.getBoundingClientRect().height / this.main.clientHeight;
        const before = this.timeline.root.offsetHeight;
        const move = (now) => set(before + (event.clientY - now.clientY) / zoom);
        follow(event, { move, end: move, cancel: () => set(before) });
      },
    });
    return bar;
  }

  /** Keeps the focus in the editor, so that its keys are its own. */
  #pressed(event) {
    if (event.button !== 0) return;
    this.root.classList.add("skycanvas-by-pointer");
    if (this.popover && !this.popover.contains(event.target)) this.#closePopover();
    if (!this.root.contains(document.activeElement)) this.root.focus({ preventScroll: true });
  }

  #showTime() {
    const { document, playhead, loop } = this.session;
    const at = (playhead / document.fps).toFixed(2);
    this.time.replaceChildren(
      element("strong", "", { textContent: String(playhead) }),
      ` / ${document.frames - 1}`,
      element("span", "faint", { textContent: `${at} s` }),
    );
    this.time.title = t("editor.time", { frame: playhead, last: document.frames - 1, seconds: at });
    this.loopButton.setAttribute("aria-pressed", String(loop));
    const { playing } = this.player;
    if (this.playButton.dataset.playing !== String(playing)) {
      this.playButton.dataset.playing = String(playing);
      this.playButton.replaceChildren(icon(playing ? "pause" : "play"));
      this.playButton.setAttribute("aria-label", t(playing ? "editor.pause" : "editor.play"));
    }
  }

  /** What the tool at hand does: to make again or to keep, and how large. */
  #showOptions() {
    const { tool, editable, brushSize, document } = this.session;
    const paints = tool === "brush" || tool === "erase";
    this.options.hidden = !editable || !(paints || tool === "box");
    if (!this.options.hidden && this.options.dataset.tool === tool) return this.readOptions();
    this.#keepFocus(this.options);
    if (this.options.hidden) return;
    this.options.dataset.tool = tool;
    const values = ["generate", "keep"];
    const buttons = values.map((action) =>
      element("button", "choice", {
        type: "button",
        title: t(`inspector.action.${action}.more`),
        textContent: t(`inspector.action.${action}`),
        click: () => {
          this.stage.action = action;
          this.readOptions();
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
    this.readOptions = () => {
      actions.show(values.indexOf(this.stage.action));
      size.value = String(this.session.brushSize);
      number.textContent = `${this.session.brushSize} px`;
      here.checked = this.brush.fromHere;
    };
    this.options.replaceChildren(
      ...(tool === "erase" ? [] : [actions.root]),
      ...(paints
        ? [size, number, element("label", "check", { title: t("brush.here.more") }, here, t("brush.here"))]
        : []),
      element("span", "faint hint", { textContent: t(`editor.hint.${tool}`) }),
    );
    if (paints && brushSize > Number(size.max)) this.session.brushSize = Number(size.max);
    this.readOptions();
  }

  #showPlan() {
    const { session, plan } = this;
    const { document } = session;
    const failed = plan.state === "failed";
    this.stage.showPlan = !failed; // the last one that compiled says nothing of this canvas
    this.root.classList.toggle("skycanvas-failing", failed);
    this.root.classList.toggle("skycanvas-computing", plan.state === "computing");
    const known = plan.plan;
    this.cost.textContent = "";
    this.notes.hidden = failed || !known?.notes.length;
    if (!session.readable) this.status.textContent = t("editor.unreadable");
    else if (failed) this.status.textContent = said(plan.error);
    else if (!known) this.status.textContent = "";
    else {
      const size = { width: document.width, height: document.height, seconds: rounded(seconds(document)) };
      const pixels = known.given_pixels.reduce((sum, count) => sum + count, 0);
      const picture = percent(pixels / (document.width * document.height * document.frames));
      const sound = percent(known.audio.given.reduce((sum, bit) => sum + bit, 0) / Math.max(known.audio.latents, 1));
      const key = pixels || sound ? (picture === 100 && sound === 100 ? "all" : "some") : "none";
      this.status.textContent = t(`editor.status.${key}`, { ...size, picture, sound });
      this.cost.textContent = costText(known);
      const warnings = known.notes.filter((note) => note.level === "warning").length;
      this.notes.classList.toggle("skycanvas-warning", warnings > 0);
      this.notes.lastChild.nodeName === "SPAN" && this.notes.lastChild.remove();
      this.notes.append(element("span", "", { textContent: String(known.notes.length) }));
    }
    this.status.title = said(failed ? plan.error : (known?.report ?? ""));
  }

  #showNotes() {
    const { notes } = this.plan.plan;
    const list = notes.map(({ level, text }) =>
      element(
        "p",
        `note-line ${level}`,
        {},
        icon(level === "warning" ? "warning" : "check"),
        element("span", "", { textContent: said(text) }),
      ),
    );
    this.#showPopover(t("editor.notes"), ...list);
  }

  #showHelp() {
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
    this.#showPopover(t("editor.help"), element("div", "key-list", {}, ...rows));
  }

  #showMenu() {
    const entry = (picture, label, click) =>
      button(
        picture,
        label,
        () => {
          this.#closePopover();
          click();
        },
        { text: true, name: "menu-entry" },
      );
    this.#showPopover(
      t("editor.add"),
      entry("upload", t("editor.upload"), () => this.input.click()),
      entry("files", t("editor.pick"), () => this.pick()),
      ...this.inputs.map(({ input, kind }) => entry(kind, t("editor.input", { input }), () => this.placeInput(input))),
      element("hr", "line"),
      entry("box", t("editor.add.box"), () => this.session.setTool("box")),
      entry("brush", t("editor.add.mask"), () => this.session.setTool("brush")),
      entry("sound", t("editor.add.span"), () => this.#addSpan()),
    );
  }

  #showPopover(title, ...children) {
    const was = this.popover?.dataset.title;
    this.#closePopover();
    if (was === title) return;
    this.popover = element(
      "div",
      "popover",
      { role: "dialog", "aria-label": title, tabIndex: -1 },
      element(
        "header",
        "",
        {},
        element("strong", "", { textContent: title }),
        button("close", t("editor.close"), () => this.#closePopover()),
      ),
      ...children,
    );
    this.popover.dataset.title = title;
    this.popover.classList.toggle("skycanvas-left", title !== t("editor.help") && title !== t("editor.notes"));
    this.opener = document.activeElement;
    this.root.append(this.popover);
    this.popover.focus({ preventScroll: true });
  }

  /** @returns {boolean} whether there was one */
  #closePopover() {
    const { popover } = this;
    if (!popover) return false;
    const focused = popover.contains(document.activeElement);
    popover.remove();
    this.popover = null;
    if (focused) (this.root.contains(this.opener) ? this.opener : this.root).focus({ preventScroll: true });
    return true;
  }

  #toggleOverlay() {
    this.stage.overlay = !this.stage.overlay;
    this.overlayButton.setAttribute("aria-pressed", String(this.stage.overlay));
    this.stage.refresh();
  }

  #togglePanel() {
    this.#keepFocus(this.inspector.root);
    const closed = this.root.classList.toggle("skycanvas-no-panel");
    this.panelButton.setAttribute("aria-pressed", String(!closed));
    this.inspector.refresh();
  }

  /** Fills the screen, and back into the node. */
  toggleFull() {
    if (this.dialog) return this.dialog.close();
    this.home = this.root.parentElement;
    const dialog = element("dialog", "full", { "aria-label": t("editor.name") }, this.root);
    document.body.append(dialog);
    // Escape belongs to the editor first: it ends a gesture, then lets go of the selection
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      this.dialog = null;
      this.home.append(this.root);
      dialog.remove();
      this.#shownFull();
    });
    dialog.addEventListener("pointerdown", (event) => event.stopPropagation());
    dialog.showModal();
    this.dialog = dialog;
    this.#shownFull();
  }

  #shownFull() {
    this.fullButton.replaceChildren(icon(this.dialog ? "small" : "full"));
    this.root.focus({ preventScroll: true });
    this.stage.fit();
    this.inspector.refresh();
  }

  // --- media

  /**
   * Uploads files and puts them on the canvas at the playhead, one after the other until one is cancelled.
   * @param {File[]} files
   * @param {{frame?: number, point?: {x: number, y: number} | null}} [where]
   */
  async addFiles(files, { frame = this.session.playhead, point = null } = {}) {
    if (this.session.refuses()) return;
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.listening.signal]);
    for (const file of files) {
      const label = t("editor.uploading", { name: file.name });
      const bar = element("progress", "progress", { max: 1, value: 0, "aria-label": label });
      const cancel = button("close", t("editor.cancel"), () => stop.abort(), { text: true });
      const notice = element("div", "notice", {}, element("span", "", { textContent: label }), bar, cancel);
      this.uploads.append(notice);
      try {
        const name = await this.library.upload(file, { progress: (share) => (bar.value = share), signal });
        await this.place(name, { frame, point, signal });
      } catch (error) {
        if (signal.aborted) return this.notify(t("editor.cancelled", { name: file.name }));
        this.notify(t("editor.not_added", { name: file.name, error: said(error.message) }), "error");
      } finally {
        this.#dismiss(notice);
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
    if (short !== null) this.notify(t("editor.cut_short", { shown: rounded(short), length: rounded(length) }));
  }

  /**
   * Puts something on the canvas and selects it; a gesture that is under way goes before.
   * @param {(document: import("./document.js").CanvasDocument) =>
   *   {document: import("./document.js").CanvasDocument, ids: string[]}} place
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

  /** Shows the input folder. chosen: what to do with a file; places it, if left out. */
  pick(chosen = (file) => this.place(file)) {
    const picker = new Picker({
      library: this.library,
      choose: async (file) => {
        this.#closePopover();
        try {
          await chosen(file);
        } catch (error) {
          this.notify(t("editor.not_added", { name: file, error: said(error.message) }), "error");
        }
      },
    });
    this.#showPopover(t("editor.pick"), picker.root);
    picker.search.focus({ preventScroll: true });
  }

  /** Puts another file in the place of one that is gone. */
  #replace(name) {
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

  #addSpan() {
    const { document, playhead } = this.session;
    const time = Math.round((playhead / document.fps) * 1e6) / 1e6;
    const duration = Math.round((seconds(document) - time) * 1e6) / 1e6;
    this.session.edit((before) => add(before, "regions", { kind: "span", action: "generate", time, duration }));
    this.session.select([this.session.document.regions.at(-1)?.id]);
  }

  #actions() {
    return {
      upload: () => this.input.click(),
      pick: () => this.pick(),
      place: (file) => this.place(file),
      placeInput: (input) => this.placeInput(input),
      replace: (name) => this.#replace(name),
      duplicate: () => this.#duplicate(),
      split: () => this.timeline.split(),
      remove: () => this.#remove(),
      key: () => this.stage.toggleKey(),
    };
  }

  #duplicate() {
    const { session } = this;
    const before = new Set(itemsOf(session.document).map((item) => item.id));
    if (!session.selection.size || !session.edit((document) => duplicate(document, session.selection))) return;
    session.select(
      itemsOf(session.document)
        .map((item) => item.id)
        .filter((id) => !before.has(id)),
    );
  }

  /** Trims what is selected at the playhead, whose frame is the last that stays. @param {"start" | "end"} edge */
  #trim(edge) {
    const { session } = this;
    const frame = session.playhead + (edge === "end" ? 1 : 0);
    const ids = [...session.selection];
    session.edit((document) => ids.reduce((result, id) => trim(result, id, edge, frame), document));
  }

  #remove() {
    const ids = [...this.session.selection];
    if (ids.length) this.session.edit((document) => pruneMedia(remove(document, ids)));
  }

  // --- drop and clipboard

  #dragged(event) {
    event.preventDefault();
    event.stopPropagation();
    this.drop.hidden = !this.session.editable;
    event.dataTransfer.dropEffect = this.session.editable ? "copy" : "none";
  }

  #dragLeft(event) {
    event.stopPropagation();
    if (!this.root.contains(event.relatedTarget)) this.drop.hidden = true;
  }

  #dropped(event) {
    event.preventDefault();
    event.stopPropagation();
    this.drop.hidden = true;
    const files = [...event.dataTransfer.files];
    if (!files.length) return this.notify(t("editor.no_files"), "warning");
    const onStage = this.stage.root.contains(event.target);
    const onTimeline = this.timeline.root.contains(event.target);
    const frame = onTimeline ? Math.max(0, this.timeline.frameAt(event)) : this.session.playhead;
    this.addFiles(files, { frame, point: onStage ? this.stage.pointOf(event) : null });
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
      if (event.type === "cut") this.#remove();
      return;
    }
    const files = [...event.clipboardData.files];
    if (files.length) return this.addFiles(files);
    const text = event.clipboardData.getData("text/plain");
    if (!text.trim()) return;
    const before = new Set(itemsOf(session.document).map((item) => item.id));
    session.edit((document) => {
      try {
        return paste(document, text, session.playhead);
      } catch (error) {
        if (!(error instanceof CanvasError)) throw error;
        throw new CanvasError(t("editor.not_pasted", { error: said(error.message) }));
      }
    });
    session.select(
      itemsOf(session.document)
        .map((item) => item.id)
        .filter((id) => !before.has(id)),
    );
  }

  // --- keys

  /** What each key does; those with a label are listed by the help button. */
  #keys() {
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
      { keys: ["["], shown: "[   ]", label: "editor.key.trim", run: () => this.#trim("start") },
      { keys: ["]"], run: () => this.#trim("end") },
      { keys: ["s"], shown: "S", label: "editor.key.split", run: () => this.timeline.split() },
      { keys: ["k"], shown: "K", label: "editor.key.key", run: () => this.stage.toggleKey() },
      { keys: ["Delete", "Backspace"], shown: "Delete", label: "editor.key.remove", run: () => this.#remove() },
      { keys: ["Ctrl+d"], shown: "Ctrl D", label: "editor.duplicate", run: () => this.#duplicate() },
      { keys: [], shown: "Ctrl C   X   V", label: "editor.key.clipboard" },
      { keys: [], shown: "Ctrl Z   Y", label: "editor.key.undo" },
      {
        keys: ["Ctrl+a"],
        shown: "Ctrl A",
        label: "editor.key.all",
        run: () => session.select(itemsOf(session.document).map((item) => item.id)),
      },
      { keys: ["o"], shown: "O", label: "editor.overlay", run: () => this.#toggleOverlay() },
      { keys: ["n"], shown: "N", label: "editor.key.snap", run: () => (session.snapping = !session.snapping) },
      { keys: ["l"], shown: "L", label: "editor.loop", run: () => (session.loop = !session.loop) },
      { keys: ["i"], shown: "I", label: "editor.panel", run: () => this.#togglePanel() },
      { keys: ["0"], shown: "0", label: "editor.key.fit", run: () => this.stage.fit() },
      { keys: [], shown: "Ctrl + wheel", label: "editor.key.zoom" },
      { keys: [], shown: "Shift   Alt   Ctrl", label: "editor.key.drag" },
      { keys: ["f"], shown: "F", label: "editor.full", run: () => this.toggleFull() },
      { keys: ["Escape"], shown: "Escape", label: "editor.key.escape", run: () => this.#escape() },
      { keys: ["?"], shown: "?", label: "editor.help", run: () => this.#showHelp() },
    ];
  }

  #escape() {
    const { session } = this;
    if (this.stage.cancel() || this.timeline.cancel() || this.#closePopover()) return;
    if (session.tool !== "select") session.setTool("select");
    else if (session.selection.size) session.select([]);
    else this.dialog?.close();
  }

  /** Runs the key's action; no key but those with Ctrl that are ComfyUI's own goes on to ComfyUI. */
  #key(event) {
    this.root.classList.remove("skycanvas-by-pointer");
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

function rounded(value) {
  return Math.round(value * 100) / 100;
}

/** Whole percents; only nothing is 0, and only all is 100. */
function percent(share) {
  if (share <= 0 || share >= 1) return Math.round(share * 100);
  return Math.min(Math.max(Math.round(share * 100), 1), 99);
}

/** Family, tokens, memory and time of a plan, as far as they are known. @param {import("./plan.js").Plan} plan */
function costText({ family, tokens, bytes, seconds: duration }) {
  const parts = family === MINI_FAMILY ? [] : [family];
  parts.push(t("editor.tokens", { count: tokens.total.toLocaleString() }));
  if (bytes) parts.push(bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : `${Math.ceil(bytes / 2 ** 20)} MB`);
  if (duration)
    parts.push(
      duration < 90
        ? t("editor.about_seconds", { seconds: Math.max(1, Math.round(duration)) })
        : t("editor.about_minutes", { minutes: Math.round(duration / 60) }),
    );
  return parts.join(" · ");
}
