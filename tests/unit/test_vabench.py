"""VABench in small: its prompts, what damage lowers which dimension, the contest, the contestants and the command."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from benchmarks.quality.pipeline import Clips, Codecs, Sampling
from benchmarks.vabench import __main__ as command
from benchmarks.vabench import prompts as prompt_sets
from benchmarks.vabench.contest import Contestant, Mean, contest
from benchmarks.vabench.dimensions import (
    CRITERIA,
    DIMENSIONS,
    OVERALL,
    TRUST,
    Scale,
    Values,
    dealt,
    likert,
    measure,
    scale_of,
)
from benchmarks.vabench.picture import follow, see
from benchmarks.vabench.prompts import CATEGORIES, LEVEL, MOST, PER_CATEGORY, Category, Prompts, all_prompts, chosen
from training.toybox import SAMPLE_RATE, Scenes

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
MODEL = WEIGHTS / "mini.safetensors"


@pytest.fixture(scope="module")
def few() -> list[Prompts]:
    """Six prompts of one category."""
    return [Prompts.of(Category("shot"), 1).first(6)]


@pytest.fixture(scope="module")
def codecs() -> Codecs:
    return Codecs(WEIGHTS)


@pytest.fixture(scope="module")
def scale(codecs, few) -> Scale:
    return scale_of(codecs, few)[0]


@pytest.fixture(scope="module")
def real(codecs, few) -> Clips:
    scenes = few[0].scenes
    return codecs.reconstruct(scenes.render(), scenes.sound())


def mean_scores(scale: Scale, clips: Clips, prompts: Prompts) -> dict[str, float]:
    return {name: float(np.nanmean(row)) for name, row in scale.scores(measure(clips, prompts)).items()}


# -- prompts -----------------------------------------------------------------------------------------------------------


def test_the_prompts_are_many_and_say_what_their_category_says():
    sets = all_prompts()
    assert sum(map(len, sets)) == MOST >= 48
    for prompts, category in zip(sets, CATEGORIES, strict=True):
        assert prompts.scenes.frames == category.frames
        for i, (words, text) in enumerate(zip(prompts.said, prompts.texts, strict=True)):
            assert words.items() <= prompts.scenes.attributes(i).items() and words.keys() == set(category.says)
            assert ("<sfx>" in text) == bool({"pitch", "sound"} & set(category.says))
            assert words["speed"] in category.speeds and words["speed"] in text


def test_a_category_of_slow_shots_flies_slowly():
    slow = Prompts.of(CATEGORIES[0], 0)
    assert CATEGORIES[0].speeds == ("slowly",) and set(slow.scenes.velocity.norm(dim=1).round().int().tolist()) <= {
        *range(30, 39)
    }


def test_every_value_comes_equally_often_in_a_category():
    for prompts in all_prompts():
        for attribute in ("shape", "colour", "background"):
            count = torch.bincount(getattr(prompts.scenes, attribute))
            assert (count == PER_CATEGORY // len(LEVEL.choices(attribute))).all()


def test_fewer_prompts_are_the_first_of_each_category():
    few, all_of_them = chosen(11), all_prompts()
    assert [len(prompts) for prompts in few] == [2, 2, 2, 1, 1, 1, 1, 1]
    assert all(part.texts == whole.texts[: len(part)] for part, whole in zip(few, all_of_them, strict=True))
    assert torch.equal(few[0].scenes.start, all_of_them[0].scenes.start[:2])
    assert [len(prompts) for prompts in chosen(3)] == [1, 1, 1]
    for count in (1, MOST + 1):
        with pytest.raises(ValueError, match=f"--prompts {count} is not among 2 to {MOST}"):
            chosen(count)


def test_another_category_leaves_the_others_as_they_are(monkeypatch):
    before = all_prompts()
    monkeypatch.setattr(prompt_sets, "CATEGORIES", (*CATEGORIES, Category("new", worded=lambda words: "make it new")))
    after = prompt_sets.all_prompts()
    assert [p.texts for p in after[:-1]] == [p.texts for p in before] and after[-1].texts == ["make it new"] * 12


def test_another_take_tells_the_same_words_of_another_motion(few):
    (prompts,) = few
    again = prompts.another_take()
    assert again.texts == prompts.texts and not torch.isclose(again.scenes.start, prompts.scenes.start).any()


# -- the scale ---------------------------------------------------------------------------------------------------------


def test_real_clips_are_a_five_and_chance_is_a_one(codecs, few):
    scale, (real,), (chance,) = scale_of(codecs, few)
    for name in DIMENSIONS:
        assert likert(float(np.nanmean(scale.scores(real)[name]))) > 4.7  # one of the six bounces twice within 50 ms
        assert likert(float(np.nanmean(scale.scores(chance)[name]))) < 1.1
    assert set(scale.same) == {*DIMENSIONS, OVERALL} and min(scale.same.values()) >= TRUST


@given(st.floats(-2, 3), st.floats(-2, 3))
def test_ratings_grow_with_scores_between_one_and_five(a, b):
    low, high = sorted((a, b))
    assert 1 <= likert(low) <= likert(high) <= 5
    assert (likert(0), likert(0.5), likert(1)) == (1, 3, 5) and math.isnan(likert(math.nan))


def test_what_is_better_than_real_earns_no_more():
    anchors = {name: 0.0 for name in CRITERIA}, {name: 1.0 for name in CRITERIA}
    values = {name: np.array([5.0 if name == "clean" else 0.5]) for name in CRITERIA}
    scores = Scale(*anchors, {}).scores(values)
    assert scores["visual"][0] == pytest.approx((4 * 0.5 + 1) / 5) and scores["audio"][0] == 0.5


def test_codecs_that_lose_everything_make_no_scale():
    values = {name: np.zeros(4) for name in CRITERIA}
    with pytest.raises(ValueError, match="no difference between real clips and chance in colour, shape"):
        Scale.of(values, values, values)


def test_latents_dealt_out_anew_keep_the_values_of_each_channel():
    latent = torch.randn(3, 4, 5)
    other = dealt(latent, torch.Generator().manual_seed(0))
    assert other.shape == latent.shape and not torch.equal(other, latent)
    for channel in range(4):
        assert torch.equal(other[:, channel].flatten().sort().values, latent[:, channel].flatten().sort().values)


# -- damage ------------------------------------------------------------------------------------------------------------


class Juddering(Scenes):
    """The object is on its way, but in every frame up to three eighths of a frame early or late."""

    def positions(self) -> Tensor:
        fine = Scenes(**{**vars(self), "frames": 8 * self.frames, "fps": 8 * self.fps}).positions()
        off = torch.randint(-3, 4, (self.frames,), generator=torch.Generator().manual_seed(0))
        return fine[:, (8 * torch.arange(self.frames) + off).clamp(min=0)]


def another_colour(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    repainted = replace(scenes, colour=(scenes.colour + 2) % 6)
    return codecs.reconstruct(repainted.render(), repainted.sound())


def another_speed(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    factor = torch.tensor([58 / 34, 34 / 58])[scenes.speed]
    other = replace(scenes, velocity=scenes.velocity * factor[:, None])
    return codecs.reconstruct(other.render(), other.sound())


def late_sound(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    late = torch.nn.functional.pad(clips.sound, (round(0.25 * SAMPLE_RATE), 0))
    return replace(clips, sound=late[..., : clips.sound.shape[-1]])


def noisy_picture(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    noise = torch.randn(clips.video.shape, generator=torch.Generator().manual_seed(0))
    return replace(clips, video=clips.video + 0.1 * noise)


def second_object(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    """A small square of the object's colour in the corner that the object keeps away from."""
    video = clips.video.clone()
    paint = torch.tensor([colour.rgb for colour in LEVEL.colours.values()])[scenes.colour] / 127.5 - 1
    for row, places in enumerate(scenes.positions()):
        corners = torch.tensor([[5.0, 5.0], [59.0, 5.0], [5.0, 59.0], [59.0, 59.0]])
        x, y = corners[torch.cdist(corners, places).amin(1).argmax()].int().tolist()
        video[row, :, :, y - 4 : y + 4, x - 4 : x + 4] = paint[row, :, None, None, None]
    return replace(clips, video=video)


def juddering_track(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    return codecs.reconstruct(Juddering(**vars(scenes)).render(), scenes.sound())


def clipped_sound(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    return replace(clips, sound=clips.sound.clamp(-0.06, 0.06))


def noisy_sound(clips: Clips, scenes: Scenes, codecs: Codecs) -> Clips:
    noise = torch.randn(clips.sound.shape, generator=torch.Generator().manual_seed(0))
    return replace(clips, sound=clips.sound + 0.01 * noise)


DAMAGE = {
    another_colour: "instruction",
    another_speed: "instruction",
    late_sound: "sync",
    noisy_picture: "visual",
    second_object: "visual",
    juddering_track: "motion",
    clipped_sound: "audio",
    noisy_sound: "audio",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage_lowers_its_dimension_and_no_other(damage, codecs, few, scale, real):
    (prompts,) = few
    whole = mean_scores(scale, real, prompts)
    hurt = mean_scores(scale, damage(real, prompts.scenes, codecs), prompts)
    lost = {name: whole[name] - hurt[name] for name in DIMENSIONS}
    own = lost.pop(DAMAGE[damage])
    assert own > scale.same[DAMAGE[damage]] and own > 2 * max(lost.values()), (own, lost)
    assert all(loss <= scale.same[name] for name, loss in lost.items()), (lost, scale.same)


def test_what_is_not_said_is_not_asked(codecs, few, scale):
    (prompts,) = few
    silent = [{name: word for name, word in words.items() if name != "colour"} for words in prompts.said]
    clips = another_colour(Clips(None, None), prompts.scenes, codecs)
    values = measure(clips, replace(prompts, said=silent))
    assert np.isnan(values["colour"]).all() and (values["shape"] == 1).all()


def test_given_frames_are_not_judged_by_their_looks(few, real):
    (prompts,) = few
    video = real.video.clone()
    video[:, :, :5] = -1
    extension = replace(prompts, category=replace(prompts.category, seen=5))
    values = measure(Clips(video, real.sound), extension)
    assert (values["colour"] == 1).all() and (values["one_object"] == 1).all()
    assert (measure(Clips(video, real.sound), prompts)["one_object"] < 1).all()


def test_silence_is_no_bad_sound_but_bounces_in_silence_are_out_of_sync(few, real):
    values = measure(Clips(real.video, torch.zeros_like(real.sound)), few[0])
    assert np.isnan(values["clear"]).all() and (values["silent"] == 80).all()
    bouncing = ~np.isnan(values["together"])
    assert bouncing.any() and (values["together"][bouncing] == 0).all() and (values["pitch"][bouncing] == 0).all()


def test_clips_without_sound_are_refused(few, real):
    with pytest.raises(ValueError, match="without picture or without sound"):
        measure(Clips(real.video, None), few[0])


def test_the_followed_object_is_the_nearest_of_the_large_ones():
    coverage = torch.zeros(3, 64, 64)
    coverage[:, 10:26, 10:26] = 1  # the first frame has it alone
    coverage[1:, 40:58, 40:58] = 1  # a larger one, far away
    coverage[2, 28:32, 10:14] = 1  # dirt, near
    assert (follow(coverage).flatten(1).sum(1) == 256).all()
    assert not follow(torch.zeros(2, 64, 64)).any()


def test_an_empty_box_is_seen_without_an_object():
    picture = see(torch.full((2, 3, 5, 64, 64), -0.9), LEVEL)
    assert not picture.sight.present.any() and (picture.dirt < 1e-3).all() and np.isfinite(picture.off).all()


# -- the contest -------------------------------------------------------------------------------------------------------

SAME = dict.fromkeys([*DIMENSIONS, OVERALL], 0.1)


def random_scores(seed: int, clips: int = 20) -> Values:
    generator = np.random.default_rng(seed)
    scores = {name: generator.random(clips) for name in DIMENSIONS}
    scores["sync"][:3] = math.nan
    return scores


def test_a_contestant_against_itself_is_all_the_same():
    scores = random_scores(0)
    for verdict in contest(scores, scores, SAME).values():
        assert (verdict.good, verdict.same, verdict.bad) == (0, 20, 0)
        assert (verdict.net.value, verdict.net.low, verdict.net.high, verdict.p) == (0, 0, 0, 1)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000))
def test_the_other_order_gives_mirrored_counts(seed):
    a, b = random_scores(seed), random_scores(seed + 1)
    there, back = contest(a, b, SAME), contest(b, a, SAME)
    for name, verdict in there.items():
        other = back[name]
        assert (verdict.good, verdict.same, verdict.bad) == (other.bad, other.same, other.good)
        assert verdict.good + verdict.same + verdict.bad == 20
        assert verdict.net.value == pytest.approx(-other.net.value) and verdict.p == other.p
        assert (verdict.net.low, verdict.net.high) == pytest.approx((-other.net.high, -other.net.low), abs=1e-9)


def test_a_difference_up_to_the_threshold_is_the_same():
    a = {name: np.array([0.6, 0.5, 0.61, 0.39, math.nan]) for name in DIMENSIONS}
    b = {name: np.full(5, 0.5) for name in DIMENSIONS}
    verdict = contest(a, b, dict.fromkeys([*DIMENSIONS, OVERALL], 0.1000001))["visual"]
    assert (verdict.good, verdict.same, verdict.bad) == (1, 3, 1)


def test_the_sign_test_and_the_interval_see_a_clear_winner():
    a = {name: np.full(10, 0.9) for name in DIMENSIONS}
    b = {name: np.linspace(0, 0.7, 10) for name in DIMENSIONS}
    verdict = contest(a, b, SAME)[OVERALL]
    assert verdict.good == 10 and verdict.p == pytest.approx(2 * 0.5**10)
    assert verdict.net == Mean(1, 1, 1, 10) and 0 < verdict.difference.low < verdict.difference.value


def test_the_interval_is_that_of_a_mean():
    values = np.random.default_rng(1).normal(3, 1, 400)
    mean = Mean.of(np.append(values, math.nan))
    assert mean.clips == 400 and mean.value == pytest.approx(values.mean())
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 / 20, rel=0.15)
    assert math.isnan(Mean.of(np.array([math.nan])).value)


# -- contestants and the command ---------------------------------------------------------------------------------------


def test_a_contestant_is_read_from_keys_and_values():
    assert Contestant.parse(f"model={MODEL}") == Contestant(MODEL, Sampling())
    text = f"steps=12,model={MODEL},guidance=3,shift=2.5,wave=true"
    assert Contestant.parse(text) == Contestant(MODEL, Sampling(steps=12, guidance=3.0, shift=2.5, wave=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps", "'steps' is not key=value: write e.g. model="),
        ("stepz=3", "key 'stepz' is not known: use model, steps, guidance, shift, wave"),
        ("steps=3,steps=4", "key 'steps' is given twice, as '3' and '4'"),
        ("steps=3", "'steps=3' names no model: add model=FILE"),
        ("model=nowhere.safetensors", "model=nowhere.safetensors is no file: name a safetensors file"),
        (f"model={MODEL},steps=0", "steps=0 is not allowed: use a whole number from 1 to 1000"),
        (f"model={MODEL},steps=2.5", "steps=2.5 is not allowed"),
        (f"model={MODEL},guidance=nan", "guidance=nan is not allowed: use a number above 0, up to 100"),
        (f"model={MODEL},shift=0", "shift=0 is not allowed"),
        (f"model={MODEL},wave=yes", "wave=yes is not allowed: use true or false"),
    ],
)
def test_what_a_contestant_must_not_be_is_named(text, message, capsys):
    with pytest.raises(SystemExit):
        command.parse(["--a", f"model={MODEL}", "--b", text])
    assert f"--b: {message}" in capsys.readouterr().err


def test_the_number_of_prompts_is_checked_before_anything_is_sampled(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--a", f"model={MODEL}", "--prompts", "1"])
    assert f"--prompts 1 is not among 2 to {MOST}" in capsys.readouterr().err


@pytest.fixture
def short(monkeypatch):
    """Two categories of four prompts: one from words alone, one that goes on from a frame."""
    monkeypatch.setattr(prompt_sets, "CATEGORIES", (CATEGORIES[1], CATEGORIES[6]))
    monkeypatch.setattr(prompt_sets, "PER_CATEGORY", 4)


def test_two_contestants_are_rated_and_a_rerun_gives_the_same(short, tmp_path, capsys):
    arguments = ["--a", f"model={MODEL},steps=3", "--b", f"model={MODEL},steps=1", "--prompts", "4"]
    outcome = command.run(command.parse([*arguments, "--out", str(tmp_path / "one")]))
    command.run(command.parse([*arguments, "--out", str(tmp_path / "two")]))
    capsys.readouterr()
    names = ("vabench.json", "vabench.md", "vabench.png", "clips.png")
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    table = json.loads((tmp_path / "one" / "vabench.json").read_text(encoding="utf-8"))
    assert table["settings"]["A"]["steps"] == 3 and table["settings"]["B"]["steps"] == 1
    assert set(table["absolute"]) == {"A", "B", "real", "chance"} and len(table["clips"]) == 4
    assert all(sum(row[key] for key in ("good", "same", "bad")) == 4 for row in table["pairwise"].values())
    assert {type(clip["A"]["visual"]["rating"]) for clip in table["clips"]} == {int}
    text = (tmp_path / "one" / "vabench.md").read_text(encoding="utf-8")
    assert "Good, same, bad" in text and all(title in text for title in DIMENSIONS.values())
    assert Image.open(tmp_path / "one" / "clips.png").width > 1000
    # What one step leaves undone is seen.
    assert outcome.ratings("A")[OVERALL].value > outcome.ratings("B")[OVERALL].value


def test_one_contestant_gets_ratings_alone(short, tmp_path, capsys):
    command.run(command.parse(["--a", f"model={MODEL},steps=1", "--prompts", "2", "--out", str(tmp_path)]))
    table = json.loads((tmp_path / "vabench.json").read_text(encoding="utf-8"))
    assert set(table["absolute"]) == {"A", "real", "chance"} and table["pairwise"] == {}
    assert "Good, same, bad" not in capsys.readouterr().out
