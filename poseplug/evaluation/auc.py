"""The area under the curve of correct keypoints over the threshold (Zimmermann & Brox 2017, arXiv:1705.01389)."""

from __future__ import annotations

__all__ = ['AUC']

from typing import Literal

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.setting_checks import check_counts, check_thresholds
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult, check_choice, to_percent
from poseplug.evaluation.distance_collector import DistanceCollector, InstanceMode, nanmean, pck_per_keypoint
from poseplug.evaluation.normalizers import NormalizerRule
from poseplug.registry import METRICS


@METRICS.register_module()
class AUC(Metric):
    """Mean percentage of correct keypoints over thresholds from 0 to `max_threshold` sizes of the instance.

    The curve is the unweighted mean over the keypoints of the skeleton.

    Args:
        skeleton: The keypoints that are measured.
        normalizer: The size, one of the rules of `SizeNormalizer`; for example 30 for thresholds up to 30 px. It has no
            default, since published figures differ in it.
        max_threshold: Largest threshold, in sizes of the instance.
        num_steps: Number of equal steps of the curve.
        rule: 'trapezoid', or 'left': the mean height at the left ends of the steps as in MMPose, which is lower.
        instances: 'subject' or 'all', see `DistanceCollector`.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> face = Skeleton('face', ('left_eye', 'right_eye', 'chin'))
        >>> annotated = np.array([[[0, 0], [40, 0], [20, 50]]])
        >>> metric = AUC(face, normalizer=30)
        >>> predictions = Poses(annotated + [9, 12], np.ones((1, 3)), np.ones(1))
        >>> metric.update(predictions, Record('a.jpg', 'a', Instances.from_annotations(annotated, np.full((1, 3), 2))))
        >>> metric.compute().values
        {'AUC': 52.5}
    """

    def __init__(
        self,
        skeleton: Skeleton,
        normalizer: NormalizerRule,
        max_threshold: float = 1.0,
        num_steps: int = 20,
        rule: Literal['trapezoid', 'left'] = 'trapezoid',
        instances: InstanceMode = 'subject',
    ):
        check_choice('AUC', 'rule', rule, ('trapezoid', 'left'))
        check_thresholds('AUC', max_threshold=max_threshold)
        check_counts('AUC', num_steps=num_steps)
        self.collector = DistanceCollector(skeleton, normalizer, instances, 'AUC')
        self.skeleton, self.rule = skeleton, rule
        self.thresholds = np.linspace(0, max_threshold, num_steps + 1)

    def update(self, predictions: Poses, record: Record) -> None:
        self.collector.update(predictions, record)

    def compute_curve(self) -> np.ndarray:
        """Return the fractions (num_steps + 1,) of correct keypoints per threshold, NaN where none is labeled."""
        distances = self.collector.normalize_distances()[0]
        # Per keypoint first and then the mean, so that a rarely labeled keypoint counts as much as the others.
        return np.array([nanmean(pck_per_keypoint(distances, threshold)) for threshold in self.thresholds])

    def compute_area(self) -> float:
        """Return the mean height of the curve, from 0 to 1."""
        heights = self.compute_curve()
        if self.rule == 'left':
            # The last threshold has no step to its right.
            return float(heights[:-1].mean())
        # Divided by the width, so that a curve that is 1 everywhere has the area 1.
        return float(np.trapezoid(heights, self.thresholds) / self.thresholds[-1])

    def compute(self) -> MetricResult:
        distances, notes = self.collector.normalize_distances()
        result = MetricResult(notes=notes)
        if not len(distances):
            return result
        result.values['AUC'] = to_percent(self.compute_area())
        result.curves['AUC'] = (self.thresholds.tolist(), [to_percent(height) for height in self.compute_curve()])
        last_threshold = f'{self.thresholds[-1]:g}'
        result.notes.append(f'AUC: thresholds up to {last_threshold} x {self.collector.normalizer}, {self.rule} rule')
        return result
