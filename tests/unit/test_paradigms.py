"""VideoCanvas' ways of conditioning: what each shows the network, and that they are trained alike."""

import itertools
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.quality.pipeline import load_network
from models.mmdit import MMDiT
from models.video_vae import load_video_vae
from training import paradigms
from training.paradigms import WAYS, Lessons, Pupil, Settings, Shown, draw_given, loss_of, train

sys.path.append(str(Path(__file__).parents[1]))
from tiny_mini import MODEL_CONFIG, TinyMini, write_tiny_mini  # noqa: E402

FRAMES = [2, 6, 7, 16]
IN_CONTEXT = ["rope_interpolation", "nearest_slot", "integer_positions", "no_rope", "pixel_padding", "latent_slice"]
IN_CELLS = {"latent_replacement": "clean", "channel_concat": "channels"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> TinyMini:
    return write_tiny_mini(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def encode(files):
    return load_video_vae(files.video_vae).encode


@pytest.fixture(scope="module")
def network(files) -> MMDiT:
    return load_network(files.model)[0]


@pytest.fixture(scope="module")
def settings(files, tmp_path_factory) -> Settings:
    start = files.folder / "checkpoint.pt"
    torch.save({"average": load_file(files.model)}, start)
    cache = tmp_path_factory.mktemp("cache")
    return Settings(
        out=files.folder, start=start, rows=8, batch=2, frames=9, clips=64, weights=files.folder, cache=cache
    )


@pytest.fixture(scope="module")
def lessons(settings) -> Lessons:
    return Lessons(settings)


@pytest.fixture(scope="module")
def video() -> Tensor:
    return torch.rand(2, 3, 17, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def given() -> Tensor:
    """Rectangles of their own in each row and frame."""
    given = torch.zeros(2, 17, 64, 64, dtype=torch.bool)
    for row, frame in itertools.product(range(2), FRAMES):
        given[row, frame, 8 : 40 + row, frame + 3 : 56] = True
    return given


# -- what the ways show ------------------------------------------------------------------------------------------------


def test_every_way_has_a_test():
    assert set(WAYS) == {*IN_CONTEXT, *IN_CELLS}


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("rope_interpolation", [0.5, 1.5, 1.75, 4.0]),
        ("integer_positions", [0.5, 1.5, 1.75, 4.0]),  # times 4 by the stretch
        ("nearest_slot", [1.0, 2.0, 2.0, 4.0]),
        ("no_rope", [None] * 4),
        ("pixel_padding", [1.0, 2.0, 4.0]),
        ("latent_slice", [1.0, 2.0, 4.0]),
    ],
)
def test_times_in_context(name, times, encode, video, given):
    shown = WAYS[name].show(encode, video, given)
    assert [time and time[0] for _, time in shown.context] == times
    assert all(latent.shape == (2, 4, 1, 8, 8) for latent, _ in shown.context)
    assert shown.mask is None and shown.latent is None


def test_only_integer_positions_are_stretched():
    assert {name: way.stretch for name, way in WAYS.items() if way.stretch != 1} == {"integer_positions": 4}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_not_given_is_not_shown(name, encode, video, given):
    """The slice alone sees more: the same pixels of the frames that share a latent frame with the given one."""
    show = WAYS[name].show
    hidden = torch.where(given[:, None], video, 0.3)
    same = all(
        torch.equal(a, b)
        for a, b in zip(tensors(show, encode, video, given), tensors(show, encode, hidden, given), strict=True)
    )
    assert same is (name != "latent_slice")
    changed = video.clone()
    changed[:, :, 7, 20, 20] *= -1
    one, other = tensors(show, encode, video, given), tensors(show, encode, changed, given)
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def tensors(show, encode, video, given) -> list[Tensor]:
    shown: Shown = show(encode, video, given)
    return [latent for latent, _ in shown.context] + [x for x in (shown.latent, shown.mask) if x is not None]


def test_a_patch_in_context_is_encoded_alone_on_mid_grey(encode, video, given):
    latent, _ = WAYS["rope_interpolation"].show(encode, video, given).context[2]
    alone = encode((video * given[:, None])[:, :, 7:8])
    torch.testing.assert_close(latent, alone)


@pytest.mark.parametrize(("name", "route"), IN_CELLS.items())
def test_patches_in_cells(name, route, encode, video, given):
    shown = WAYS[name].show(encode, video, given)
    assert shown.route == route and not shown.context and shown.mask.shape == (2, 1, 5, 8, 8)
    assert shown.mask.flatten(3).sum(3)[:, 0].tolist() == [[0, 4 * 6, 4 * 5, 0, 4 * 4]] * 2  # whole cells alone
    frames = {frame: encode((video * given[:, None])[:, :, [frame]])[:, :, 0] for frame in FRAMES}
    for slot, frame in ((1, 2), (4, 16)):
        assert torch.allclose(shown.latent[:, :, slot, 1:5, 3:7], frames[frame][..., 1:5, 3:7], atol=1e-5)
    # Frames 6 and 7 share a latent frame: the later stays where both are given.
    assert torch.allclose(shown.latent[:, :, 2, 1:5, 2:7], frames[7][..., 1:5, 2:7], atol=1e-5)


@pytest.mark.parametrize("name", WAYS)
def test_nothing_given_shows_nothing(name, encode, video, given):
    assert WAYS[name].show(encode, video, torch.zeros_like(given)) == Shown()


def test_rows_must_share_their_frames(encode, video, given):
    other = given.clone()
    other[0, 2] = False
    with pytest.raises(ValueError, match="rows of a batch are given different frames"):
        WAYS["rope_interpolation"].show(encode, video, other)


# -- what is given -----------------------------------------------------------------------------------------------------


def test_rows_share_frames_and_crops_are_large_enough():
    counts = set()
    for seed in range(60):
        given = draw_given(4, 17, random.Random(seed), torch.Generator().manual_seed(seed))
        shown = given.flatten(2).any(2)
        assert (shown == shown[:1]).all()
        counts.add(int(shown[0].sum()))
        if 0 < shown[0].sum() < 17:
            for mask in given[shown]:
                rows, columns = mask.any(1), mask.any(0)
                assert torch.equal(mask, rows[:, None] & columns)
                assert min(int(rows.sum()), int(columns.sum())) >= 0.2 * 64 - 0.5
    assert counts == {0, 1, 2, 3, 4, 6, 17}


def test_the_outside_of_a_whole_frame_is_the_frame(monkeypatch):
    crops = torch.ones(3, 64, 64, dtype=torch.bool)
    crops[1, :, 20:] = False
    monkeypatch.setattr(paradigms, "random_crops", lambda rows, generator: crops)
    monkeypatch.setattr(paradigms, "GIVEN", {"clip": 1.0})
    sides = {tuple(draw_given(3, 5, random.Random(s), torch.Generator())[:, 0].sum((1, 2)).tolist()) for s in range(20)}
    assert sides == {(4096, 20 * 64, 4096), (4096, 44 * 64, 4096)}


# -- what is learned ---------------------------------------------------------------------------------------------------


def losses(network, shown, video) -> list[float]:
    generator = torch.Generator().manual_seed(2)
    audio, text, pooled = torch.ones(2, 6, 45), torch.ones(2, 4, 32), torch.ones(2, 32)
    with torch.no_grad():
        return [float(x) for x in loss_of(network, shown, video, audio, text, pooled, generator)]


@pytest.mark.parametrize("name", WAYS)
def test_the_network_sees_the_patches(name, network, encode, video, given):
    latent = encode(video)
    with_patches = losses(network, WAYS[name].show(encode, video, given), latent)
    without = losses(network, Shown(), latent)
    assert abs(with_patches[0] - without[0]) > 1e-4 and all(0 < loss < 100 for loss in with_patches)


def test_replaced_cells_count_for_nothing(network, encode, video, given):
    latent = encode(video)
    shown = WAYS["latent_replacement"].show(encode, video, given)
    other = torch.where(shown.mask > 0, latent + 5, latent)
    assert losses(network, shown, latent) == losses(network, shown, other)
    concat = WAYS["channel_concat"].show(encode, video, given)
    assert losses(network, concat, latent)[0] != losses(network, concat, other)[0]


def test_a_batch_depends_on_its_number_alone(lessons):
    one, again, other = (lessons.batch(step, lessons.generator(step)) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one.video, other.video)
    assert one.pixels.shape == (2, 3, 9, 64, 64) and one.video.shape[2] == 3
    assert torch.allclose(lessons.video_vae.encode(one.pixels), one.video.float(), atol=0.02), "pixels of these latents"


# -- training ----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_an_unbroken_one(settings, lessons, tmp_path):
    settings = replace(settings, out=tmp_path)
    whole, first = (Pupil("rope_interpolation", settings, lessons) for _ in range(2))
    before = {name: value.clone() for name, value in whole.average.state_dict().items()}
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        first.train_step()
    first.keep()
    second = Pupil("rope_interpolation", settings, lessons)
    assert second.resume() and second.rows == 4 and not second.done
    for _ in range(2):
        second.train_step()
    assert whole.done and second.done
    for part in ("model", "average"):
        for name, value in getattr(whole, part).state_dict().items():
            assert torch.equal(value, getattr(second, part).state_dict()[name]), name
    assert any(not torch.equal(value, before[name]) for name, value in whole.average.state_dict().items())


def test_another_run_is_refused(settings, lessons, tmp_path):
    Pupil("no_rope", replace(settings, out=tmp_path), lessons).keep()
    with pytest.raises(ValueError, match=r"no_rope.pt has rows 8, this run 16: use the same, another --out, or remove"):
        Pupil("no_rope", replace(settings, out=tmp_path, rows=16), lessons).resume()


def test_all_ways_begin_alike_and_integer_positions_turn_faster(settings, lessons):
    plain, stretched = (
        Pupil(name, settings, lessons).average.state_dict() for name in ("no_rope", "integer_positions")
    )
    assert torch.equal(stretched.pop("time_frequencies"), 4 * plain.pop("time_frequencies"))
    assert all(torch.equal(value, stretched[name]) for name, value in plain.items())


def command(settings: Settings, out: Path, *more: str) -> list[str]:
    names = ("start", "rows", "batch", "frames", "clips", "weights", "cache")
    options = [str(x) for name in names for x in (f"--{name}", getattr(settings, name))]
    return ["training.paradigms", "--out", str(out), *options, *more]


def test_the_command_trains_each_way_and_goes_on(settings, tmp_path, monkeypatch, capsys):
    ways = ["integer_positions", "latent_replacement"]
    monkeypatch.setattr(sys, "argv", command(settings, tmp_path, "--ways", *ways))
    paradigms.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{way}.pt" for way in ways]
    state = torch.load(tmp_path / "integer_positions.pt", weights_only=True)
    assert state["progress"]["rows"] == 8 and state["log"][-1]["video"] > 0
    network, _ = load_network(tmp_path / "integer_positions.pt")
    assert network.config == replace(MODEL_CONFIG, rope_theta=network.config.rope_theta)
    assert '"rows": 8' in capsys.readouterr().out
    paradigms.main()
    printed = capsys.readouterr().out
    assert "goes on at row 8 of 8" in printed and '"rows"' not in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--start", "nowhere.pt"], "start nowhere.pt does not exist: name a checkpoint"),
        (["--frames", "8"], "frames 8 is not 4n+1 from 5 to 33: use 17"),
        (["--rows", "0"], "rows 0 leaves nothing to learn from"),
        (["--ways", "telepathy"], "invalid choice: 'telepathy'"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.setattr(sys, "argv", command(settings, tmp_path, *more))
    with pytest.raises(SystemExit):
        paradigms.main()
    assert message in capsys.readouterr().err


def test_ways_differ_in_nothing_but_their_patches(settings, tmp_path, monkeypatch):
    ways = ["rope_interpolation", "channel_concat"]
    weights = {}
    for kind in ("nothing", "clip"):
        monkeypatch.setattr(paradigms, "GIVEN", {kind: 1.0})
        pupils = train(replace(settings, out=tmp_path / kind, rows=2), ways)
        weights[kind] = [pupils[way].average.state_dict()["text_in.weight"] for way in ways]
    assert torch.equal(*weights["nothing"]) and not torch.equal(*weights["clip"])
