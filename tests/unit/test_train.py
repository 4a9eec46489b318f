"""The trainer on the real world, at a few clips: a stopped run goes on as if it had not stopped."""

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from models.config import MMDiTConfig
from models.mmdit import MMDiT
from training import plots, preview
from training import run as runs
from training import train as training
from training.conditions import KINDS
from training.data import cache_path, encode_clips, load_or_encode
from training.export import SAMPLING_SHIFT, export
from training.learner import LAST_RATE, learning_rate
from training.objective import latents_of
from training.stages import ROWS
from training.train import Settings, Trainer
from training.worlds import WORLDS

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def steady_clock(monkeypatch):
    """Every step takes one second, so that the learning rate of a step is always the same."""
    monkeypatch.setattr(runs.time, "perf_counter", itertools.count().__next__)
    monkeypatch.setattr(training, "rows_of", lambda frames, kind: 2)


def trainer(out, cache):
    out.mkdir(exist_ok=True)
    return Trainer(Settings(out=out, minutes=0.1, clips=64, cache=cache, weights=WEIGHTS), rank=0, world=1)


def run(t, steps):
    for _ in range(steps):
        t.agree_on_clock()
        t.train_step(t.model)


def only(monkeypatch, frames, kind):
    monkeypatch.setattr(training, "STAGES", (training.Stage("only", 1.0, {frames: 1.0}, {kind: 1.0}),))


def test_a_resumed_run_equals_an_unbroken_one(tmp_path, cache):
    whole = trainer(tmp_path / "whole", cache)
    run(whole, 4)
    first = trainer(tmp_path / "parts", cache)
    run(first, 2)
    first.keep()
    second = trainer(tmp_path / "parts", cache)
    assert second.resume()
    assert second.step == 2 and second.rows == first.rows
    run(second, 2)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name
    assert not trainer(tmp_path / "other", cache).resume()


def test_every_kind_of_batch_trains(tmp_path, cache, monkeypatch):
    t = trainer(tmp_path / "kinds", cache)
    before = [p.clone() for p in t.model.parameters()]
    for frames in ROWS:
        for kind in KINDS:
            only(monkeypatch, frames, kind)
            run(t, 1)
    clips = {f"{stream}{frames}" for stream in ("video", "audio") for frames in (1, 3, 5, 9)}
    assert set(t.smooth) == {"audio0", "keyframes", *clips}
    assert all(0 < loss < 10 for loss in t.smooth.values())
    assert any(not torch.equal(a, b) for a, b in zip(before, t.model.parameters(), strict=True))


def test_the_networks_latents_have_unit_variance(tmp_path, cache):
    t = trainer(tmp_path / "unit", cache)
    data, m = t.clips.tensors, t.model
    video = training.normalise(data["video"], m.video_latent_mean, m.video_latent_std)
    audio = training.normalise(data["audio"], m.audio_latent_mean, m.audio_latent_std)
    for latent in (video, audio):
        assert float(latent.square().mean().sqrt()) == pytest.approx(1, abs=0.02)
    strongest = video.std((0, 2, 3, 4))
    assert strongest[0] > 2 * strongest[-1], "the codec's order of importance is kept"
    assert m.black_latent.abs().max() > 0.1


def test_learning_rate_warms_up_holds_and_falls():
    rates = [learning_rate(step, done) for step, done in ((0, 0), (60, 0.17), (60, 0.4), (60, 0.75), (60, 1))]
    assert rates[0] < 0.05 and rates[1] == rates[2] == 1 and 0.02 < rates[3] < 1
    assert rates[4] == pytest.approx(LAST_RATE)
    assert learning_rate(0, 0, warmup=1) == 1


def test_the_cache_is_made_once_and_named_by_what_it_holds(tmp_path, cache):
    what = dict(clips=64, frames=5, level="easy", seed=3)
    one = load_or_encode(tmp_path, WEIGHTS, **what)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    two = load_or_encode(tmp_path, WEIGHTS, **what)
    assert path.stat().st_mtime_ns == stamp and len(two) == 64
    assert torch.equal(one.tensors["video"], two.tensors["video"])
    assert one.scenes.attributes(7) == two.scenes.attributes(7)
    assert cache_path(tmp_path, WEIGHTS, **{**what, "seed": 4}) != path


def test_a_run_starts_from_the_weights_of_another(tmp_path, cache):
    first = trainer(tmp_path / "first", cache)
    run(first, 2)
    first.keep()
    settings = Settings(
        out=tmp_path / "second", clips=64, cache=cache, weights=WEIGHTS, start=first.checkpoint, done=0.2, rows=100
    )
    second = Trainer(settings, rank=0, world=1)
    for name, value in first.average.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert second.step == 0
    names = []
    for second.rows in (1, 40, 60, 86, 90, 100):
        names.append(second.stage.name)
    expected = ["joint", "in context", "worlds", "worlds", "keyframes", "keyframes"]
    assert names == expected, "the curriculum goes on where it was"


def started(out, cache, weights):
    """A run that starts from an exported model of these weights."""
    save_file(weights, out / "exported.safetensors")
    settings = Settings(out=out, clips=64, cache=cache, weights=WEIGHTS, start=out / "exported.safetensors")
    return Trainer(settings, rank=0, world=1)


def test_a_run_starts_from_an_exported_model(tmp_path, cache):
    weights = load_file(WEIGHTS / "mini.safetensors")
    weights["keyframe_marker"] = torch.randn(weights["text_in.bias"].shape)
    state = started(tmp_path, cache, weights).model.state_dict()
    assert weights.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(value, weights[name].float()), name


def test_a_run_starts_from_a_model_that_has_not_learned_keyframes(tmp_path, cache):
    weights = load_file(WEIGHTS / "mini.safetensors")
    weights.pop("keyframe_marker", None)
    model = started(tmp_path, cache, weights).model
    assert not model.keyframe_marker.any() and torch.equal(model.text_in.bias, weights["text_in.bias"].float())
    with pytest.raises(RuntimeError, match="Missing key.*text_in.bias"):
        started(tmp_path, cache, {name: value for name, value in weights.items() if name != "text_in.bias"})
    with pytest.raises(RuntimeError, match="Unexpected key.*lamp"):
        started(tmp_path, cache, weights | {"lamp": torch.ones(1)})


def test_keyframes_are_learned(tmp_path, cache, monkeypatch):
    """From the shipped base without its last layer, on batches with keyframes; a seed determines the weights."""
    only(monkeypatch, 5, "keyframes")
    monkeypatch.setattr(training, "rows_of", lambda frames, kind: 4)
    monkeypatch.setattr("training.run.learning_rate", lambda *_: 0.5)  # at once
    weights = load_file(WEIGHTS / "mini.safetensors")
    weights.pop("keyframe_marker")
    weights["video_out.project.weight"].zero_()

    def loss(t):
        with torch.no_grad():
            seeds = (torch.Generator().manual_seed(9), random.Random(9))
            return float(t.losses(t.model, *seeds)[0]["keyframes"])

    t = started(tmp_path, cache, weights)
    before = loss(t)
    run(t, 8)
    assert loss(t) < 0.95 * before and t.model.keyframe_marker.abs().max() > 0
    assert set(t.smooth) == {"video5", "audio5", "keyframes"} and all(0 < x < 10 for x in t.smooth.values())
    again = started(tmp_path, cache, weights)
    run(again, 8)
    for name, value in t.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_a_seed_and_a_budget_in_rows_determine_the_weights_also_of_a_killed_run(tmp_path, cache):
    def settings(name):
        # Begins with references, goes on with the paired worlds.
        return Settings(
            out=tmp_path / name, done=0.5, rows=8, preview_minutes=0, clips=64, cache=cache, weights=WEIGHTS
        )

    whole = training.train(settings("whole"), report_every=-1)
    assert whole.step == 4 and whole.rows == 8 and whole.stage.name == "keyframes"
    (tmp_path / "killed").mkdir()
    killed = Trainer(settings("killed"), rank=0, world=1)
    run(killed, 2)
    killed.keep()
    run(killed, 1)  # what is not saved is lost
    resumed = training.train(settings("killed"))
    assert resumed.step == 4 and resumed.rows == 8
    for part in ("model", "average"):
        for name, value in getattr(whole, part).state_dict().items():
            assert torch.equal(value, getattr(resumed, part).state_dict()[name]), name
    assert any(
        not torch.equal(a, b) for a, b in zip(killed.model.parameters(), resumed.model.parameters(), strict=True)
    )
    entries = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4] and entries[-1]["rows"] == 8
    assert any(key.startswith("video") and value > 0 for key, value in entries[-1].items())


def test_the_networks_pictures_are_written_as_it_learns(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(preview, "WORLDS", {name: WORLDS[name] for name in ("logo", "effect")})
    monkeypatch.setattr(training, "Preview", lambda weights: preview.Preview(weights, steps=1))
    settings = Settings(out=tmp_path, rows=2, preview_minutes=60, clips=64, cache=cache, weights=WEIGHTS)
    t = training.train(settings)
    assert t.step == 1 and not (tmp_path / "checkpoint.rank0.part").exists()
    (entry,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entry["step"] == 1 and set(entry["left"]) == {"logo"}, "an effect is not an edit of its clip"
    width = 3 * len(preview.SHOWN) * 64
    assert Image.open(tmp_path / "step_1.png").size == (width, 2 * 64)


def test_an_interrupted_encoding_leaves_no_cache(tmp_path, monkeypatch):
    path = tmp_path / "clips.safetensors"
    monkeypatch.setattr("training.data.save_file", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    from models.audio_vae import load_audio_vae
    from models.video_vae import load_video_vae

    with pytest.raises(OSError, match="disk full"):
        encode_clips(
            path,
            load_video_vae(WEIGHTS / "mini_video_vae.safetensors"),
            load_audio_vae(WEIGHTS / "mini_audio_vae.safetensors"),
            clips=64,
            frames=5,
            level="easy",
            seed=0,
            report=None,
        )
    assert not path.exists()


def test_two_ranks_stay_equal_and_another_number_of_ranks_goes_on(tmp_path):
    """torchrun on this machine: every rank has clips of its own, and all end with the same weights."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training.train"]
    options = ["--clips", "128", "--minutes", "0.03", "--preview-minutes", "0"]
    options += ["--out", str(tmp_path), "--cache", str(tmp_path / "cache")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command, *options], cwd=WEIGHTS.parents[1], env=environment, check=True)
    one, two = (torch.load(tmp_path / f"checkpoint{rank}.pt", weights_only=True) for rank in ("", ".rank1"))
    assert one["progress"]["step"] == two["progress"]["step"] > 0
    for part in ("model", "average"):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())
    alone = Trainer(Settings(out=tmp_path, clips=64, cache=tmp_path / "cache", weights=WEIGHTS), rank=0, world=1)
    assert alone.resume() and alone.step == one["progress"]["step"]
    run(alone, 1)


def test_plots_of_a_run(tmp_path, cache):
    t = trainer(tmp_path / "run", cache)
    t.log = [{"seconds": 60 * i, "step": i, "rows": i, "video5": 1 / (i + 1), "audio5": 0.5} for i in range(4)]
    plots.plot_losses(t.log, tmp_path / "loss.png")
    video, sound = plots.sample_clips(t.average, WEIGHTS, plots.PROMPTS[:2], latent_frames=2, size=32, steps=1)
    assert video.shape == (2, 3, 5, 32, 32) and sound.shape == (2, 1, latents_of(2) * 1024)
    plots.plot_samples(video, sound, plots.PROMPTS[:2], tmp_path / "samples.png", columns=3)
    for name in ("loss", "samples"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_export_keeps_what_samples(tmp_path, cache):
    t = trainer(tmp_path / "run", cache)
    run(t, 1)
    t.keep()
    metadata = export(t.checkpoint, tmp_path / "mini.safetensors")
    tensors = load_file(tmp_path / "mini.safetensors")
    assert tensors["time_frequencies"].dtype == torch.float32 and tensors["text_in.weight"].dtype == torch.float16
    model = MMDiT(MMDiTConfig.from_state_dict(tensors))
    model.load_state_dict(tensors)
    for (name, a), b in zip(model.state_dict().items(), t.average.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3, msg=name)
    assert int(metadata["parameters"]) == sum(p.numel() for p in model.parameters())
    assert metadata["training_rows"] == str(t.rows) and float(metadata["sampling_shift"]) == SAMPLING_SHIFT
