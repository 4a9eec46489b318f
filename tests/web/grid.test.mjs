/** Latent grids in time: those of canvas/grid.py, for Mini and for LTX-2. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { empty } from "../../web/editor/document.js";
import { setCanvas } from "../../web/editor/edit_canvas.js";
import { audioLatentOf, boundariesNear, framesOf, latentOf, MINI } from "../../web/editor/grid.js";

const LTX = { temporal: 8, seconds: 0.04, first: 0.01 };

test("the first frame has a latent frame of its own, the others share one by as many as the model has", () => {
  const seen = (grid) => [[0, 1, 4, 5, 240].map((frame) => latentOf(frame, grid)), framesOf(2, grid)];
  assert.deepEqual(seen(MINI), [[0, 1, 1, 2, 60], [5, 9]]);
  assert.deepEqual(seen(LTX), [[0, 1, 1, 1, 30], [9, 17]]);
  assert.deepEqual(framesOf(0, LTX), [0, 1]);
});

test("latent frames begin at 0, 1, 5, 9, ...; of LTX-2 at 0, 1, 9, 17, ...", () => {
  assert.deepEqual(boundariesNear([0.2, 4.2, 7, 8.6], 1, MINI), [0, 5, 9]);
  assert.deepEqual(boundariesNear([0.2, 4.2, 7, 8.6], 1, LTX), [0, 9]);
  assert.deepEqual(boundariesNear([0.8], 0.5, MINI), [1]);
  assert.deepEqual(boundariesNear([-3], 1, MINI), []);
});

test("the first audio latent may be shorter than the others", () => {
  const second = 44100 / 1024;
  assert.deepEqual([0, 0.99, 1, 2.5].map((latents) => audioLatentOf(latents / second, MINI)), [0, 0, 1, 2]);
  assert.deepEqual([0, 0.009, 0.01, 0.049, 0.05].map((time) => audioLatentOf(time, LTX)), [0, 0, 1, 1, 2]);
});

test("a canvas at another rate is a whole number of the model's latent frames long", () => {
  const canvas = setCanvas(empty(), { frames: 17, fps: 16 });
  assert.equal(setCanvas(canvas, { fps: 20 }).frames, 21);
  assert.equal(setCanvas(canvas, { fps: 20 }, LTX).frames, 25);
});
