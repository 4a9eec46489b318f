/** What the player of 'View Clip' computes: frames, seconds, shapes, notes. No page is needed for it. */

/**
 * A file in one of ComfyUI's folders.
 * @typedef {{filename: string, subfolder: string, type: string}} File
 *
 * Of a clip that was written: its sizes in pixels and frames, and its sound. `seconds` is how long that was before it
 * was made as long as the pictures; `peaks` are absolute values, for each channel, in stretches of equal length.
 * @typedef {{video: File, poster: File | null, width: number, height: number, frames: number,
 *            sound: {channels: number, sample_rate: number, seconds: number, peaks: number[][]} | null}} Clip
 *
 * What the node hands over. `sources`: none, one for all clips, or one for each; `differences`: one for each clip.
 * @typedef {{fps: number, clips: Clip[], sources: Clip[],
 *            differences?: {mean: number[], largest: number[]}[]}} View
 */

/** What is seen of a result and its source, in the order of the keys 1 to 5. */
export const MODES = ["result", "source", "side", "wipe", "difference"];

/** Times that the difference may be made brighter. */
export const GAINS = [1, 2, 4, 8, 16, 32];

/** Farther apart than this, in seconds, a video is not sped up but set to its place, which may take as long itself. */
const FAR = 0.7;

/** @returns {number} the frame that is shown so many seconds after the beginning */
export function frameAt(seconds, fps) {
  return Math.floor(seconds * fps + 1e-3); // times of a file are rounded
}

/** @returns {number} the middle of a frame in seconds: no rounding leads from there to a neighbour */
export function timeOf(frame, fps) {
  return (frame + 0.5) / fps;
}

/** @returns {number} value, or the bound that it exceeds */
export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** The route of a file on ComfyUI's server. */
export function routeOf({ filename, subfolder, type }) {
  return `/view?${new URLSearchParams({ filename, subfolder, type })}`;
}

/** The source that a clip is compared with; undefined if there is none. */
export function sourceOf(view, index) {
  return view.sources[Math.min(index, view.sources.length - 1)];
}

/**
 * How a video that should run along with another one catches up, or waits for it.
 * @param {number} ahead seconds
 * @param {number} round seconds after which both begin again; Infinity if they do not
 * @returns {{seek: boolean, rate: number}} whether to set it to the other's time; else how fast to play it
 */
export function steer(ahead, fps, round = Infinity) {
  const apart = round === Infinity ? ahead : ahead - round * Math.round(ahead / round);
  if (Math.abs(apart) > Math.max(FAR, 2 / fps)) return { seek: true, rate: 1 };
  if (Math.abs(apart) < 0.5 / fps) return { seek: false, rate: 1 };
  return { seek: false, rate: clamp(1 - 3 * apart, 0.5, 2) };
}

/**
 * The outline of a waveform, in a box as wide as there are peaks and 2 high: the shape of its channel.
 * @param {number[]} peaks 1 is full scale; louder is cut
 */
export function waveOutline(peaks) {
  const y = (peak) => (1 - clamp(peak, -1, 1)).toFixed(3);
  const above = peaks.map((peak, i) => `L${i} ${y(peak)}H${i + 1}`).join("");
  const below = peaks.map((peak, i) => `L${i + 1} ${y(-peak)}H${i}`).reverse().join("");
  return `M0 1${above}${below}Z`;
}

/**
 * A step for each frame, in a box as wide as there are frames and 1 high.
 * @param {number[]} values
 * @param {number} top that fills the height; smaller ones stand as high as their square root, to be seen at all
 */
export function steps(values, top) {
  const y = (value) => (1 - Math.sqrt(value / (top || 1))).toFixed(3);
  return `M0 1${values.map((value, i) => `V${y(value)}H${i + 1}`).join("")}V1Z`;
}

/**
 * How two pictures of equal size best lie in a box: beside each other, or one above the other.
 * @returns {"row" | "column"}
 */
export function arrangement(box, picture) {
  const scale = (columns, rows) => Math.min(box.width / columns / picture.width, box.height / rows / picture.height);
  return scale(2, 1) >= scale(1, 2) ? "row" : "column";
}

/** The largest size of a picture's proportions that fits into a box. */
export function fit(box, picture) {
  const scale = Math.min(box.width / picture.width, box.height / picture.height);
  return { width: picture.width * scale, height: picture.height * scale };
}

/** A clip in numbers, as keys of words.js with their values. */
export function facts(clip, fps) {
  const seconds = (clip.frames / fps).toFixed(2);
  const { width, height, frames, sound } = clip;
  const found = [["view.facts", { width, height, frames, fps: +fps.toFixed(3), seconds }]];
  if (!sound) return [...found, ["view.silent", {}]];
  const channels = { 1: "view.mono", 2: "view.stereo" }[sound.channels] ?? "view.channels";
  return [...found, [channels, { count: sound.channels }], ["view.rate", { rate: sound.sample_rate / 1000 }]];
}

/** What of a clip and its source does not go together, and what was done about it: keys of words.js with values. */
export function notes(view, index) {
  const clip = view.clips[index];
  const source = sourceOf(view, index);
  const found = [];
  if (source && (source.width !== clip.width || source.height !== clip.height)) {
    found.push(["view.note_size", { width: source.width, height: source.height }]);
  }
  if (source && source.frames !== clip.frames) {
    const common = Math.min(source.frames, clip.frames);
    found.push(["view.note_length", { source: source.frames, result: clip.frames, common }]);
  }
  const seconds = clip.frames / view.fps;
  if (clip.sound && Math.abs(clip.sound.seconds - seconds) > 1 / view.fps) {
    const key = clip.sound.seconds < seconds ? "view.note_sound_short" : "view.note_sound_long";
    found.push([key, { sound: clip.sound.seconds.toFixed(2), picture: seconds.toFixed(2) }]);
  }
  return found;
}
