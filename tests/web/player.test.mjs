/** What is heard of a canvas, when, and by which clock. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK } from "../../web/editor/media.js";
import { blocksOf, Clock, heard, Player, without } from "../../web/editor/player.js";
import { Session } from "../../web/editor/session.js";

const sound = (id, time, duration, start = 0) => ({ id, media: "m", time, start, duration });
const span = (action, time, duration) => ({ kind: "span", id: `${action} ${time}`, action, time, duration });
const canvas = (fields) => ({ frames: 160, fps: 16, sounds: [], regions: [], ...fields });
const placesOf = (pieces) => pieces.map(({ id, time, start, duration }) => [id, time, start, duration]);

test("a sound is cut at the end of the canvas", () => {
  assert.deepEqual(placesOf(heard(canvas({ sounds: [sound("a", 8, 5, 1)] }))), [["a", 8, 1, 2]]);
});

test("what is made again is silent, and what goes on behind it is in step", () => {
  const document = canvas({ sounds: [sound("a", 1, 6, 10)], regions: [span("generate", 2, 1)] });
  assert.deepEqual(placesOf(heard(document)), [
    ["a", 1, 10, 1],
    ["a", 3, 12, 4],
  ]);
});

test("regions apply in order: what is kept later is heard", () => {
  const sounds = [sound("a", 0, 10)];
  const regions = [span("generate", 0, 10), span("keep", 4, 2)];
  assert.deepEqual(placesOf(heard(canvas({ sounds, regions }))), [["a", 4, 4, 2]]);
  assert.deepEqual(heard(canvas({ sounds, regions: regions.toReversed() })), []);
});

test("a region of the picture silences nothing", () => {
  const regions = [{ kind: "box", id: "r", action: "generate", frame: 0, frames: 160 }];
  assert.equal(heard(canvas({ sounds: [sound("a", 0, 1)], regions })).length, 1);
});

test("intervals lose what they share with another", () => {
  assert.deepEqual(without([[0, 4], [6, 8]], 3, 7), [[0, 3], [7, 8]]);
  assert.deepEqual(without([[0, 4]], 4, 9), [[0, 4]]);
  assert.deepEqual(without([[1, 2]], 0, 9), []);
});

test("a piece that was begun before is heard from there on", () => {
  const [block] = blocksOf([sound("a", 1, 4, 2)], 3);
  assert.deepEqual([block.time, block.start, block.duration, block.offset], [3, 4, 2, 4]);
  assert.deepEqual(blocksOf([sound("a", 1, 4, 2)], 5), []);
});

test("a long sound is played block after block without a gap", () => {
  const blocks = blocksOf([sound("a", 0, 2 * BLOCK, BLOCK / 2)], 0);
  assert.deepEqual(
    blocks.map(({ block, offset, time, duration }) => [block, offset, time, duration]),
    [
      [0, BLOCK / 2, 0, BLOCK / 2],
      [1, 0, BLOCK / 2, BLOCK],
      [2, 0, 1.5 * BLOCK, BLOCK / 2],
    ],
  );
});

test("the clock of the sounds leads, whatever the computer's says", () => {
  let [audio, computer] = [5, 100];
  const clock = new Clock({ audio: () => audio, computer: () => computer });
  audio = 5.5;
  computer = 100.9;
  assert.equal(clock.now(), 5.5);
  assert.equal(clock.now(), 5.5);
});

test("a clock of sounds that stands still is given up, and time goes on from there", () => {
  let [audio, computer] = [5, 100];
  const clock = new Clock({ audio: () => audio, computer: () => computer });
  audio = 6;
  computer = 101;
  assert.equal(clock.now(), 6);
  computer = 101.9;
  assert.equal(clock.now(), 6); // it may only have been slow
  computer = 102.5;
  assert.equal(clock.now(), 6);
  computer = 103.5;
  assert.equal(clock.now(), 7);
});

test("without sounds the computer's clock counts", () => {
  let computer = 3;
  const clock = new Clock({ audio: null, computer: () => computer });
  const before = clock.now();
  computer = 4.25;
  assert.equal(clock.now() - before, 1.25);
});

test("a loop keeps the sounds that are set, and not those that are over", () => {
  const [sources, ticks] = [[], []];
  const clock = { currentTime: 0, destination: {}, resume() {}, suspend() {} };
  globalThis.AudioContext = function () {
    return clock;
  };
  globalThis.AudioBufferSourceNode = class {
    connect() {}
    disconnect() {}
    start() {
      sources.push(this);
    }
  };
  globalThis.requestAnimationFrame = (tick) => ticks.push(tick);
  globalThis.cancelAnimationFrame = () => {};
  const session = new Session({ onCommit() {} });
  const media = { m: { kind: "sound", samples: 16, sample_rate: 16, channels: 1, file: "m.wav" } };
  const facts = { format: "skycanvas", version: 2, width: 64, height: 64, frames: 16, fps: 16 };
  session.load(JSON.stringify({ ...facts, media, sounds: [{ ...sound("a", 0, 1) }] }));
  const library = Object.assign(new EventTarget(), { sound: () => ({ value: { buffer: {} } }) });
  const player = new Player({ session, library });
  player.play();
  for (let half = 1; half <= 20; half++) {
    clock.currentTime = half / 2 - 0.01;
    ticks.shift()();
    for (const source of sources.splice(0, sources.length - 1)) source.onended();
  }
  assert.ok(player.sources.size >= 1 && player.sources.size <= 2, `${player.sources.size} are kept`);
  player.pause();
});
