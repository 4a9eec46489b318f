/** Every error, note and report of a canvas in Chinese and Japanese. tests/unit/test_errors.py has those of Python. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { CanvasError, parse } from "../../web/editor/schema.js";
import { TEMPLATES, translated } from "../../web/errors.js";

const BAD = JSON.parse(readFileSync(new URL("../vectors/canvas/bad.json", import.meta.url), "utf8"));
const LOCALES = ["zh", "ja"];
const CJK = /[\u3040-\u30ff\u4e00-\u9fff]/;

/** Numbers, quoted texts, paths of fields and tags: what a translation has to repeat. */
const facts = (text) => text.match(/"(?:[^"\\]|\\.)*"|(?:placements|sounds|regions|references)\[\d+\][\w.[\]]*|-?\d+(?:\.\d+)?/g) ?? [];

/** How often each holds in `texts`, less how often in `others`: what is left over. */
function missing(texts, others) {
  const rest = [...others];
  return texts.filter((text) => {
    const i = rest.indexOf(text);
    if (i >= 0) rest.splice(i, 1);
    return i < 0;
  });
}

for (const { name, input } of BAD) {
  test(`translated: ${name}`, () => {
    const text = typeof input === "string" ? input : JSON.stringify(input);
    assert.throws(
      () => parse(text),
      (error) => {
        assert.ok(error instanceof CanvasError, error.stack);
        for (const locale of LOCALES) {
          const said = translated(error.message, locale);
          assert.match(said, CJK, error.message);
          assert.deepEqual(missing(facts(error.message), facts(said)), [], said);
        }
        return true;
      },
    );
  });
}

test("a template has the same holes in all languages, and each of them once in English", () => {
  const holes = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([hole]) => hole).sort();
  for (const [english, ...others] of TEMPLATES) {
    assert.equal(new Set(holes(english)).size, holes(english).length, english);
    for (const other of others) assert.deepEqual([...new Set(holes(other))], holes(english), english);
  }
  const english = TEMPLATES.map(([text]) => text).filter((text) => text.length > 40);
  assert.equal(new Set(english).size, english.length);
});

test("other languages, and what no template fits, stay English", () => {
  assert.equal(translated("width is missing: add it", "en"), "width is missing: add it");
  assert.equal(translated("width is missing: add it", "fr"), "width is missing: add it");
  assert.equal(translated("the moon is full", "zh"), "the moon is full");
  assert.equal(translated('media "a": the moon is full', "ja"), 'media "a": the moon is full');
  assert.equal(translated("", "zh"), "");
  assert.equal(translated("width is missing: add it", "zh-TW"), translated("width is missing: add it", "zh"));
});

test("values stand as they are, whatever they look like", () => {
  const name = '"$& {path} is missing: add it"';
  const said = translated(`placements[0].media is ${name}, which is not in media: use one of its names (x, y)`, "zh");
  assert.ok(said.includes(name) && said.includes("x, y"), said);
});

test("a message inside a message, and a count behind it", () => {
  const inner = "width is 0: use 1 or more";
  for (const locale of LOCALES) {
    const said = translated(`media "a b" (from folder/a b.png): ${inner} (and 2 more)`, locale);
    assert.ok(said.includes(translated(inner, locale)) && said.includes('"a b"') && said.includes("folder/a b.png"), said);
    assert.match(said, /2/);
  }
});

test("a report is translated line by line", () => {
  const report = [
    "Canvas: 64x48 pixels, 17 frames at 16 fps (1.06 s).",
    "Kept: 5.9 % of all pixels, frames 0 to 4, 8 and 10 to 12 as a whole and frame 6 in part.",
    "! 'a' gives nothing: it is transparent, covered or taken away wherever it lies.",
  ].join("\n");
  const lines = translated(report, "zh").split("\n");
  assert.deepEqual(lines, [
    "画布：64x48 像素，17 帧，16 fps（1.06 秒）。",
    "保留：全部像素的 5.9 %；第 0～4、8、10～12 帧为全部，第 6 帧为部分。",
    "! 'a' 没有给出任何内容：它所在之处全都透明、被遮住或被去掉。",
  ]);
});
