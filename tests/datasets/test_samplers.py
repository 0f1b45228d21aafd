"""The order of samples: a function of seed and epoch, with a place to go on from."""

from itertools import islice

import pytest

from poseplug.datasets.samplers import EpochBatches, OrderedBatches, RatioBatches
from poseplug.errors import ConfigError
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


SOURCES = ['lsp'] * 5 + ['coco'] * 40 + ['rest'] * 3


def ratio(count, **kwargs) -> list[list[Draw]]:
    settings = dict(batch_size=10, shares=dict(lsp=0.5, coco=0.25, rest=0.25), seed=1)
    return list(islice(RatioBatches(SOURCES, **{**settings, **kwargs}), count))


def test_every_batch_holds_the_sources_by_their_shares():
    for batch in ratio(20):
        names = [SOURCES[d.sample] for d in batch]
        assert len(batch) == 10
        assert names.count('lsp') == 5
        assert {names.count('coco'), names.count('rest')} <= {2, 3}
    every = [SOURCES[d.sample] for batch in ratio(20) for d in batch]
    assert [every.count(n) for n in ('lsp', 'coco', 'rest')] == [100, 50, 50]


@pytest.mark.parametrize('shares', [dict(lsp=1, coco=1, rest=1), dict(lsp=0.01, coco=0.98, rest=0.01), dict(lsp=2)])
def test_a_source_is_gone_through_before_it_comes_again(shares):
    draws = [d for b in ratio(60, shares=shares, batch_size=3) for d in b]
    for name in shares:
        own = [d for d in draws if SOURCES[d.sample] == name]
        assert own == sorted(own, key=lambda d: d.epoch)
        for epoch in range(own[-1].epoch):
            samples = sorted(d.sample for d in own if d.epoch == epoch)
            assert samples == [i for i, n in enumerate(SOURCES) if n == name]
    assert {SOURCES[d.sample] for d in draws} <= set(shares)


@pytest.mark.parametrize('start', [1, 4, 13])
def test_a_resumed_mixture_goes_on_where_it_was(start):
    assert ratio(5, start=start) == ratio(start + 5)[start:]


def test_ranks_share_a_mixed_batch_between_them():
    whole, parts = ratio(4, batch_size=10), [ratio(4, batch_size=5, rank=r, world=2) for r in (0, 1)]
    for step in range(4):
        assert sorted(whole[step]) == sorted(parts[0][step] + parts[1][step])


@pytest.mark.parametrize('shares', [dict(lspp=1.0), {}, dict(lsp=0.0, coco=1.0)])
def test_shares_that_cannot_be_are_told_with_the_sources_that_there_are(shares):
    with pytest.raises(ConfigError, match='the data has coco, lsp, rest; got'):
        RatioBatches(SOURCES, 4, shares)
