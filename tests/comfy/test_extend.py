"""Long clips: how they are cut into parts, that nothing given changes, and that the parts meet."""

import pytest
import torch
from comfy_tools import PROMPT, encode
from hypothesis import given
from hypothesis import strategies as st
from node_tools import noise, sound
from skycanvas.canvas.sound import sample_count
from skycanvas.nodes import extend
from skycanvas.nodes.extend import SkyCanvasExtend, check_lengths, part_canvas, parts_of

SIZE, FPS = (32, 32), 16.0


@pytest.fixture(scope="module")
def prompts(loaded):
    with torch.inference_mode():
        return encode(loaded[1], PROMPT), encode(loaded[1], "")


@pytest.fixture
def extended(model, prompts, vae, audio_vae):
    def run(frames, length, **settings):
        images = settings.pop("images", noise(frames, *SIZE, 3))
        settings = dict(window=9, overlap=5, loop=False, seed=1, steps=1, schedule="ordinary") | settings
        guidance = dict(video_guidance=1.0, audio_guidance=1.0, cross_modal=1.0)
        return SkyCanvasExtend.execute(
            model, *prompts, vae, audio_vae, images, FPS, length, **settings, **guidance
        ).result

    return run


@given(
    given_frames=st.integers(1, 40),
    more=st.integers(1, 60),
    overlap=st.integers(0, 3),
    window=st.integers(1, 8),
    loop=st.booleans(),
)
def test_parts_follow_each_other(given_frames, more, overlap, window, loop):
    overlap, length = 4 * overlap + 1, given_frames + 4 * more
    window = overlap + (overlap - 1 if loop else 0) + 4 * window
    if loop and given_frames < overlap - 1:
        return
    check_lengths(given_frames, length, window, overlap, loop)
    parts = list(parts_of(given_frames, length, window, overlap, loop))
    made = [frame for part in parts for frame in part.new]
    assert made == list(range(given_frames, length)), "each frame is made once"
    for part in parts:
        assert (part.end - part.first) % 4 == 1 and part.end - part.first <= window
        assert 1 <= part.before <= overlap and part.before % 4 == 1 and part.first >= 0
        assert len(part.new) > 0
    assert [part.after for part in parts] == [0] * (len(parts) - 1) + [overlap - 1 if loop else 0]


def test_the_given_clip_stays_bit_for_bit(extended):
    images, audio = noise(6, *SIZE, 3), sound(6 / FPS)
    pictures, heard = extended(6, 18, images=images, audio=audio)
    assert pictures.shape == (18, *SIZE, 3) and torch.equal(pictures[:6], images)
    samples = audio["waveform"].shape[-1]
    assert heard["waveform"].shape == (1, 1, round(18 / FPS * 44100)) and heard["sample_rate"] == 44100
    assert torch.equal(heard["waveform"][..., :samples], audio["waveform"])
    assert pictures[6:].isfinite().all() and pictures[6:].std() > 0


def test_a_part_sees_the_end_of_the_one_before(extended, monkeypatch):
    seen = []
    monkeypatch.setattr(extend, "part_canvas", lambda *args: seen.append((args, part_canvas(*args))) or seen[-1][1])
    pictures, heard = extended(7, 19, audio=sound(7 / FPS, channels=2))
    assert heard["waveform"].shape[1] == 2
    assert len(seen) == 3
    for (part, tail, *_), canvas in seen:
        assert torch.equal(tail[0], pictures[part.first : part.first + part.before])
        begin, end = (round(frame / FPS * 44100) for frame in (part.first, part.new.start))
        assert torch.equal(tail[1], heard["waveform"][0, :, begin:end])
        assert sample_count(canvas.document, 44100) >= tail[1].shape[1]


def test_one_frame_is_enough_and_sound_may_be_missing(extended):
    pictures, heard = extended(1, 13)
    assert len(pictures) == 13 and not heard["waveform"][..., : round(1 / FPS * 44100)].any()


def test_a_loop_leads_back_to_its_first_frames(extended, monkeypatch):
    seen = []
    monkeypatch.setattr(extend, "part_canvas", lambda *args: seen.append(part_canvas(*args)) or seen[-1])
    images = noise(5, *SIZE, 3)
    pictures, _ = extended(5, 17, images=images, window=13, loop=True)
    assert len(pictures) == 17
    last = seen[-1].document
    (tail, head) = last.placements
    assert head.frame == last.frames - 4 and torch.equal(seen[-1].media[head.media], images[:4])
    assert all(len(canvas.document.placements) == 1 for canvas in seen[:-1])


def test_two_nodes_in_a_row_go_on(extended):
    first, audio = extended(5, 13, audio=sound(5 / FPS))
    second, heard = extended(13, 21, images=first, audio=audio)
    assert torch.equal(second[:13], first)
    assert torch.equal(heard["waveform"][..., : audio["waveform"].shape[-1]], audio["waveform"])


def test_sound_of_another_rate_and_length(extended):
    pictures, heard = extended(5, 9, audio=sound(0.1, sample_rate=48000))
    assert heard["sample_rate"] == 44100 and heard["waveform"].shape[-1] == round(9 / FPS * 44100)
    begin, end = round(0.11 * 44100), round(5 / FPS * 44100)
    assert not heard["waveform"][..., begin:end].any(), "silence where the given sound is over"


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(window=30), "window 30 is not 4n\\+1: use 29 or 33"),
        (dict(overlap=6), "overlap 6 is not 4n\\+1: use 5 or 9"),
        (dict(length=16), "length 16 adds 11 frames to the 5 of images, which is no multiple of 4: use 13 or 17"),
        (dict(length=5), "length 5 is no more than the 5 frames"),
        (dict(window=5), "window 5 leaves no new frame beside the overlap 5: this overlap needs 9 or more"),
        (dict(window=9, loop=True), "a loop with this overlap needs 13 or more"),
        (dict(window=33, overlap=13, loop=True), "images has 5 frames, a loop leads back to its first 12"),
    ],
)
def test_lengths_that_cannot_be(extended, settings, message):
    length = settings.pop("length", 17)
    with pytest.raises(ValueError, match=message):
        extended(5, length, **settings)


def test_memory_does_not_grow_with_the_clip(extended, monkeypatch):
    """No canvas is larger than the window, however long the clip is."""
    frames = []
    monkeypatch.setattr(
        extend, "part_canvas", lambda *args: frames.append((c := part_canvas(*args)).document.frames) or c
    )
    pictures, _ = extended(5, 205, steps=1)
    assert len(pictures) == 205 and len(frames) == 50 and max(frames) == 9
