"""Where a model fails: correct keypoints by viewpoint, by occlusion and by the distance of the nearest other person.

The viewpoint is that of the annotation: seen from the front, a person's left shoulder and hip lie to the left of the
line from the hips to the shoulders, seen from the back to its right, and seen from the side both lie on it. It does not
depend on how the person is turned in the image, and needs keypoints that are person-centric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import (
    ERROR_KINDS,
    Interval,
    KeypointErrors,
    bootstrap_ratios,
    collect_keypoint_errors,
    summarize_resamples,
)
from poseplug.evaluation.prediction_file import ImagePredictions, PredictionFile

VIEWPOINTS = ('front', 'side', 'back')
_TRUNK = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip')
_SIDE_WIDTH_RATIO = 0.25  # of the trunk's width to its length: seen from the front it is 0.5 to 0.8
# Upper ends of the groups by distance of the nearest other person, in lengths of one's own box diagonal.
_NEAR_DISTANCES = {'another person within 0.25 diagonals': 0.25, 'within 0.5': 0.5, 'within 1': 1.0, 'farther': np.inf}
_NUM_CORRECT_KINDS = ERROR_KINDS.index('jitter') + 1  # good and jitter: a similarity of 0.5 and more


@dataclass(frozen=True)
class GroupAccuracy:
    """The correct keypoints of one group, of which a similarity of 0.5 and more is one.

    Attributes:
        group: its name.
        count: labeled keypoints of the group.
        percent: of them that are correct, with the 95 % interval over images.
        kinds: percent of each kind of error, in the order of `ERROR_KINDS`.
    """

    group: str
    count: int
    percent: Interval
    kinds: tuple[float, ...]


def classify_viewpoints(skeleton: Skeleton, keypoints: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Classify from where instances are seen.

    Args:
        skeleton: person-centric, with shoulders and hips.
        keypoints: (N, K, 2) px.
        visible: (N, K) 0 for a keypoint that is not labeled.

    Returns:
        (N,) index in `VIEWPOINTS`; -1 where a shoulder or a hip is not labeled, or the skeleton lacks them.

    Example:
        >>> from poseplug.registry.skeletons import get_skeleton
        >>> skeleton = get_skeleton('coco')
        >>> keypoints = np.zeros((1, 17, 2))
        >>> trunk = dict(left_shoulder=(60, 0), right_shoulder=(20, 0), left_hip=(50, 60), right_hip=(30, 60))
        >>> for name, point in trunk.items():
        ...     keypoints[0, skeleton.index(name)] = point
        >>> VIEWPOINTS[classify_viewpoints(skeleton, keypoints, np.ones((1, 17)))[0]]
        'front'
    """
    count = len(keypoints)
    if skeleton.centric != 'person' or not set(_TRUNK) <= set(skeleton.keypoints):
        # observer-centric labels do not say which side is the person's left
        return np.full(count, -1)
    indices = [skeleton.index(name) for name in _TRUNK]
    left_shoulder, right_shoulder, left_hip, right_hip = keypoints[:, indices].transpose(1, 0, 2)
    # the means of shoulders and hips, so that one twisted pair does not decide
    across = (left_shoulder - right_shoulder + left_hip - right_hip) / 2
    down = (left_hip + right_hip - left_shoulder - right_shoulder) / 2
    squared_length = np.maximum((down**2).sum(axis=1), 1e-6)
    # The width across the trunk, positive where the left side lies to the right in an upright image.
    width_ratio = (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) / squared_length
    viewpoints = np.where(width_ratio > _SIDE_WIDTH_RATIO, 0, np.where(width_ratio < -_SIDE_WIDTH_RATIO, 2, 1))
    labeled = (visible[:, indices] > 0).all(axis=1)
    return np.where(labeled, viewpoints, -1)


def measure_nearest_distances(image: ImagePredictions) -> np.ndarray:
    """Measure how near the nearest other annotated instance is.

    Args:
        image: with its annotated instances.

    Returns:
        (N,) distance of the middles of the boxes around labeled keypoints, over the diagonal of the instance's own box;
        NaN for an instance alone in its image or without labeled keypoints.
    """
    labeled = (image.visible > 0)[..., None]
    has_box = labeled.any(axis=1)  # (N, 1)
    low = np.where(has_box, np.where(labeled, image.annotated, np.inf).min(axis=1), np.nan)
    high = np.where(has_box, np.where(labeled, image.annotated, -np.inf).max(axis=1), np.nan)
    middles = (low + high) / 2
    distances = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
    np.fill_diagonal(distances, np.nan)
    diagonals = np.linalg.norm(high - low, axis=1)
    # `fmin` ignores NaN, but would return its start for an instance alone in its image
    nearest = np.where(np.isnan(distances).all(axis=1), np.nan, np.fmin.reduce(distances, axis=1, initial=np.inf))
    relative: np.ndarray = nearest / np.maximum(diagonals, 1e-6)
    return relative


def group_errors(predictions: PredictionFile) -> list[GroupAccuracy]:
    """Measure the correct keypoints of a test by group.

    Args:
        predictions: of the test.

    Returns:
        All keypoints, then those of each viewpoint, visible and occluded ones, and by the nearest other person; groups
        without keypoints are left out.
    """
    errors = collect_keypoint_errors(predictions)
    viewpoints = _gather_per_keypoint(
        errors, [classify_viewpoints(predictions.skeleton, i.annotated, i.visible) for i in predictions.images]
    )
    distances = _gather_per_keypoint(errors, [measure_nearest_distances(image) for image in predictions.images])
    groups = {'all': np.ones(len(errors.kinds), dtype=bool)}
    groups |= {f'seen from the {name}': viewpoints == i for i, name in enumerate(VIEWPOINTS)}
    groups |= {'visible': ~errors.is_occluded, 'occluded': errors.is_occluded}
    # comparisons with NaN are false, so that these are in none of the groups by distance
    groups['alone in the image'] = np.isnan(distances)
    low = 0.0
    for name, high in _NEAR_DISTANCES.items():
        groups[name] = (distances >= low) & (distances < high)
        low = high
    return [_measure_group(errors, name, rows) for name, rows in groups.items() if rows.any()]


def _gather_per_keypoint(errors: KeypointErrors, values_by_image: Sequence[np.ndarray]) -> np.ndarray:
    """The value (R,) of the instance of each labeled keypoint, from arrays (N,) of all images."""
    counts = [len(values) for values in values_by_image]
    # instances of all images in one row: image i begins at starts[i]
    starts = np.cumsum([0, *counts])
    values = np.concatenate([np.zeros(0), *values_by_image])
    gathered: np.ndarray = values[starts[errors.image_indices] + errors.instance_indices]
    return gathered


def _measure_group(errors: KeypointErrors, name: str, rows: np.ndarray) -> GroupAccuracy:
    counts = errors.count_kinds(rows)
    totals = counts.sum(axis=1)
    correct = counts[:, :_NUM_CORRECT_KINDS].sum(axis=1, keepdims=True)
    (percent,) = summarize_resamples(100 * bootstrap_ratios(correct, totals))
    kinds = 100 * counts.sum(axis=0) / max(totals.sum(), 1)
    return GroupAccuracy(name, int(totals.sum()), percent, tuple(kinds.tolist()))
