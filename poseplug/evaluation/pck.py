"""Percentage of correct keypoints, by the torso that the skeleton names (Yang & Ramanan 2013; Wei et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Metric, Scores, percent
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Record
from poseplug.skeleton import Skeleton


@METRICS.register_module()
class PCK(Metric):
    """A joint is correct when it lies within a share of the true distance between the skeleton's two torso joints.

    Every labelled joint of a picture's first person counts, occluded ones too. `thresholds` are such shares; `curve`
    is the largest share of the curve, whose mean height is the AUC. The total weighs every joint of the skeleton alike.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        thresholds: Sequence[float] = (0.1, 0.2),
        curve: float = 0.2,
        steps: int = 20,
    ):
        if skeleton.torso is None:
            raise ConfigError(f'skeleton {skeleton.name!r} names no torso, which PCK divides by; give it torso=(a, b)')
        self.skeleton, self.thresholds = skeleton, tuple(thresholds)
        self.shares = np.linspace(0, curve, steps + 1)
        self.distances: list[np.ndarray] = []
        self.without_torso: list[str] = []

    def add(self, predicted: Poses, true: Record) -> None:
        labelled = true.visible[0] > 0
        torso = [self.skeleton.index(j) for j in self.skeleton.torso or ()]
        length = np.linalg.norm(np.subtract(*true.keypoints[0].astype(float)[torso]))
        if not labelled[torso].all() or length == 0:
            self.without_torso.append(true.id)
            return
        self.distances.append(np.where(labelled, offsets(predicted, true) / length, np.nan))

    def compute(self) -> Scores:
        scores = Scores(notes=self._notes())
        if not self.distances:
            return scores
        distances = np.stack(self.distances)
        labelled = ~np.isnan(distances)
        for share in self.thresholds:
            name = f'PCK@{share:g}'
            rates = joint_rates(distances, labelled, share)
            scores.values[name] = percent(np.nanmean(rates))
            scores.values.update({f'{name}/{joint}': percent(r) for joint, r in self._rows(rates)})
        curve = np.stack([joint_rates(distances, labelled, share) for share in self.shares])
        top = self.shares[-1]
        scores.values[f'AUC@{top:g}'] = percent(np.trapezoid(np.nanmean(curve, axis=1), self.shares) / top)
        for name, values in [('total', np.nanmean(curve, axis=1)), *self._rows(curve.T)]:
            scores.curves[name] = (self.shares.tolist(), [percent(v) for v in values])
        return scores

    def _rows(self, rates: np.ndarray) -> list[tuple[str, Any]]:
        """The groups of the skeleton (ankles, knees, ...) where it has them, its joints otherwise."""
        groups = self.skeleton.groups or {j: (j,) for j in self.skeleton.joints}
        indices = {name: [self.skeleton.index(j) for j in joints] for name, joints in groups.items()}
        return [(name, nanmean(rates[places], axis=0)) for name, places in indices.items()]

    def _notes(self) -> list[str]:
        n = len(self.without_torso)
        if not n:
            return []
        return [
            f'{n} of {n + len(self.distances)} people were left out: {" or ".join(self.skeleton.torso or ())} is not '
            f'labelled or both are at one place, so they have no torso to measure by (first: {self.without_torso[0]})'
        ]


def offsets(predicted: Poses, true: Record) -> np.ndarray:
    """(K,) px from each joint of the first person to where it was predicted; infinite where nothing usable was."""
    if not len(predicted):
        return np.full(true.keypoints.shape[1], np.inf)
    distances = np.linalg.norm(np.asarray(predicted.keypoints[0], float) - true.keypoints[0], axis=-1)
    return np.where(np.isfinite(distances), distances, np.inf)


def joint_rates(distances: np.ndarray, labelled: np.ndarray, share: float) -> np.ndarray:
    """(K,) the share of labelled joints whose distance (M, K) is at most `share`; NaN for a joint never labelled."""
    counts = labelled.sum(axis=0)
    hits = (np.where(labelled, distances, np.inf) <= share).sum(axis=0)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean without NaNs, NaN (and no warning) where nothing else is there."""
    there = ~np.isnan(values)
    counts = there.sum(axis=axis)
    return np.where(counts > 0, np.where(there, values, 0).sum(axis=axis) / np.maximum(counts, 1), np.nan)
