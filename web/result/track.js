/** A video that shows the very frame it is asked for. */

import { clamp, frameAt, timeOf } from "./model.js";

export class Track {
  #wanted = null; // the frame to show; null while it plays
  #sought = null; // the frame that the video was last set to
  #frames = 1;
  #fps = 1;
  #watches = 0;
  #stop = new AbortController();

  /**
   * @param {{frame?: (frame: number) => void, failed: () => void, ended?: () => void}} told
   *   frame: each one that is shown while it plays; failed: its file cannot be played
   */
  constructor({ frame = () => {}, failed, ended = () => {} }) {
    this.video = document.createElement("video");
    Object.assign(this.video, { playsInline: true, preload: "auto", disablePictureInPicture: true });
    const listen = (event, listener) => this.video.addEventListener(event, listener, { signal: this.#stop.signal });
    listen("loadedmetadata", () => this.#seek());
    listen("seeked", () => this.#seek());
    listen("ended", ended);
    listen("error", () => {
      if (this.video.hasAttribute("src")) failed();
    });
    listen("play", () => this.#watch(frame));
  }

  /** Takes another file and stands on its frame `frame`. */
  load(url, frames, fps, frame) {
    [this.#frames, this.#fps, this.#sought] = [frames, fps, null];
    this.video.src = url;
    this.seek(frame);
  }

  /** Shows a frame, or the last one it has; of several in a row only the latest matters. */
  seek(frame) {
    this.#wanted = clamp(frame, 0, this.#frames - 1);
    this.#seek();
  }

  /** Plays from the frame on which it stands. Rejects as the browser does. */
  play() {
    if (this.video.readyState >= 1) this.#wanted = null; // else it begins on the frame that it was loaded with
    return this.video.play();
  }

  pause() {
    this.video.pause();
    this.video.playbackRate = 1;
  }

  /** Plays along at another video's time. */
  jump(seconds) {
    this.#wanted = this.#sought = null;
    this.video.currentTime = Math.min(seconds, this.#frames / this.#fps);
  }

  /** Gives its file up. */
  unload() {
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load(); // ends what is still being fetched
  }

  destroy() {
    this.#stop.abort();
    this.unload();
  }

  #seek() {
    const { video } = this;
    if (this.#wanted === null || this.#wanted === this.#sought || video.seeking || video.readyState < 1) return;
    this.#sought = this.#wanted;
    video.currentTime = timeOf(this.#wanted, this.#fps);
    if (!video.paused) this.#wanted = this.#sought = null;
  }

  #watch(frame) {
    const { video } = this;
    const watch = ++this.#watches; // an earlier one may not have noticed the pause
    // a browser without it counts on each refresh of the screen
    const next = video.requestVideoFrameCallback?.bind(video) ?? requestAnimationFrame;
    const shown = (_, data = { mediaTime: video.currentTime }) => {
      if (video.paused || watch !== this.#watches) return;
      this.#sought = null;
      frame(clamp(frameAt(data.mediaTime, this.#fps), 0, this.#frames - 1));
      next(shown);
    };
    next(shown);
  }
}
