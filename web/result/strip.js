/** The clips of a batch, one small picture each. */

import { element } from "../editor/dom.js";
import { t } from "../words.js";

export class Strip {
  /** @param {{url: (file: import("./model.js").File) => string, choose: (clip: number) => void}} told */
  constructor({ url, choose }) {
    [this.url, this.choose] = [url, choose];
    this.root = element("div", "view-strip", { role: "group", "aria-label": t("view.clips") });
  }

  /**
   * Takes the clips of a result; a single one needs no strip.
   * @param {import("./model.js").Clip[]} clips
   */
  show(clips) {
    this.root.hidden = clips.length < 2;
    const thumbs = this.root.hidden ? [] : clips.map((clip, index) => this.#make(clip, index, clips.length));
    this.root.replaceChildren(...thumbs);
  }

  /** Marks the clip that is played. */
  mark(clip) {
    [...this.root.children].forEach((button, index) => {
      button.ariaPressed = String(index === clip);
    });
  }

  #make(clip, index, count) {
    const label = t("view.clip", { number: index + 1, count });
    const picture = element("img", "view-poster", { src: this.url(clip.poster), alt: "", draggable: false });
    picture.addEventListener("error", () => picture.remove()); // its number is still there
    const number = element("span", "view-number", { textContent: String(index + 1) });
    let video = null;
    const play = () => {
      if (video) return;
      const src = this.url(clip.video);
      video = element("video", "view-poster", { src, muted: true, loop: true, playsInline: true });
      video.play().catch(() => {}); // the poster stays
      button.append(video);
    };
    const stop = () => {
      video?.removeAttribute("src");
      video?.load();
      video?.remove();
      video = null;
    };
    const button = element("button", "view-thumb", {
      type: "button",
      title: label,
      "aria-label": label,
      click: () => this.choose(index),
      pointerenter: play,
      pointerleave: stop,
    }, picture, number);
    button.style.aspectRatio = `${clip.width} / ${clip.height}`;
    return button;
  }
}
