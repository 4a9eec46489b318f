/** The head of a timeline: marks in seconds and in frames, and how much of each latent is given. */
import { audioLatentOf, framesOf, latentOf } from "./grid.js";
import { sharesOf } from "./plan.js";
import { clockText, stepOf } from "./timescale.js";

/** Rows from top to bottom, in pixels. */
export const SECONDS = { top: 0, height: 15 };
export const FRAMES = { top: 15, height: 15 };
export const VIDEO = { top: 32, height: 16 };
export const SOUND = { top: 50, height: 8 };
export const HEIGHT = 61;

/** Between two labels, in pixels. */
const LABEL = 46;

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{document: object, plan: import("./plan.js").PlanView, left: number, width: number, scale: number,
 *   colours: Record<string, string>}} options left: first pixel of the canvas that is seen; scale: pixels per frame
 */
export function paintRuler(context, options) {
  const { document, plan, left, width, scale, colours } = options;
  context.clearRect(0, 0, width, HEIGHT);
  const end = document.frames * scale - left;
  context.fillStyle = colours.canvas;
  context.fillRect(-left, 0, end + left, FRAMES.top + FRAMES.height);
  marks(context, options, SECONDS, document.fps * scale, "seconds", (step) => (n) => clockText(n * step, step));
  marks(context, options, FRAMES, scale, "frames", (step) => (n) => String(n * step));
  if (plan.plan === null) {
    context.fillStyle = colours.empty;
    for (const row of [VIDEO, SOUND]) context.fillRect(-left, row.top, end + left, row.height);
    return;
  }
  context.globalAlpha = plan.state === "ready" ? 1 : 0.45;
  context.save();
  context.beginPath();
  context.rect(-left, 0, end + left, HEIGHT);
  context.clip();
  latents(context, options);
  sounds(context, options);
  context.restore();
  context.globalAlpha = 1;
}

/** Marks of one unit, `pixels` apart, with labels where there is room. */
function marks(context, { document, left, width, scale, colours }, row, pixels, unit, labelOf) {
  const step = stepOf(unit, pixels, LABEL);
  const small = stepOf(unit, pixels, 5);
  const bottom = row.top + row.height;
  const last = Math.min(left + width, document.frames * scale);
  const lines = (every, height) => {
    context.beginPath();
    for (let n = Math.floor(left / (every * pixels)); n * every * pixels <= last + 0.5; n++) {
      const x = Math.round(n * every * pixels - left) + 0.5;
      context.moveTo(x, bottom - height);
      context.lineTo(x, bottom);
    }
    context.stroke();
  };
  context.lineWidth = 1;
  context.strokeStyle = colours.mark;
  if (small < step && step % small < 1e-9) lines(small, 3);
  lines(step, row.height - 2);
  context.fillStyle = unit === "seconds" ? colours.text : colours.quiet;
  context.font = "10px sans-serif";
  context.textBaseline = "middle";
  const label = labelOf(step);
  for (let n = Math.floor(left / (step * pixels)); n * step * pixels <= last - 8; n++) {
    context.fillText(label(n), n * step * pixels - left + 4, row.top + row.height / 2);
  }
}

/** For each latent frame: given from the bottom, lost above, made again on top; a dot where a frame goes in context. */
function latents(context, { plan: { plan }, left, width, scale, colours }) {
  const { grid } = plan;
  const pixels = grid.temporal * scale;
  const gap = pixels >= 5 ? 1 : 0;
  const first = latentOf(Math.max(0, Math.floor(left / scale)), grid);
  const last = Math.min(plan.latent[0] - 1, latentOf(Math.ceil((left + width) / scale), grid));
  const every = Math.max(1, Math.floor(0.5 / pixels)); // more than one in a pixel cannot be seen
  for (let latent = first; latent <= last; latent += every) {
    const [from, to] = framesOf(latent, grid).map((frame) => frame * scale - left);
    stack(context, plan.shares[latent], from, Math.max(0.5, to - from - gap), VIDEO, colours);
  }
  context.fillStyle = colours.patch;
  for (const { frame } of plan.patches) {
    const x = (frame + 0.5) * scale - left;
    if (x > -4 && x < width + 4) context.fillRect(Math.round(x - 1.5), VIDEO.top - 2, 3, 4);
  }
}

function sounds(context, { document, plan: { plan }, left, width, scale, colours }) {
  const { latents, given, partial } = plan.audio;
  const perSecond = scale * document.fps;
  const latentAt = (x) => audioLatentOf((left + x) / perSecond, plan.grid);
  const step = Math.max(2, Math.ceil(plan.grid.seconds * perSecond));
  for (let x = 0; x < width; x += step) {
    const from = latentAt(x);
    const to = Math.min(latents, Math.max(from + 1, latentAt(x + step)));
    if (from >= to) break;
    stack(context, sharesOf(given, partial, from, to), x, step, SOUND, colours);
  }
}

function stack(context, shares, x, width, row, colours) {
  let bottom = row.top + row.height;
  for (const part of ["given", "lost", "again"]) {
    // what is there can be seen, however little it is
    const height = shares[part] === 0 ? 0 : Math.max(1, shares[part] * row.height);
    context.fillStyle = colours[part];
    const top = Math.max(row.top, bottom - height);
    context.fillRect(x, top, width, bottom - top);
    bottom = top;
  }
}
