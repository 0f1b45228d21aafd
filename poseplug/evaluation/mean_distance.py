"""The base of EPE and NME: the mean distance between annotated and predicted keypoints."""

from __future__ import annotations

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.evaluation.distance_collector import DistanceCollector, InstanceMode, average_by_group
from poseplug.evaluation.normalizers import NormalizerRule


class MeanDistance(Metric):
    """Mean distance over all labeled keypoints with a finite prediction; the others are counted in a note.

    Args:
        skeleton: The keypoints that are measured.
        normalizer: The size that distances are divided by, one of the rules of `SizeNormalizer`.
        instances: 'subject' or 'all', see `DistanceCollector`.

    Attributes:
        name: Name of the metric in results.
        unit_factor: Factor from a normalized distance to the reported unit.
    """

    lower_is_better = True
    name: str
    unit_factor: float

    def __init__(self, skeleton: Skeleton, normalizer: NormalizerRule, instances: InstanceMode):
        self.skeleton = skeleton
        self.collector = DistanceCollector(skeleton, normalizer, instances, type(self).__name__)

    def update(self, predictions: Poses, record: Record) -> None:
        self.collector.update(predictions, record)

    def compute_mean(self) -> float:
        """Return the mean distance in sizes of the instance, NaN where there is nothing to measure."""
        return _mean_of_finite(self.collector.normalize_distances()[0])

    def compute(self) -> MetricResult:
        distances, notes = self.collector.normalize_distances()
        result = MetricResult(notes=notes)
        # An infinite distance has no mean; PCK counts it as a miss.
        num_unpredicted = int(np.isinf(distances).sum())
        num_labeled = int((~np.isnan(distances)).sum())
        if num_unpredicted:
            result.notes.append(
                f'{num_unpredicted} of {num_labeled} labeled keypoints have no prediction and are excluded from '
                f'{self.name}'
            )
        if num_unpredicted == num_labeled:
            return result
        result.values[self.name] = round(self.unit_factor * _mean_of_finite(distances), 4)
        # Of each keypoint first, as in PCK; the total above weights by how often each is labeled.
        keypoint_means = np.array([_mean_of_finite(column) for column in distances.T])
        for group, mean in average_by_group(self.skeleton, keypoint_means):
            if not np.isnan(mean):
                result.values[f'{self.name}/{group}'] = round(self.unit_factor * float(mean), 4)
        return result


def _mean_of_finite(values: np.ndarray) -> float:
    """The mean of the finite values; without any it is NaN, and no warning is raised."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float('nan')
