"""The contract of a metric: people, predicted and true, to numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """Collects predicted and true people picture by picture. `skeleton` says what the joints are."""

    skeleton: Skeleton

    @abstractmethod
    def add(self, predicted: Poses, true: Record) -> None:
        """The predicted people of one picture, in image pixels, and its annotations."""

    @abstractmethod
    def compute(self) -> Scores:
        """The numbers over everything added."""


def percent(share: float | np.floating) -> float:
    """A share as a percentage with two decimals."""
    return round(100 * float(share), 2)
