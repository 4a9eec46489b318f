/** Where things lie on the stage, without a page. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { opaqueBox } from "../../web/editor/brush.js";
import { empty } from "../../web/editor/document.js";
import { setMedia } from "../../web/editor/edit_canvas.js";
import { update } from "../../web/editor/edit_items.js";
import {
  around,
  between,
  contains,
  firstBox,
  fit,
  fitted,
  handleAt,
  HANDLES,
  meets,
  nearest,
  placeOf,
  resized,
  runs,
  zoomed,
} from "../../web/editor/geometry.js";
import { cutShort, fileName, isUsed, placeFile, placeInput, replaceFile } from "../../web/editor/place.js";
import { canonical, CanvasError, parse } from "../../web/editor/schema.js";

const box = (x, y, width, height) => ({ x, y, width, height });
const handle = (name) => HANDLES.find((handle) => handle.name === name);

test("a canvas is shown whole, in the middle of its view", () => {
  assert.deepEqual(fit({ width: 64, height: 32 }, { width: 148, height: 200 }, 10), { scale: 2, x: 10, y: 68 });
  assert.ok(fit({ width: 64, height: 64 }, { width: 0, height: 0 }, 10).scale > 0, "also before the page has a layout");
});

test("what lies under the pointer stays there while one zooms", () => {
  const view = zoomed({ scale: 2, x: 10, y: 20 }, 3, { x: 50, y: 60 });
  assert.deepEqual(view, { scale: 6, x: -70, y: -60 });
  assert.equal((50 - view.x) / view.scale, (50 - 10) / 2);
});

test("boxes do not hold their right and lower edges", () => {
  assert.ok(contains(box(2, 2, 4, 4), { x: 2, y: 5.9 }));
  assert.ok(!contains(box(2, 2, 4, 4), { x: 6, y: 3 }));
  assert.ok(!meets(box(0, 0, 4, 4), box(4, 0, 4, 4)));
  assert.ok(meets(box(0, 0, 4, 4), box(3, 3, 4, 4)));
});

test("a drawn box holds both of its corners, whichever way one draws", () => {
  assert.deepEqual(between({ x: 9.2, y: 4.5 }, { x: 3.7, y: 8.1 }), box(3, 4, 7, 5));
  assert.deepEqual(between({ x: 5, y: 5 }, { x: 5, y: 5 }), box(5, 5, 1, 1));
});

test("the box around boxes", () => {
  assert.deepEqual(around([box(0, 5, 2, 2), box(-3, 0, 4, 4)]), box(-3, 0, 5, 7));
  assert.equal(around([]), null);
});

test("handles lie on the corners and in the middle of the sides", () => {
  assert.deepEqual(placeOf(handle("se"), box(2, 4, 10, 20)), { x: 12, y: 24 });
  assert.deepEqual(placeOf(handle("n"), box(2, 4, 10, 20)), { x: 7, y: 4 });
  assert.equal(handleAt(box(0, 0, 100, 100), { x: 98, y: 52 }, 5).name, "e");
  assert.equal(handleAt(box(0, 0, 100, 100), { x: 50, y: 50 }, 5), null);
});

test("a small box is pulled at its lower right corner", () => {
  assert.equal(handleAt(box(0, 0, 4, 4), { x: 3, y: 3 }, 7).name, "se");
  assert.equal(handleAt(box(0, 0, 20, 20), { x: 10, y: 0 }, 7), null, "no room for the handle of its upper side");
});

test("a handle takes its edges along and no other", () => {
  assert.deepEqual(resized(box(10, 10, 20, 20), handle("se"), 5, -3), box(10, 10, 25, 17));
  assert.deepEqual(resized(box(10, 10, 20, 20), handle("nw"), 5, -3), box(15, 7, 15, 23));
  assert.deepEqual(resized(box(10, 10, 20, 20), handle("e"), 5, 99), box(10, 10, 25, 20));
});

test("a box keeps one pixel, and its other edge, when it is pulled over itself", () => {
  assert.deepEqual(resized(box(10, 10, 20, 20), handle("w"), 50, 0), box(29, 10, 1, 20));
  assert.deepEqual(resized(box(10, 10, 20, 20), handle("se"), -50, -50), box(10, 10, 1, 1));
});

test("in proportion, the side that was pulled further decides", () => {
  assert.deepEqual(resized(box(0, 0, 40, 20), handle("se"), 40, 0, { proportional: true }), box(0, 0, 80, 40));
  assert.deepEqual(resized(box(0, 0, 40, 20), handle("nw"), -40, 0, { proportional: true }), box(-40, -20, 80, 40));
  assert.deepEqual(resized(box(0, 0, 40, 20), handle("e"), 40, 0, { proportional: true }), box(0, -10, 80, 40));
});

test("from the middle, both edges go", () => {
  assert.deepEqual(resized(box(10, 10, 20, 20), handle("e"), 5, 0, { centred: true }), box(5, 10, 30, 20));
});

test("the nearest line within reach draws an edge", () => {
  assert.deepEqual(nearest([10, 20], [0, 12, 21], 3), { shift: 1, line: 21 });
  assert.equal(nearest([10, 20], [0, 40], 3), null);
  assert.deepEqual(nearest([10], [10], 3), { shift: 0, line: 10 }, "one that lies there already");
});

test("pictures fill boxes as canvas/layers.py does", () => {
  const picture = { width: 40, height: 20 };
  assert.deepEqual(fitted(picture, box(0, 0, 30, 30), "stretch"), box(0, 0, 30, 30));
  assert.deepEqual(fitted(picture, box(0, 0, 30, 30), "contain"), box(0, 7, 30, 15));
  assert.deepEqual(fitted(picture, box(0, 0, 30, 30), "cover"), box(-15, 0, 60, 30));
});

test("media takes its own size around the pointer, inside the frame, or all of the frame", () => {
  const canvas = { width: 64, height: 64 };
  assert.deepEqual(firstBox({ width: 16, height: 8 }, canvas, { x: 60, y: 30 }), box(48, 26, 16, 8));
  assert.deepEqual(firstBox({ width: 16, height: 8 }, canvas, null), box(24, 28, 16, 8));
  assert.deepEqual(firstBox({ width: 640, height: 8 }, canvas, { x: 1, y: 1 }), box(0, 0, 64, 64));
});

test("cells are drawn in runs", () => {
  const cells = ["##.#", "....", ".###"];
  assert.deepEqual(
    runs(3, 4, (row, column) => cells[row][column] === "#"),
    [
      { row: 0, column: 0, length: 2 },
      { row: 0, column: 3, length: 1 },
      { row: 2, column: 1, length: 3 },
    ],
  );
});

test("a mask is cut to what is half opaque or more", () => {
  const data = new Uint8ClampedArray(4 * 5 * 4);
  const paint = (x, y, opacity) => (data[4 * (y * 5 + x) + 3] = opacity);
  paint(1, 2, 255);
  paint(3, 1, 128);
  paint(4, 3, 127);
  assert.deepEqual(opaqueBox({ data, width: 5, height: 4 }), box(1, 1, 3, 2));
  assert.equal(opaqueBox({ data: new Uint8ClampedArray(16), width: 2, height: 2 }), null);
});

// --- new media

const picture = { kind: "image", width: 32, height: 16, frames: null, fps: null, alpha: true, sound: null };
const sound = { samples: 32000, sample_rate: 16000, channels: 1 };
const clip = { kind: "clip", width: 640, height: 480, frames: 8, fps: 16, alpha: false, sound };

test("a picture takes the frame at which it is dropped, with its alpha channel", () => {
  const { document, ids } = placeFile(empty(), "a/face.png", picture, { frame: 5, point: { x: 32, y: 32 } });
  const [item] = document.placements;
  assert.deepEqual(ids, [item.id]);
  assert.deepEqual([item.frame, item.frames, item.alpha], [5, 1, "a/face.png alpha"]);
  assert.deepEqual(document.media["a/face.png alpha"].file, "a/face.png");
});

test("a clip brings its sound, and neither is longer than it has", () => {
  const { document, ids } = placeFile(empty(), "clip.mkv", clip, { frame: 4 });
  const [item] = document.placements;
  assert.deepEqual([item.frame, item.frames, item.box], [4, 8, box(0, 0, 64, 64)]);
  assert.deepEqual([document.sounds[0].time, document.sounds[0].media], [0.25, "clip.mkv sound"]);
  assert.equal(ids.length, 2);
  assert.ok(document.sounds[0].duration <= 17 / 16 - 0.25);
});

test("what the canvas has no room for is told", () => {
  const { document, ids } = placeFile(empty(), "song.flac", { kind: "sound", sound }, { frame: 0 });
  assert.equal(cutShort(document, ids, 2), document.sounds[0].duration);
  assert.equal(cutShort(document, ids, document.sounds[0].duration), null);
});

test("clips bring their alpha channel along, but for GIFs", () => {
  const masks = (file) =>
    Object.values(placeFile(empty(), file, { ...clip, alpha: true }, { frame: 0 }).document.media).filter(
      ({ kind }) => kind === "mask",
    ).length;
  assert.deepEqual([masks("clip.mov"), masks("clip.gif"), masks("CLIP.GIF")], [1, 0, 0]);
});

test("a file is replaced with all that is read from it; without an alpha channel it shows whole", () => {
  const { document } = placeFile(empty(), "face.png", picture, { frame: 0 });
  const files = (result) => Object.values(result.media).map(({ file }) => file);
  const cut = replaceFile(document, "face.png", "moon.png", true);
  assert.deepEqual([files(cut), cut.placements[0].alpha], [["moon.png", "moon.png"], "face.png alpha"]);
  const whole = replaceFile(document, "face.png", "moon.jpg", false);
  assert.deepEqual([whole.media["face.png"].file, whole.placements[0].alpha], ["moon.jpg", null]);
  assert.equal(whole.media["face.png alpha"].file, "face.png", "its luminance is no mask");
});

test("a mask is replaced by the luminance of a picture without an alpha channel", () => {
  const media = { hole: { kind: "mask", file: "hole.png" } };
  const masked = { ...placeFile(empty(), "face.jpg", { ...picture, alpha: false }, { frame: 0 }).document };
  const document = update(setMedia(masked, "hole", media.hole), "placement_1", { alpha: "hole" });
  const result = replaceFile(document, "hole.png", "hole.jpg", false);
  assert.deepEqual([result.media.hole.file, result.placements[0].alpha], ["hole.jpg", "hole"]);
});

test("a file has a name that a document takes, whatever system it comes from", () => {
  const name = fileName("Screenshot 9.41\u202fAM \u3000か\u3099\u00a0a:b\\c\u200b.png");
  assert.equal(name, "Screenshot 9.41 AM  が a_b_c_.png");
  const { document } = placeFile(empty(), name, picture, { frame: 0 });
  assert.deepEqual(parse(canonical(document)), document);
});

test("what comes through an input is placed before its facts are known, but for masks", () => {
  const where = { frame: 0 };
  const image = placeInput(empty(), "image_0", { kind: "image", input: "image_0" }, where).document;
  assert.deepEqual(image.placements[0].box, box(0, 0, 64, 64));
  const mask = { kind: "mask", input: "mask_0" };
  assert.throws(() => placeInput(empty(), "mask_0", mask, where), CanvasError);
  const [region] = placeInput(empty(), "mask_0", { ...mask, width: 32, height: 16, frames: 1 }, where).document.regions;
  assert.deepEqual([region.kind, region.frames, region.box], ["mask", 17, box(0, 0, 32, 16)]);
});

test("media is used by items, as their alpha, and by references", () => {
  const { document } = placeFile(empty(), "face.png", picture, { frame: 0 });
  assert.ok(isUsed(document, "face.png") && isUsed(document, "face.png alpha"));
  assert.ok(!isUsed(document, "other.png"));
});
