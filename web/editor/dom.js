/** Elements and icons of the editor. */

const SVG = "http://www.w3.org/2000/svg";

/** Outlines in a square of 16: one path each, drawn with a round pen of 1.4 in the colour of the text. */
const ICONS = {
  select: "M4 2.5v10.2l2.7-2.6 1.8 3.9 1.9-.9-1.8-3.8h3.6z",
  box: "M3 5V3h2M7.2 3h1.6M11 3h2v2M13 7.2v1.6M13 11v2h-2M8.8 13H7.2M5 13H3v-2M3 8.8V7.2",
  brush:
    "M13.6 2.4 7.4 8.6M6.6 8.4l1.9 1.9c.6 2-1.2 3.6-3.2 3.4-1.4-.1-2.5.2-3.1-.4.9-.4 1-1 1.1-2 .1-1.6 1.5-3.1 3.3-2.9z",
  erase: "M6 13.3h7.5M9.3 3.2l3.5 3.5-6.4 6.6H4.6L2.5 11.2a.8.8 0 0 1 0-1.1zM6 6.6l3.5 3.5",
  add: "M8 3v10M3 8h10",
  files: "M2.5 12.5v-9h4l1.5 2h5.5v7zM8 7.5v3.5M6.2 9.2h3.6",
  upload: "M8 10.5V3M5 5.7 8 2.7l3 3M2.7 10.5v2.8h10.6v-2.8",
  play: "M4.8 2.8v10.4L13 8z",
  pause: "M5.2 3v10M10.8 3v10",
  first: "M3.5 3v10M12.5 3.2v9.6L5.8 8z",
  last: "M12.5 3v10M3.5 3.2v9.6L10.2 8z",
  loop: "M3 8V6.5a2 2 0 0 1 2-2h7M10 2.5l2 2-2 2M13 8v1.5a2 2 0 0 1-2 2H4M6 13.5l-2-2 2-2",
  overlay: "M2.5 2.5h11v11h-11zM2.5 7l4.5-4.5M2.5 11.5l9-9M5 13.5 13.5 5M9.5 13.5l4-4",
  snap: "M3.5 2.5v5.5a4.5 4.5 0 0 0 9 0V2.5h-3V8a1.5 1.5 0 0 1-3 0V2.5zM3.5 5.2h3M9.5 5.2h3",
  panel: "M2.5 3h11v10h-11zM9.8 3v10M11.3 5.5h1M11.3 7.7h1",
  full: "M6 2.5H2.5V6M10 2.5h3.5V6M6 13.5H2.5V10M10 13.5h3.5V10",
  small: "M2.5 6H6V2.5M13.5 6H10V2.5M2.5 10H6v3.5M13.5 10H10v3.5",
  help: "M5.8 6a2.2 2.2 0 1 1 3.3 1.9c-.8.5-1.1.9-1.1 1.8M8 12.2v.1",
  close: "M4 4l8 8M12 4l-8 8",
  remove: "M3 4.5h10M6.3 4.3V2.7h3.4v1.6M4.3 4.5l.6 8.8h6.2l.6-8.8M6.8 7v4M9.2 7v4",
  duplicate: "M6 6h7.3v7.3H6zM3.7 10H2.7V2.7H10v1",
  split: "M8 2v12M5.5 5.5H2.5v5h3M10.5 5.5h3v5h-3",
  key: "M8 3l5 5-5 5-5-5z",
  up: "M8 13V3.5M4.2 7 8 3.2 11.8 7",
  down: "M8 3v9.5M4.2 9 8 12.8 11.8 9",
  image: "M2.5 3h11v10h-11zM2.5 11l3.3-3.5 3 3 1.9-1.8 2.8 2.6M10.3 6.2v.1",
  clip: "M2.5 3.5h11v9h-11zM5 3.5v9M11 3.5v9M2.5 6.5H5M2.5 9.5H5M11 6.5h2.5M11 9.5h2.5",
  sound: "M2.5 6.5v3M5.2 4v8M8 2.5v11M10.8 5v6M13.5 7v2",
  mask: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  wire: "M2.5 8h3a2.5 2.5 0 1 1 0 .1M10.5 8h3",
  reference: "M10.3 8a2.3 2.3 0 1 1-4.6 0 2.3 2.3 0 0 1 4.6 0zm0 0v.9a1.6 1.6 0 0 0 3.2 0V8A5.5 5.5 0 1 0 11 12.6",
  warning: "M8 2.7 14 13.2H2zM8 6.6v3M8 11.4v.1",
  lock: "M4 7.5h8v6H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  check: "M3 8.5 6.5 12 13 4.5",
  fit: "M5.5 5.5h5v5h-5zM2.5 5V2.5H5M11 2.5h2.5V5M13.5 11v2.5H11M5 13.5H2.5V11",
  more: "M3.5 8h.1M8 8h.1M12.5 8h.1",
};

/**
 * An icon of the editor; screen readers pass over it.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `skycanvas-icon skycanvas-icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * An element of a class (without its prefix), with properties, attributes ("aria-..." and such) and children.
 * @param {string} tag
 * @param {string} name
 * @param {Record<string, unknown>} [properties] of functions: listeners; undefined is left out
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export function element(tag, name = "", properties = {}, ...children) {
  const made = document.createElement(tag);
  made.className = name
    .split(" ")
    .filter(Boolean)
    .map((part) => `skycanvas-${part}`)
    .join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else if (key in made && !key.includes("-")) made[key] = value;
    else made.setAttribute(key, String(value));
  }
  made.append(...children);
  return made;
}

/**
 * A button with an icon; its label is its tooltip and its name for screen readers, and stands in it if `text` is true.
 * @param {keyof typeof ICONS} picture
 * @param {string} label
 * @param {(event: Event) => void} click
 * @param {{name?: string, text?: boolean, shortcut?: string, pressed?: boolean}} [more]
 */
export function button(picture, label, click, { name = "", text = false, shortcut, pressed } = {}) {
  const made = element(
    "button",
    `button ${name}`,
    {
      type: "button",
      title: shortcut ? `${label} (${shortcut})` : label,
      "aria-label": label,
      "aria-pressed": pressed,
      "aria-keyshortcuts": shortcut,
      click,
    },
    icon(picture),
  );
  if (text) made.append(element("span", "", { textContent: label }));
  return made;
}

/**
 * Buttons of which one is chosen, as screen readers know them: Tab comes to the chosen one, arrow keys choose another.
 * @param {string} name
 * @param {HTMLElement[]} buttons that choose when they are pressed
 * @returns {{root: HTMLElement, show(index: number): void}} show: which one is chosen; -1: none
 */
export function choices(name, buttons) {
  const show = (index) =>
    buttons.forEach((made, i) => {
      made.setAttribute("role", "radio");
      made.setAttribute("aria-checked", String(i === index));
      made.tabIndex = i === Math.max(index, 0) ? 0 : -1;
    });
  show(-1);
  const keydown = (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault(); // and the arrow keys of the editor move nothing
    const next = buttons.at((buttons.indexOf(event.target) + step) % buttons.length);
    next.focus({ preventScroll: true });
    next.click();
  };
  return { root: element("div", "choices", { role: "radiogroup", "aria-label": name, keydown }, ...buttons), show };
}

/**
 * Takes the focus back from an element that goes: ComfyUI would have the keys.
 * @param {HTMLElement} editor
 * @param {HTMLElement} leaving
 */
export function keepFocus(editor, leaving) {
  if (leaving.contains(document.activeElement)) editor.focus({ preventScroll: true });
}

/** Edits by arrow keys: however long one is held down, it is one commit, when it is let go or the focus goes. */
export class ArrowKeys {
  /** @type {AbortController | null} of the gesture under way */
  #held = null;

  /** @param {import("./session.js").Session} session */
  constructor(session) {
    this.session = session;
  }

  /**
   * Shows the change of a press, or of one that repeats.
   * @param {import("./session.js").Change} change an operation is given the document as it was before the first press
   * @returns {boolean} false if it could not be done
   */
  press(change) {
    return (this.#held !== null || this.#begin()) && this.session.preview(change);
  }

  #begin() {
    const { session } = this;
    if (!session.begin()) return false;
    const held = new AbortController();
    const { signal } = held;
    const options = { capture: true, signal };
    this.#held = held;
    window.addEventListener("keyup", ({ key }) => key.startsWith("Arrow") && session.commit(), options);
    window.addEventListener("focusout", () => session.commit(), options);
    // whatever ended the gesture: another one may have begun
    const ended = () => {
      held.abort();
      this.#held = null;
    };
    session.addEventListener("document", ({ detail }) => detail.committed && ended(), { signal });
    return true;
  }
}

/**
 * Follows a pointer that was pressed until it is let go, wherever it goes and whatever is drawn anew meanwhile.
 * @param {PointerEvent} pressed
 * @param {{move(event: PointerEvent): void, end(event: PointerEvent): void, cancel(): void}} gesture
 * @returns {() => void} stops to follow, and cancels
 */
export function follow(pressed, gesture) {
  const stop = new AbortController();
  const options = { capture: true, signal: stop.signal };
  const mine = (handler) => (event) => {
    if (event.pointerId === pressed.pointerId) handler(event);
  };
  const cancel = () => {
    if (stop.signal.aborted) return;
    stop.abort();
    gesture.cancel();
  };
  window.addEventListener(
    "pointermove",
    mine((event) => gesture.move(event)),
    options,
  );
  window.addEventListener(
    "pointerup",
    mine((event) => {
      stop.abort();
      gesture.end(event);
    }),
    options,
  );
  window.addEventListener("pointercancel", mine(cancel), options);
  return cancel;
}
