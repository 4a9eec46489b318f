/** What the player of 'View Clip' computes, and that its videos come to the very frames they are asked for. */

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import {
  MODES,
  arrangement,
  facts,
  fit,
  frameAt,
  notes,
  routeOf,
  sourceOf,
  steer,
  steps,
  timeOf,
  waveOutline,
} from "../../web/result/model.js";
import { Track } from "../../web/result/track.js";
import { WORDS, t } from "../../web/words.js";

function clip({ width = 64, height = 48, frames = 17, sound = null } = {}) {
  return { video: { filename: "a b.mp4", subfolder: "", type: "temp" }, poster: null, width, height, frames, sound };
}

const stereo = { channels: 2, sample_rate: 44100, seconds: 17 / 16, peaks: [[0], [0]] };
const say = (found) => found.map(([key, values]) => t(key, values));

test("a frame is found again in the middle of its time, and at its rounded beginning", () => {
  for (const fps of [1, 12, 16, 23.976, 24, 29.97, 60, 1000]) {
    for (let frame = 0; frame < 2000; frame++) {
      assert.equal(frameAt(timeOf(frame, fps), fps), frame);
      if (fps <= 120) assert.equal(frameAt(Number((frame / fps).toFixed(6)), fps), frame); // as videos tell it
    }
  }
});

test("the route of a file", () => {
  assert.equal(routeOf(clip().video), "/view?filename=a+b.mp4&subfolder=&type=temp");
});

test("one source for all clips, one for each, or none", () => {
  const [a, b] = [clip(), clip({ frames: 5 })];
  assert.equal(sourceOf({ sources: [] }, 0), undefined);
  assert.equal(sourceOf({ sources: [a] }, 3), a);
  assert.equal(sourceOf({ sources: [a, b] }, 1), b);
});

describe("two videos in step", () => {
  test("less than half a frame apart is left alone", () => {
    for (const ahead of [0, 0.015, -0.015]) assert.deepEqual(steer(ahead, 30), { seek: false, rate: 1 });
  });

  test("the one ahead slows down, the one behind hurries, each towards the other", () => {
    for (const ahead of [-0.6, -0.05, 0.05, 0.6]) {
      const { seek, rate } = steer(ahead, 30);
      assert.equal(seek, false);
      assert.ok(ahead > 0 ? rate < 1 && rate >= 0.5 : rate > 1 && rate <= 2);
    }
  });

  test("far apart is set right at once, farther for slow frames", () => {
    assert.equal(steer(0.8, 30).seek, true);
    assert.equal(steer(-2, 30).seek, true);
    assert.equal(steer(0.8, 2).seek, false);
  });

  test("around the end of a loop they are close to each other", () => {
    assert.deepEqual(steer(-1.99, 24, 2), { seek: false, rate: 1 });
    assert.ok(steer(1.9, 24, 2).rate > 1); // it is not 1.9 s ahead but 0.1 s behind
    assert.equal(steer(-1, 24, 2).seek, true);
  });
});

test("the outline of a waveform is as high as its peaks on both sides, and never leaves its box", () => {
  assert.equal(waveOutline([0.5, 2]), "M0 1L0 0.500H1L1 0.000H2L2 2.000H1L1 1.500H0Z");
});

test("steps of a graph stand on the ground, the largest fills the height", () => {
  assert.equal(steps([1, 0.25, 0], 1), "M0 1V0.000H1V0.500H2V1.000H3V1Z");
  assert.equal(steps([0, 0], 0), "M0 1V1.000H1V1.000H2V1Z");
});

test("two pictures lie so that they are largest", () => {
  assert.equal(arrangement({ width: 400, height: 200 }, { width: 64, height: 64 }), "row");
  assert.equal(arrangement({ width: 220, height: 300 }, { width: 160, height: 90 }), "column");
});

test("a picture fits into its box and keeps its proportions", () => {
  assert.deepEqual(fit({ width: 200, height: 400 }, { width: 50, height: 25 }), { width: 200, height: 100 });
  assert.deepEqual(fit({ width: 200, height: 40 }, { width: 50, height: 25 }), { width: 80, height: 40 });
});

test("a clip in numbers", () => {
  const line = (found) => say(facts(found, 16)).join(" · ");
  assert.equal(line(clip()), "64 × 48 · 17 frames · 16 fps · 1.06 s · no sound");
  assert.match(line(clip({ sound: stereo })), / · stereo · 44.1 kHz$/);
  assert.match(line(clip({ sound: { ...stereo, channels: 1 } })), / · mono · 44.1 kHz$/);
  assert.match(line(clip({ sound: { ...stereo, channels: 6 } })), / · 6 channels · 44.1 kHz$/);
});

test("what does not go together is said, and what does is not", () => {
  const found = (result, source) => say(notes({ fps: 16, clips: [result], sources: source ? [source] : [] }, 0));
  assert.deepEqual(found(clip({ sound: stereo })), []);
  assert.deepEqual(found(clip(), clip()), []);
  assert.deepEqual(found(clip(), clip({ width: 128, frames: 20 })), [
    "The source has 128 × 48 pixels: it is scaled to the result's size to compare them.",
    "The source has 20 frames, the result 17: the first 17 are compared.",
  ]);
  const sounding = (seconds) => found(clip({ sound: { ...stereo, seconds } }));
  assert.deepEqual(sounding(1.1), []); // less than a frame
  assert.deepEqual(sounding(0.5), ["The sound lasts 0.50 s, the picture 1.06 s: silence follows."]);
  assert.deepEqual(sounding(3), ["The sound lasts 3.00 s, the picture 1.06 s: the rest is left out."]);
});

test("every way of looking has a name", () => {
  for (const language of Object.values(WORDS)) for (const mode of MODES) assert.ok(language[`view.${mode}`]);
});

describe("a video", () => {
  /** Takes seeks as a browser does: one after the other, each told when it is done. */
  class FakeVideo extends EventTarget {
    readyState = 0;
    paused = true;
    seeking = false;
    times = [];

    set currentTime(seconds) {
      this.times.push(seconds);
      this.seeking = true;
    }

    get currentTime() {
      return this.times.at(-1) ?? 0;
    }

    arrive() {
      this.seeking = false;
      this.dispatchEvent(new Event("seeked"));
    }

    open() {
      this.readyState = 1;
      this.dispatchEvent(new Event("loadedmetadata"));
    }

    play() {
      this.paused = false;
      return Promise.resolve();
    }

    pause() {
      this.paused = true;
    }

    hasAttribute() {
      return true;
    }
  }

  let track;
  let failures;
  beforeEach(() => {
    globalThis.document = { createElement: () => new FakeVideo() };
    failures = 0;
    track = new Track({ failed: () => failures++ });
    track.load("/view", 10, 10, 3);
  });

  test("stands on the frame it was loaded with once its header is there", () => {
    assert.deepEqual(track.video.times, []);
    track.video.open();
    assert.deepEqual(track.video.times, [0.35]);
  });

  test("of many frames in a row only the latest is gone to", () => {
    track.video.open();
    for (const frame of [4, 5, 6, 7]) track.seek(frame);
    track.video.arrive();
    track.video.arrive();
    assert.deepEqual(track.video.times, [0.35, 0.75]);
  });

  test("stays within its frames", () => {
    track.video.open();
    track.video.arrive();
    track.seek(99);
    assert.equal(track.video.times.at(-1), 0.95);
  });

  test("is not set twice to one frame", () => {
    track.video.open();
    track.video.arrive();
    track.seek(3);
    assert.equal(track.video.times.length, 1);
  });

  test("begins to play on the frame it was loaded with, and is left alone then", () => {
    track.play();
    track.video.open();
    track.video.arrive();
    assert.deepEqual(track.video.times, [0.35]);
    track.jump(0.5);
    track.video.arrive();
    assert.deepEqual(track.video.times, [0.35, 0.5]);
  });

  test("tells that its file cannot be played", () => {
    track.video.dispatchEvent(new Event("error"));
    assert.equal(failures, 1);
  });
});
