"""The order of samples as a function of (seed, epoch): where a run is, is one number, so it can go on exactly there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from poseplug.errors import ConfigError
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


class RatioBatches:
    """Batches without end that hold the pictures of every source by its share, whatever the sources' sizes.

    `sources` names the source of every record, `shares` the parts of a batch by source (they are scaled to sum to 1);
    a source without share is left out. Each source is shuffled anew whenever it has been through. As for
    `EpochBatches`, everything follows from (seed, step), and rank r of `world` takes every `world`-th sample.
    """

    def __init__(
        self,
        sources: Sequence[str],
        batch_size: int,
        shares: Mapping[str, float],
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        names = np.array(sources)
        strange = sorted(set(shares) - set(sources))
        if strange or not shares or min(shares.values()) <= 0:
            have = ', '.join(sorted(set(sources)))
            raise ConfigError(f'shares are positive numbers by source; the data has {have}; got {dict(shares)}')
        self.places = [np.flatnonzero(names == name) for name in shares]
        self.shares = list(shares.values())
        self.batch_size, self.seed, self.start, self.rank, self.world = batch_size, seed, start, rank, world

    def __len__(self) -> int:
        """Steps that draw as many samples as all these sources hold, rounded up."""
        return -(-sum(map(len, self.places)) // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        total, step = self.batch_size * self.world, self.start
        orders: dict[int, tuple[int, np.ndarray]] = {}
        while True:
            taken, after = self._drawn(step * total), self._drawn((step + 1) * total)
            batch = [
                self._draw(source, number, orders)
                for source in range(len(self.places))
                for number in range(taken[source], after[source])
            ]
            yield batch[self.rank :: self.world]
            step += 1

    def _drawn(self, samples: int) -> list[int]:
        """How many of each source are among the first samples: one source after the other takes its part of the rest.

        Each number grows with every sample by 0 or 1, and is near its exact share.
        """
        counts = []
        for place, share in enumerate(self.shares):
            counts.append(round(samples * share / sum(self.shares[place:])))
            samples -= counts[-1]
        return counts

    def _draw(self, source: int, number: int, orders: dict[int, tuple[int, np.ndarray]]) -> Draw:
        """The number-th sample of a source; `orders` keeps the shuffle that each source is in."""
        places = self.places[source]
        epoch, position = divmod(number, len(places))
        if orders.get(source, (-1,))[0] != epoch:
            rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch << 16 | source]))
            orders[source] = epoch, rng.permutation(len(places))
        return Draw(epoch, int(places[orders[source][1][position]]))


class OrderedBatches:
    """Batches of `Draw` in the order of the data, once, the last one as long as it is: for testing."""

    def __init__(self, length: int, batch_size: int):
        self.length, self.batch_size = length, batch_size

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        for first in range(0, self.length, self.batch_size):
            yield [Draw(0, i) for i in range(first, min(first + self.batch_size, self.length))]
