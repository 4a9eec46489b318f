/** Latent grids in time (canvas/grid.py): each family of models has its own, which comes with the plan of a canvas. */

/**
 * temporal: frames per latent frame after the first, which has one of its own. seconds: of an audio latent; first: of
 * the first one, which may be shorter.
 * @typedef {{temporal: number, seconds: number, first: number}} Grid
 */

/** Mini's, before the first plan. @type {Grid} */
export const MINI = { temporal: 4, seconds: 1024 / 44100, first: 1024 / 44100 };

/** The latent frame that a frame of the canvas lies in. @param {number} frame @param {Grid} grid */
export function latentOf(frame, { temporal }) {
  return Math.ceil(frame / temporal);
}

/**
 * First frame of a latent frame, and the one after its last.
 * @param {number} latent
 * @param {Grid} grid
 * @returns {[number, number]}
 */
export function framesOf(latent, { temporal }) {
  return latent === 0 ? [0, 1] : [(latent - 1) * temporal + 1, latent * temporal + 1];
}

/** The audio latent that a time lies in. @param {number} time in seconds @param {Grid} grid */
export function audioLatentOf(time, { seconds, first }) {
  return Math.floor((time + seconds - first) / seconds + 1e-6);
}

/**
 * Frames at which latent frames begin that lie within `reach` of one of the places.
 * @param {number[]} places in frames
 * @param {number} reach
 * @param {Grid} grid
 */
export function boundariesNear(places, reach, { temporal }) {
  return places.flatMap((place) => {
    const nearest = place < 1 ? Math.max(0, Math.round(place)) : Math.round((place - 1) / temporal) * temporal + 1;
    return Math.abs(nearest - place) <= reach ? [nearest] : [];
  });
}
