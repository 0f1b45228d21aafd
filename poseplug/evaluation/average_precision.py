"""What the average precisions by OKS share: the collected instances, the evaluator, and the result with its notes."""

from __future__ import annotations

__all__ = ['AveragePrecision']

from abc import abstractmethod
from typing import ClassVar, Literal

from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import Metric, MetricResult, to_percent
from poseplug.evaluation.coco_collector import AreaSource, CocoCollector, NmsMode, ScoreMode
from poseplug.evaluation.collector_notes import list_collector_notes
from poseplug.evaluation.oks_evaluators import get_oks_evaluator


class AveragePrecision(Metric):
    """Average precision and recall over OKS 0.50 to 0.95, in percent.

    Args:
        skeleton: The keypoints that are measured; it must have sigmas.
        evaluator: 'faster-coco-eval' or 'xtcocotools'; they agree.
        score_mode: 'instance' ranks instances by `Poses.instance_scores`; 'bbox_keypoint' by the score of the
            detector's box (1 for an annotated one) times the mean of their keypoint scores above 0.2 (the rule of HRNet
            and MMPose).
        nms_mode: 'none', 'oks_nms' or 'soft_oks_nms', by the areas of the predicted boxes, else of the detector's, else
            of the box around the keypoints.
        nms_threshold: OKS above which one instance suppresses another.

    Attributes:
        area_source: What the area of an annotated instance is: 'annotated', or 'box' for a fraction of its box.
        collector: The instances that were added.
        evaluator: Matches predicted and annotated instances, see `poseplug.evaluation.oks_evaluators`.

    Raises:
        ConfigError: The skeleton has no sigmas, or a setting has a value that is not allowed.
    """

    area_source: ClassVar[AreaSource] = 'annotated'

    def __init__(
        self,
        skeleton: Skeleton,
        evaluator: Literal['faster-coco-eval', 'xtcocotools'] = 'faster-coco-eval',
        score_mode: ScoreMode = 'instance',
        nms_mode: NmsMode = 'none',
        nms_threshold: float = 0.9,
    ):
        name = type(self).__name__
        self.skeleton = skeleton
        self.collector = CocoCollector(
            skeleton, score_mode, nms_mode, nms_threshold, self.area_source, metric_name=name
        )
        # Asked for now: a missing package ends the run before the predictions, not behind them.
        self.evaluator = get_oks_evaluator(evaluator, name)

    def update(self, predictions: Poses, record: Record) -> None:
        self.collector.update(predictions, record)

    @abstractmethod
    def compute_stats(self) -> dict[str, float]:
        """Return the scores as fractions by name, -1 where no instance is annotated."""

    @abstractmethod
    def describe_absence(self) -> str:
        """Return the end of the note on scores of -1, after 'no instance'."""

    def compute(self) -> MetricResult:
        result = MetricResult(notes=list_collector_notes(self.collector))
        if not self.collector.count_annotated():
            result.notes.append(f'no AP: no instance is annotated in {len(self.collector.records)} images')
            return result
        stats = self.compute_stats()
        # COCO's -1 means that nothing was to be found; reported as a score it would spoil means and comparisons.
        absent = [name for name, value in stats.items() if value < 0]
        zero = [name for name, value in stats.items() if value == 0]
        result.values.update({name: to_percent(value) for name, value in stats.items() if value >= 0})
        if absent:
            result.notes.append(f'{", ".join(absent)} not reported: no instance {self.describe_absence()}')
        if zero:
            result.notes.append(f'{", ".join(zero)} 0: no predicted instance is close enough to an annotated one')
        return result
