"""The contract of a metric: predicted and annotated instances in, numbers out."""

from __future__ import annotations

__all__ = ['Metric', 'MetricResult', 'check_choice', 'check_keypoint_count', 'to_percent']

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.registry.wiring import Slot


@dataclass
class MetricResult:
    """The numbers of a metric.

    Attributes:
        values: Scores by name, such as `{'PCK@0.2': 84.3, 'PCK@0.2/wrist': 71.0}`.
        curves: Curves by name, each as the lists of x and y.
        notes: Sentences on what was excluded and why.
        lower_is_better: Names of the scores of which a smaller value is a better one; all scores of a metric that is
            `Metric.lower_is_better` are added.

    Example:
        >>> MetricResult({'PCK@0.2': 84.3}).to_dict()
        {'metrics': {'PCK@0.2': 84.3}, 'curves': {}, 'notes': []}
    """

    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lower_is_better: frozenset[str] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as dicts, lists and numbers, as they are written to a file."""
        curves = {name: [list(x), list(y)] for name, (x, y) in self.curves.items()}
        return {'metrics': self.values, 'curves': curves, 'notes': self.notes}


class Metric(ABC):
    """The base class of metrics: collects instances image by image and computes scores over all of them.

    Attributes:
        skeleton: The keypoints that are measured.
        lower_is_better: Whether a smaller value of every score is a better one; a metric of which this holds for some
            scores names them in `MetricResult.lower_is_better`.
        label: Tells its scores apart from those of another metric of its kind in one list; by default its position.

    Example:
        >>> class NumInstances(Metric):
        ...     def __init__(self, skeleton):
        ...         self.skeleton, self.count = skeleton, 0
        ...     def update(self, predictions, record):
        ...         self.count += len(predictions)
        ...     def compute(self):
        ...         return MetricResult({'instances': float(self.count)})
        >>> metric = NumInstances(Skeleton('face', ('left_eye', 'right_eye')))
        >>> metric.update(Poses.empty(2), None)
        >>> metric.compute().values
        {'instances': 0.0}
    """

    # Provided by whatever builds the metric; no config repeats it.
    needs: ClassVar[tuple[str, ...]] = ('skeleton',)
    slots: ClassVar[Mapping[str, Slot]] = {}

    skeleton: Skeleton
    lower_is_better: bool = False
    label: str = ''

    @abstractmethod
    def update(self, predictions: Poses, record: Record) -> None:
        """Add the predictions of one image, or of the subject of one crop.

        Args:
            predictions: Predicted instances in image pixels.
            record: Annotations of the image. Where the boxes come from a detector, `record.ground_truth` holds the
                annotated instances.
        """

    @abstractmethod
    def compute(self) -> MetricResult:
        """Return the scores over everything that was added."""

    @property
    def kind(self) -> type:
        """The class whose scores these are: metrics of one kind in one list are told apart by labels."""
        return type(self)

    def describe(self) -> str:
        """Return what the metric is, for messages and notes."""
        return type(self).__name__


def to_percent(fraction: float | np.floating) -> float:
    """Convert a fraction to a percentage with two decimals."""
    return round(100 * float(fraction), 2)


def check_keypoint_count(skeleton: Skeleton, predictions: Poses, record: Record) -> None:
    """Check that predicted and annotated instances have the keypoints of the metric's skeleton.

    Raises:
        MismatchError: The number of keypoints differs.
    """
    for source, instances in (('predicted', predictions), ('annotated', record.instances)):
        num_keypoints = instances.keypoints.shape[1]
        # An image without instances has arrays of 0 rows, whose number of keypoints says nothing.
        if len(instances.keypoints) and num_keypoints != len(skeleton):
            raise MismatchError(
                f'{record.id}: instances are {source} with {num_keypoints} keypoints, but the metric measures the '
                f'{len(skeleton)} of skeleton {skeleton.name!r}; set one skeleton for model, data and metric'
            )


def check_choice(metric_name: str, setting: str, value: object, choices: Iterable[str]) -> None:
    """Check that a setting has one of its allowed values.

    Raises:
        ConfigError: It has another value.
    """
    if value not in (choices := tuple(choices)):
        raise ConfigError(f'{metric_name}: {setting} is one of {", ".join(map(repr, choices))}; got {value!r}')
