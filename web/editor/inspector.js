/** The inspector: what is selected, or the canvas itself, in numbers; and the media. */
import { said, t } from "../words.js";
import { find, freeTag, kindOf, listOf, seconds } from "./document.js";
import { ArrowKeys, button, choices, element, follow, icon } from "./dom.js";
import { pruneMedia, setCanvas, setMedia } from "./edit_canvas.js";
import { reorder, setReference, update } from "./edit_items.js";
import { removeKey, resize } from "./edit_space.js";
import { moveInTime, trim } from "./edit_time.js";
import { nameOf } from "./painter.js";
import { isUsed } from "./place.js";
import { boxAt, MAX_SIDE } from "./schema.js";

/** Sizes that models are made for: width, height, frames, frames per second. */
const PRESETS = [
  ["mini", 64, 64, 17, 16],
  ["mini_long", 64, 64, 33, 16],
  ["mini_large", 128, 128, 33, 32],
  ["wide_480", 832, 480, 81, 16],
  ["tall_480", 480, 832, 81, 16],
  ["wide_720", 1280, 720, 121, 24],
  ["wide_1080", 1920, 1088, 121, 24],
];
const THUMBNAIL = 96;
const FIELDS = "input, select, button";

export class Inspector {
  /**
   * @param {{session: import("./session.js").Session, library: import("./media.js").MediaLibrary,
   *   actions: Record<string, (...values: unknown[]) => void>}} options
   *   actions: what the editor's buttons and keys do as well
   */
  constructor({ session, library, actions }) {
    this.session = session;
    this.library = library;
    this.actions = actions;
    this.arrows = new ArrowKeys(session);
    this.root = element("aside", "inspector", { "aria-label": t("inspector.name") });
    /** Shows a field's value anew. @type {(() => void)[]} */
    this.readers = [];
    this.signature = "";
    this.listening = new AbortController();
    const { signal } = this.listening;
    for (const name of ["document", "selection", "playhead", "plan"]) {
      session.addEventListener(name, () => this.refresh(), { signal });
    }
    library.addEventListener("change", () => this.refresh(), { signal });
    this.refresh();
  }

  destroy() {
    this.listening.abort();
    cancelAnimationFrame(this.waiting);
  }

  /** Shows what there is, on the next frame of the screen. */
  refresh() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      if (this.root.offsetParent !== null) this.#show();
    });
  }

  #show() {
    const { document, selection, readable, editable, grid } = this.session;
    if (!readable) {
      this.signature = "";
      this.readers = [];
      return this.#rebuild();
    }
    const items = [...selection].map((id) => find(document, id));
    const look = (name) => this.#stateOf(document.media[name]);
    const signature = JSON.stringify([
      items.map((item) => [item.id, kindOf(item), item.media, item.alpha, item.path?.map((key) => key.at)]),
      items.length ? null : Object.keys(document.media).map((name) => [name, look(name), isUsed(document, name)]),
      items.length ? items.map((item) => item.media && look(item.media)) : document.references,
      [...this.library.inputs.keys()],
      grid,
      editable,
    ]);
    if (signature !== this.signature) {
      this.signature = signature;
      this.readers = [];
      this.#rebuild(...(items.length ? this.#selected(items) : this.#canvas(document)));
    }
    for (const read of this.readers) read();
  }

  /**
   * How to find a field, also when it is made anew; null where the element is none.
   * @param {Element} element
   * @returns {(() => ?Element) | null}
   */
  finder(element) {
    if (!this.root.contains(element)) return null;
    const name = nameOfField(element);
    const alike = () => [...this.root.querySelectorAll(FIELDS)].filter((field) => nameOfField(field) === name);
    const index = alike().indexOf(element);
    return () => alike().slice(0, index + 1).at(-1) ?? null;
  }

  /** Shows other elements; the focus goes to the one that does the same, else to the editor, so that its keys go on. */
  #rebuild(...children) {
    const { activeElement: focused } = globalThis.document;
    const find = this.finder(focused);
    this.root.replaceChildren(...children);
    for (const field of this.root.querySelectorAll(FIELDS)) field.disabled = !this.session.editable;
    if (find === null) return;
    const same = find();
    if (same && !same.disabled) same.focus({ preventScroll: true });
    else this.#leave();
  }

  /** Gives the focus to the editor, whose keys go on: those of the page are ComfyUI's. */
  #leave() {
    this.root.closest("[tabindex]").focus({ preventScroll: true });
  }

  // --- the canvas

  #canvas(document) {
    const { grid } = this.session;
    const set = (field) => (document, value) => setCanvas(document, { [field]: value }, grid);
    const get = (field) => () => this.session.document[field];
    const presets = element("select", "field-input", {
      "aria-label": t("inspector.preset"),
      change: ({ target }) => {
        const preset = PRESETS.find(([name]) => name === target.value);
        if (!preset) return;
        const [, width, height, frames, fps] = preset;
        this.session.edit((before) => setCanvas(before, { width, height, frames, fps }));
      },
    });
    presets.append(
      element("option", "", { value: "", textContent: t("inspector.preset.own") }),
      ...PRESETS.map(([name, width, height, frames, fps]) =>
        element("option", "", {
          value: name,
          textContent: `${t(`inspector.preset.${name}`)} · ${width}×${height} · ${frames} @ ${fps}`,
        }),
      ),
    );
    this.readers.push(() => {
      const { width, height, frames, fps } = this.session.document;
      const same = ([, ...size]) => size.every((value, i) => value === [width, height, frames, fps][i]);
      presets.value = PRESETS.find(same)?.[0] ?? "";
    });
    const length = element("span", "note");
    this.readers.push(() => {
      length.textContent = t("inspector.length", { seconds: rounded(seconds(this.session.document)) });
    });
    return [
      section(
        t("inspector.canvas"),
        element("div", "wide", {}, presets),
        this.#number("width", t("inspector.width"), get("width"), set("width"), { least: 1, most: MAX_SIDE, step: 16 }),
        this.#number("height", t("inspector.height"), get("height"), set("height"), {
          least: 1,
          most: MAX_SIDE,
          step: 16,
        }),
        this.#number("frames", t("inspector.frames"), get("frames"), set("frames"), { least: 1, step: grid.temporal }),
        this.#number("fps", t("inspector.fps"), get("fps"), set("fps"), {
          least: 0.1,
          most: 1000,
          step: 1,
          whole: false,
        }),
        length,
      ),
      section(t("inspector.media"), ...this.#media(document)),
      ...(document.references.length ? [section(t("inspector.references"), ...this.#references(document))] : []),
    ];
  }

  #media(document) {
    const rows = Object.keys(document.media)
      // the alpha channel and the sound of a file stand for themselves on the canvas only
      .filter((name) => !document.media[name].file || !name.startsWith(`${document.media[name].file} `))
      .map((name) => this.#mediaRow(name));
    const inputs = [...this.library.inputs.values()].filter(({ input }) =>
      Object.values(document.media).every((media) => media.input !== input),
    );
    return [
      element(
        "div",
        "buttons",
        {},
        button("upload", t("editor.upload"), () => this.actions.upload(), { text: true }),
        button("files", t("editor.pick"), () => this.actions.pick(), { text: true }),
      ),
      ...rows,
      ...inputs.map(({ input }) => {
        const place = button("add", t("inspector.place"), () => this.actions.placeInput(input));
        const name = element(
          "div",
          "media-name",
          {},
          element("strong", "", { textContent: input }),
          t("inspector.wired"),
        );
        return element("div", "media", {}, element("span", "media-picture", {}, icon("wire")), name, place);
      }),
      ...(rows.length || inputs.length ? [] : [element("p", "note", { textContent: t("inspector.no_media") })]),
    ];
  }

  #mediaRow(name) {
    const { document } = this.session;
    const media = document.media[name];
    const { state, error } = this.#stateOf(media);
    const text = element(
      "div",
      "media-name",
      { title: media.file ?? media.input },
      element("strong", "", { textContent: nameOf(media) }),
      state === "failed" ? "" : this.#facts(media),
    );
    const row = element("div", `media ${state === "failed" ? "failed" : ""}`, {}, this.#thumbnail(media), text);
    if (state === "failed") {
      text.append(said(error));
      row.append(button("files", t("inspector.replace"), () => this.actions.replace(name)));
      return row;
    }
    const tagged = document.references.some((reference) => reference.media === name);
    if (media.kind !== "mask") {
      row.append(
        button("reference", t(tagged ? "inspector.unreference" : "inspector.reference"), () => this.#refer(name), {
          pressed: tagged,
        }),
      );
    }
    if (media.file !== null && media.kind !== "mask") {
      row.append(button("add", t("inspector.place"), () => this.actions.place(media.file)));
    }
    if (!isUsed(document, name)) {
      row.append(button("remove", t("inspector.forget"), () => this.session.edit(pruneMedia)));
    }
    return row;
  }

  #refer(name) {
    this.session.edit((document) => {
      const found = document.references.find((reference) => reference.media === name);
      if (found) return setReference(document, found.tag, null);
      return setReference(document, freeTag(document, document.media[name].kind), { media: name });
    });
  }

  #references(document) {
    return document.references.map(({ tag, media }) => {
      const input = element("input", "field-input", {
        value: tag,
        spellcheck: false,
        "data-field": `tag ${tag}`,
        "aria-label": t("inspector.tag"),
        change: () => {
          if (!this.session.edit((before) => setReference(before, tag, { tag: input.value }))) input.value = tag;
        },
      });
      const drop = button("close", t("inspector.unreference"), () =>
        this.session.edit((before) => pruneMedia(setReference(before, tag, null))),
      );
      const name = element("div", "media-name", {}, input, nameOf(document.media[media]));
      return element("div", "media", {}, this.#thumbnail(document.media[media]), name, drop);
    });
  }

  // --- the selection

  #selected(items) {
    const buttons = element(
      "div",
      "buttons",
      {},
      button("duplicate", t("editor.duplicate"), () => this.actions.duplicate(), { shortcut: "Ctrl+D" }),
      button("split", t("editor.split"), () => this.actions.split(), { shortcut: "S" }),
      button("up", t("inspector.forward"), () => this.#reorder(1)),
      button("down", t("inspector.backward"), () => this.#reorder(-1)),
      button("remove", t("editor.remove"), () => this.actions.remove(), { shortcut: "Delete", name: "danger" }),
    );
    if (items.length > 1) return [section(t("inspector.several", { count: items.length }), buttons)];
    const [item] = items;
    const kind = kindOf(item);
    const { document } = this.session;
    const media = item.media ? document.media[item.media] : null;
    const parts = [
      section(t(`inspector.kind.${media && kind !== "mask" ? media.kind : kind}`), ...this.#head(item, media), buttons),
    ];
    if (kind === "placement") parts.push(this.#look(item));
    if ("action" in item) parts.push(this.#action(item, kind));
    if ("box" in item) parts.push(this.#place(item), this.#time(item), this.#path(item));
    else parts.push(this.#seconds(item));
    return parts;
  }

  /** The item as it is now. */
  #now(id) {
    return find(this.session.document, id);
  }

  #reorder(step) {
    const [id] = this.session.selection;
    this.session.edit((document) => {
      const item = find(document, id);
      return reorder(document, id, document[listOf(item)].indexOf(item) + step);
    });
  }

  #head(item, media) {
    if (!media) return [];
    const { state, error } = this.#stateOf(media);
    const name = element(
      "div",
      "media-name",
      { title: media.file ?? media.input },
      element("strong", "", { textContent: nameOf(media) }),
    );
    name.append(state === "failed" ? said(error) : this.#facts(media));
    const row = element("div", `media ${state === "failed" ? "failed" : ""}`, {}, this.#thumbnail(media), name);
    if (state === "failed") row.append(button("files", t("inspector.replace"), () => this.actions.replace(item.media)));
    if (media.input === null || !["image", "clip"].includes(media.kind)) return [row];
    // only a run tells whether one picture comes through a wire or many
    const { media: key } = item;
    const set = (kind) => this.session.edit((document) => setMedia(document, key, { kind, input: media.input }));
    const kinds = this.#choice(
      "wire",
      t("inspector.wired"),
      ["image", "clip"],
      () => this.session.document.media[key]?.kind,
      set,
    );
    return [row, kinds];
  }

  #look(item) {
    const { id } = item;
    const set = (field) => (value) => this.session.edit((document) => update(document, id, { [field]: value }));
    const masks = Object.entries(this.session.document.media).filter(([, media]) => media.kind === "mask");
    return section(
      t("inspector.look"),
      this.#choice("role", t("inspector.role"), ["keep", "guide"], () => this.#now(id)?.role, set("role")),
      this.#choice("fit", t("inspector.fit"), ["cover", "contain", "stretch"], () => this.#now(id)?.fit, set("fit")),
      ...(masks.length
        ? [
            this.#list(
              "alpha",
              t("inspector.alpha"),
              [["", t("inspector.no_alpha")], ...masks.map(([name, media]) => [name, nameOf(media)])],
              () => this.#now(id)?.alpha ?? "",
              (value) => set("alpha")(value || null),
            ),
          ]
        : []),
    );
  }

  #action(item, kind) {
    const { id } = item;
    const set = (value) => this.session.edit((document) => update(document, id, { action: value }));
    const text = kind === "span" ? "inspector.action.sound" : "inspector.action.picture";
    return section(
      t(text),
      this.#choice("action", t(text), ["generate", "keep"], () => this.#now(id)?.action, set, true),
    );
  }

  #place(item) {
    const { id } = item;
    const box = () => {
      const now = this.#now(id);
      return now && boxAt(now, this.session.playhead);
    };
    const set = (field) => (document, value) => {
      const { playhead } = this.session;
      return resize(document, id, { ...boxAt(find(document, id), playhead), [field]: value }, playhead);
    };
    const sides = kindOf(item) === "mask" ? ["x", "y"] : ["x", "y", "width", "height"];
    const fields = sides.map((field) =>
      this.#number(field, t(`inspector.${field}`), () => box()?.[field], set(field), {
        least: field.length > 1 ? 1 : -MAX_SIDE,
        most: MAX_SIDE,
      }),
    );
    const whole = button(
      "fit",
      t("inspector.whole"),
      () => {
        const { width, height } = this.session.document;
        this.session.edit((document) => resize(document, id, { x: 0, y: 0, width, height }, this.session.playhead));
      },
      { text: true },
    );
    return section(
      t("inspector.place_size"),
      ...fields,
      ...(kindOf(item) === "mask" ? [] : [element("div", "buttons", {}, whole)]),
    );
  }

  #time(item) {
    const { id } = item;
    const clip = this.session.document.media[item.media]?.kind === "clip";
    return section(
      t("inspector.time"),
      this.#number(
        "frame",
        t("inspector.first"),
        () => this.#now(id)?.frame,
        (document, value) => moveInTime(document, [id], value - find(document, id).frame),
      ),
      this.#number(
        "frames",
        t("inspector.frames"),
        () => this.#now(id)?.frames,
        (document, value) => trim(document, id, "end", find(document, id).frame + value),
        { least: 1 },
      ),
      ...(clip
        ? [
            this.#number(
              "start",
              t("inspector.start"),
              () => this.#now(id)?.start,
              (document, value) => update(document, id, { start: value }),
              { whole: false, step: 0.1 },
            ),
          ]
        : []),
    );
  }

  #seconds(item) {
    const { id } = item;
    const { fps } = this.session.document;
    const field = (name, set) =>
      this.#number(name, t(`inspector.seconds.${name}`), () => this.#now(id)?.[name], set, { whole: false, step: 0.1 });
    return section(
      t("inspector.time"),
      field("time", (document, value) => moveInTime(document, [id], { seconds: value - find(document, id).time })),
      field("duration", (document, value) => trim(document, id, "end", (find(document, id).time + value) * fps)),
      ...("start" in item ? [field("start", (document, value) => update(document, id, { start: value }))] : []),
    );
  }

  #path(item) {
    const { id } = item;
    const rows = item.path.map(({ at }) =>
      element(
        "div",
        "key-line",
        {},
        element("button", "link", {
          type: "button",
          textContent: t("inspector.key", { frame: item.frame + at }),
          click: () => this.session.seek(this.#now(id).frame + at),
        }),
        button("close", t("inspector.remove_key"), () =>
          this.session.edit((document) => removeKey(document, id, find(document, id).frame + at)),
        ),
      ),
    );
    const set = button("key", t("inspector.set_key"), () => this.actions.key(), { text: true, shortcut: "K" });
    const hint = element("p", "note", { textContent: t(item.path.length ? "inspector.moves" : "inspector.still") });
    return section(t("inspector.path"), hint, ...rows, element("div", "buttons", {}, set));
  }

  // --- media

  #stateOf(media) {
    if (media.file === null) return { state: "ready", error: null };
    const { state, error } = this.library.facts(media.file);
    return { state, error };
  }

  #facts(media) {
    const known = this.library.known(media);
    const length = this.library.seconds(media);
    const parts = [t(`inspector.kind.${media.kind}`)];
    if (known.width) parts.push(`${known.width}×${known.height}`);
    if (length) parts.push(t("inspector.length", { seconds: rounded(length) }));
    return parts.join(" · ");
  }

  #thumbnail(media) {
    const holder = element("span", "media-picture", {}, icon(media.kind));
    if (media.kind === "sound") return holder;
    const show = () => {
      const { state, value } = this.library.picture(media, { side: THUMBNAIL });
      if (state !== "ready" || holder.dataset.shown) return;
      holder.dataset.shown = "true";
      const canvas = element("canvas", "", { width: value.width, height: value.height });
      canvas.getContext("2d").drawImage(value, 0, 0);
      holder.replaceChildren(canvas);
    };
    this.readers.push(show);
    return holder;
  }

  // --- fields

  /**
   * A number that one types, or pulls by its name.
   * @param {(document: object, value: number) => object} change the document with that value
   */
  #number(field, name, read, change, { least = 0, most = undefined, step = 1, whole = true } = {}) {
    let typed = false;
    const input = element("input", "field-input", {
      type: "number",
      min: least,
      max: most,
      step: whole ? 1 : "any",
      "data-field": field,
      input: () => (typed = true),
      change: () => {
        const value = input.valueAsNumber;
        if (typed && Number.isFinite(value))
          this.session.edit((document) => change(document, whole ? Math.round(value) : value));
        show();
      },
      keydown: (event) => {
        if (event.key === "Escape") show();
        if (event.key === "Escape" || event.key === "Enter") this.#leave();
        if (event.key === "ArrowUp" || event.key === "ArrowDown") {
          event.preventDefault();
          const by = (event.key === "ArrowUp" ? step : -step) * (event.shiftKey ? 8 : 1);
          const value = clamped(read() + by);
          this.arrows.press((document) => change(document, value));
          show();
        }
      },
    });
    const clamped = (value) => Math.min(Math.max(whole ? Math.round(value) : rounded(value), least), most ?? Infinity);
    const show = () => {
      typed = false;
      const value = read();
      if (value !== undefined && input.value !== String(rounded(value))) input.value = String(rounded(value));
    };
    const pull = (event) => {
      if (event.button !== 0 || !this.session.editable) return;
      event.stopPropagation();
      const from = read();
      let begun = false;
      follow(event, {
        move: (now) => {
          const steps = Math.trunc((now.clientX - event.clientX) / 3);
          if (!begun && !steps) return;
          begun ||= this.session.begin();
          this.session.preview((document) => change(document, clamped(from + steps * step)));
        },
        end: () => begun && this.session.commit(),
        cancel: () => begun && this.session.cancel(),
      });
    };
    this.readers.push(() => typed || show());
    const label = element("label", "field-name pull", {
      textContent: name,
      title: t("inspector.pull"),
      pointerdown: pull,
    });
    const box = element("div", "field", {}, label, input);
    input.setAttribute("aria-label", name);
    return box;
  }

  /** Buttons of which one is pressed. */
  #choice(field, name, values, read, set, bare = false) {
    const buttons = values.map((value) =>
      element("button", "choice", {
        type: "button",
        "data-field": `${field} ${value}`,
        title: t(`inspector.${field}.${value}.more`),
        textContent: t(`inspector.${field}.${value}`),
        click: () => set(value),
      }),
    );
    const group = choices(name, buttons);
    this.readers.push(() => group.show(values.indexOf(read())));
    return element(
      "div",
      "field wide",
      {},
      ...(bare ? [] : [element("span", "field-name", { textContent: name })]),
      group.root,
    );
  }

  #list(field, name, entries, read, set) {
    const input = element("select", "field-input", {
      "data-field": field,
      "aria-label": name,
      change: () => set(input.value),
    });
    input.append(...entries.map(([value, text]) => element("option", "", { value, textContent: text })));
    this.readers.push(() => (input.value = read()));
    return element("div", "field wide", {}, element("span", "field-name", { textContent: name }), input);
  }
}

/** By what a field is known again after it was made anew. */
function nameOfField(field) {
  return field.dataset.field ?? field.getAttribute("aria-label") ?? field.textContent;
}

function section(title, ...children) {
  return element("section", "section", {}, element("h3", "", { textContent: title }), ...children);
}

/** A number as one reads it: no dust of binary fractions. */
function rounded(value) {
  return Math.round(value * 1000) / 1000;
}
