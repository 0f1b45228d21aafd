"""Two well-kept evaluators of average precision by OKS, behind one call; they agree."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from poseplug.errors import ConfigError
from poseplug.evaluation.base import check_choice

FROM_SOURCE = (
    'xtcocotools is absent or was built for NumPy 1; build it from source: pip install cython numpy setuptools wheel '
    "&& pip install --no-build-isolation --no-binary xtcocotools xtcocotools. Or use evaluator='faster-coco-eval'"
)
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of OKS
SIZES = ('all', 'medium', 'large')  # of people: any, 32² to 96² px², larger
MOST = 20  # predicted people that count in a picture, the best ones
Kind = Literal['keypoints', 'keypoints_crowd']


class Table(NamedTuple):
    """`precision` (10, 101, 3) by OKS threshold, recall and size, `recall` (10, 3); -1 where nobody is annotated."""

    precision: np.ndarray
    recall: np.ndarray

    def mean(self, what: str, threshold: float | None = None, size: str = 'all') -> float:
        """Average precision ('AP') or recall ('AR') at one OKS threshold or all, or -1 where nobody is annotated."""
        values = (self.precision if what == 'AP' else self.recall)[..., SIZES.index(size)]
        if threshold is not None:
            values = values[np.isclose(THRESHOLDS, threshold)]
        return float(values[values > -1].mean()) if (values > -1).any() else -1.0


Truth = Mapping[str, Any]
Evaluator = Callable[[Truth, list[dict[str, Any]], np.ndarray, Kind], Table]


def evaluator_of(name: str, owner: str) -> Evaluator:
    """The function from annotations and results in COCO's layout, and sigmas (K,), to a table, by one package."""
    check_choice(owner, 'evaluator', name, EVALUATORS)
    if name == 'xtcocotools':
        try:
            import xtcocotools.cocoeval  # noqa: F401
        except (ImportError, ValueError) as error:
            raise ConfigError(f'{FROM_SOURCE} ({type(error).__name__}: {error})') from error
    return EVALUATORS[name]


def _faster(truth: Truth, results: list[dict[str, Any]], sigmas: np.ndarray, kind: Kind = 'keypoints') -> Table:
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO(dict(truth))
        found = COCOeval_faster(ground, ground.loadRes(results), kind, kpt_oks_sigmas=sigmas, print_function=str)
        return _run(found)


def _xtcocotools(truth: Truth, results: list[dict[str, Any]], sigmas: np.ndarray, kind: Kind = 'keypoints') -> Table:
    """For crowds it takes the area from the box by itself, as CrowdPose's own evaluation does."""
    from xtcocotools.coco import COCO
    from xtcocotools.cocoeval import COCOeval

    def indexed(dataset: Truth) -> Any:
        coco = COCO()
        coco.dataset = dict(dataset)
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        ground = indexed(truth)
        predicted = ground.loadRes(results) if results else indexed({**truth, 'annotations': []})
        return _run(COCOeval(ground, predicted, kind, sigmas, use_area=kind == 'keypoints'))


def _run(found: Any) -> Table:
    found.evaluate()
    found.accumulate()
    return Table(np.asarray(found.eval['precision'])[:, :, 0, :, 0], np.asarray(found.eval['recall'])[:, 0, :, 0])


EVALUATORS: dict[str, Evaluator] = {'faster-coco-eval': _faster, 'xtcocotools': _xtcocotools}
