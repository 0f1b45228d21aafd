"""CrowdPose's average precision on easy, medium and hard images (Li et al. 2019, arXiv:1812.00324)."""

from __future__ import annotations

__all__ = ['CrowdPoseAP']

import math
from collections.abc import Sequence
from typing import Any

from poseplug.core.sample import ImageKey
from poseplug.core.setting_checks import check_intervals, setting_error
from poseplug.evaluation.average_precision import AveragePrecision
from poseplug.evaluation.base import MetricResult
from poseplug.evaluation.oks_ap import COCO_STATS
from poseplug.evaluation.oks_evaluators import PrecisionRecallTable
from poseplug.registry import METRICS

_UNCOUNTED_KEYPOINTS = ('head_top', 'neck')  # of the data set; other skeletons may lack them
_OVERALL_STATS = ('AP', 'AP50', 'AP75', 'AR', 'AR50', 'AR75')


@METRICS.register_module()
class CrowdPoseAP(AveragePrecision):
    """Average precision and recall over OKS 0.50 to 0.95, in percent, over all images and by their crowd index.

    As in the data set's own evaluation, the area of an instance is 0.53 x width x height of its box, whatever is
    annotated, and instances without a labeled keypoint, visible or occluded, are ignored. Head and neck do not count
    there (the file's `num_keypoints` counts without them), but they are part of OKS like all others. Predictions on a
    crowd with annotated keypoints are compared with these, and are neither right nor wrong.

    Args:
        args: Those of `AveragePrecision`.
        crowd_index_bounds: The crowd indices where medium and hard images begin. The default is that of the data set's
            own code and thereby of the published numbers (Jeff-sjtu/CrowdPose, crowdposetools/cocoeval.py; also
            xtcocotools and faster-coco-eval); the text of the paper says 0.1 and 0.8.
        uncounted_keypoints: Names of keypoints that alone do not make an instance count, where the file does not state
            a number of keypoints. Those of the default may be absent from the skeleton.
        settings: Those of `AveragePrecision`.

    Raises:
        ConfigError: A setting is out of range, or names an unknown keypoint.

    Example:
        >>> import numpy as np
        >>> from poseplug.core.instances import Instances
        >>> from poseplug.core.poses import Poses
        >>> from poseplug.core.sample import Record
        >>> from poseplug.core.skeleton import Skeleton
        >>> eyes = Skeleton('eyes', ('left_eye', 'right_eye'), sigmas=(0.025, 0.025))
        >>> annotated, box = np.array([[[100.0, 100.0], [140.0, 100.0]]]), np.array([[80.0, 80.0, 180.0, 180.0]])
        >>> instances = Instances.from_annotations(annotated, np.full((1, 2), 2), boxes=box)
        >>> record = Record('1.jpg', '1', instances, crowd_index=0.9)
        >>> metric = CrowdPoseAP(eyes)
        >>> metric.update(Poses(annotated + 0.5, np.ones((1, 2)), np.ones(1)), record)
        >>> metric.compute().values['AP_hard']
        100.0
    """

    area_source = 'box'

    def __init__(
        self,
        *args: Any,
        crowd_index_bounds: tuple[float, float] = (0.2, 0.8),
        uncounted_keypoints: Sequence[str] = _UNCOUNTED_KEYPOINTS,
        **settings: Any,
    ):
        check_intervals('CrowdPoseAP', 0, 1, crowd_index_bounds=crowd_index_bounds)
        super().__init__(*args, **settings)
        if isinstance(uncounted_keypoints, str) or not isinstance(uncounted_keypoints, Sequence):
            expected = "a list of names, such as ('head_top', 'neck')"
            raise setting_error('CrowdPoseAP', 'uncounted_keypoints', expected, uncounted_keypoints)
        if tuple(uncounted_keypoints) != _UNCOUNTED_KEYPOINTS:
            for name in uncounted_keypoints:
                self.skeleton.index(name)  # a name that no keypoint has would count nothing out
        # All 8,527 annotations of the official validation set state the number of labeled keypoints but head and neck.
        self.collector.count_stated_keypoints(uncounted_keypoints)
        self.crowd_index_bounds = tuple(crowd_index_bounds)

    def compute_stats(self) -> dict[str, float]:
        """Return the nine numbers as fractions, -1 where no instance is annotated in such images."""
        # All images at once; then each difficulty alone, as the data set's own code does.
        table = self._evaluate_images(None)
        stats = {name: table.summarize(*COCO_STATS[name]) for name in _OVERALL_STATS}
        for difficulty, keys in self.split_by_crowd_index().items():
            ap = self._evaluate_images(keys).summarize('AP') if keys else -1.0
            stats[f'AP_{difficulty}'] = ap
        return stats

    def split_by_crowd_index(self) -> dict[str, list[ImageKey]]:
        """Return the keys of easy, medium and hard images; images without a crowd index are in none."""
        medium_bound, hard_bound = self.crowd_index_bounds
        splits: dict[str, list[ImageKey]] = {'easy': [], 'medium': [], 'hard': []}
        for key, record in self.collector.records.items():
            # NaN stands for none, and would be "hard" by the comparisons below.
            if math.isnan(record.crowd_index):
                continue
            if record.crowd_index < medium_bound:
                splits['easy'].append(key)
            elif record.crowd_index < hard_bound:
                splits['medium'].append(key)
            else:
                splits['hard'].append(key)
        return splits

    def _evaluate_images(self, keys: list[ImageKey] | None) -> PrecisionRecallTable:
        """The precision and recall over some images, or over all."""
        dataset = self.collector.to_coco_dataset(keys)
        results = self.collector.to_coco_results(keys)
        return self.evaluator(dataset, results, self.collector.sigmas, 'keypoints_crowd')

    def describe_absence(self) -> str:
        return f'is annotated in such images ({len(self.collector.records)} in all)'

    def compute(self) -> MetricResult:
        result = super().compute()
        if not result.values:
            return result
        records = self.collector.records.values()
        num_without_index = sum(math.isnan(record.crowd_index) for record in records)
        if num_without_index:
            result.notes.append(
                f'{num_without_index} of {len(records)} images have no crowd index: neither easy nor hard'
            )
        medium_bound, hard_bound = self.crowd_index_bounds
        result.notes.append(f'crowd index below {medium_bound:g} is easy, from {hard_bound:g} on hard')
        return result
