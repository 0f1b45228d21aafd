"""The contract of a metric: people, predicted and true, to numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from poseplug.errors import ConfigError, MismatchError
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton


@dataclass
class Scores:
    """What a metric found: `values` by name, `curves` by name as (x, y) and `notes` on what was left out and why."""

    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As dicts, lists and numbers, for a file."""
        return {'metrics': self.values, 'curves': {k: [*map(list, v)] for k, v in self.curves.items()},
                'notes': self.notes}  # fmt: skip


class Metric(ABC):
    """Collects predicted and true people picture by picture. `skeleton` says what the joints are.

    Where the people of a `Record` were found by a detector, its `truth` holds the annotated ones. `lower` says that a
    smaller value is a better one.
    """

    skeleton: Skeleton
    lower: ClassVar[bool] = False

    @abstractmethod
    def add(self, predicted: Poses, true: Record) -> None:
        """The predicted people of one picture, in image pixels, and its annotations."""

    @abstractmethod
    def compute(self) -> Scores:
        """The numbers over everything added."""


def percent(share: float | np.floating) -> float:
    """A share as a percentage with two decimals."""
    return round(100 * float(share), 2)


def check_joints(skeleton: Skeleton, predicted: Poses, true: Record) -> None:
    """An error where predicted or annotated people have other joints than the metric's skeleton."""
    for what, people in (('predicted', predicted), ('annotated', true)):
        joints = people.keypoints.shape[1]
        if len(people.keypoints) and joints != len(skeleton):
            raise MismatchError(
                f'{true.id}: people are {what} with {joints} joints, but the metric measures the {len(skeleton)} of '
                f'skeleton {skeleton.name!r}; give model, data and metric one skeleton'
            )


def check_choice(owner: str, setting: str, given: object, known: Iterable[str]) -> None:
    """An error where a setting is none of the known names."""
    if given not in (known := tuple(known)):
        raise ConfigError(f'{owner}: {setting} is one of {", ".join(map(repr, known))}; got {given!r}')
