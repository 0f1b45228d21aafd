"""COCO's average precision and recall by object keypoint similarity (Lin et al. 2014; cocodataset.org)."""

from __future__ import annotations

from typing import Literal

from poseplug.evaluation.base import Metric, Scores, percent
from poseplug.evaluation.evaluators import evaluator_of
from poseplug.evaluation.gathering import Gathering, Rescore, Suppression
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

FIGURES: dict[str, tuple[str, float | None, str]] = {
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
    """Average precision and recall over OKS 0.50 to 0.95, in percent, of all people in every picture.

    A picture may be added once, or once a person (top-down): its annotated people are taken from the first time, a
    person whose number (`Record.numbers`) was predicted before is dropped. Crowds and people without joints are
    ignored. A figure that COCO would report as -1, since nobody of that size is annotated, is left out. Notes say what
    was left out, suppressed, ignored, missed or estimated, and why a figure is 0.

    Args:
        skeleton: it must have sigmas.
        evaluator: 'faster-coco-eval' or 'xtcocotools'; they agree.
        rescore: 'none' ranks people by `Poses.person_scores`; 'joints' by the score of the detector's box (1 for an
            annotated one) times the mean of their joint scores above 0.2 (the HRNet family's rule).
        nms: 'none', 'oks' or 'soft_oks', by the areas of the predicted boxes, the detector's, or of the joints' hull.
        nms_threshold: the OKS above which people suppress each other.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        evaluator: Literal['faster-coco-eval', 'xtcocotools'] = 'faster-coco-eval',
        rescore: Rescore = 'none',
        nms: Suppression = 'none',
        nms_threshold: float = 0.9,
    ):
        self.people = Gathering(skeleton, rescore, nms, nms_threshold)
        self.skeleton, self.run = skeleton, evaluator_of(evaluator, 'OKSAP')

    def add(self, predicted: Poses, true: Record) -> None:
        self.people.add(predicted, true)

    def figures(self) -> dict[str, float]:
        """COCO's ten figures as shares, -1 where nobody of that size is annotated."""
        table = self.run(self.people.truth(), self.people.results(), self.people.sigmas, 'keypoints')
        return {name: table.mean(*which) for name, which in FIGURES.items()}

    def compute(self) -> Scores:
        scores = Scores(notes=self.people.notes())
        annotated = self.people.people()
        if annotated:
            report(scores, self.figures(), f'of that size is annotated among {annotated} people')
        else:
            scores.notes.append(f'no AP: nobody is annotated in {len(self.people.records)} pictures')
        return scores


def report(scores: Scores, figures: dict[str, float], nobody: str) -> None:
    """Figures in percent; those of nobody are left out, and why they are absent or 0 is noted."""
    absent = [name for name, value in figures.items() if value < 0]
    zero = [name for name, value in figures.items() if value == 0]
    scores.values.update({name: percent(value) for name, value in figures.items() if value >= 0})
    if absent:
        scores.notes.append(f'{", ".join(absent)} not reported: nobody {nobody}')
    if zero:
        scores.notes.append(f'{", ".join(zero)} 0: no predicted person comes near enough to an annotated one')
