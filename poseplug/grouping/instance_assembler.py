"""Assembles limbs into instances: which peaks belong to an instance, and which instances are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from poseplug.core.skeleton import LimbStep, Skeleton
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_scores import ScoredLimb
from poseplug.grouping.paf_rules import PAFRules


class InstanceAssembler:
    """Builds the instances of one image, limb by limb.

    Attributes:
        instances: the peak of each keypoint of each instance, -1 where it is missing; an instance that was merged into
            another one is an empty list.
        score_sums: sum of the scores of the peaks and limbs of each instance.
        redundant_counts: number of peaks of each instance that redundant limbs added and that do not count.
        peak_owners: the instance of each peak, or -1.
    """

    def __init__(self, skeleton: Skeleton, peaks: Peaks, rules: PAFRules):
        self.num_keypoints, self.rules = len(skeleton), rules
        # Peaks are sorted by keypoint: those of keypoint k are a range.
        first = np.searchsorted(peaks.channels, np.arange(self.num_keypoints + 1)).tolist()
        self.peaks_by_keypoint = [range(a, b) for a, b in zip(first[:-1], first[1:], strict=True)]
        self.limb_starts = skeleton.limb_indices[:, 0].tolist()
        self.peak_scores = peaks.scores.tolist()
        self.peak_owners = [-1] * len(peaks)
        self.instances: list[list[int]] = []
        self.score_sums: list[float] = []
        self.redundant_counts: list[int] = []

    def add_limbs(self, step: LimbStep, limbs: list[ScoredLimb]) -> None:
        """Add the limbs of one kind to the instances.

        Args:
            step: the kind of limb, and the end from which it grows.
            limbs: the limbs that were chosen, highest score first.
        """
        has_both_ends = self.peaks_by_keypoint[step.start] and self.peaks_by_keypoint[step.end]
        # As in the OpenPose library: if no peak is one end of a limb, each peak of the other end is an instance.
        if self.rules.single_peaks == 'unpaired' and not has_both_ends and not step.redundant:
            self.start_single_instances((step.start, step.end))
        # A tree may grow against the direction in which the skeleton states a limb.
        for start, end, score in limbs if step.start == self.limb_starts[step.limb] else _reverse_limbs(limbs):
            start_owner, end_owner = self.peak_owners[start], self.peak_owners[end]
            if self.rules.assign_by == 'start':
                self.attach_by_start(step, start, end, score, start_owner, end_owner)
            else:
                self.attach_by_either_end(step, start, end, score, start_owner, end_owner)

    def attach_by_start(
        self, step: LimbStep, start: int, end: int, score: float, start_owner: int, end_owner: int
    ) -> None:
        """Add a limb to the instance that has its start peak, or start an instance.

        A redundant limb only fills a missing end of an instance, and adds no score.
        """
        if not step.redundant:
            if start_owner < 0:
                self.start_instance(step, start, end, score)
            else:
                self.attach_keypoint(start_owner, step.end, end, score)
        # Lightweight OpenPose's rule: one ear may go to two people.
        elif self.rules.redundant_peaks == 'any':
            self.fill_missing_ends(step, start, end)
        elif start_owner >= 0 and end_owner < 0:
            self.attach_keypoint(start_owner, step.end, end, None)
        elif end_owner >= 0 and start_owner < 0:
            self.attach_keypoint(end_owner, step.start, start, None)

    def fill_missing_ends(self, step: LimbStep, start: int, end: int) -> None:
        """Add the missing end of a limb to every instance that has its other end; the peak does not count."""
        for instance, peaks in enumerate(self.instances):
            if peaks[step.start] == start and peaks[step.end] < 0:
                peaks[step.end] = end
            elif peaks[step.end] == end and peaks[step.start] < 0:
                peaks[step.start] = start
            else:
                continue
            self.redundant_counts[instance] += 1

    def attach_by_either_end(
        self, step: LimbStep, start: int, end: int, score: float, start_owner: int, end_owner: int
    ) -> None:
        """Add a limb to the instance that has either end, merge the two that have one each, or start an instance.

        A redundant limb starts no instance.
        """
        # A limb that closes a cycle adds its score alone.
        if start_owner >= 0 and start_owner == end_owner:
            self.score_sums[start_owner] += score
        # Merging may fail; the limb is then dropped, and both instances stay as they are.
        elif start_owner >= 0 and end_owner >= 0:
            self.merge_instances(start_owner, end_owner, score)
        elif start_owner >= 0:
            self.attach_keypoint(start_owner, step.end, end, score)
        elif end_owner >= 0:
            self.attach_keypoint(end_owner, step.start, start, score)
        elif not step.redundant:
            self.start_instance(step, start, end, score)

    def start_instance(self, step: LimbStep, start: int, end: int, score: float) -> None:
        """Start an instance of the two keypoints of a limb."""
        peak_indices = [-1] * self.num_keypoints
        peak_indices[step.start], peak_indices[step.end] = start, end
        self._append_instance(peak_indices, self.peak_scores[start] + self.peak_scores[end] + score)

    def _append_instance(self, peak_indices: list[int], score_sum: float) -> None:
        for peak in peak_indices:
            # A peak has one owner, the first, also where redundant limbs lend it to others.
            if peak >= 0 and self.peak_owners[peak] < 0:
                self.peak_owners[peak] = len(self.instances)
        self.instances.append(peak_indices)
        self.score_sums.append(score_sum)
        self.redundant_counts.append(0)

    def start_single_instances(self, keypoints: Iterable[int]) -> None:
        """Start an instance of one keypoint for every peak of these keypoints that no instance has."""
        for keypoint in keypoints:
            for peak in self.peaks_by_keypoint[keypoint]:
                if self.peak_owners[peak] < 0:
                    peak_indices = [-1] * self.num_keypoints
                    peak_indices[keypoint] = peak
                    self._append_instance(peak_indices, self.peak_scores[peak])

    def attach_keypoint(self, instance: int, keypoint: int, peak: int, score: float | None) -> None:
        """Add a peak to an instance that lacks the keypoint; None adds neither the peak's score nor the limb's."""
        # The first limb to a keypoint counts: limbs come highest score first.
        if self.instances[instance][keypoint] >= 0:
            return
        self.instances[instance][keypoint] = peak
        if self.peak_owners[peak] < 0:
            self.peak_owners[peak] = instance
        if score is not None:
            self.score_sums[instance] += self.peak_scores[peak] + score

    def merge_instances(self, target: int, source: int, score: float) -> bool:
        """Merge instance `source` into `target` if they have no keypoint in common; return whether they were merged."""
        both = zip(self.instances[target], self.instances[source], strict=True)
        if any(a >= 0 and b >= 0 for a, b in both):
            return False
        for keypoint, peak in enumerate(self.instances[source]):
            if peak >= 0:
                self.instances[target][keypoint] = peak
                self.peak_owners[peak] = target
        self.score_sums[target] += self.score_sums[source] + score
        self.redundant_counts[target] += self.redundant_counts[source]
        # Emptied, not removed: indices of instances are stored in `peak_owners`.
        self.instances[source], self.score_sums[source] = [], 0.0
        return True

    def merge_nearby_instances(self, cells: np.ndarray, max_distance_ratio: float) -> None:
        """Merge instances without a keypoint in common, nearest first.

        Args:
            cells: (M, 2) x, y of the peaks.
            max_distance_ratio: their nearest keypoints are closer than this times the longer side of the larger one's
                box, or times 1 cell if that is longer.
        """
        peak_indices = self.to_arrays()[0]
        has_peak = (peak_indices >= 0).astype(np.float32)
        # (N, N), every pair once: those without a keypoint that both have.
        disjoint = np.triu(has_peak @ has_peak.T == 0, 1)
        # Most instances are complete, and have no partner: the distances are computed for the others alone.
        candidates = np.flatnonzero(disjoint.any(axis=0) | disjoint.any(axis=1))
        if not len(candidates):
            return
        distances = _relative_distances(peak_indices[candidates], cells)
        is_near = (distances < max_distance_ratio) & disjoint[np.ix_(candidates, candidates)]
        rows, columns = np.nonzero(is_near)
        order = np.argsort(distances[rows, columns], kind='stable')
        current = [n for n, indices in enumerate(self.instances) if indices]  # instance that each row is now part of
        for row, column in zip(candidates[rows[order]].tolist(), candidates[columns[order]].tolist(), strict=True):
            target, source = current[row], current[column]
            # Checked again: both may have grown since the distances were computed.
            if target != source and self.merge_instances(target, source, 0.0):
                current = [target if instance == source else instance for instance in current]

    def to_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the peak of each keypoint (N, K), -1 where it is missing, and the score sums (N,) of the instances."""
        remaining = [n for n, indices in enumerate(self.instances) if indices]
        peak_indices = np.array([self.instances[n] for n in remaining], dtype=int).reshape(-1, self.num_keypoints)
        return peak_indices, np.array([self.score_sums[n] for n in remaining])

    def get_redundant_counts(self) -> np.ndarray:
        """Return the number (N,) of keypoints of the instances that do not count, since redundant limbs added them."""
        return np.array([self.redundant_counts[n] for n, indices in enumerate(self.instances) if indices], dtype=int)


def _reverse_limbs(limbs: list[ScoredLimb]) -> list[ScoredLimb]:
    """The same limbs from their other end."""
    return [(end, start, score) for start, end, score in limbs]


def _relative_distances(peak_indices: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The distance of the nearest keypoints of two instances over the longer side of the larger box: (N, N)."""
    instance, keypoint = np.nonzero(peak_indices >= 0)
    points = cells[peak_indices[instance, keypoint]]
    first = np.flatnonzero(np.diff(instance, prepend=-1))  # index of each instance's first point
    offsets = (np.subtract.outer(points[:, axis], points[:, axis]) for axis in (0, 1))
    point_distances = np.hypot(*offsets)
    # Distances of all points, reduced to the smallest of every block of two instances.
    nearest = np.minimum.reduceat(np.minimum.reduceat(point_distances, first, axis=0), first, axis=1)
    sides = (np.maximum.reduceat(points, first) - np.minimum.reduceat(points, first)).max(axis=1)
    relative_distances: np.ndarray = nearest / np.maximum(np.maximum.outer(sides, sides), 1)
    return relative_distances


def select_valid_instances(
    peak_indices: np.ndarray,
    score_sums: np.ndarray,
    skeleton: Skeleton,
    rules: PAFRules,
    counts: Counter[str],
    redundant_counts: np.ndarray | int = 0,
) -> np.ndarray:
    """Check which instances fulfill the rules.

    Args:
        peak_indices: (N, K) the peak of each keypoint, -1 where it is missing.
        score_sums: (N,) sum of the scores of the peaks and limbs.
        skeleton: of the keypoints.
        rules: what counts as an instance.
        counts: receives the number of dropped instances, each under the first rule that it breaks.
        redundant_counts: (N,) number of keypoints of each instance that do not count.

    Returns:
        (N,) bool, which instances to keep.
    """
    has_peak = peak_indices >= 0
    feet = skeleton.feet & (not rules.count_feet)
    # Keypoints without the feet, and all of them.
    num_body, num_keypoints = ((has_peak & mask).sum(axis=1) - redundant_counts for mask in (~feet, True))
    min_keypoints = min(rules.min_keypoints, len(skeleton))
    min_score_sums = rules.min_mean_score * np.maximum(num_keypoints, 1)
    causes = {
        f'with fewer than {min_keypoints} keypoints': num_body < min_keypoints,
        # A rule of the OpenPose library.
        'with a foot and at most 4 other keypoints': (num_body < num_keypoints) & (num_body <= 4),
        f'with a mean score below {rules.min_mean_score:g}': score_sums < min_score_sums,
    }
    valid = np.ones(len(peak_indices), dtype=bool)
    for cause, broken in causes.items():
        counts[cause] = int((valid & broken).sum())
        valid &= ~broken
    return valid
