/** The status line: what the model makes of the canvas, what that takes, and the notes of the plan. */
import { said, t } from "../words.js";
import { seconds } from "./document.js";
import { button, element, icon } from "./dom.js";
import { hundredths } from "./timescale.js";

/** The family that Mini is of, which the status line does not name. */
const MINI_FAMILY = "SkyReels-V4";

export class StatusLine {
  /**
   * @param {{session: import("./session.js").Session, plan: import("./plan.js").PlanView,
   *   popover: import("./popover.js").Popover}} options
   */
  constructor({ session, plan, popover }) {
    this.session = session;
    this.plan = plan;
    this.popover = popover;
    this.text = element("span", "status-text");
    this.cost = element("span", "status-cost");
    this.notes = button("warning", t("editor.notes"), () => this.#showNotes(), { name: "status-notes" });
    this.root = element("div", "status", { role: "status" }, this.text, this.cost, this.notes);
  }

  refresh() {
    const { session, plan } = this;
    const { document } = session;
    const failed = plan.state === "failed";
    const known = plan.plan;
    this.cost.textContent = "";
    this.notes.hidden = failed || !known?.notes.length;
    if (!session.readable) this.text.textContent = t("editor.unreadable");
    else if (failed) this.text.textContent = said(plan.error);
    else if (!known) this.text.textContent = "";
    else {
      const size = { width: document.width, height: document.height, seconds: hundredths(seconds(document)) };
      const pixels = known.given_pixels.reduce((sum, count) => sum + count, 0);
      const picture = percent(pixels / (document.width * document.height * document.frames));
      const sound = percent(known.audio.given.reduce((sum, bit) => sum + bit, 0) / Math.max(known.audio.latents, 1));
      const key = pixels || sound ? (picture === 100 && sound === 100 ? "all" : "some") : "none";
      this.text.textContent = t(`editor.status.${key}`, { ...size, picture, sound });
      this.cost.textContent = costText(known);
      const warnings = known.notes.filter((note) => note.level === "warning").length;
      this.notes.classList.toggle("skycanvas-warning", warnings > 0);
      this.notes.lastChild.nodeName === "SPAN" && this.notes.lastChild.remove();
      this.notes.append(element("span", "", { textContent: String(known.notes.length) }));
    }
    this.text.title = said(failed ? plan.error : (known?.report ?? ""));
  }

  #showNotes() {
    const list = this.plan.plan.notes.map(({ level, text }) =>
      element(
        "p",
        `note-line ${level}`,
        {},
        icon(level === "warning" ? "warning" : "check"),
        element("span", "", { textContent: said(text) }),
      ),
    );
    this.popover.show(t("editor.notes"), list);
  }
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
