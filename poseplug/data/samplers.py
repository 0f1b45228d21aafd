"""Batch samplers whose order is a function of (seed, epoch), so that a run can resume at any step exactly."""

from __future__ import annotations

__all__ = ['EpochBatchSampler', 'MultiSourceBatchSampler', 'SequentialBatchSampler', 'ShardBatchSampler']

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.sample import RunPosition, SampleKey
from poseplug.core.setting_checks import check_counts


def _locate_in_run(batch_index: int, epoch_length: int, num_run_batches: int | None) -> RunPosition:
    """The position of a batch in a run."""
    fraction = None if num_run_batches is None else batch_index / num_run_batches
    return RunPosition(batch_index // epoch_length, fraction)


class EpochBatchSampler:
    """Endless batches of `SampleKey`, with a new shuffle of all samples in every epoch.

    The last batch of an epoch is filled from the next epoch, so that every batch is full and no sample is left out.

    Args:
        num_samples: number of samples in the data set.
        batch_size: samples per batch of one process.
        seed: with the epoch, the key of its shuffle.
        start_step: number of batches to skip, to resume a run.
        rank: index of this process; rank r takes every `world_size`-th sample of the global batch, from the r-th on.
        world_size: number of processes.

    Attributes:
        num_run_batches: number of batches of the run, which the training loop sets; None if it is unknown.
        num_epoch_batches: number of batches of an epoch of the run, which the training loop sets: more than `len` where
            a step accumulates several batches and rounds up; None for `len`.

    Raises:
        ConfigError: the number of samples, of samples per batch or of processes is below 1.

    Example:
        >>> batches = iter(EpochBatchSampler(num_samples=3, batch_size=2))
        >>> [[key.epoch for key in next(batches)] for _ in range(3)]
        [[0, 0], [0, 1], [1, 1]]
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int = 0, start_step: int = 0, rank: int = 0, world_size: int = 1
    ):
        check_counts('EpochBatchSampler', num_samples=num_samples, batch_size=batch_size, world_size=world_size)
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.start_step, self.rank, self.world_size = start_step, rank, world_size
        self.num_run_batches: int | None = None
        self.num_epoch_batches: int | None = None

    def __len__(self) -> int:
        """Number of steps of one epoch, rounded up."""
        return -(-self.num_samples // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        global_batch_size = self.batch_size * self.world_size
        # Samples are numbered through all epochs: a number says the epoch and the position in its shuffle.
        step = self.start_step
        epoch, order = -1, np.empty(0, dtype=int)
        while True:
            batch = []
            run_position = _locate_in_run(step, self.num_epoch_batches or len(self), self.num_run_batches)
            end = (step + 1) * global_batch_size
            for position in range(step * global_batch_size + self.rank, end, self.world_size):
                # A batch may cross the end of an epoch, and then takes its last samples from the next shuffle.
                if position // self.num_samples != epoch:
                    epoch = position // self.num_samples
                    order = self._shuffle_samples(np.random.Generator(np.random.Philox(key=[self.seed, epoch])))
                batch.append(SampleKey(epoch, int(order[position % self.num_samples]), run_position))
            yield batch
            step += 1

    def _shuffle_samples(self, rng: np.random.Generator) -> np.ndarray:
        """(N,) the indices of all samples in the order of an epoch."""
        return rng.permutation(self.num_samples)


class ShardBatchSampler(EpochBatchSampler):
    """Endless batches as of `EpochBatchSampler`, in an order that reads a few shards at a time.

    In every epoch the shards are shuffled, and then the samples of each `buffer_size` successive shards among each
    other. The order is a function of (seed, epoch), so there is no buffer whose content would have to be saved.

    Args:
        shards: (N,) the shard of every sample: names, or numbers.
        batch_size: samples per batch of one process.
        buffer_size: number of shards whose samples are mixed.
        seed: with the epoch, the key of its shuffle.
        start_step: number of batches to skip, to resume a run.
        rank: index of this process, as for `EpochBatchSampler`.
        world_size: number of processes.

    Raises:
        ConfigError: a number is below 1.

    Example:
        >>> sampler = ShardBatchSampler(['a', 'a', 'b', 'b', 'c', 'c'], batch_size=2, buffer_size=1)
        >>> batch = next(iter(sampler))  # of one shard
        >>> batch[0].sample_index // 2 == batch[1].sample_index // 2
        True
    """

    def __init__(
        self,
        shards: Sequence[str] | np.ndarray,
        batch_size: int,
        buffer_size: int,
        seed: int = 0,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__(len(shards), batch_size, seed, start_step, rank, world_size)
        check_counts('ShardBatchSampler', buffer_size=buffer_size)
        numbers = _number_values(shards)
        self.samples_by_shard = np.argsort(numbers, kind='stable')
        self.shard_ends = np.cumsum(np.bincount(numbers))
        self.buffer_size = buffer_size

    def _shuffle_samples(self, rng: np.random.Generator) -> np.ndarray:
        shards = rng.permutation(len(self.shard_ends))
        windows = [shards[i : i + self.buffer_size] for i in range(0, len(shards), self.buffer_size)]
        # window by window, since sorting millions of samples by their window takes a second
        return np.concatenate([rng.permutation(self._list_samples(window)) for window in windows])

    def _list_samples(self, shards: np.ndarray) -> np.ndarray:
        """(M,) the samples of some shards."""
        starts = np.where(shards > 0, self.shard_ends[shards - 1], 0)
        ranges = zip(starts, self.shard_ends[shards], strict=True)
        return np.concatenate([self.samples_by_shard[start:end] for start, end in ranges])


def _number_values(values: Sequence[str] | np.ndarray) -> np.ndarray:
    """(N,) the numbers of values, equal for equal ones and counted in the order of their first occurrence."""
    # sorted by NumPy: a dict of Python takes seconds for millions of samples
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[inverse]


class MultiSourceBatchSampler:
    """Endless batches that contain the samples of every source in a fixed ratio, whatever the sizes of the sources.

    A source without a ratio is left out. Each source gets a new shuffle whenever all its samples have been used. As
    for `EpochBatchSampler`, everything follows from (seed, step).

    Args:
        sources: name of the source of every sample.
        batch_size: samples per batch of one process.
        source_ratios: positive fraction of a batch by name of the source; they are scaled to sum to 1.
        seed: with the epoch of a source, the key of its shuffle.
        start_step: number of batches to skip, to resume a run.
        rank: index of this process; rank r takes every `world_size`-th sample of the global batch, from the r-th on.
        world_size: number of processes.

    Attributes:
        num_run_batches: number of batches of the run, which the training loop sets; None if it is unknown.
        num_epoch_batches: number of batches of an epoch of the run, which the training loop sets: more than `len` where
            a step accumulates several batches and rounds up; None for `len`.

    Raises:
        ConfigError: `batch_size` is below 1, or a ratio is not positive or names a source that the data does not have.

    Example:
        >>> sources = ['lsp'] * 100 + ['coco'] * 4
        >>> batch = next(iter(MultiSourceBatchSampler(sources, 4, dict(lsp=0.75, coco=0.25))))
        >>> [sources[key.sample_index] for key in batch]
        ['lsp', 'lsp', 'lsp', 'coco']
    """

    def __init__(
        self,
        sources: Sequence[str] | np.ndarray,
        batch_size: int,
        source_ratios: Mapping[str, float],
        seed: int = 0,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        names = np.array(sources)
        available = set(np.unique(names).tolist())
        unknown = sorted(set(source_ratios) - available)
        check_counts('MultiSourceBatchSampler', batch_size=batch_size)
        if unknown or not source_ratios or not all(0 < ratio < math.inf for ratio in source_ratios.values()):
            listed = ', '.join(sorted(available))
            raise ConfigError(
                f'source_ratios are positive numbers by source; the data has {listed}; got {dict(source_ratios)}'
            )
        self.indices_by_source = [np.flatnonzero(names == name) for name in source_ratios]
        self.source_ratios = list(source_ratios.values())
        self.batch_size, self.seed, self.start_step = batch_size, seed, start_step
        self.rank, self.world_size = rank, world_size
        self.num_run_batches: int | None = None
        self.num_epoch_batches: int | None = None

    def __len__(self) -> int:
        """Number of steps that draw as many samples as all these sources have, rounded up."""
        return -(-sum(map(len, self.indices_by_source)) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[SampleKey]]:
        global_batch_size, step = self.batch_size * self.world_size, self.start_step
        # Each source counts its samples by itself; a step takes those that its ratio adds to the count.
        shuffles: dict[int, tuple[int, np.ndarray]] = {}
        while True:
            first = self._count_by_source(step * global_batch_size)
            end = self._count_by_source((step + 1) * global_batch_size)
            run_position = _locate_in_run(step, self.num_epoch_batches or len(self), self.num_run_batches)
            batch = [
                self._get_sample_key(source, source_step, shuffles)._replace(run_position=run_position)
                for source in range(len(self.indices_by_source))
                for source_step in range(first[source], end[source])
            ]
            yield batch[self.rank :: self.world_size]
            step += 1

    def _count_by_source(self, num_samples: int) -> list[int]:
        """Count the samples of each source among the first `num_samples`; each source rounds its part of the rest.

        So every count grows by 0 or 1 with each sample, and stays near its exact ratio.
        """
        counts = []
        for index, ratio in enumerate(self.source_ratios):
            counts.append(round(num_samples * ratio / sum(self.source_ratios[index:])))
            num_samples -= counts[-1]
        return counts

    def _get_sample_key(self, source: int, source_step: int, shuffles: dict[int, tuple[int, np.ndarray]]) -> SampleKey:
        """Return a source's sample at a step of its own; `shuffles` keeps the epoch and the order of each source."""
        indices = self.indices_by_source[source]
        epoch, position = divmod(source_step, len(indices))
        if shuffles.get(source, (-1,))[0] != epoch:
            # 16 bits are left for the source.
            rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch << 16 | source]))
            shuffles[source] = epoch, rng.permutation(len(indices))
        return SampleKey(epoch, int(indices[shuffles[source][1][position]]))


class SequentialBatchSampler:
    """Batches of `SampleKey` in the order of the data, once, for testing; the last batch may be smaller.

    Args:
        num_samples: number of samples in the data set.
        batch_size: samples per batch.
    """

    def __init__(self, num_samples: int, batch_size: int):
        self.num_samples, self.batch_size = num_samples, batch_size

    def __len__(self) -> int:
        return -(-self.num_samples // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for first in range(0, self.num_samples, self.batch_size):
            yield [SampleKey(0, i) for i in range(first, min(first + self.batch_size, self.num_samples))]
