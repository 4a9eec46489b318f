// The editing session: when the value of the node changes, and when it must not.

import assert from "node:assert/strict";
import test from "node:test";

import { empty, itemsOf } from "../../web/editor/document.js";
import { ArrowKeys } from "../../web/editor/dom.js";
import { setCanvas } from "../../web/editor/edit_canvas.js";
import { add, remove, update } from "../../web/editor/edit_items.js";
import { moveInTime } from "../../web/editor/edit_time.js";
import { canonical, parse } from "../../web/editor/schema.js";
import { Session, TOOLS } from "../../web/editor/session.js";
import * as model from "./operations.mjs";
import { Random, randomDocument, randomEdit } from "./random_documents.mjs";

const span = (id) => ({ kind: "span", id, action: "keep", time: 0, duration: 0.5 });
const ONE = add(empty(), "regions", span("a"));
const TWO = add(ONE, "regions", span("b"));

/** A session that shows a document, what it committed and which events it sent. */
function opened(document = TWO, onCommit = () => {}) {
  const commits = [];
  const events = [];
  const session = new Session({
    onCommit(text) {
      commits.push(text);
      onCommit(text, session);
    },
  });
  session.load(typeof document === "string" ? document : canonical(document));
  for (const type of ["document", "selection", "playhead", "tool", "plan", "media", "message"]) {
    session.addEventListener(type, ({ detail }) => events.push(detail ? [type, detail] : [type]));
  }
  return { session, commits, events };
}

test("an edit is one commit of the canonical text", () => {
  const { session, commits, events } = opened();
  assert.equal(
    session.edit((document) => moveInTime(document, ["a"], 4)),
    true,
  );
  assert.deepEqual(commits, [canonical(moveInTime(TWO, ["a"], 4))]);
  assert.equal(session.text, commits[0]);
  assert.deepEqual(events, [
    ["document", { committed: false }],
    ["document", { committed: true }],
  ]);
  assert.equal(session.edit(ONE), true);
  assert.equal(session.text, canonical(ONE));
});

test("what changes nothing commits nothing", () => {
  const { session, commits } = opened();
  assert.equal(
    session.edit((document) => moveInTime(document, ["a"], -4)),
    false,
  );
  assert.equal(
    session.edit((document) => update(document, "a", { action: "keep" })),
    false,
  );
  session.begin();
  session.preview((document) => moveInTime(document, ["a"], 4));
  session.preview((document) => document);
  assert.equal(session.commit(), false);
  assert.deepEqual(commits, []);
});

test("a text that is not canonical, or of an older version, is left alone until something changes", () => {
  const text = JSON.stringify({ format: "skycanvas", version: 1, width: 64, height: 64, frames: 17, fps: 16 }, null, 2);
  const { session, commits } = opened(text);
  session.edit((document) => document);
  assert.deepEqual([session.text, commits], [text, []]);
  session.edit((document) => setCanvas(document, { frames: 33 }));
  assert.deepEqual(commits, [canonical(empty({ frames: 33 }))]);
});

test("a gesture is one commit, however many steps it has; each step begins from where it began", () => {
  const { session, commits, events } = opened();
  assert.equal(session.begin(), true);
  for (const frames of [1, 2, 3])
    assert.equal(
      session.preview((document) => moveInTime(document, ["a"], frames)),
      true,
    );
  assert.equal(session.document.regions[0].time, 3 / 16);
  assert.equal(session.text, canonical(TWO));
  assert.equal(session.gesturing, true);
  assert.equal(session.commit(), true);
  assert.equal(session.gesturing, false);
  assert.deepEqual(commits, [canonical(moveInTime(TWO, ["a"], 3))]);
  assert.deepEqual(
    events.map(([, detail]) => detail.committed),
    [false, false, false, true],
  );
  assert.equal(session.commit(), false);
});

test("cancel brings back the very document", () => {
  const { session, commits, events } = opened();
  const before = session.document;
  session.begin();
  session.preview((document) => remove(document, ["a"]));
  session.cancel();
  assert.equal(session.document, before);
  assert.deepEqual([commits, session.gesturing, events.at(-1)], [[], false, ["document", { committed: true }]]);
  session.cancel();
  assert.equal(events.length, 2);
});

test("an edit in the middle of a gesture commits that first", () => {
  const { session, commits } = opened();
  session.begin();
  session.preview((document) => moveInTime(document, ["a"], 4));
  session.edit((document) => remove(document, ["b"]));
  assert.deepEqual(commits, [
    canonical(moveInTime(TWO, ["a"], 4)),
    canonical(remove(moveInTime(TWO, ["a"], 4), ["b"])),
  ]);
});

test("an operation that is refused leaves everything as it was, and says why", () => {
  const { session, commits, events } = opened();
  assert.equal(
    session.edit((document) => remove(document, ["nobody"])),
    false,
  );
  assert.deepEqual(events[0], [
    "message",
    { level: "error", text: '"nobody" is no item of the canvas: it may have been removed' },
  ]);
  session.begin();
  session.preview((document) => moveInTime(document, ["a"], 4));
  assert.equal(
    session.preview((document) => update(document, "a", { time: -1 })),
    false,
  );
  assert.equal(session.document.regions[0].time, 0.25);
  assert.equal(session.commit(), true);
  assert.equal(commits.length, 1);
  assert.throws(() => session.edit(() => null.width), TypeError);
});

test("the echo of a commit is passed over", () => {
  const { session, commits, events } = opened(TWO, (text, session) => session.load(text));
  session.select(["a"]);
  session.edit((document) => moveInTime(document, ["a"], 4));
  const document = session.document;
  session.load(session.text);
  assert.equal(session.document, document);
  assert.equal(commits.length, 1);
  assert.deepEqual(
    events.map(([type]) => type),
    ["selection", "document", "document"],
  );
});

test("another text is shown: undo; a gesture ends, and nothing is committed", () => {
  const { session, commits, events } = opened();
  session.begin();
  session.preview((document) => moveInTime(document, ["a"], 4));
  session.load(canonical(ONE));
  assert.deepEqual([session.document.regions.length, session.gesturing, commits], [1, false, []]);
  assert.equal(session.commit(), false);
  assert.deepEqual(events.at(-1), ["document", { committed: true }]);
});

test("text that is unreadable is kept, shown with its reason, and never overwritten", () => {
  for (const text of ["{", "", '{"format":"doodle"}', null, 3]) {
    const { session, commits, events } = opened();
    session.load(text);
    assert.deepEqual([session.readable, session.editable, session.text], [false, false, text]);
    assert.ok(session.error.length > 10);
    assert.deepEqual(itemsOf(session.document), []);
    assert.equal(session.begin(), false);
    assert.equal(session.preview(ONE), false);
    assert.equal(session.edit(ONE), false);
    assert.equal(session.commit(), false);
    assert.deepEqual([session.text, commits], [text, []]);
    assert.deepEqual(events.at(-1), ["message", { level: "warning", text: session.error }]);
    session.load(canonical(ONE));
    assert.deepEqual([session.readable, session.error, session.edit(TWO)], [true, null, true]);
  }
});

test("a text that is loaded first thing is read, even an empty one", () => {
  const session = new Session({ onCommit() {} });
  assert.deepEqual([session.text, session.readable], [null, true]);
  session.load("");
  assert.equal(session.readable, false);
});

test("a canvas that a wire drives cannot be edited", () => {
  const { session, commits, events } = opened();
  session.begin();
  session.preview((document) => moveInTime(document, ["a"], 4));
  session.locked = true;
  assert.equal(session.document.regions[0].time, 0);
  assert.deepEqual([session.edit(ONE), session.begin(), commits], [false, false, []]);
  assert.equal(events.at(-1)[0], "message");
  session.locked = false;
  assert.equal(session.edit(ONE), true);
});

test("a canvas that would become too large is not committed", () => {
  const { session, commits, events } = opened();
  const box = { x: -16000, y: -16000, width: 16384, height: 16384 };
  const path = Array.from({ length: 999 }, (_, i) => ({ at: i + 1, box }));
  const region = { kind: "box", action: "keep", frame: 0, frames: 1000, box, path };
  let large = add(setCanvas(empty(), { frames: 1000 }), "regions", region);
  const [{ id, ...same }] = large.regions;
  for (let i = 0; i < 70; i++) large = add(large, "regions", same);
  assert.ok(canonical(large).length > 4 * 2 ** 20);
  assert.equal(session.edit(large), false);
  assert.deepEqual([session.document.regions.length, commits], [2, []]);
  assert.ok(events.some(([type, detail]) => type === "message" && detail.text.includes("4194304")));
});

test("the selection holds existing items only", () => {
  const { session, events } = opened();
  session.select(["a", "nobody"]);
  assert.deepEqual([...session.selection], ["a"]);
  session.select(["b"], { add: true });
  assert.deepEqual([...session.selection], ["a", "b"]);
  session.select(["a"], { add: true });
  assert.deepEqual([...session.selection], ["b"]);
  session.select(["b"]);
  assert.equal(events.length, 3);
  session.edit((document) => remove(document, ["b"]));
  assert.equal(session.selection.size, 0);
  session.load(canonical(ONE));
  assert.equal(session.selection.size, 0);
});

test("the playhead stays on the canvas", () => {
  const { session, events } = opened();
  for (const [frame, expected] of [
    [5, 5],
    [5.9, 5],
    [-3, 0],
    [99, 16],
    [Number.NaN, 16],
    [Infinity, 16],
  ]) {
    session.seek(frame);
    assert.equal(session.playhead, expected);
  }
  assert.equal(events.length, 3);
  session.edit((document) => setCanvas(document, { frames: 5 }));
  assert.equal(session.playhead, 4);
});

test("tools and plan tell when they change", () => {
  const { session, events } = opened();
  for (const tool of TOOLS) session.setTool(tool);
  assert.throws(() => session.setTool("magic"), RangeError);
  session.setTool("brush");
  session.brushSize = 12.4;
  session.brushSize = 12;
  session.brushSize = -5;
  session.loop = !session.loop;
  session.snapping = !session.snapping;
  assert.deepEqual([session.tool, session.brushSize], ["brush", 1]);
  assert.equal(events.filter(([type]) => type === "tool").length, TOOLS.length - 1 + 1 + 2 + 2);
  session.plan = { latent: [3, 4, 4] };
  session.plan = session.plan;
  assert.equal(events.filter(([type]) => type === "plan").length, 1);
});

test("while its node is away nothing can be edited; selection and playhead stay", () => {
  const { session, commits, events } = opened();
  session.select(["a"]);
  session.seek(7);
  session.begin();
  session.preview((document) => moveInTime(document, ["a"], 4));
  session.away = true;
  assert.equal(session.document.regions[0].time, 0);
  assert.deepEqual([session.editable, session.edit(ONE), commits], [false, false, []]);
  assert.equal(events.at(-1)[0], "message");
  session.load(canonical(ONE));
  session.away = false;
  assert.deepEqual([[...session.selection], session.playhead, session.edit(TWO)], [["a"], 7, true]);
});

test("what comes later waits for the end of a gesture, and builds on it", async () => {
  for (const end of ["commit", "cancel"]) {
    const { session, commits } = opened();
    session.begin();
    session.preview((document) => moveInTime(document, ["a"], 2));
    const made = session.later((document) => remove(document, ["b"]));
    assert.equal(
      session.preview((document) => moveInTime(document, ["a"], 4)),
      true,
    );
    assert.deepEqual(commits, []);
    session[end]();
    assert.equal(await made, true);
    const moved = end === "commit" ? moveInTime(TWO, ["a"], 4) : TWO;
    assert.equal(commits.at(-1), canonical(remove(moved, ["b"])));
  }
});

test("what comes later waits for the node, and goes into what that holds then", async () => {
  const { session, commits } = opened();
  session.away = true;
  const made = session.later((document) => moveInTime(document, ["a"], 4));
  session.load(canonical(ONE));
  assert.deepEqual(commits, []);
  session.away = false;
  assert.equal(await made, true);
  assert.deepEqual(commits, [canonical(moveInTime(ONE, ["a"], 4))]);
});

test("what comes later is done at once where nothing is in its way; it tells whether it was done", async () => {
  const { session, commits } = opened();
  const first = session.later((document) => moveInTime(document, ["a"], 4));
  assert.equal(commits.length, 1);
  assert.deepEqual([await first, await session.later((document) => remove(document, ["nobody"]))], [true, false]);
  await assert.rejects(
    session.later(() => null.width),
    TypeError,
  );
  session.locked = true;
  assert.equal(await session.later(ONE), false);
});

test("items that a change of the canvas takes away are told; those that are removed are not", () => {
  const { session, events } = opened();
  const said = () => events.filter(([type]) => type === "message").map(([, { text }]) => text);
  session.edit((document) => add(document, "regions", { ...span("c"), time: 0.9, duration: 0.1 }));
  session.edit((document) => remove(document, ["b"]));
  assert.deepEqual(said(), []);
  session.edit((document) => setCanvas(document, { frames: 13 }));
  assert.deepEqual(said(), ["1 items no longer fit and were removed. Undo brings them back."]);
});

test("an arrow key that is held down is one commit", () => {
  globalThis.window = new EventTarget();
  const key = (type, name) => window.dispatchEvent(Object.assign(new Event(type), { key: name }));
  const { session, commits } = opened();
  const arrows = new ArrowKeys(session);
  const press = (frames) => arrows.press((document) => moveInTime(document, ["a"], frames));
  for (const frames of [1, 2, 3]) assert.equal(press(frames), true);
  key("keyup", "Shift");
  assert.deepEqual(commits, []);
  key("keyup", "ArrowRight");
  assert.deepEqual(commits, [canonical(moveInTime(TWO, ["a"], 3))]);
  press(1);
  window.dispatchEvent(new Event("focusout"));
  assert.equal(commits.length, 2);
  press(1);
  session.begin(); // a drag ends it, and goes on whatever key is let go
  key("keyup", "ArrowRight");
  assert.deepEqual([commits.length, session.gesturing], [3, true]);
  session.locked = true;
  assert.equal(press(1), false);
  delete globalThis.window;
});

test("new media are told", () => {
  const { session, events } = opened();
  session.edit((document) => model.setMedia(document, "pic", { kind: "image", file: "pic.png" }));
  session.edit((document) => moveInTime(document, ["a"], 1));
  assert.equal(events.filter(([type]) => type === "media").length, 1);
});

test("whatever is done and then cancelled is undone, and nothing is committed", () => {
  for (let seed = 0; seed < 100; seed++) {
    const random = new Random(seed);
    const { session, commits } = opened(randomDocument(random));
    const { document, text } = session;
    session.begin();
    for (let i = 0; i < 5; i++) {
      const [operation, args] = randomEdit(random, document);
      session.preview((before) => model[operation](before, ...args));
    }
    session.cancel();
    assert.equal(session.document, document);
    assert.deepEqual([session.text, commits], [text, []]);
  }
});

test("what is committed is what is shown, and can be read", () => {
  for (let seed = 0; seed < 100; seed++) {
    const random = new Random(seed);
    const { session, commits } = opened(randomDocument(random));
    for (let i = 0; i < 8; i++) {
      const [operation, args] = randomEdit(random, session.document);
      const before = session.text;
      const changed = session.edit((document) => model[operation](document, ...args));
      assert.equal(changed, session.text !== before);
      assert.deepEqual(parse(session.text), session.document);
    }
    assert.equal(new Set(commits.slice(-1)).has(session.text) || commits.length === 0, true);
  }
});
