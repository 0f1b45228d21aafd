"""PCKh: percentage of correct keypoints by the size of the head (Andriluka et al. 2014, MPII)."""

from __future__ import annotations

__all__ = ['PCKh']

from collections.abc import Sequence
from typing import Literal

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.setting_checks import check_counts, check_thresholds
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult, check_choice, to_percent
from poseplug.evaluation.distance_collector import (
    DistanceCollector,
    InstanceMode,
    average_by_group,
    nanmean,
    pck_per_keypoint,
)
from poseplug.registry import METRICS

_AVERAGE_DESCRIPTIONS = {
    'weighted': 'the mean weighted by how often each keypoint is labeled (the rule of HRNet and MMPose)',
    'unweighted': 'the unweighted mean over the keypoints (the rule of the hourglass port)',
}


@METRICS.register_module()
class PCKh(Metric):
    """Percentage of keypoints within a fraction of the head's size.

    Two rules of the mean are in use, and their results differ; a note names the one that was used. Two rows are called
    head in tables: the mean of the group 'head', neck and head top (MPII's own program), and the head top alone (HRNet,
    MMPose and most papers). Both are reported, as `PCKh@0.5/head` and `PCKh@0.5/head_top`. What HRNet's code prints as
    Mean@0.1 is measured at 0.11.

    Args:
        skeleton: The keypoints that are measured.
        thresholds: Fractions of the head's size up to which a keypoint is correct; each is reported as
            `PCKh@threshold`.
        average: 'weighted' is the mean over all labeled keypoints (HRNet, MMPose), 'unweighted' the mean over the
            percentages of the keypoints.
        head_size: 'annotated' is the head size of the data set (`Instances.head_sizes`; MPII: 0.6 x the diagonal of the
            head's rectangle), 'keypoints' the distance between the skeleton's two keypoints of the head.
        excluded_keypoints: Names of keypoints that are reported but are not part of the mean.
        instances: 'subject' or 'all', see `DistanceCollector`.
        max_threshold: Largest threshold of the curves.
        num_steps: Steps of the curves from 0 to it.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> skeleton = Skeleton('bust', ('neck', 'head_top', 'wrist'), head=('neck', 'head_top'))
        >>> annotated = np.array([[[50, 80], [50, 40], [90, 120]]])
        >>> instances = Instances.from_annotations(annotated, np.full((1, 3), 2), head_sizes=np.array([30]))
        >>> record = Record('a.jpg', 'a', instances)
        >>> metric = PCKh(skeleton)
        >>> metric.update(Poses(annotated + [10, 0], np.ones((1, 3)), np.ones(1)), record)
        >>> values = metric.compute().values
        >>> values['PCKh@0.5'], values['PCKh@0.1']
        (100.0, 0.0)
    """

    def __init__(
        self,
        skeleton: Skeleton,
        thresholds: Sequence[float] = (0.5, 0.1),
        average: Literal['weighted', 'unweighted'] = 'weighted',
        head_size: Literal['annotated', 'keypoints'] = 'annotated',
        excluded_keypoints: Sequence[str] = ('pelvis', 'thorax'),
        instances: InstanceMode = 'subject',
        max_threshold: float = 0.5,
        num_steps: int = 20,
    ):
        check_choice('PCKh', 'average', average, _AVERAGE_DESCRIPTIONS)
        check_choice('PCKh', 'head_size', head_size, ('annotated', 'keypoints'))
        check_thresholds('PCKh', thresholds=thresholds, max_threshold=max_threshold)
        check_counts('PCKh', num_steps=num_steps)
        self.curve_thresholds = np.linspace(0, max_threshold, num_steps + 1)
        rule = 'head' if head_size == 'annotated' else 'head_keypoints'
        self.collector = DistanceCollector(skeleton, rule, instances, 'PCKh')
        self.skeleton, self.thresholds, self.average = skeleton, tuple(thresholds), average
        # MPII's published means leave pelvis and thorax out.
        self.included_mask = np.array([name not in excluded_keypoints for name in skeleton.keypoints])
        if not self.included_mask.any():
            raise ConfigError(
                f'PCKh: excluded_keypoints leaves no keypoint of skeleton {skeleton.name!r}; name fewer of them'
            )

    def update(self, predictions: Poses, record: Record) -> None:
        self.collector.update(predictions, record)

    def compute_per_keypoint(self, threshold: float) -> np.ndarray:
        """Return the fractions (K,) of correct ones among the labeled keypoints, NaN for one never labeled."""
        return pck_per_keypoint(self.collector.normalize_distances()[0], threshold)

    def compute_mean(self, threshold: float, average: str | None = None) -> float:
        """Return the fraction of correct keypoints over all that are included, NaN where none is labeled.

        Args:
            threshold: A keypoint is correct up to this fraction of the head's size.
            average: The rule of the mean, by default that of the metric.
        """
        distances = self.collector.normalize_distances()[0]
        return _average_pck(distances[:, self.included_mask], threshold, average or self.average)

    def compute(self) -> MetricResult:
        distances, notes = self.collector.normalize_distances()
        included_distances = distances[:, self.included_mask]
        result = MetricResult(notes=notes)
        if np.isnan(included_distances).all():
            return result
        for threshold in self.thresholds:
            name = f'PCKh@{threshold:g}'
            result.values[name] = to_percent(_average_pck(included_distances, threshold, self.average))
            for group, fraction in average_by_group(self.skeleton, pck_per_keypoint(distances, threshold)):
                result.values[f'{name}/{group}'] = to_percent(fraction)
            self._add_head_top(result, name, pck_per_keypoint(distances, threshold))
        self._add_curves(result, distances)
        result.notes.append(f'PCKh is {_AVERAGE_DESCRIPTIONS[self.average]}{self._describe_exclusions()}')
        return result

    def _add_curves(self, result: MetricResult, distances: np.ndarray) -> None:
        """Add the curves over the threshold: the mean by the metric's rule, and every group of keypoints."""
        thresholds = self.curve_thresholds.tolist()
        included = distances[:, self.included_mask]
        means = [to_percent(_average_pck(included, t, self.average)) for t in thresholds]
        result.curves['mean'] = (thresholds, means)
        fractions = np.array([pck_per_keypoint(distances, t) for t in thresholds])
        for group, values in average_by_group(self.skeleton, fractions.T):
            result.curves[group] = (thresholds, [to_percent(value) for value in values])

    def _add_head_top(self, result: MetricResult, name: str, fractions: np.ndarray) -> None:
        """Add the head top alone, which most tables call head, where the group 'head' has further keypoints."""
        members = self.skeleton.groups.get('head', ())
        head_top = self.skeleton.head[1] if self.skeleton.head else ''
        if head_top in members and len(members) > 1:
            result.values[f'{name}/{head_top}'] = to_percent(fractions[self.skeleton.index(head_top)])
            note = f'head is the mean of {" and ".join(members)} (the rule of MPII); most tables print {head_top} alone'
            # Called once per threshold, noted once.
            if note not in result.notes:
                result.notes.append(note)

    def _describe_exclusions(self) -> str:
        """The end of the note: which keypoints are not part of the mean."""
        pairs = zip(self.skeleton.keypoints, self.included_mask, strict=True)
        excluded = [name for name, included in pairs if not included]
        return f', without {" and ".join(excluded)}' if excluded else ''


def _average_pck(distances: np.ndarray, threshold: float, average: str) -> float:
    """The fraction of labeled keypoints (M, K) within the threshold: over all of them, or the mean over K."""
    if average == 'unweighted':
        return float(nanmean(pck_per_keypoint(distances, threshold)))
    # All keypoints as one column: each label counts once.
    return float(pck_per_keypoint(distances.reshape(-1, 1), threshold)[0])
