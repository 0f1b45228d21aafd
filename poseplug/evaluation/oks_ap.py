"""COCO's average precision and recall by object keypoint similarity (Lin et al. 2014; cocodataset.org)."""

from __future__ import annotations

__all__ = ['OKSAP']

from poseplug.evaluation.average_precision import AveragePrecision
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
class OKSAP(AveragePrecision):
    """Average precision and recall over OKS 0.50 to 0.95, in percent, of all instances of all images.

    An image may be added once, or once per instance (top-down): its annotations are those of the first time, and a
    second prediction of the same annotated instance (by `Record.annotation_ids`) is dropped. Crowds and instances
    without keypoints are ignored. A number that COCO would report as -1, since no instance of that size is annotated,
    is not reported. Notes say what was dropped, suppressed, ignored, missed or estimated, and why a number is 0.

    Args:
        settings: Those of `AveragePrecision`.

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

    def compute_stats(self) -> dict[str, float]:
        """Return COCO's ten numbers as fractions, -1 where no instance of that size is annotated."""
        dataset, results = self.collector.to_coco_dataset(), self.collector.to_coco_results()
        table = self.evaluator(dataset, results, self.collector.sigmas, 'keypoints')
        return {name: table.summarize(*arguments) for name, arguments in COCO_STATS.items()}

    def describe_absence(self) -> str:
        return f'of that size is annotated among {self.collector.count_annotated()} instances'
