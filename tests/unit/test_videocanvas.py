"""VideoCanvasBench in small: its sets follow the recipe, oracles score perfectly, and orders are told as they are."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.quality.pipeline import Codecs, Mini
from benchmarks.videocanvas import __main__ as command
from benchmarks.videocanvas import networks
from benchmarks.videocanvas.orders import AGREES, CONTRARY, OPEN, TABLE_2, TABLE_3, TABLE_R5, Claim, order_of
from benchmarks.videocanvas.readings import (
    COLUMNS,
    FRECHET,
    Reading,
    estimate,
    frechet,
    load_readings,
    moments,
    save_readings,
)
from benchmarks.videocanvas.report import markdown, orders
from benchmarks.videocanvas.sets import COMBINATIONS, MAIN, SETS, anchors, make_sets, of_groups
from training.paradigms import WAYS, Settings, train
from training.toybox import FRAME_SIZE

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import TinyMini, write_tiny_mini  # noqa: E402

CLIPS, FRAMES = 28, 17


@pytest.fixture(scope="module")
def sets():
    return make_sets(CLIPS, FRAMES)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> TinyMini:
    return write_tiny_mini(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory) -> Path:
    """Two ways, after a step each."""
    start, folder = files.folder / "checkpoint.pt", tmp_path_factory.mktemp("networks")
    torch.save({"average": load_file(files.model)}, start)
    settings = Settings(folder, start, rows=2, batch=2, frames=5, clips=64, weights=files.folder, cache=folder)
    train(settings, ["rope_interpolation", "latent_replacement"])
    return folder


# -- the sets ----------------------------------------------------------------------------------------------------------


def test_sizes_of_the_sets(sets):
    assert {name: sum(len(group.scenes) for group in groups) for name, groups in sets.items()} == {
        "any_p2v": 28,
        "any_i2v": 28,
        "any_v2v": 28,
        "two_clips": 14,
        "one_frame": 14,
    }
    assert set(MAIN) < set(sets) == set(SETS)
    seeds = [group.seed for groups in sets.values() for group in groups]
    assert len(seeds) == len(set(seeds)) and min(seeds) >= 9000 and max(seeds) < 10000


def test_anchors_are_the_papers_and_others():
    assert anchors(77) == ({"S": 0, "M": 38, "E": 76}, {"S": 2, "M": 39, "E": 75})
    paper, beside = anchors(FRAMES)
    assert not any(frame % 4 for frame in paper.values()) and all(frame % 4 for frame in beside.values())


@pytest.mark.parametrize("name", ["any_p2v", "any_i2v"])
def test_seven_combinations_at_and_beside_the_anchors(sets, name):
    groups = sets[name]
    assert [group.name for group in groups] == [f"{c}{where}" for where in ("", " beside") for c in COMBINATIONS]
    for group in groups:
        combination, _, beside = group.name.partition(" ")
        frames = anchors(FRAMES)[bool(beside)]
        expected = [frames[anchor] for anchor in combination.split("+")]
        assert all(row.nonzero().flatten().tolist() == expected for row in group.shown)
        assert torch.equal(group.canvas, group.scenes.render()) and group.known
        if name == "any_i2v":
            assert group.given[group.shown].all()


def test_half_of_the_patches_are_boxes_around_the_object(sets):
    boxes = total = 0
    for group in sets["any_p2v"]:
        positions, reach = group.scenes.positions(), group.scenes.radius()[:, None, None] + 2
        inside = ((torch.arange(FRAME_SIZE) + 0.5 - positions[..., None]).abs() <= reach[..., None]).int()
        for clip, frame in group.shown.nonzero().tolist():
            mask = group.given[clip, frame]
            rows, columns = mask.any(1), mask.any(0)
            assert torch.equal(mask, rows[:, None] & columns) and mask.any()
            covers = (mask | ~(inside[clip, frame, 1, :, None] * inside[clip, frame, 0]).bool()).all()
            boxes += int(bool(covers) and max(int(rows.sum()), int(columns.sum())) <= 30)
            total += 1
    assert total == 4 * 12 and 0.4 <= boxes / total <= 0.7


def test_parts_of_clips(sets):
    groups = {group.name: group for group in sets["any_v2v"]}
    inside, outside, same, other, pan = groups.values()
    assert inside.name == "inpainting" and outside.name == "outpainting" and pan.name == "camera pan"
    assert all(group.shown.all() for group in (inside, outside, pan))
    for given, low, high in ((~inside.given, 0.2, 0.5), (outside.given, 0.6, 0.9)):
        for mask in given[:, 0]:
            sides = [int(mask.any(axis).sum()) / FRAME_SIZE for axis in (0, 1)]
            assert all(low - 0.01 <= side <= high + 0.01 for side in sides)
        assert torch.equal(given, given[:, :1].expand_as(given))
    middle = inside.scenes.positions()[:, FRAMES // 2].long()
    assert not any(inside.given[i, FRAMES // 2, y, x] for i, (x, y) in enumerate(middle.tolist()))
    for transition in (same, other):
        assert transition.shown[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 13, 14, 15, 16]
        assert transition.given[transition.shown].all() and not transition.known
        second = transition.scenes.render()
        assert torch.equal(transition.canvas[:, :, 9:], second[:, :, 9:])
        assert not torch.equal(transition.canvas[:, :, :9], second[:, :, :9])
    corner = [group.canvas[:, :, :, 0, 0] for group in (same, other)]
    assert torch.equal(corner[0][:, :, 0], corner[0][:, :, -1]) and not torch.equal(
        corner[1][:, :, 0], corner[1][:, :, -1]
    )


def test_a_panned_clip_is_the_source_elsewhere(sets):
    pan = sets["any_v2v"][-1]
    source, last = pan.scenes.render(), FRAMES - 1
    assert pan.given[:, 0].all() and torch.equal(pan.canvas[:, :, 0], source[:, :, 0])
    for clip in range(len(pan.scenes)):
        mask = pan.given[clip, last]
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        height, width = len(rows), len(columns)
        assert sorted((height, width))[1] == 64 and 8 <= 64 - min(height, width) <= 16
        seen = pan.canvas[clip, :, last][:, mask].view(3, height, width)
        top, left = (0 if len(x) == 64 or x[0] > 0 else 64 - len(x) for x in (rows, columns))
        assert torch.equal(seen, source[clip, :, last, top : top + height, left : left + width])


def test_two_clips_have_the_same_words(sets):
    for group in sets["two_clips"]:
        assert group.shown[0].nonzero().flatten().tolist() == [0, 16] and not group.known
        first, real = group.canvas, group.scenes.render()
        assert torch.equal(first[:, :, 0], real[:, :, 0]) and not torch.equal(first[:, :, 16], real[:, :, 16])
        assert torch.equal(first[:, :, 0, 0, 0], first[:, :, 16, 0, 0])


def test_sets_depend_on_the_seed_alone(sets):
    again, other = make_sets(CLIPS, FRAMES), make_sets(CLIPS, FRAMES, seed=1)
    for name, groups in sets.items():
        for a, b, c in zip(groups, again[name], other[name], strict=True):
            assert torch.equal(a.canvas, b.canvas) and torch.equal(a.given, b.given) and a.prompts == b.prompts
            assert not torch.equal(a.canvas, c.canvas) and a.seed != c.seed


# -- the figures -------------------------------------------------------------------------------------------------------


def read(sets, name, change=lambda video: video) -> Reading:
    return Reading.of(change(of_groups(sets[name]).canvas), sets[name])


def values(reading: Reading) -> dict[str, float]:
    return {name: reading.figure(name, reading.tracks).value for name in COLUMNS}


@pytest.mark.parametrize("name", ["any_p2v", "any_i2v", "one_frame"])
def test_real_clips_are_perfect(sets, name):
    reading = read(sets, name)
    found = values(reading)
    assert found["psnr"] == 100 and found["away"] < 0.2 and found["dynamic"] > 0.97 and found["jitter"] < 0.5
    assert [found[x] for x in ("subject", "one_object", "prompt")] == [1, 1, 1]
    assert found["jumps"] == found["flicker"] == 0 and found["ground"] < 0.1 and found["fit"] > 0.95
    assert found[FRECHET] == pytest.approx(0, abs=1e-6)
    assert reading.chance["psnr"] < 20 and reading.chance["away"] > 10


def test_exchanged_clips_are_chance(sets):
    reading = read(sets, "any_i2v", lambda video: video.roll(1, 0))
    found = values(reading)
    assert found["psnr"] < 20 and found["away"] > 8 and found["prompt"] < 0.3
    assert found["subject"] == found["one_object"] == 1


def test_frozen_noisy_and_empty_clips(sets):
    real = values(read(sets, "any_i2v"))
    frozen = values(read(sets, "any_i2v", lambda video: video[:, :, :1].expand_as(video)))
    assert frozen["dynamic"] == frozen["pace"] == frozen["pace_there"] == 0 and real["pace_there"] > 25

    def flickering(video: Tensor) -> Tensor:
        return video + 0.1 * (-1.0) ** torch.arange(FRAMES).view(1, 1, -1, 1, 1)

    noisy = values(read(sets, "any_i2v", flickering))
    assert noisy["flicker"] == pytest.approx(0.2 * 127.5, rel=0.35) and noisy["ground"] > 5
    two = values(read(sets, "any_i2v", lambda video: torch.maximum(video, video.flip(3, 4))))
    assert two["one_object"] < 0.9
    empty = read(sets, "any_i2v", lambda video: torch.full_like(video, -1))
    assert values(empty)["subject"] == values(empty)["fit"] == 0 and np.isnan(values(empty)["pace"])
    assert np.isfinite(empty.tracks).all()


def test_speed_at_the_patch_sees_the_patch_alone(sets):
    def standing(video: Tensor) -> Tensor:
        still = video.clone()
        still[:, :, 1:5] = video[:, :, 4:5]
        return still

    found, real = values(read(sets, "one_frame", standing)), values(read(sets, "one_frame"))
    assert found["pace_there"] == 0 and real["pace_there"] > 25
    assert found["pace"] > 0.8 * real["pace"] and found["dynamic"] == pytest.approx(real["dynamic"] * 13 / 16, abs=0.08)


def test_frechet_distance_between_normals():
    one = np.eye(1)
    assert frechet(np.array([1.0]), 4 * one, np.array([3.0]), 9 * one) == pytest.approx(4 + 1)
    x = np.random.default_rng(0).normal(size=(500, 3)) @ np.diag([1.0, 2.0, 0.5])
    mean, spread = moments(x)
    assert frechet(mean, spread, mean, spread) == pytest.approx(0, abs=1e-9)
    assert frechet(mean + 1, spread, mean, spread) == pytest.approx(3)
    twice = moments(x, np.full(len(x), 2.0))
    assert np.allclose(twice[0], mean) and np.allclose(twice[1], spread, rtol=0.01)


def test_worse_clips_are_further_from_real_ones(sets):
    real = read(sets, "any_p2v").tracks
    distances = [
        read(sets, "any_i2v", change).figure(FRECHET, real).value
        for change in (
            lambda video: video,
            lambda video: video[:, :, ::4].repeat_interleave(4, 2)[:, :, :FRAMES],
            lambda video: video[:, :, :1].expand_as(video),
        )
    ]
    assert distances == sorted(distances) and distances[2] > 3 * distances[0]


def test_readings_survive_their_file(sets, tmp_path):
    reading = read(sets, "two_clips")
    assert np.isnan(reading.values["away"]).all() and np.isnan(reading.chance["away"])
    save_readings(tmp_path / "way.json", {"seed": 0}, {"two_clips": reading})
    (kept,) = load_readings(tmp_path / "way.json", {"seed": 0}).values()
    for name in COLUMNS:
        one, other = (r.figure(name, reading.tracks) for r in (reading, kept))
        assert repr(one) == repr(other)
    assert load_readings(tmp_path / "way.json", {"seed": 1}) is None
    assert load_readings(tmp_path / "other.json", {"seed": 0}) is None


# -- orders ------------------------------------------------------------------------------------------------------------

CLAIM = Claim("Table", "psnr", {"worst": 1.0, "best": 3.0, "middle": 2.0})


def reading_of(psnr: np.ndarray) -> Reading:
    return Reading({"psnr": psnr}, np.zeros((len(psnr), 9)), {})


@pytest.mark.parametrize(
    ("shifts", "verdict", "pairs"),
    [
        ({"best": 2, "middle": 1, "worst": 0}, AGREES, {AGREES}),
        ({"best": 0, "middle": 1, "worst": 2}, CONTRARY, {CONTRARY}),
        ({"best": 2, "middle": 0, "worst": 0}, OPEN, {AGREES, OPEN}),
        ({"best": 0, "middle": 0, "worst": 0}, OPEN, {OPEN}),
    ],
)
def test_verdicts(shifts, verdict, pairs):
    rng = np.random.default_rng(0)
    clips = rng.normal(20, 5, size=40)  # clips differ far more than ways do, which pairs undo
    readings = {way: reading_of(clips + shift + rng.normal(0, 0.5, 40)) for way, shift in shifts.items()}
    order = order_of(CLAIM, "somewhere", readings, np.zeros((40, 9)))
    assert order.verdict == verdict and {pair.verdict for pair in order.pairs} == pairs and len(order.pairs) == 3
    assert [(pair.better, pair.worse) for pair in order.pairs][0] == ("best", "middle")


def test_less_is_better_turns_the_order_round():
    readings = {way: reading_of(np.arange(9.0) + value) for way, value in CLAIM.paper.items()}
    down = order_of(replace(CLAIM, down=True), "somewhere", readings, np.zeros((9, 9)))
    assert down.ranked(down.here) == ["worst", "middle", "best"] and down.verdict == AGREES
    assert [pair.lead for pair in down.pairs] == [1, 2, 1]


def test_what_was_not_measured_is_in_no_order():
    readings = {"best": reading_of(np.full(5, np.nan)), "worst": reading_of(np.ones(5))}
    assert order_of(CLAIM, "somewhere", readings, np.zeros((5, 9))).verdict == OPEN
    assert order_of(CLAIM, "somewhere", {"best": reading_of(np.ones(5))}, np.zeros((5, 9))) is None


def test_claims_are_about_ways_and_figures_that_exist():
    for claim in (*TABLE_2, *TABLE_3, *TABLE_R5):
        assert claim.figure in COLUMNS and set(claim.paper) <= set(WAYS)
        assert COLUMNS[claim.figure].down is claim.down
        assert "rope_interpolation" in claim.paper


def test_all_of_the_papers_tables_are_told(sets):
    readings = {way: {name: read(sets, name) for name in sets} for way in ("rope_interpolation",)}
    readings = {way: readings["rope_interpolation"] for way in WAYS}
    found = orders(readings, readings["no_rope"]["any_p2v"].tracks)
    assert len(found) == 4 * 3 + 3 + 1
    assert all(order.verdict == OPEN and len(order.here) == len(order.claim.paper) for order in found), "all are equal"


def test_an_estimate_of_nothing_is_nothing():
    assert all(math.isnan(x) for x in estimate(lambda weights: np.full(len(weights), np.nan), 3))
    assert estimate(lambda weights: weights.mean(1), 4) == (1, 0)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini(files) -> Mini:
    return Mini.load(files.folder, files.model)


def test_the_nodes_route_whole_cells_and_clips_by_mask(mini, sets):
    def routed(group):
        shown = networks.as_nodes(mini, group.canvas, group.given)
        cells = [] if shown.mask is None else shown.mask[0, 0].flatten(1).any(1).nonzero().flatten().tolist()
        return cells, [times[0] for _, times in shown.context]

    groups = {name: {group.name: group for group in of} for name, of in sets.items()}
    assert routed(groups["any_i2v"]["S+M+E"]) == ([0], [2.0, 4.0])
    assert routed(groups["any_p2v"]["S+M beside"]) == ([], [0.5, 2.25])
    assert routed(groups["any_v2v"]["outpainting"]) == ([0, 1, 2, 3, 4], [])
    assert routed(groups["any_v2v"]["transition, same words"]) == ([0, 1, 4], [])
    assert routed(groups["one_frame"]["frame 3"]) == ([], [0.75])


def test_the_networks_share_their_budget(trained, files, tmp_path):
    codecs = Codecs(files.folder)
    found = networks.trained(trained, files.folder, codecs)
    assert [one.name for one in found] == ["rope_interpolation", "latent_replacement"]
    assert found[0].facts["rows"] == 2 and found[0].digest != found[1].digest

    def changed(**parts) -> Path:
        for name in ("rope_interpolation", "latent_replacement"):
            state = torch.load(trained / f"{name}.pt", weights_only=True)
            if name == "latent_replacement":
                for key, value in parts.items():
                    state[key] |= value
            torch.save(state, tmp_path / f"{name}.pt")
        return tmp_path

    with pytest.raises(ValueError, match="has seen 1 of 2 rows: run `python3 -m training.paradigms"):
        networks.trained(changed(progress={"rows": 1}), files.folder, codecs)
    with pytest.raises(ValueError, match="with batch 2, .*latent_replacement.pt with 4: train both alike"):
        networks.trained(changed(settings={"batch": "4"}), files.folder, codecs)
    with pytest.raises(ValueError, match="has no networks: train them with"):
        networks.trained(files.folder / "nothing", files.folder, codecs)


def test_the_command_measures_and_a_rerun_gives_the_same(trained, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "REFERENCES", 12)
    arguments = ["--networks", str(trained), "--model", str(files.model), "--weights", str(files.folder)]
    arguments += ["--clips", "5", "--frames", "13", "--steps", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks.videocanvas", *arguments])
    assert command.main() == 0
    printed = capsys.readouterr().out
    text, plain = ((tmp_path / f"videocanvas.{kind}").read_text(encoding="utf-8") for kind in ("md", "json"))
    assert printed.strip() == text.strip()
    report = json.loads(plain)
    assert set(report["networks"]) == {"rope_interpolation", "latent_replacement", "mini_as_nodes"}
    assert markdown(report) == text and "6 to 10 % of its batches" in text and "Table 2: paradigms" in text
    assert all(set(table) >= {"chance", "mini_as_nodes"} for table in report["sets"].values())
    assert {order["table"] for order in report["orders"]} == {"Table 2: paradigms"}
    for name in report["networks"]:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    (tmp_path / "latent_replacement.json").unlink()  # read again; the others are kept
    assert command.main() == 0
    assert (tmp_path / "videocanvas.json").read_text(encoding="utf-8") == plain
    said = capsys.readouterr().err
    assert "rope_interpolation: as read before" in said and "latent_replacement: any_p2v" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to measure: give --networks"),
        (["--model", "nowhere.safetensors"], "--model nowhere.safetensors does not exist"),
        (["--networks", "runs", "--clips", "3"], "--clips 3 leaves sets of a single clip: use 4 or more"),
        (["--networks", "runs", "--frames", "9"], "frames 9 is not 4n+1 from 13 on: use 17"),
        (["--networks", "runs", "--seed", "10"], "seed 10 is not among those of the benchmark: use 0 to 9"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.videocanvas", *arguments])
    try:
        assert command.main() == 2
    except SystemExit as stopped:
        assert stopped.code == 2
    assert message in capsys.readouterr().err
