"""COCO's average precision and recall by object keypoint similarity, by one of two well-kept evaluators."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Metric, Scores, percent
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

NAMES = ('AP', 'AP50', 'AP75', 'AP_medium', 'AP_large', 'AR', 'AR50', 'AR75', 'AR_medium', 'AR_large')
FROM_SOURCE = (
    'xtcocotools is absent or was built for NumPy 1; build it from source: pip install cython numpy setuptools wheel '
    "&& pip install --no-build-isolation --no-binary xtcocotools xtcocotools. Or use evaluator='faster-coco-eval'"
)
AREA_OF_BOX = 0.53  # a person's share of their box, where a data set gives no area (COCO's average)


@METRICS.register_module()
class OKSAP(Metric):
    """Average precision and recall over OKS 0.50 to 0.95, in percent, of all people in every picture.

    A picture may be added once, or once a person (top-down): its annotated people are taken from the first time.
    `evaluator` is 'faster-coco-eval' or 'xtcocotools'; they agree. A figure that COCO reports as -1, since nobody of
    that size is annotated, is left out, and a note says so.
    """

    def __init__(self, skeleton: Skeleton, evaluator: Literal['faster-coco-eval', 'xtcocotools'] = 'faster-coco-eval'):
        if skeleton.sigmas is None:
            raise ConfigError(f'skeleton {skeleton.name!r} has no sigmas, which OKS needs; give it one a joint')
        self.skeleton, self.run = skeleton, evaluator_of(evaluator)
        self.truth: dict[str, Record] = {}
        self.results: list[tuple[str, Poses]] = []

    def add(self, predicted: Poses, true: Record) -> None:
        self.truth.setdefault(true.id, true)
        self.results.append((true.id, predicted))

    def compute(self) -> Scores:
        scores = Scores()
        numbers = {name: place + 1 for place, name in enumerate(self.truth)}
        annotations = [a for name, r in self.truth.items() for a in annotated(r, numbers[name], scores.notes)]
        for place, annotation in enumerate(annotations):
            annotation['id'] = place + 1
        results = [r for name, poses in self.results for r in poses.to_coco(numbers[name])]
        if not annotations or not results:
            scores.notes.append(f'no AP: {len(annotations)} people annotated, {len(results)} predicted')
            return scores
        truth = {
            'info': {},
            'images': [{'id': n} for n in numbers.values()],
            'annotations': annotations,
            'categories': [{'id': 1, 'name': 'person', 'keypoints': list(self.skeleton.joints)}],
        }
        stats = self.run(truth, results, np.array(self.skeleton.sigmas))
        for name, value in zip(NAMES, stats, strict=True):
            if value < 0:
                scores.notes.append(
                    f'{name} is not reported: nobody of that size is annotated among {len(annotations)}'
                )
            else:
                scores.values[name] = percent(value)
        return scores


def annotated(record: Record, image: int, notes: list[str]) -> list[dict[str, Any]]:
    """A picture's people as COCO annotations; a missing area is estimated, and noted."""
    people = []
    for n, (points, visible) in enumerate(zip(record.keypoints, record.visible, strict=True)):
        box = record.boxes[n] if record.boxes is not None else hull(points[visible > 0])
        width, height = box[2:] - box[:2]
        known = record.areas is not None and record.areas[n] > 0
        if not known and not any('no area' in note for note in notes):
            notes.append(
                f'{record.source or "the data set"} gives no area for {record.id}: {AREA_OF_BOX} x box is used'
            )
        people.append(
            {
                'image_id': image,
                'category_id': 1,
                'iscrowd': 0,
                'area': float(record.areas[n] if known and record.areas is not None else AREA_OF_BOX * width * height),
                'bbox': [float(v) for v in (*box[:2], width, height)],
                'num_keypoints': int((visible > 0).sum()),
                'keypoints': np.column_stack([points, visible]).astype(float).ravel().tolist(),
            }
        )
    return people


def hull(points: np.ndarray) -> np.ndarray:
    """(4,) the box around points (M, 2), as two corners; zeros when there are none."""
    return np.concatenate([points.min(0), points.max(0)]) if len(points) else np.zeros(4)


Evaluator = Callable[[dict[str, Any], list[dict[str, Any]], np.ndarray], np.ndarray]


def evaluator_of(name: str) -> Evaluator:
    """The function that computes COCO's ten figures by one package."""
    if name == 'faster-coco-eval':
        return _faster
    if name == 'xtcocotools':
        try:
            import xtcocotools.cocoeval  # noqa: F401
        except (ImportError, ValueError) as error:
            raise ConfigError(f'{FROM_SOURCE} ({type(error).__name__}: {error})') from error
        return _xtcocotools
    raise ConfigError(f"OKSAP: evaluator is 'faster-coco-eval' or 'xtcocotools'; got {name!r}")


def _faster(truth: dict[str, Any], results: list[dict[str, Any]], sigmas: np.ndarray) -> np.ndarray:
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO(truth)
        found = COCOeval_faster(ground, ground.loadRes(results), 'keypoints', kpt_oks_sigmas=sigmas, print_function=str)
        found.run()
    return np.asarray(found.stats[: len(NAMES)], dtype=float)


def _xtcocotools(truth: dict[str, Any], results: list[dict[str, Any]], sigmas: np.ndarray) -> np.ndarray:
    from xtcocotools.coco import COCO
    from xtcocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = truth
        ground.createIndex()
        found = COCOeval(ground, ground.loadRes(results), 'keypoints', sigmas, use_area=True)
        found.evaluate()
        found.accumulate()
        found.summarize()
    return np.asarray(found.stats[: len(NAMES)], dtype=float)
