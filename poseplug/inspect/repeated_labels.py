"""Sigmas of keypoints from images that several people labeled.

COCO's sigma of a keypoint is the root of the mean of d² / area over repeated labels, with d the distance of a label
from the true position in px and the area that of the instance (Ronchi & Perona 2017, arXiv:1707.05388). The true
position is not known; from the mean of n labels it follows by the usual n - 1 in place of n.
"""

from __future__ import annotations

__all__ = ['SigmaEstimate', 'estimate_sigmas', 'write_skeleton_with_sigmas']

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from poseplug.core.boxes import box_iou
from poseplug.core.errors import AnnotationError
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import Interval, bootstrap_ratios, summarize_resamples
from poseplug.files.atomic import write_atomically

_MIN_BOX_IOU = 0.5  # of boxes of the same instance by two people
MIN_REPEATS = 30  # of a keypoint: from fewer, its sigma is uncertain by more than a tenth


@dataclass(frozen=True)
class SigmaEstimate:
    """Sigmas from repeated labels.

    Attributes:
        keypoints: K names.
        sigmas: of each keypoint, with its 95 % interval over instances; NaN for one that was not labeled twice.
        counts: number of instances in which each keypoint was labeled at least twice.
        num_instances: that at least two people labeled.
        num_single: instances of the first file that no other file has.
    """

    keypoints: tuple[str, ...]
    sigmas: tuple[Interval, ...]
    counts: tuple[int, ...]
    num_instances: int
    num_single: int

    def describe(self) -> list[str]:
        """Describe the estimate in lines: a row per keypoint, and which ones are uncertain."""
        width = max(map(len, self.keypoints))
        lines = [
            f'{self.num_instances:,} instances labeled at least twice; {self.num_single:,} of the first file only once',
            f'{"keypoint":{width}}   sigma   95 % interval    instances',
        ]
        for name, sigma, count in zip(self.keypoints, self.sigmas, self.counts, strict=True):
            values = f'{sigma.value:.4f}  {sigma.low:.4f} - {sigma.high:.4f}' if count else f'{"-":>6}  {"":15}'
            note = '' if count >= MIN_REPEATS else f'  fewer than {MIN_REPEATS}'
            lines.append(f'{name:{width}}  {values}  {count:9,}{note}')
        return lines


def estimate_sigmas(labelings: Sequence[Sequence[Record]], keypoints: Sequence[str]) -> SigmaEstimate:
    """Estimate the sigmas of keypoints from labels of the same images by several people.

    Images are matched by the names of their files, instances by their boxes (intersection over union of at least 0.5,
    each with one other).

    Args:
        labelings: the records of each person, with K keypoints in the same order.
        keypoints: K names.

    Returns:
        The sigmas with their intervals, by instances drawn with replacement.

    Raises:
        AnnotationError: there are fewer than two labelings, two images of one have the same name, or no instance was
            labeled twice.

    Example:
        >>> from poseplug.core.instances import Instances
        >>> def label(x):
        ...     points, box = np.array([[[x, 20.0]]]), np.array([[0.0, 0, 100, 100]])
        ...     return [Record(Path('a.jpg'), 'a', Instances.from_annotations(points, np.array([[2]]), boxes=box))]
        >>> estimate = estimate_sigmas([label(10.0), label(14.0)], ['nose'])  # both 2 px from their mean, area 5300 px²
        >>> bool(np.isclose(estimate.sigmas[0].value, np.sqrt((2**2 + 2**2) / (2 - 1) / 5300)))
        True
    """
    if len(labelings) < 2:
        raise AnnotationError(f'sigmas come from labels of at least two people; got {len(labelings)} file')
    by_name = [_index_by_name(records) for records in labelings]
    sums, degrees, num_single = [], [], 0
    for name, first in by_name[0].items():
        others = [index[name] for index in by_name[1:] if name in index]
        points, visible = _collect_repeats(first, others)  # (people, N, K, 2), (people, N, K)
        # axis 0 is the people, 2 the keypoints: how many people labeled anything of an instance
        repeated = (visible.any(axis=2).sum(axis=0)) > 1
        num_single += int((~repeated).sum())
        squares, free = _sum_squares(points[:, repeated], visible[:, repeated])
        sums.append(squares / first.instances.areas[repeated, None])
        degrees.append(free)
    squares, free = np.concatenate(sums or [np.zeros((0, 1))]), np.concatenate(degrees or [np.zeros((0, 1))])
    if not free.any():
        raise AnnotationError(
            'no instance was labeled twice: images are matched by file name, instances by their boxes'
        )
    intervals = [_estimate_one(squares[:, k], free[:, k]) for k in range(len(keypoints))]
    counts = tuple(int(count) for count in (free > 0).sum(axis=0))
    return SigmaEstimate(tuple(keypoints), tuple(intervals), counts, len(squares), num_single)


def _index_by_name(records: Sequence[Record]) -> dict[str, Record]:
    """The records by the names of their image files."""
    index: dict[str, Record] = {}
    for record in records:
        if record.path.name in index:
            raise AnnotationError(
                f'{record.path} and {index[record.path.name].path} have the same name, by which images are matched; '
                f'rename one of them'
            )
        index[record.path.name] = record
    return index


def _collect_repeats(first: Record, others: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """The labels of every person for the N instances of the first: (people, N, K, 2) px and (people, N, K) bool."""
    instances = first.instances
    points, visible = [instances.keypoints.astype(float)], [instances.visible > 0]
    for other in others:
        overlap = box_iou(instances.boxes, other.instances.boxes)
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        matched = overlap[rows, columns] >= _MIN_BOX_IOU
        rows, columns = rows[matched], columns[matched]
        points.append(np.zeros_like(points[0]))
        visible.append(np.zeros_like(visible[0]))
        points[-1][rows] = other.instances.keypoints[columns]
        visible[-1][rows] = other.instances.visible[columns] > 0
    return np.stack(points), np.stack(visible)


def _sum_squares(points: np.ndarray, visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) the sum of squared distances from the mean of a keypoint's labels in px², and their number less one."""
    weights = visible[..., None].astype(float)
    count = weights.sum(axis=0)
    mean = (weights * points).sum(axis=0) / np.maximum(count, 1)
    # over people and axes: d² is the sum of both axes
    squares = (weights * (points - mean) ** 2).sum(axis=(0, 3))
    return squares, np.maximum(count[..., 0] - 1, 0)


def _estimate_one(squares: np.ndarray, free: np.ndarray) -> Interval:
    """The sigma of one keypoint from the instances in which it was labeled twice."""
    repeated = free > 0
    if not repeated.any():
        return Interval(np.nan, np.nan, np.nan)
    ratios = bootstrap_ratios(squares[repeated, None], free[repeated])
    # sums over sums, so that instances with more labels weigh more; the root is taken last
    (variance,) = summarize_resamples(ratios)
    return Interval(*(float(np.sqrt(value)) for value in (variance.value, variance.low, variance.high)))


def write_skeleton_with_sigmas(skeleton: Skeleton, estimate: SigmaEstimate, out: Path) -> None:
    """Write a skeleton file with estimated sigmas.

    Args:
        skeleton: gives names, limbs and flip pairs.
        estimate: for its keypoints.
        out: a new .json file.

    Raises:
        AnnotationError: a keypoint was not labeled twice.
    """
    missing = [name for name, count in zip(estimate.keypoints, estimate.counts, strict=True) if not count]
    if missing:
        raise AnnotationError(f'nobody labeled {", ".join(missing)} twice: there is no sigma to write for them')
    fields = dict(
        name=skeleton.name,
        keypoints=list(skeleton.keypoints),
        limbs=[list(limb) for limb in skeleton.limbs],
        flip_pairs=[list(pair) for pair in skeleton.flip_pairs],
        sigmas=[round(sigma.value, 4) for sigma in estimate.sigmas],
    )
    write_atomically(out, json.dumps(fields, indent=2).encode())
