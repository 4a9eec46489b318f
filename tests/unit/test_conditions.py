"""Patches, references, paired worlds and keyframes of a training batch, on the shipped codecs."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.quality.detectors import listen, look
from models.audio_vae import load_audio_vae
from models.video_vae import load_video_vae
from training import conditions
from training.conditions import (
    KINDS,
    REFERENCES,
    TAGS,
    VOICE_LATENTS,
    ConditionMaker,
    Conditions,
    reference_times,
    voice_times,
    zero_padded_patch,
)
from training.objective import latents_of
from training.stages import EDIT_GIVEN, LAYOUTS, WORLDS_TOGETHER
from training.toybox import sample_scenes
from training.worlds import WORLDS
from training.worlds.example import joined

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


@pytest.fixture(scope="module")
def maker():
    return ConditionMaker(
        load_video_vae(WEIGHTS / "mini_video_vae.safetensors"), load_audio_vae(WEIGHTS / "mini_audio_vae.safetensors")
    )


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def scenes(g):
    return sample_scenes(6, frames=17, level="easy", generator=g)


def only(monkeypatch, *kinds):
    monkeypatch.setattr(conditions, "REFERENCES", {kind: float(kind in kinds) for kind in REFERENCES})


def test_a_patch_is_a_rectangle_on_mid_grey(g):
    patches = zero_padded_patch(torch.ones(40, 3, 1, 64, 48), g)
    sizes = set()
    for patch in patches:
        kept = patch[0, 0] == 1
        rows, columns = kept.any(1), kept.any(0)
        assert torch.equal(kept, rows[:, None] & columns[None])
        assert 13 <= int(rows.sum()) <= 64 and 9 <= int(columns.sum()) <= 48
        sizes.add((int(rows.sum()), int(columns.sum())))
    assert len(sizes) > 10, "rows differ"


def test_patches_lie_at_a_quarter_of_their_frame(maker, scenes, g, monkeypatch):
    """Each patch decodes to its own frame of the clip, where it shows something."""
    monkeypatch.setattr(conditions, "PATCHES", {3: 1.0})
    monkeypatch.setattr(conditions, "SMALLEST_PATCH", 1.0)  # whole frames
    made = maker.make("patches", scenes, random.Random(1), g)
    video = scenes.render()
    assert len(made.video) == 3 and not made.audio and not made.media
    for latent, (time,) in made.video:
        assert float(4 * time).is_integer()
        error = (maker.video_vae.decode(latent)[:, :, 0] - video[:, :, int(4 * time)]).square().mean()
        assert error < 0.01


def test_a_subject_is_shown_elsewhere(maker, scenes, g, monkeypatch):
    only(monkeypatch, "subject")
    made = maker.make("references", scenes, random.Random(0), g)
    ((latent, times),) = made.video
    assert made.references == {"subject": TAGS["subject"]} and times == [-1.0]
    pictures = torch.stack([row["@image_1"] for row in made.media])  # [B, 1, 64, 64, 3]
    sight = look(pictures.movedim(-1, 1) * 2 - 1, scenes.level)
    assert torch.equal(sight.shape[:, 0], scenes.shape) and torch.equal(sight.colour[:, 0], scenes.colour)
    assert (sight.background[:, 0] != scenes.background).any(), "its background is another one"
    assert (maker.video_vae.decode(latent).movedim(1, -1) / 2 + 0.5 - pictures).square().mean() < 0.005


def test_a_voice_replaces_the_objects_own(maker, scenes, g, monkeypatch):
    only(monkeypatch, "sound")
    made = maker.make("references", scenes, random.Random(0), g)
    ((latent, times),) = made.audio
    assert latent.shape[2] == conditions.VOICE_LATENTS == len(times) and not made.video
    target = listen(made.sound, scenes.level)
    reference = listen(torch.stack([row["@audio_0"] for row in made.media]), scenes.level)
    sounding = target.pitch >= 0
    assert sounding.sum() >= 3
    assert torch.equal(target.pitch[sounding], reference.pitch[sounding])
    assert (reference.pitch != scenes.colour).any(), "it is not the pitch of the colour"


def test_all_references_at_once(maker, scenes, g, monkeypatch):
    only(monkeypatch, *REFERENCES)
    made = maker.make("references", scenes, random.Random(0), g)
    assert set(made.references.values()) == set(TAGS.values()) == set(made.media[0])
    times = [time for _, group in made.video for time in group]
    assert times == [-7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0], "two pictures and a clip of five latent frames"
    assert [latent.shape[2] for latent, _ in made.video] == [1, 1, 5]


def test_times_of_references():
    assert reference_times(3, 0) == [-3.0, -2.0, -1.0] and reference_times(1, 3) == [-4.0]
    times = voice_times(22, 16.0)
    assert times == sorted(times) and -2.3 < times[0] < -2.0
    assert -0.2 < times[-1] < 0, "a voice ends where the clip begins"


# -- keyframes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", conditions.KEYFRAME_SCALES)
def test_keyframes_are_frames_of_the_clip_in_more_pixels(maker, scenes, g, monkeypatch, scale):
    """Each is a latent frame of its own, as a first frame is, and decodes alone to what the clip shows at its time."""
    monkeypatch.setattr(conditions, "KEYFRAMES", {3: 1.0})
    monkeypatch.setattr(conditions, "KEYFRAME_SCALES", {scale: 1.0})
    made = maker.make("keyframes", scenes, random.Random(1), g)
    latent, times = made.keyframes
    assert latent.shape == (6, maker.video_vae.channels, 3, 8 * scale, 8 * scale)
    assert times == sorted(set(times)) and all(0 <= time <= 4 for time in times), "of a clip of 17 frames"
    video = replace(scenes, scale=scale).render()
    for alone, time in zip(latent.split(1, dim=2), times, strict=True):
        truth = video[:, :, [int(4 * time)]]
        assert torch.equal(alone, maker.video_vae.encode(truth)) and float(4 * time).is_integer()
        assert (maker.video_vae.decode(alone) - truth).square().mean() < 0.01
    assert made == Conditions(keyframes=made.keyframes), "nothing else changes"


def test_all_ranks_have_keyframes_of_the_same_times_and_size(maker, scenes, g):
    drawn = set()
    for seed in range(12):
        one, other = (
            maker.make("keyframes", rows, random.Random(seed), g).keyframes
            for rows in (scenes, sample_scenes(6, frames=17, generator=g))
        )
        assert one[1] == other[1] and one[0].shape == other[0].shape and not torch.equal(one[0], other[0])
        drawn.add((len(one[1]), one[0].shape[-1] // 8))
    assert {count for count, _ in drawn} == set(conditions.KEYFRAMES)
    assert {scale for _, scale in drawn} == set(conditions.KEYFRAME_SCALES)
    assert sum(conditions.KEYFRAMES.values()) == sum(conditions.KEYFRAME_SCALES.values()) == 1


# -- paired worlds -----------------------------------------------------------------------------------------------------


def of_layout(monkeypatch, layout, *, clips_read=1.0):
    monkeypatch.setattr(conditions, "LAYOUTS", {layout: 1.0})
    monkeypatch.setattr(conditions, "CLIPS_READ", clips_read)


def tags_of(text):
    return set(re.findall(r"@\w+", text))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_of_worlds_has_what_its_captions_name(maker, scenes, g, monkeypatch, layout):
    of_layout(monkeypatch, layout)
    made = maker.make("worlds", scenes, random.Random(2), g)
    assert made.clip.shape == (6, 3, 17, 64, 64) and made.sound.shape[:2] == (6, 1)
    assert not made.references and len(made.captions) == len(made.media) == 6
    assert all(tags_of(text) == media.keys() for text, media in zip(made.captions, made.media, strict=True))
    assert maker.audio_vae.encode(made.sound).shape[2] >= latents_of(5)
    given = {"clip": EDIT_GIVEN, "clip and picture": EDIT_GIVEN, "first frame and clip": {"first": 1.0}}
    assert made.given == given.get(layout), "None: the usual masks"
    voices = [(VOICE_LATENTS, voice_times(VOICE_LATENTS, 16.0))] if layout == "voice" else []
    assert [(latent.shape[2], times) for latent, times in made.audio] == voices
    assert bool(made.video) == ("clip" in layout)
    for latent, times in made.video:
        assert len(latent) == 6 and latent.shape[2] == len(times)


@pytest.mark.parametrize(
    ("pictures_first", "times"),
    [(True, [[-6.0], [-5.0, -4.0, -3.0, -2.0, -1.0]]), (False, [[-6.0, -5.0, -4.0, -3.0, -2.0], [-1.0]])],
)
def test_a_clip_and_a_picture_come_in_either_order(maker, scenes, g, pictures_first, times):
    example = WORLDS["background picture"].make(scenes, g)
    made = maker.of_example(example, 16.0, pictures_first=pictures_first)
    assert [place for _, place in made.video] == times
    latents = [latent for latent, _ in made.video]
    picture, clip = latents if pictures_first else latents[::-1]
    for latent, shown in ((picture, example.pictures["@image_2"]), (clip, example.source)):
        assert (maker.video_vae.decode(latent) - shown).square().mean() < 0.01
    (seen,) = [torch.stack([row["@video_1"] for row in made.media])]
    assert torch.equal(seen.movedim(-1, 1) * 2 - 1, (example.source + 1) / 2 * 2 - 1)


def test_training_sees_both_orders(maker, scenes, g, monkeypatch):
    of_layout(monkeypatch, "clip and picture")
    firsts = {len(maker.make("worlds", scenes, random.Random(seed), g).video[0][1]) for seed in range(6)}
    assert firsts == {1, 5}


def test_only_the_clip_to_edit_is_at_times_not_read(maker, scenes, g, monkeypatch):
    of_layout(monkeypatch, "clip and picture", clips_read=0.0)
    made = maker.make("worlds", scenes, random.Random(0), g)
    assert len(made.video) == 2, "the network sees it in context all the same"
    for text, media in zip(made.captions, made.media, strict=True):
        assert tags_of(text) - media.keys() == {"@video_1"} and media
    of_layout(monkeypatch, "voice", clips_read=0.0)
    assert all(set(row) == {"@audio_0"} for row in maker.make("worlds", scenes, random.Random(0), g).media)


def test_several_worlds_share_a_batch(maker, g, monkeypatch):
    of_layout(monkeypatch, "words")
    scenes = sample_scenes(7, frames=17, generator=g)
    made = maker.make("worlds", scenes, random.Random(0), g)
    worlds = {re.sub(r".*(<dialogue>|<bgm>|<singing>|cut to).*", r"\1", text) for text in made.captions}
    assert len(worlds) > 2 and len(made.captions) == 7
    assert WORLDS_TOGETHER > 1 and set(LAYOUTS) == {world.layout for world in WORLDS.values()}


def test_the_mask_around_an_edit_keeps_clear_of_it(maker, scenes, g):
    example = WORLDS["add"].make(scenes, g)
    cells = maker.of_example(example, 16.0).unedited
    assert cells.shape == (6, 1, 5, 8, 8) and cells.mean() > 0.5, "a small object in a corner"
    pixels = cells.repeat_interleave(8, 3).repeat_interleave(8, 4)[:, :, 1:].repeat_interleave(4, 2)
    off = (example.source - example.video)[:, :, 1:].abs()
    assert off.max() > 0.5 and (off * pixels).max() < 1e-4
    assert maker.of_example(WORLDS["effect"].make(scenes, g), 16.0).unedited is None, "its first frame is given"


def test_the_same_random_numbers_give_the_same_batch(maker, scenes, monkeypatch):
    of_layout(monkeypatch, "clip")
    one, same, other = (
        maker.make("worlds", scenes, random.Random(1), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert one.captions == same.captions and torch.equal(one.clip, same.clip)
    assert torch.equal(one.video[0][0], same.video[0][0])
    assert one.captions != other.captions and not torch.equal(one.clip, other.clip)


def test_worlds_of_two_layouts_make_no_batch(scenes, g):
    clip, words = (WORLDS[name].make(scenes, g) for name in ("logo", "speech"))
    with pytest.raises(ValueError, match="examples of 2 layouts cannot share a batch"):
        joined([clip, words])


def test_text_alone_needs_no_conditions(maker, scenes, g):
    made = maker.make("nothing", scenes, random.Random(0), g)
    assert made.keyframes is None
    assert KINDS[0] == "nothing" and not made.video and not made.audio and made.clip is None and made.given is None
