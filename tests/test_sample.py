from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.errors import ConfigError
from poseplug.geometry import rotation, scaling, translation
from poseplug.sample import Draw, Record, Sample, collate
from poseplug.skeleton import Skeleton

SMALL = Skeleton('small', ('nose', 'left_hand', 'right_hand'), swaps=(('left_hand', 'right_hand'),))


def record(people: int, **others) -> Record:
    keypoints = np.arange(people * 6, dtype=np.float32).reshape(people, 3, 2)
    return Record(Path('a.jpg'), 'a', keypoints, np.full((people, 3), 2, np.uint8), **others)


def sample(people: int, **others) -> Sample:
    r = record(people, **others)
    image = np.zeros((40, 60, 3), np.uint8)
    made = Sample(r, SMALL, image, np.random.default_rng(0), Draw(1, 2), r.keypoints, r.visible)
    made.matrix = translation(5, 0) @ scaling(2)
    made.inputs = np.zeros((1, 8, 8, 3), np.uint8)
    return made


def test_a_batch_pads_people_and_says_who_is_real():
    batch = collate([sample(3), sample(1)])
    assert batch.people.tolist() == [[True, True, True], [True, False, False]]
    assert batch.visible[1].tolist() == [[2, 2, 2], [0, 0, 0], [0, 0, 0]]
    assert batch.keypoints.shape == (2, 3, 3, 2)


def test_the_joints_of_a_batch_went_through_the_matrix():
    batch = collate([sample(2)])
    np.testing.assert_array_equal(batch.keypoints[0], record(2).keypoints * 2 + [5, 0])
    np.testing.assert_array_equal(batch.matrices[0, 0], translation(5, 0) @ scaling(2))


def test_the_subject_stands_at_its_declared_center_or_in_the_middle_of_the_picture():
    declared = sample(1, centers=np.array([[10.0, 20.0]]))
    assert collate([declared, sample(1)]).centers.tolist() == [[25, 40], [29.5 * 2 + 5, 19.5 * 2]]


def test_every_view_brings_its_matrix():
    made = sample(1)
    made.views, made.inputs = [np.eye(3)], np.zeros((2, 8, 8, 3), np.uint8)
    batch = collate([made])
    assert batch.matrices.shape == (1, 2, 3, 3)
    assert batch.images.dtype == torch.uint8


def test_a_pipeline_without_a_warp_is_told_what_it_lacks():
    made = sample(1)
    made.inputs = None
    with pytest.raises(ConfigError, match='Warp'):
        collate([made])


def test_a_batch_moves_its_tensors_and_keeps_the_rest():
    batch = collate([sample(2)])
    moved = batch.to('cpu')
    assert moved.sizes == [(60, 40)]
    assert moved.records[0] is batch.records[0]
    assert torch.equal(moved.keypoints, batch.keypoints)


def test_the_subject_leads_and_the_others_keep_their_order():
    led = record(3, centers=np.arange(6.0).reshape(3, 2)).led_by(1)
    np.testing.assert_array_equal(led.keypoints, record(3).keypoints[[1, 0, 2]])
    np.testing.assert_array_equal(led.centers[:, 0], [2, 0, 4])


def test_joints_are_mapped_by_name_and_unknown_ones_are_unlabelled():
    wanted = Skeleton('wanted', ('right_hand', 'tail', 'nose'))
    mapped = record(1).mapped_to(SMALL, wanted)
    assert mapped.keypoints.tolist() == [[[4, 5], [0, 0], [0, 1]]]
    assert mapped.visible.tolist() == [[2, 0, 2]]


def test_boxes_and_areas_of_a_batch_are_those_in_the_input():
    boxes = np.array([[10.0, 20, 30, 50], [0, 0, 8, 4]])
    batch = collate([sample(2, boxes=boxes, areas=np.array([300.0, 0.0])), sample(1)])
    assert batch.boxes[0].tolist() == [[25, 40, 65, 100], [5, 0, 21, 8]]
    np.testing.assert_allclose(batch.areas[0], [1200, 0.53 * 32 * 4])
    assert not batch.boxes[1, 1].any()
    assert not batch.areas[1, 1].any()


def test_a_box_in_a_turned_input_is_the_hull_of_its_corners():
    made = sample(1, boxes=np.array([[10.0, 20, 30, 50]]), areas=np.array([100.0]))
    made.matrix = rotation(90)
    batch = collate([made])
    np.testing.assert_allclose(batch.boxes[0, 0], [-50, 10, -20, 30], atol=1e-4)
    np.testing.assert_allclose(batch.areas[0], [100], rtol=1e-6)


def test_without_annotated_boxes_the_labelled_joints_say_where_people_are():
    batch = collate([sample(1)])
    np.testing.assert_allclose(batch.boxes[0, 0], np.array([0, 1, 4, 5]) * 2 + [5, 0, 5, 0])
