"""Which pairs of peaks are limbs: how well they run along their field, and which of them exclude each other.

All pairs of all limbs are looked at together, in NumPy, as complex numbers x + iy. Positions are in cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from poseplug.grouping.peaks import Peaks
from poseplug.grouping.presets import Rules
from poseplug.skeleton import Skeleton

Limb = tuple[int, int, float]  # its two peaks and its score
HALF = np.complex64(0.5 + 0.5j)  # what rounds to the nearest cell when it is cut
SCREENS = (2, 3, 7)  # samples at which most pairs that are no limb are seen not to be one
TINY = np.float32(1e-6)  # cells, instead of no length


@dataclass(frozen=True)
class Pairs:
    """M pairs of peaks, of the limbs `limb` (M,), from `start` to `end` (M,; places of peaks), sorted by limb."""

    limb: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __getitem__(self, which: Any) -> Pairs:
        return Pairs(self.limb[which], self.start[which], self.end[which])

    def __len__(self) -> int:
        return len(self.limb)


def every_pair(peaks: Peaks, skeleton: Skeleton) -> Pairs:
    """Each peak of a limb's first joint with each of its second, limb by limb."""
    first = np.searchsorted(peaks.channels, np.arange(len(skeleton) + 1))
    starts, ends = skeleton.limb_indices.T
    counts = np.diff(first)
    rows = counts[starts]  # one row a peak of the first joint, as many columns as peaks of the second
    limb = np.repeat(np.arange(len(rows)), rows)
    start = np.arange(rows.sum()) + np.repeat(first[starts] - (np.cumsum(rows) - rows), rows)
    columns = counts[ends][limb]
    before = first[ends][limb] - (np.cumsum(columns) - columns)
    end = np.arange(columns.sum()) + np.repeat(before, columns)
    return Pairs(np.repeat(limb, columns), np.repeat(start, columns), end)


def limbs_of(pairs: Pairs, cells: np.ndarray, paf: np.ndarray, rules: Rules, stride: float) -> tuple[Pairs, np.ndarray]:
    """The pairs that are limbs, and their scores (M,): how well they run along the field.

    Most pairs fail at a few samples already, where more may not fail; only those left over are looked at in full.
    """
    height, width = paf.shape[-2:]
    lines = Lines.of(pairs, cells, paf, stride, rules)
    near = rules.short * math.sqrt(width * height)
    for some in SCREENS:
        left = np.flatnonzero(lines.may_pass(some, rules) | (lines.lengths < near))
        lines, pairs = lines[left], pairs[left]
    scores, passed = lines.integrals(rules.along)
    sound = passed >= lines.needed(rules)
    scores = np.where(sound, scores, rules.along + 1e-6)
    if rules.prior:
        scores += np.minimum(0.5 * height / np.maximum(lines.lengths, TINY) - 1, 0)
    real = (sound | (lines.lengths < near)) & (scores > 0)
    return pairs[real], scores[real]


def samples_of(way: np.ndarray, stride: float, rules: Rules) -> np.ndarray:
    """(M,) at how many places each pair is sampled."""
    if rules.samples != 'length':
        return np.full(len(way), rules.samples, np.float32)
    longer = np.maximum(np.abs(way.real), np.abs(way.imag)) * np.float32(stride)
    return np.clip(np.rint(np.sqrt(5 * longer)), 5, 25)


@dataclass(frozen=True)
class Lines:
    """M lines on fields of `width` cells: complex numbers x + iy for their `start` and `way` (M,), and for the `field`.

    `first` (M,) is where in it each line's own begins; `lengths` (M,) are in cells, `counts` (M,) of samples.
    """

    field: np.ndarray
    width: int
    first: np.ndarray
    start: np.ndarray
    way: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs, cells: np.ndarray, paf: np.ndarray, stride: float, rules: Rules) -> Lines:
        """Between peaks (P, 2) in cells on fields (2 L, H, W); a peak beyond the last cells is brought back to them."""
        height, width = paf.shape[-2:]
        field = np.empty((len(paf) // 2, height, width), np.complex64)
        field.real, field.imag = paf[::2], paf[1::2]
        inside = np.clip(cells, 0, np.array([width - 1, height - 1], np.float32))
        points = np.ascontiguousarray(inside, np.float32).view(np.complex64)[:, 0]
        start = points[pairs.start]
        way = points[pairs.end] - start
        counts = samples_of(way, stride, rules)
        return cls(field.ravel(), width, pairs.limb * (height * width), start, way, np.abs(way), counts)

    def __getitem__(self, which: np.ndarray) -> Lines:
        names = ('first', 'start', 'way', 'lengths', 'counts')
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def needed(self, rules: Rules) -> np.ndarray:
        """(M,) how many samples must exceed the threshold: more than the ratio."""
        return np.floor(rules.ratio * self.counts + 1e-6) + 1

    def may_pass(self, some: int, rules: Rules) -> np.ndarray:
        """(M,) which lines have not yet failed, or have too few samples, at some of them evenly along the way."""
        allowed = self.counts - self.needed(rules)
        allowed[self.counts < some + 2] = some
        if (allowed >= some).all():
            return np.ones(len(allowed), dtype=bool)
        shares = np.arange(1, some + 1, dtype=np.float32) / np.float32(some + 1)
        steps = np.rint(np.multiply.outer(shares, self.counts - 1)) / (self.counts - 1)
        return (self.along(steps) <= rules.along * self.lengths).sum(axis=0) <= allowed

    def integrals(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """The mean (M,) of those samples of each line that exceed the threshold, and (M,) how many do."""
        steps = np.arange(self.counts.max(initial=2), dtype=np.float32)[:, None]
        values = self.along(np.minimum(steps / (self.counts - 1), 1)) / np.maximum(self.lengths, TINY)
        above = (values > threshold) & (steps < self.counts)
        passed = above.sum(axis=0)
        return (values * above).sum(axis=0) / np.maximum(passed, 1), passed

    def along(self, shares: np.ndarray) -> np.ndarray:
        """The field at the nearest cell, along each line and times its length: at shares (S, M) of it, (S, M)."""
        points = self.start + shares * self.way + HALF
        places = points.imag.astype(np.int32) * self.width + points.real.astype(np.int32) + self.first
        values = self.field.take(places)
        return values.real * self.way.real + values.imag * self.way.imag


def matched(pairs: Pairs, scores: np.ndarray, limbs: int, how: str) -> list[list[Limb]]:
    """For each limb the pairs that are chosen, so that no peak is in two of them; best first."""
    chosen: list[list[Limb]] = [[] for _ in range(limbs)]
    order = np.lexsort((-scores, pairs.limb))
    if how == 'hungarian':
        order = order[np.isin(order, optimal(pairs, scores))]
    taken: set[tuple[int, int, int]] = set()
    columns = (pairs.limb[order].tolist(), pairs.start[order].tolist(), pairs.end[order].tolist())
    for limb, start, end, score in zip(*columns, scores[order].tolist(), strict=True):
        ends = ((limb, 0, start), (limb, 1, end))
        if taken.isdisjoint(ends):
            taken.update(ends)
            chosen[limb].append((start, end, score))
    return chosen


def optimal(pairs: Pairs, scores: np.ndarray) -> np.ndarray:
    """The places of the pairs whose scores have the largest sum, limb by limb."""
    from scipy.optimize import linear_sum_assignment  # half as long to import as torch, and greedy needs none

    places = []
    for limb in np.unique(pairs.limb):
        own = np.flatnonzero(pairs.limb == limb)
        starts, rows = np.unique(pairs.start[own], return_inverse=True)
        ends, columns = np.unique(pairs.end[own], return_inverse=True)
        table, place = np.zeros((len(starts), len(ends))), np.full((len(starts), len(ends)), -1)
        table[rows, columns], place[rows, columns] = scores[own], own
        places.append(place[linear_sum_assignment(table, maximize=True)])
    return np.concatenate([np.zeros(0, int), *places])
