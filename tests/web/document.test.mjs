// The document model of the editor: the vectors shared with Python, and what holds for every document.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

import * as model from "./operations.mjs";
import { Random, randomDocument, randomEdit } from "./random_documents.mjs";

const { canonical, CanvasError, compare, empty, find, itemsOf, lost, parse, spanOf } = model;
const FOLDER = new URL("../vectors/", import.meta.url);
const SEEDS = 120;

const vectors = (name) => JSON.parse(readFileSync(new URL(name, FOLDER), "utf8"));
const read = (value) => parse(typeof value === "string" ? value : JSON.stringify(value));
const refused = (message) => (error) => {
  assert.ok(error instanceof CanvasError, error.stack);
  assert.ok(error.message.startsWith(message), `"${error.message}" does not begin with "${message}"`);
  return true;
};

function canvas(fields = {}) {
  const media = {
    pic: { kind: "image", width: 32, height: 24 },
    song: { kind: "sound", samples: 48000, sample_rate: 48000, channels: 2 },
  };
  const box = { x: 0, y: 0, width: 32, height: 24 };
  const placements = [
    { id: "a", media: "pic", frame: 0, frames: 4, box },
    { id: "b", media: "pic", frame: 4, frames: 4, box },
  ];
  const sounds = [{ id: "s", media: "song", time: 0, duration: 0.5 }];
  return read({
    format: "skycanvas",
    version: 2,
    width: 64,
    height: 48,
    frames: 17,
    fps: 16,
    media,
    placements,
    sounds,
    ...fields,
  });
}

// --- the format, as Python reads and writes it

for (const { name, input, output, sha256 } of vectors("canvas/good.json")) {
  test(`good: ${name}`, () => {
    const document = read(input);
    assert.equal(canonical(document), output);
    assert.equal(createHash("sha256").update(output).digest("hex"), sha256);
    assert.deepEqual(parse(output), document);
  });
}

for (const { name, input, error } of vectors("canvas/bad.json")) {
  // NaN and Infinity are no JSON; Python's reader lets them come as far as their field
  const expected = /is NaN$|is -Infinity$/.test(error) ? "the canvas is no JSON" : error;
  test(`bad: ${name}`, () => assert.throws(() => read(input), refused(expected)));
}

for (const { name, rename, input, output, error } of vectors("canvas/migration.json")) {
  test(`migration: ${name}`, () => {
    const renaming = (names) => (data) =>
      Object.fromEntries(Object.entries(data).map(([key, value]) => [names[key] ?? key, value]));
    const migrations =
      rename && Object.fromEntries(Object.entries(rename).map(([version, names]) => [version, renaming(names)]));
    const text = typeof input === "string" ? input : JSON.stringify(input);
    if (error) assert.throws(() => parse(text, migrations), refused(error));
    else assert.equal(canonical(parse(text, migrations)), output);
  });
}

test("hostile text is refused in few words", () => {
  const head = '{"format":"skycanvas","version":2,"height":48,"frames":17,"fps":16';
  for (const [text, message] of [
    ["[".repeat(4_000_000), "the canvas is nested too deeply"],
    ['{"a":'.repeat(800_000), "the canvas is nested too deeply"],
    [`{"width":${"9".repeat(4_000_000)}}`, "99999999999999999999... has 4000000 digits"],
    [`"${"é".repeat(2_000_000)}`, "the canvas is no JSON: it ends too early at line 1"],
    [`"${"\\n".repeat(2_000_000)}"`, "the canvas is "],
    [" ".repeat(50_000_000), "the canvas has 50000000 bytes: use at most 4194304"],
    [`${head},"${"x".repeat(4_000_000)}":0}`, "width is missing"],
    [`${head},"width":64,"${"x".repeat(4_000_000)}":0}`, "xxxxx"],
    [`${head},"width":64,"media":{"a":{"kind":"image","file":"${"x".repeat(256)}"}}}`, "media.a.file is"],
    [null, "the canvas is null: use a text"],
  ]) {
    assert.throws(
      () => parse(text),
      (error) => refused(message)(error) && error.message.length < 300,
    );
  }
});

test("a place in broken text is found", () => {
  assert.throws(
    () => parse('{\n  "width": 64,\n  "height" 48}'),
    refused('the canvas is no JSON: unexpected "4" at line 3, column 12'),
  );
  for (const text of [
    "{,}",
    "[1,]",
    '{"a":1,}',
    "01",
    "1.",
    "+1",
    "'a'",
    '"\\x"',
    '"\n"',
    "tru",
    "1 2",
    "\ufeff{}",
    '{"a"}',
  ]) {
    assert.throws(() => parse(text), refused("the canvas is no JSON"), text);
  }
});

test("pixels written with a fraction are refused, seconds are not", () => {
  const text = canonical(canvas());
  assert.throws(() => parse(text.replace('"width":64', '"width":64.0')), refused("width is 64.0: use a whole number"));
  assert.throws(() => parse(text.replace('"version":2', '"version":2.0')), refused("version is 2.0"));
  assert.equal(canonical(parse(text.replace('"fps":16', '"fps":16.0').replace('"time":0', '"time":-0.0'))), text);
});

test("names are mere names", () => {
  for (const name of ["__proto__", "constructor", "toString"]) {
    const media = `{"${name}":{"kind":"image","file":"a.png"}}`; // as text: an object would take it for its prototype
    const text = `{"format":"skycanvas","version":2,"width":8,"height":8,"frames":1,"fps":1,"media":${media}}`;
    assert.deepEqual(Object.keys(parse(text).media), [name]);
    assert.equal(canonical(parse(canonical(parse(text)))), canonical(parse(text)));
    assert.throws(() => parse(text.replace('"fps"', `"${name}":0,"fps"`)), refused(`${name} is no field of a canvas`));
    assert.throws(
      () => canvas({ sounds: [{ id: "s", media: name, duration: 1 }] }),
      refused(`sounds[0].media is "${name}"`),
    );
    assert.throws(
      () => canvas({ regions: [{ kind: name, id: "r" }] }),
      refused("regions[0].kind is missing or unknown"),
    );
  }
});

test("nothing can be changed", () => {
  const document = canvas();
  for (const change of [
    () => (document.width = 1),
    () => (document.placements[0].frame = 1),
    () => (document.placements[0].box.x = 1),
    () => document.placements.push({}),
    () => (document.media.pic.width = 1),
    () => (document.media.other = {}),
  ]) {
    assert.throws(change, TypeError);
  }
});

// --- operations

const FILES = ["canvas", "items", "space", "split", "time", "trim"];

test("every vector file is run", () => {
  const files = readdirSync(new URL("editor/", FOLDER)).filter((name) => name.endsWith(".json"));
  assert.deepEqual(files.sort(), [...FILES, "boxes"].map((name) => `${name}.json`).sort());
});

for (const file of FILES) {
  for (const { name, document, operation, arguments: args, result, error } of vectors(`editor/${file}.json`)) {
    test(`${operation}: ${name}`, () => {
      const before = read(document);
      if (error) {
        assert.throws(() => model[operation](before, ...args), refused(error));
        return;
      }
      const after = model[operation](before, ...args);
      if (result?.format) assert.equal(canonical(after), canonical(read(result)));
      else assert.deepEqual(after, result);
    });
  }
}

for (const { name, document, boxes } of vectors("editor/boxes.json")) {
  test(`boxAt: ${name}`, () => {
    const [item] = read(document).placements;
    assert.deepEqual(
      boxes.map((_, i) => model.boxAt(item, item.frame + i)),
      boxes.map(([x, y, width, height]) => ({ x, y, width, height })),
    );
    assert.equal(boxes.length, item.frames);
  });
}

test("compare says what an operation did", () => {
  const document = canvas();
  assert.deepEqual(compare(document, document), { added: [], removed: [], changed: [] });
  assert.deepEqual(compare(document, model.setCanvas(document, { frames: 3 })), {
    added: [],
    removed: ["b"],
    changed: ["a"],
  });
  assert.deepEqual(compare(document, model.split(document, "b", 6)).added, ["placement_1"]);
});

test("what no longer fits the canvas or its media is lost, what is removed is not", () => {
  const document = canvas();
  assert.deepEqual(lost(document, model.setCanvas(document, { frames: 3 })), ["b"]);
  assert.deepEqual(lost(document, model.pruneMedia(model.remove(document, ["a", "b"]))), []);
  const short = model.setMedia(model.update(document, "s", { start: 0.25 }), "song", {
    ...document.media.song,
    samples: 4800,
  });
  assert.deepEqual(lost(document, short), ["s"]);
});

test("another rate keeps everything in its time", () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const document = randomDocument(new Random(seed));
    for (const fps of [document.fps / 2, 1.5 * document.fps, 60]) {
      const after = model.setCanvas(document, { fps });
      const frame = 1 / Math.min(fps, document.fps);
      for (const item of itemsOf(after)) {
        const before = find(document, item.id);
        const [old, now] = [spanOf(document, before).first / document.fps, spanOf(after, item).first / fps];
        // the canvas is a whole number of latent frames long, and what began behind its end begins at its last frame
        const last = (after.frames - 1) / fps;
        assert.ok(Math.abs(Math.min(old, last) - now) < frame, `seed ${seed}, ${fps} fps: ${item.id}`);
      }
    }
  }
});

test("items say what they are", () => {
  const document = model.add(canvas(), "regions", { kind: "span", action: "keep", time: 0.25, duration: 0.125 });
  assert.deepEqual(itemsOf(document).map(model.kindOf), ["placement", "placement", "sound", "span"]);
  assert.deepEqual(itemsOf(document).map(model.listOf), ["placements", "placements", "sounds", "regions"]);
  assert.deepEqual(spanOf(document, find(document, "b")), { first: 4, end: 8 });
  assert.deepEqual(spanOf(document, find(document, "region_1")), { first: 4, end: 6 });
  assert.equal(find(document, "nobody"), null);
  assert.deepEqual(itemsOf(empty()), []);
});

test("what did not change is shared, and what changes nothing is the same document", () => {
  const document = canvas();
  const moved = model.moveInTime(document, ["b"], 2);
  assert.equal(moved.placements[0], document.placements[0]);
  assert.equal(moved.sounds, document.sounds);
  assert.equal(moved.media, document.media);
  assert.equal(model.moveInTime(document, ["a"], -3), document);
  assert.equal(model.moveInFrame(document, ["s"], 5, 5), document);
  assert.equal(model.trim(document, "a", "end", 4), document);
});

// --- what holds for every document

const edits = (seed, times, each) => {
  const random = new Random(seed);
  let document = randomDocument(random);
  for (let i = 0; i < times; i++) {
    const [operation, args] = randomEdit(random, document);
    let after = null;
    try {
      after = model[operation](document, ...args);
    } catch (error) {
      assert.ok(error instanceof CanvasError, `seed ${seed}: ${operation}(${JSON.stringify(args)}): ${error.stack}`);
    }
    each(document, after, `seed ${seed}: ${operation}(${JSON.stringify(args)})`);
    document = after ?? document;
  }
};

test("every operation leaves a valid document, and the one before as it was", () => {
  const deepFrozen = (value) =>
    value === null || typeof value !== "object" || (Object.isFrozen(value) && Object.values(value).every(deepFrozen));
  for (let seed = 0; seed < SEEDS; seed++) {
    let text = null;
    edits(seed, 8, (before, after, what) => {
      if (text !== null) assert.equal(canonical(before), text, what);
      if (after) assert.deepEqual(parse(canonical(after)), after, what);
      assert.ok(deepFrozen(after), what);
      text = canonical(after ?? before);
      assert.equal(canonical(parse(text)), text, what);
    });
  }
});

test("operations that a gesture carries out are never refused", () => {
  const gestures = ["moveInTime", "moveInFrame", "ripple", "trim", "resize"];
  for (let seed = 0; seed < SEEDS; seed++) {
    edits(seed, 8, (before, after, what) => {
      const [, operation, id] = what.match(/: (\w+)\(\["?(\w*)/);
      if (!gestures.includes(operation) || id === "nobody") return;
      const item = operation === "resize" && find(before, id);
      if (item && (!("box" in item) || item.kind === "mask")) return; // these have no box, or one of a fixed size
      assert.ok(after, what);
    });
  }
});

/** What an item shows at a frame of the canvas: its box, and the frame of its media. */
const shown = (document, item, frame) => ({
  box: model.boxAt(item, frame),
  media: item.role ? model.clipFrame(document, item, frame) : 0,
});

function alike(document, item, other, message) {
  for (
    let frame = Math.max(item.frame, other.frame);
    frame < Math.min(spanOf(document, item).end, spanOf(document, other).end);
    frame++
  ) {
    const [a, b] = [shown(document, item, frame), shown(document, other, frame)];
    assert.equal(a.media, b.media, message);
    for (const [from, to] of [
      [a.box.x, b.box.x],
      [a.box.y, b.box.y],
      [a.box.x + a.box.width, b.box.x + b.box.width],
      [a.box.y + a.box.height, b.box.y + b.box.height],
    ]) {
      assert.ok(Math.abs(from - to) <= 1, `${message}: frame ${frame}`);
    }
  }
}

test("trimming keeps the motion and the clip where they were", () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const random = new Random(seed);
    const document = randomDocument(random);
    for (const item of itemsOf(document).filter((item) => "frame" in item)) {
      const edge = random.one(["start", "end"]);
      const frame = random.whole(-2, document.frames + 2);
      alike(
        document,
        item,
        find(model.trim(document, item.id, edge, frame), item.id),
        `seed ${seed}: ${item.id} ${edge} ${frame}`,
      );
    }
  }
});

test("splitting keeps every pixel where it was, and covers every frame", () => {
  let cuts = 0;
  for (let seed = 0; seed < SEEDS; seed++) {
    const random = new Random(seed);
    const document = randomDocument(random);
    for (const item of itemsOf(document).filter((item) => item.frames > 1)) {
      const frame = random.whole(item.frame + 1, item.frame + item.frames - 1);
      let after;
      try {
        after = model.split(document, item.id, frame);
      } catch (error) {
        refused(`${model.listOf(item)}`)(error); // one half would not show
        continue;
      }
      const second = find(after, compare(document, after).added[0]);
      const half = find(after, item.id);
      assert.equal(half.frames + second.frames, item.frames);
      assert.equal(spanOf(after, half).end, second.frame);
      assert.deepEqual(model.boxAt(second, frame), model.boxAt(item, frame));
      alike(document, item, half, `seed ${seed}: ${item.id}`);
      alike(document, item, second, `seed ${seed}: ${item.id}`);
      cuts++;
    }
  }
  assert.ok(cuts > SEEDS);
});

test("what is copied can be pasted: the same items again, with other ids", () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const document = randomDocument(new Random(seed));
    const ids = itemsOf(document).map((item) => item.id);
    if (!ids.length) continue;
    const after = model.paste(document, model.copy(document, ids));
    const { added, removed, changed } = compare(document, after);
    assert.deepEqual([removed, changed, added.length], [[], [], ids.length]);
    const without = ({ id, ...item }) => item;
    assert.deepEqual(
      added.map((id) => without(find(after, id))),
      ids.map((id) => without(find(document, id))),
    );
    assert.deepEqual(after.media, document.media);
    assert.deepEqual(
      model.pruneMedia(model.remove(after, ids)).media,
      model.pruneMedia(model.setReference(document, "", null)).media,
    );
  }
});

test("rows of a lane do not overlap, and every item lies in one", () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    const document = randomDocument(new Random(seed), 20);
    const rows = model.lanes(document).flatMap((lane) => lane.rows);
    assert.deepEqual(
      rows.flat().sort(),
      itemsOf(document)
        .map((item) => item.id)
        .sort(),
    );
    for (const row of rows) {
      const spans = row.map((id) => spanOf(document, find(document, id)));
      spans.slice(1).forEach((span, i) => assert.ok(span.first >= spans[i].end, `seed ${seed}`));
    }
  }
});
