"""Instances from the peaks of heatmaps and limb fields, in NumPy (Cao et al. 2017, arXiv:1611.08050, section 2.3).

Positions are in cells until the end.
"""

from __future__ import annotations

__all__ = ['ParseResult', 'assemble_instances', 'group_limbs_batch']

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.instance_assembler import InstanceAssembler, select_valid_instances
from poseplug.grouping.limb_scores import PeakPairs, enumerate_peak_pairs, find_limbs, match_pairs
from poseplug.grouping.paf_rules import PAF_PRESETS, PAFRules

# Takes pairs of peaks, the cells (P, 2) of the peaks, the fields of one image, rules and the stride; returns the pairs
# that are limbs, and their scores.
FindLimbs = Callable[[PeakPairs, np.ndarray, np.ndarray, PAFRules, float], tuple[PeakPairs, np.ndarray]]
_LOGGER = logging.getLogger(__name__)
_STEP_NAMES = ('peaks', 'pairs', 'limbs', 'instances grouped')  # keys of the counts that are no cause of a drop


@dataclass(frozen=True)
class ParseResult:
    """The instances of one image, with every count on the way.

    Attributes:
        peak_indices: (N, K) the peak of each keypoint, -1 where it is missing.
        instance_scores: (N,) scores of the instances.
        peaks: the peaks of the image.
        counts: the peaks, the pairs and limbs between them, the instances that were grouped, and how many of these
            were dropped, by cause.
    """

    peak_indices: np.ndarray
    instance_scores: np.ndarray
    peaks: Peaks
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        steps = ', '.join(f'{self.counts[name]} {name}' for name in _STEP_NAMES)
        message = f'{len(self.peak_indices)} instances: {steps}'
        dropped = [f'{count} {cause}' for cause, count in self.counts.items() if cause not in _STEP_NAMES and count]
        return f'{message}; dropped: {", ".join(dropped)}' if dropped else message

    def to_poses(self, stride: tuple[float, float] = (1.0, 1.0), offset: float = 0.0) -> Poses:
        """Return the instances in input pixels, where cell g stands at `stride` g + `offset`.

        A missing keypoint has score and visibility 0. It stands at the mean of its instance's keypoints, where it
        widens no box.
        """
        has_peak = self.peak_indices >= 0
        mask = has_peak[..., None]
        # Index -1, of a missing keypoint, reads the zeros behind the last peak.
        cells = np.concatenate([self.peaks.cells, np.zeros((1, 2), np.float32)])[self.peak_indices]
        scores = np.concatenate([self.peaks.scores, np.zeros(1, np.float32)])[self.peak_indices]
        points = cells * np.array(stride, np.float32) + np.float32(offset)
        low = np.where(mask, points, np.inf).min(axis=1)
        high = np.where(mask, points, -np.inf).max(axis=1)
        mean = points.sum(axis=1, where=mask) / np.maximum(has_peak.sum(axis=1), 1)[:, None]
        keypoints = np.where(mask, points, mean[:, None]).astype(np.float32)
        boxes = np.concatenate([low, high], axis=1).astype(np.float32)
        return Poses(
            keypoints=keypoints,
            keypoint_scores=np.clip(np.where(has_peak, scores, 0), 0, 1),
            instance_scores=self.instance_scores.astype(np.float32),
            visibility=np.where(has_peak, 2, 0).astype(np.uint8),
            boxes=boxes,
        )


def group_limbs_batch(
    find_peaks: Callable[[PAFRules, Any], Peaks],
    paf: np.ndarray,
    skeleton: Skeleton,
    rules: PAFRules,
    stride: float,
    find_image_limbs: FindLimbs = find_limbs,
) -> list[ParseResult]:
    """Group the peaks of every image into instances.

    Where no instance is left, the counts are logged and the rules named by `rules.fallback` are tried.

    Args:
        find_peaks: takes rules and an index of images, and returns the peaks of these images.
        paf: (B, 2 L, H, W) float32, x and y of each limb in turn; or what `find_image_limbs` reads of every image.
        skeleton: of the keypoints and limbs.
        rules: what counts as a peak, as a limb and as an instance.
        stride: input pixels per cell.
        find_image_limbs: selects and scores limbs; by default by limb fields.

    Returns:
        The instances of each image, highest score first, positions in cells.
    """
    # All images at once, on the device; from here on image by image in NumPy.
    peaks = find_peaks(rules, slice(None))
    results = [
        assemble_instances(peaks.for_image(i, len(skeleton)), fields, skeleton, rules, stride, find_image_limbs)
        for i, fields in enumerate(paf)
    ]
    empty = [i for i, result in enumerate(results) if not len(result.peak_indices)]
    for i in empty:
        _LOGGER.info('image %d: %s', i, results[i])
    if empty and rules.fallback:

        def find_remaining_peaks(fallback_rules: PAFRules, images: Any) -> Peaks:
            return find_peaks(fallback_rules, np.array(empty)[images].tolist())

        fallback_rules = PAF_PRESETS[rules.fallback]
        retried = group_limbs_batch(
            find_remaining_peaks, paf[empty], skeleton, fallback_rules, stride, find_image_limbs
        )
        for i, result in zip(empty, retried, strict=True):
            results[i] = result
    return results


def assemble_instances(
    peaks: Peaks,
    paf: np.ndarray,
    skeleton: Skeleton,
    rules: PAFRules,
    stride: float = 8.0,
    find_image_limbs: FindLimbs = find_limbs,
) -> ParseResult:
    """Group the peaks of one image into instances.

    Args:
        peaks: of the image, sorted by keypoint.
        paf: (2 L, H, W) x and y of each limb in turn; or what `find_image_limbs` reads.
        skeleton: of the keypoints and limbs.
        rules: what counts as a limb and as an instance.
        stride: input pixels per cell.
        find_image_limbs: selects and scores limbs; by default by limb fields.

    Returns:
        The instances, highest score first.
    """
    # 1. All pairs of peaks that a limb could join, and which of them the field supports.
    pairs = enumerate_peak_pairs(peaks, skeleton)
    limbs, limb_scores = find_image_limbs(pairs, peaks.cells, paf, rules, stride)
    # 2. Of each limb a choice in which no peak is used twice.
    matched = match_pairs(limbs, limb_scores, len(skeleton.limbs), rules.matching, peaks.channels)
    # 3. Instances grow limb by limb, in the order of the tree.
    assembler = InstanceAssembler(skeleton, peaks, rules)
    for step in skeleton.limb_steps:
        assembler.add_limbs(step, matched[step.limb])
    if rules.single_peaks == 'all' or not skeleton.limbs:
        assembler.start_single_instances(range(len(skeleton)))
    if rules.merge_distance_ratio:
        assembler.merge_nearby_instances(peaks.cells, rules.merge_distance_ratio)
    # 4. Instances that break a rule are dropped, and counted by the rule.
    peak_indices, score_sums = assembler.to_arrays()
    counts = Counter({'peaks': len(peaks), 'pairs': len(pairs), 'limbs': sum(map(len, matched))})
    counts['instances grouped'] = len(peak_indices)
    redundant_counts = assembler.get_redundant_counts()
    valid = select_valid_instances(peak_indices, score_sums, skeleton, rules, counts, redundant_counts)
    # The score is the sum over the peaks and limbs of an instance, over the number of both in the skeleton.
    scores = np.clip(score_sums[valid] / (len(skeleton) + len(skeleton.limbs)), 0, 1)
    order = np.argsort(-scores, kind='stable')
    return ParseResult(peak_indices[valid][order], scores[order], peaks, counts)
