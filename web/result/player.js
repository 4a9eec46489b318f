/** The player of 'View Clip': a result with its sound, what it was made from, and how far apart the two are. */

import { element, follow } from "../editor/dom.js";
import { t } from "../words.js";
import { dress, pressable } from "./buttons.js";
import { GAINS, MODES, arrangement, clamp, facts, fit, notes, routeOf, sourceOf, steer } from "./model.js";
import { Strip } from "./strip.js";
import { Timeline } from "./timeline.js";
import { Track } from "./track.js";

/** Frames that an arrow key goes with shift. */
const LEAP = 10;

/** What stays from one result to the next, and when ComfyUI makes the node anew, as it does to undo. */
const SETTINGS = { clip: 0, mode: "result", split: 0.5, gain: 4, loop: true, muted: false, volume: 1 };

/** Plays what a node has shown. Its element is `root`. */
export class Player {
  /** @type {import("./model.js").View | null} */
  #view = null;
  #settings = { ...SETTINGS };
  #frame = 0;
  #stop = new AbortController();

  /** @param {import("../comfy.js").Server} server */
  constructor(server) {
    this.server = server;
    this.result = new Track({
      frame: (frame) => this.#played(frame),
      failed: () => this.#explain(this.result),
      ended: () => this.#rest(),
    });
    this.source = new Track({ failed: () => this.#explain(this.source) });
    for (const [name, track] of [["result", this.result], ["source", this.source]]) {
      track.video.className = `skycanvas-view-${name}`;
      track.video.ariaLabel = t(`view.${name}`);
    }
    this.strip = new Strip({ url: (file) => server.url(routeOf(file)), choose: (clip) => this.#choose(clip) });
    this.timeline = new Timeline({ seek: (frame) => this.seek(frame) });
    this.root = element("div", "view", { tabIndex: 0, role: "group", "aria-label": t("view.name") });
    this.root.append(this.strip.root, this.#makeStage(), this.timeline.root, this.#makeBar(), this.#makeModes());
    this.root.append(this.#makeFoot(), this.notes = element("ul", "view-notes"));
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.root.addEventListener("pointerdown", (event) => event.button === 0 && event.stopPropagation());
    this.root.addEventListener("wheel", (event) => {
      if (document.fullscreenElement === this.root) event.stopImmediatePropagation(); // the graph is not seen
    });
    this.root.addEventListener("click", (event) => {
      // the keys are the player's again once a button was clicked; a keyboard stays where it is
      if (event.detail && event.target.closest("button")) this.root.focus({ preventScroll: true });
    });
    this.resized = new ResizeObserver(() => {
      if (this.stage.clientWidth) this.#layout();
      else if (this.playing) this.#toggle(); // its node was folded, or the graph around it was left
    });
    this.resized.observe(this.stage);
    document.addEventListener("fullscreenchange", () => this.#refresh(), { signal: this.#stop.signal });
    this.show(null);
  }

  /** The choices that were made in it, and go on being made in this very object. */
  get settings() {
    return this.#settings;
  }

  /** Whether it plays. */
  get playing() {
    return !this.result.video.paused;
  }

  /**
   * Shows another result, on its first frame and at rest; null: none yet.
   * @param {import("./model.js").View | null} view
   * @param {typeof SETTINGS} [settings] those of another player, to go on with
   */
  show(view, settings = this.#settings) {
    this.#view = view;
    this.#settings = settings;
    this.#settings.clip = clamp(this.#settings.clip, 0, (view?.clips.length ?? 1) - 1);
    this.root.classList.toggle("skycanvas-view-empty", !view);
    this.#say(view ? "" : t("view.empty"));
    this.strip.show(view?.clips ?? []);
    this.pause();
    this.#frame = 0;
    if (view) {
      this.#load();
    } else {
      this.result.unload();
      this.source.unload();
    }
    this.#refresh();
  }

  /** Plays on, or from the beginning where it has come to the end. Muted or not, only a person starts it. */
  async play() {
    if (!this.#view) return;
    if (this.#frame >= this.#clip.frames - 1) this.seek(0);
    try {
      if (this.#compares) this.source.play().catch(() => {}); // whatever hinders it, the result tells of it below
      await this.result.play();
      this.#say("");
    } catch (error) {
      // a pause or another clip came in between: it was meant
      if (error.name !== "AbortError" && this.result.video.error === null) this.#say(t("view.refused"));
    }
    this.#refresh();
  }

  /** Stands still, all videos on the frame that is shown. */
  pause() {
    for (const track of [this.result, this.source]) track.pause();
    this.seek(this.#frame);
  }

  /** Goes to a frame, and plays on from there if it plays. */
  seek(frame) {
    if (!this.#view) return;
    this.#frame = clamp(frame, 0, this.#clip.frames - 1);
    this.result.seek(this.#frame);
    if (this.#compares) this.source.seek(this.#frame);
    this.#refreshTime();
  }

  /** Takes over some of the settings. */
  set(changes) {
    const before = this.#settings.mode;
    Object.assign(this.#settings, changes);
    if (this.#view && before !== this.#settings.mode) this.#follow();
    this.#refresh();
  }

  destroy() {
    this.#stop.abort();
    this.resized.disconnect();
    this.strip.show([]);
    for (const track of [this.result, this.source]) track.destroy();
  }

  get #clip() {
    return this.#view.clips[this.#settings.clip];
  }

  get #original() {
    return this.#view && sourceOf(this.#view, this.#settings.clip);
  }

  /** The way of looking that is in force: without a source there is but one. */
  get #mode() {
    return this.#original ? this.#settings.mode : "result";
  }

  get #compares() {
    return this.#mode !== "result";
  }

  /** The clip that is looked at, or that another one is compared with: its sound is heard, its sizes are told. */
  get #leading() {
    return this.#mode === "source" ? this.#original : this.#clip;
  }

  // --- what happens

  #choose(clip) {
    const playing = this.playing;
    this.#settings.clip = clip;
    this.#say("");
    this.#load();
    this.#refresh();
    if (playing) this.play();
  }

  #load() {
    const { fps } = this.#view;
    const load = (track, clip) => {
      const url = this.server.url(routeOf(clip.video));
      if (track.video.getAttribute("src") === url) track.seek(this.#frame);
      else track.load(url, clip.frames, fps, this.#frame);
    };
    load(this.result, this.#clip);
    if (this.#original) load(this.source, this.#original);
    else this.source.unload();
    this.timeline.show(this.#view, this.#settings.clip);
  }

  /** Sets the source in motion or to rest, as the way of looking wants it. */
  #follow() {
    if (!this.#compares) {
      this.source.pause();
    } else if (this.playing) {
      this.source.jump(this.result.video.currentTime);
      this.source.play().catch(() => {});
    } else {
      this.source.seek(this.#frame);
    }
  }

  #played(frame) {
    this.#frame = frame;
    this.#refreshTime();
    if (!this.#compares) return;
    const { video } = this.source;
    const time = this.result.video.currentTime;
    if (video.ended && time >= video.duration) return; // the source is shorter: its last frame stays
    if (video.seeking) return;
    const round = video.loop ? this.#clip.frames / this.#view.fps : Infinity;
    const { seek, rate } = steer(video.currentTime - time, this.#view.fps, round);
    if (seek) this.source.jump(time);
    video.playbackRate = rate;
    if (video.paused) this.source.play().catch(() => {});
  }

  #rest() {
    this.#frame = this.#clip.frames - 1;
    this.pause();
    this.#refresh();
  }

  /** Says why a file does not play; asks the server whether it is still there. */
  async #explain(track) {
    const source = track.video.getAttribute("src");
    this.pause();
    const file = track === this.result ? this.#clip : this.#original;
    let reason = "view.offline";
    try {
      const answer = await this.server.fetch(routeOf(file.video), { method: "HEAD" });
      reason = answer.status === 404 ? "view.gone" : answer.ok ? "view.unplayable" : "view.offline";
    } catch {
      // no answer at all
    }
    if (track.video.getAttribute("src") === source) this.#say(t(reason));
  }

  async #toggleFullScreen() {
    try {
      await (document.fullscreenElement === this.root ? document.exitFullscreen() : this.root.requestFullscreen());
    } catch {
      this.#say(t("view.no_full_screen"));
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#view) return;
    if (event.target.closest("input, select")) {
      event.stopPropagation(); // typed here, not a shortcut of ComfyUI's
      return;
    }
    if (event.target.closest("button, a") && [" ", "Enter"].includes(event.key)) return; // pressed by the browser
    const leap = event.shiftKey ? LEAP : 1;
    const mode = MODES[Number(event.key) - 1];
    const act = {
      " ": () => this.#toggle(),
      ArrowLeft: () => this.#step(-leap),
      ArrowRight: () => this.#step(leap),
      Home: () => this.seek(0),
      End: () => this.seek(this.#clip.frames - 1),
      l: () => this.set({ loop: !this.#settings.loop }),
      m: () => this.set({ muted: !this.#settings.muted }),
      f: () => this.#toggleFullScreen(),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act && !(mode && this.#original)) return;
    event.preventDefault();
    event.stopPropagation();
    if (act) act();
    else this.set({ mode });
  }

  #toggle() {
    if (this.playing) this.pause();
    else this.play();
    this.#refresh();
  }

  /** Stands still so many frames farther. */
  #step(frames) {
    if (this.playing) this.pause();
    this.seek(this.#frame + frames);
    this.#refresh();
  }

  // --- what is seen

  #say(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
  }

  /** All but what changes with every frame. */
  #refresh() {
    const { split, gain, loop, muted, volume } = this.#settings;
    const mode = this.#mode;
    this.root.dataset.mode = mode;
    this.pictures.style.setProperty("--split", split);
    this.pictures.style.setProperty("--gain", gain);
    this.divider.setAttribute("aria-valuenow", Math.round(split * 100));
    this.gain.value = gain;
    this.volume.value = volume;
    this.result.video.loop = loop;
    for (const track of [this.result, this.source]) track.video.volume = volume;
    this.result.video.muted = muted || mode === "source";
    this.source.video.muted = muted || mode !== "source";
    const full = document.fullscreenElement === this.root;
    const action = this.playing ? "pause" : "play";
    dress(this.playButton, action, t(`view.${action}`), { shortcut: "Space" });
    dress(this.loopButton, "loop", t("view.loop"), { shortcut: "L", pressed: loop });
    dress(this.muteButton, muted ? "muted" : "sound", t("view.mute"), { shortcut: "M", pressed: muted });
    dress(this.fullButton, full ? "small" : "full", t("view.full"), { shortcut: "F", pressed: full });
    for (const made of this.modeButtons) made.ariaPressed = String(made.dataset.mode === mode);
    this.modes.hidden = !this.#original;
    if (!this.#view) return;
    this.source.video.loop = loop && this.#original?.frames === this.#clip.frames; // else it follows the result
    this.strip.mark(this.#settings.clip);
    this.timeline.hear(this.#leading);
    const url = this.server.url(routeOf(this.#leading.video));
    this.open.href = this.download.href = url;
    const number = this.#view.clips.length > 1 ? `_${this.#settings.clip + 1}` : "";
    this.download.download = `${mode === "source" ? "source" : "result"}${number}.mp4`;
    const say = ([key, values]) => t(key, values);
    this.facts.title = this.facts.textContent = facts(this.#leading, this.#view.fps).map(say).join(" · ");
    const said = notes(this.#view, this.#settings.clip).map(say);
    this.notes.replaceChildren(...said.map((text) => element("li", "", { textContent: text, title: text })));
    this.#refreshTime();
    this.#layout();
  }

  #refreshTime() {
    const { frames } = this.#clip;
    this.counter.max = frames - 1;
    if (this.counter !== document.activeElement) this.counter.value = this.#frame;
    this.clock.textContent = `/ ${frames - 1}  ${(this.#frame / this.#view.fps).toFixed(2)} s`;
    const differences = this.#view.differences?.[this.#settings.clip];
    const known = this.#frame < (differences?.mean.length ?? 0);
    this.apart.textContent = known
      ? t("view.apart", {
          mean: percent(differences.mean[this.#frame]),
          largest: percent(differences.largest[this.#frame]),
        })
      : "";
    this.timeline.mark(this.#frame);
  }

  /** Puts the pictures into the stage, as large as they fit. */
  #layout() {
    if (!this.#view) return;
    const stage = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    if (this.#mode === "side") {
      Object.assign(this.pictures.style, { width: "100%", height: "100%" });
      this.pictures.dataset.arrangement = arrangement(stage, this.#clip);
    } else {
      const { width, height } = fit(stage, this.#leading);
      Object.assign(this.pictures.style, { width: `${width}px`, height: `${height}px` });
    }
  }

  // --- parts

  #makeStage() {
    this.divider = element("div", "view-divider", {
      tabIndex: 0,
      role: "slider",
      "aria-label": t("view.divider"),
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      keydown: (event) => {
        const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!way) return;
        event.preventDefault();
        event.stopPropagation();
        this.set({ split: clamp(this.#settings.split + 0.02 * way, 0, 1) });
      },
    });
    const blended = element("div", "view-blended", {}, this.result.video, this.source.video);
    const name = (mode) => element("span", `view-label view-label-${mode}`, { textContent: t(`view.${mode}`) });
    this.pictures = element("div", "view-pictures", {}, blended, name("source"), name("result"), this.divider);
    this.message = element("div", "view-message", { role: "status" });
    this.stage = element("div", "view-stage", {}, this.pictures, this.message);
    this.stage.addEventListener("pointerdown", (event) => this.#press(event));
    return this.stage;
  }

  /** On the pictures a click plays or stops; in the mode with a divider, a drag moves it. */
  #press(event) {
    if (event.button !== 0 || !this.#view) return;
    event.preventDefault();
    this.root.focus({ preventScroll: true });
    const wipes = this.#mode === "wipe";
    const move = (moved) => {
      const { left, width } = this.pictures.getBoundingClientRect();
      this.set({ split: clamp((moved.clientX - left) / width, 0, 1) });
    };
    if (wipes) move(event);
    follow(event, { move: wipes ? move : () => {}, end: wipes ? () => {} : () => this.#toggle(), cancel: () => {} });
  }

  #makeBar() {
    this.playButton = pressable({ click: () => this.#toggle() });
    const back = pressable({ click: () => this.#step(-1) });
    dress(back, "back", t("view.back"), { shortcut: "ArrowLeft" });
    const forward = pressable({ click: () => this.#step(1) });
    dress(forward, "forward", t("view.forward"), { shortcut: "ArrowRight" });
    this.counter = element("input", "view-counter", {
      type: "number",
      min: 0,
      step: 1,
      "aria-label": t("view.frame"),
      input: () => this.#step(this.counter.valueAsNumber - this.#frame || 0), // NaN: nothing is typed yet
      change: () => this.#refreshTime(),
    });
    this.clock = element("span", "view-clock");
    this.loopButton = pressable({ click: () => this.set({ loop: !this.#settings.loop }) });
    this.muteButton = pressable({ click: () => this.set({ muted: !this.#settings.muted }) });
    this.volume = element("input", "view-volume", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      "aria-label": t("view.volume"),
      input: () => this.set({ volume: this.volume.valueAsNumber, muted: false }),
    });
    return element("div", "view-bar", {},
      group(back, this.playButton, forward, this.loopButton, this.muteButton, this.volume),
      group(this.counter, this.clock),
    );
  }

  #makeModes() {
    this.modeButtons = MODES.map((mode, index) => {
      const made = pressable({ click: () => this.set({ mode }) });
      made.dataset.mode = mode;
      dress(made, mode, t(`view.${mode}`), { shortcut: String(index + 1), text: true });
      return made;
    });
    this.gain = element("select", "view-gain", {
      "aria-label": t("view.gain"),
      title: t("view.gain"),
      change: () => this.set({ gain: Number(this.gain.value) }),
    }, ...GAINS.map((gain) => element("option", "", { value: gain, textContent: `×${gain}` })));
    this.apart = element("span", "view-reading");
    const choice = group(...this.modeButtons);
    choice.role = "group";
    choice.ariaLabel = t("view.modes");
    this.modes = element("div", "view-bar view-modes", {}, choice, this.gain, this.apart);
    return this.modes;
  }

  #makeFoot() {
    this.facts = element("span", "view-facts");
    this.download = pressable({ href: "", download: "" });
    dress(this.download, "download", t("view.download"));
    this.open = pressable({ href: "", target: "_blank", rel: "noopener" });
    dress(this.open, "open", t("view.open"));
    this.fullButton = pressable({ click: () => this.#toggleFullScreen() });
    return element("div", "view-bar view-foot", {}, this.facts, group(this.download, this.open, this.fullButton));
  }
}

function group(...parts) {
  return element("div", "view-group", {}, ...parts);
}

/** A part of full brightness, as artists read it. */
function percent(part) {
  return `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
}
