"""NME: the mean distance between annotated and predicted keypoints, in percent of the instance's size."""

from __future__ import annotations

__all__ = ['NME']

from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import MetricResult
from poseplug.evaluation.distance_collector import InstanceMode
from poseplug.evaluation.mean_distance import MeanDistance
from poseplug.evaluation.normalizers import NormalizerRule
from poseplug.registry import METRICS


@METRICS.register_module()
class NME(MeanDistance):
    """Normalized mean error: the mean distance in percent of the instance's size.

    Args:
        skeleton: The keypoints that are measured.
        normalizer: The size, one of the rules of `SizeNormalizer`; for faces often the distance of two keypoints,
            ('left_eye', 'right_eye'), or the diagonal of the box. It has no default, since published figures differ in
            it.
        instances: 'subject' or 'all', see `DistanceCollector`.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> annotated = np.array([[[0, 0], [40, 0]]])
        >>> metric = NME(Skeleton('eyes', ('left_eye', 'right_eye')), normalizer=('left_eye', 'right_eye'))
        >>> predictions = Poses(annotated + [3, 4], np.ones((1, 2)), np.ones(1))
        >>> metric.update(predictions, Record('a.jpg', 'a', Instances.from_annotations(annotated, np.full((1, 2), 2))))
        >>> metric.compute().values['NME']
        12.5
    """

    name, unit_factor = 'NME', 100.0

    def __init__(self, skeleton: Skeleton, normalizer: NormalizerRule, instances: InstanceMode = 'subject'):
        super().__init__(skeleton, normalizer, instances)

    def compute(self) -> MetricResult:
        result = super().compute()
        if result.values:
            result.notes.append(f'NME is in percent of {self.collector.normalizer}')
        return result
