/** The transport controls: play, loop, the ends of the canvas, and the time at the playhead. */
import { t } from "../words.js";
import { button, element, icon } from "./dom.js";

export class Transport {
  /** @param {{session: import("./session.js").Session, player: import("./player.js").Player}} options */
  constructor({ session, player }) {
    this.session = session;
    this.player = player;
    this.playButton = button("play", t("editor.play"), () => player.toggle(), { shortcut: "Space", name: "play" });
    this.loopButton = button("loop", t("editor.loop"), () => (session.loop = !session.loop), {
      shortcut: "L",
      pressed: true,
    });
    this.time = element("span", "time", { "aria-live": "off" });
    this.root = element(
      "div",
      "transport",
      { role: "group", "aria-label": t("editor.transport") },
      button("first", t("editor.first"), () => session.seek(0), { shortcut: "Home" }),
      this.playButton,
      button("last", t("editor.last"), () => session.seek(session.document.frames - 1), { shortcut: "End" }),
      this.loopButton,
      this.time,
    );
  }

  refresh() {
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
}
