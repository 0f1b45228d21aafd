"""Average precision by OKS of each part of whole-body keypoints (Jin et al. 2020, arXiv:2007.11858)."""

from __future__ import annotations

__all__ = ['WholeBodyAP']

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.evaluation.average_precision import AveragePrecision
from poseplug.evaluation.oks_ap import COCO_STATS
from poseplug.evaluation.oks_evaluators import PrecisionRecallTable
from poseplug.registry import METRICS

_REPORTED_STATS = ('AP', 'AR')
_HANDS = ('left_hand', 'right_hand')


@METRICS.register_module()
class WholeBodyAP(AveragePrecision):
    """Average precision and recall over OKS 0.50 to 0.95, in percent, of all keypoints and of those of each part.

    The parts of `coco_wholebody` are body, foot, face, left_hand and right_hand. As in the data set's own evaluation,
    every part is measured with the area of the whole instance and ranked by its score. An instance without a labeled
    keypoint of a part is ignored there, and a predicted instance without a keypoint score above 0 in a part does not
    count there. 'hand' is the mean of both hands.

    Args:
        args: Those of `AveragePrecision`; the skeleton must have groups.
        parts: Names of the keypoints by part; by default the groups of the skeleton.
        settings: Those of `AveragePrecision`; instances are suppressed by all keypoints.

    Raises:
        ConfigError: The skeleton has no sigmas, no groups, or no keypoint of a part.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> groups = dict(eyes=('left_eye', 'right_eye'), mouth=('mouth',))
        >>> face = Skeleton('face', ('left_eye', 'right_eye', 'mouth'), sigmas=(0.025, 0.025, 0.05), groups=groups)
        >>> annotated = np.array([[[100.0, 100.0], [140.0, 100.0], [120.0, 150.0]]])
        >>> instances = Instances.from_annotations(annotated, np.full((1, 3), 2), areas=np.array([10000.0]))
        >>> metric = WholeBodyAP(face)
        >>> poses = Poses(annotated + [[0, 0], [0, 0], [0, 99]], np.ones((1, 3)), np.ones(1))
        >>> metric.update(poses, Record('1.jpg', '1', instances))
        >>> values = metric.compute().values
        >>> values['AP/eyes'], values['AP/mouth']
        (100.0, 0.0)
    """

    def __init__(self, *args: Any, parts: Mapping[str, Sequence[str]] | None = None, **settings: Any):
        super().__init__(*args, **settings)
        skeleton = self.skeleton
        self.parts = {part: tuple(names) for part, names in (parts or skeleton.groups).items()}
        if not self.parts:
            raise ConfigError(
                f'skeleton {skeleton.name!r} has no groups, whose keypoints WholeBodyAP measures part by part; give it '
                f'groups=dict(part=(keypoint, ...)), or the metric parts'
            )
        self.part_indices = {
            part: np.array([skeleton.index(name) for name in names]) for part, names in self.parts.items()
        }

    def compute_part_tables(self) -> dict[str, PrecisionRecallTable]:
        """Return the precision and recall of every part; those of all keypoints under an empty name."""
        # Suppressed once, by all keypoints; the parts then measure the same instances.
        dataset, results = self.collector.to_coco_dataset(), self.collector.to_coco_results(keypoint_scores=True)
        tables = {}
        for part, indices in {'': np.arange(len(self.skeleton)), **self.part_indices}.items():
            part_dataset, part_results = _select_annotations(dataset, indices), _select_results(results, indices)
            tables[part] = self.evaluator(part_dataset, part_results, self.collector.sigmas[indices], 'keypoints')
        return tables

    def compute_stats(self) -> dict[str, float]:
        """Return AP and AR of all keypoints and of every part as fractions, -1 where no instance is annotated."""
        tables = self.compute_part_tables()
        stats: dict[str, float] = {}
        for stat in _REPORTED_STATS:
            values = {part: table.summarize(*COCO_STATS[stat]) for part, table in tables.items() if part}
            # Published tables have one row for both hands.
            if set(_HANDS) <= set(values):
                hands = [values[hand] for hand in _HANDS if values[hand] >= 0]
                values['hand'] = sum(hands) / len(hands) if hands else -1.0
            stats[stat] = tables[''].summarize(*COCO_STATS[stat])
            stats.update({f'{stat}/{part}': value for part, value in values.items()})
        return stats

    def describe_absence(self) -> str:
        return f'has labeled keypoints of that part among {self.collector.count_annotated()}'


def _select_annotations(dataset: dict[str, Any], indices: np.ndarray) -> dict[str, Any]:
    """Annotations in COCO's layout with some of their keypoints alone; those without a labeled one are ignored."""
    annotations = []
    for annotation in dataset['annotations']:
        keypoints = np.reshape(annotation['keypoints'], (-1, 3))[indices]
        # A region stays ignored, and an instance counts if a keypoint of the part is labeled.
        count = int((keypoints[:, 2] > 0).sum()) if annotation['num_keypoints'] else 0
        annotations.append({**annotation, 'keypoints': keypoints.ravel().tolist(), 'num_keypoints': count})
    return {**dataset, 'annotations': annotations}


def _select_results(results: list[dict[str, Any]], indices: np.ndarray) -> list[dict[str, Any]]:
    """Predictions in COCO's layout with some of their keypoints alone, without those that have no score above 0."""
    selected = []
    for result in results:
        keypoints = np.reshape(result['keypoints'], (-1, 3))[indices]
        if (keypoints[:, 2] > 0).any():
            keypoints[:, 2] = 1  # one of the evaluators drops instances whose scores are 0
            selected.append({**result, 'keypoints': keypoints.ravel().tolist()})
    return selected
