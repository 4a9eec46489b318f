// Random canvases and random edits of them, the same for the same seed.

import * as model from "./operations.mjs";

/** Numbers in [0, 1) (mulberry32). */
export function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Random {
  constructor(seed) {
    this.next = generator(seed);
  }

  /** A whole number from least to most. */
  whole(least, most) {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  real(least, most) {
    return least + this.next() * (most - least);
  }

  chance(share) {
    return this.next() < share;
  }

  one(values) {
    return values[this.whole(0, values.length - 1)];
  }

  some(values) {
    return values.filter(() => this.chance(0.3));
  }
}

const box = (random, { width, height }) => {
  const [w, h] = [random.whole(1, width + 8), random.whole(1, height + 8)];
  return { x: random.whole(1 - w, width - 1), y: random.whole(1 - h, height - 1), width: w, height: h };
};

function moving(random, size, fixed = false) {
  const frame = random.whole(0, size.frames - 1);
  const frames = random.whole(1, size.frames - frame);
  const start = box(random, size);
  const ats = [];
  for (let at = random.whole(1, 6); at < frames && ats.length < 4; at += random.whole(1, 6)) ats.push(at);
  const path = (random.chance(0.5) ? ats : []).map((at) => {
    const there = random.chance(0.3)
      ? { ...start, x: random.whole(-200, 200), y: random.whole(-200, 200) }
      : box(random, size);
    return { at, box: fixed ? { ...there, width: start.width, height: start.height } : there };
  });
  return { frame, frames, box: start, path };
}

/** A valid document with up to `most` items in each list. */
export function randomDocument(random, most = 5) {
  const size = {
    width: random.whole(1, 64),
    height: random.whole(1, 64),
    frames: random.whole(1, 40),
    fps: random.one([8, 16, 24, 23.976, 30, 0.5]),
  };
  const length = size.frames / size.fps;
  const media = {
    pic: { kind: "image", width: 32, height: 24 },
    clip: { kind: "clip", width: 8, height: 6, frames: random.whole(1, 60), fps: random.one([8, 16, 24, 25, 29.97]) },
    "file.mp4": { kind: "clip", file: "a folder/file.mp4" },
    song: {
      kind: "sound",
      samples: random.whole(1, 200_000),
      sample_rate: random.one([8000, 44100, 48000]),
      channels: 2,
    },
    voice: { kind: "sound", input: "sound_0" },
    alpha: { kind: "mask", width: 32, height: 24, frames: 1 },
    brush: { kind: "mask", file: "skycanvas/brush.png" },
    __proto__name: { kind: "image", input: "image_0" },
  };
  let document = model.parse(JSON.stringify({ format: "skycanvas", version: 2, ...size, media }));
  const attempt = (list, item) => {
    try {
      document = model.add(document, list, item);
    } catch (error) {
      if (!(error instanceof model.CanvasError)) throw error; // such as a clip that is too short
    }
  };
  for (let n = random.whole(0, most); n > 0; n--) {
    const name = random.one(["pic", "clip", "file.mp4", "__proto__name"]);
    attempt("placements", {
      media: name,
      ...moving(random, size),
      alpha: name === "pic" && random.chance(0.3) ? "alpha" : null,
      start: ["clip", "file.mp4"].includes(name) && random.chance(0.5) ? random.real(0, 2) : 0,
      fit: random.one(["stretch", "contain", "cover"]),
      role: random.one(["keep", "guide"]),
    });
  }
  for (let n = random.whole(0, most); n > 0; n--) {
    attempt("sounds", {
      media: random.one(["song", "voice"]),
      time: random.real(0, length),
      start: random.chance(0.5) ? random.real(0, 2) : 0,
      duration: random.chance(0.1) ? random.real(0, 1e-7) : random.real(0, 3),
    });
  }
  for (let n = random.whole(0, most); n > 0; n--) {
    const action = random.one(["generate", "keep"]);
    attempt(
      "regions",
      random.one([
        () => ({ kind: "box", action, ...moving(random, size) }),
        () => ({ kind: "mask", action, media: "brush", ...moving(random, size, true) }),
        () => ({ kind: "span", action, time: random.real(0, length), duration: random.real(0, 3) }),
      ])(),
    );
  }
  for (const name of random.some(["pic", "clip", "song"])) attempt("references", { media: name });
  return document;
}

/** An operation with random arguments, some of them far outside: [name, arguments]. */
export function randomEdit(random, document) {
  const ids = model.itemsOf(document).map((item) => item.id);
  const id = random.chance(0.97) && ids.length ? random.one(ids) : "nobody";
  const frame = random.whole(-5, document.frames + 5);
  const far = () => (random.chance(0.2) ? random.whole(-40_000, 40_000) : random.whole(-40, 40));
  const anyBox = () => ({ x: far(), y: far(), width: random.whole(-5, 80), height: random.whole(-5, 80) });
  return random.one([
    () => ["moveInTime", [random.some(ids), random.chance(0.5) ? far() : far() / 7]],
    () => ["moveInTime", [random.some(ids), { seconds: far() / 10 }]],
    () => ["moveInFrame", [random.some(ids), far(), far(), random.one([null, frame])]],
    () => ["resize", [id, anyBox(), random.one([null, frame])]],
    () => ["trim", [id, random.one(["start", "end"]), random.chance(0.5) ? frame : random.real(-5, 50)]],
    () => ["split", [id, random.chance(0.5) ? frame : random.real(0, 40)]],
    () => ["ripple", [frame, far()]],
    () => ["reorder", [id, random.whole(-2, 8)]],
    () => ["setKey", [id, frame, ...(random.chance(0.5) ? [anyBox()] : [])]],
    () => ["removeKey", [id, frame]],
    () => ["duplicate", [random.some(ids)]],
    () => ["remove", [random.some(ids)]],
    () => ["pruneMedia", []],
    () => [
      "update",
      [id, random.one([{ frame }, { start: 0.25 }, { action: "keep" }, { role: "guide" }, { frames: 3 }])],
    ],
    () => ["setReference", ["@image_1", random.one([null, { media: "pic" }, { tag: "@Actor-1" }])]],
    () => ["setMedia", ["clip", { kind: "clip", width: 8, height: 6, frames: random.whole(1, 90), fps: 12 }]],
    () => [
      "setCanvas",
      [
        random.one([
          { frames: random.whole(1, 50) },
          { width: random.whole(1, 90), height: random.whole(1, 90) },
          { fps: random.one([8, 24, 23.976]) },
        ]),
      ],
    ],
    () => ["paste", [model.copy(document, random.some(ids)), random.one([null, frame])]],
  ])();
}

/** Documents as an artist might leave them: `count` random ones after a few edits each. */
export function* editedDocuments(count, seed = 0) {
  for (let i = 0; i < count; i++) {
    const random = new Random(seed + i);
    let document = randomDocument(random);
    for (let n = 0; n < 8; n++) {
      const [operation, args] = randomEdit(random, document);
      try {
        document = model[operation](document, ...args);
      } catch (error) {
        if (!(error instanceof model.CanvasError)) throw error;
      }
    }
    yield document;
  }
}
