"""What a file leaves out is filled by rule, and the operations keep all arrays in step."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from poseplug.core.geometry import conjugate_about, rotation_matrix, scaling_matrix, translation_matrix
from poseplug.core.instances import NO_ANNOTATION_ID, IgnoredRegions, Instances
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton

SMALL = Skeleton('small', ('nose', 'left_hand', 'right_hand'), flip_pairs=(('left_hand', 'right_hand'),))
POINTS = np.array([[[0, 1], [2, 3], [4, 7]], [[10, 10], [20, 30], [0, 0]], [[5, 5], [5, 5], [5, 5]]], np.float32)
VISIBLE = np.array([[2, 2, 1], [2, 1, 0], [0, 0, 0]], np.uint8)
OPTIONAL = ('centers', 'scales', 'head_sizes', 'box_scores')


def create_full_instances() -> Instances:
    """Three instances that have everything."""
    segmentations = np.full(3, None, dtype=object)
    segmentations[1] = (np.zeros((3, 2), np.float32),)
    return Instances.from_annotations(
        POINTS,
        VISIBLE,
        boxes=np.array([[0.0, 0, 5, 8], [9, 9, 21, 31], [1, 1, 2, 2]]),
        areas=np.array([20.0, 100, 0.5]),
        centers=np.array([[2.0, 4], [15, 20], [1, 1]]),
        scales=np.array([0.5, 1, 2]),
        head_sizes=np.array([3.0, 4, 5]),
        annotation_ids=np.array([7, 8, 9]),
        box_scores=np.array([0.9, 0.8, 0.7]),
        segmentations=segmentations,
    )


def test_boxes_enclose_the_labeled_keypoints_and_areas_are_a_fraction_of_the_boxes():
    instances = Instances.from_annotations(POINTS, VISIBLE)
    assert instances.boxes.tolist() == [[0, 1, 4, 7], [10, 10, 20, 30], [0, 0, 0, 0]]
    np.testing.assert_allclose(instances.areas, [0.53 * 24, 0.53 * 200, 0])
    assert not instances.has_box.any()
    assert not instances.has_area.any()


def test_what_does_not_exist_is_nan_and_ids_and_segmentations_are_absent():
    instances = Instances.from_annotations(POINTS, VISIBLE)
    assert all(np.isnan(getattr(instances, name)).all() for name in OPTIONAL)
    assert instances.annotation_ids.tolist() == [NO_ANNOTATION_ID] * 3
    assert not instances.has_annotation_id.any()
    assert not instances.is_detected.any()
    assert instances.segmentations.tolist() == [None] * 3


def test_a_box_or_area_is_filled_for_the_instances_that_lack_it_alone():
    boxes = np.array([[0.0, 0, 5, 8], [np.nan] * 4, [1, 1, 2, 2]])
    instances = Instances.from_annotations(POINTS, VISIBLE, boxes=boxes, areas=np.array([20.0, 30.0, np.nan]))
    assert instances.boxes.tolist() == [[0, 0, 5, 8], [10, 10, 20, 30], [1, 1, 2, 2]]
    assert instances.has_box.tolist() == [True, False, True]
    assert instances.areas.tolist() == [20, 30, 0.53]
    assert instances.has_area.tolist() == [True, True, False]


@pytest.mark.parametrize('index', [[2, 0], slice(1, 3), np.array([True, False, True]), []])
def test_an_index_selects_rows_of_every_array(index):
    instances = create_full_instances()
    selected = instances[index]
    assert len(selected) == len(np.arange(3)[index])
    for f in fields(Instances):
        np.testing.assert_array_equal(getattr(selected, f.name), getattr(instances, f.name)[index])


def test_parts_put_together_are_the_whole():
    instances = create_full_instances()
    whole = Instances.concatenate([instances[:1], instances[1:1], instances[1:]])
    for f in fields(Instances):
        np.testing.assert_array_equal(getattr(whole, f.name), getattr(instances, f.name))


def test_the_first_of_another_order_is_the_chosen_one_and_the_others_keep_theirs():
    assert create_full_instances().put_first(1).annotation_ids.tolist() == [8, 7, 9]
    assert create_full_instances().put_first(0).annotation_ids.tolist() == [7, 8, 9]


def test_a_matrix_moves_positions_and_scales_lengths_and_areas():
    matrix = translation_matrix(5, -1) @ scaling_matrix(2)
    instances = create_full_instances().transform(matrix)
    np.testing.assert_allclose(instances.keypoints, POINTS * 2 + [5, -1])
    np.testing.assert_allclose(instances.boxes[0], [5, -1, 15, 15])
    np.testing.assert_allclose(instances.centers[0], [9, 7])
    assert instances.areas.tolist() == [80, 400, 2]
    assert (instances.scales.tolist(), instances.head_sizes.tolist()) == ([1, 2, 4], [6, 8, 10])
    assert instances.segmentations.tolist() == [None] * 3


def test_a_matrix_and_its_inverse_are_the_identity_but_for_boxes_that_were_rotated():
    matrix = conjugate_about(rotation_matrix(30) @ scaling_matrix(1.5), (40, 50))
    instances = create_full_instances()
    back = instances.transform(matrix).transform(np.linalg.inv(matrix))
    for name in ('keypoints', 'areas', 'centers', 'scales', 'head_sizes'):
        np.testing.assert_allclose(getattr(back, name), getattr(instances, name), atol=1e-9)
    assert (back.boxes[:, :2] <= instances.boxes[:, :2] + 1e-9).all()
    assert (back.boxes[:, 2:] >= instances.boxes[:, 2:] - 1e-9).all()


def test_boxes_around_keypoints_follow_the_keypoints_of_another_skeleton_and_annotated_ones_stay():
    hands = Skeleton('hands', ('right_hand', 'left_hand'))
    estimated = Instances.from_annotations(POINTS, VISIBLE).convert_keypoints(SMALL, hands)
    assert estimated.boxes[0].tolist() == [2, 3, 4, 7]
    assert estimated.areas[0] == 0.53 * 8
    annotated = create_full_instances()
    converted = annotated.convert_keypoints(SMALL, hands)
    np.testing.assert_array_equal(converted.boxes, annotated.boxes)
    np.testing.assert_array_equal(converted.areas, annotated.areas)
    assert converted.keypoints[0].tolist() == [[4, 7], [2, 3]]


def test_detections_have_scores_and_no_labeled_keypoint():
    instances = Instances.from_detections(np.array([[1.0, 2, 11, 22]]), np.array([0.5]), 3)
    assert (instances.has_box.all(), instances.is_detected.all(), instances.visible.any()) == (True, True, False)
    assert len(Instances.empty(3)) == 0
    assert Instances.empty(3).keypoints.shape == (0, 3, 2)


def test_ignored_regions_are_crowds_of_the_area_of_their_box_unless_stated():
    regions = IgnoredRegions.from_annotations(np.array([[0.0, 0, 4, 5]]))
    assert (regions.areas.tolist(), regions.crowds.tolist(), regions.segmentations.tolist()) == ([20], [True], [None])
    enlarged = IgnoredRegions.concatenate([regions, IgnoredRegions.empty()]).transform(scaling_matrix(2))
    assert (enlarged.boxes.tolist(), enlarged.areas.tolist()) == ([[0, 0, 8, 10]], [80])


def test_a_record_annotates_all_keypoints_unless_stated():
    record = Record(Path('a.jpg'), 'a', create_full_instances())
    assert record.annotated_keypoints.tolist() == [True] * 3
    assert len(record.ignored) == 0
