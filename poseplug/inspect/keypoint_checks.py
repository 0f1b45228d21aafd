"""Checks of annotated keypoints: left and right, positions outside the image, keypoints at one position.

`verify` counts the results over a data set and the doctor (`dataset_faults`) reports them instance by instance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poseplug.core.skeleton import Skeleton

SIDES = ('left', 'right')
_DUPLICATE_DISTANCE_PX = 1.0  # instances whose keypoints are nearer to each other are duplicates


@dataclass(frozen=True)
class TorsoSides:
    """Left and right of N torsos, each in its own frame: a person on their head counts like one on their feet.

    The frame has one axis from the hips to the shoulders and one across, which points to the right of the image where
    a person stands upright.

    Attributes:
        shoulder_offsets: (N,) px², how far the left shoulder lies beyond the right one across, times the torso length.
        hip_offsets: (N,) px², the same for the hips.
        squared_lengths: (N,) px², squared lengths of the torsos.
    """

    shoulder_offsets: np.ndarray
    hip_offsets: np.ndarray
    squared_lengths: np.ndarray

    @property
    def is_front_facing(self) -> np.ndarray:
        """(N,) bool: the left shoulder lies to the right, as of a person who faces the camera."""
        return self.shoulder_offsets > 0

    @property
    def is_crossed(self) -> np.ndarray:
        """(N,) bool: shoulders and hips disagree on left and right."""
        return self.shoulder_offsets * self.hip_offsets < 0

    def is_clear(self, min_offset: float) -> np.ndarray:
        """Select torsos that are not seen from the side, where left and right cannot be judged.

        Args:
            min_offset: Fraction of the torso's length by which left and right of shoulders and of hips must differ.

        Returns:
            (N,) bool.
        """
        # offsets are px² (a length times that of the torso), and so is the right side
        offsets = np.minimum(abs(self.shoulder_offsets), abs(self.hip_offsets))
        return offsets > min_offset * self.squared_lengths


def measure_torso_sides(keypoints: np.ndarray, labeled: np.ndarray, skeleton: Skeleton) -> TorsoSides | None:
    """Measure where left and right of the torsos lie.

    Args:
        keypoints: (N, K, 2) px.
        labeled: (N, K) bool.
        skeleton: Names of the keypoints.

    Returns:
        The torsos in the order of the instances, all 0 and so never clear where a shoulder or a hip is not labeled.
        None if the skeleton lacks one of them.
    """
    names = [f'{side}_{part}' for part in ('shoulder', 'hip') for side in SIDES]
    if not set(names) <= set(skeleton.keypoints):
        return None
    indices = [skeleton.index(name) for name in names]
    is_complete = np.asarray(labeled[:, indices].all(axis=1))
    points = np.where(is_complete[:, None, None], keypoints[:, indices].astype(float), 0.0)
    left_shoulder, right_shoulder, left_hip, right_hip = points.swapaxes(0, 1)
    up = (left_shoulder + right_shoulder - left_hip - right_hip) / 2
    across = np.stack([-up[:, 1], up[:, 0]], axis=1)  # y counts down: to the right of an upright person
    return TorsoSides(
        shoulder_offsets=((left_shoulder - right_shoulder) * across).sum(axis=1),
        hip_offsets=((left_hip - right_hip) * across).sum(axis=1),
        squared_lengths=(up**2).sum(axis=1),
    )


def find_crossed_torsos(
    keypoints: np.ndarray, labeled: np.ndarray, skeleton: Skeleton, min_offset: float
) -> np.ndarray:
    """Find instances whose shoulders and hips clearly disagree on left and right.

    Args:
        keypoints: (N, K, 2) px.
        labeled: (N, K) bool.
        skeleton: Names of the keypoints.
        min_offset: Fraction of the torso's length by which left and right must differ, as in `TorsoSides.is_clear`.

    Returns:
        (N,) bool; False where a shoulder or a hip is not labeled or the skeleton has none.
    """
    torsos = measure_torso_sides(keypoints, labeled, skeleton)
    if torsos is None:
        return np.zeros(len(keypoints), bool)
    return torsos.is_crossed & torsos.is_clear(min_offset)


def find_crossed_limbs(
    keypoints: np.ndarray, labeled: np.ndarray, skeleton: Skeleton, limb: tuple[str, str], min_ratio: float
) -> np.ndarray:
    """Find instances whose left and right limbs would be much shorter with their lower ends exchanged.

    Args:
        keypoints: (N, K, 2) px.
        labeled: (N, K) bool.
        skeleton: Names of the keypoints.
        limb: Upper and lower end without the side, such as ('hip', 'knee').
        min_ratio: Ratio of the length of both limbs to their length with exchanged ends.

    Returns:
        (N,) bool; False where an end is not labeled or the skeleton has none.
    """
    names = [f'{side}_{end}' for end in limb for side in SIDES]
    if not set(names) <= set(skeleton.keypoints):
        return np.zeros(len(keypoints), bool)
    indices = [skeleton.index(name) for name in names]
    is_crossed = np.asarray(labeled[:, indices].all(axis=1))
    left, right, left_end, right_end = keypoints[is_crossed][:, indices].astype(float).swapaxes(0, 1)
    length = np.linalg.norm(left - left_end, axis=1) + np.linalg.norm(right - right_end, axis=1)
    exchanged_length = np.linalg.norm(left - right_end, axis=1) + np.linalg.norm(right - left_end, axis=1)
    # the right side has one entry for each complete instance, in their order
    is_crossed[is_crossed] = length > min_ratio * exchanged_length
    return is_crossed


def compare_limb_sides(keypoints: np.ndarray, labeled: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Check for elbows and knees whether they lie nearer to the shoulder or hip of their own side.

    Args:
        keypoints: (N, K, 2) px.
        labeled: (N, K) bool.
        skeleton: Names of the keypoints.

    Returns:
        (M,) bool for the elbows and knees that are labeled with both shoulders or both hips.
    """
    is_nearer = [np.zeros(0, bool)]
    for root, end in (('shoulder', 'elbow'), ('hip', 'knee')):
        for side, other_side in (SIDES, SIDES[::-1]):
            names = (f'{side}_{end}', f'{side}_{root}', f'{other_side}_{root}')
            if set(names) <= set(skeleton.keypoints):
                indices = [skeleton.index(name) for name in names]
                is_complete = labeled[:, indices].all(axis=1)
                ends, same_side, opposite_side = keypoints[is_complete][:, indices].swapaxes(0, 1)
                same_distance = np.linalg.norm(ends - same_side, axis=1)
                is_nearer.append(same_distance <= np.linalg.norm(ends - opposite_side, axis=1))
    return np.concatenate(is_nearer)


def find_outside_keypoints(keypoints: np.ndarray, labeled: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Find labeled keypoints beyond the border of their image, half a pixel outside the outermost pixel centers.

    Args:
        keypoints: (N, K, 2) px.
        labeled: (N, K) bool.
        image_size: (width, height) px.

    Returns:
        (N, K) bool.
    """
    is_beyond = (keypoints < -0.5) | (keypoints > np.array(image_size) - 0.5)
    return is_beyond.any(axis=-1) & labeled


def has_single_position(keypoints: np.ndarray, labeled: np.ndarray) -> bool:
    """Check whether all labeled keypoints of one instance, at least three, lie at one position.

    Args:
        keypoints: (K, 2) px.
        labeled: (K,) bool.
    """
    # two keypoints can coincide by chance, such as wrists of folded hands
    return bool(labeled.sum() > 2 and np.ptp(keypoints[labeled], axis=0).max() == 0)


def find_duplicates(keypoints: np.ndarray, labeled: np.ndarray) -> list[int]:
    """Find instances of an image that are annotated twice: with the keypoints of an earlier one, to less than 1 px.

    Args:
        keypoints: (N, K, 2) px.
        labeled: (N, K) bool; at least three keypoints have to be labeled in both.

    Returns:
        The indices of the later ones.
    """
    duplicates = []
    for index in range(1, len(keypoints)):
        is_common = labeled[index] & labeled[:index]
        distances = np.abs(keypoints[:index] - keypoints[index]).max(axis=-1)
        # keypoints that only one of both has do not speak against a duplicate
        is_near = (distances < _DUPLICATE_DISTANCE_PX) | ~is_common
        if (is_near.all(axis=1) & (is_common.sum(axis=1) > 2)).any():
            duplicates.append(index)
    return duplicates
