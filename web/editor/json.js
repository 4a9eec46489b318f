/**
 * JSON as the canvas needs it. JSON.parse takes a key that stands twice and cannot tell 64.0 from 64; the reader in
 * Python refuses both, so a canvas that opened here would not run there.
 */

const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const WORDS = [
  ["true", true],
  ["false", false],
  ["null", null],
];
const MAX_DEPTH = 32;
const MAX_DIGITS = 20;

/** A number that is written with a fraction or an exponent but is whole: good for seconds, not for pixels. */
export class Real {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  valueOf() {
    return Number(this.text);
  }
}

/**
 * Reads JSON text. Objects have no prototype, so that any key is a mere key.
 * @param {string} text
 * @returns {any}
 * @throws {SyntaxError} with line and column; also for a key that stands twice in one object, an integer of more than
 *   20 digits, and deep nesting
 */
export function readJson(text) {
  let at = 0;
  const value = read(0);
  if (next() !== undefined) throw unexpected();
  return value;

  /** Passes over spaces; the character that stands there, undefined at the end. */
  function next() {
    while (text[at] === " " || text[at] === "\n" || text[at] === "\t" || text[at] === "\r") at++;
    return text[at];
  }

  function unexpected() {
    const lines = text.slice(0, at).split("\n");
    const seen =
      at < text.length ? `unexpected ${quoted(String.fromCodePoint(text.codePointAt(at)))}` : "it ends too early";
    return new SyntaxError(`the canvas is no JSON: ${seen} at line ${lines.length}, column ${lines.at(-1).length + 1}`);
  }

  /** Passes over one of these marks. */
  function mark(...marks) {
    const found = next();
    if (!marks.includes(found)) throw unexpected();
    at++;
    return found;
  }

  function read(depth) {
    const begin = next();
    if (depth > MAX_DEPTH) throw new SyntaxError("the canvas is nested too deeply: a canvas needs 6 levels");
    if (begin === "{") return members(depth);
    if (begin === "[") return entries(depth);
    if (begin === '"') return string();
    const word = WORDS.find(([word]) => text.startsWith(word, at));
    if (!word) return number();
    at += word[0].length;
    return word[1];
  }

  function members(depth) {
    const object = Object.create(null);
    mark("{");
    if (next() === "}") return mark("}") && object;
    do {
      if (next() !== '"') throw unexpected();
      const key = string();
      if (key in object) throw new SyntaxError(`the key ${quoted(key)} stands twice in one object: remove one`);
      mark(":");
      object[key] = read(depth + 1);
    } while (mark(",", "}") === ",");
    return object;
  }

  function entries(depth) {
    const list = [];
    mark("[");
    if (next() === "]") return mark("]") && list;
    do list.push(read(depth + 1));
    while (mark(",", "]") === ",");
    return list;
  }

  function string() {
    const begin = at;
    let end = begin + 1;
    let escapes = false;
    for (let code; (code = text.charCodeAt(end)) !== 0x22; end++) {
      if (code === 0x5c) {
        escapes = true;
        end++;
      } else if (!(code >= 0x20)) {
        at = end;
        throw unexpected();
      }
    }
    at = end + 1;
    if (!escapes) return text.slice(begin + 1, end);
    try {
      return JSON.parse(text.slice(begin, at));
    } catch {
      at = begin;
      throw unexpected();
    }
  }

  function number() {
    NUMBER.lastIndex = at;
    const match = NUMBER.exec(text);
    if (!match) throw unexpected();
    const [digits, fraction, exponent] = match;
    at = NUMBER.lastIndex;
    const value = Number(digits);
    if (fraction || exponent) return Number.isInteger(value) ? new Real(digits) : value;
    if (digits.length > MAX_DIGITS) {
      throw new SyntaxError(`${digits.slice(0, MAX_DIGITS)}... has ${digits.length} digits: use a smaller number`);
    }
    return value;
  }
}

/**
 * Canonical text (RFC 8785): keys sorted by UTF-16 code units, no spaces.
 * @param {any} value of objects, lists, texts, finite numbers, true, false, null
 * @returns {string}
 */
export function writeJson(value) {
  if (Array.isArray(value)) return `[${value.map(writeJson).join()}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return joined(Object.keys(value).map((key) => [key, writeJson(value[key])]));
}

/**
 * Canonical text of an object.
 * @param {[string, string][]} members keys, and values that are written already
 */
export function joined(members) {
  const sorted = members.sort(([a], [b]) => (a < b ? -1 : 1)); // by UTF-16 code units, as < compares
  return `{${sorted.map(([key, text]) => `${JSON.stringify(key)}:${text}`).join()}}`;
}

/** A text as an error message quotes it: at most 80 characters. */
export function quoted(text) {
  const whole = JSON.stringify(text.slice(0, 90));
  return whole.length <= 80 ? whole : `${whole.slice(0, 77)}...`;
}
