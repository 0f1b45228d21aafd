"""What EPE and NME share: the mean distance from joints to where they were predicted."""

from __future__ import annotations

import numpy as np

from poseplug.evaluation.base import Metric, Scores
from poseplug.evaluation.normalisers import Normaliser
from poseplug.evaluation.offsets import Offsets, People, rows_of
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton


class MeanOffset(Metric):
    """The mean distance over all labelled joints that were predicted anywhere; the others are counted in a note."""

    lower = True
    name: str
    factor: float

    def __init__(self, skeleton: Skeleton, normaliser: Normaliser, people: People):
        self.skeleton, self.offsets = skeleton, Offsets(skeleton, normaliser, people, type(self).__name__)

    def add(self, predicted: Poses, true: Record) -> None:
        self.offsets.add(predicted, true)

    def mean(self) -> float:
        """The mean distance in sizes, NaN where there is nothing to measure."""
        return finite_mean(self.offsets.table()[0])

    def compute(self) -> Scores:
        distances, notes = self.offsets.table()
        scores = Scores(notes=notes)
        nowhere, labelled = int(np.isinf(distances).sum()), int((~np.isnan(distances)).sum())
        if nowhere:
            scores.notes.append(
                f'{nowhere} of {labelled} labelled joints were predicted nowhere: left out of {self.name}'
            )
        if nowhere == labelled:
            return scores
        means = np.array([finite_mean(column) for column in distances.T])
        scores.values[self.name] = round(self.factor * finite_mean(distances), 4)
        rows = [(joint, mean) for joint, mean in rows_of(self.skeleton, means) if not np.isnan(mean)]
        scores.values.update({f'{self.name}/{joint}': round(self.factor * float(mean), 4) for joint, mean in rows})
        return scores


def finite_mean(values: np.ndarray) -> float:
    """The mean of those that are finite, NaN (and no warning) without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float('nan')
