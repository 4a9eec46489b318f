"""Codecs in training: going on with the paired worlds, while the latents of ordinary clips stay what they were."""

import itertools
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from models.video_vae import VideoVAE, VideoVAEConfig, load_video_vae, save_video_vae
from training import codecs
from training.codecs import (
    HELD_OUT_SEED,
    LARGE_RATES,
    LARGE_SCALES,
    fit_video_skeleton,
    held_out_scenes,
    large_clips,
    measure_video,
    video_losses,
    world_clips,
)
from training.toybox import sample_scenes
from training.worlds import WORLDS

WEIGHTS = Path(__file__).parents[2] / "models" / "weights" / "mini_video_vae.safetensors"
TINY = VideoVAEConfig(channels=6, encoder_dim=8, encoder_blocks=1, decoder_dim=8, decoder_blocks=1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A codec that has seen ordinary clips alone."""
    torch.manual_seed(0)
    vae = VideoVAE(TINY)
    fit_video_skeleton(vae, sample_scenes(32, frames=9, generator=generator()).render())
    path = tmp_path_factory.mktemp("codec") / "tiny.safetensors"
    save_video_vae(path, vae)
    return path


def test_clips_of_worlds_are_sources_and_targets():
    clips = world_clips(10, "easy", generator(1), random.Random(1), 5)
    assert clips.shape == (10, 3, 5, 64, 64) and clips.abs().max() <= 1
    assert torch.equal(clips, world_clips(10, "easy", generator(1), random.Random(1), 5))
    names = random.Random(1).sample(list(WORLDS), 4)
    scenes = sample_scenes(3, frames=5, level="easy", generator=(g := generator(1)))
    example = WORLDS[names[0]].make(scenes, g)
    source = example.video if example.source is None else example.source
    for clip, expected in zip(clips, (example.video[0], source[1], example.video[2]), strict=False):
        assert torch.equal(clip, expected)


def test_latents_that_shall_stay_cost_what_they_move(tiny):
    vae = load_video_vae(tiny)
    video = sample_scenes(4, frames=5, generator=generator(2)).render()
    kept = vae.encode(video[:2])
    free, held, moved = (video_losses(vae, video, generator(3), kept=x) for x in (None, kept, kept + 0.5))
    assert float(held) == pytest.approx(float(free), abs=1e-6)
    assert float(moved) == pytest.approx(float(free) + codecs.STAY * 0.25, abs=1e-4)


def test_going_on_learns_the_worlds_and_leaves_ordinary_latents_where_they_were(tiny, monkeypatch):
    """The clock counts steps. Without the weight that holds them, latents move further in as many steps."""
    monkeypatch.setattr(codecs, "held_out_scenes", lambda count, level, device: held_out_scenes(6, level, frames=5))
    monkeypatch.setattr(codecs, "world_clips", lambda count, *rest: world_clips(min(count, 8), *rest[:-1], 5))
    monkeypatch.setattr(codecs, "BATCH", 8)
    monkeypatch.setattr(codecs, "FRAMES", 5)
    figures = {}
    for stay in (codecs.STAY, 0.0):
        monkeypatch.setattr(codecs, "STAY", stay)
        monkeypatch.setattr(codecs, "time", SimpleNamespace(monotonic=itertools.count().__next__))
        vae, figures[stay] = codecs.fit_video("easy", 20, 1, "cpu", start=tiny)
    held, free = figures.values()
    assert held["steps"] == free["steps"] > 12
    assert 0 < held["latents_moved"] < 0.05 and held["latents_moved"] < 0.8 * free["latents_moved"]
    clips = world_clips(8, "easy", generator(HELD_OUT_SEED), random.Random(0), 5)
    at_first = measure_video(load_video_vae(tiny), clips)
    assert held["worlds_psnr_rest"] > at_first["psnr_rest"] and held["worlds_psnr_first"] > at_first["psnr_first"]
    before = load_video_vae(tiny)
    for name in ("encode_first.project.weight", "encode_rest.project.weight"):
        assert torch.equal(vae.state_dict()[name], before.state_dict()[name]), "the skeleton stays"


def test_large_clips_are_windows_of_larger_ones():
    clips = large_clips(5, "easy", generator(1), random.Random(1), 5)
    assert clips.shape == (5, 3, 5, 64, 64) and clips.abs().max() <= 1
    assert torch.equal(clips, large_clips(5, "easy", generator(1), random.Random(1), 5))
    choice = random.Random(1)
    scale, fps = choice.choice(LARGE_SCALES), choice.choice(LARGE_RATES)
    assert scale > 1
    scenes = sample_scenes(3, frames=5, fps=fps, level="easy", generator=generator(1))
    whole = replace(scenes, scale=scale).render()[0]
    windows = whole.unfold(2, 64, 1).unfold(3, 64, 1)  # [3, F, rows, columns, 64, 64]
    assert ((windows - clips[0][:, :, None, None]).abs().amax((0, 1, 4, 5)) == 0).any()


def test_a_decoder_alone_learns_large_clips_and_leaves_every_latent_as_it_is(tiny, monkeypatch):
    monkeypatch.setattr(codecs, "held_out_scenes", lambda count, level, device: held_out_scenes(6, level, frames=5))
    monkeypatch.setattr(codecs, "world_clips", lambda count, *rest: world_clips(min(count, 8), *rest[:-1], 5))
    monkeypatch.setattr(codecs, "large_clips", lambda count, *rest: large_clips(min(count, 4), *rest[:-1], 5))
    monkeypatch.setattr(codecs, "BATCH", 9)
    monkeypatch.setattr(codecs, "FRAMES", 5)
    monkeypatch.setattr(codecs, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    vae, figures = codecs.fit_video("easy", 20, 1, "cpu", start=tiny, decoder=True)
    assert figures["latents_moved"] == 0
    before, after = load_video_vae(tiny).state_dict(), vae.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not [name for name in changed if name.startswith("encode_")]
    unseen = generator(HELD_OUT_SEED)
    world_clips(8, "easy", unseen, random.Random(0), 5)
    clips = torch.cat([large_clips(4, "easy", unseen, random.Random(seed), 5) for seed in range(8)])
    assert figures["large_psnr_rest"] > measure_video(load_video_vae(tiny), clips)["psnr_rest"]


def test_the_shipped_codec_knows_the_worlds_and_speaks_the_old_language():
    with safe_open(WEIGHTS, framework="pt") as file:
        facts = file.metadata()
    assert facts["worlds"] == facts["large"] == "a third" and float(facts["latents_moved"]) == 0
    large = torch.cat([large_clips(4, "easy", generator(HELD_OUT_SEED), random.Random(s), 9) for s in range(8)])
    assert measure_video(load_video_vae(WEIGHTS), large)["psnr_rest"] >= 28
    clips = world_clips(24, "easy", generator(HELD_OUT_SEED), random.Random(3), 9)
    figures = measure_video(load_video_vae(WEIGHTS), clips)
    assert figures["psnr_first"] >= 32 and figures["psnr_rest"] >= 28
