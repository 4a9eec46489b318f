"""The curriculum is a readable table that adds up."""

import pytest

from training.conditions import KINDS
from training.objective import AROUND_EDIT, GIVEN
from training.stages import EDIT_GIVEN, LAYOUTS, ROWS, STAGES, WORLDS_TOGETHER
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
    assert "worlds" not in {kind for stage in STAGES[:-1] for kind in stage.kinds}, "they come last"


def test_long_clips_come_in_smaller_batches():
    clips = [ROWS[length] for length in sorted(ROWS) if length]
    assert clips == sorted(clips, reverse=True) and min(ROWS.values()) >= WORLDS_TOGETHER


def test_layouts_and_masks_of_the_worlds():
    assert sum(LAYOUTS.values()) == pytest.approx(1)
    assert set(LAYOUTS) == {world.layout for world in WORLDS.values()}
    assert sum(EDIT_GIVEN.values()) == pytest.approx(1) and set(EDIT_GIVEN) <= {*GIVEN, AROUND_EDIT}
