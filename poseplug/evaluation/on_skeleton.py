"""A metric over the joints of another skeleton than the model's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Metric, Scores
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton, get_skeleton


@METRICS.register_module()
class OnSkeleton(Metric):
    """Measures by `metric` the joints of the skeleton `of` alone, found by name among those of the model.

    So that a model of several data sets (skeleton 'lsp+coco') is measured on each as a model of that set alone would
    be, with that set's sigmas, torso and head: `dict(type='OnSkeleton', of='coco', metric=dict(type='OKSAP'))`.
    """

    def __init__(self, of: Skeleton | str, metric: Metric | Mapping[str, Any], skeleton: Skeleton):
        self.model_skeleton, self.skeleton = skeleton, get_skeleton(of)
        lacking = [j for j in self.skeleton.joints if j not in skeleton.joints]
        if lacking:
            raise ConfigError(
                f'OnSkeleton: {self.skeleton.name!r} has the joint {lacking[0]!r}, which the skeleton '
                f'{skeleton.name!r} of model and data lacks'
            )
        self.metric: Metric = METRICS.build(metric, skeleton=self.skeleton)
        self.lower = self.metric.lower  # type: ignore[misc]

    def add(self, predicted: Poses, true: Record) -> None:
        places = self.skeleton.mapping(self.model_skeleton)
        self.metric.add(predicted.with_joints(places), true.mapped_to(self.model_skeleton, self.skeleton))

    def compute(self) -> Scores:
        return self.metric.compute()
