"""NME: the mean distance from joints to where they were predicted, as a share of the person's size."""

from __future__ import annotations

from poseplug.evaluation.base import Scores
from poseplug.evaluation.mean_offset import MeanOffset
from poseplug.evaluation.normalisers import Normaliser
from poseplug.evaluation.offsets import People
from poseplug.registry import METRICS
from poseplug.skeleton import Skeleton


@METRICS.register_module()
class NME(MeanOffset):
    """The mean distance in percent of the person's size (normalised mean error).

    `normaliser` must be declared: one of the rules of `normalisers.Size`, for faces often the distance of two joints
    ('left_eye', 'right_eye') or the diagonal of the box.
    """

    name, factor = 'NME', 100.0

    def __init__(self, skeleton: Skeleton, normaliser: Normaliser, people: People = 'subject'):
        super().__init__(skeleton, normaliser, people)

    def compute(self) -> Scores:
        scores = super().compute()
        if scores.values:
            scores.notes.append(f'NME is in percent of {self.offsets.size}')
        return scores
