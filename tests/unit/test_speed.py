"""The benchmark of speed and memory, at sizes at which nothing takes time. What it times is not tested."""

import argparse
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from benchmarks.quality.held_out import held_out_scenes
from benchmarks.quality.pipeline import Mini, load_network
from benchmarks.speed import blocks, core, memory, scheme
from benchmarks.speed.__main__ import PARTS, main, parse
from benchmarks.speed.clock import Clock
from benchmarks.speed.sparse import grid_of
from canvas import planner
from models.config import MMDiTConfig
from models.mmdit import MMDiT
from models.refiner import refiner_config

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import MODEL_CONFIG, randomised, write_tiny_mini  # noqa: E402

quiet = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
CPU = ["--device", "cpu", "--repeats", "1"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny Mini, with a base that makes keyframes and a Refiner beside it."""
    files = write_tiny_mini(tmp_path_factory.mktemp("weights"))
    generator = torch.Generator().manual_seed(1)
    for name, config in (
        ("keyframes", replace(MODEL_CONFIG, keyframes=True)),
        ("mini_refiner", refiner_config(MODEL_CONFIG, 0.5)),
    ):
        save_file(randomised(MMDiT(config), generator), files.folder / f"{name}.safetensors")
    return files


@pytest.fixture
def comfyui():
    if not os.environ.get("COMFYUI_PATH"):
        pytest.fail("COMFYUI_PATH must name a ComfyUI: `python3 run.py test` sets it")


def table_of(folder: Path, name: str) -> dict:
    return json.loads((folder / f"speed_{name}.json").read_text())


def assert_written(folder: Path, name: str, capsys) -> None:
    text = (folder / f"speed_{name}.md").read_text()
    assert text.strip() in capsys.readouterr().out
    if importlib.util.find_spec("matplotlib"):
        assert (folder / f"speed_{name}.png").stat().st_size > 1000


# -- options -----------------------------------------------------------------------------------------------------------


def test_without_a_name_all_parts_run(tiny, monkeypatch):
    monkeypatch.chdir(core.ROOT)
    monkeypatch.setattr(scheme, "check", lambda options: None)  # the weights need not be there
    assert [options.name for options in parse(["--device", "cpu"])] == list(PARTS)
    assert {options.repeats for options in parse([*CPU])} == {1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["blocks", "--dim", "100"], "--dim 100 must be --heads 4 times a multiple of 16: use 64"),
        (["blocks", "--words", "0"], "--words 0 must be at least 1"),
        (["blocks", "--tokens", "64", "0"], "--tokens 0 must be at least 1"),
        (["blocks", "--repeats", "0"], "--repeats 0 must be at least 1"),
        (["blocks", "--seconds", "-1"], "--seconds -1 must be at least 0"),
        (["sparse", "--sparsity", "1.5"], "--sparsity 1.5 must be from 0 (all tiles) to 1 (one tile)"),
        (["sparse", "--heads", "0"], "--heads 0 must be at least 1"),
        (
            ["scheme", "--refiner", "nowhere.safetensors"],
            "--refiner nowhere.safetensors does not exist: train one",
        ),
        (["scheme", "--model", "nowhere.safetensors"], "--model nowhere.safetensors does not exist"),
        (["scheme", "--frames", "13"], "--frames 13 is not 8n+1: use 9 or 17"),
        (["scheme", "--keyframes", "17"], "--keyframes 17 is outside the clip: use 0 to 16"),
        (["scheme", "--prompts", "1"], "--prompts 1 leaves nothing to exchange for chance: use 2 or more"),
        (["scheme", "--steps", "0"], "--steps 0 must be at least 1"),
        (["memory", "--frames", "16"], "--frames 16 is not 4n+1: use 13 or 17"),
        (["memory", "--side", "100"], "--side 100 is not a multiple of 16: use 96 or 112"),
        (["memory", "--sparsity", "-0.5"], "--sparsity -0.5 must be from 0"),
        (["speed"], "invalid choice: 'speed'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_measured(given, message, tiny, capsys):
    files = ["--weights", str(tiny.folder)] if given[0] == "scheme" else []
    files += ["--model", str(tiny.model), "--vae", str(tiny.video_vae)] if given[0] == "memory" else []
    with pytest.raises(SystemExit):
        main([given[0], *files, *given[1:]])
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["sparse", "--device", "cuda"])
    assert "--device cuda finds no GPU here: use --device cpu" in capsys.readouterr().err


# -- times -------------------------------------------------------------------------------------------------------------


def test_the_calls_of_a_row_take_turns():
    order = []
    clock = Clock("cpu", "wall", 2, 10.0)
    assert len(clock.medians([lambda: order.append("a"), lambda: order.append("b")], 10.0)) == 2
    assert order == ["a", "b"] * 3
    order.clear()
    clock.medians([lambda: order.append("a")], 0.0)
    assert order == ["a"], "what takes longer than the budget runs once"


# -- blocks ------------------------------------------------------------------------------------------------------------

TOKENS, WORDS, SOUNDS, DIM = 24, 3, 5, 64


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    sizes = ["--tokens", str(TOKENS), "--words", str(WORDS), "--sounds", str(SOUNDS), "--dim", str(DIM)]
    main(["blocks", *CPU, *sizes, "--heads", "2", "--blocks", "1", "--out", str(folder)])
    return folder


def test_both_networks_of_a_row_have_the_same_width_and_tokens(comfyui, compared):
    rows = {row["case"]: row for row in table_of(compared, "blocks")["rows"]}
    assert list(rows) == list(blocks.CASES)
    joint = [TOKENS + WORDS] * 2 + [DIM]
    for case, row in rows.items():
        mine, theirs = ([tuple(attention) for attention in attended] for attended in row["attended"])
        assert {width for _, _, width in mine + theirs} == {DIM}
        assert tuple(joint) in mine and (TOKENS, WORDS, DIM) in mine
        if row["against"] == "HunyuanVideo":
            assert tuple(joint) in theirs
            assert not any(SOUNDS in attention for attention in mine + theirs), "neither has a sound"
        else:
            crosswise = {(TOKENS, WORDS, DIM), (SOUNDS, TOKENS, DIM), (TOKENS, SOUNDS, DIM)}
            alone = {(TOKENS, TOKENS, DIM), (SOUNDS, SOUNDS, DIM), (SOUNDS, WORDS, DIM)}
            assert alone | crosswise == set(theirs)
            assert crosswise < set(mine) and (SOUNDS + WORDS, SOUNDS + WORDS, DIM) in mine
        if case == "whole network":
            assert mine.count(tuple(joint)) == 2 and theirs.count(tuple(joint)) == 2, "two blocks each"
    assert len(rows["whole network, with sound"]["attended"][1]) == 2 * 6  # two blocks of six attentions


def test_operations_of_the_blocks_are_those_of_their_matrices(comfyui, compared):
    rows = {row["case"]: row for row in table_of(compared, "blocks")["rows"]}
    both, square = TOKENS + WORDS, DIM * DIM
    hunyuan = 12 * both * square + 2 * 6 * square + 2 * both**2 * DIM  # QKV, output and MLP; modulation; attention
    assert rows["dual-stream block"]["operations"][1] == hunyuan
    crosswise = 2 * (TOKENS + WORDS) * square + 2 * TOKENS * WORDS * DIM
    ours = 12 * both * square + 2 * both**2 * DIM + crosswise  # its modulation is computed once for all blocks
    assert rows["dual-stream block"]["operations"][0] == rows["single-stream block"]["operations"][0] == ours


def test_ratios_of_the_blocks(comfyui, compared):
    for row in table_of(compared, "blocks")["rows"]:
        (mine, theirs), operations = row["ms"], row["operations"]
        assert row["ratio"] == pytest.approx(mine / theirs, rel=2e-2, abs=2e-3)
        assert row["per_operation"] == pytest.approx(
            mine / operations[0] / (theirs / operations[1]), rel=2e-2, abs=2e-3
        )


def test_share_of_the_peak():
    class Fixed(Clock):
        def medians(self, calls, budget):
            return [2.0, 4.0]

    part = argparse.Namespace(count=lambda place: blocks.Counted(1000, []), part=lambda place, options: None)
    row = blocks.row_of("whole network", (part, part), blocks.Size(64, 2, 1, 8, 3, 0), Fixed("cpu", "wall", 1, 1), 1e6)
    assert (row["ratio"], row["per_operation"], row["share_of_peak"]) == (0.5, 0.5, [0.5, 0.25])
    report = blocks.report({"matmul_peak_tflops": 1.0}, [row])
    assert "50%" in report.markdown() and "25%" in report.markdown()


def test_the_table_of_blocks(comfyui, compared):
    text = (compared / "speed_blocks.md").read_text()
    for case, (_, against, _) in blocks.CASES.items():
        assert f"| {case}, against {against}" in text
    assert "kernel attention_pytorch" in text or "kernel attention_sub_quad" in text


def test_a_block_that_is_not_there_is_named(comfyui):
    core.load("cpu")
    import comfy.ops

    like = {"dtype": torch.float32, "device": torch.device("cpu")}
    contender = blocks.ours(blocks.Size(32, 1, 1, 8, 2, 0), like, comfy.ops.disable_weight_init)
    with pytest.raises(ValueError, match="DiffusionModel runs no block"):
        contender.part(("double_block", 7), {})


# -- sparse attention --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "grid"), [(4096, (16, 16, 16)), (16384, (16, 32, 32)), (100000, (40, 50, 50))])
def test_grids_of_the_benchmark(tokens, grid):
    assert grid_of(tokens) == grid


@quiet
def test_the_table_of_sparse_attention(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastvideo_kernel", None)  # as if it were not installed
    sizes = ["--tokens", "256", "384", "--sparsity", "0.5", "--heads", "1", "--dim", "8"]
    main(["sparse", *CPU, *sizes, "--backends", "torch", "flex", "kernel", "--out", str(tmp_path)])
    table = table_of(tmp_path, "sparse")
    assert [(row["tokens"], row["tiles"], row["top_k"]) for row in table["rows"]] == [(256, 4, 2), (384, 8, 4)]
    for row in table["rows"]:
        assert row["dense_ms"] > 0 and row["ms"]["torch"] > 0 and row["ms"]["flex"] > 0
        assert "pip install fastvideo-kernel" in row["skipped"]["kernel"]
        assert row["dense_operations"] / row["sparse_operations"] == pytest.approx(row["operations_ratio"], rel=1e-2)
    assert "not installed" in (tmp_path / "speed_sparse.md").read_text()
    assert_written(tmp_path, "sparse", capsys)


def test_what_takes_too_long_is_skipped(tmp_path):
    sizes = ["--tokens", "256", "512", "--heads", "1", "--dim", "8", "--seconds", "0"]
    main(["sparse", *CPU, *sizes, "--out", str(tmp_path)])
    row = table_of(tmp_path, "sparse")["rows"][-1]
    assert row["tokens"] == 512 and row["dense_ms"] is None
    assert "more than --seconds 0" in row["skipped"]["dense"] and "more than --seconds 0" in row["skipped"]["torch"]


# -- the scheme --------------------------------------------------------------------------------------------------------


def scheme_options(tiny, *given: str) -> list[str]:
    few = ["--prompts", "3", "--batch", "2", "--frames", "9", "--steps", "1", "--refiner-steps", "1"]
    return ["scheme", *CPU, "--weights", str(tiny.folder), *few, *given]


def test_the_tables_of_the_scheme(tiny, tmp_path, capsys):
    main(scheme_options(tiny, "--sparsity", "0.5", "0.9", "--out", str(tmp_path)))
    rows = table_of(tmp_path, "scheme")["rows"]
    counted = [row for row in rows if row["of"] == "operations"]
    made = [row for row in rows if row["of"] == "clips"]
    assert len(counted) == 1 + 2 * len(scheme.SHAPES)
    assert [row["sparsity"] for row in counted[:3]] == [0.5, 0.5, 0.9]
    assert counted[0]["clip"] == "128x128, 17 frames" and counted[1]["clip"] == "1920x1088, 481 frames"
    for row in counted:
        for kind in ("operations", "attention"):
            ratio = row[f"{kind}_direct"] / row[f"{kind}_scheme"]
            assert row[f"{kind}_ratio"] == pytest.approx(ratio, abs=6e-3)
    assert [row["way"] for row in made] == [*list(scheme.WAYS)[:3], scheme.CEILING], "this base makes no keyframes"
    for row in made[:-1]:
        faster = made[0]["seconds_per_clip"] / row["seconds_per_clip"]
        assert row["times_faster"] == pytest.approx(faster, rel=0.05, abs=0.02)
    assert made[-1]["seconds_per_clip"] is None
    assert_written(tmp_path, "scheme", capsys)


def test_a_base_that_makes_keyframes_has_a_row_with_them(tiny, tmp_path):
    base = ["--model", str(tiny.folder / "keyframes.safetensors"), "--sparsity", "0.5", "--out", str(tmp_path)]
    main(scheme_options(tiny, *base))
    table = table_of(tmp_path, "scheme")
    assert table["settings"]["keyframes"] == "0, 4, 8"
    assert [row["way"] for row in table["rows"] if row["of"] == "clips"] == [*scheme.WAYS, scheme.CEILING]
    tokens = [row["tokens_of_the_small_clip"] for row in table["rows"][:2]]
    assert tokens[1] - tokens[0] == 3 * 8 * 8, "three pictures of 128 pixels, a token for 16 by 16"


def test_counts_are_those_of_the_planner(tiny):
    (options,) = parse(scheme_options(tiny, "--keyframes", "0", "8", "--sparsity", "0.9"))
    rows = scheme.counts((load_network(options.model)[0], load_network(options.refiner)[0]), options)
    assert [row["keyframes"] for row in rows] == [0, 2, 3, 3, 3] and rows[1]["tokens_of_the_small_clip"] > 0
    row = rows[3]
    model = planner.NETWORKS["ovi"]
    base = planner.Sampling(model, 1, 2)
    refiner = planner.Sampling(replace(model, sparsity=0.9), 1)
    direct, refined = planner.direct(scheme.CINEMA, base), planner.refined(scheme.CINEMA, base, refiner, keyframes=3)
    assert (row["operations_direct"], row["operations_scheme"]) == (direct.operations() // 2, refined.operations() // 2)
    assert row["attention_ratio"] == round(direct.attention() / refined.attention(), 2)
    assert row["attention_ratio_of_equal_passes"] == round(direct.attention(1) / refined.attention(1), 2)


def test_keyframes_are_made_and_put_into_the_refined_clip(tiny, monkeypatch):
    encode = scheme.Encoder.__call__
    keyframes = ["--model", str(tiny.folder / "keyframes.safetensors"), "--keyframes", "0", "8"]
    (options,) = parse(scheme_options(tiny, *keyframes))
    mini, (refiner, shift) = Mini.load(options.weights, options.model), load_network(options.refiner)
    studio = scheme.Studio(mini, refiner, shift, options, ["a red circle", "a blue square"], 0)
    small, sound, pictures = studio.base(1, 1, options.keyframes)
    assert small.shape == (2, 4, 3, 8, 8) and pictures.shape == (2, 4, 2, 16, 16)
    assert sound.shape[2] == -(-9 * 44100 // (1024 * 16))
    encoded = []
    monkeypatch.setattr(scheme.Encoder, "__call__", lambda self, video: encoded.append(video) or encode(self, video))
    refined = studio.refine(small, pictures)
    assert refined.shape == (2, 4, 5, 16, 16)
    (video,) = encoded
    still = studio.encoder.decode(pictures[1:, :, 1:])  # alone, as a picture
    torch.testing.assert_close(video[1:, :, 16:], still)
    plain = scheme.upsampled(studio.encoder.decode(small), 2, 2).clamp(-1, 1)
    torch.testing.assert_close(video[:, :, 1:16], plain[:, :, 1:16])
    assert studio.base(2, 2)[0].shape == refined.shape, "at once, the base makes what the Refiner makes"


def test_keyframes_of_a_base_that_makes_none_are_refused(tiny):
    with pytest.raises(SystemExit, match="was not trained to make keyframes"):
        main(scheme_options(tiny, "--keyframes", "0"))
    with pytest.raises(SystemExit, match="must be a base, and --refiner .* a Refiner"):
        main(scheme_options(tiny, "--refiner", str(tiny.model)))


@pytest.fixture(scope="module")
def scenes():
    return held_out_scenes(4, frames=9)


def enlarged(scenes):
    large = replace(scenes.select(torch.arange(len(scenes)), 17), fps=scheme.RATE, scale=2)
    return large.render()


def test_real_clips_are_as_asked_for_and_others_are_not(scenes):
    video = enlarged(scenes)
    assert scheme.right(video, scenes).diagonal().all()
    assert not scheme.right(video, replace(scenes, colour=(scenes.colour + 1) % 3)).diagonal().any()
    two = torch.maximum(video, video.flip(-1))
    assert scheme.right(two, scenes).diagonal().mean() < 1, "two objects are one too many"
    assert not scheme.right(torch.full_like(video, -1.0), scenes).any()


def test_steepness_tells_blurred_from_sharp_whatever_the_contrast(scenes):
    video = enlarged(scenes)
    frames = video.transpose(1, 2).flatten(0, 1)
    blurred = F.avg_pool2d(F.pad(frames, (2,) * 4, mode="replicate"), 5, stride=1)
    blurred = blurred.unflatten(0, (len(video), -1)).transpose(1, 2)
    sharp = scheme.steepness(video)
    assert (scheme.steepness(blurred) < 0.7 * sharp).all() and (sharp < 1).all()
    np.testing.assert_allclose(scheme.steepness(0.9 * video), sharp, rtol=0.1)
    assert np.isnan(scheme.steepness(torch.full_like(video, -1.0))).all()


# -- memory ------------------------------------------------------------------------------------------------------------


def memory_options(tiny, *given: str) -> argparse.Namespace:
    files = ["--model", str(tiny.model), "--vae", str(tiny.video_vae)]
    (options,) = parse(["memory", *CPU, "--side", "64", *files, *given])
    return options


@pytest.mark.parametrize("case", memory.CASES)
def test_every_case_runs_on_a_clip_of_the_length(comfyui, case, tiny):
    config = MMDiTConfig.from_state_dict(load_network(tiny.model)[0].state_dict())
    with torch.inference_mode():
        made = memory.CASES[case](config, 41, memory_options(tiny))()
    if case == "decoding, streaming":
        assert made == 41
    elif case == "decoding, whole":
        assert made.shape[-4:] == (41, 64, 64, 3)
    else:
        video = made if torch.is_tensor(made) else made[0]
        assert video.shape == (1, 4, 11, 8, 8) and video.isfinite().all()


def test_the_table_of_memory(tiny, tmp_path, capsys, monkeypatch):
    figures = {("base", 5): (2.0, None), ("base", 9): (5.0, None), ("Refiner, dense", 9): (None, "out of memory")}
    monkeypatch.setattr(memory, "alone", lambda case, frames, options: figures.get((case, frames), (1.0, None)))
    files = ["--model", str(tiny.model), "--vae", str(tiny.video_vae)]
    main(["memory", *CPU, "--side", "64", *files, "--frames", "9", "5", "--out", str(tmp_path)])
    rows = table_of(tmp_path, "memory")["rows"]
    assert [(row["frames"], row["tokens"], row["mib"]["base"]) for row in rows] == [(5, 32, 2.0), (9, 48, 5.0)]
    assert rows[1]["skipped"] == {"Refiner, dense": "out of memory"} and set(rows[0]["mib"]) == set(memory.CASES)
    text = (tmp_path / "speed_memory.md").read_text()
    assert "base 2.5x" in text and "Refiner, dense, 9 frames: out of memory" in text
    assert_written(tmp_path, "memory", capsys)


def test_a_figure_comes_from_a_process_of_its_own(tiny):
    options = memory_options(tiny)
    mib, why = memory.alone("base", 33, options)
    assert why is None and 1 < mib < 500
    mib, why = memory.alone("base", 33, argparse.Namespace(**vars(options) | {"model": "nowhere.safetensors"}))
    assert mib is None and "nowhere.safetensors" in why


# -- shape -----------------------------------------------------------------------------------------------------------


def test_a_clip_goes_through_every_step(tmp_path):
    (options,) = parse(["shape", "--width", "128", "--height", "64", "--scale", "2", "--seconds-long", "0.5"])
    report = PARTS["shape"].run(options)
    shapes = [row.get("shape") for row in report.rows]
    assert shapes[1] == "1x8x3x4x8 + 1x32x25 + 1x8x3x8x16", "small clip, sound, keyframes"
    assert shapes[2] == shapes[3] == "1x8x5x8x16" and shapes[4] == "128x64 pixels, 17 frames at 32"
    assert all(row["mib"] > 0 and row["seconds"] >= 0 for row in report.rows)
    report.write(tmp_path)
    assert "| decoded into a file, with the sound" in (tmp_path / "speed_shape.md").read_text(encoding="utf-8")


def test_sizes_that_do_not_fit_are_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["shape", "--height", "1080"])
    assert "--height 1080 is not a multiple of 64: use 1024 or 1088" in capsys.readouterr().err
