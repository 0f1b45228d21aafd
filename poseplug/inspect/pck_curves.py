"""Curves of correct keypoints over the threshold, of several results in one chart (figures 8, 9 and 12 of CPM)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poseplug.core.errors import ConfigError, PoseplugError
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import get_error_sigmas, match_predictions
from poseplug.evaluation.prediction_file import ImagePredictions, PredictionFile
from poseplug.registry.skeletons import get_skeleton

CURVE_NORMALIZERS = {
    'torso': 'torso lengths',
    'head': 'head lengths',
    'box': 'longer sides of the box around the keypoints',
}


@dataclass(frozen=True)
class PCKCurve:
    """The correct keypoints of one result over the threshold.

    Attributes:
        name: of the result.
        thresholds: (T,) as fractions of the normalizer.
        percents: (T,) mean over the keypoints, of labeled keypoints that are correct.
        per_keypoint: (T, K) the same of every keypoint, NaN for one never labeled.
        num_left_out: instances without a normalizer, which do not count.
    """

    name: str
    thresholds: np.ndarray
    percents: np.ndarray
    per_keypoint: np.ndarray
    num_left_out: int

    @property
    def area(self) -> float:
        """The mean height of the curve, in percent."""
        return float(np.trapezoid(self.percents, self.thresholds) / self.thresholds[-1])


def compute_pck_curve(
    predictions: PredictionFile, normalizer: str = 'torso', max_threshold: float = 0.2, num_steps: int = 20
) -> PCKCurve:
    """Compute the curve of a result; the keypoints of an annotated instance without a prediction are wrong.

    Args:
        predictions: of a test.
        normalizer: what distances are divided by: 'torso' or 'head', between two keypoints of the skeleton, or 'box'.
        max_threshold: the largest threshold.
        num_steps: steps from 0 to it.

    Raises:
        ConfigError: the skeleton has no torso or head, or no instance has a normalizer.
    """
    distances, num_left_out = [], 0
    pair = _find_normalizer_pair(predictions.skeleton, normalizer)
    sigmas = get_error_sigmas(predictions.skeleton)
    for image in predictions.images:
        sizes = _measure_sizes(image, pair)
        # two keypoints of a torso at one position would make every distance infinite
        usable = np.isfinite(sizes) & (sizes > 0)
        num_left_out += int((~usable).sum())
        distances.append(_measure_distances(image, sigmas)[usable] / sizes[usable, None])
    table = np.concatenate(distances) if distances else np.zeros((0, len(predictions.skeleton)))
    if not (~np.isnan(table)).any():
        raise ConfigError(
            f'{predictions.name}: no instance has a {normalizer} to divide by; choose another one of '
            f'{", ".join(CURVE_NORMALIZERS)}'
        )
    thresholds = np.linspace(0, max_threshold, num_steps + 1)
    labeled = ~np.isnan(table)
    # (T, M, K)
    correct = (table[None] <= thresholds[:, None, None]) & labeled
    counts = labeled.sum(axis=0)
    per_keypoint = np.where(counts > 0, 100 * correct.sum(axis=1) / np.maximum(counts, 1), np.nan)
    # the mean over keypoints, as in the papers: each counts alike, however often it is labeled
    return PCKCurve(predictions.name, thresholds, np.nanmean(per_keypoint, axis=1), per_keypoint, num_left_out)


def _find_normalizer_pair(skeleton: Skeleton, normalizer: str) -> tuple[int, int] | None:
    """The indices of the keypoints of the torso or the head; None for the box."""
    if normalizer == 'box':
        return None
    try:
        registered = get_skeleton(skeleton.name)  # files of predictions do not state torso and head
    except PoseplugError:
        registered = skeleton
    pair = registered.head if normalizer == 'head' else registered.torso
    if pair is None or not set(pair) <= set(skeleton.keypoints):
        raise ConfigError(
            f'the skeleton {skeleton.name!r} has no {normalizer} to divide distances by; choose another normalizer: '
            f'{", ".join(CURVE_NORMALIZERS)}'
        )
    return skeleton.index(pair[0]), skeleton.index(pair[1])


def _measure_sizes(image: ImagePredictions, pair: tuple[int, int] | None) -> np.ndarray:
    """The normalizer (N,) of each annotated instance in px; NaN where it is not labeled."""
    labeled = image.visible > 0
    points = np.where(labeled[..., None], image.annotated, np.nan)
    if pair is not None:
        sizes: np.ndarray = np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=1)
        return sizes
    has_box = labeled.any(axis=1, keepdims=True)
    low = np.where(has_box, np.where(labeled[..., None], points, np.inf).min(axis=1), np.nan)
    high = np.where(has_box, np.where(labeled[..., None], points, -np.inf).max(axis=1), np.nan)
    longer_sides: np.ndarray = (high - low).max(axis=1)
    return longer_sides


def _measure_distances(image: ImagePredictions, sigmas: np.ndarray) -> np.ndarray:
    """The distances (N, K) of matched predictions in px; infinite without one, NaN for keypoints not labeled."""
    distances = np.full(image.visible.shape, np.inf)
    for annotated, predicted in match_predictions(image, sigmas).items():
        distances[annotated] = np.linalg.norm(image.annotated[annotated] - image.predicted[predicted], axis=1)
    return np.where(image.visible > 0, distances, np.nan)
