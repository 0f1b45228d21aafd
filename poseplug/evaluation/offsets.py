"""How far every annotated joint was predicted from its place: what PCK, PCKh, AUC, EPE and NME count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from poseplug.evaluation.base import check_choice, check_joints
from poseplug.evaluation.normalisers import Normaliser, Size
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

FAR = 1e9  # px; a pair of people with nothing in common
People = Literal['subject', 'all']
Row = tuple[np.ndarray, np.ndarray, float]  # distances (K,) px, labelled (K,), size px


class Offsets:
    """Distances from annotated joints to predicted ones, person by person, in sizes of the person.

    `people` is 'subject': the first annotated person of every record, and the first predicted one (top-down, a record
    for each person). Or 'all': everybody annotated in a picture (in its record's `truth` where a detector gave the
    boxes), each with the predicted person at the least mean distance, one to one; whoever is left without is missed.
    """

    def __init__(self, skeleton: Skeleton, normaliser: Normaliser, people: People, owner: str):
        check_choice(owner, 'people', people, ('subject', 'all'))
        self.skeleton, self.people = skeleton, people
        self.size = Size.of(skeleton, normaliser, owner)
        self.pictures: dict[str, tuple[Record, list[np.ndarray]]] = {}
        self.rows: list[tuple[str, Row]] = []
        self.unlabelled: list[str] = []

    def add(self, predicted: Poses, true: Record) -> None:
        """The people predicted for a picture, or for the subject of one of its crops."""
        check_joints(self.skeleton, predicted, true)
        keypoints = np.asarray(predicted.numpy().keypoints, float)
        if self.people == 'all':
            truth = true.truth or true
            found = self.pictures.setdefault(truth.id, (truth, []))[1]
            found += [keypoints] if len(keypoints) else []
        elif len(true.keypoints):
            self.rows.append((true.id, self._row(true, 0, keypoints[0] if len(keypoints) else None)))

    def _row(self, record: Record, person: int, found: np.ndarray | None) -> Row:
        labelled = record.visible[person] > 0
        distances = np.full(len(labelled), np.inf) if found is None else apart(record.keypoints[person], found)
        return distances, labelled, float(self.size(record, self.skeleton)[person])

    def _every(self) -> Iterator[tuple[str, Row]]:
        """The row of everybody measured, with the name of the picture."""
        yield from self.rows
        for name, (record, parts) in sorted(self.pictures.items()):
            found = np.concatenate(parts) if parts else np.zeros((0, len(self.skeleton), 2))
            partner = paired(record, found)
            for person in range(len(record.keypoints)):
                yield name, self._row(record, person, found[partner[person]] if person in partner else None)

    def table(self) -> tuple[np.ndarray, list[str]]:
        """Distances (M, K) in sizes, NaN where a joint is not labelled, and notes on who was left out.

        Infinite where nothing usable was predicted.
        """
        rows = list(self._every())
        if not rows:
            return np.zeros((0, len(self.skeleton))), []
        distances, labelled, sizes = (np.array(column) for column in zip(*(row for _, row in rows), strict=True))
        some, sized = np.any(labelled, axis=1), np.isfinite(sizes) & (sizes > 0)
        names = np.array([name for name, _ in rows])
        notes = left_out(names, some & ~sized, self.size.lacking) + left_out(
            names, ~some, 'none of their joints is labelled'
        )
        kept = some & sized
        return np.where(labelled, distances / np.where(kept, sizes, 1)[:, None], np.nan)[kept], notes


def left_out(names: np.ndarray, which: Any, why: str) -> list[str]:
    """The note on people that are no part of a metric, if there are any."""
    if not which.any():
        return []
    return [f'{which.sum()} of {len(names)} people were left out: {why} (first: {min(names[which])})']


def apart(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(..., K) px between joints (..., K, 2); infinite where nothing usable was predicted."""
    distances = np.linalg.norm(found - np.asarray(true, float), axis=-1)
    return np.where(np.isfinite(distances), distances, np.inf)


def paired(record: Record, found: np.ndarray) -> dict[int, int]:
    """For annotated people the predicted person (M, K, 2) of each, by the least sum of mean distances."""
    labelled = record.visible > 0
    distances = np.minimum(apart(record.keypoints[:, None], found[None]), FAR)
    cost = nanmean(np.where(labelled[:, None], distances, np.nan), axis=-1)
    cost = np.nan_to_num(cost, nan=FAR)  # whoever has no labelled joint comes last
    return dict(zip(*(places.tolist() for places in linear_sum_assignment(cost)), strict=True))


def joint_rates(distances: np.ndarray, share: float) -> np.ndarray:
    """(K,) of the labelled joints (M, K), those at a distance of at most `share`; NaN for a joint never labelled."""
    counts = (~np.isnan(distances)).sum(axis=0)
    hits = (np.nan_to_num(distances, nan=np.inf, posinf=np.inf) <= share).sum(axis=0)
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


def nanmean(values: np.ndarray, axis: int | None = None) -> Any:
    """The mean without NaNs, NaN (and no warning) where nothing else is there."""
    there = ~np.isnan(values)
    counts = there.sum(axis=axis)
    return np.where(counts > 0, np.where(there, values, 0).sum(axis=axis) / np.maximum(counts, 1), np.nan)


def rows_of(skeleton: Skeleton, rates: np.ndarray) -> list[tuple[str, Any]]:
    """Means of joints (K, ...) by the groups of the skeleton (ankles, knees, ...) if it has them, or joint by joint."""
    groups = skeleton.groups or {j: (j,) for j in skeleton.joints}
    return [(name, nanmean(rates[[skeleton.index(j) for j in joints]], axis=0)) for name, joints in groups.items()]
