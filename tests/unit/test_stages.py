"""The curriculum is a readable table that adds up."""

import pytest

from training.conditions import KINDS
from training.objective import AROUND_EDIT, GIVEN
from training.stages import EDIT_GIVEN, KEYFRAME_FRAMES, LAYOUTS, ROWS, STAGES, WORLDS_TOGETHER, rows_of
from training.worlds import WORLDS


def test_stages_follow_each_other_to_the_end():
    ends = [stage.until for stage in STAGES]
    assert ends == sorted(set(ends)) and 0 < ends[0] and ends[-1] == 1
    assert len({stage.name for stage in STAGES}) == len(STAGES)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_shares_of_a_stage_sum_to_1_and_are_of_what_there_is(stage):
    for shares, known in ((stage.lengths, ROWS), (stage.kinds, KINDS)):
        assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0
        assert set(shares) <= set(known)
    assert 0 <= stage.isolated <= 1


def test_every_length_and_kind_has_its_stage():
    assert {length for stage in STAGES for length in stage.lengths} == set(ROWS)
    assert {kind for stage in STAGES for kind in stage.kinds} == set(KINDS)
    first = {kind: min(i for i, stage in enumerate(STAGES) if kind in stage.kinds) for kind in KINDS}
    assert max(first, key=first.get) == "keyframes" and first["keyframes"] == len(STAGES) - 1, "they come last"
    assert STAGES[first["worlds"]].name == "worlds" and set(STAGES[-1].kinds) == set(KINDS), "and nothing is forgotten"


def test_long_clips_come_in_smaller_batches():
    clips = [ROWS[length] for length in sorted(ROWS) if length]
    assert clips == sorted(clips, reverse=True) and min(ROWS.values()) >= WORLDS_TOGETHER


def test_batches_with_keyframes_have_fewer_rows():
    for length in {length for stage in STAGES if "keyframes" in stage.kinds for length in stage.lengths if length > 1}:
        rows = rows_of(length, "keyframes")
        assert 0 < rows < ROWS[length] == rows_of(length, "nothing") == rows_of(length, "worlds")
        frames, plain = rows * (length + KEYFRAME_FRAMES), ROWS[length] * length
        assert plain - length - KEYFRAME_FRAMES < frames <= plain, "no more latent frames, and no row fewer than needed"


def test_layouts_and_masks_of_the_worlds():
    assert sum(LAYOUTS.values()) == pytest.approx(1)
    assert set(LAYOUTS) == {world.layout for world in WORLDS.values()}
    assert sum(EDIT_GIVEN.values()) == pytest.approx(1) and set(EDIT_GIVEN) <= {*GIVEN, AROUND_EDIT}
