/** Buttons of the player. */

import { element } from "../editor/dom.js";

const SVG = "http://www.w3.org/2000/svg";

/** Outlines in a square of 16, drawn with a round pen; those that begin with "F" are filled. */
const GLYPHS = {
  play: "FM4.8 2.8v10.4L13 8z",
  pause: "M5.2 3.2v9.6M10.8 3.2v9.6",
  back: "M10 3.5 5.5 8l4.5 4.5M3 3.5v9",
  forward: "M6 3.5 10.5 8 6 12.5M13 3.5v9",
  loop: "M3 8V6.5a2 2 0 0 1 2-2h7M10 2.5l2 2-2 2M13 8v1.5a2 2 0 0 1-2 2H4M6 13.5l-2-2 2-2",
  sound: "M2.5 6.2v3.6h2.4L8.3 13V3L4.9 6.2zM10.5 5.8a3.2 3.2 0 0 1 0 4.4M12.3 4a5.7 5.7 0 0 1 0 8",
  muted: "M2.5 6.2v3.6h2.4L8.3 13V3L4.9 6.2zM10.8 6.2l3.4 3.6M14.2 6.2l-3.4 3.6",
  full: "M6 2.5H2.5V6M10 2.5h3.5V6M6 13.5H2.5V10M10 13.5h3.5V10",
  small: "M2.5 6H6V2.5M13.5 6H10V2.5M2.5 10H6v3.5M13.5 10H10v3.5",
  download: "M8 2.5v8M4.8 7.5 8 10.7l3.2-3.2M2.7 13.3h10.6",
  open: "M7 3.5H3v9.5h9.5V9M9.5 2.7h3.8v3.8M13 3 7.5 8.5",
  result: "FM2.8 3.5h10.4v9H2.8z",
  source: "M2.8 3.5h10.4v9H2.8z",
  side: "M2 4h5.2v8H2zM8.8 4H14v8H8.8z",
  wipe: "M2.8 3.5h10.4v9H2.8zM8 1.5v13M5.4 6.5v3",
  difference: "M2.5 5.2h7.2v8H2.5zM6.3 2.8h7.2v8H6.3z",
};

/** A small picture; screen readers pass over it. */
export function glyph(name) {
  const outline = GLYPHS[name];
  const filled = outline.startsWith("F");
  const path = shape("path", { d: filled ? outline.slice(1) : outline, fill: filled ? "currentColor" : "none" });
  return shape("svg", { viewBox: "0 0 16 16", class: "skycanvas-view-glyph", "aria-hidden": "true" }, path);
}

/** An SVG element with attributes. */
export function shape(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * A button, or with `href` among the properties a link that looks like one. `dress` gives it its face.
 * @param {Record<string, unknown>} properties
 */
export function pressable(properties) {
  return element("href" in properties ? "a" : "button", "view-button", { type: "button", ...properties });
}

/**
 * Gives a button its picture, and its label as name and tooltip.
 * @param {HTMLElement} button
 * @param {{shortcut?: string, pressed?: boolean, text?: boolean}} [more] text: the label stands in it, if there is room
 */
export function dress(button, name, label, { shortcut, pressed, text = false } = {}) {
  button.title = shortcut ? `${label} (${shortcut})` : label;
  button.ariaLabel = label;
  if (shortcut) button.setAttribute("aria-keyshortcuts", shortcut);
  if (pressed !== undefined) button.ariaPressed = String(pressed);
  if (button.dataset.glyph === name) return; // a button that is drawn anew under the pointer loses its click
  button.dataset.glyph = name;
  button.replaceChildren(glyph(name));
  if (text) button.append(element("span", "view-text", { textContent: label }));
}
