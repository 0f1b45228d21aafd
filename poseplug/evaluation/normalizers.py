"""What a distance is divided by: the size of an instance, by a declared rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import KeypointPair
from poseplug.evaluation.base import check_choice

_BOX_NORMALIZERS = {
    'box': lambda sides: sides.max(axis=1),
    'box_diagonal': lambda sides: np.linalg.norm(sides, axis=1),
    'box_area': lambda sides: np.sqrt(sides.prod(axis=1)),
}
_SKELETON_NORMALIZERS = {'torso': 'torso', 'head_keypoints': 'head'}  # the attributes of a skeleton
_RULE_NAMES = {
    'head': 'head size',
    'box': 'longer side of the box',
    'box_diagonal': 'diagonal of the box',
    'box_area': "root of the box's area",
}
NormalizerRule = str | float | Sequence[str]


@dataclass(frozen=True)
class SizeNormalizer:
    """The size of each instance of a record in pixels, by one of these rules.

    - 'torso' and 'head_keypoints': the distance between the skeleton's two keypoints `torso` or `head`;
    - two keypoints by name, such as ('left_eye', 'right_eye'): their distance;
    - 'head': the head size that the data set annotates (`Instances.head_sizes`);
    - 'box': the longer side of the box; 'box_diagonal'; 'box_area': the square root of its area;
    - a number: the same size in pixels for all instances.

    Attributes:
        rule: The rule, as above.
        keypoint_pair: The two keypoints whose distance is the size, for a rule of keypoints.
    """

    rule: NormalizerRule
    keypoint_pair: KeypointPair | None = None

    @classmethod
    def from_rule(cls, skeleton: Skeleton, rule: NormalizerRule, metric_name: str) -> SizeNormalizer:
        """Create the normalizer of a rule.

        Args:
            skeleton: Supplies the torso or the head, and the names of keypoints.
            rule: The rule, see the class.
            metric_name: The metric that error messages name.

        Raises:
            ConfigError: The rule is unknown, or the skeleton lacks the keypoints that it needs.
        """
        # A string is a sequence, too: it is asked for first.
        if isinstance(rule, str):
            return cls(rule, _find_keypoint_pair(skeleton, rule, metric_name))
        if isinstance(rule, Real):
            if not 0 < float(rule) < np.inf:
                raise ConfigError(f'{metric_name}: a normalizer in px is above 0; got {rule}')
            return cls(float(rule))
        if isinstance(rule, Sequence) and len(rule) == 2:
            first, second = (skeleton.keypoints[skeleton.index(name)] for name in rule)
            return cls(tuple(rule), (first, second))
        raise ConfigError(f'{metric_name}: a normalizer is a name, two keypoints or a number of px; got {rule!r}')

    def __call__(self, record: Record, skeleton: Skeleton) -> np.ndarray:
        """Return the sizes (N,) in pixels of a record's instances; 0 for an instance without one."""
        instances = record.instances
        if self.keypoint_pair is not None:
            return self._measure_keypoint_pair(instances, skeleton)
        if isinstance(self.rule, float):
            return np.full(len(instances), self.rule)
        if self.rule == 'head':
            head_sizes = np.asarray(instances.head_sizes, dtype=float)
            return np.where(np.isnan(head_sizes), 0.0, head_sizes)
        # xyxy, without a pixel more: widths are differences of the corners.
        boxes = np.asarray(instances.boxes, dtype=float)
        sizes = _BOX_NORMALIZERS[str(self.rule)](boxes[:, 2:] - boxes[:, :2])
        return np.where(instances.has_box, sizes, 0.0)

    def _measure_keypoint_pair(self, instances: Instances, skeleton: Skeleton) -> np.ndarray:
        """(N,) distances in pixels between the two keypoints, 0 where one of them is not labeled."""
        indices = [skeleton.index(name) for name in self.keypoint_pair or ()]
        # The annotated keypoints: by predicted ones a wrong torso would forgive all others.
        differences = np.diff(instances.keypoints[:, indices].astype(float), axis=1)[:, 0]
        labeled = (instances.visible[:, indices] > 0).all(axis=1)
        return np.where(labeled, np.linalg.norm(differences, axis=-1), 0.0)

    @property
    def missing_reason(self) -> str:
        """Why an instance may have no size by this rule, as the end of a sentence."""
        if self.keypoint_pair is not None:
            size_name = self.rule if self.rule == 'torso' else 'length'
            names = ' or '.join(self.keypoint_pair)
            return f'{names} is not labeled or both are at one position, so there is no {size_name} to normalize by'
        size_name = 'head size' if self.rule == 'head' else 'box'
        return f'the data set has no {size_name} of them to normalize by'

    def __str__(self) -> str:
        if self.keypoint_pair is not None:
            return f'the distance from {self.keypoint_pair[0]} to {self.keypoint_pair[1]}'
        if isinstance(self.rule, float):
            return f'{self.rule:g} px'
        return f'the {_RULE_NAMES[str(self.rule)]}'


def _find_keypoint_pair(skeleton: Skeleton, rule: str, metric_name: str) -> KeypointPair | None:
    """The skeleton's pair of keypoints that a named rule means, or None for a rule without keypoints."""
    check_choice(metric_name, 'normalizer', rule, (*_SKELETON_NORMALIZERS, 'head', *_BOX_NORMALIZERS))
    if rule not in _SKELETON_NORMALIZERS:
        return None
    attribute = _SKELETON_NORMALIZERS[rule]
    pair: KeypointPair | None = getattr(skeleton, attribute)
    if pair is None:
        raise ConfigError(
            f'skeleton {skeleton.name!r} names no {attribute}, which {metric_name} divides by; set its '
            f'{attribute}=(a, b) to two keypoints'
        )
    return pair
