from __future__ import annotations

from collections import Counter

import pytest

from lep_core.training.order import DataOrder


def test_a_pass_reads_every_block_once_and_each_pass_has_its_own_order():
    order = DataOrder(seed=1, batch_size=4, blocks=10)
    read = [int(index) for step in range(5) for index in order.batch(step).text]
    assert sorted(read[:10]) == sorted(read[10:]) == list(range(10))
    assert read[:10] != read[10:]


def test_a_batch_depends_on_the_step_alone():
    forwards = DataOrder(seed=3, batch_size=3, blocks=7, replay_blocks=5, replay_share=0.3)
    batches = [forwards.batch(step) for step in range(20)]
    for step in (19, 2, 11):
        fresh = DataOrder(seed=3, batch_size=3, blocks=7, replay_blocks=5, replay_share=0.3).batch(step)
        assert fresh.text.tolist() == batches[step].text.tolist()
        assert fresh.replay.tolist() == batches[step].replay.tolist()
    assert (
        DataOrder(seed=4, batch_size=7, blocks=7).batch(0).text.tolist() != DataOrder(seed=3, batch_size=7, blocks=7).batch(0).text.tolist()
    )


@pytest.mark.parametrize(("batch_size", "share"), [(16, 0.15), (4, 0.1), (1, 0.25), (10, 0.9)])
def test_replay_gets_its_share_whatever_the_batch_size(batch_size, share):
    order = DataOrder(seed=0, batch_size=batch_size, blocks=50, replay_blocks=20, replay_share=share)
    batches = [order.batch(step) for step in range(100)]
    assert all(len(batch.text) + len(batch.replay) == batch_size for batch in batches)
    assert sum(len(batch.replay) for batch in batches) == round(100 * batch_size * share)


@pytest.mark.parametrize("share", [0.0, 0.15, 0.9])
def test_the_steps_of_one_pass_read_everything_and_one_fewer_do_not(share):
    order = DataOrder(seed=0, batch_size=8, blocks=101, replay_blocks=9, replay_share=share)
    steps = order.steps_of_one_pass()
    read = Counter(int(index) for step in range(steps) for index in order.batch(step).text)
    assert set(read) == set(range(101))
    assert sum(len(order.batch(step).text) for step in range(steps - 1)) < 101
