"""The order of samples is a function of seed and epoch, and a run can resume at any step."""

import math
from itertools import islice

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.sample import SampleKey
from poseplug.data.samplers import EpochBatchSampler, MultiSourceBatchSampler, SequentialBatchSampler


def take_batches(count, *args, **kwargs) -> list[list[SampleKey]]:
    return list(islice(EpochBatchSampler(*args, **kwargs), count))


@pytest.mark.parametrize(('num_samples', 'batch_size'), [(10, 4), (7, 7), (3, 5), (1, 1)])
def test_every_epoch_has_every_sample_once(num_samples, batch_size):
    keys = [key for batch in take_batches(4 * num_samples, num_samples, batch_size, seed=1) for key in batch]
    for epoch in range(3):
        assert sorted(key.sample_index for key in keys if key.epoch == epoch) == list(range(num_samples))
    assert all(len(batch) == batch_size for batch in take_batches(5, num_samples, batch_size))


def test_epochs_follow_each_other_in_different_orders():
    keys = [key for batch in take_batches(10, 20, 4, seed=1) for key in batch]
    assert [key.epoch for key in keys] == [0] * 20 + [1] * 20
    assert keys[:20] != [SampleKey(0, key.sample_index) for key in keys[20:]]
    assert keys != [key for batch in take_batches(10, 20, 4, seed=2) for key in batch]


def shuffle(num_samples: int, *key: int) -> list[int]:
    return np.random.Generator(np.random.Philox(key=key)).permutation(num_samples).tolist()


def test_the_order_of_an_epoch_is_the_permutation_that_seed_and_epoch_are_the_key_of():
    keys = [key for batch in take_batches(10, 20, 4, seed=7) for key in batch]
    assert [key.sample_index for key in keys] == shuffle(20, 7, 0) + shuffle(20, 7, 1)


@pytest.mark.parametrize('start_step', [1, 2, 3, 5, 13])
def test_starting_at_a_step_is_skipping_the_steps_before(start_step):
    resumed = take_batches(8, 10, 4, seed=3, start_step=start_step)
    assert resumed == take_batches(8 + start_step, 10, 4, seed=3)[start_step:]


@pytest.mark.parametrize('world_size', [2, 3])
def test_the_ranks_divide_a_batch_without_overlap(world_size):
    """Together they take, step by step, what one rank with the whole batch takes."""
    ranks = [take_batches(6, 11, 2, seed=4, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step, whole_batch in enumerate(take_batches(6, 11, 2 * world_size, seed=4)):
        parts = [ranks[rank][step] for rank in range(world_size)]
        assert sorted(key for part in parts for key in part) == sorted(whole_batch)


def test_its_length_is_the_steps_of_one_epoch():
    assert len(EpochBatchSampler(10, 4)) == 3
    assert len(EpochBatchSampler(10, 2, world_size=5)) == 1


@pytest.mark.parametrize('name', ['num_samples', 'batch_size', 'world_size'])
def test_counts_below_one_are_refused_by_name(name):
    with pytest.raises(ConfigError, match=f'^EpochBatchSampler: {name} is a whole number from 1 on; got 0'):
        EpochBatchSampler(**{'num_samples': 4, 'batch_size': 2, name: 0})


def test_sequential_batches_are_the_data_in_order_once():
    batches = [[key[:2] for key in batch] for batch in SequentialBatchSampler(5, 2)]
    assert batches == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)]]
    assert len(SequentialBatchSampler(5, 2)) == 3


SOURCES = ['lsp'] * 5 + ['coco'] * 40 + ['rest'] * 3


def take_mixed_batches(count, **kwargs) -> list[list[SampleKey]]:
    settings = dict(batch_size=10, source_ratios=dict(lsp=0.5, coco=0.25, rest=0.25), seed=1)
    return list(islice(MultiSourceBatchSampler(SOURCES, **{**settings, **kwargs}), count))


def test_every_batch_contains_the_sources_in_their_ratio():
    for batch in take_mixed_batches(20):
        names = [SOURCES[key.sample_index] for key in batch]
        assert len(batch) == 10
        assert names.count('lsp') == 5
        assert {names.count('coco'), names.count('rest')} <= {2, 3}
    all_names = [SOURCES[key.sample_index] for batch in take_mixed_batches(20) for key in batch]
    assert [all_names.count(name) for name in ('lsp', 'coco', 'rest')] == [100, 50, 50]


@pytest.mark.parametrize('sampler', [
    EpochBatchSampler(48, batch_size=10),
    MultiSourceBatchSampler(SOURCES, batch_size=10, source_ratios=dict(lsp=0.5, coco=0.25, rest=0.25)),
])  # fmt: skip
def test_samples_have_the_position_of_their_batch_in_the_run(sampler):
    """An epoch has 5 batches, in which the 5 samples of the first source are used 5 times."""
    assert {key.run_position for key in next(iter(sampler))} == {(0, None)}
    sampler.num_run_batches, sampler.start_step = 40, 3  # as the training loop does
    batches = list(islice(sampler, 3))
    positions = [(0, 3 / 40), (0, 4 / 40), (1, 5 / 40)]
    assert [{key.run_position for key in batch} for batch in batches] == [{position} for position in positions]


@pytest.mark.parametrize(('batch_size', 'num_lsp'), [(5, [4, 4, 3, 4]), (6, [4, 5, 5, 4]), (7, [5, 5, 6, 5])])
def test_the_samples_of_a_source_so_far_are_the_nearest_whole_number(batch_size, num_lsp):
    """Three quarters of 5, 10, 15 and 20 samples are 3.75, 7.5, 11.25 and 15; a half is rounded to the even number."""
    batches = take_mixed_batches(4, batch_size=batch_size, source_ratios=dict(lsp=0.75, coco=0.25))
    counts = [sum(SOURCES[key.sample_index] == 'lsp' for key in batch) for batch in batches]
    assert counts == num_lsp


@pytest.mark.parametrize('ratios', [dict(lsp=1, coco=1, rest=1), dict(lsp=0.01, coco=0.98, rest=0.01), dict(lsp=2)])
def test_every_sample_of_a_source_is_used_before_one_comes_again(ratios):
    keys = [key for batch in take_mixed_batches(60, source_ratios=ratios, batch_size=3) for key in batch]
    for name in ratios:
        of_source = [key for key in keys if SOURCES[key.sample_index] == name]
        assert of_source == sorted(of_source, key=lambda key: key.epoch)
        for epoch in range(of_source[-1].epoch):
            samples = sorted(key.sample_index for key in of_source if key.epoch == epoch)
            assert samples == [i for i, n in enumerate(SOURCES) if n == name]
    assert {SOURCES[key.sample_index] for key in keys} <= set(ratios)


def test_the_order_of_a_source_is_the_permutation_that_seed_epoch_and_source_are_the_key_of():
    sources = ['a'] * 6 + ['b'] * 6
    sampler = MultiSourceBatchSampler(sources, 12, dict(a=1, b=1), seed=7)
    for epoch, batch in enumerate(islice(sampler, 3)):
        order = [key.sample_index for key in batch]
        assert order[:6] == shuffle(6, 7, 65536 * epoch)
        assert order[6:] == [6 + index for index in shuffle(6, 7, 65536 * epoch + 1)]


def test_the_length_of_a_mixture_is_the_steps_that_draw_as_many_samples_as_its_sources_have():
    ratios = dict(lsp=0.5, coco=0.5)
    assert len(MultiSourceBatchSampler(SOURCES, 10, ratios)) == 5
    assert len(MultiSourceBatchSampler(SOURCES, 10, ratios, world_size=2)) == 3


@pytest.mark.parametrize('start_step', [1, 4, 13])
def test_a_resumed_mixture_continues_where_it_was(start_step):
    assert take_mixed_batches(5, start_step=start_step) == take_mixed_batches(start_step + 5)[start_step:]


def test_ranks_divide_a_mixed_batch():
    whole = take_mixed_batches(4, batch_size=10)
    parts = [take_mixed_batches(4, batch_size=5, rank=rank, world_size=2) for rank in (0, 1)]
    for step in range(4):
        assert sorted(whole[step]) == sorted(parts[0][step] + parts[1][step])


@pytest.mark.parametrize('ratios', [dict(lspp=1.0), {}, dict(lsp=0.0, coco=1.0), dict(lsp=math.inf)])
def test_impossible_ratios_are_an_error_that_names_the_sources_of_the_data(ratios):
    with pytest.raises(ConfigError, match='source_ratios are positive .* the data has coco, lsp, rest; got'):
        MultiSourceBatchSampler(SOURCES, 4, ratios)


def test_a_mixture_of_empty_batches_is_refused():
    with pytest.raises(ConfigError, match='^MultiSourceBatchSampler: batch_size is a whole number from 1 on; got 0'):
        MultiSourceBatchSampler(SOURCES, 0, dict(lsp=1.0))
