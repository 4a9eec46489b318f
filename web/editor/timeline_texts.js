/** What the timeline says of its items and of latent frames, in words. */
import { said, t } from "../words.js";
import { kindOf } from "./document.js";
import { framesOf } from "./grid.js";
import { nameOf } from "./painter.js";
import { notesOn } from "./plan.js";
import { clockText } from "./timescale.js";

/** @typedef {import("./timeline_items.js").View} View */

/** What an artist calls an item. */
export function titleOf(document, item) {
  if (kindOf(item) === "box") return t(`timeline.box_${item.action}`);
  if (kindOf(item) === "span") return t(`timeline.span_${item.action}`);
  if (kindOf(item) === "mask") return t(`timeline.mask_${item.action}`);
  return nameOf(document.media[item.media]) || item.id;
}

/** Where a view lies. @param {{item: object, first: number, end: number}} view */
export function placeText(document, { item, first, end }) {
  if (!("frame" in item)) {
    return t("timeline.from_to", { from: clockText(first / document.fps), to: clockText(end / document.fps) });
  }
  if (end - first === 1) return t("timeline.one_frame", { frame: first });
  return t("timeline.frames_to", { first, last: end - 1, count: end - first });
}

/** Where a view lies, and how far that is from frame `origin`. @param {View} view */
export function moveText(document, view, origin) {
  const delta = Math.round((view.first - origin) * 100) / 100;
  return `${placeText(document, view)}  (${delta > 0 ? "+" : ""}${delta})`;
}

/** Name and state of an item, for screen readers. @param {View} view */
export function labelOf(document, view) {
  const { item, media } = view;
  return [
    titleOf(document, item),
    media === undefined ? "" : t(`timeline.kind_${media.kind}`),
    item.role === "guide" ? t("timeline.guide") : "",
    placeText(document, view),
    item.path?.length ? t("timeline.keys", { count: item.path.length + 1 }) : "",
    view.error === null ? "" : t("timeline.failed", { error: said(view.error) }),
  ]
    .filter(Boolean)
    .join(", ");
}

/**
 * The hint of an item: its name and place, what failed, and what the plan notes on it.
 * @param {View} view
 * @param {object | null} plan of this document or of another one
 * @returns {string[]} lines
 */
export function itemText(document, view, plan) {
  const notes = plan?.document === document ? notesOn(plan, view.id) : [];
  return [
    titleOf(document, view.item),
    placeText(document, view),
    ...(view.error === null ? [] : [t("timeline.failed", { error: said(view.error) })]),
    ...notes.map(({ level, text }) => `${level === "warning" ? "⚠ " : ""}${said(text)}`),
  ];
}

/**
 * The hint of a latent frame: its frames, and how much of it is given, lost and made again.
 * @param {number} latent
 * @param {import("./plan.js").PlanView} planView
 * @returns {string[]} lines; none while the plan does not know it
 */
export function latentText(latent, { plan, state }) {
  const shares = plan?.shares[latent];
  if (shares === undefined) return [];
  const [first, end] = framesOf(latent, plan.grid);
  const percent = (share) => `${Math.round(share * 1000) / 10} %`;
  const patches = plan.patches.filter(({ frame }) => frame >= first && frame < end);
  return [
    first === end - 1
      ? t("timeline.latent_one", { latent, first })
      : t("timeline.latent", { latent, first, last: end - 1 }),
    t("timeline.shares", {
      given: percent(shares.given),
      lost: percent(shares.lost),
      again: percent(shares.again),
    }),
    ...(patches.length ? [t("timeline.in_context", { frames: patches.map(({ frame }) => frame).join(", ") })] : []),
    ...(state === "computing" ? [t("plan.computing")] : []),
  ];
}
