"""The area under the curve of correct keypoints over the threshold (Zimmermann & Brox 2017, arXiv:1705.01389)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Metric, Scores, check_choice, percent
from poseplug.evaluation.normalisers import Normaliser
from poseplug.evaluation.offsets import Offsets, People, joint_rates, nanmean
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton


@METRICS.register_module()
class AUC(Metric):
    """The mean height, in percent, of the share of correct joints over thresholds from 0 to `top` sizes.

    `normaliser` must be declared: one of the rules of `normalisers.Size`, for example 30 for thresholds up to 30 px.
    The curve is taken at `steps` equal steps; `rule` is 'trapezoid', or 'left': the mean at the beginnings of the
    steps, as MMPose has it, which is lower. Every joint of the skeleton weighs alike.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        normaliser: Normaliser,
        top: float = 1.0,
        steps: int = 20,
        rule: Literal['trapezoid', 'left'] = 'trapezoid',
        people: People = 'subject',
    ):
        check_choice('AUC', 'rule', rule, ('trapezoid', 'left'))
        if not (top > 0 and steps > 0):
            raise ConfigError(f'AUC: top and steps are above 0; got {top} and {steps}')
        self.offsets = Offsets(skeleton, normaliser, people, 'AUC')
        self.skeleton, self.rule = skeleton, rule
        self.shares = np.linspace(0, top, steps + 1)

    def add(self, predicted: Poses, true: Record) -> None:
        self.offsets.add(predicted, true)

    def heights(self) -> np.ndarray:
        """(steps + 1,) the share of correct joints at every threshold, NaN where no joint is labelled."""
        distances = self.offsets.table()[0]
        return np.array([nanmean(joint_rates(distances, share)) for share in self.shares])

    def area(self) -> float:
        """The mean height, from 0 to 1."""
        heights = self.heights()
        if self.rule == 'left':
            return float(heights[:-1].mean())
        return float(np.trapezoid(heights, self.shares) / self.shares[-1])

    def compute(self) -> Scores:
        distances, notes = self.offsets.table()
        scores = Scores(notes=notes)
        if not len(distances):
            return scores
        scores.values['AUC'] = percent(self.area())
        scores.curves['AUC'] = (self.shares.tolist(), [percent(v) for v in self.heights()])
        scores.notes.append(f'AUC: thresholds up to {self.shares[-1]:g} x {self.offsets.size}, {self.rule} rule')
        return scores
