"""A metric over the keypoints of another skeleton than the model's."""

from __future__ import annotations

__all__ = ['OnSkeleton']

from collections.abc import Mapping
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.registry import METRICS
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot


@METRICS.register_module()
class OnSkeleton(Metric):
    """A metric over the keypoints of one skeleton, selected by name from those of the model.

    A model of several data sets (skeleton 'lsp+coco') is so measured on each of them as a model of that data set alone
    would be, with its sigmas, torso and head:
    `dict(type='OnSkeleton', target_skeleton='coco', metric=dict(type='OKSAP'))`.

    Args:
        target_skeleton: The skeleton that is measured, or its registered name.
        metric: The metric, or its config.
        skeleton: The skeleton of model and data.

    Raises:
        ConfigError: The model's skeleton lacks a keypoint of the target skeleton.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> face = Skeleton('face', ('left_eye', 'right_eye', 'chin'))
        >>> eyes = Skeleton('eyes', ('left_eye', 'right_eye'))
        >>> annotated = np.array([[[0.0, 0.0], [40.0, 0.0], [20.0, 50.0]]])
        >>> metric = OnSkeleton(eyes, dict(type='EPE'), face)
        >>> predictions = Poses(annotated + [[3, 4], [3, 4], [99, 99]], np.ones((1, 3)), np.ones(1))
        >>> metric.update(predictions, Record('a.jpg', 'a', Instances.from_annotations(annotated, np.full((1, 3), 2))))
        >>> metric.compute().values['EPE']
        5.0
    """

    slots = {'metric': Slot('metric', ('skeleton',))}

    def __init__(self, target_skeleton: Skeleton | str, metric: Metric | Mapping[str, Any], skeleton: Skeleton):
        self.model_skeleton, self.skeleton = skeleton, get_skeleton(target_skeleton)
        missing = [name for name in self.skeleton.keypoints if name not in skeleton.keypoints]
        if missing:
            raise ConfigError(
                f'OnSkeleton: {self.skeleton.name!r} has the keypoint {missing[0]!r}, which the skeleton '
                f'{skeleton.name!r} of model and data lacks; set target_skeleton to one whose keypoints it has'
            )
        self.metric: Metric = METRICS.build(metric, skeleton=self.skeleton)
        # Labeled by the skeleton, so that several metrics of one kind read as "coco:AP" and "lsp:AP".
        self.lower_is_better, self.label = self.metric.lower_is_better, self.skeleton.name

    @property
    def kind(self) -> type:
        return self.metric.kind

    def describe(self) -> str:
        return f'{self.metric.describe()} on the skeleton {self.skeleton.name!r}'

    def update(self, predictions: Poses, record: Record) -> None:
        # Predictions and annotations by the same names, so that every other metric works unchanged.
        indices = self.skeleton.indices_in(self.model_skeleton)
        self.metric.update(
            predictions.select_keypoints(indices), record.map_to_skeleton(self.model_skeleton, self.skeleton)
        )

    def compute(self) -> MetricResult:
        return self.metric.compute()
