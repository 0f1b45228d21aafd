"""Kinds of keypoint errors, as in Ronchi and Perona (2017, arXiv:1707.05388), with confidence intervals.

The similarity of a predicted keypoint to an annotated one is exp(-d² / (2 area (2 sigma)²)), the term of OKS. A
keypoint is `good` from 0.85 on and has `jitter` from 0.5 on. Below, it is an `inversion` if it has 0.5 with another
keypoint of its instance, a `swap` if it has 0.5 with a keypoint of another instance, and a `miss` otherwise. The
keypoints of an annotated instance that no prediction was matched to are `undetected`.
"""

from __future__ import annotations

__all__ = [
    'ERROR_KINDS',
    'Interval',
    'KeypointErrors',
    'bootstrap_ratios',
    'collect_keypoint_errors',
    'get_error_sigmas',
]

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.prediction_file import NO_SUBJECT, ImagePredictions, PredictionFile
from poseplug.skeletons.coco import COCO

ERROR_KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss', 'undetected')
_GOOD_SIMILARITY, _NEAR_SIMILARITY = 0.85, 0.5  # of the paper
_MIN_MATCH_OKS = 0.1  # of the paper: a prediction below it is of no annotated instance
_MIN_AREA_PX2 = 1e-6  # divisor for instances without an area


class Interval(NamedTuple):
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]'


@dataclass(frozen=True, eq=False)
class KeypointErrors:
    """The labeled keypoints of a test, one row each.

    Attributes:
        image_indices: (R,) index of the image.
        instance_indices: (R,) index of the annotated instance within its image.
        keypoint_indices: (R,) index of the keypoint.
        kinds: (R,) index in `ERROR_KINDS`.
        similarities: (R,) similarity to the annotated keypoint; 0 if the instance is undetected.
        scores: (R,) score of the predicted keypoint; NaN if the instance is undetected.
        areas: (R,) px² of the annotated instance.
        is_occluded: (R,) bool.
        oks: (I,) mean OKS of the annotated instances of each image, undetected ones being 0; NaN without any.
    """

    image_indices: np.ndarray
    instance_indices: np.ndarray
    keypoint_indices: np.ndarray
    kinds: np.ndarray
    similarities: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    is_occluded: np.ndarray
    oks: np.ndarray

    def count_kinds(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Count the keypoints of each image by kind.

        Args:
            rows: (R,) bool, the keypoints that count; all by default.

        Returns:
            (I, number of kinds).
        """
        selected = np.ones(len(self.kinds), dtype=bool) if rows is None else rows
        counts = np.zeros((len(self.oks), len(ERROR_KINDS)))
        # Not `+=`, which would count a pair of indices once however often it occurs.
        np.add.at(counts, (self.image_indices[selected], self.kinds[selected]), 1)
        return counts


def get_error_sigmas(skeleton: Skeleton) -> np.ndarray:
    """Return the sigmas by which errors are judged: the skeleton's, or else COCO's of the same names.

    Keypoints that COCO does not have get the mean of COCO's. Every result on the same skeleton is judged alike, so
    kinds of error compare; OKS as a metric needs the data set's own sigmas.

    Args:
        skeleton: the keypoints.

    Returns:
        (K,).
    """
    if skeleton.sigmas is not None:
        return np.array(skeleton.sigmas)
    known = dict(zip(COCO.keypoints, COCO.sigmas or (), strict=True))
    default = float(np.mean(list(known.values())))
    return np.array([known.get(name, default) for name in skeleton.keypoints])


def collect_keypoint_errors(predictions: PredictionFile) -> KeypointErrors:
    """Classify every labeled keypoint of a test.

    Args:
        predictions: of the test.
    """
    sigmas = get_error_sigmas(predictions.skeleton)
    tables, oks = [], []
    for index, image in enumerate(predictions.images):
        table, image_oks = _classify_image(image, sigmas)
        tables.append(np.column_stack([np.full(len(table), index), table]))
        oks.append(image_oks)
    rows = np.concatenate(tables) if tables else np.zeros((0, 8))
    image_indices, instance_indices, keypoint_indices, kinds = rows[:, :4].astype(int).T
    similarities, scores, areas, is_occluded = rows[:, 4:].T
    return KeypointErrors(
        image_indices=image_indices,
        instance_indices=instance_indices,
        keypoint_indices=keypoint_indices,
        kinds=kinds,
        similarities=similarities,
        scores=scores,
        areas=areas,
        is_occluded=is_occluded > 0,
        oks=np.array(oks),
    )


def _classify_image(image: ImagePredictions, sigmas: np.ndarray) -> tuple[np.ndarray, float]:
    """The labeled keypoints of one image, (R, 7): instance, keypoint, kind, similarity, score, area, and occlusion.

    Also returns the mean OKS of the annotated instances.
    """
    labeled = image.visible > 0
    # Instances without a labeled keypoint are no errors, whatever is predicted there.
    counted = np.flatnonzero(labeled.any(axis=1))
    if not len(counted):
        return np.zeros((0, 7)), float('nan')
    matches = match_predictions(image, sigmas)
    rows, oks = [], []
    for n in counted.tolist():
        keypoints = np.flatnonzero(labeled[n])
        if n in matches:
            m = matches[n]
            kinds, similarities = _classify_instance(image, n, image.predicted[m], sigmas)
            scores = image.keypoint_scores[m]
            oks.append(similarities[keypoints].mean())
        else:
            kinds = np.full(len(sigmas), ERROR_KINDS.index('undetected'))
            similarities, scores = np.zeros(len(sigmas)), np.full(len(sigmas), np.nan)
            oks.append(0.0)
        areas = np.full(len(keypoints), image.areas[n])
        occluded = image.visible[n, keypoints] == 1
        instances = np.full(len(keypoints), n)
        columns = [instances, keypoints, kinds[keypoints], similarities[keypoints], scores[keypoints], areas, occluded]
        rows.append(np.column_stack(columns))
    return np.concatenate(rows), float(np.mean(oks))


def match_predictions(image: ImagePredictions, sigmas: np.ndarray) -> dict[int, int]:
    """Match annotated instances to predictions: that of their box, or the highest-scoring one that is similar to them.

    Args:
        image: N annotated and M predicted instances.
        sigmas: (K,) by which they are compared.

    Returns:
        The index of the prediction by that of the annotated instance.
    """
    # Top-down predictions are those of their box, however wrong.
    matches = {int(n): m for m, n in enumerate(image.subjects) if n != NO_SUBJECT}
    similarities = measure_similarities(image, image.predicted, sigmas)  # (M, N, K)
    labeled = image.visible > 0
    counts = np.maximum(labeled.sum(axis=1), 1)
    oks = (similarities * labeled).sum(axis=2) / counts
    # Others greedily, highest score first, as in COCO's evaluation.
    for m in np.argsort(-image.scores, kind='stable'):
        free = [n for n in np.flatnonzero(labeled.any(axis=1)).tolist() if n not in matches]
        if image.subjects[m] == NO_SUBJECT and free:
            best = max(free, key=lambda n: oks[m, n])
            if oks[m, best] >= _MIN_MATCH_OKS:
                matches[best] = int(m)
    return matches


def measure_similarities(image: ImagePredictions, points: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Compute the similarity of points to the annotated keypoints of the same index.

    Args:
        image: N annotated instances of K keypoints.
        points: (M, K, 2) px.
        sigmas: (K,).

    Returns:
        (M, N, K), from 0 to 1.
    """
    squares = ((points[:, None] - image.annotated[None]) ** 2).sum(axis=-1)
    scales = 2 * np.maximum(image.areas, _MIN_AREA_PX2)[:, None] * (2 * sigmas) ** 2
    return np.nan_to_num(np.exp(-squares / scales))


def _classify_instance(
    image: ImagePredictions, index: int, points: np.ndarray, sigmas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The kind (K,) of each predicted keypoint (K, 2) of an annotated instance, and its similarity (K,)."""
    # (K predicted, N, K annotated): every predicted keypoint against every annotated one.
    everywhere = np.stack([measure_similarities(image, np.tile(p, (1, len(sigmas), 1)), sigmas)[0] for p in points])
    # Unlabeled keypoints are near to nothing.
    everywhere = everywhere * (image.visible > 0)
    keypoints = np.arange(len(sigmas))
    similarities = everywhere[keypoints, index, keypoints].copy()
    # Then without the right one, to find an inversion within the instance,
    everywhere[keypoints, index, keypoints] = 0
    is_inversion = (everywhere[:, index] >= _NEAR_SIMILARITY).any(axis=1)
    # ... and without the instance, to find a swap with another.
    everywhere[:, index] = 0
    is_elsewhere = (everywhere >= _NEAR_SIMILARITY).any(axis=(1, 2))
    conditions = [similarities >= _GOOD_SIMILARITY, similarities >= _NEAR_SIMILARITY, is_inversion, is_elsewhere]
    # The first condition that holds decides: indices of `ERROR_KINDS`.
    kinds = np.select(conditions, [0, 1, 2, 3], default=ERROR_KINDS.index('miss'))
    return kinds, similarities


def bootstrap_ratios(
    numerators: np.ndarray, denominators: np.ndarray, num_resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Resample images with replacement, and compute the ratio of two sums each time.

    Args:
        numerators: (I, C) per image.
        denominators: (I,) per image.
        num_resamples: number of resamples.
        seed: of the random numbers; the same seed draws the same images, so that two results can be compared in pairs.

    Returns:
        (1 + num_resamples, C) ratios: of all images, then of every resample; NaN where the denominator is 0.
    """
    count = len(numerators)
    # How often each image is drawn: (resamples, I), a matrix product then sums all resamples at once.
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), num_resamples)
    # Row 0 is the test itself.
    weights = np.concatenate([np.ones((1, count)), weights])
    totals = (weights @ denominators)[:, None]
    return np.where(totals > 0, (weights @ numerators) / np.where(totals > 0, totals, 1), np.nan)


def summarize_resamples(ratios: np.ndarray) -> list[Interval]:
    """Return the value and the 95 % interval of each column of `bootstrap_ratios`.

    Args:
        ratios: (1 + number of resamples, C).
    """
    low, high = np.nanquantile(ratios[1:], [0.025, 0.975], axis=0)
    return [Interval(*map(float, row)) for row in zip(ratios[0], low, high, strict=True)]
