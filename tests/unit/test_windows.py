"""Windows: they cover everything, overlap enough, and are as few and as even as can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canvas.errors import CanvasError
from canvas.windows import windows


@pytest.mark.parametrize(
    ("length", "size", "overlap", "starts"),
    [
        (10, 4, 1, [0, 3, 6]),
        (11, 4, 1, [0, 2, 4, 7]),  # one cell more needs one window more
        (8, 4, 0, [0, 4]),
        (9, 4, 0, [0, 2, 5]),
        (5, 4, 3, [0, 1]),
        (4, 4, 3, [0]),
        (3, 4, 3, [0]),
        (1, 1, 0, [0]),
    ],
)
def test_starts(length, size, overlap, starts):
    assert windows(length, size, overlap) == starts


@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 59))
def test_windows_cover_all_and_are_few_and_even(length, size, overlap):
    overlap = min(overlap, size - 1)
    starts = windows(length, size, overlap)
    steps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    assert starts[0] == 0 and starts[-1] == max(length - size, 0)
    if steps:
        assert 1 <= min(steps) and max(steps) <= size - overlap  # so no cell is missed
        assert max(steps) - min(steps) <= 1
        assert (len(starts) - 2) * (size - overlap) + size < length  # one less would not do


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 4, 1), "0 cells"),
        ((4, 0, 0), "windows of 0"),
        ((9, 4, 4), "overlap 4 does not fit windows of 4: use 0 to 3"),
        ((9, 4, -1), "overlap -1"),
    ],
)
def test_errors(arguments, words):
    with pytest.raises(CanvasError, match=words):
        windows(*arguments)
