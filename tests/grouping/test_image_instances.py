"""Instances of an input in pixels of the image: their boxes, and which of them lie outside."""

import numpy as np
import pytest

from poseplug.core.geometry import scaling_matrix, translation_matrix
from poseplug.core.poses import Poses
from poseplug.grouping.image_instances import boxed_poses_to_image, poses_to_image

TO_IMAGE = translation_matrix(10, 20) @ scaling_matrix(2)
POINTS = np.array([[[1.0, 2], [5, 3], [90, 90]], [[4, 4], [6, 7], [5, 1]]])


@pytest.mark.parametrize('by_visibility', [False, True])
def test_a_box_encloses_the_keypoints_that_were_detected(by_visibility):
    detected = np.array([[0.9, 0.2, 0.0], [0.0, 0.0, 0.0]])
    scores, visibility = (np.ones((2, 3)), detected) if by_visibility else (detected, None)
    poses = poses_to_image(Poses(POINTS, scores, np.ones(2), visibility=visibility), TO_IMAGE)
    np.testing.assert_array_equal(poses.keypoints, 2 * POINTS + [10, 20])
    assert poses.boxes.tolist() == [[12, 24, 20, 26], [0, 0, 0, 0]]
    assert poses.boxes.dtype == poses.keypoints.dtype == np.float32


def test_without_keypoints_or_instances_there_are_no_boxes():
    poses = poses_to_image(Poses(np.zeros((2, 0, 2)), np.zeros((2, 0)), np.ones(2)), TO_IMAGE)
    assert poses.boxes.tolist() == [[0, 0, 0, 0]] * 2
    assert poses_to_image(Poses(POINTS[:0], np.zeros((0, 3)), np.ones(0)), TO_IMAGE).boxes.shape == (0, 4)


def test_instances_whose_boxes_lie_outside_the_image_are_dropped():
    """The image of 40 x 50 px reaches from -0.5 to 39.5 and 49.5."""
    boxes = np.array([
        [-20.0, 0, -5, 10], [-20, 0, -5.5, 10], [14.5, 0, 20, 5], [15, 0, 20, 5], [0, 14, 5, 20], [0, 15, 5, 20],
    ])  # fmt: skip
    points = np.broadcast_to(POINTS[:1], (6, 3, 2))
    poses = Poses(points, np.ones((6, 3)), np.arange(6.0), boxes=boxes)
    inside = boxed_poses_to_image(poses, TO_IMAGE, (40, 50))
    assert inside.instance_scores.tolist() == [0, 2, 4]
    assert inside.boxes[0].tolist() == [-30, 20, 0, 40]
    np.testing.assert_array_equal(inside.keypoints[0], 2 * POINTS[0] + [10, 20])
    assert inside.boxes.dtype == inside.keypoints.dtype == np.float32
