"""People from peaks and part affinity fields (Cao et al. 2017, arXiv:1611.08050, section 2.3).

Peaks are found on the device; the limbs between them are scored, matched and put together in NumPy, whose calls cost
least on arrays as small as these. Positions are in cells until the end.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from poseplug.errors import ConfigError, MismatchError
from poseplug.grouping.peaks import PLACES, Peaks, find_peaks
from poseplug.grouping.presets import PRESETS, Rules, get_rules
from poseplug.poses import Poses
from poseplug.skeleton import Skeleton, Step, get_skeleton

logger = logging.getLogger(__name__)
Limb = tuple[int, int, float]  # its two peaks and its score
HALF = np.complex64(0.5 + 0.5j)  # what rounds to the nearest cell when it is cut
SCREENS = ((1 / 3, 2 / 3), (1 / 6, 1 / 2, 5 / 6))  # where most pairs that are no limb are seen not to be one
TINY = np.float32(1e-6)  # cells, instead of no length


@dataclass(frozen=True)
class Parsed:
    """The people of one picture, with every number of the way there.

    `joints` (N, K) are the places of their peaks, -1 where they have none; `scores` (N,) of the people; `peaks`, and
    `counts`: pairs looked at, limbs, people put together, and of those the dropped ones by cause.
    """

    joints: np.ndarray
    scores: np.ndarray
    peaks: Peaks
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        dropped = [f'{n} {why}' for why, n in self.counts.items() if why not in STEPS and n]
        steps = ', '.join(f'{self.counts[name]} {name}' for name in STEPS)
        return f'{len(self.joints)} people: {steps}' + (f'; dropped: {", ".join(dropped)}' if dropped else '')

    def poses(self, stride: tuple[float, float] = (1.0, 1.0), offset: float = 0.0) -> Poses:
        """The people, where cell g stands at `stride` g + `offset` px. A missing joint scores 0.

        It stands amid the joints of its person, so that it says nothing and widens no box.
        """
        found = self.joints >= 0
        cells = np.concatenate([self.peaks.cells, np.zeros((1, 2), np.float32)])[self.joints]
        values = np.concatenate([self.peaks.scores, np.zeros(1, np.float32)])[self.joints]
        points = cells * np.array(stride, np.float32) + np.float32(offset)
        low = np.where(found[..., None], points, np.inf).min(axis=1)
        high = np.where(found[..., None], points, -np.inf).max(axis=1)
        amid = points.sum(axis=1, where=found[..., None]) / np.maximum(found.sum(axis=1), 1)[:, None]
        return Poses(
            keypoints=np.where(found[..., None], points, amid[:, None]).astype(np.float32),
            scores=np.clip(np.where(found, values, 0), 0, 1),
            person_scores=self.scores.astype(np.float32),
            visibility=np.where(found, 2, 0).astype(np.uint8),
            boxes=np.concatenate([low, high], axis=1).astype(np.float32),
        )


STEPS = ('peaks', 'pairs', 'limbs', 'people put together')


def parse(
    fields: Mapping[str, Any],
    skeleton: Skeleton | str,
    preset: Rules | str | Mapping[str, Any] = 'cpp',
    stride: float = 8.0,
    offset: float = 3.5,
    refine: str = 'centroid',
    kernel: int = 11,
) -> list[Poses]:
    """The people of fields that were computed anywhere: arrays or tensors, of one picture or of several.

    Args:
        fields: 'heatmap' (K or K + 1, H, W), one map a joint of the skeleton in its order, the background last, and
            'paf' (2 L, H, W), x and y of each of `skeleton.limbs` in turn; or both with a batch in front.
        skeleton: its name, such as 'coco18'.
        preset: the rules of a released parser, see `PRESETS`.
        stride, offset: cell g stands at input pixel `stride` g + `offset`.
        refine: how peaks are placed between cells: 'centroid', the released library's, or one of
            `poseplug.codecs.refine`; `kernel` is the blur of 'dark'.

    Returns:
        The people of each picture in input pixels, best first.
    """
    skeleton = get_skeleton(skeleton)
    maps = {name: torch.as_tensor(fields[name]).float() for name in ('heatmap', 'paf')}
    maps = {name: m[None] if m.ndim == 3 else m for name, m in maps.items()}
    check_fields(maps, skeleton)
    if refine not in PLACES:
        raise ConfigError(f'peaks are placed by one of {PLACES}; got {refine!r}')
    joints, rules = maps['heatmap'][:, : len(skeleton)], get_rules(preset)
    found = parse_maps(joints, maps['paf'], skeleton, rules, stride, refine, kernel)
    return [parsed.poses((stride, stride), offset) for parsed in found]


def check_fields(maps: Mapping[str, Tensor], skeleton: Skeleton) -> None:
    """Fields (B, C, H, W) have the channels of the skeleton, and one grid."""
    joints, limbs = len(skeleton), len(skeleton.limbs)
    heat, paf = maps['heatmap'].shape, maps['paf'].shape
    if heat[1] not in (joints, joints + 1) or paf[1] != 2 * limbs or heat[2:] != paf[2:] or heat[0] != paf[0]:
        raise MismatchError(
            f'fields of {skeleton.name!r} are a heatmap of {joints} channels (or {joints + 1}, with background) and a '
            f'paf of {2 * limbs}, both of one size; these are {tuple(heat)} and {tuple(paf)}'
        )


def parse_maps(
    maps: Tensor,
    paf: Tensor,
    skeleton: Skeleton,
    rules: Rules,
    stride: float,
    how: str = 'none',
    kernel: int = 11,
    raw: Tensor | None = None,
) -> list[Parsed]:
    """The people of every picture: maps (B, K, H, W) and fields (B, 2 L, H, W), float32, by the rules and the next.

    The rules `again` have their try where nobody was found; why, is in the log.
    """
    peaks = find_peaks(maps, rules.peak, rules.most, how, kernel, rules.apart / stride, raw)
    vectors = paf.cpu().numpy()
    found = [
        assemble(peaks.of_picture(i, len(skeleton)), vectors[i], skeleton, rules, stride) for i in range(len(maps))
    ]
    lost = [i for i, parsed in enumerate(found) if not len(parsed.joints)]
    for i in lost:
        logger.info('picture %d: %s', i, found[i])
    if lost and rules.again:
        rest = None if raw is None else raw[lost]
        more = parse_maps(maps[lost], paf[lost], skeleton, PRESETS[rules.again], stride, how, kernel, rest)
        found = [more[lost.index(i)] if i in lost else parsed for i, parsed in enumerate(found)]
    return found


def assemble(peaks: Peaks, paf: np.ndarray, skeleton: Skeleton, rules: Rules, stride: float = 8.0) -> Parsed:
    """The people of one picture: its peaks, sorted by joint, and fields (2 L, H, W) to who has which of them."""
    pairs = every_pair(peaks, skeleton)
    limbs, scores = limbs_of(pairs, peaks.cells, paf, rules, stride)
    chosen = matched(limbs, scores, len(skeleton.limbs), rules.match)
    people = Assembly(skeleton, peaks, rules)
    for step in skeleton.assembly:
        people.add(step, oriented(chosen[step.limb], step, skeleton))
    if rules.lone == 'every' or not skeleton.limbs:
        people.alone(range(len(skeleton)))
    if rules.gather:
        people.gather(peaks.cells, rules.gather)
    counts = Counter({'peaks': len(peaks), 'pairs': len(pairs), 'limbs': sum(map(len, chosen))})
    joints, sums = people.table()
    counts['people put together'] = len(joints)
    kept = surviving(joints, sums, skeleton, rules, counts)
    scores = np.clip(sums[kept] / (len(skeleton) + len(skeleton.limbs)), 0, 1)
    order = np.argsort(-scores, kind='stable')
    return Parsed(joints[kept][order], scores[order], peaks, counts)


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

    Most pairs fail at two samples already, where more may not fail; only those left over are looked at in full.
    """
    height, width = paf.shape[-2:]
    lines = Lines.of(pairs, cells, paf, stride, rules)
    near = rules.short * math.sqrt(width * height)
    for shares in SCREENS:
        left = np.flatnonzero(lines.may_pass(shares, rules) | (lines.lengths < near))
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

    def may_pass(self, shares: tuple[float, ...], rules: Rules) -> np.ndarray:
        """(M,) which lines have not yet failed at their samples nearest to some shares of the way."""
        steps = np.rint(np.multiply.outer(np.array(shares, np.float32), self.counts - 1))
        failed = (self.along(steps / (self.counts - 1)) <= rules.along * self.lengths).sum(axis=0)
        return failed <= self.counts - self.needed(rules)

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
    places = []
    for limb in np.unique(pairs.limb):
        own = np.flatnonzero(pairs.limb == limb)
        starts, rows = np.unique(pairs.start[own], return_inverse=True)
        ends, columns = np.unique(pairs.end[own], return_inverse=True)
        table, place = np.zeros((len(starts), len(ends))), np.full((len(starts), len(ends)), -1)
        table[rows, columns], place[rows, columns] = scores[own], own
        places.append(place[linear_sum_assignment(table, maximize=True)])
    return np.concatenate([np.zeros(0, int), *places])


class Assembly:
    """People as they grow, limb by limb: the peaks of their joints, and the sum of the scores of peaks and limbs."""

    def __init__(self, skeleton: Skeleton, peaks: Peaks, rules: Rules):
        self.joints, self.rules = len(skeleton), rules
        first = np.searchsorted(peaks.channels, np.arange(self.joints + 1)).tolist()
        self.of_joint = [range(a, b) for a, b in zip(first[:-1], first[1:], strict=True)]
        self.values = peaks.scores.tolist()
        self.owner = [-1] * len(peaks)
        self.people: list[list[int]] = []
        self.sums: list[float] = []

    def add(self, step: Step, limbs: list[Limb]) -> None:
        """Everybody's limb of one kind, chosen best first."""
        if (
            self.rules.lone == 'absent'
            and not step.redundant
            and not (self.of_joint[step.start] and self.of_joint[step.end])
        ):
            self.alone((step.start, step.end))
        for start, end, score in limbs:
            one, other = self.owner[start], self.owner[end]
            if self.rules.join == 'start':
                self.from_start(step, start, end, score, one, other)
            else:
                self.from_either(step, start, end, score, one, other)

    def from_start(self, step: Step, start: int, end: int, score: float, one: int, other: int) -> None:
        """A limb joins who has its start; a redundant one fills one missing end of somebody, and adds no score."""
        if not step.redundant:
            if one < 0:
                self.found(step, start, end, score)
            else:
                self.attach(one, step.end, end, score)
        elif one >= 0 and other < 0:
            self.attach(one, step.end, end, None)
        elif other >= 0 and one < 0:
            self.attach(other, step.start, start, None)

    def from_either(self, step: Step, start: int, end: int, score: float, one: int, other: int) -> None:
        """A limb joins who has one of its ends, and joins those who have one each and no joint in common."""
        if one >= 0 and one == other:
            self.sums[one] += score
        elif one >= 0 and other >= 0:
            self.merge(one, other, score)
        elif one >= 0:
            self.attach(one, step.end, end, score)
        elif other >= 0:
            self.attach(other, step.start, start, score)
        elif not step.redundant:
            self.found(step, start, end, score)

    def found(self, step: Step, start: int, end: int, score: float) -> None:
        """A new person of two joints."""
        joints = [-1] * self.joints
        joints[step.start], joints[step.end] = start, end
        self._new(joints, self.values[start] + self.values[end] + score)

    def _new(self, joints: list[int], total: float) -> None:
        for peak in joints:
            if peak >= 0 and self.owner[peak] < 0:
                self.owner[peak] = len(self.people)
        self.people.append(joints)
        self.sums.append(total)

    def alone(self, joints: Iterable[int]) -> None:
        """The peaks of these joints that belong to nobody found people of one joint."""
        for joint in joints:
            for peak in self.of_joint[joint]:
                if self.owner[peak] < 0:
                    self._new([peak if k == joint else -1 for k in range(self.joints)], self.values[peak])

    def attach(self, person: int, joint: int, peak: int, score: float | None) -> None:
        """One more joint for somebody who lacks it; without a score nothing is added to theirs."""
        if self.people[person][joint] >= 0:
            return
        self.people[person][joint] = peak
        if self.owner[peak] < 0:
            self.owner[peak] = person
        if score is not None:
            self.sums[person] += self.values[peak] + score

    def merge(self, one: int, other: int, score: float) -> bool:
        """Two people become the first of them, if they have no joint in common; whether they did."""
        both = zip(self.people[one], self.people[other], strict=True)
        if any(a >= 0 and b >= 0 for a, b in both):
            return False
        for joint, peak in enumerate(self.people[other]):
            if peak >= 0:
                self.people[one][joint] = peak
                self.owner[peak] = one
        self.sums[one] += self.sums[other] + score
        self.people[other], self.sums[other] = [], 0.0
        return True

    def gather(self, cells: np.ndarray, limit: float) -> None:
        """People without a joint in common become one, those who come nearest to each other first.

        Their nearest joints are closer than `limit` times the longer side of the larger one's box, or 1 cell.
        """
        joints = self.table()[0]
        found = (joints >= 0).astype(np.float32)
        apart = np.triu(found @ found.T == 0, 1)
        some = np.flatnonzero(apart.any(axis=0) | apart.any(axis=1))  # most are complete, and have no partner
        if not len(some):
            return
        person, joint = np.nonzero(joints[some] >= 0)
        points = cells[joints[some][person, joint]]
        first = np.flatnonzero(np.diff(person, prepend=-1))
        far = np.hypot(*(np.subtract.outer(points[:, axis], points[:, axis]) for axis in (0, 1)))
        far = np.minimum.reduceat(np.minimum.reduceat(far, first, axis=0), first, axis=1)
        sides = (np.maximum.reduceat(points, first) - np.minimum.reduceat(points, first)).max(axis=1)
        far /= np.maximum(np.maximum.outer(sides, sides), 1)
        one, other = np.nonzero((far < limit) & apart[np.ix_(some, some)])
        order = np.argsort(far[one, other], kind='stable')
        now = [n for n, joints in enumerate(self.people) if joints]  # who each of the table's people has become
        for n, m in zip(some[one[order]].tolist(), some[other[order]].tolist(), strict=True):
            a, b = now[n], now[m]
            if a != b and self.merge(a, b, 0.0):
                now = [a if who == b else who for who in now]

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Everybody's joints (N, K) and sums (N,)."""
        alive = [n for n, joints in enumerate(self.people) if joints]
        joints = np.array([self.people[n] for n in alive], dtype=int).reshape(-1, self.joints)
        return joints, np.array([self.sums[n] for n in alive])


def oriented(limbs: list[Limb], step: Step, skeleton: Skeleton) -> list[Limb]:
    """Limbs of a field from the joint that comes first when people are put together."""
    if step.start == skeleton.limb_indices[step.limb, 0]:
        return limbs
    return [(end, start, score) for start, end, score in limbs]


def surviving(
    joints: np.ndarray, sums: np.ndarray, skeleton: Skeleton, rules: Rules, counts: Counter[str]
) -> np.ndarray:
    """(N,) who is a person by the rules; the others are counted, each under the first rule that they break."""
    found = joints >= 0
    feet = skeleton.feet & (not rules.feet)
    body, parts = (found & ~feet).sum(axis=1), found.sum(axis=1)
    least = min(rules.parts, len(skeleton))
    causes = {
        f'of fewer than {least} joints': body < least,
        'of a foot and at most 4 other joints': (body < parts) & (body <= 4),
        f'of a mean score below {rules.mean:g}': sums < rules.mean * np.maximum(parts, 1),
    }
    stays = np.ones(len(joints), dtype=bool)
    for cause, breaks in causes.items():
        counts[cause] = int((stays & breaks).sum())
        stays &= ~breaks
    return stays
