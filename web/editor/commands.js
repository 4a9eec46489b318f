/** What keys, buttons and menus do to what is selected, and the clipboard. */
import { said, t } from "../words.js";
import { paste } from "./clipboard.js";
import { itemsOf, seconds } from "./document.js";
import { pruneMedia } from "./edit_canvas.js";
import { add, duplicate, remove } from "./edit_items.js";
import { trim } from "./edit_time.js";
import { CanvasError } from "./schema.js";

/** @typedef {import("./session.js").Session} Session */

/** @param {Session} session */
export function duplicateSelected(session) {
  const before = idsOf(session);
  if (!session.selection.size || !session.edit((document) => duplicate(document, session.selection))) return;
  selectNew(session, before);
}

/** @param {Session} session */
export function removeSelected(session) {
  const ids = [...session.selection];
  if (ids.length) session.edit((document) => pruneMedia(remove(document, ids)));
}

/**
 * Trims what is selected at the playhead, whose frame is the last that stays.
 * @param {Session} session
 * @param {"start" | "end"} edge
 */
export function trimSelected(session, edge) {
  const frame = session.playhead + (edge === "end" ? 1 : 0);
  const ids = [...session.selection];
  session.edit((document) => ids.reduce((result, id) => trim(result, id, edge, frame), document));
}

/** Has the sound made again from the playhead on. @param {Session} session */
export function addSpan(session) {
  const { document, playhead } = session;
  const time = Math.round((playhead / document.fps) * 1e6) / 1e6;
  const duration = Math.round((seconds(document) - time) * 1e6) / 1e6;
  session.edit((before) => add(before, "regions", { kind: "span", action: "generate", time, duration }));
  session.select([session.document.regions.at(-1)?.id]);
}

/**
 * Puts copied items at the playhead, and selects them.
 * @param {Session} session
 * @param {string} text
 */
export function pasteText(session, text) {
  if (!text.trim()) return;
  const before = idsOf(session);
  const pasted = session.edit((document) => {
    try {
      return paste(document, text, session.playhead);
    } catch (error) {
      if (!(error instanceof CanvasError)) throw error;
      throw new CanvasError(t("editor.not_pasted", { error: said(error.message) }));
    }
  });
  if (pasted) selectNew(session, before);
}

function idsOf({ document }) {
  return itemsOf(document).map((item) => item.id);
}

function selectNew(session, before) {
  const old = new Set(before);
  session.select(idsOf(session).filter((id) => !old.has(id)));
}
