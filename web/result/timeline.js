/** The time of a clip from left to right: its waveform, how far it is from its source, and the frame that is shown. */

import { element, follow } from "../editor/dom.js";
import { t } from "../words.js";
import { shape } from "./buttons.js";
import { clamp, steps, waveOutline } from "./model.js";

export class Timeline {
  #frames = 1;
  #fps = 1;
  #heard = null;

  /** @param {{seek: (frame: number) => void}} told where to go */
  constructor({ seek }) {
    this.seek = seek;
    this.waves = element("div", "view-waves");
    this.played = element("div", "view-waves view-played");
    this.apart = element("div", "view-apart", { title: t("view.graph") });
    this.cursor = element("div", "view-cursor");
    const sounds = element("div", "view-sounds", {}, this.waves, this.played);
    this.root = element("div", "view-timeline", {
      tabIndex: 0,
      role: "slider",
      "aria-label": t("view.timeline"),
      "aria-valuemin": 0,
      pointerdown: (event) => this.#press(event),
    }, sounds, this.apart, this.cursor);
  }

  /** Takes the clip `index` of a view. */
  show(view, index) {
    const clip = view.clips[index];
    [this.#frames, this.#fps, this.#heard] = [clip.frames, view.fps, null];
    this.root.setAttribute("aria-valuemax", clip.frames - 1);
    const differences = view.differences?.[index];
    this.apart.hidden = !differences;
    if (!differences) return;
    const top = Math.max(...differences.largest);
    const graph = (name) => shape("path", { d: steps(differences[name], top), class: `skycanvas-view-${name}` });
    this.apart.replaceChildren(stretched(clip.frames, 1, graph("largest"), graph("mean")));
  }

  /** Shows the waveform of a clip. It may be of another length than the one that is looked at. */
  hear(clip) {
    if (this.#heard === clip) return;
    this.#heard = clip;
    const width = `${((clip.frames / this.#frames) * 100).toFixed(3)}%`;
    for (const layer of [this.waves, this.played]) {
      const channels = (clip.sound?.peaks ?? []).map((peaks) =>
        stretched(peaks.length, 2, shape("path", { d: waveOutline(peaks) })),
      );
      for (const channel of channels) channel.style.width = width;
      layer.replaceChildren(...channels);
    }
    if (!clip.sound) this.waves.append(element("span", "view-quiet", { textContent: t("view.silent") }));
  }

  /** Marks the frame that is shown. */
  mark(frame) {
    this.root.style.setProperty("--begin", frame / this.#frames);
    this.root.style.setProperty("--frame", 1 / this.#frames);
    this.root.setAttribute("aria-valuenow", frame);
    const seconds = (frame / this.#fps).toFixed(2);
    this.root.setAttribute("aria-valuetext", t("view.at", { frame, last: this.#frames - 1, seconds }));
  }

  #press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.root.focus({ preventScroll: true });
    const go = (moved) => {
      const { left, width } = this.root.getBoundingClientRect();
      const frame = Math.floor(((moved.clientX - left) / width) * this.#frames);
      this.seek(clamp(frame, 0, this.#frames - 1));
    };
    go(event);
    follow(event, { move: go, end: () => {}, cancel: () => {} });
  }
}

/** A drawing of so many units that fills its place, whatever its proportions. */
function stretched(width, height, ...children) {
  const viewBox = `0 0 ${width} ${height}`;
  return shape("svg", { viewBox, preserveAspectRatio: "none", "aria-hidden": "true" }, ...children);
}
