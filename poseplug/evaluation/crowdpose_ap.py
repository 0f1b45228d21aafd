"""CrowdPose's average precision on easy, medium and hard pictures (Li et al. 2019, arXiv:1812.00324)."""

from __future__ import annotations

from typing import Literal

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Metric, Scores
from poseplug.evaluation.evaluators import evaluator_of
from poseplug.evaluation.gathering import Gathering, Rescore, Suppression
from poseplug.evaluation.oks_ap import FIGURES, report
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

OVERALL = ('AP', 'AP50', 'AP75', 'AR', 'AR50', 'AR75')


@METRICS.register_module()
class CrowdPoseAP(Metric):
    """Average precision and recall over OKS 0.50 to 0.95, in percent, over all pictures and by how crowded they are.

    The area of a person is 0.53 x width x height of the box, whatever the annotations say, and people without a
    visible joint (an occluded one is none) are ignored, as in the data set's own evaluation. `splits` are the crowd
    indices where medium and hard pictures begin: 0.2 and 0.8, as the data set's own evaluation code has it, and with it
    the published figures (Jeff-sjtu/CrowdPose, crowdposetools/cocoeval.py; also xtcocotools and faster-coco-eval). The
    paper's text says 0.1 and 0.8. The other settings are those of `OKSAP`.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        evaluator: Literal['faster-coco-eval', 'xtcocotools'] = 'faster-coco-eval',
        rescore: Rescore = 'none',
        nms: Suppression = 'none',
        nms_threshold: float = 0.9,
        splits: tuple[float, float] = (0.2, 0.8),
    ):
        if not 0 <= splits[0] < splits[1] <= 1:
            raise ConfigError(f'CrowdPoseAP: splits are two rising crowd indices from 0 to 1; got {splits}')
        self.people = Gathering(skeleton, rescore, nms, nms_threshold, areas='box', visible=2, owner='CrowdPoseAP')
        self.skeleton, self.run, self.splits = skeleton, evaluator_of(evaluator, 'CrowdPoseAP'), tuple(splits)

    def add(self, predicted: Poses, true: Record) -> None:
        self.people.add(predicted, true)

    def figures(self) -> dict[str, float]:
        """The nine figures as shares, -1 where nobody is annotated in pictures of the kind."""
        table = self._table(None)
        figures = {name: table.mean(*FIGURES[name]) for name in OVERALL}
        figures.update({f'AP_{kind}': self._table(names).mean('AP') if names else -1.0
                        for kind, names in self.kinds().items()})  # fmt: skip
        return figures

    def kinds(self) -> dict[str, list[str]]:
        """The pictures that are easy, medium and hard by their crowd index."""
        easy, hard = self.splits
        indices = {name: r.crowd_index for name, r in self.people.records.items() if r.crowd_index is not None}
        return {
            'easy': [name for name, index in indices.items() if index < easy],
            'medium': [name for name, index in indices.items() if easy <= index < hard],
            'hard': [name for name, index in indices.items() if index >= hard],
        }

    def _table(self, pictures: list[str] | None):
        people = self.people
        return self.run(people.truth(pictures), people.results(pictures), people.sigmas, 'keypoints_crowd')

    def compute(self) -> Scores:
        scores = Scores(notes=self.people.notes())
        records = self.people.records.values()
        if not self.people.people():
            scores.notes.append(f'no AP: nobody is annotated in {len(records)} pictures')
            return scores
        unknown = sum(r.crowd_index is None for r in records)
        if unknown:
            scores.notes.append(f'{unknown} of {len(records)} pictures have no crowd index: neither easy nor hard')
        report(scores, self.figures(), f'is annotated in such pictures ({len(records)} in all)')
        easy, hard = self.splits
        scores.notes.append(f'crowd index below {easy:g} is easy, from {hard:g} on hard')
        return scores
