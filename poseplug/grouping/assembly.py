"""Limbs to people: who has which joints, and who is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from poseplug.grouping.limbs import Limb
from poseplug.grouping.peaks import Peaks
from poseplug.grouping.presets import Rules
from poseplug.skeleton import Skeleton, Step


class Assembly:
    """People as they grow, limb by limb: the peaks of their joints, and the sum of the scores of peaks and limbs."""

    def __init__(self, skeleton: Skeleton, peaks: Peaks, rules: Rules):
        self.joints, self.rules = len(skeleton), rules
        first = np.searchsorted(peaks.channels, np.arange(self.joints + 1)).tolist()
        self.of_joint = [range(a, b) for a, b in zip(first[:-1], first[1:], strict=True)]
        self.starts = skeleton.limb_indices[:, 0].tolist()
        self.values = peaks.scores.tolist()
        self.owner = [-1] * len(peaks)
        self.people: list[list[int]] = []
        self.sums: list[float] = []

    def add(self, step: Step, limbs: list[Limb]) -> None:
        """Everybody's limb of one kind, chosen best first."""
        both = self.of_joint[step.start] and self.of_joint[step.end]
        if self.rules.lone == 'absent' and not both and not step.redundant:
            self.alone((step.start, step.end))
        for start, end, score in limbs if step.start == self.starts[step.limb] else reverse(limbs):
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


def reverse(limbs: list[Limb]) -> list[Limb]:
    """The same limbs from their other end."""
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
