/** Strokes become masks in files: which mask they change, and what becomes of one whose upload fails. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Brush } from "../../web/editor/brush.js";
import { find } from "../../web/editor/document.js";
import { Session } from "../../web/editor/session.js";

/** As much of a canvas as a brush needs: after a stroke all of it is opaque. */
class Canvas {
  getContext() {
    const { width, height } = this;
    return {
      beginPath() {},
      moveTo() {},
      lineTo() {},
      stroke() {
        strokes.push(this.lineWidth);
      },
      drawImage() {},
      putImageData() {},
      getImageData: () => ({ width, height, data: new Uint8ClampedArray(4 * width * height).fill(255) }),
    };
  }

  toBlob(done) {
    done(new Blob(["pixels"]));
  }
}

/** Widths of the strokes that were drawn. */
const strokes = [];
globalThis.document = { createElement: () => new Canvas() };

const box = { x: 0, y: 0, width: 2048, height: 8 };
const mask = (fields) => ({ kind: "mask", width: 2048, height: 8, frames: 1, ...fields });
const text = JSON.stringify({
  format: "skycanvas",
  version: 2,
  width: 64,
  height: 8,
  frames: 17,
  fps: 16,
  media: { one: mask({ file: "one.png" }), many: mask({ file: "many.webm", frames: 17 }) },
  regions: [
    { kind: "mask", id: "one", action: "keep", media: "one", frame: 0, frames: 17, box },
    { kind: "mask", id: "many", action: "keep", media: "many", frame: 0, frames: 17, box },
  ],
});

let session, library, painter, brush, said, uploads;

beforeEach(() => {
  session = new Session({ onCommit() {} });
  session.load(text);
  session.setTool("brush");
  said = [];
  session.addEventListener("message", ({ detail }) => said.push(detail));
  uploads = 0;
  library = {
    forgotten: [],
    known: (media) => media,
    size: ({ width, height }) => ({ width, height }),
    upload: async () => `skycanvas/mask_${++uploads}.png`,
    hold: async () => {},
    forget: (file) => library.forgotten.push(file),
  };
  painter = { stencil: (...asked) => (painter.asked = asked) && new Canvas(), hidden: null };
  brush = new Brush({ session, library, painter });
});

function stroke() {
  brush.start({ x: 1, y: 1, pressure: 1 }, { erase: false, action: "generate" });
  brush.end();
  return brush.saving;
}

test("a stroke changes the mask that is selected, of which all pixels are asked for", async () => {
  session.select(["one"]);
  await stroke();
  assert.deepEqual([painter.asked[0].file, painter.asked[2]], ["one.png", 2048]);
  assert.equal(find(session.document, "one").media, "skycanvas/mask_1.png");
  assert.deepEqual(library.forgotten, ["one.png"]);
});

test("a mask of several frames stays as it is", async () => {
  session.select(["many"]);
  await stroke();
  assert.equal(find(session.document, "many").media, "many");
  assert.equal(session.document.regions.length, 3);
  assert.deepEqual([...session.selection], [session.document.regions[2].id]);
  assert.deepEqual(library.forgotten, []);
});

test("a mask that cannot be saved is said, and goes with the stroke that was painted on it meanwhile", async () => {
  const { upload } = library;
  library.upload = async () => {
    library.upload = upload;
    throw new Error("no connection");
  };
  stroke();
  const { work } = brush;
  const both = stroke();
  assert.equal(brush.work, work);
  await both;
  assert.deepEqual([said.length, said[0].level], [1, "error"]);
  assert.match(said[0].text, /no connection/);
  assert.equal(session.document.regions.length, 3);
  assert.deepEqual([brush.work, brush.pending], [null, 0]);
});

test("a stroke that cannot be saved waits for the next one, wherever that is", async () => {
  const { upload } = library;
  library.upload = async () => {
    throw new Error("no connection");
  };
  await stroke();
  const { work } = brush;
  assert.equal(work.unsaved, true);
  library.upload = upload;
  session.seek(5);
  await stroke();
  assert.equal(brush.work, null);
  assert.deepEqual([session.document.regions.length, find(session.document, work.region).frame], [3, 0]);
});

test("a stroke that cannot be saved is given up with the tool", async () => {
  library.upload = async () => {
    throw new Error("no connection");
  };
  await stroke();
  session.setTool("erase");
  assert.equal(brush.work.unsaved, true);
  session.setTool("select");
  assert.equal(brush.work, null);
  stroke();
  session.setTool("brush"); // back before it has failed
  await brush.saving;
  assert.equal(brush.work.unsaved, true);
  assert.equal(session.document.regions.length, 2);
});

test("a mask that is saved while something is dragged leaves the drag alone", async () => {
  brush.start({ x: 1, y: 1, pressure: 1 }, { erase: false, action: "generate" });
  session.select(["many"]);
  session.begin();
  brush.end();
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(session.gesturing, true);
  assert.equal(session.document.regions.length, 2);
  session.commit();
  await brush.saving;
  assert.equal(session.document.regions.length, 3);
  assert.deepEqual([...session.selection], ["many"]);
});

test("a stroke is as wide as the pen presses, a quarter of the brush at least", () => {
  session.brushSize = 40;
  strokes.length = 0;
  brush.start({ x: 1, y: 1, pressure: 0 }, { erase: false, action: "generate" });
  for (const pressure of [0.2, 0.6, 1]) brush.move({ x: 2, y: 1, pressure });
  brush.cancel();
  assert.deepEqual(strokes, [10, 16, 28, 40]);
});
