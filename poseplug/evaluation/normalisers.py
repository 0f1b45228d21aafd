"""What a distance is divided by: the size of a person, by a declared rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from poseplug.errors import ConfigError
from poseplug.evaluation.base import check_choice
from poseplug.sample import Record
from poseplug.skeleton import Pair, Skeleton

OF_BOX = {
    'box': lambda sides: sides.max(axis=1),
    'box_diagonal': lambda sides: np.linalg.norm(sides, axis=1),
    'box_area': lambda sides: np.sqrt(sides.prod(axis=1)),
}
OF_SKELETON = {'torso': 'torso', 'head_joints': 'head'}  # the fields of a skeleton
Normaliser = str | float | Sequence[str]


@dataclass(frozen=True)
class Size:
    """The size of each person of a record in px, by one of these rules:

    - 'torso' and 'head_joints': the distance of the skeleton's two joints of that name;
    - two joints by name, such as ('left_eye', 'right_eye'): their distance;
    - 'head': the head size that the data set gives (`Record.heads`);
    - 'box': the longer side of the box, 'box_diagonal', or 'box_area', the root of its area;
    - a number: so many px for everybody.
    """

    rule: Normaliser
    pair: Pair | None = None

    @classmethod
    def of(cls, skeleton: Skeleton, rule: Normaliser, owner: str) -> Size:
        """The size by a rule; an unknown one, or one that the skeleton cannot serve, is an error."""
        if isinstance(rule, str):
            return cls(rule, _named_pair(skeleton, rule, owner))
        if isinstance(rule, Real):
            if not 0 < float(rule) < np.inf:
                raise ConfigError(f'{owner}: a normaliser in px is above 0; got {rule}')
            return cls(float(rule))
        if isinstance(rule, Sequence) and len(rule) == 2:
            indices = [skeleton.index(joint) for joint in rule]
            return cls(tuple(rule), (skeleton.joints[indices[0]], skeleton.joints[indices[1]]))
        raise ConfigError(f'{owner}: a normaliser is a name, two joints or a number of px; got {rule!r}')

    def __call__(self, record: Record, skeleton: Skeleton) -> np.ndarray:
        """(N,) px, and 0 for people without that size."""
        count = len(record.keypoints)
        if self.pair is not None:
            places = [skeleton.index(joint) for joint in self.pair]
            length = np.linalg.norm(np.diff(record.keypoints[:, places].astype(float), axis=1)[:, 0], axis=-1)
            return np.where((record.visible[:, places] > 0).all(axis=1), length, 0.0)
        if isinstance(self.rule, float):
            return np.full(count, self.rule)
        values = record.heads if self.rule == 'head' else record.boxes
        if values is None:
            return np.zeros(count)
        values = np.asarray(values, dtype=float)
        return values if self.rule == 'head' else OF_BOX[str(self.rule)](values[:, 2:] - values[:, :2])

    @property
    def lacking(self) -> str:
        """Why somebody may be without this size."""
        if self.pair is not None:
            what = self.rule if self.rule == 'torso' else 'length'
            apart = f'{" or ".join(self.pair)} is not labelled or both are at one place'
            return f'{apart}, so they have no {what} to measure by'
        return f'the data set gives them no {"head size" if self.rule == "head" else "box"} to measure by'

    def __str__(self) -> str:
        if self.pair is not None:
            return f'the distance from {self.pair[0]} to {self.pair[1]}'
        if isinstance(self.rule, float):
            return f'{self.rule:g} px'
        words = {'head': 'head size', 'box': 'longer side of the box', 'box_diagonal': 'diagonal of the box',
                 'box_area': "root of the box's area"}  # fmt: skip
        return f'the {words[str(self.rule)]}'


def _named_pair(skeleton: Skeleton, rule: str, owner: str) -> Pair | None:
    """The skeleton's pair of joints that a rule means, or None for a rule that needs none."""
    check_choice(owner, 'normaliser', rule, (*OF_SKELETON, 'head', *OF_BOX))
    if rule not in OF_SKELETON:
        return None
    field = OF_SKELETON[rule]
    pair: Pair | None = getattr(skeleton, field)
    if pair is None:
        raise ConfigError(
            f'skeleton {skeleton.name!r} names no {field}, which {owner} divides by; give it {field}=(a, b)'
        )
    return pair
