"""The quality benchmark: its statistics, what it holds out, its verdict on right and wrong clips, tables, the card."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from benchmarks.quality import __main__ as command
from benchmarks.quality import held_out, pipeline
from benchmarks.quality.card import card, check
from benchmarks.quality.figures import Figure, Pairs, gain, mean, rate
from benchmarks.quality.given import Given
from benchmarks.quality.held_out import held_out_scenes, noise_of, prompts_of
from benchmarks.quality.memory import TrainingClips
from benchmarks.quality.metrics import METRICS, close_events, measure, measure_codecs, measure_continuation
from benchmarks.quality.pipeline import Clips, Mini, Sampling
from benchmarks.quality.report import load_tables, markdown, save_tables, table_of
from benchmarks.quality.setting import Comparison, Result
from benchmarks.quality.strip import FRAME_SIZE, sheet, strip, waveform
from benchmarks.quality.tasks import LENGTHS, TASKS
from training.captions import caption
from training.data import encode_clips
from training.toybox import LEVELS, SAMPLE_RATE, Scenes

ROOT = Path(__file__).parents[2]
WEIGHTS, RESULTS = ROOT / "models" / "weights", ROOT / "benchmarks" / "results" / "quality.json"

sys.path.append(str(ROOT / "tests"))
from tiny_media import write_tiny_mini_with_media  # noqa: E402
from tiny_mini import TinyMini  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> TinyMini:
    """Random weights: nothing they make is right."""
    return write_tiny_mini_with_media(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def mini(tiny) -> Mini:
    return Mini.load(tiny.folder, tiny.model)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return held_out_scenes(48, frames=17)


@pytest.fixture(scope="module")
def real(scenes) -> Clips:
    return Clips(scenes.render(), scenes.sound())


# -- figures -----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.randoms(use_true_random=False))
def test_share_and_chance_are_those_counted_one_by_one(clips, random):
    total = np.array([[random.randint(0, 5) for _ in range(clips)] for _ in range(clips)], dtype=float)
    hits = np.array([[random.randint(0, int(n)) for n in row] for row in total], dtype=float)
    pairs = Pairs.of(hits, total)
    true = [(i, i) for i in range(clips)]
    exchanged = [(i, j) for i in range(clips) for j in range(clips) if i != j]
    once = np.ones((1, clips))
    for measured, places in ((pairs.share(once), true), (pairs.chance(once), exchanged)):
        part, whole = (sum(x[place] for place in places) for x in (hits, total))
        np.testing.assert_allclose(measured[0], part / whole if whole else math.nan)


def test_a_clip_taken_twice_is_no_exchanged_pair_of_itself():
    pairs = Pairs.of(np.eye(2), np.ones(2))
    assert pairs.chance(np.array([[2.0, 0.0]])).tolist() == pytest.approx([math.nan], nan_ok=True)
    assert pairs.chance(np.array([[2.0, 1.0]]))[0] == 0


def test_the_error_of_a_rate_is_the_binomial_one():
    hits = np.arange(100) < 30
    figure = mean(hits)
    assert figure.value == pytest.approx(0.3)
    assert figure.error == pytest.approx(math.sqrt(0.3 * 0.7 / 100), rel=0.1)


def test_gain_is_share_minus_chance():
    pairs = Pairs.of(np.eye(4), np.ones(4))
    assert (rate(pairs).value, rate(pairs).chance, gain(pairs).value) == (1, 0, 1)


def test_what_cannot_be_counted_is_not_a_number():
    assert math.isnan(mean([math.nan, math.nan]).value)
    assert math.isnan(rate(Pairs.of(np.zeros((3, 3)), np.zeros(3))).value)
    assert mean([1.0, math.nan, 3.0]).value == 2


# -- what is held out --------------------------------------------------------------------------------------------------


def test_no_training_draws_from_the_benchmarks_seeds():
    ours = range(held_out.FIRST_SEED, held_out.FIRST_SEED + 2 * 1000 * held_out.SEEDS)
    assert ours.stop <= 2**32  # PyTorch keeps 32 bits of a seed
    for seed in range(1000):
        for rank in (0, 1023):
            assert (1_000_003 * (seed + 1) + rank) % 2**32 not in ours  # training.train
    with pytest.raises(ValueError, match="seed 10000 is not among"):
        held_out_scenes(2, frames=5, seed=10_000)


def test_every_value_comes_equally_often(scenes):
    for attribute in ("shape", "colour", "background", "speed"):
        count = torch.bincount(getattr(scenes, attribute))
        assert len(count) == len(scenes.level.choices(attribute)) and (count == 48 // len(count)).all()


def test_scenes_depend_on_the_seed_alone():
    one, same, other = (held_out_scenes(6, frames=5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.start, same.start) and not torch.equal(one.start, other.start)


def test_prompts_are_canonical_captions(scenes):
    assert prompts_of(scenes)[3] == caption(scenes.attributes(3))


def test_noise_of_a_clip_is_its_own():
    first, again, other, reseeded = (noise_of(i, (3,), (2, 2), seed=s) for i, s in ((0, 0), (0, 0), (1, 0), (0, 1)))
    assert [tuple(x.shape) for x in first] == [(3,), (2, 2)]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[0], reseeded[0])


# -- the verdict on clips ----------------------------------------------------------------------------------------------


def test_real_clips_pass_every_bar(real, scenes):
    figures = measure(real, scenes)
    for name in ("colour", "background", "shape", "one_object", "speed", "pitch", "timbre", "at_wall", "sync"):
        assert figures[name].value == 1, name
    for name in ("lost", "clips_lost", "teleports"):
        assert figures[name].value == 0, name
    judged = {name: METRICS[name].passed(figure.value) for name, figure in figures.items()}
    assert set(judged.values()) == {None, True}
    assert 0.7 < figures["sync_gain"].value < 1


def test_chance_is_that_of_guessing(real, scenes):
    figures = measure(real, scenes)
    for attribute, kinds in (("colour", 6), ("shape", 3), ("background", 4), ("speed", 2), ("pitch", 6)):
        assert figures[attribute].chance == pytest.approx(1 / kinds, abs=0.03)


def test_clips_of_other_prompts_fail(real, scenes):
    other = Clips(real.video.roll(1, 0), real.sound.roll(1, 0))
    figures = measure(other, scenes)
    for name in ("colour", "background", "shape", "pitch"):
        assert figures[name].value < 0.6 and METRICS[name].passed(figures[name].value) is False
    assert figures["sync"].value == 1  # sound and picture were exchanged together


def test_sounds_of_other_clips_are_not_in_time(real, scenes):
    figures = measure(Clips(real.video, real.sound.roll(1, 0)), scenes)
    assert abs(figures["sync_gain"].value) < 0.2
    assert METRICS["sync_gain"].passed(figures["sync_gain"].value) is False


def test_late_sounds_are_not_in_time(real, scenes):
    late = round(0.12 * SAMPLE_RATE)
    sound = torch.nn.functional.pad(real.sound, (late, 0))[..., : real.sound.shape[-1]]
    figures = measure(Clips(real.video, sound), scenes)
    assert METRICS["sync_gain"].passed(figures["sync_gain"].value) is False


def test_silent_clips_have_neither_pitch_nor_sync(real, scenes):
    figures = measure(Clips(real.video, torch.zeros_like(real.sound)), scenes)
    assert figures["sounding"].value == figures["onsets"].value == figures["answered"].value == 0
    for name in ("pitch", "sync_gain"):
        assert METRICS[name].passed(figures[name].value) is False


def test_frozen_clips_have_no_speed(real, scenes):
    frozen = Clips(real.video[:, :, :1].expand_as(real.video), real.sound)
    figures = measure(frozen, scenes)
    assert figures["speed"].value == figures["bounces"].value == 0
    assert METRICS["at_wall"].passed(figures["at_wall"].value) is False


def test_clips_played_backwards_bounce_at_walls_but_out_of_time(real, scenes):
    figures = measure(Clips(real.video.flip(2), real.sound), scenes)
    assert figures["at_wall"].value == 1
    assert METRICS["sync_gain"].passed(figures["sync_gain"].value) is False


def test_walls_in_the_wrong_place_are_no_walls(scenes):
    video = scenes.render()
    moved = torch.full_like(video, -0.9)
    moved[..., 8:56, 8:56] = torch.nn.functional.interpolate(video, size=(17, 48, 48), mode="trilinear")
    figures = measure(Clips(moved, None), scenes)
    assert METRICS["at_wall"].passed(figures["at_wall"].value) is False


def test_given_frames_count_neither_for_nor_against(real, scenes):
    spoiled = real.video.clone()
    spoiled[:, :, :5] = -1
    assert measure(Clips(spoiled, None), scenes, given=5)["shape"].value == 1
    assert measure(Clips(spoiled, None), scenes)["shape"].value == pytest.approx(12 / 17)


def test_close_events_are_counted_once_each():
    events, others = [np.array([0.1, 0.5]), np.array([])], [np.array([0.12, 0.09]), np.array([0.5])]
    hits, total = close_events(events, others, 0.03)
    assert hits.tolist() == [[1, 1], [0, 0]] and total.tolist() == [2, 0]


def test_continuation_measures_the_distance_to_the_truth(real, scenes):
    figures = measure_continuation(real, scenes, given=5)
    assert all(figures[f"error_{ahead}"].value < 0.1 for ahead in (4, 8, 12))
    still = Clips(real.video[:, :, 4:5].expand_as(real.video), None)
    for figure in measure_continuation(still, scenes, given=5).values():
        assert figure.value == pytest.approx(figure.chance, abs=0.1)
    lost = Clips(torch.full_like(real.video, -1.0), None)
    assert measure_continuation(lost, scenes, given=5)["error_4"].value == 64


def test_codecs_are_measured_against_the_original(real, scenes):
    figures = measure_codecs(Clips(real.video + 0.02, real.sound * 0.9), real.video, real.sound, scenes)
    assert figures["psnr_first"].value == pytest.approx(20 * math.log10(2 / 0.02), abs=1e-3)
    assert figures["snr"].value == pytest.approx(20, abs=1e-3)  # -20 dB of error
    assert figures["onsets_kept"].value == 1 and figures["onsets_added"].value == 0
    late = torch.nn.functional.pad(real.sound, (1500, 0))[..., : real.sound.shape[-1]]
    figures = measure_codecs(Clips(real.video, late), real.video, real.sound, scenes)
    assert figures["onsets_kept"].value < 0.2


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_shapes_of_generated_clips(mini):
    clips = mini.generate(["a red circle", "a blue square"], frames=9, sampling=Sampling(steps=2))
    assert clips.video.shape == (2, 3, 9, 64, 64) and clips.latent.shape == (2, 4, 3, 8, 8)
    assert clips.sound.shape == (2, 1, 25 * 1024)
    assert clips.video.abs().max() <= 1 and clips.sound.abs().max() <= 1
    assert mini.generate(["a red circle"], frames=9, sampling=Sampling(steps=2), picture=False).video is None


def test_clips_do_not_depend_on_their_batch(mini, monkeypatch):
    prompts = ["a red circle", "a blue square", "a red square on navy background"]
    together = mini.generate(prompts, frames=5, sampling=Sampling(steps=2))
    monkeypatch.setattr(pipeline, "BATCH", 1)
    alone = mini.generate(prompts, frames=5, sampling=Sampling(steps=2))
    torch.testing.assert_close(together.latent, alone.latent, rtol=1e-3, atol=1e-3)


def test_prompt_seed_shift_and_given_frames_matter(mini):
    def latent(prompt="a red circle", clean=None, **sampling):
        given = Given() if clean is None else Given(clean, first, route="channels")
        return mini.generate([prompt], frames=5, sampling=Sampling(steps=2, **sampling), given=given).latent

    base = latent()
    clean, first = torch.ones(1, 4, 2, 8, 8), torch.zeros(1, 1, 2, 8, 8)
    first[:, :, 0] = 1
    for other in (
        latent("a blue square"),
        latent(seed=1),
        latent(shift=5.0),
        latent(guidance=4.0),
        latent(clean=clean),
    ):
        assert not torch.allclose(base, other, atol=1e-3)
    hidden = clean.clone()
    hidden[:, :, 1:] = 7  # what is not given is not shown
    torch.testing.assert_close(latent(clean=clean), latent(clean=hidden))


def test_a_training_checkpoint_and_its_export_are_the_same_network(tiny, tmp_path):
    weights = load_file(tiny.model)
    torch.save({"average": weights, "step": 3}, tmp_path / "checkpoint.pt")
    trained, shift = pipeline.load_network(tmp_path / "checkpoint.pt")
    exported, exported_shift = pipeline.load_network(tiny.model)
    assert (shift, exported_shift) == (2.0, 2.5)  # the file's metadata says 2.5
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, exported.state_dict()[name])


def test_half_precision_weights_sample_in_float32(tiny, tmp_path):
    halves = {name: tensor.half() for name, tensor in load_file(tiny.model).items()}
    save_file(halves, tmp_path / "half.safetensors")
    network, _ = pipeline.load_network(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


def test_memory_finds_a_training_clip_and_only_among_its_likes(mini, tmp_path):
    codecs = mini.codecs
    encode_clips(
        tmp_path / "easy_cache.safetensors",
        codecs.video,
        codecs.audio,
        clips=64,
        frames=5,
        level="easy",
        seed=1,
        report=None,
    )
    training = TrainingClips(tmp_path, LEVELS["easy"], mini.network)
    assert len(training) == 64
    known = training.caches[0].scenes
    latent = mini.encode(known.render())
    nearest = training.nearest(latent, known)
    assert np.nanmax(nearest) < 1e-4  # float16
    changed = dataclasses.replace(known, colour=(known.colour + 1) % 6)
    assert np.nanmin(training.nearest(latent, changed)) > 1e-3


# -- tables, pictures, the command -------------------------------------------------------------------------------------


def a_table(**figures: Figure):
    return table_of(
        "t2va",
        Result(figures, {"shape": Figure(1.0, 0.0)}),
        {"prompts": 2, "frames": 17},
    )


def test_a_table_says_what_passed():
    table = a_table(shape=Figure(0.83, 0.04, 0.33), one_object=Figure(0.9, 0.01), jitter=Figure(math.nan, math.nan))
    assert [row["passed"] for row in table["rows"]] == [True, False, None]
    text = markdown(table)
    assert "| 0.830 ± 0.040 | 0.330  | 1.000 ± 0.000 | ≥ 0.8  | pass     |" in text
    assert "**fail**" in text and "| none " in text and "prompts 2, frames 17." in text
    json.loads(json.dumps(table, allow_nan=False))


def test_bars_are_for_the_tasks_that_the_issue_names():
    rows = table_of("i2v", Result({"shape": Figure(0.1, 0.0)}), {"frames": 17})["rows"]
    assert rows[0]["bar"] is None and rows[0]["passed"] is None


def test_tables_are_kept_side_by_side(tmp_path):
    path = tmp_path / "quality.json"
    table = a_table(shape=Figure(0.83, 0.04))
    save_tables(path, {"t2va 17": table})
    save_tables(path, {"codec 17": table_of("codec", Result({"snr": Figure(18.0, 0.1)}), {"frames": 17})})
    tables = load_tables(path)
    assert list(tables) == ["codec 17", "t2va 17"] and tables["t2va 17"] == table
    assert markdown(table) in path.with_suffix(".md").read_text(encoding="utf-8")
    assert load_tables(tmp_path / "none.json") == {}


def test_a_strip_shows_each_frame_above_its_sound(real, scenes):
    image = strip(real.video[0], real.sound[0], "a caption", scale=2)
    assert image.width == 2 * (17 * (FRAME_SIZE + 2) - 2)
    pixels = np.asarray(image)
    frame = ((real.video[0, :, 4] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    left, top = 4 * 2 * (FRAME_SIZE + 2), 16 + 4
    np.testing.assert_array_equal(pixels[top : top + 128 : 2, left : left + 128 : 2], frame)


def test_a_waveform_is_drawn_where_it_sounds():
    sound = torch.zeros(1, 10_000)
    sound[:, 5000:7500] = 0.3 * torch.sin(torch.arange(2500) * 0.3)
    blue = (np.asarray(waveform(sound, 100, 41, 10_000)) == (60, 90, 160)).all(2).any(0)
    assert np.flatnonzero(blue).tolist() == list(range(50, 75))


def test_a_strip_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a video, a sound or both"):
        strip(None, None)


def test_a_sheet_has_a_strip_for_each_clip(real, scenes):
    one, two = (sheet(real, prompts_of(scenes), count=count) for count in (1, 2))
    assert two.height > 2 * one.height and two.width == one.width


def test_the_command_runs_every_task(tiny, tmp_path, capsys):
    arguments = ["--task", "all", "--prompts", "2", "--frames", "9", "--steps", "2"]
    arguments += ["--weights", str(tiny.folder), "--out", str(tmp_path), "--training-cache", str(tmp_path)]
    arguments += ["--model", str(tiny.keyframes)]
    tables = command.run(command.parse(arguments))
    assert [table["task"] for table in tables.values()] == list(TASKS)
    stored = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    assert stored == tables
    settings = stored["t2va 9"]["settings"]
    assert settings["shift"] == 2.5 and settings["steps"] == 2 and settings["model"] == pipeline.digest(tiny.keyframes)
    sheets = {f"{task}_{LENGTHS.get(task, 9)}.png" for task in TASKS}
    assert {path.name for path in tmp_path.glob("*.png")} == sheets
    page = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert all(f"]({name})" in page for name in sheets)
    printed = capsys.readouterr().out
    assert all(markdown(table) in printed for table in stored.values())


def test_a_failed_bar_fails_a_strict_run(tiny, tmp_path, capsys, monkeypatch):
    arguments = ["--task", "codec", "--prompts", "2", "--frames", "5"]
    arguments += ["--weights", str(tiny.folder), "--out", str(tmp_path)]
    for more, status in (([], 0), (["--strict"], 1)):
        monkeypatch.setattr(sys, "argv", ["quality", *arguments, *more])
        assert command.main() == status
    assert "of 4 bars reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames", "18"], "--frames 18 is not 4n+1: use 17 or 21"),
        (["--frames", "20"], "--frames 20 is not 4n+1: use 17 or 21"),
        (["--frames", "0"], "--frames 0 is not 4n+1: use 1 or 5"),
        (["--prompts", "1"], "use 2 or more"),
        (["--refiner-steps", "0"], "--refiner-steps 0 is no step: use 1 or more"),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
    ],
)
def test_wrong_arguments_are_refused_with_a_remedy(arguments, message, capsys):
    with pytest.raises(SystemExit):
        command.parse(arguments)
    assert message in capsys.readouterr().err


# -- the model card ----------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tiny, tmp_path) -> Path:
    """The tiny weights, whose video codec says what it was fitted to."""
    for path in (tiny.model, tiny.video_vae, tiny.audio_vae, tiny.text_encoder, tiny.refiner):
        facts = {"level": "easy", "losses": '{"video": {"t5": 0.25}, "audio": 0.5}', "vocabulary": "[]"}
        save_file(load_file(path), tmp_path / path.name, facts)
    return tmp_path


def test_the_card_tells_figures_files_and_facts(weights):
    table = a_table(shape=Figure(0.71, 0.04, 0.33), clips_lost=Figure(0.125, 0.05))
    text = card(weights, {"t2va 17": table})
    assert markdown(table) in text
    assert f"{(weights / 'mini.safetensors').stat().st_size:,}" in text
    assert "| losses: video | t5 0.25 |" in text and "vocabulary |" not in text
    assert "0.71 instead of 0.8" in text and "12.5% of the clips of 17 frames" in text
    assert "144 combinations" in text


def test_the_card_tells_comparisons_and_what_is_below_a_proposed_bar(weights):
    comparison = Comparison("Ways compared", ["dB"], {"ours": [Figure(20.0, 1.0)]}, "What it means.")
    figures = {"patch at another frame/patch_away": Figure(9.5, 1.0, 20.0)}
    table = table_of("canvas", Result(figures, comparisons=[comparison]), {"frames": 17})
    text = card(weights, {"canvas 17": table})
    assert "#### Ways compared" in text and "| ours | 20.00 ± 1.000 |" in text and "What it means." in text
    assert "≤ 6 ?" in text and "at that frame (pixels): 9.5 instead of 6." in text


def test_a_card_is_not_written_with_figures_of_other_weights(weights):
    table = a_table(shape=Figure(0.71, 0.04))
    table["settings"]["model"] = "0123456789abcdef"
    with pytest.raises(ValueError, match="'t2va 17' was measured on model 0123456789abcdef"):
        check(weights, {"t2va 17": table})


def test_the_shipped_card_is_what_the_stored_figures_say():
    assert (WEIGHTS / "README.md").read_text(encoding="utf-8") == card(WEIGHTS, load_tables(RESULTS))


def test_the_stored_figures_reach_every_bar():
    tables = load_tables(RESULTS)
    for key in ("codec 17", "t2va 17"):
        assert tables[key]["settings"]["prompts"] >= 48
        failed = [row["label"] for row in tables[key]["rows"] if row["passed"] is False]
        assert not failed
