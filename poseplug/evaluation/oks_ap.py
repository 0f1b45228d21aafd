"""COCO's average precision and recall by object keypoint similarity (Lin et al. 2014; cocodataset.org)."""

from __future__ import annotations

__all__ = ['OKSAP']

from typing import Literal

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult, to_percent
from poseplug.evaluation.coco_collector import CocoCollector, NmsMode, ScoreMode
from poseplug.evaluation.oks_evaluators import get_oks_evaluator
from poseplug.registry import METRICS

# The arguments of `PrecisionRecallTable.summarize` for each of COCO's ten numbers.
COCO_STATS: dict[str, tuple[str, float | None, str]] = {
    'AP': ('AP', None, 'all'),
    'AP50': ('AP', 0.5, 'all'),
    'AP75': ('AP', 0.75, 'all'),
    'AP_medium': ('AP', None, 'medium'),
    'AP_large': ('AP', None, 'large'),
    'AR': ('AR', None, 'all'),
    'AR50': ('AR', 0.5, 'all'),
    'AR75': ('AR', 0.75, 'all'),
    'AR_medium': ('AR', None, 'medium'),
    'AR_large': ('AR', None, 'large'),
}


@METRICS.register_module()
class OKSAP(Metric):
    """Average precision and recall over OKS 0.50 to 0.95, in percent, of all instances of all images.

    An image may be added once, or once per instance (top-down): its annotations are those of the first time, and a
    second prediction of the same annotated instance (by `Record.annotation_ids`) is dropped. Crowds and instances
    without keypoints are ignored. A number that COCO would report as -1, since no instance of that size is annotated,
    is not reported. Notes say what was dropped, suppressed, ignored, missed or estimated, and why a number is 0.

    Args:
        skeleton: The keypoints that are measured; it must have sigmas.
        evaluator: 'faster-coco-eval' or 'xtcocotools'; they agree.
        score_mode: 'instance' ranks instances by `Poses.instance_scores`; 'bbox_keypoint' by the score of the
            detector's box (1 for an annotated one) times the mean of their keypoint scores above 0.2 (the rule of HRNet
            and MMPose).
        nms_mode: 'none', 'oks_nms' or 'soft_oks_nms', by the areas of the predicted boxes, else of the detector's, else
            of the box around the keypoints.
        nms_threshold: OKS above which one instance suppresses another.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> eyes = Skeleton('eyes', ('left_eye', 'right_eye'), sigmas=(0.025, 0.025))
        >>> annotated = np.array([[[100.0, 100.0], [140.0, 100.0]]])
        >>> instances = Instances.from_annotations(annotated, np.full((1, 2), 2), areas=np.array([10000.0]))
        >>> record = Record('1.jpg', '1', instances)
        >>> metric = OKSAP(eyes)
        >>> metric.update(Poses(annotated + 1, np.ones((1, 2)), np.ones(1)), record)
        >>> metric.compute().values['AP']
        100.0
    """

    def __init__(
        self,
        skeleton: Skeleton,
        evaluator: Literal['faster-coco-eval', 'xtcocotools'] = 'faster-coco-eval',
        score_mode: ScoreMode = 'instance',
        nms_mode: NmsMode = 'none',
        nms_threshold: float = 0.9,
    ):
        self.collector = CocoCollector(skeleton, score_mode, nms_mode, nms_threshold)
        self.skeleton, self.evaluator = skeleton, get_oks_evaluator(evaluator, 'OKSAP')

    def update(self, predictions: Poses, record: Record) -> None:
        self.collector.update(predictions, record)

    def compute_stats(self) -> dict[str, float]:
        """Return COCO's ten numbers as fractions, -1 where no instance of that size is annotated."""
        dataset, results = self.collector.to_coco_dataset(), self.collector.to_coco_results()
        table = self.evaluator(dataset, results, self.collector.sigmas, 'keypoints')
        return {name: table.summarize(*arguments) for name, arguments in COCO_STATS.items()}

    def compute(self) -> MetricResult:
        result = MetricResult(notes=self.collector.collect_notes())
        num_annotated = self.collector.count_annotated()
        if num_annotated:
            add_stats(result, self.compute_stats(), f'of that size is annotated among {num_annotated} instances')
        else:
            result.notes.append(f'no AP: no instance is annotated in {len(self.collector.records)} images')
        return result


def add_stats(result: MetricResult, stats: dict[str, float], absence_reason: str) -> None:
    """Add numbers in percent to a result, and notes on those that are absent or 0.

    Args:
        result: The result that is changed.
        stats: Fractions by name; -1 where no instance is annotated, which is not added.
        absence_reason: End of the note on absent numbers, after 'no instance'.
    """
    absent = [name for name, value in stats.items() if value < 0]
    zero = [name for name, value in stats.items() if value == 0]
    result.values.update({name: to_percent(value) for name, value in stats.items() if value >= 0})
    if absent:
        result.notes.append(f'{", ".join(absent)} not reported: no instance {absence_reason}')
    if zero:
        result.notes.append(f'{", ".join(zero)} 0: no predicted instance is close enough to an annotated one')
