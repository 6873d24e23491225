from __future__ import annotations

from itertools import pairwise

import pytest

from lep_core.training.schedule import learning_rate_at


def rates(schedule: str, *, steps: int = 100, warmup_steps: int = 100) -> list[float]:
    return [learning_rate_at(step, peak=1.0, steps=steps, warmup_steps=warmup_steps, schedule=schedule) for step in range(1, steps + 1)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_over_at_most_a_tenth_of_the_steps(schedule):
    assert rates(schedule)[:11] == pytest.approx([*(k / 10 for k in range(1, 11)), 1.0])
    assert rates(schedule, warmup_steps=4)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates(schedule, steps=5)[0] == 1.0


def test_cosine_and_linear_fall_towards_zero_and_constant_stays():
    for schedule in ("cosine", "linear"):
        falling = rates(schedule)[10:]
        assert all(before > after > 0 for before, after in pairwise(falling))
        assert falling[-1] < 0.02
    assert rates("cosine")[55] == pytest.approx(0.5)
    assert set(rates("constant")[10:]) == {1.0}
