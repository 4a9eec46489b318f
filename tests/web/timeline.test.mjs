/** Arithmetic of the timeline, and the edits that only it makes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { find } from "../../web/editor/document.js";
import { parse } from "../../web/editor/schema.js";
import { keyMoved, trimmed } from "../../web/editor/timeline_edits.js";
import { clockText, film, filmRate, stepOf } from "../../web/editor/timescale.js";

const canvas = parse(
  JSON.stringify({
    format: "skycanvas",
    version: 2,
    width: 64,
    height: 64,
    frames: 41,
    fps: 16,
    media: { clip: { kind: "clip", width: 64, height: 64, frames: 40, fps: 16 } },
    placements: [
      { id: "a", media: "clip", frame: 4, frames: 10, start: 1, box: { x: 0, y: 0, width: 64, height: 64 } },
      { id: "b", media: "clip", frame: 14, frames: 8, box: { x: 0, y: 0, width: 64, height: 64 } },
    ],
  }),
);
const placeOf = (document, id) => {
  const { frame, frames, start } = find(document, id);
  return [frame, frames, start];
};

test("marks of a ruler are as near as their labels allow", () => {
  assert.equal(stepOf("frames", 60, 46), 1);
  assert.equal(stepOf("frames", 4, 46), 12);
  assert.equal(stepOf("seconds", 64, 46), 1);
  assert.equal(stepOf("seconds", 1e-6, 46), 7200);
});

test("a time has as many digits as its marks need, and carries into the minute", () => {
  assert.equal(clockText(7.5, 0.5), "0:07.5");
  assert.equal(clockText(7.5, 1), "0:08");
  assert.equal(clockText(59.996), "1:00.00");
  assert.equal(clockText(61.25), "1:01.25");
});

test("pictures of a filmstrip stay where they are in the clip when its beginning is trimmed", () => {
  const strip = { from: 0, to: 100, width: 32, scale: 4, fps: 16 };
  assert.deepEqual(
    film({ ...strip, start: 0 }).map(({ x }) => x),
    [0, 32, 64, 96],
  );
  // half a second is 32 pixels, a quarter is 16: the first picture begins before the item
  assert.deepEqual(
    film({ ...strip, start: 0.25 }).map(({ x, time }) => [x, time]),
    [
      [-16, 0.25],
      [16, 0.5],
      [48, 1],
      [80, 1.5],
    ],
  );
});

test("only the part of a filmstrip that is seen has pictures", () => {
  const cells = film({ from: 1000, to: 1064, width: 32, start: 0, scale: 4, fps: 16 });
  assert.deepEqual(
    cells.map(({ x }) => x),
    [992, 1024, 1056],
  );
});

test("each picture of a filmstrip finds a frame of its own", () => {
  assert.equal(filmRate(16, 32, 40), 16); // zoomed in: a picture is less than a frame
  assert.equal(filmRate(16, 32, 4), 2); // a picture is 8 frames
  assert.equal(filmRate(16, 40, 4), 2); // 10 frames: not one in 16, which two pictures would share
  assert.equal(filmRate(16, 32, 0.02), 0.1); // a long canvas: the server gives no fewer
});

test("an end that is trimmed with what follows leaves no gap", () => {
  const shorter = trimmed(canvas, "a", "end", 11, true);
  assert.deepEqual(placeOf(shorter, "a"), [4, 7, 1]);
  assert.equal(find(shorter, "b").frame, 11);
  const alone = trimmed(canvas, "a", "end", 11, false);
  assert.equal(find(alone, "b").frame, 14);
});

test("a beginning that is trimmed with what follows leaves the item where it began", () => {
  const result = trimmed(canvas, "a", "start", 8, true);
  assert.deepEqual(placeOf(result, "a"), [4, 6, 1.25]);
  assert.equal(find(result, "b").frame, 10);
});

test("a key is moved up to its neighbours, and to the ends of its item", () => {
  const box = { x: 0, y: 0, width: 64, height: 64 };
  const item = { frames: 10, path: [2, 5, 8].map((at) => ({ at, box })) };
  const places = ({ path, at }) => [path.map((key) => key.at), at];
  assert.deepEqual(places(keyMoved(item, 5, 1.4)), [[2, 6, 8], 6]);
  assert.deepEqual(places(keyMoved(item, 5, 40)), [[2, 7, 8], 7]);
  assert.deepEqual(places(keyMoved(item, 5, -40)), [[2, 3, 8], 3]);
  assert.deepEqual(places(keyMoved(item, 2, -40)), [[1, 5, 8], 1]);
  assert.deepEqual(places(keyMoved(item, 8, 40)), [[2, 5, 9], 9]);
});
