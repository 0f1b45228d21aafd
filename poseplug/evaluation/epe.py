"""EPE: the mean distance between annotated and predicted keypoints, in pixels."""

from __future__ import annotations

__all__ = ['EPE']

from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.distance_collector import InstanceMode
from poseplug.evaluation.mean_distance import MeanDistance
from poseplug.registry import METRICS


@METRICS.register_module()
class EPE(MeanDistance):
    """End-point error: the mean distance between annotated and predicted keypoints in pixels.

    Args:
        skeleton: The keypoints that are measured.
        instances: 'subject' or 'all', see `DistanceCollector`.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> annotated = np.array([[[0, 0], [40, 0]]])
        >>> metric = EPE(Skeleton('eyes', ('left_eye', 'right_eye')))
        >>> predictions = Poses(annotated + [3, 4], np.ones((1, 2)), np.ones(1))
        >>> metric.update(predictions, Record('a.jpg', 'a', Instances.from_annotations(annotated, np.full((1, 2), 2))))
        >>> metric.compute().values['EPE']
        5.0
    """

    name, unit_factor = 'EPE', 1.0

    def __init__(self, skeleton: Skeleton, instances: InstanceMode = 'subject'):
        # A size of 1 px for all: distances stay in pixels.
        super().__init__(skeleton, 1.0, instances)
