"""PCKh: percentage of correct keypoints by the size of the head (Andriluka et al. 2014, MPII)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Metric, Scores, check_choice, percent
from poseplug.evaluation.offsets import Offsets, People, joint_rates, nanmean, rows_of
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

RULES = {
    'weighted': 'weighted by how often each joint is labelled (the rule of HRNet and MMPose)',
    'plain': 'the plain mean over the joints (the rule of the hourglass port)',
}


@METRICS.register_module()
class PCKh(Metric):
    """A joint is correct when it lies within a share of the head's size; in percent.

    `head` is 'given': the data set's head size (`Record.heads`; MPII: 0.6 x the diagonal of the head's rectangle), or
    'joints': the distance of the skeleton's two joints of the head. The mean leaves out the joints named by
    `excluded`; `average` says how it weighs the others, 'weighted' or 'plain', and a note tells which was used.
    `people` is 'subject' or 'all' as in `offsets.Offsets`.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        thresholds: Sequence[float] = (0.5, 0.1),
        average: Literal['weighted', 'plain'] = 'weighted',
        head: Literal['given', 'joints'] = 'given',
        excluded: Sequence[str] = ('pelvis', 'thorax'),
        people: People = 'subject',
    ):
        check_choice('PCKh', 'average', average, RULES)
        check_choice('PCKh', 'head', head, ('given', 'joints'))
        self.offsets = Offsets(skeleton, 'head' if head == 'given' else 'head_joints', people, 'PCKh')
        self.skeleton, self.thresholds, self.average = skeleton, tuple(thresholds), average
        self.counted = np.array([joint not in excluded for joint in skeleton.joints])
        if not self.counted.any():
            raise ConfigError(f'PCKh: excluded leaves no joint of skeleton {skeleton.name!r}')

    def add(self, predicted: Poses, true: Record) -> None:
        self.offsets.add(predicted, true)

    def rates(self, share: float) -> np.ndarray:
        """(K,) the share of correct ones among the labelled joints, NaN for a joint never labelled."""
        return joint_rates(self.offsets.table()[0], share)

    def mean(self, share: float, average: str | None = None) -> float:
        """The share of correct joints over all that count, by one of both rules; NaN where none is labelled."""
        return mean_rate(self.offsets.table()[0][:, self.counted], share, average or self.average)

    def compute(self) -> Scores:
        distances, notes = self.offsets.table()
        scores = Scores(notes=notes)
        if np.isnan(distances[:, self.counted]).all():
            return scores
        for share in self.thresholds:
            name = f'PCKh@{share:g}'
            scores.values[name] = percent(mean_rate(distances[:, self.counted], share, self.average))
            rows = rows_of(self.skeleton, joint_rates(distances, share))
            scores.values.update({f'{name}/{joint}': percent(r) for joint, r in rows})
        without = [j for j, counts in zip(self.skeleton.joints, self.counted, strict=True) if not counts]
        left = f', without {" and ".join(without)}' if without else ''
        scores.notes.append(f'PCKh is {RULES[self.average]}{left}')
        return scores


def mean_rate(distances: np.ndarray, share: float, average: str) -> float:
    """The share of labelled joints (M, K) within `share`, over all of them or as the plain mean over the K joints."""
    if average == 'plain':
        return float(nanmean(joint_rates(distances, share)))
    return float(joint_rates(distances.reshape(-1, 1), share)[0])
