"""The order of samples: a function of seed and epoch, with a place to go on from."""

from itertools import islice

import pytest

from poseplug.datasets.samplers import EpochBatches, OrderedBatches
from poseplug.sample import Draw


def take(count, *args, **kwargs) -> list[list[Draw]]:
    return list(islice(EpochBatches(*args, **kwargs), count))


@pytest.mark.parametrize(('length', 'batch'), [(10, 4), (7, 7), (3, 5), (1, 1)])
def test_every_epoch_has_every_sample_once(length, batch):
    draws = [d for b in take(4 * length, length, batch, seed=1) for d in b]
    for epoch in range(3):
        assert sorted(d.sample for d in draws if d.epoch == epoch) == list(range(length))
    assert all(len(b) == batch for b in take(5, length, batch))


def test_epochs_come_in_turn_and_in_different_orders():
    draws = [d for b in take(10, 20, 4, seed=1) for d in b]
    assert [d.epoch for d in draws] == [0] * 20 + [1] * 20
    assert draws[:20] != [Draw(0, d.sample) for d in draws[20:]]
    assert draws != [d for b in take(10, 20, 4, seed=2) for d in b]


@pytest.mark.parametrize('start', [1, 2, 5, 13])
def test_starting_at_a_step_is_skipping_the_steps_before(start):
    assert take(8, 10, 4, seed=3, start=start) == take(8 + start, 10, 4, seed=3)[start:]


@pytest.mark.parametrize('world', [2, 3])
def test_the_ranks_share_a_batch_without_overlap(world):
    """Together they take, step by step, what one rank with the whole batch takes."""
    ranks = [take(6, 11, 2, seed=4, rank=r, world=world) for r in range(world)]
    for step, whole in enumerate(take(6, 11, 2 * world, seed=4)):
        shares = [ranks[r][step] for r in range(world)]
        assert sorted(d for share in shares for d in share) == sorted(whole)


def test_its_length_is_the_steps_of_one_pass():
    assert len(EpochBatches(10, 4)) == 3
    assert len(EpochBatches(10, 2, world=5)) == 1


def test_ordered_batches_are_the_data_in_order_once():
    assert list(OrderedBatches(5, 2)) == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert len(OrderedBatches(5, 2)) == 3
