/** The plan of the server: how it is unpacked, and that only the last one counts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { empty } from "../../web/editor/document.js";
import { setCanvas } from "../../web/editor/edit_canvas.js";
import { MINI } from "../../web/editor/grid.js";
import { bits, decode, notesOn, PlanView, sharesOf } from "../../web/editor/plan.js";
import { Session } from "../../web/editor/session.js";

const base64 = (...bytes) => btoa(String.fromCharCode(...bytes));
const answerOf = (fields = {}) => ({
  family: "SkyReels-V4",
  grid: { temporal: 4, seconds: 0.02, first: 0.02 },
  latent: [2, 2, 2],
  given: base64(0b11110000),
  partial: base64(0b00001000),
  concat: base64(0b11110000),
  patches: [],
  audio: { latents: 3, given: base64(0b10100000), partial: base64(0b01000000) },
  given_pixels: [256],
  notes: [],
  text: "a plan",
  ...fields,
});
const soon = (milliseconds = 0) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** A server whose answers come when the test lets them. */
class Server {
  requests = [];

  fetch(path, options) {
    return new Promise((resolve, reject) => {
      const answer = (body, status = 200) => resolve(new Response(JSON.stringify(body), { status }));
      const { document, model } = JSON.parse(options.body);
      this.requests.push({ path, options, document: JSON.parse(document), model, answer });
      options.signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    });
  }
}

async function viewing() {
  const session = new Session({ onCommit() {} });
  const server = new Server();
  const view = new PlanView({ session, server, pause: 1 });
  await soon(20);
  return { session, server, view };
}

const resized = (frames) => (document) => setCanvas(document, { frames });

test("the first cell is the highest bit of the first byte", () => {
  assert.deepEqual([...bits(base64(0b10000000, 0b01000000), 10)], [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  assert.throws(() => bits(base64(1), 10), /1 bytes for 10 cells/);
});

test("an answer is unpacked, with the shares of each latent frame", () => {
  const plan = decode(answerOf(), empty());
  assert.deepEqual([...plan.given], [1, 1, 1, 1, 0, 0, 0, 0]);
  assert.deepEqual([...plan.audio.partial], [0, 1, 0]);
  assert.deepEqual(plan.shares, [
    { given: 1, lost: 0, again: 0 },
    { given: 0, lost: 0.25, again: 0.75 },
  ]);
  assert.deepEqual(sharesOf(plan.audio.given, plan.audio.partial, 0, 2), { given: 0.5, lost: 0.5, again: 0 });
});

test("notes are found by the id of an item, or the number of a region", () => {
  const document = { regions: [{ id: "x" }, { id: "y" }] };
  const notes = ["'a' gives nothing", "'b' lies under 'a'", "Region 2 has nothing to keep", "'@a' is long"];
  const plan = { document, notes: notes.map((text) => ({ level: "info", text })) };
  const textsOn = (id) => notesOn(plan, id).map(({ text }) => text);
  assert.deepEqual(textsOn("a"), notes.slice(0, 2));
  assert.deepEqual(textsOn("y"), [notes[2]]);
  assert.deepEqual(textsOn("x"), []);
});

test("edits that follow each other are one question", async () => {
  const { session, server, view } = await viewing();
  server.requests[0].answer(answerOf());
  await soon(20);
  view.pause = 30;
  for (const frames of [21, 25, 29]) session.edit(resized(frames));
  await soon(80);
  assert.deepEqual(server.requests.slice(1).map(({ document }) => document.frames), [29]);
  view.destroy();
});

test("the answer to an older document is dropped", async () => {
  const { session, server, view } = await viewing();
  session.edit(resized(21));
  await soon(20);
  server.requests[0].answer(answerOf({ text: "old" }));
  server.requests[1].answer(answerOf({ text: "new" }));
  await soon(20);
  assert.equal(session.plan.text, "new");
  assert.equal(session.plan.document, session.document);
  assert.equal(view.state, "ready");
  view.destroy();
});

test("the last good plan stays while another is worked out, and when that fails", async () => {
  const { session, server, view } = await viewing();
  server.requests[0].answer(answerOf());
  await soon(20);
  session.edit(resized(22));
  assert.equal(view.state, "computing");
  assert.equal(session.plan.text, "a plan");
  await soon(20);
  server.requests[1].answer({ error: "length 22 is not 4n+1: use 21 or 25" }, 400);
  await soon(20);
  assert.equal(view.state, "failed");
  assert.equal(view.error, "length 22 is not 4n+1: use 21 or 25");
  assert.equal(session.plan.text, "a plan");
  view.destroy();
});

test("another model is another question, the same one is none; the grid comes with the answer", async () => {
  const { session, server, view } = await viewing();
  assert.deepEqual([server.requests[0].model, session.grid], [null, MINI]);
  const model = { folder: "checkpoints", file: "a.safetensors" };
  view.model = model;
  await soon(20);
  view.model = { ...model };
  await soon(20);
  assert.deepEqual(server.requests.map((request) => request.model), [null, model]);
  server.requests[0].answer(answerOf());
  const grid = { temporal: 8, seconds: 0.04, first: 0.01 };
  server.requests[1].answer(answerOf({ family: "LTX-2", grid }));
  await soon(20);
  assert.deepEqual([session.plan.family, session.grid], ["LTX-2", grid]);
  view.model = null;
  assert.equal(view.state, "computing");
  await soon(20);
  assert.equal(server.requests[2].model, null);
  view.destroy();
});

test("a commit of what was previewed asks nothing anew", async () => {
  const { session, server, view } = await viewing();
  session.begin();
  session.preview(resized(21));
  await soon(20);
  session.commit();
  await soon(20);
  assert.equal(server.requests.length, 2);
  view.destroy();
});

test("a text that is no canvas has no plan", async () => {
  const { session, server, view } = await viewing();
  server.requests[0].answer(answerOf());
  await soon(20);
  session.load("no canvas");
  await soon(20);
  assert.equal(session.plan, null);
  assert.equal(view.state, "idle");
  assert.equal(server.requests.length, 1);
  view.destroy();
});
