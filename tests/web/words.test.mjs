/** All words of the browser side exist in all languages, and all that is used exists. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { setLocale, t, WORDS } from "../../web/words.js";

const WEB = new URL("../../web/", import.meta.url);
const valuesOf = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

const sources = readdirSync(WEB, { recursive: true })
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => file.endsWith(".js") && file !== "words.js")
  .map((file) => [file, readFileSync(new URL(file, WEB), "utf8")]);

for (const [language, words] of Object.entries(WORDS)) {
  test(`${language} has every text of English, with the same values`, () => {
    assert.deepEqual(Object.keys(words).sort(), Object.keys(WORDS.en).sort());
    for (const [key, text] of Object.entries(words)) {
      assert.ok(text.trim(), `${key} is empty`);
      assert.deepEqual(valuesOf(text), valuesOf(WORDS.en[key]), key);
    }
  });
}

test("every text that is asked for exists", () => {
  for (const [file, source] of sources) {
    for (const [, key] of source.matchAll(/\bt\(\s*"([^"]+)"/g)) assert.ok(key in WORDS.en, `${file}: ${key}`);
    for (const [, start] of source.matchAll(/\bt\(\s*`([^`$]+)\$\{/g)) {
      assert.ok(
        Object.keys(WORDS.en).some((key) => key.startsWith(start)),
        `${file}: ${start}...`,
      );
    }
  }
});

test("every text is asked for", () => {
  const all = sources.map(([, source]) => source).join("\n");
  const starts = [...all.matchAll(/`([a-z]+\.[\w.]*)\$\{/g)].map(([, start]) => start);
  const unused = Object.keys(WORDS.en).filter(
    (key) => !all.includes(`"${key}"`) && !starts.some((start) => key.startsWith(start)),
  );
  assert.deepEqual(unused, []);
});

test("values stand where their names stood", () => {
  setLocale("en-US");
  assert.equal(t("stage.moved", { x: 3, y: -4 }), "Moved to 3, -4");
});

test("a locale that has no texts of its own is shown in English, another dialect in its language", () => {
  setLocale("zh-TW");
  assert.equal(t("editor.close"), WORDS.zh["editor.close"]);
  setLocale("fr");
  assert.equal(t("editor.close"), WORDS.en["editor.close"]);
});

test("a text that does not exist is an error that names it", () => {
  assert.throws(() => t("editor.nothing_of_that_name"), /editor\.nothing_of_that_name/);
});
