"""Patches and references of a training batch, on the shipped codecs."""

import random
from pathlib import Path

import pytest
import torch

from benchmarks.quality.detectors import listen, look
from models.audio_vae import load_audio_vae
from models.video_vae import load_video_vae
from training import conditions
from training.conditions import REFERENCES, TAGS, ConditionMaker, reference_times, voice_times, zero_padded_patch
from training.toybox import sample_scenes

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
