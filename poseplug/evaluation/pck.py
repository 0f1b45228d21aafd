"""Percentage of correct keypoints, by the torso that the skeleton names (Yang & Ramanan 2013; Wei et al. 2016)."""

from __future__ import annotations

__all__ = ['PCK']

from collections.abc import Sequence

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.setting_checks import check_counts, check_thresholds
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult, to_percent
from poseplug.evaluation.distance_collector import (
    DistanceCollector,
    InstanceMode,
    average_by_group,
    nanmean,
    pck_per_keypoint,
)
from poseplug.evaluation.normalizers import NormalizerRule
from poseplug.registry import METRICS


@METRICS.register_module()
class PCK(Metric):
    """Percentage of keypoints within a fraction of the instance's size, by default of the annotated torso.

    Every labeled keypoint counts, occluded ones too. The total is the unweighted mean over the skeleton's keypoints.

    Args:
        skeleton: The keypoints that are measured.
        thresholds: Fractions of the size up to which a keypoint is correct; each is reported as `PCK@threshold`.
        max_threshold: Largest fraction of the curve, whose mean height is reported as `AUC@max_threshold`.
        num_steps: Number of equal steps of the curve.
        normalizer: The size: 'torso', 'head', 'box', ... (the rules of `SizeNormalizer`).
        instances: 'subject' or 'all', see `DistanceCollector`.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> arm = Skeleton('arm', ('shoulder', 'elbow', 'wrist'), torso=('shoulder', 'elbow'))
        >>> annotated = np.array([[[0, 0], [100, 0], [200, 0]]])
        >>> metric = PCK(arm)
        >>> predictions = Poses(annotated + [15, 0], np.ones((1, 3)), np.ones(1))
        >>> metric.update(predictions, Record('a.jpg', 'a', Instances.from_annotations(annotated, np.full((1, 3), 2))))
        >>> values = metric.compute().values
        >>> values['PCK@0.1'], values['PCK@0.2']
        (0.0, 100.0)
    """

    def __init__(
        self,
        skeleton: Skeleton,
        thresholds: Sequence[float] = (0.1, 0.2),
        max_threshold: float = 0.2,
        num_steps: int = 20,
        normalizer: NormalizerRule = 'torso',
        instances: InstanceMode = 'subject',
    ):
        check_thresholds('PCK', thresholds=thresholds, max_threshold=max_threshold)
        check_counts('PCK', num_steps=num_steps)
        self.collector = DistanceCollector(skeleton, normalizer, instances, 'PCK')
        self.skeleton, self.thresholds = skeleton, tuple(thresholds)
        self.curve_thresholds = np.linspace(0, max_threshold, num_steps + 1)

    def update(self, predictions: Poses, record: Record) -> None:
        self.collector.update(predictions, record)

    def compute_per_keypoint(self, threshold: float) -> np.ndarray:
        """Return the fractions (K,) of correct ones among the labeled keypoints, NaN for one never labeled."""
        return pck_per_keypoint(self.collector.normalize_distances()[0], threshold)

    def compute(self) -> MetricResult:
        distances, notes = self.collector.normalize_distances()
        result = MetricResult(notes=notes)
        if not len(distances):
            return result
        for threshold in self.thresholds:
            name = f'PCK@{threshold:g}'
            fractions = pck_per_keypoint(distances, threshold)
            # The total is the mean over keypoints, not over groups: shoulders count twice as much as a head.
            result.values[name] = to_percent(nanmean(fractions))
            for group, fraction in average_by_group(self.skeleton, fractions):
                result.values[f'{name}/{group}'] = to_percent(fraction)
        self._add_curves(result, distances)
        return result

    def _add_curves(self, result: MetricResult, distances: np.ndarray) -> None:
        """Add the curve of the mean and of every group, and the area under the former."""
        # (steps + 1, K)
        heights = np.stack([pck_per_keypoint(distances, threshold) for threshold in self.curve_thresholds])
        last_threshold, mean_heights = self.curve_thresholds[-1], nanmean(heights, axis=1)
        area = np.trapezoid(mean_heights, self.curve_thresholds) / last_threshold
        result.values[f'AUC@{last_threshold:g}'] = to_percent(area)
        for name, values in [('mean', mean_heights), *average_by_group(self.skeleton, heights.T)]:
            result.curves[name] = (self.curve_thresholds.tolist(), [to_percent(value) for value in values])
