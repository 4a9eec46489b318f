/** The media library: what is asked of the server, what is kept, and what is said where it fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK, cellsOf, MediaLibrary, peaksOf, readWav, regroup } from "../../web/editor/media.js";

globalThis.createImageBitmap = async (blob) => ({
  width: 100,
  height: 100,
  text: await blob.text(),
  closed: false,
  close() {
    this.closed = true;
  },
});

const media = (fields) => ({
  kind: "image",
  width: null,
  height: null,
  frames: null,
  fps: null,
  samples: null,
  sample_rate: null,
  channels: null,
  file: null,
  input: null,
  ...fields,
});
const clip = media({ kind: "clip", width: 64, height: 48, frames: 40, fps: 16, file: "clips/a b.mp4" });
const voice = media({ kind: "sound", samples: 96000, sample_rate: 48000, channels: 1, file: "voice.wav" });

/** A server that answers at once, and counts how much it is asked at a time. */
class Server {
  asked = [];
  running = 0;
  most = 0;

  constructor(answer = () => new Response("pixels", { headers: { "X-SkyCanvas-Cell": "32x24" } })) {
    this.answer = answer;
  }

  async fetch(path, options) {
    this.asked.push(path);
    this.running += 1;
    this.most = Math.max(this.most, this.running);
    await new Promise((resolve) => setTimeout(resolve));
    this.running -= 1;
    return this.answer(new URL(path, "http://server"), options);
  }
}

function wav(channels, sampleRate = 8000, bitsPerSample = 16) {
  const samples = channels[0].length;
  const bytes = 2 * channels.length * samples;
  const view = new DataView(new ArrayBuffer(48 + 8 + bytes));
  const tag = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  tag(0, "RIFF");
  tag(8, "WAVE");
  tag(12, "note"); // a chunk that is passed over, of an odd size
  view.setUint32(16, 3, true);
  tag(24, "fmt ");
  view.setUint32(28, 16, true);
  view.setUint16(32, 1, true);
  view.setUint16(34, channels.length, true);
  view.setUint32(36, sampleRate, true);
  view.setUint16(46, bitsPerSample, true);
  tag(48, "data");
  view.setUint32(52, bytes, true);
  for (let i = 0, at = 56; i < samples; i++) {
    for (const channel of channels) {
      view.setInt16(at, channel[i], true);
      at += 2;
    }
  }
  return view.buffer;
}

test("samples of a WAV are read by channel, past chunks that are not known", () => {
  const { sampleRate, channels } = readWav(wav([[0, 16384, -32768], [1, 2, 3]], 22050));
  assert.equal(sampleRate, 22050);
  assert.deepEqual([...channels[0]], [0, 0.5, -1]);
  assert.deepEqual([...channels[1]], [1 / 32768, 2 / 32768, 3 / 32768]);
});

test("what is no WAV of 16 bits is refused", () => {
  assert.throws(() => readWav(new TextEncoder().encode("<html>not found</html>").buffer), /16 bit WAV/);
  assert.throws(() => readWav(wav([[0]], 8000, 24)), /16 bit WAV/);
  assert.throws(() => readWav(wav([[0]]).slice(0, 48)), /16 bit WAV/);
});

test("peaks hold the lowest and highest sample of all channels", () => {
  const channels = [new Float32Array([0, 0.5, -0.25, 0, 0.125]), new Float32Array([0, -1, 0, 0, 0.25])];
  assert.deepEqual([...peaksOf(channels, 2)], [-1, 0.5, -0.25, 0, 0.125, 0.25]);
});

test("peaks are put together for fewer columns and repeated for more, and are still past the end", () => {
  const peaks = new Float32Array([-1, 0.5, -0.25, 0, 0, 0.25, -0.5, 1]);
  assert.deepEqual([...regroup(peaks, 2, 0, 4)], [-1, 0.5, -0.5, 1]);
  assert.deepEqual([...regroup(peaks, 4, 0, 2)], [-1, 0.5, -1, 0.5, -0.25, 0, -0.25, 0]);
  assert.deepEqual([...regroup(peaks, 2, 3, 5)], [-0.5, 1, 0, 0]);
});

test("cells of a sheet lie row by row, and the last stands for what comes after it", () => {
  const cell = cellsOf("32x24", 5); // three columns
  assert.deepEqual(cell(4), { x: 32, y: 24, width: 32, height: 24 });
  assert.deepEqual(cell(99), cell(4));
  assert.deepEqual(cell(-1), cell(0));
  assert.throws(() => cellsOf("", 5), /size ""/);
});

test("what is asked for twice is fetched once", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  const options = { fps: 16, start: 0.5, frames: 9, side: 64 };
  const first = library.sheet(clip, options);
  assert.equal(library.sheet(clip, options), first);
  assert.equal(first.state, "loading");
  const { image, cell } = await first;
  assert.equal(first.state, "ready");
  assert.equal(image.text, "pixels");
  assert.deepEqual(cell(3), { x: 0, y: 24, width: 32, height: 24 });
  assert.deepEqual(server.asked, ["/skycanvas/sheet?file=clips%2Fa+b.mp4&fps=16&start=0.5&frames=9&side=64"]);
});

test("few requests run at a time, and all come through", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  await Promise.all(Array.from({ length: 20 }, (_, time) => library.picture(clip, { time })));
  assert.equal(server.asked.length, 20);
  assert.equal(server.most, 3);
});

test("a failure says what the server says, and is not asked for again until it is forgotten", async () => {
  let status = 404;
  const server = new Server(() => new Response(JSON.stringify({ error: "file is 'gone.png'" }), { status }));
  const library = new MediaLibrary({ server });
  const gone = media({ file: "gone.png" });
  await assert.rejects(async () => library.picture(gone), /file is 'gone\.png'/);
  const failed = library.picture(gone);
  assert.deepEqual([failed.state, failed.error], ["failed", "file is 'gone.png'"]);
  assert.equal(server.asked.length, 1);
  status = 200;
  library.forget("gone.png");
  assert.equal(failed.state, "forgotten");
  assert.equal((await library.picture(gone)).width, 100);
});

test("what failed is fetched again after a while, later each time, or as soon as the server is back", async () => {
  let now = 0;
  const server = new Server(() => new Response("", { status: 503 }));
  const library = new MediaLibrary({ server, now: () => now });
  const ask = async (time) => {
    now = time;
    await Promise.allSettled([library.picture(clip)]);
    return server.asked.length;
  };
  assert.equal(await ask(0), 1);
  const failed = library.picture(clip);
  assert.equal(await ask(4_000), 1);
  assert.equal(await ask(6_000), 2);
  assert.equal(failed.state, "forgotten");
  assert.equal(await ask(12_000), 2);
  assert.equal(await ask(17_000), 3);
  library.retry();
  assert.equal(await ask(17_000), 4);
});

test("what is there is not fetched again when the server is back", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  const picture = library.picture(clip);
  await picture;
  library.retry();
  assert.equal(library.picture(clip), picture);
});

test("a failure without words of the server names the status", async () => {
  const library = new MediaLibrary({ server: new Server(() => new Response("<html>", { status: 502 })) });
  await assert.rejects(async () => library.facts("a.png"), /502/);
});

test("requests go on after one that failed", async () => {
  const statusOf = ({ searchParams }) => (searchParams.get("time") < 9 ? 500 : 200);
  const server = new Server((url) => new Response("", { status: statusOf(url) }));
  const library = new MediaLibrary({ server });
  const all = await Promise.allSettled(Array.from({ length: 12 }, (_, time) => library.picture(clip, { time })));
  assert.equal(all.filter(({ status }) => status === "fulfilled").length, 3);
});

test("what was not used the longest goes when there is too much, but nothing that is on screen", async () => {
  let now = 0;
  const server = new Server();
  const library = new MediaLibrary({ server, bytes: 100_000, now: () => now }); // a picture is 40 000
  const get = async (time) => {
    now += 60_000;
    await library.picture(clip, { time });
  };
  for (const time of [0, 1, 0, 2]) await get(time); // 0 was used after 1
  const before = server.asked.length;
  const kept = await library.picture(clip, { time: 0 });
  await get(0);
  assert.equal(server.asked.length, before);
  await get(1);
  assert.equal(server.asked.length, before + 1);
  assert.equal(kept.closed, false);
  await get(2);
  await get(1);
  assert.equal(kept.closed, true);

  await Promise.all([5, 6, 7, 8].map((time) => library.picture(clip, { time })));
  const seen = server.asked.length;
  await Promise.all([5, 6, 7, 8].map((time) => library.picture(clip, { time })));
  assert.equal(server.asked.length, seen);
});

test("an emptied library gives back its pictures, and tells nobody to ask for them again", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  const images = [await library.picture(clip), (await library.sheet(clip)).image];
  await new Promise((resolve) => library.addEventListener("change", resolve, { once: true }));
  library.addEventListener("change", () => assert.fail("told"));
  library.empty();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(
    images.map(({ closed }) => closed),
    [true, true],
  );
  assert.equal(library.assets.size, 0);
});

test("a picture that was made here is seen at any size without asking the server, until it is forgotten", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  const mask = media({ kind: "mask", file: "skycanvas/mask_1.png" });
  await library.hold(mask.file, new Blob(["painted"]));
  assert.equal(library.picture(mask, { side: 64 }).value.text, "painted");
  assert.equal(library.picture(mask, { side: 1024 }).value.text, "painted");
  assert.deepEqual(server.asked, []);
  library.forget(mask.file);
  assert.equal((await library.picture(mask)).text, "pixels");
});

test("a mask of a picture has one frame, that of a clip as many as the clip", async () => {
  const frames = { "a.png": null, "a.webm": 9 };
  const answer = ({ searchParams }) => Response.json({ width: 8, height: 8, frames: frames[searchParams.get("file")] });
  const library = new MediaLibrary({ server: new Server(answer) });
  await Promise.all([library.facts("a.png"), library.facts("a.webm")]);
  assert.equal(library.known(media({ kind: "mask", file: "a.png" })).frames, 1);
  assert.equal(library.known(media({ kind: "mask", file: "a.webm" })).frames, 9);
});

test("facts that the document leaves open come from the file", async () => {
  const facts = { kind: "clip", width: 64, height: 48, frames: 30, fps: 15, sound: { samples: 8, sample_rate: 4 } };
  const library = new MediaLibrary({ server: new Server(() => Response.json(facts)) });
  const open = media({ kind: "clip", file: "a.mp4", fps: 10 });
  assert.equal(library.seconds(open), null);
  await library.facts("a.mp4");
  assert.equal(library.seconds(open), 3); // the document's own rate counts
  assert.deepEqual(library.size(open), { width: 64, height: 48 });
  assert.equal(library.seconds(media({ kind: "sound", file: "a.mp4" })), 2);
});

test("facts that the document has are not asked for", () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  assert.equal(library.seconds(clip), 2.5);
  assert.deepEqual(library.size(clip), { width: 64, height: 48 });
  assert.deepEqual(server.asked, []);
});

test("only the block of a sound that is needed is fetched", async () => {
  const server = new Server(() => new Response(wav([Array(8000).fill(1000)])));
  const library = new MediaLibrary({ server });
  const block = await library.sound(voice, { start: 2.5 * BLOCK });
  assert.deepEqual(server.asked, [`/skycanvas/sound?file=voice.wav&start=${2 * BLOCK}&duration=${BLOCK}`]);
  assert.equal(block.seconds, 1);
  assert.deepEqual([...block.peaks(2, 0.5, 1)], Array(4).fill(Math.fround(1000 / 32768)));
});

test("what comes through an input is seen after a run, by its preview", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  const wired = media({ kind: "clip", input: "image_0" });
  const before = library.picture(wired);
  await assert.rejects(async () => before, /image_0/);
  const preview = { filename: "p.png", subfolder: "skycanvas", type: "temp" };
  library.setInputs([{ input: "image_0", kind: "clip", width: 64, height: 48, frames: 8, fps: 16, preview }]);
  assert.equal(library.seconds(wired), 0.5);
  assert.equal((await library.picture(wired)).width, 100);
  assert.deepEqual(server.asked, ["/view?filename=p.png&subfolder=skycanvas&type=temp"]);
});

test("what comes straight from a loader is read from its file", async () => {
  const server = new Server();
  const library = new MediaLibrary({ server });
  library.setInputs([{ input: "video_0", kind: "clip", file: "a.mp4", preview: null }]);
  await library.sheet(media({ kind: "clip", input: "video_0" }), { fps: 8, frames: 4 });
  assert.deepEqual(server.asked, ["/skycanvas/sheet?file=a.mp4&fps=8&start=0&frames=4&side=96"]);
});

test("a preview that is gone asks for another run", async () => {
  const library = new MediaLibrary({ server: new Server(() => new Response("", { status: 404 })) });
  const preview = { filename: "p.png", subfolder: "", type: "temp" };
  library.setInputs([{ input: "image_0", kind: "image", preview }]);
  await assert.rejects(async () => library.picture(media({ input: "image_0" })), /Run the workflow once/);
});

/** A server that takes uploads of up to 100 bytes, and answers them so. */
function uploads(answer) {
  const server = new Server(({ pathname }) => (pathname === "/skycanvas/limits" ? Response.json({ upload: 100 }) : new Response("pixels")));
  server.post = async (path, body, options) => {
    server.asked.push([path, ...body.entries()]);
    return answer(options);
  };
  return server;
}

const saved = (name, subfolder) => () => Response.json({ name, subfolder, type: "input" });

test("an upload gives the name that the file has there, and what was known of that name is forgotten", async () => {
  const server = uploads(saved("me (1).png", "skycanvas"));
  const library = new MediaLibrary({ server });
  const old = library.picture(media({ file: "skycanvas/me (1).png" }));
  await old;
  assert.equal(await library.upload(new Blob(["x"]), { name: "me.png", folder: "skycanvas" }), "skycanvas/me (1).png");
  const [path, image, ...others] = server.asked.at(-1);
  assert.deepEqual([path, image[1].name, others], ["/upload/image", "me.png", [["subfolder", "skycanvas"], ["type", "input"]]]);
  assert.equal(old.state, "forgotten");
});

test("a file keeps its name, of which a document takes only what prints", async () => {
  const server = uploads(saved("a.png", ""));
  const library = new MediaLibrary({ server });
  assert.equal(await library.upload(new File(["x"], "a\u00a0b:c.png")), "a.png");
  assert.equal(server.asked.at(-1)[1][1].name, "a b_c.png");
});

test("what ComfyUI would not take is not sent, and its size and the limit are said", async () => {
  const server = uploads(() => assert.fail("it was sent"));
  const library = new MediaLibrary({ server });
  await assert.rejects(library.upload(new File(["x".repeat(101)], "a.png")), /it has 1 MB.* up to 0 MB.*--max-upload-size 2/);
});

for (const [what, answer, message] of [
  ["too large for a proxy", () => new Response("", { status: 413 }), /larger than this server takes.*--max-upload-size/],
  ["refused with words", () => Response.json({ error: "no such folder" }, { status: 400 }), /^Error: no such folder$/],
  ["refused without words", () => new Response("<html>", { status: 500 }), /did not take it \(status 500\)/],
  ["cut off", () => Promise.reject(new TypeError("network")), /does not answer: the connection is lost/],
]) {
  test(`an upload that is ${what} says so`, async () => {
    await assert.rejects(new MediaLibrary({ server: uploads(answer) }).upload(new File(["x"], "a.png")), message);
  });
}

test("an upload tells how far it is, and ends with the reason of its signal", async () => {
  const stop = new AbortController();
  const shares = [];
  const server = uploads(({ progress, signal }) => {
    progress(0.5);
    stop.abort(new Error("cancelled"));
    return Promise.reject(signal.reason);
  });
  const sent = new MediaLibrary({ server }).upload(new File(["x"], "a.png"), {
    progress: (share) => shares.push(share),
    signal: stop.signal,
  });
  await assert.rejects(sent, /^Error: cancelled$/);
  assert.deepEqual(shares, [0.5]);
});

test("a server that is not there is said in our words", async () => {
  const server = new Server(() => Promise.reject(new TypeError("Failed to fetch")));
  await assert.rejects(new MediaLibrary({ server }).files(), /does not answer/);
});
