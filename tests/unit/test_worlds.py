"""Paired worlds: both sides of a pair tell the same story, but for what the instruction says, and for nothing else."""

import random
import re
from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.signal import find_peaks

from models.text_encoder import Tokenizer, split_words
from training.captions import vocabulary
from training.objective import GIVEN
from training.toybox import BACKGROUNDS, HOP, SAMPLE_RATE, Scenes, sample_scenes, samples_of
from training.worlds import TABLE_3, WORLDS, Example
from training.worlds import __main__ as picture
from training.worlds.edits import CORNERS, SUBTITLE_ROWS, WHITE
from training.worlds.effects import EFFECTS, SMALLEST
from training.worlds.example import VIDEO, VOICE, Say, another, joined
from training.worlds.faces import LOUDNESS, SYLLABLE, Speech, faces
from training.worlds.shots import CUTS, cut_frames
from training.worlds.sounds import DRONE, MELODIES, MELODY, TONES
from training.worlds.styles import BLOCK, GLOBAL, GROUND, NIGHT, PAN, TILT, WARM, ZOOM

CLIPS = 6
BLACK = torch.tensor(BACKGROUNDS["black"])[:, None, None, None] / 127.5 - 1
LAYOUTS = {world.layout for world in WORLDS.values()}


def drawn(frames: int = 17, clips: int = CLIPS, seed: int = 0, **fixed) -> Scenes:
    return sample_scenes(clips, frames=frames, generator=torch.Generator().manual_seed(seed), **fixed)


def made(name: str, scenes: Scenes, seed: int = 1, words: random.Random | None = None) -> Example:
    return WORLDS[name].make(scenes, torch.Generator().manual_seed(seed), words)


@lru_cache
def pair(name: str) -> tuple[Scenes, Example]:
    """Scenes of 17 frames, and what a world makes of them."""
    scenes = drawn()
    return scenes, made(name, scenes)


def tensors(example: Example) -> dict[str, torch.Tensor]:
    parts = {"video": example.video, "sound": example.sound, "source": example.source, "voice": example.voice}
    return {name: x for name, x in (parts | example.pictures | example.facts).items() if x is not None}


def changed(example: Example, tolerance: float = 0.0) -> torch.Tensor:
    """Where source and target differ, [B, F, 64, 64] bool."""
    return ((example.source - example.video).abs() > tolerance).any(1)


def hop_levels(sound: torch.Tensor) -> torch.Tensor:
    """Root mean square of each hop of [B, 1, S]. [B, S / HOP]"""
    return sound[:, 0].unflatten(1, (-1, HOP)).square().mean(2).sqrt()


def partials(sound: torch.Tensor) -> torch.Tensor:
    """Unit vector of the power in each multiple of SAMPLE_RATE / HOP. [B, 1, S] -> [B, HOP / 2 + 1]"""
    power = torch.fft.rfft(sound[:, 0].unflatten(1, (-1, HOP))).abs().square().sum(1)
    return power / power.norm(dim=1, keepdim=True)


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [5, 17, 33])
@pytest.mark.parametrize("name", WORLDS)
def test_sizes_and_ranges(name, frames):
    example = made(name, drawn(frames, clips=2))
    assert len(example) == len(example.captions) == 2
    assert example.video.shape == (2, 3, frames, 64, 64)
    assert example.sound.shape == (2, 1, samples_of(frames))
    assert example.source is None or example.source.shape == example.video.shape
    assert all(image.shape == (2, 3, 1, 64, 64) for image in example.pictures.values())
    assert example.voice is None or example.voice.shape == (2, 1, 22 * HOP)
    assert example.scenes is None or (len(example.scenes) == 2 and example.scenes.frames == frames)
    assert all(len(fact) == 2 for fact in example.facts.values())
    assert example.given in GIVEN
    for part in ("video", "sound", "source", "voice", *example.pictures):
        if part in (values := tensors(example)):
            assert values[part].isfinite().all() and values[part].abs().max() <= 1, part


@pytest.mark.parametrize("name", WORLDS)
def test_a_seed_gives_the_same_example_and_words_change_only_the_words(name):
    scenes, first = pair(name)
    again, in_other_words = made(name, scenes), made(name, scenes, words=random.Random(3))
    assert again.captions == first.captions
    for one in (again, in_other_words):
        assert tensors(one).keys() == tensors(first).keys()
        assert all(torch.equal(value, tensors(first)[part]) for part, value in tensors(one).items())
    short = drawn(5)
    loose = [made(name, short, words=random.Random(seed)).captions for seed in (3, 4, 3)]
    assert loose[0] == loose[2] and any(captions != made(name, short).captions for captions in loose)


@pytest.mark.parametrize("name", WORLDS)
def test_another_seed_gives_another_example_where_anything_is_drawn(name):
    scenes, first = pair(name)
    other = tensors(made(name, scenes, seed=2))
    differs = any(not torch.equal(value, tensors(first)[part]) for part, value in other.items())
    assert differs == (name not in {*GLOBAL, "texture", "delete subject"})


@pytest.mark.parametrize("name", WORLDS)
def test_captions_are_in_the_vocabulary_short_and_name_what_there_is(name):
    tokenizer, generator = Tokenizer(vocabulary()), torch.Generator().manual_seed(4)
    for clips, frames, words in ((2, 33, None), (2, 33, random.Random(0)), (16, 5, random.Random(1))):
        example = WORLDS[name].make(sample_scenes(clips, frames=frames, generator=generator), generator, words)
        tags = {*example.pictures, *([VIDEO] * (example.source is not None)), *([VOICE] * (example.voice is not None))}
        for text in example.captions:
            assert tokenizer.unknown_words(text) == [], text
            assert len(split_words(text)) <= 31, text
            assert Counter(re.findall(r"@\w+", text)) == Counter(tags), text
            assert "{" not in text and "  " not in text.replace(" , ", ","), text
            opened, closed = re.findall(r"<(\w+)>", text), re.findall(r"</(\w+)>", text)
            assert opened == closed and len(set(opened)) == len(opened), text


def test_the_worlds_cover_the_editing_part_of_table_3():
    rows = (
        "Element Removal, Subject Manipulation, Attribute Editing, Background Editing, Style Transfer, Camera Control, "
        "Scene Attributes, Subject + Motion Ref, Subject + Expression Ref, Background + Video Ref, "
        "First-Frame + Effect Ref"
    )
    assert list(TABLE_3) == rows.split(", ")
    named = [name for names in TABLE_3.values() for name in names]
    assert len(set(named)) == len(named) and all(TABLE_3.values())
    others = {"speaker", "speech", "bgm", "singing", "two shots"}  # of sections 3.2 and 3.4: sounds and shots
    assert set(named) | others == set(WORLDS) and not set(named) & others
    assert all(world.name == name for name, world in WORLDS.items())


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_worlds_of_a_layout_have_the_same_kinds_of_conditions(layout):
    examples = [pair(name)[1] for name, world in WORLDS.items() if world.layout == layout]
    kinds = {(x.source is None, x.voice is None, len(x.pictures), x.given) for x in examples}
    assert len(kinds) == 1
    if layout == "clip and picture":
        return  # each has a tag of its own
    together = joined(examples)
    assert len(together) == CLIPS * len(examples) == len(together.captions)
    assert torch.equal(together.video[-CLIPS:], examples[-1].video)
    for part, value in tensors(together).items():
        assert len(value) == len(together), part
    if together.source is not None:
        assert torch.equal(together.source[:CLIPS], examples[0].source)
    assert together.captions[CLIPS : 2 * CLIPS] == [text for x in examples[1:2] for text in x.captions]
    assert together.scenes is None and not together.facts


@given(st.integers(2, 9), st.integers(0, 2**31), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_another_is_never_the_same(options, seed, count):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(options, (count,), generator=generator)
    other = another(index, options, generator)
    assert (other != index).all() and (0 <= other).all() and (other < options).all()


def test_words_come_in_the_order_of_the_table():
    scenes = drawn(clips=2, shape="square", colour="blue")
    plain = Say(scenes, None)
    assert plain.names("shape", scenes) == ["square"] * 2 and plain.word("pitch", "low") == "low"
    assert plain.each("a {x}", "b {x}", x=["1", "2"]) == ["a 1", "a 2"] and plain.each("one") == ["one"] * 2
    loose = Say(scenes, random.Random(0))
    assert {loose.name("shape", 1) for _ in range(60)} == {"square", "box", "block", "cube"}


# -- overlays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["watermark", "subtitle", "logo"])
def test_an_overlay_stands_still_and_spares_the_rest_bit_for_bit(name):
    scenes, example = pair(name)
    assert torch.equal(example.video, scenes.render())
    mask = changed(example)
    assert torch.equal(mask, mask[:, :1].expand_as(mask)), "it does not move"
    shares = mask[:, 0].float().mean((1, 2))
    assert (shares > 0.01).all() and (shares < 0.45).all()
    lifted = (example.video.movedim(1, -1)[mask] - example.source.movedim(1, -1)[mask]).abs()
    assert lifted.amax(1).min() > 0.02, "it is to be seen everywhere"
    if name != "watermark":
        assert (example.source.movedim(1, -1)[mask] == WHITE).all(), "it hides what is below"


def test_a_watermark_lets_the_picture_through():
    scenes, example = pair("watermark")
    mask = changed(example)
    shown, covered = (x.movedim(1, -1)[mask] for x in (example.video, example.source))
    opacity = (covered - shown) / (WHITE - shown)
    torch.testing.assert_close(opacity, torch.full_like(opacity, 0.45), atol=1e-3, rtol=0)


def test_a_subtitle_stays_on_its_line():
    mask = changed(pair("subtitle")[1])[:, 0]
    rows = mask.any(2)
    assert rows[:, SUBTITLE_ROWS].all() and rows.sum(1).eq(SUBTITLE_ROWS.stop - SUBTITLE_ROWS.start).all()
    words = [int(np.diff(np.pad(row.numpy().astype(int), 1)).clip(0).sum()) for row in mask[:, SUBTITLE_ROWS.start]]
    assert min(words) >= 3, "several words"


def test_a_logo_is_in_the_corner_that_the_caption_names():
    scenes = drawn(5, clips=24)
    example = made("logo", scenes, words=random.Random(0))
    named = 0
    for mask, text in zip(changed(example)[:, 0], example.captions, strict=True):
        y, x = mask.nonzero().float().mean(0).tolist()
        corner = min(CORNERS, key=lambda name: abs(CORNERS[name][0] - x) + abs(CORNERS[name][1] - y))
        ys, xs = mask.nonzero(as_tuple=True)
        assert int(ys.max() - ys.min()) == int(xs.max() - xs.min()) == 11
        if " at the " in text:
            assert f"logo at the {corner}" in text
            named += 1
    assert named > 3


# -- subjects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "delete"])
def test_a_small_object_comes_or_goes_in_a_corner(name):
    scenes, example = pair(name)
    plain, other = (example.source, example.video) if name == "add" else (example.video, example.source)
    torch.testing.assert_close(plain, scenes.render(), atol=1e-6, rtol=0)
    where = changed(example, 1e-4)
    places = torch.tensor(list(CORNERS.values()), dtype=torch.float32)
    for i, text in enumerate(example.captions):
        y, x = where[i].any(0).nonzero().float().mean(0).tolist()
        corner = int((places - torch.tensor([x, y])).norm(dim=1).argmin())
        ys, xs = where[i].any(0).nonzero(as_tuple=True)
        assert torch.hypot(xs + 0.5 - places[corner, 0], ys + 0.5 - places[corner, 1]).max() < 11
        if name == "add":
            assert list(CORNERS)[corner] in text
        # It is behind the moving object, and the clip shows enough of it.
        hidden = scenes.coverage()[i, 0] == 1
        assert not (where[i] & hidden).any()
        assert where[i].flatten(1).sum(1).max() > 80
        # Its colour is the one that is named, and not that of the moving object.
        column, row = CORNERS[list(CORNERS)[corner]]
        frame = int((scenes.coverage()[i, 0, :, row, column] == 0).nonzero()[0])
        named = torch.tensor(scenes.level.colours[text.split(" small ")[1].split()[0]].rgb) / 127.5 - 1
        torch.testing.assert_close(other[i, :, frame, row, column], named)
        assert not torch.allclose(named, scenes.paint()[i].flatten())


def test_a_deleted_subject_leaves_an_empty_silent_box():
    scenes, example = pair("delete subject")
    assert (example.video == scenes.background_picture()).all() and not example.sound.any()
    assert torch.equal(changed(example), scenes.coverage()[:, 0] > 0)
    for i, text in enumerate(example.captions):
        names = scenes.attributes(i)
        assert text == f"remove the {names['colour']} {names['shape']} from {VIDEO}"


def test_a_replaced_subject_moves_as_the_old_one_did():
    scenes, example = pair("replace subject")
    other = example.scenes
    assert (other.shape != scenes.shape).all() and (other.colour != scenes.colour).all()
    assert torch.equal(other.positions(), scenes.positions()) and torch.equal(other.background, scenes.background)
    assert torch.equal(example.video, other.render()) and torch.equal(example.sound, other.sound())
    outside = (scenes.coverage()[:, 0] == 0) & (other.coverage()[:, 0] == 0)
    assert not (changed(example) & outside).any() and changed(example).flatten(2).any(2).all()
    for i, text in enumerate(example.captions):
        old, new = scenes.attributes(i), other.attributes(i)
        assert text == f"replace the {old['colour']} {old['shape']} in {VIDEO} with a {new['colour']} {new['shape']}"


# -- attributes and background -----------------------------------------------------------------------------------------


def test_a_colour_changes_inside_the_object_alone():
    scenes, example = pair("colour")
    cover = scenes.coverage()
    assert torch.equal(changed(example), cover[:, 0] > 0)
    assert (example.scenes.colour != scenes.colour).all() and torch.equal(example.scenes.shape, scenes.shape)
    for i, text in enumerate(example.captions):
        name = example.scenes.attributes(i)["colour"]
        assert text.endswith(f"to {name}")
        paint = torch.tensor(scenes.level.colours[name].rgb) / 127.5 - 1
        inside = example.video[i].movedim(0, -1)[cover[i, 0] == 1]
        torch.testing.assert_close(inside, paint.expand_as(inside))


def test_a_shape_changes_in_place():
    scenes, example = pair("shape")
    assert (example.scenes.shape != scenes.shape).all() and torch.equal(example.scenes.colour, scenes.colour)
    both = (scenes.coverage() == 1) & (example.scenes.coverage() == 1)
    neither = (scenes.coverage() == 0) & (example.scenes.coverage() == 0)
    assert not (changed(example, 1e-6) & (both | neither)[:, 0]).any()
    assert torch.equal(example.scenes.positions(), scenes.positions())


def test_stripes_keep_the_silhouette_and_move_with_the_object():
    scenes, example = pair("texture")
    cover = scenes.coverage()[:, 0]
    assert not (changed(example, 1e-6) & (cover == 0)).any()
    inside = changed(example, 1e-6) & (cover == 1)
    share = inside.flatten(2).sum(2) / (cover == 1).flatten(2).sum(2)
    assert (share > 0.3).all() and (share < 0.7).all(), "about half of it is dark"
    dark = inside.unsqueeze(1).expand_as(example.video)
    torch.testing.assert_close((example.video[dark] + 1), 0.25 * (example.source[dark] + 1), atol=1e-5, rtol=0)
    white = drawn(colour="white", background="black")
    striped = made("texture", white)
    assert ((striped.video - BLACK).amin(1)[white.coverage()[:, 0] == 1] > 0.2).all(), "dark stripes are no holes"
    # The stripes' place in the object is the same in every frame.
    phase = (torch.arange(64) - white.positions()[..., :1]).remainder(8)  # [B, F, 64]
    for clip, inside, place in zip(changed(striped, 1e-6), white.coverage()[:, 0] == 1, phase, strict=True):
        frames, _, columns = (clip & inside).nonzero(as_tuple=True)
        assert place[frames, columns].min() >= 3.999
        frames, _, columns = (~clip & inside).nonzero(as_tuple=True)
        assert place[frames, columns].max() <= 4.001


def test_a_background_changes_around_the_object_alone():
    for name in ("background", "background picture"):
        scenes, example = pair(name)
        other, cover = example.scenes, scenes.coverage()[:, 0]
        assert (other.background != scenes.background).all()
        assert torch.equal(changed(example, 1e-6), cover < 1), "every pixel but the object's"
        clean = (cover == 0).unsqueeze(1).expand_as(example.video)
        new = other.background_picture().expand_as(example.video)
        assert torch.equal(example.video[clean], new[clean])
        assert torch.equal(example.sound, scenes.sound())
        if name == "background":
            assert [text.split()[-1] for text in example.captions] == Say(scenes, None).names("background", other)
        else:
            assert torch.equal(example.pictures["@image_2"], other.background_picture())


# -- style, light and camera -------------------------------------------------------------------------------------------


def test_an_outline_is_hollow_and_follows_the_edge():
    scenes, example = pair("outline")
    cover = scenes.coverage()[:, 0]
    drawn_on = ((example.video - BLACK).abs() > 1e-3).any(1)
    assert not (drawn_on & (cover == 0)).any(), "nothing but black outside"
    centre = scenes.positions().long()
    clips, frames = torch.meshgrid(torch.arange(CLIPS), torch.arange(17), indexing="ij")
    assert not drawn_on[clips, frames, centre[..., 1], centre[..., 0]].any(), "hollow"
    line = drawn_on.flatten(2).sum(2) / (cover > 0).flatten(2).sum(2)
    assert (line > 0.3).all() and (line < 0.9).all()
    colour = (example.video - scenes.paint()).abs().amax(1) < 1e-3
    assert (colour.flatten(2).sum(2) > 40).all(), "in the object's colour"


def test_a_cut_out_throws_its_shadow_on_paper():
    scenes, example = pair("paper cut")
    cover = scenes.coverage()[:, 0]
    inside = (cover == 1).unsqueeze(1).expand_as(example.video)
    torch.testing.assert_close(example.video[inside], (0.9 * scenes.paint()).expand_as(example.video)[inside])
    below = torch.zeros_like(cover)
    below[..., 5:, 5:] = cover[..., :-5, :-5]
    paper, shadow = (cover == 0) & (below == 0), (cover == 0) & (below == 1)
    brightness = example.video.mean(1)
    for i in range(CLIPS):
        assert brightness[i][paper[i]].std() < 1e-4 and brightness[i][paper[i]].mean() > 0
        assert brightness[i][shadow[i]].max() < brightness[i][paper[i]].min() - 0.3


def test_blocks_are_of_one_colour_each_the_mean_of_what_was_there():
    scenes, example = pair("blocks")
    video, source = (x.unflatten(4, (8, BLOCK)).unflatten(3, (8, BLOCK)) for x in (example.video, scenes.render()))
    assert torch.equal(video.amax((4, 6)), video.amin((4, 6)))
    assert (source.amax((4, 6)) != source.amin((4, 6))).any()
    torch.testing.assert_close(video.mean((4, 6)), source.mean((4, 6)))


def toned_like(video: torch.Tensor, lift: float, factors: tuple[float, ...]) -> torch.Tensor:
    return (video * (1 - lift) + lift + 1) * torch.tensor(factors).view(3, 1, 1, 1) - 1


@pytest.mark.parametrize(("name", "lift", "factors"), [("night", 0.0, NIGHT), ("warm tone", 0.2, WARM)])
def test_light_changes_every_pixel_by_its_own_colour_alone(name, lift, factors):
    scenes, example = pair(name)
    torch.testing.assert_close(example.video, toned_like(example.source, lift, factors))
    red, _, blue = ((example.video + 1).mean((0, 2, 3, 4)) / (example.source + 1).mean((0, 2, 3, 4))).tolist()
    assert (red < blue) == (name == "night")


def test_snow_lies_and_falls_and_repeats_after_four_frames():
    scenes, example = pair("snow")
    assert (example.video[..., -GROUND:, :] > 0.6).all(), "snow on the ground"
    free = scenes.coverage()[:, 0] == 0
    video = example.video.movedim(1, -1)
    both = free[:, 4:] & free[:, :-4]
    assert torch.equal(video[:, 4:][both], video[:, :-4][both])
    following = free[:, 1:] & free[:, :-1]
    assert not torch.equal(video[:, 1:][following], video[:, :-1][following])
    # Within the air every flake falls by four pixels in a frame.
    air = slice(0, 64 - GROUND - 4), slice(4, 64 - GROUND)
    both = free[:, 1:, air[1]] & free[:, :-1, air[0]]
    assert torch.equal(video[:, 1:, air[1]][both], video[:, :-1, air[0]][both])
    flakes = changed(example)
    untouched = ~flakes.unsqueeze(1).expand_as(example.video)
    assert torch.equal(example.video[untouched], example.source[untouched])
    assert 0.02 < flakes[:, :, : 64 - GROUND].float().mean() < 0.1


@pytest.mark.parametrize(("name", "sign"), [("pan right", 1), ("pan left", -1)])
@pytest.mark.parametrize("frames", [17, 33])
def test_a_pan_shifts_the_clip_by_whole_pixels_where_they_are_whole(name, sign, frames):
    scenes = drawn(frames, clips=2)
    example = made(name, scenes)
    checked = 0
    for frame in range(frames):
        shift = PAN * frame / (frames - 1)
        if shift != int(shift):
            continue
        padded = torch.cat([BLACK.expand(3, 1, 64, 20), example.source[0, :, frame : frame + 1]], -1)
        padded = torch.cat([padded, BLACK.expand(3, 1, 64, 20)], -1)
        start = 20 + sign * int(shift)
        torch.testing.assert_close(
            example.video[0, :, frame], padded[:, 0, :, start : start + 64], atol=1e-3, rtol=0, msg=str(frame)
        )
        checked += 1
    assert checked == 5 and not torch.allclose(example.video, example.source, atol=0.05)


@pytest.mark.parametrize(("name", "zoom", "angle"), [("zoom in", ZOOM, 0.0), ("tilt", 1.0, TILT)])
def test_zoom_and_tilt_are_those_of_another_library(name, zoom, angle):
    """scipy's interpolation of the last frame, about the middle of the picture."""
    _, example = pair(name)
    turn = np.deg2rad(angle)
    y, x = np.meshgrid(*[np.arange(64) - 31.5] * 2, indexing="ij")
    at = (x * np.sin(turn) + y * np.cos(turn)) / zoom + 31.5, (x * np.cos(turn) - y * np.sin(turn)) / zoom + 31.5
    for i in range(2):
        for channel, dark in enumerate(BLACK.flatten().tolist()):
            source = example.source[i, channel, -1].numpy()
            seen = ndimage.map_coordinates(source, at, order=1, mode="grid-constant", cval=dark)
            np.testing.assert_allclose(example.video[i, channel, -1].numpy(), seen, atol=2e-3)
    if name == "zoom in":
        torch.testing.assert_close(example.video[:, :, 0], example.source[:, :, 0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name, world in WORLDS.items() if world.layout == "clip"])
def test_an_edit_is_to_be_seen_in_every_clip(name):
    example = made(name, drawn(5, clips=32))
    edited = (example.source - example.video).abs().amax((1, 2)) > 0.05
    assert edited.flatten(1).sum(1).min() > 30, "pixels, over the clip"


# -- references --------------------------------------------------------------------------------------------------------


def test_a_subject_takes_the_motion_of_a_clip():
    scenes, example = pair("motion")
    assert torch.equal(example.video, scenes.render()) and torch.equal(example.scenes.start, scenes.start)
    assert not torch.equal(example.source, example.video)
    centres = scenes.positions()
    paint = example.source[
        torch.arange(CLIPS)[:, None], :, torch.arange(17), centres[..., 1].long(), centres[..., 0].long()
    ]
    torch.testing.assert_close(paint, paint[:, :1].expand_as(paint))  # the guide's object is where the target's is
    shown = example.pictures["@image_1"]
    for i in range(CLIPS):
        assert ((shown[i] - scenes.paint()[i]).abs().amax(0) < 1e-5).sum() > 150, "the picture shows the subject"


def test_the_effect_of_a_clip_happens_to_a_picture():
    scenes = drawn(clips=24)
    example = made("effect", scenes)
    assert example.given == "first" and not example.sound.any()
    still = replace(scenes, velocity=torch.zeros_like(scenes.velocity))
    torch.testing.assert_close(example.video[:, :, 0], still.render()[:, :, 0], atol=1e-3, rtol=0)
    background = scenes.background_picture()

    def left(video: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
        """How much of the object is there, as a share of the first frame. [B, F]"""
        there = (video - empty).abs().sum((1, 3, 4))
        return there / there[:, :1]

    target = left(example.video, background)
    corner = example.source[..., :1, :1]  # an object never reaches the very corner
    source = left(example.source, corner)
    kinds = example.facts["effect"]
    assert set(kinds.tolist()) == set(range(len(EFFECTS)))
    torch.testing.assert_close(source, target, atol=0.05, rtol=0)
    done = torch.linspace(0, 1, 17)
    expected = {
        "shrink": (1 - (1 - SMALLEST) * done) ** 2,
        "fade": 1 - done,
        "blink": torch.tensor([1.0, *([0.0] * 4 + [1.0] * 4) * 2]),
    }
    for name, curve in expected.items():
        rows = target[kinds == EFFECTS.index(name)]
        torch.testing.assert_close(rows, curve.expand_as(rows), atol=0.05, rtol=0, msg=name)
    # What fades stays where it is, as large as it was.
    fading = kinds == EFFECTS.index("fade")
    there = (example.video - background).abs().amax(1)[fading, 1:13]
    outline = there / there.amax((2, 3), keepdim=True)
    torch.testing.assert_close(outline, outline[:, :1].expand_as(outline), atol=1e-3, rtol=0)


# -- faces and voices --------------------------------------------------------------------------------------------------


def test_a_mouth_opens_and_nothing_else_moves():
    scenes = drawn(1)
    closed, half, wide = (faces(scenes, torch.full((CLIPS, 1), x)) for x in (0.0, 0.5, 1.0))
    moved = ((wide - closed).abs().amax(1) > 0.01)[:, 0]
    centre = 32 + (scenes.start - 32) / 64 * 16
    for i in range(CLIPS):
        ys, xs = moved[i].nonzero(as_tuple=True)
        assert (xs + 0.5 - centre[i, 0]).abs().max() <= 12.5 and (ys + 0.5 - centre[i, 1] - 8).abs().max() <= 9
    dark = [(x < -0.6).all(1).flatten(1).sum(1) for x in (closed, half, wide)]
    assert (dark[0] < dark[1]).all() and (dark[1] < dark[2]).all()
    torch.testing.assert_close(closed, faces(scenes, torch.zeros(CLIPS, 5))[:, :, 2:3])


def test_a_voice_is_as_loud_as_the_mouth_is_open():
    scenes, example = pair("speech")
    levels, opened = hop_levels(example.sound), example.facts["openness"]
    assert opened.shape == (CLIPS, 17) and 0 <= opened.min() and opened.max() <= 1
    # Loudness of the hops nearest to each frame; the sound of other clips is out of step.
    hops = (torch.arange(17) / 16 * SAMPLE_RATE / HOP).long().clamp(max=levels.shape[1] - 1)
    heard = levels[:, hops]
    alike = [[float(np.corrcoef(opened[i], heard[j])[0, 1]) for j in range(CLIPS)] for i in range(CLIPS)]
    assert min(alike[i][i] for i in range(CLIPS)) > 0.95
    assert np.mean([alike[i][j] for i in range(CLIPS) for j in range(CLIPS) if i != j]) < 0.6
    frames = example.video
    mouth = (frames < -0.6).all(1).flatten(2).sum(2).float()
    assert min(float(np.corrcoef(opened[i], mouth[i])[0, 1]) for i in range(CLIPS)) > 0.95


def test_silence_while_the_mouth_is_closed():
    scenes = drawn(clips=2)
    spoken = Speech(torch.tensor([[0.2, 0.7], [0.5, torch.inf]]), torch.tensor([0, 5]), torch.tensor([0, 2]))
    sound = spoken.sound(scenes, samples_of(17))[:, 0]
    seconds = torch.arange(sound.shape[1]) / SAMPLE_RATE
    opened = spoken.openness(seconds)
    assert not sound[opened == 0].any() and (opened == 0).any()
    assert (sound.abs() <= 1.3 * LOUDNESS * opened + 1e-6).all()
    assert float(opened[0, round((0.2 + SYLLABLE / 2) * SAMPLE_RATE)]) == pytest.approx(1, abs=1e-3)
    assert spoken.count(1.0625).tolist() == [2, 1] and spoken.count(0.8).tolist() == [1, 1]


@pytest.mark.parametrize("frames", [17, 33])
@pytest.mark.parametrize("name", ["speech", "speaker", "expression"])
def test_as_many_syllables_are_heard_as_said(name, frames):
    scenes = drawn(frames, clips=16)
    example = made(name, scenes)
    said = [text.split().count("la") for text in example.captions]
    heard = [
        len(find_peaks(np.pad(row, 2), height=0.4 * row.max(), distance=6, prominence=0.2 * row.max())[0])
        for row in hop_levels(example.sound).numpy()
    ]
    assert said == heard == example.facts["syllables"].tolist()
    assert len(set(said)) > 1 and min(said) >= 2 * frames // 17


def test_the_caption_of_speech_describes_face_and_voice():
    scenes, example = pair("speech")
    colours, shapes = list(scenes.level.colours.values()), list(scenes.level.shapes.values())
    for i, text in enumerate(example.captions):
        names = scenes.attributes(i)
        voice = f"{colours[example.facts['pitch'][i]].pitch} {shapes[example.facts['timbre'][i]].sound}"
        face = f"a {names['colour']} face on a {names['background']} background"
        assert text.startswith(f"{face} <dialogue> {voice} la")
        strongest = int(partials(example.sound)[i].argmax())
        harmonic = colours[example.facts["pitch"][i]].harmonic
        assert strongest in (harmonic, 2 * harmonic)


def test_the_reference_of_a_speaker_has_the_voice_and_says_something_else():
    scenes = drawn(clips=16)
    example = made("speaker", scenes)
    own = partials(example.sound) @ partials(example.voice).T
    pitch, timbre = example.facts["pitch"], example.facts["timbre"]
    same = (pitch[:, None] == pitch) & (timbre[:, None] == timbre)
    assert own.diagonal().min() > 0.99
    assert own[pitch[:, None] != pitch].max() < 0.9 and own[~same].mean() < 0.2
    beginning = hop_levels(example.sound)[:, :22], hop_levels(example.voice)
    # Other syllables; where both leave no room between theirs, they may coincide.
    assert ((beginning[0] - beginning[1]).abs().amax(1) > 0.05).sum() >= 12
    assert (beginning[1].amax(1) > 0.05).all()
    assert all(text.count(VOICE) == 1 and "ping" not in text for text in example.captions)


def test_an_expression_is_carried_over_to_the_face_of_a_picture():
    scenes, example = pair("expression")
    target, source = ((x < -0.6).all(1).flatten(2).sum(2).float() for x in (example.video, example.source))
    for i in range(CLIPS):
        assert float(np.corrcoef(target[i], source[i])[0, 1]) > 0.95
    wrong = [float(np.corrcoef(target[i], source[i - 1])[0, 1]) for i in range(CLIPS)]
    assert np.mean(wrong) < 0.6
    # The picture is the target's face with a closed mouth, whatever the clip's face looks like.
    shown = example.pictures["@image_1"]
    moved = (example.video - shown).abs().amax(1) > 1e-4
    assert moved.any() and not moved[:, :, :22].any(), "below the eyes alone"
    assert not torch.equal(example.video[:, :, :, :22], example.source[:, :, :, :22])


@given(st.lists(st.floats(0, 1.5), min_size=1, max_size=5), st.floats(0, 2))
@settings(max_examples=20, deadline=None)
def test_openness_is_a_hill_for_each_syllable(beginnings, second):
    spoken = Speech(torch.tensor([beginnings]), torch.zeros(1).long(), torch.zeros(1).long())
    opened = float(spoken.openness(torch.tensor([second])))
    assert 0 <= opened <= 1
    if all(not begin - 1e-4 <= second <= begin + SYLLABLE + 1e-4 for begin in beginnings):
        assert opened == 0
    if any(abs(begin + SYLLABLE / 2 - second) < 0.01 for begin in beginnings):
        assert opened > 0.9


# -- layers of sound ---------------------------------------------------------------------------------------------------


def test_a_drone_is_one_tone_that_never_stops():
    scenes, example = pair("bgm")
    layer = example.sound - scenes.sound()
    assert torch.equal(example.video, scenes.render())
    levels = hop_levels(layer)
    torch.testing.assert_close(levels, torch.full_like(levels, DRONE / 2**0.5), rtol=1e-3, atol=0)
    assert partials(layer).argmax(1).tolist() == [list(TONES.values())[i] for i in example.facts["bgm"].tolist()]
    for text, i in zip(example.captions, example.facts["bgm"].tolist(), strict=True):
        assert text.endswith(f"<bgm> {list(TONES)[i]} drone </bgm>") and "<sfx>" in text


def test_a_melody_has_its_notes_in_their_order():
    scenes = drawn(clips=8)
    example = made("singing", scenes)
    layer = example.sound - scenes.sound()
    assert layer.abs().max() == pytest.approx(MELODY, rel=0.02)
    thirds = [
        partials(part) for part in (layer[..., : 15 * HOP], layer[..., 16 * HOP : 30 * HOP], layer[..., 31 * HOP :])
    ]
    assert samples_of(17) == 46 * HOP
    kinds = example.facts["singing"].tolist()
    assert set(kinds) == {0, 1}
    for i, kind in enumerate(kinds):
        name, notes = list(MELODIES.items())[kind]
        assert [int(part[i].argmax()) for part in thirds] == [TONES[note] for note in notes]
        assert example.captions[i].endswith(f"<singing> {name} melody </singing>")
        assert notes == tuple(sorted(notes, key=lambda note: TONES[note], reverse=name == "falling"))
    gaps = hop_levels(layer)[:, 2:-2]
    assert gaps.min() > 0.2 * gaps.max(), "no pause between the notes"


# -- shots -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latents", [4, 5, 6, 7, 8, 16])
def test_cuts_come_between_latent_frames_in_their_order(latents):
    frames = 4 * latents + 1
    early, halfway, late = cut_frames(torch.arange(3), frames).tolist()
    assert 1 < early < halfway < late < frames
    assert all(cut % 4 == 1 for cut in (early, halfway, late))
    assert all(
        abs(cut / frames - share) < 0.13 for cut, share in zip((early, halfway, late), CUTS.values(), strict=True)
    )


def test_two_shots_meet_at_the_cut():
    scenes = drawn(clips=12)
    example = made("two shots", scenes)
    cut, facts = example.facts["cut"].tolist(), example.facts
    assert set(cut) == {5, 9, 13}
    assert (facts["second_colour"] != scenes.colour).all() and (facts["second_background"] != scenes.background).all()
    jumps = (example.video.diff(dim=2).abs().mean((1, 3, 4))).argmax(1) + 1
    assert jumps.tolist() == cut, "the largest change between two frames"
    level = scenes.level
    for i, frame in enumerate(cut):
        assert torch.equal(example.video[i, :, :frame], scenes.render()[i, :, :frame])
        background = level.backgrounds[level.choices("background")[facts["second_background"][i]]]
        corner = (example.video[i, :, frame:, [0, 0, 63, 63], [0, 63, 0, 63]] + 1) * 127.5
        assert ((corner - torch.tensor(background)[:, None, None]).abs() < 0.5).all(0).sum() >= 3 * (17 - frame)
        when = list(CUTS)[[5, 9, 13].index(frame)]
        one = f"a {level.choices('colour')[scenes.colour[i]]} {level.choices('shape')[scenes.shape[i]]} "
        colour, shape = (level.choices(name)[facts[f"second_{name}"][i]] for name in ("colour", "shape"))
        first, second = example.captions[i].split(f" , {when} cut to ")
        assert first.startswith(one) and second.startswith(f"a {colour} {shape} ")


def test_the_sound_of_two_shots_switches_at_the_cut():
    scenes = drawn(clips=12, seed=5)
    example = made("two shots", scenes)
    # The same second shots behind first ones that fly elsewhere.
    elsewhere = replace(scenes, start=scenes.start.flip(0), velocity=scenes.velocity.flip(0))
    other = made("two shots", elsewhere)
    assert torch.equal(example.facts["cut"], other.facts["cut"])
    heard = 0
    for i, frame in enumerate(example.facts["cut"].tolist()):
        at = round(frame / 16 * SAMPLE_RATE / HOP) * HOP
        assert torch.equal(example.sound[i, 0, :at], scenes.sound()[i, 0, :at])
        assert torch.equal(example.sound[i, 0, at:], other.sound[i, 0, at:])
        heard += not torch.equal(example.sound[i, 0, :at], other.sound[i, 0, :at])
        assert abs(at / SAMPLE_RATE - frame / 16) < 0.5 * HOP / SAMPLE_RATE + 1e-6
    assert heard > 3


# -- the picture of them -----------------------------------------------------------------------------------------------


def test_the_sheet_shows_every_world(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(picture, "WORLDS", {name: WORLDS[name] for name in ("logo", "motion", "speaker", "bgm")})
    monkeypatch.setattr("sys.argv", ["worlds", "--out", str(tmp_path / "worlds.png"), "--seed", "2"])
    picture.main()
    assert "4 worlds" in capsys.readouterr().out
    image = np.asarray(Image.open(tmp_path / "worlds.png"))
    assert image.shape[2] == 3
    generator = torch.Generator().manual_seed(2)
    example = WORLDS["logo"].make(sample_scenes(1, frames=17, generator=generator), generator)
    first = ((example.source[0, :, 0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    left, top = 4 * picture.GAP + picture.SOURCE, 2 * picture.GAP + picture.CAPTION
    assert np.array_equal(image[top : top + 64, left : left + 64], first)
    truth = 4 * picture.GAP + picture.TRUTH
    assert not np.array_equal(image[top : top + 64, truth : truth + 64], first)
