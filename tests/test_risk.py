"""What a move is called, and the anchor that would have held the rows."""

import pytest

from lep_core.risk import LARGE_MOVE, MANY_READINGS, after_training, large_moves, move_warning, reading_warning, suggested_anchor


def move(matrix, relative, rows="shared", rms=0.1):
    return {"matrix": matrix, "rows": rows, "relative": relative, "start_rms": rms}


def test_only_moves_of_shared_rows_beyond_their_limit_are_large():
    limit = LARGE_MOVE["output"]
    moves = [move("output", limit + 0.01), move("output", 9.0, rows="new"), move("output", 9.0, rows="all")]
    moves += [move("input", LARGE_MOVE["input"]), move("input", None)]
    (large,) = large_moves(moves)
    assert (large.place, large.limit) == ("head", limit)
    assert "by 151% of their length, more than 150%" in move_warning(large)


def test_rows_that_are_twice_as_large_bear_half_the_anchor():
    small, large = (suggested_anchor([move("input", 1.0, rms=9.0), move("output", 1.0, rms=size)]) for size in (0.01, 0.02))
    assert small == pytest.approx(2 * large)
    assert suggested_anchor([move("input", 1.0, rms=0.2)]) == 1.0
    assert suggested_anchor([move("input", 1.0, rms=0.0)]) is None
    assert "--anchor 20" in after_training(small)


def test_only_much_repetition_is_warned_of():
    assert reading_warning(MANY_READINGS) is None
    assert "read 122 times" in reading_warning(122.2)
