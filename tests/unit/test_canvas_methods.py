"""The canvas with its media: what each method puts on it, what it refuses, and that none of them changes anything."""

import hashlib
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canvas.canvas import GAINS, SPEAKERS, Canvas, content_id
from canvas.document import Box, CanvasError, Document, Key, Media

BOX = Box(x=4, y=2, width=16, height=12)
IMAGE = torch.rand(1, 12, 16, 3, generator=torch.manual_seed(0))
CLIP = torch.rand(8, 12, 16, 3, generator=torch.manual_seed(1))
SOUND = torch.rand(2, 4800, generator=torch.manual_seed(2)) * 2 - 1
ALPHA = torch.rand(1, 12, 16, generator=torch.manual_seed(3))


@pytest.fixture
def canvas() -> Canvas:
    return Canvas.new(64, 48, 17, 16)


def refused(message: str):
    return pytest.raises(CanvasError, match=message)


# --- what is placed


def test_new_canvas_is_empty(canvas):
    assert canvas.document == Document(width=64, height=48, frames=17, fps=16)
    assert not canvas.media


def test_image_lies_at_its_own_size_in_the_corner(canvas):
    placed = canvas.place_image(IMAGE)
    (placement,) = placed.document.placements
    assert placement.box == Box(x=0, y=0, width=16, height=12)
    assert (placement.frame, placement.frames, placement.alpha, placement.role) == (0, 1, None, "keep")
    assert placed.document.media == {placement.media: Media(kind="image", width=16, height=12)}
    assert torch.equal(placed.media[placement.media], IMAGE)


def test_image_takes_all_that_is_said(canvas):
    to = Box(x=0, y=0, width=64, height=48)
    placed = canvas.place_image(IMAGE, frame=3, frames=5, box=BOX, to=to, fit="cover", role="guide", alpha=ALPHA)
    (placement,) = placed.document.placements
    assert (placement.frame, placement.frames, placement.box) == (3, 5, BOX)
    assert placement.path == (Key(at=4, box=to),)
    assert (placement.fit, placement.role) == ("cover", "guide")
    assert torch.equal(placed.media[placement.alpha], ALPHA)
    assert placed.document.media[placement.alpha] == Media(kind="mask", width=16, height=12, frames=1)


def test_fourth_channel_is_opacity_times_the_mask(canvas):
    rgba = torch.cat([IMAGE, ALPHA[..., None]], -1)
    placed = canvas.place_image(rgba).place_image(rgba, alpha=ALPHA)
    first, second = placed.document.placements
    assert first.media == second.media
    assert torch.equal(placed.media[first.media], IMAGE)
    assert torch.equal(placed.media[first.alpha], ALPHA)
    assert torch.equal(placed.media[second.alpha], ALPHA * ALPHA)


def test_full_opacity_is_no_mask(canvas):
    opaque = torch.cat([IMAGE, torch.ones(1, 12, 16, 1)], -1)
    assert canvas.place_image(opaque) == canvas.place_image(IMAGE)
    assert canvas.place_image(IMAGE, alpha=torch.ones(1, 12, 16)) == canvas.place_image(IMAGE)


def test_opacity_that_is_full_in_places_only_is_kept(canvas):
    half = torch.ones(1, 12, 16)
    half[0, :6] = 0
    placed = canvas.place_image(IMAGE, alpha=half)
    assert torch.equal(placed.media[placed.document.placements[0].alpha], half)


def test_a_still_may_have_a_mask_for_each_frame(canvas):
    placed = canvas.place_image(IMAGE, frames=5, alpha=ALPHA.expand(5, -1, -1))
    assert placed.document.media[placed.document.placements[0].alpha].frames == 5


def test_a_mask_without_time_is_one_frame(canvas):
    assert canvas.place_image(IMAGE, alpha=ALPHA[0]) == canvas.place_image(IMAGE, alpha=ALPHA)
    full = torch.rand(48, 64)
    assert canvas.region_mask("keep", full) == canvas.region_mask("keep", full[None])


def test_what_lies_outside_0_to_1_is_clamped_and_nothing_else_is_touched(canvas):
    loud = IMAGE * 3 - 1
    placed = canvas.place_image(loud)
    assert torch.equal(placed.media[placed.document.placements[0].media], loud.clamp(0, 1))
    placed = canvas.place_sound(SOUND * 3, 48000)
    assert torch.equal(placed.media[placed.document.sounds[0].media], SOUND * 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(canvas, dtype):
    placed = canvas.place_image(IMAGE.to(dtype))
    assert torch.equal(placed.media[placed.document.placements[0].media], IMAGE.to(dtype).float())


@pytest.mark.parametrize(
    ("fps", "frame", "start", "frames"),
    [
        (16, 0, 0, 8),
        (8, 0, 0, 16),
        (32, 0, 0, 4),
        (24, 0, 0, 6),  # canvas frames 0..5 show clip frames 0, 1, 3, 4, 6, 7
        (1, 0, 0, 17),  # cut at the end of the canvas
        (16, 12, 0, 5),
        (16, 0, 0.25, 4),
        (16, 0, 7 / 16, 1),
        (8, 0, 0.9, 2),
    ],
)
def test_clip_fills_what_is_left_of_it_and_of_the_canvas(canvas, fps, frame, start, frames):
    placed = canvas.place_clip(CLIP, fps, frame=frame, start=start)
    (placement,) = placed.document.placements
    assert (placement.frame, placement.frames, placement.start) == (frame, frames, start)
    assert placed.document.media[placement.media] == Media(kind="clip", width=16, height=12, frames=8, fps=fps)
    assert torch.equal(placed.media[placement.media], CLIP)


@settings(deadline=None)
@given(
    clip=st.integers(1, 40),
    fps=st.floats(0.5, 240),
    rate=st.floats(0.5, 240),
    frame=st.integers(0, 16),
    share=st.floats(0, 0.999),
)
def test_clip_of_any_rate_never_runs_out(clip, fps, rate, frame, share):
    start = share * clip / fps
    document = Canvas.new(8, 8, 17, rate).place_clip(torch.zeros(clip, 8, 8, 3), fps, frame=frame, start=start).document
    (placement,) = document.placements
    end = frame + placement.frames
    assert document.clip_frame(placement, end - 1) < clip
    assert end == 17 or document.clip_frame(placement, end) >= clip  # nor does it end too early


def test_clip_has_its_own_opacity(canvas):
    alpha = torch.rand(8, 12, 16)
    placed = canvas.place_clip(torch.cat([CLIP, alpha[..., None]], -1), 16).place_clip(CLIP, 16, alpha=alpha)
    first, second = placed.document.placements
    assert first.alpha == second.alpha
    assert torch.equal(placed.media[first.alpha], alpha)


@pytest.mark.parametrize(
    ("time", "start", "duration"), [(0, 0, 0.1), (0.5, 0, 0.1), (0, 0.06, 0.04), (1.0, 0, 0.0625), (0.25, 0.025, 0.075)]
)
def test_sound_plays_what_is_left_of_it_and_of_the_canvas(canvas, time, start, duration):
    placed = canvas.place_sound(SOUND, 48000, time=time, start=start)
    (sound,) = placed.document.sounds
    assert (sound.time, sound.start) == (time, start)
    assert sound.duration == pytest.approx(duration)
    assert torch.equal(placed.media[sound.media], SOUND)
    assert placed.document.media[sound.media] == Media(kind="sound", samples=4800, sample_rate=48000, channels=2)


def test_tensors_that_are_right_already_are_shared_not_copied(canvas):
    placed = canvas.place_clip(CLIP, 16).place_sound(SOUND, 48000)
    assert {tensor.data_ptr() for tensor in placed.media.values()} == {CLIP.data_ptr(), SOUND.data_ptr()}


def test_sound_as_comfyui_has_it(canvas):
    assert canvas.place_sound(SOUND[None], 48000) == canvas.place_sound(SOUND, 48000)


@pytest.mark.parametrize("channels", sorted(SPEAKERS))
def test_many_channels_are_mixed_down_to_two(canvas, channels):
    sound = torch.eye(channels) * 0.5  # a click of each loudspeaker, one after the other
    placed = canvas.place_sound(sound, 48000)
    (name,) = placed.document.media
    left, right = placed.media[name]
    assert placed.document.media[name].channels == channels
    assert left[0] > 0 and right[0] == 0 and left[1] == 0 and right[1] > 0
    assert left.sum() == pytest.approx(0.5) and right.sum() == pytest.approx(0.5)  # all at once do not clip
    for i, speaker in enumerate(SPEAKERS[channels]):
        gains = torch.tensor(GAINS[speaker])
        assert torch.allclose(torch.stack([left[i], right[i]]) / left[0], gains, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_one_or_two_channels_are_left_alone(canvas, channels):
    placed = canvas.place_sound(SOUND[:channels], 48000)
    assert torch.equal(placed.media[placed.document.sounds[0].media], SOUND[:channels])


def test_regions_end_with_the_canvas(canvas):
    mask, masks = torch.rand(1, 48, 64), torch.rand(3, 48, 64)
    placed = (
        canvas.region_box("generate", BOX, frame=5)
        .region_box("keep", BOX, frame=5, frames=2, to=Box(x=0, y=0, width=4, height=4))
        .region_mask("generate", mask, frame=5)
        .region_mask("keep", masks, frame=5)
        .region_mask("keep", mask, frame=5, frames=2)
        .region_sound("keep", 0.5, 0.25)
    )
    *regions, span = placed.document.regions
    assert [(region.kind, region.action, region.frames) for region in regions] == [
        ("box", "generate", 12),
        ("box", "keep", 2),
        ("mask", "generate", 12),
        ("mask", "keep", 3),
        ("mask", "keep", 2),
    ]
    assert (span.kind, span.action, span.time, span.duration) == ("span", "keep", 0.5, 0.25)
    assert torch.equal(placed.media[regions[3].media], masks)


def test_a_mask_that_is_longer_than_the_canvas_is_cut_as_a_clip_is(canvas):
    masks = torch.rand(20, 48, 64)
    placed = canvas.region_mask("generate", masks, frame=5)
    (region,) = placed.document.regions
    assert region.frames == 12 and torch.equal(placed.media[region.media], masks[:12])
    last = canvas.region_mask("generate", masks, frame=16).document
    assert last.regions[0].frames == 1 and last.media[last.regions[0].media].frames == 1


def test_references_get_the_next_free_tag(canvas):
    placed = canvas.reference(IMAGE, kind="image", tag="@Image_2").reference(SOUND, kind="sound", sample_rate=48000)
    for _ in range(2):
        placed = placed.reference(IMAGE, kind="image").reference(CLIP, kind="clip")
        placed = placed.reference(SOUND, kind="sound", sample_rate=48000)
    placed = placed.reference(SOUND, kind="sound", sample_rate=48000, tag="@Actor-0")
    assert [reference.tag for reference in placed.document.references] == [
        "@Image_2", "@audio_0", "@image_1", "@video_1", "@audio_1", "@image_3", "@video_2", "@audio_2", "@Actor-0"
    ]  # fmt: skip
    assert {media.kind for media in placed.document.media.values()} == {"image", "clip", "sound"}
    assert len(placed.media) == 3  # the same content is held once


def test_reference_clip_has_the_canvas_rate_or_its_own(canvas):
    rates = [media.fps for media in canvas.reference(CLIP, kind="clip").document.media.values()]
    rates += [media.fps for media in canvas.reference(CLIP, kind="clip", fps=24).document.media.values()]
    assert rates == [16, 24]


def test_what_is_transparent_in_a_reference_is_black(canvas):
    placed = canvas.reference(torch.cat([IMAGE, ALPHA[..., None]], -1), kind="image")
    (picture,) = placed.media.values()
    assert torch.equal(picture, IMAGE * ALPHA[..., None])


# --- names


def test_ids_are_free_and_in_order(canvas):
    placed = canvas.place_image(IMAGE).place_sound(SOUND, 48000).place_clip(CLIP, 16).place_sound(SOUND, 48000)
    ids = [item.id for item in (*placed.document.placements, *placed.document.sounds)]
    assert ids == ["placement_1", "placement_2", "sound_1", "sound_2"]
    kept = placed.document.replace(placements=placed.document.placements[1:])
    again = Canvas(kept, placed.media).place_image(IMAGE)
    assert [placement.id for placement in again.document.placements] == ["placement_2", "placement_1"]


def test_media_are_named_by_bytes_shape_kind_and_rate():
    media = Media(kind="clip", width=16, height=12, frames=8, fps=16)
    header = b"clip 16.0 None torch.float32 [8, 12, 16, 3] "
    digest = hashlib.blake2b(header + CLIP.numpy().tobytes(), digest_size=16).hexdigest()
    name = content_id(CLIP, media)
    assert name == f"blake2b-{digest}"
    assert content_id(CLIP.clone(), media) == name
    others = {
        content_id(CLIP.flip(0), media),
        content_id(CLIP.reshape(8, 16, 12, 3), media),
        content_id(CLIP.half(), media),
        content_id(CLIP, Media(kind="clip", width=16, height=12, frames=8, fps=24)),
        content_id(CLIP, Media(kind="mask", width=16, height=12, frames=8)),
    }
    assert len(others | {name}) == 6


def test_the_layout_in_memory_means_nothing(canvas):
    other = IMAGE.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not other.is_contiguous()
    assert canvas.place_image(other) == canvas.place_image(IMAGE)


def test_equal_content_makes_equal_canvases(canvas):
    first, second = canvas.place_image(IMAGE), canvas.place_image(IMAGE.clone())
    assert first == second
    assert hash(first) == hash(second)
    changed = IMAGE.clone()
    changed[0, 0, 0, 0] += 2**-24
    assert first != canvas.place_image(changed)


# --- what is refused

NAN = float("nan")
BROKEN = IMAGE.clone()
BROKEN[0, 3, 3, 1] = NAN

REFUSED = {
    "a width of 0": (lambda c: Canvas.new(0, 48, 17, 16), "^width is 0: use 1 or more$"),
    "a rate that is no number": (lambda c: Canvas.new(64, 48, 17, NAN), "^fps is NaN: use a finite number$"),
    # pictures
    "wholly outside": (
        lambda c: c.place_image(IMAGE, box=Box(x=64, y=0, width=16, height=12)),
        r"^placements\[0\].box is 16x12 at \(64, 0\), wholly outside the frame of 64x48",
    ),
    "wholly outside at its own size": (
        lambda c: c.place_image(IMAGE, box=Box(x=-16, y=0, width=16, height=12)),
        r"at \(-16, 0\), wholly outside",
    ),
    "a box of zero size": (lambda c: c.place_image(IMAGE, box=Box(x=0, y=0, width=0, height=1)), "^width is 0"),
    "a frame after the end": (
        lambda c: c.place_image(IMAGE, frame=17),
        r"^placements\[0\].frame is 17, outside the canvas of 17 frames: use 0 to 16$",
    ),
    "a negative frame": (lambda c: c.place_image(IMAGE, frame=-1), "^frame is -1: use 0 or more$"),
    "too many frames": (lambda c: c.place_image(IMAGE, frame=10, frames=8), "use 7 or fewer"),
    "zero frames": (lambda c: c.place_image(IMAGE, frames=0), "^frames is 0: use 1 or more$"),
    "moving within one frame": (lambda c: c.place_image(IMAGE, to=BOX), "^to is given, but frames is 1"),
    "an unknown fit": (lambda c: c.place_image(IMAGE, fit="squeeze"), "^fit is \"squeeze\": use 'stretch'"),
    "an unknown role": (lambda c: c.place_image(IMAGE, role="lead"), "^role is \"lead\": use 'keep' or 'guide'$"),
    "a batch as an image": (lambda c: c.place_image(CLIP), "^the image is a batch of 8: use it as a clip"),
    "an image of zero size": (lambda c: c.place_image(IMAGE[:, :0]), r"^the image is empty, of shape \[1, 0, 16, 3\]"),
    "no image": (lambda c: c.place_image(IMAGE[:0]), "^the image is empty"),
    "an image of one channel": (lambda c: c.place_image(IMAGE[..., :1]), r"^the image has shape \[1, 12, 16, 1\]: use"),
    "an image without a batch": (lambda c: c.place_image(IMAGE[0]), r"^the image has shape \[12, 16, 3\]: use"),
    "an image of bytes": (lambda c: c.place_image((IMAGE * 255).byte()), "^the image is of torch.uint8: use floating"),
    "an image with NaN": (lambda c: c.place_image(BROKEN), "^the image holds NaN or infinity"),
    "an image with infinity": (lambda c: c.place_image(IMAGE / 0), "^the image holds NaN or infinity"),
    "an alpha of another size": (
        lambda c: c.place_image(IMAGE, alpha=ALPHA[:, :8]),
        "^alpha is 16x8, the image 16x12: use equal sizes$",
    ),
    "an alpha of another length": (
        lambda c: c.place_image(IMAGE, frames=5, alpha=ALPHA.expand(3, -1, -1)),
        "^alpha has 3 frames: use 1 or 5$",
    ),
    "too long an alpha": (lambda c: c.place_image(IMAGE, alpha=ALPHA.expand(3, -1, -1)), "^alpha has 3 frames: use 1$"),
    "an alpha like an image": (lambda c: c.place_image(IMAGE, alpha=IMAGE), r"^the alpha has shape \[1, 12, 16, 3\]"),
    "an alpha with NaN": (lambda c: c.place_image(IMAGE, alpha=BROKEN[..., 1]), "^the alpha holds NaN"),
    "an opacity with NaN": (
        lambda c: c.place_image(torch.cat([IMAGE, BROKEN[..., 1:2]], -1)),
        "^the image holds NaN",
    ),
    # clips
    "no clip": (lambda c: c.place_clip(CLIP[:0], 16), "^the clip is empty"),
    "a clip's rate of 0": (lambda c: c.place_clip(CLIP, 0), "^fps is 0: use 0.1 or more$"),
    "a clip's rate that is no number": (lambda c: c.place_clip(CLIP, NAN), "^fps is NaN"),
    "a clip started past its end": (
        lambda c: c.place_clip(CLIP, 16, start=0.5),
        r"^placements\[0\].start is 0.5, past the end of a clip of 0.5 s: use less than that$",
    ),
    "a negative start": (lambda c: c.place_clip(CLIP, 16, start=-0.1), "^start is -0.1: use 0 or more$"),
    "a start that is no number": (lambda c: c.place_clip(CLIP, 16, start=NAN), "^start is NaN"),
    "a start beyond all clips": (lambda c: c.place_clip(CLIP, 16, start=1e308), r"^start is 1e\+308: use 1000000 or"),
    "more frames than the clip has": (
        lambda c: c.place_clip(CLIP, 16, frames=9),
        r"^placements\[0\].frames is 9, more than a clip of 8 frames at 16 fps fills from 0 s on",
    ),
    "a clip after the end": (lambda c: c.place_clip(CLIP, 16, frame=17), r"frame is 17, outside the canvas"),
    "a clip's alpha of another length": (
        lambda c: c.place_clip(CLIP, 16, alpha=ALPHA.expand(3, -1, -1)),
        "^alpha has 3 frames: use 1 or 8$",
    ),
    # sounds
    "an empty sound": (lambda c: c.place_sound(SOUND[:, :0], 48000), r"^the sound is empty, of shape \[2, 0\]"),
    "a sound without channels": (lambda c: c.place_sound(SOUND[:0], 48000), "^the sound is empty"),
    "a batch of sounds": (lambda c: c.place_sound(torch.stack([SOUND] * 2), 48000), r"^the sound has shape \[2, 2, 48"),
    "too many channels": (lambda c: c.place_sound(torch.zeros(9, 100), 48000), "^the sound has 9 channels: use 1 to 8"),
    "a sample rate of 0": (lambda c: c.place_sound(SOUND, 0), "^sample_rate is 0: use 1 or more$"),
    "a sample rate with a fraction": (lambda c: c.place_sound(SOUND, 44100.5), "^sample_rate is 44100.5: use a whole"),
    "a sound with NaN": (lambda c: c.place_sound(SOUND / 0, 48000), "^the sound holds NaN"),
    "a sound after the end": (
        lambda c: c.place_sound(SOUND, 48000, time=2),
        r"^sounds\[0\].time is 2, outside the canvas of 1.0625 s: use less than that$",
    ),
    "a time that is no number": (lambda c: c.place_sound(SOUND, 48000, time=NAN), "^time is NaN"),
    "a sound's start that is no number": (lambda c: c.place_sound(SOUND, 48000, start=NAN), "^start is NaN"),
    "a sound's endless start": (lambda c: c.place_sound(SOUND, 48000, start=math.inf), "^start is Infinity"),
    "a sound started past its end": (
        lambda c: c.place_sound(SOUND, 48000, start=0.1),
        r"^sounds\[0\].start is 0.1, past the end of a sound of 0.1 s",
    ),
    "a sound longer than it is": (
        lambda c: c.place_sound(SOUND, 48000, duration=0.2),
        r"^sounds\[0\].duration is 0.2, more than a sound of 0.1 s has from 0 s on: use 0.1 or less",
    ),
    "a sound of no duration": (
        lambda c: c.place_sound(SOUND, 48000, duration=0.0),
        "^duration is 0.0: use more than 0",
    ),
    # regions
    "an unknown action": (lambda c: c.region_box("erase", BOX), "^action is \"erase\": use 'generate' or 'keep'$"),
    "a region outside": (
        lambda c: c.region_box("keep", Box(x=0, y=48, width=4, height=4)),
        r"^regions\[0\].box is 4x4 at \(0, 48\), wholly outside",
    ),
    "a region after the end": (lambda c: c.region_box("keep", BOX, frame=17), r"^regions\[0\].frame is 17, outside"),
    "a mask of another size": (
        lambda c: c.region_mask("keep", torch.ones(1, 24, 64)),
        r"^regions\[0\].media is a mask 24 pixels high: use one 48 high$",
    ),
    "a mask too long": (
        lambda c: c.region_mask("keep", torch.ones(18, 48, 64), frames=18),
        r"^regions\[0\].frames is 18, from frame 0 on past the end of a canvas of 17 frames: use 17 or fewer$",
    ),
    "a mask of another length": (
        lambda c: c.region_mask("keep", torch.ones(4, 48, 64), frames=5),
        r"^regions\[0\].media is a mask of 4 frames: use one of 1 or 5$",
    ),
    "an empty mask": (lambda c: c.region_mask("keep", torch.ones(0, 48, 64)), "^the mask is empty"),
    "a mask like a latent": (lambda c: c.region_mask("keep", torch.ones(1, 1, 48, 64)), "^the mask has shape"),
    "a span after the end": (lambda c: c.region_sound("keep", 1.0625, 1), r"^regions\[0\].time is 1.0625, outside"),
    "a span of no duration": (lambda c: c.region_sound("keep", 0, 0), "^duration is 0: use more than 0$"),
    # references
    "a bad tag": (lambda c: c.reference(IMAGE, kind="image", tag="image 1"), '^tag is "image 1": use a tag such as'),
    "an empty tag": (lambda c: c.reference(IMAGE, kind="image", tag=""), '^tag is "": use a tag such as'),
    "a tag twice": (
        lambda c: c.reference(IMAGE, kind="image", tag="@Cat").reference(IMAGE, kind="image", tag="@cat"),
        r'^references\[1\].tag is "@cat", as references\[0\].tag: use another tag$',
    ),
    "a tag of another kind": (
        lambda c: c.reference(CLIP, kind="clip", tag="@image_1"),
        r'^references\[0\].tag is "@image_1", its media is of kind clip: use @video_...',
    ),
    "a batch as a reference": (lambda c: c.reference(CLIP, kind="image"), "^the image is a batch of 8"),
    "a mask as a reference": (
        lambda c: c.reference(IMAGE, kind="mask"),
        '^kind is "mask": use "image" or "clip" or "sound"$',
    ),
    "a voice without a rate": (lambda c: c.reference(SOUND, kind="sound"), "^sample_rate is missing"),
    "an empty voice": (lambda c: c.reference(SOUND[:, :0], kind="sound", sample_rate=48000), "^the sound is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_the_canvas_stays_as_it_was(canvas, name):
    attempt, message = REFUSED[name]
    before = canvas.document.json()
    with refused(message):
        attempt(canvas)
    assert canvas.document.json() == before
    assert not canvas.media


def test_there_is_room_for_1000_placements_and_64_references(canvas):
    box = {"x": 0, "y": 0, "width": 8, "height": 8}
    one = canvas.place_image(IMAGE)
    (media,) = one.document.media
    items = [{"id": f"p{i}", "media": media, "frame": 0, "frames": 1, "box": box} for i in range(1000)]
    full = Canvas(one.document.replace(placements=items), one.media)
    with refused("^placements has 1001 entries: use 1000 or fewer$"):
        full.place_image(IMAGE)
    full = canvas
    for _ in range(64):
        full = full.reference(IMAGE, kind="image")
    with refused("^references has 65 entries: use 64 or fewer$"):
        full.reference(IMAGE, kind="image")


# --- documents and tensors


def test_tensors_must_be_there_and_fit(canvas):
    placed = canvas.place_image(IMAGE)
    (name,) = placed.media
    with refused(rf"^media {name} \(from a wire\) is not there: load it first$"):
        Canvas(placed.document)
    with refused(rf"^media {name} has shape \[8, 12, 16, 3\]: the document says \[1, 12, 16, 3\]$"):
        Canvas(placed.document, {name: CLIP})
    assert Canvas(placed.document, {name: IMAGE, "unused": CLIP}).media.keys() == {name}


def test_media_cannot_be_exchanged(canvas):
    placed = canvas.place_image(IMAGE)
    (name,) = placed.media
    with pytest.raises(TypeError):
        placed.media[name] = CLIP
    with pytest.raises(AttributeError):
        placed.document = canvas.document


def opened(**facts) -> Document:
    media = {
        "pic": {"kind": "image", "file": "pic.png", **facts},
        "clip": {"kind": "clip", "file": "clip.mp4"},
        "song": {"kind": "sound", "file": "song.wav"},
        "mask": {"kind": "mask", "file": "mask.png"},
    }
    placements = [
        {"id": "a", "media": "pic", "alpha": "mask", "frame": 0, "frames": 1, "box": dict(BOX)},
        {"id": "b", "media": "clip", "frame": 0, "frames": 8, "box": dict(BOX)},
    ]
    head = {"format": "skycanvas", "version": 1, "width": 64, "height": 48, "frames": 17, "fps": 16}
    return Document.parse(json.dumps({**head, "media": media, "placements": placements}))


def files(**exchanged):
    contents = {"pic.png": (IMAGE, None), "clip.mp4": (CLIP, 16), "song.wav": (SOUND, 48000), "mask.png": (ALPHA, None)}
    return lambda media: {**contents, **{name.replace("_", "."): file for name, file in exchanged.items()}}[media.file]


def test_open_loads_files_and_learns_their_facts():
    canvas = Canvas.open(opened(width=16), files())
    assert dict(canvas.document.media) == {
        "pic": Media(kind="image", width=16, height=12, file="pic.png"),
        "clip": Media(kind="clip", width=16, height=12, frames=8, fps=16, file="clip.mp4"),
        "song": Media(kind="sound", samples=4800, sample_rate=48000, channels=2, file="song.wav"),
        "mask": Media(kind="mask", width=16, height=12, frames=1, file="mask.png"),
    }
    assert torch.equal(canvas.media["clip"], CLIP)
    assert Document.parse(canvas.document.json()) == canvas.document


@pytest.mark.parametrize(
    ("exchanged", "message"),
    [
        ({"pic_png": (IMAGE[:, :, :8], None)}, "^media.pic.width is 16, but pic.png has 8$"),
        ({"mask_png": (ALPHA[:, :8], None)}, r"^placements\[0\].alpha is a mask 8 pixels high: use one 12 high$"),
        ({"clip_mp4": (CLIP[:7], 16)}, r"^placements\[1\].frames is 8, more than a clip of 7 frames"),
        ({"clip_mp4": (CLIP, None)}, "^fps is missing"),
        ({"song_wav": (SOUND[:, :0], 48000)}, "^the sound is empty"),
        ({"pic_png": (torch.rand(1, 12, 16, 4), None)}, "^the image has 4 channels: its opacity is a mask of its own$"),
    ],
)
def test_open_checks_what_the_files_hold(exchanged, message):
    with refused(message):
        Canvas.open(opened(width=16), files(**exchanged))


# --- any order

BOXES = st.builds(
    Box, x=st.integers(-70, 70), y=st.integers(-50, 50), width=st.integers(1, 70), height=st.integers(1, 50)
)
FRAME = st.integers(-1, 18)
SECONDS = st.floats(-0.1, 1.2)
ACTION = st.sampled_from(("generate", "keep"))


def step(method: str, *arguments: st.SearchStrategy, **options: st.SearchStrategy):
    return st.tuples(st.just(method), st.tuples(*arguments), st.fixed_dictionaries({}, optional=options))


SPAN = {"frame": FRAME, "frames": FRAME}
MASKS = st.sampled_from((torch.ones(1, 48, 64), torch.ones(3, 48, 64), torch.ones(20, 48, 64)))
TAGS = st.sampled_from(("@image_1", "@image_3", "@Cat", "@video_1"))
STEPS = st.one_of(
    step("place_image", st.just(IMAGE), **SPAN, box=BOXES, to=BOXES, alpha=st.just(ALPHA)),
    step("place_clip", st.just(CLIP), st.sampled_from((8, 16, 24)), **SPAN, box=BOXES, start=SECONDS),
    step("place_sound", st.just(SOUND), st.sampled_from((8000, 48000)), time=SECONDS, start=SECONDS, duration=SECONDS),
    step("region_box", ACTION, BOXES, **SPAN, to=BOXES),
    step("region_mask", ACTION, MASKS, **SPAN),
    step("region_sound", ACTION, SECONDS, SECONDS),
    step("reference", st.just(IMAGE), tag=TAGS),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=8))
def test_any_order_of_steps_keeps_a_valid_document_and_all_earlier_ones(steps):
    canvas = Canvas.new(64, 48, 17, 16)
    history = [(canvas, canvas.document.json())]
    for name, arguments, options in steps:
        try:
            more = {"kind": "image"} if name == "reference" else {}
            canvas = getattr(canvas, name)(*arguments, **options, **more)
        except CanvasError:
            continue
        history.append((canvas, canvas.document.json()))
    for earlier, text in history:
        assert earlier.document.json() == text
        assert Document.parse(text) == earlier.document
        assert earlier.media.keys() == earlier.document.media.keys()
    assert len({earlier.document.digest() for earlier, _ in history}) == len(history)
