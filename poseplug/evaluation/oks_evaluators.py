"""Two maintained evaluators of average precision by OKS behind one call; their results agree."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.evaluation.base import check_choice

_XTCOCOTOOLS_INSTALL_HINT = (
    'xtcocotools is absent or was built for NumPy 1; build it from source: pip install cython numpy setuptools wheel '
    "&& pip install --no-build-isolation --no-binary xtcocotools xtcocotools. Or use evaluator='faster-coco-eval'"
)
_OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_AREA_RANGES = ('all', 'medium', 'large')  # COCO: medium is 32² to 96² px², large is above
MAX_DETECTIONS = 20  # predicted instances of an image that count, those with the highest scores (COCO's maxDets)
IouType = Literal['keypoints', 'keypoints_crowd']


class PrecisionRecallTable(NamedTuple):
    """Precision and recall of an evaluator; -1 where no instance is annotated.

    Attributes:
        precision: (10, 101, 3) by OKS threshold, recall and area range.
        recall: (10, 3) by OKS threshold and area range.
    """

    precision: np.ndarray
    recall: np.ndarray

    def summarize(self, metric: str, oks_threshold: float | None = None, area_range: str = 'all') -> float:
        """Average precision or recall.

        Args:
            metric: 'AP' or 'AR'.
            oks_threshold: One of 0.50, 0.55, ..., 0.95; by default the mean over all of them.
            area_range: 'all', 'medium' or 'large'.

        Returns:
            The average precision or recall from 0 to 1; -1 where no instance is annotated.
        """
        values = self.precision if metric == 'AP' else self.recall
        values = values[..., _AREA_RANGES.index(area_range)]
        if oks_threshold is not None:
            # Not ==: 0.75 of `linspace` may differ in the last bit.
            values = values[np.isclose(_OKS_THRESHOLDS, oks_threshold)]
        return float(values[values > -1].mean()) if (values > -1).any() else -1.0


CocoDataset = Mapping[str, Any]
OksEvaluator = Callable[[CocoDataset, list[dict[str, Any]], np.ndarray, IouType], PrecisionRecallTable]


def get_oks_evaluator(name: str, metric_name: str) -> OksEvaluator:
    """Return the evaluator of a package.

    Args:
        name: 'faster-coco-eval' or 'xtcocotools'.
        metric_name: The metric that error messages name.

    Returns:
        A function from annotations and results in COCO's layout, sigmas (K,) and the type of evaluation to a table.

    Raises:
        ConfigError: The name is unknown, or xtcocotools cannot be imported.
    """
    check_choice(metric_name, 'evaluator', name, _OKS_EVALUATORS)
    if name == 'xtcocotools':
        try:
            import xtcocotools.cocoeval  # noqa: F401
        # A package that was built for NumPy 1 raises a ValueError when it is imported.
        except (ImportError, ValueError) as error:
            raise ConfigError(f'{_XTCOCOTOOLS_INSTALL_HINT} ({type(error).__name__}: {error})') from error
    return _OKS_EVALUATORS[name]


def _evaluate_with_faster_coco(
    ground_truth: CocoDataset, results: list[dict[str, Any]], sigmas: np.ndarray, iou_type: IouType = 'keypoints'
) -> PrecisionRecallTable:
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(dict(ground_truth))
        predictions = annotations.loadRes(results)
        # print_function=str: what it would print goes nowhere, as does what it prints by itself.
        coco_eval = COCOeval_faster(annotations, predictions, iou_type, kpt_oks_sigmas=sigmas, print_function=str)
        return _run_coco_eval(coco_eval)


def _evaluate_with_xtcocotools(
    ground_truth: CocoDataset, results: list[dict[str, Any]], sigmas: np.ndarray, iou_type: IouType = 'keypoints'
) -> PrecisionRecallTable:
    from xtcocotools.coco import COCO
    from xtcocotools.cocoeval import COCOeval

    def create_coco(dataset: CocoDataset) -> Any:
        coco = COCO()
        coco.dataset = dict(dataset)
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        annotations = create_coco(ground_truth)
        if results:
            predictions = annotations.loadRes(results)
        else:  # loadRes refuses an empty list
            predictions = create_coco({**ground_truth, 'annotations': []})
        return _run_coco_eval(COCOeval(annotations, predictions, iou_type, sigmas, use_area=True))


def _run_coco_eval(coco_eval: Any) -> PrecisionRecallTable:
    coco_eval.evaluate()
    coco_eval.accumulate()
    precision, recall = (np.asarray(coco_eval.eval[name]) for name in ('precision', 'recall'))
    # (thresholds, recalls, categories, areas, limits): one category, and one limit of detections.
    return PrecisionRecallTable(precision[:, :, 0, :, 0], recall[:, 0, :, 0])


_OKS_EVALUATORS: dict[str, OksEvaluator] = {
    'faster-coco-eval': _evaluate_with_faster_coco,
    'xtcocotools': _evaluate_with_xtcocotools,
}
