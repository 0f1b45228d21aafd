"""Percentage of correct keypoints, by the torso that the skeleton names (Yang & Ramanan 2013; Wei et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poseplug.evaluation.base import Metric, Scores, percent
from poseplug.evaluation.normalisers import Normaliser
from poseplug.evaluation.offsets import Offsets, People, joint_rates, nanmean, rows_of
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton


@METRICS.register_module()
class PCK(Metric):
    """A joint is correct when it lies within a share of the person's size: of the true torso, by default.

    Every labelled joint counts, occluded ones too. `thresholds` are such shares; `curve` is the largest share of the
    curve, whose mean height is the AUC. The total weighs every joint of the skeleton alike. `normaliser` is one of the
    rules of `normalisers.Size` ('torso', 'head', 'box', ...), `people` 'subject' or 'all' as in `offsets.Offsets`.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        thresholds: Sequence[float] = (0.1, 0.2),
        curve: float = 0.2,
        steps: int = 20,
        normaliser: Normaliser = 'torso',
        people: People = 'subject',
    ):
        self.offsets = Offsets(skeleton, normaliser, people, 'PCK')
        self.skeleton, self.thresholds = skeleton, tuple(thresholds)
        self.shares = np.linspace(0, curve, steps + 1)

    def add(self, predicted: Poses, true: Record) -> None:
        self.offsets.add(predicted, true)

    def rates(self, share: float) -> np.ndarray:
        """(K,) the share of correct ones among the labelled joints, NaN for a joint never labelled."""
        return joint_rates(self.offsets.table()[0], share)

    def compute(self) -> Scores:
        distances, notes = self.offsets.table()
        scores = Scores(notes=notes)
        if not len(distances):
            return scores
        for share in self.thresholds:
            name = f'PCK@{share:g}'
            rates = joint_rates(distances, share)
            scores.values[name] = percent(nanmean(rates))
            scores.values.update({f'{name}/{joint}': percent(r) for joint, r in rows_of(self.skeleton, rates)})
        curve = np.stack([joint_rates(distances, share) for share in self.shares])
        top, total = self.shares[-1], nanmean(curve, axis=1)
        scores.values[f'AUC@{top:g}'] = percent(np.trapezoid(total, self.shares) / top)
        for name, values in [('total', total), *rows_of(self.skeleton, curve.T)]:
            scores.curves[name] = (self.shares.tolist(), [percent(v) for v in values])
        return scores
