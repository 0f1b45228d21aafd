"""Checks of annotated keypoints on a torso of 40 px, worked by hand."""

import numpy as np
import pytest

from poseplug.core.skeleton import Skeleton
from poseplug.inspect.keypoint_checks import (
    compare_limb_sides,
    find_crossed_limbs,
    find_crossed_torsos,
    find_duplicates,
    find_outside_keypoints,
    has_single_position,
    measure_torso_sides,
)

NAMES = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip', 'left_elbow', 'right_elbow')
SKELETON = Skeleton('torso', NAMES)
FRONT = np.array([[(60, 20), (40, 20), (55, 60), (45, 60), (65, 40), (35, 40)]], float)
LABELED = np.ones((1, 6), bool)


def exchange(*indices):
    """The keypoints with two of them exchanged."""
    keypoints = FRONT.copy()
    keypoints[:, indices] = keypoints[:, indices[::-1]]
    return keypoints


def test_offsets_are_measured_across_the_torso():
    torsos = measure_torso_sides(FRONT, LABELED, SKELETON)
    assert torsos.squared_lengths == 40**2
    assert torsos.shoulder_offsets == 20 * 40
    assert torsos.hip_offsets == 10 * 40
    assert torsos.is_clear(0.24)
    assert not torsos.is_clear(0.26)


@pytest.mark.parametrize('image', [FRONT, -FRONT, FRONT[..., ::-1] * (1, -1)], ids=['upright', 'headlong', 'lying'])
def test_left_and_right_do_not_depend_on_the_rotation(image):
    torsos = measure_torso_sides(image, LABELED, SKELETON)
    assert torsos.is_front_facing
    assert not torsos.is_crossed


@pytest.mark.parametrize('degrees', [-120, -70, -30, 30, 70, 120])
def test_a_leaning_torso_has_the_offsets_of_an_upright_one(degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    leaning = FRONT @ np.array([[cosine, sine], [-sine, cosine]])
    torsos = measure_torso_sides(leaning, LABELED, SKELETON)
    np.testing.assert_allclose(torsos.squared_lengths, 40**2)
    np.testing.assert_allclose(torsos.shoulder_offsets, 20 * 40)
    np.testing.assert_allclose(torsos.hip_offsets, 10 * 40)


def test_exchanged_hips_cross_the_torso():
    assert find_crossed_torsos(exchange(2, 3), LABELED, SKELETON, 0.15).tolist() == [True]
    assert find_crossed_torsos(exchange(2, 3), LABELED, SKELETON, 0.3).tolist() == [False]
    assert find_crossed_torsos(FRONT, LABELED, SKELETON, 0.15).tolist() == [False]


def test_exchanged_elbows_cross_the_arms():
    arm = ('shoulder', 'elbow')
    assert find_crossed_limbs(exchange(4, 5), LABELED, SKELETON, arm, 1.4).tolist() == [True]
    assert find_crossed_limbs(FRONT, LABELED, SKELETON, arm, 1.4).tolist() == [False]
    assert compare_limb_sides(FRONT, LABELED, SKELETON).tolist() == [True, True]
    assert compare_limb_sides(exchange(4, 5), LABELED, SKELETON).tolist() == [False, False]


def test_what_is_not_labeled_or_not_in_the_skeleton_is_not_judged():
    unlabeled = np.zeros((1, 6), bool)
    assert find_crossed_torsos(exchange(2, 3), unlabeled, SKELETON, 0.15).tolist() == [False]
    assert find_crossed_limbs(exchange(4, 5), unlabeled, SKELETON, ('shoulder', 'elbow'), 1.4).tolist() == [False]
    assert find_crossed_limbs(FRONT, LABELED, SKELETON, ('hip', 'knee'), 1.4).tolist() == [False]
    assert len(compare_limb_sides(FRONT, unlabeled, SKELETON)) == 0
    assert measure_torso_sides(FRONT[:, :2], LABELED[:, :2], Skeleton('shoulders', NAMES[:2])) is None


def test_the_border_of_an_image_is_half_a_pixel_outside_its_pixel_centers():
    keypoints = np.array([[(-0.5, 0), (-0.6, 0), (9.5, 4.5), (9.6, 4), (0, 4.6), (99, 99)]])
    labeled = np.array([[True] * 5 + [False]])
    outside = find_outside_keypoints(keypoints, labeled, (10, 5))
    assert outside.tolist() == [[False, True, False, True, True, False]]


def test_three_keypoints_at_one_position_are_suspect_and_two_are_not():
    keypoints = np.full((4, 2), 7.0)
    assert has_single_position(keypoints, np.array([True, True, True, False]))
    assert not has_single_position(keypoints, np.array([True, True, False, False]))
    assert not has_single_position(keypoints + np.arange(4)[:, None], np.ones(4, bool))


def test_an_instance_with_the_keypoints_of_another_is_a_duplicate():
    keypoints = np.concatenate([FRONT, FRONT + 0.9, FRONT + 1.1, FRONT])
    labeled = np.ones(keypoints.shape[:2], bool)
    labeled[3, 2:] = False  # two common keypoints say nothing
    assert find_duplicates(keypoints, labeled) == [1, 2]  # the third lies 0.2 px from the second
    assert find_duplicates(keypoints[[0, 2, 3]], labeled[[0, 2, 3]]) == []
