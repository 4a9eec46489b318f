/** Arithmetic of the timeline: frames, seconds and pixels. No page. */

/** Steps between marks of a ruler, in frames and in seconds. */
const FRAME_STEPS = [1, 2, 4, 8, 12, 24, 48, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000];
const SECOND_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200];

/**
 * The smallest step between marks that are at least `distance` pixels apart.
 * @param {"frames" | "seconds"} unit
 * @param {number} pixels per frame or second
 * @param {number} distance
 */
export function stepOf(unit, pixels, distance) {
  const steps = unit === "frames" ? FRAME_STEPS : SECOND_STEPS;
  return steps.find((step) => step * pixels >= distance) ?? steps[steps.length - 1];
}

/**
 * Seconds as "0:07.5", with as many digits as marks `step` seconds apart need.
 * @param {number} seconds
 * @param {number} [step]
 */
export function clockText(seconds, step = 0.01) {
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : 2;
  const units = Math.round(seconds * 10 ** digits);
  const whole = Math.floor(units / 10 ** digits);
  const minutes = Math.floor(whole / 60);
  const rest = String(whole % 60).padStart(2, "0");
  const part = digits ? `.${String(units % 10 ** digits).padStart(digits, "0")}` : "";
  return `${minutes}:${rest}${part}`;
}

/** Seconds as a text has them: to the hundredth. @param {number} seconds */
export function hundredths(seconds) {
  return Math.round(seconds * 100) / 100;
}

/**
 * Cells of a filmstrip: pictures of `width` pixels side by side, which stay where they are in the clip when its ends
 * are trimmed. The clip is `scale` pixels long per frame of the canvas.
 * @param {{from: number, to: number, width: number, start: number, scale: number, fps: number}} strip
 *   from, to: pixels of the item to be covered; start: seconds into the clip
 * @returns {{x: number, time: number}[]} left edge in pixels of the item, and seconds into the clip
 */
export function film({ from, to, width, start, scale, fps }) {
  const origin = start * fps * scale;
  const cells = [];
  for (let n = Math.floor((origin + from) / width); n * width < origin + to; n++) {
    cells.push({ x: n * width - origin, time: Math.max(start, (n * width) / (fps * scale)) });
  }
  return cells;
}

/** Frames per second of a sheet, at least: nodes/routes.py. */
const LEAST_RATE = 0.1;

/**
 * The rate of a filmstrip's sheet: the canvas' own, halved while a picture still finds one of its own.
 * @param {number} fps
 * @param {number} width of a picture, in pixels
 * @param {number} scale pixels per frame
 */
export function filmRate(fps, width, scale) {
  return Math.max(LEAST_RATE, fps / 2 ** Math.max(0, Math.floor(Math.log2(width / scale))));
}
