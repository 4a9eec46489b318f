// What keys and buttons do to what is selected: the edit, and what is selected afterwards.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { copy } from "../../web/editor/clipboard.js";
import { addSpan, duplicateSelected, pasteText, removeSelected, trimSelected } from "../../web/editor/commands.js";
import { empty, find } from "../../web/editor/document.js";
import { add } from "../../web/editor/edit_items.js";
import { canonical } from "../../web/editor/schema.js";
import { Session } from "../../web/editor/session.js";

const box = { x: 0, y: 0, width: 8, height: 8 };
const region = (id) => ({ kind: "box", id, action: "generate", frame: 0, frames: 17, box });
const TWO = add(add(empty(), "regions", region("a")), "regions", region("b"));

let session, messages;

beforeEach(() => {
  session = new Session({ onCommit() {} });
  session.load(canonical(TWO));
  session.select(["a"]);
  messages = [];
  session.addEventListener("message", ({ detail }) => messages.push(detail));
});

const ids = () => session.document.regions.map((each) => each.id);
const selected = () => [...session.selection];

test("what is duplicated is selected", () => {
  duplicateSelected(session);
  const [first, copied] = ids();
  assert.equal(ids().length, 3);
  assert.deepEqual([first, selected()], ["a", [copied]]);
  session.select([]);
  duplicateSelected(session);
  assert.equal(ids().length, 3);
});

test("what is removed is gone, and nothing else", () => {
  removeSelected(session);
  assert.deepEqual([ids(), selected()], [["b"], []]);
  removeSelected(session);
  assert.deepEqual(ids(), ["b"]);
});

test("the frame at the playhead is the last, or the first, of what is trimmed", () => {
  session.seek(4);
  trimSelected(session, "end");
  assert.deepEqual([find(session.document, "a").frame, find(session.document, "a").frames], [0, 5]);
  session.seek(2);
  trimSelected(session, "start");
  assert.deepEqual([find(session.document, "a").frame, find(session.document, "a").frames], [2, 3]);
  assert.deepEqual(find(session.document, "b"), find(TWO, "b"));
});

test("sound is made again from the playhead to the end", () => {
  session.seek(4);
  addSpan(session);
  const { kind, action, time, duration } = session.document.regions.at(-1);
  const { frames, fps } = session.document;
  assert.deepEqual([kind, action, time], ["span", "generate", 4 / fps]);
  assert.ok(Math.abs(time + duration - frames / fps) < 1e-6);
  assert.deepEqual(selected(), [ids().at(-1)]);
});

test("what is pasted is selected", () => {
  pasteText(session, copy(TWO, ["b"]));
  assert.equal(ids().length, 3);
  assert.deepEqual(selected(), ids().filter((id) => !["a", "b"].includes(id)));
});

test("what cannot be pasted changes nothing, not even what is selected", () => {
  for (const text of ["a shopping list", "{}", '{"version": 99}', "  "]) pasteText(session, text);
  assert.deepEqual([ids(), selected()], [["a", "b"], ["a"]]);
  assert.equal(messages.length, 3);
  for (const { level, text } of messages) assert.ok(level === "error" && /canvas/.test(text), text);
});
