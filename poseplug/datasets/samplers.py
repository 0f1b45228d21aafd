"""The order of samples as a function of (seed, epoch): where a run is, is one number, so it can go on exactly there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from poseplug.sample import Draw


class EpochBatches:
    """Batches of `Draw` without end, from step `start` on: every epoch is a new shuffle of all samples.

    The last, incomplete batch of an epoch is filled from the next epoch, so that every batch is full and none is lost.
    Rank r of `world` takes every `world`-th sample of a batch.
    """

    def __init__(self, length: int, batch_size: int, seed: int = 0, start: int = 0, rank: int = 0, world: int = 1):
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.start, self.rank, self.world = start, rank, world

    def __len__(self) -> int:
        """Steps that one pass over the data takes, rounded up."""
        return -(-self.length // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        total = self.batch_size * self.world
        step = self.start
        epoch, order = -1, np.empty(0, dtype=int)
        while True:
            batch = []
            for position in range(step * total + self.rank, (step + 1) * total, self.world):
                if position // self.length != epoch:
                    epoch = position // self.length
                    order = np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.length)
                batch.append(Draw(epoch, int(order[position % self.length])))
            yield batch
            step += 1


class OrderedBatches:
    """Batches of `Draw` in the order of the data, once, the last one as long as it is: for testing."""

    def __init__(self, length: int, batch_size: int):
        self.length, self.batch_size = length, batch_size

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for first in range(0, self.length, self.batch_size):
            yield [Draw(0, i) for i in range(first, min(first + self.batch_size, self.length))]
