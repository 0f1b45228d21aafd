"""Distances between annotated and predicted keypoints, which PCK, PCKh, AUC, EPE and NME count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from poseplug.core.poses import Poses
from poseplug.core.sample import ImageKey, Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import check_choice, check_keypoint_count
from poseplug.evaluation.normalizers import NormalizerRule, SizeNormalizer

# A finite cost of a pair without a usable distance: `linear_sum_assignment` accepts no infinite row.
_UNMATCHED_DISTANCE_PX = 1e9
InstanceMode = Literal['subject', 'all']
_DistanceRow = tuple[np.ndarray, np.ndarray, float]  # distances (K,) px, labeled (K,), size px


class DistanceCollector:
    """The distances from annotated to predicted keypoints, normalized by the size of the instance.

    Args:
        skeleton: The keypoints that are measured.
        normalizer: The rule of the size, see `SizeNormalizer`.
        instances: 'subject' measures the first annotated instance of every record against the first predicted one
            (top-down models, with one record per instance). 'all' measures every annotated instance of an image (of
            `record.ground_truth` where a detector supplied the boxes): annotated and predicted instances are matched
            one to one by the smallest sum of mean distances, and an unmatched annotated instance counts as missed.
        metric_name: The metric that error messages name.
    """

    def __init__(self, skeleton: Skeleton, normalizer: NormalizerRule, instances: InstanceMode, metric_name: str):
        check_choice(metric_name, 'instances', instances, ('subject', 'all'))
        self.skeleton, self.instances = skeleton, instances
        self.normalizer = SizeNormalizer.from_rule(skeleton, normalizer, metric_name)
        self.images: dict[ImageKey, tuple[Record, list[np.ndarray]]] = {}
        self.rows: list[tuple[str, _DistanceRow]] = []

    def update(self, predictions: Poses, record: Record) -> None:
        """Add the instances predicted for an image, or for the subject of one of its crops."""
        check_keypoint_count(self.skeleton, predictions, record)
        # In double precision, so that a distance at the threshold does not depend on rounding.
        keypoints = np.asarray(predictions.numpy().keypoints, float)
        if self.instances == 'all':
            annotations = record.ground_truth or record
            predicted = self.images.setdefault(annotations.key, (annotations, []))[1]
            if len(keypoints):
                predicted.append(keypoints)
        # A record without instances has no subject to measure.
        elif len(record.instances):
            # Nothing predicted is a miss, not an exclusion: a model cannot gain by silence.
            subject_keypoints = keypoints[0] if len(keypoints) else None
            self.rows.append((record.id, self._measure_instance(record, 0, subject_keypoints)))

    def _measure_instance(
        self, record: Record, instance_index: int, predicted_keypoints: np.ndarray | None
    ) -> _DistanceRow:
        """The row of one annotated instance; its distances are infinite without a prediction."""
        labeled = record.instances.visible[instance_index] > 0
        if predicted_keypoints is None:
            distances = np.full(len(labeled), np.inf)
        else:
            distances = _keypoint_distances(record.instances.keypoints[instance_index], predicted_keypoints)
        return distances, labeled, float(self.normalizer(record, self.skeleton)[instance_index])

    def _iter_rows(self) -> Iterator[tuple[str, _DistanceRow]]:
        """The row of every measured instance, with the id of its image."""
        yield from self.rows
        # Sorted, so that sums do not depend on the order of the updates.
        for key, (record, parts) in sorted(self.images.items()):
            predicted = np.concatenate(parts) if parts else np.zeros((0, len(self.skeleton), 2))
            matches = _match_instances(record, predicted)
            for index in range(len(record.instances)):
                matched_keypoints = predicted[matches[index]] if index in matches else None
                yield key.id, self._measure_instance(record, index, matched_keypoints)

    def normalize_distances(self) -> tuple[np.ndarray, list[str]]:
        """Divide all distances by the sizes of their instances.

        Returns:
            The normalized distances (M, K) of the M instances that have a labeled keypoint and a size: NaN where a
            keypoint is not labeled, infinite where nothing usable was predicted. And notes on excluded instances.
        """
        rows = list(self._iter_rows())
        if not rows:
            return np.zeros((0, len(self.skeleton))), []
        image_ids = np.array([image_id for image_id, _ in rows])
        distances, labeled, sizes = (np.array(column) for column in zip(*(row for _, row in rows), strict=True))
        has_label = np.any(labeled, axis=1)
        has_size = np.isfinite(sizes) & (sizes > 0)
        notes = [
            *_build_exclusion_notes(image_ids, has_label & ~has_size, self.normalizer.missing_reason),
            *_build_exclusion_notes(image_ids, ~has_label, 'none of their keypoints is labeled'),
        ]
        measured = has_label & has_size
        # The excluded rows are divided by 1, and dropped in the next step.
        normalized = distances / np.where(measured, sizes, 1)[:, None]
        return np.where(labeled, normalized, np.nan)[measured], notes


def _build_exclusion_notes(image_ids: np.ndarray, excluded: Any, reason: str) -> list[str]:
    """The note on instances excluded from a metric, if there are any."""
    if not excluded.any():
        return []
    # An example to look at; the smallest, whatever the order of the updates.
    first_image_id = min(image_ids[excluded])
    return [f'{excluded.sum()} of {len(image_ids)} instances are excluded: {reason} (first: {first_image_id})']


def _keypoint_distances(annotated_keypoints: np.ndarray, predicted_keypoints: np.ndarray) -> np.ndarray:
    """(..., K) px between keypoints (..., K, 2); infinite where nothing usable was predicted."""
    distances = np.linalg.norm(predicted_keypoints - np.asarray(annotated_keypoints, float), axis=-1)
    return np.where(np.isfinite(distances), distances, np.inf)


def _match_instances(record: Record, predicted_keypoints: np.ndarray) -> dict[int, int]:
    """Match annotated instances to predicted ones (M, K, 2), one to one, by the smallest sum of mean distances."""
    labeled = record.instances.visible > 0
    distances = _keypoint_distances(record.instances.keypoints[:, None], predicted_keypoints[None])
    distances = np.minimum(distances, _UNMATCHED_DISTANCE_PX)
    costs = nanmean(np.where(labeled[:, None], distances, np.nan), axis=-1)
    costs = np.nan_to_num(costs, nan=_UNMATCHED_DISTANCE_PX)  # an instance without labels is matched last
    annotated_indices, predicted_indices = linear_sum_assignment(costs)
    return dict(zip(annotated_indices.tolist(), predicted_indices.tolist(), strict=True))


def pck_per_keypoint(distances: np.ndarray, threshold: float) -> np.ndarray:
    """Compute the fraction of correct ones among the labeled keypoints.

    Args:
        distances: (M, K) normalized distances, NaN where a keypoint is not labeled.
        threshold: A keypoint is correct up to this distance.

    Returns:
        (K,) fractions, NaN for a keypoint that is never labeled.
    """
    counts = (~np.isnan(distances)).sum(axis=0)
    # NaN, not labeled, becomes a miss in the numerator, and is no part of the denominator.
    num_correct = (np.nan_to_num(distances, nan=np.inf, posinf=np.inf) <= threshold).sum(axis=0)
    return np.where(counts > 0, num_correct / np.maximum(counts, 1), np.nan)


def nanmean(values: np.ndarray, axis: int | None = None) -> Any:
    """Compute the mean without NaNs; without any other value it is NaN, and no warning is raised."""
    valid = ~np.isnan(values)
    counts = valid.sum(axis=axis)
    return np.where(counts > 0, np.where(valid, values, 0).sum(axis=axis) / np.maximum(counts, 1), np.nan)


def average_by_group(skeleton: Skeleton, values: np.ndarray) -> list[tuple[str, Any]]:
    """Average values of keypoints over the groups of the skeleton.

    Args:
        skeleton: Its `groups` (ankles, knees, ...); without them every keypoint is a group of its own.
        values: (K, ...) one value or array per keypoint, NaN for a keypoint without one.

    Returns:
        Pairs of a group's name and its mean (...).
    """
    groups = skeleton.groups or {name: (name,) for name in skeleton.keypoints}
    rows = []
    for group, names in groups.items():
        indices = [skeleton.index(name) for name in names]
        rows.append((group, nanmean(values[indices], axis=0)))
    return rows
