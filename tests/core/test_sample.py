import math
from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import rotation_matrix, scaling_matrix, translation_matrix
from poseplug.core.sample import Record, Sample, SampleKey
from poseplug.core.skeleton import Skeleton
from poseplug.data.collate import collate
from poseplug.testing import create_annotated_record

SMALL = Skeleton('small', ('nose', 'left_hand', 'right_hand'), flip_pairs=(('left_hand', 'right_hand'),))


def create_record(num_instances: int, **optional) -> Record:
    keypoints = np.arange(num_instances * 6, dtype=np.float32).reshape(num_instances, 3, 2)
    return create_annotated_record(Path('a.jpg'), 'a', keypoints, np.full((num_instances, 3), 2, np.uint8), **optional)


def create_sample(num_instances: int, **optional) -> Sample:
    record = create_record(num_instances, **optional)
    image = np.zeros((40, 60, 3), np.uint8)
    key = SampleKey(1, 2)
    sample = Sample(
        record, SMALL, image, np.random.default_rng(0), key, record.instances.keypoints, record.instances.visible
    )
    sample.image_to_input = translation_matrix(5, 0) @ scaling_matrix(2)
    sample.inputs = np.zeros((1, 8, 8, 3), np.uint8)
    return sample


def test_a_batch_pads_instances_and_says_which_are_valid():
    batch = collate([create_sample(3), create_sample(1)])
    assert batch.valid.tolist() == [[True, True, True], [True, False, False]]
    assert batch.visible[1].tolist() == [[2, 2, 2], [0, 0, 0], [0, 0, 0]]
    assert batch.keypoints.shape == (2, 3, 3, 2)


def test_the_keypoints_of_a_batch_are_in_input_pixels():
    batch = collate([create_sample(2)])
    np.testing.assert_array_equal(batch.keypoints[0], create_record(2).instances.keypoints * 2 + [5, 0])
    np.testing.assert_array_equal(batch.image_to_input[0, 0], translation_matrix(5, 0) @ scaling_matrix(2))


def test_the_center_of_the_subject_is_the_declared_one_or_that_of_the_image():
    declared = create_sample(1, centers=np.array([[10.0, 20.0]]))
    assert collate([declared, create_sample(1)]).centers.tolist() == [[25, 40], [29.5 * 2 + 5, 19.5 * 2]]


def test_every_view_has_its_matrix():
    sample = create_sample(1)
    sample.view_matrices, sample.inputs = [np.eye(3)], np.zeros((2, 8, 8, 3), np.uint8)
    batch = collate([sample])
    assert batch.image_to_input.shape == (1, 2, 3, 3)
    assert batch.images.dtype == torch.uint8


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_points_of_a_batch_go_back_to_the_image_that_they_come_from(dtype):
    samples = [create_sample(2), create_sample(1), create_sample(2)]
    samples[1].image_to_input = rotation_matrix(30) @ translation_matrix(3, -7)
    batch = collate(samples)
    indices = torch.tensor([2, 1, 0])
    points = batch.to_image(batch.keypoints[indices, 0].to(dtype), indices)
    assert points.dtype == dtype
    expected = np.stack([samples[i].keypoints[0] for i in indices])
    np.testing.assert_allclose(points, expected, atol=1e-5)
    assert batch.to_image(torch.zeros(0, 3, 2), torch.zeros(0, dtype=torch.long)).shape == (0, 3, 2)


def test_a_point_of_the_first_view_moves_to_its_position_in_another():
    sample = create_sample(1)
    sample.view_matrices, sample.inputs = [rotation_matrix(90)], np.zeros((2, 8, 8, 3), np.uint8)
    batch = collate([sample])
    np.testing.assert_allclose(batch.to_view(1) @ batch.image_to_input[:, 0], rotation_matrix(90)[None], atol=1e-12)
    np.testing.assert_allclose(batch.to_view(0)[0], np.eye(3), atol=1e-12)


@pytest.mark.parametrize('create', [create_record, create_sample, lambda n: collate([create_sample(n)])])
def test_structures_of_arrays_are_compared_by_identity(create):
    one, other = create(1), create(1)
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_a_pipeline_without_a_warp_is_an_error_that_names_it():
    sample = create_sample(1)
    sample.inputs = sample.inputs[:0]
    with pytest.raises(ConfigError, match='Warp'):
        collate([sample])


def test_a_batch_moves_its_tensors_and_keeps_the_rest():
    batch = collate([create_sample(2)])
    batch_on_device = batch.to('meta')
    assert batch_on_device.image_sizes == [(60, 40)]
    assert batch_on_device.records[0] is batch.records[0]
    assert batch_on_device.keypoints.device.type == batch_on_device.areas.device.type == 'meta'
    assert torch.equal(batch.to('cpu').keypoints, batch.keypoints)


def test_the_subject_comes_first_and_the_others_keep_their_order():
    optional = dict(centers=np.arange(6.0).reshape(3, 2), head_sizes=np.arange(3.0), annotation_ids=np.arange(3))
    reordered = create_record(3, **optional).put_first(1).instances
    np.testing.assert_array_equal(reordered.keypoints, create_record(3).instances.keypoints[[1, 0, 2]])
    np.testing.assert_array_equal(reordered.centers[:, 0], [2, 0, 4])
    assert reordered.head_sizes.tolist() == reordered.annotation_ids.tolist() == [1, 0, 2]


def test_keypoints_are_mapped_by_name_and_unknown_ones_are_not_labeled():
    target = Skeleton('target', ('right_hand', 'tail', 'nose'))
    mapped = create_record(1).map_to_skeleton(SMALL, target)
    assert mapped.instances.keypoints.tolist() == [[[4, 5], [0, 0], [0, 1]]]
    assert mapped.instances.visible.tolist() == [[2, 0, 2]]
    assert mapped.annotated_keypoints.tolist() == [True, False, True]


def test_the_ground_truth_of_detected_instances_is_mapped_too():
    target = Skeleton('target', ('right_hand', 'tail', 'nose'))
    mapped = create_record(1, ground_truth=create_record(2)).map_to_skeleton(SMALL, target)
    assert mapped.ground_truth.instances.keypoints[:, 0].tolist() == [[4, 5], [10, 11]]


def test_boxes_and_areas_of_a_batch_are_those_in_the_input():
    boxes = np.array([[10.0, 20, 30, 50], [0, 0, 8, 4]])
    batch = collate([create_sample(2, boxes=boxes, areas=np.array([300.0, 0.0])), create_sample(1)])
    assert batch.boxes[0].tolist() == [[25, 40, 65, 100], [5, 0, 21, 8]]
    np.testing.assert_allclose(batch.areas[0], [1200, 0.53 * 32 * 4])
    assert not batch.boxes[1, 1].any()
    assert not batch.areas[1, 1].any()


def test_a_box_in_a_rotated_input_encloses_its_corners():
    sample = create_sample(1, boxes=np.array([[10.0, 20, 30, 50]]), areas=np.array([100.0]))
    sample.image_to_input = rotation_matrix(90)
    batch = collate([sample])
    np.testing.assert_allclose(batch.boxes[0, 0], [-50, 10, -20, 30], atol=1e-4)
    np.testing.assert_allclose(batch.areas[0], [100], rtol=1e-6)


def test_without_annotated_boxes_they_enclose_the_labeled_keypoints():
    batch = collate([create_sample(1)])
    np.testing.assert_allclose(batch.boxes[0, 0], np.array([0, 1, 4, 5]) * 2 + [5, 0, 5, 0])


def test_a_batch_of_prepared_inputs_is_filled_by_what_its_keypoints_say():
    images = torch.zeros(1, 2, 40, 60, 3, dtype=torch.uint8)
    keypoints = torch.tensor([[[[10.0, 20.0], [30.0, 25.0], [0.0, 0.0]], [[5.0, 5.0], [6.0, 6.0], [7.0, 7.0]]]])
    visible = torch.tensor([[[2, 1, 0], [0, 0, 0]]])
    batch = Batch.from_instances(images, keypoints, visible)
    assert batch.boxes.tolist() == [[[10, 20, 30, 25], [0, 0, 0, 0]]]
    assert batch.areas.tolist() == [[100, 0]]
    assert batch.centers.tolist() == [[29.5, 19.5]]
    assert (batch.image_sizes, batch.view_sizes) == ([(60, 40)], [(60, 40)] * 2)
    assert batch.masks.shape == (1, 40, 60)
    assert batch.masks.all()
    assert batch.annotated_keypoints.tolist() == [[True] * 3]
    assert Batch.from_instances(images, keypoints, visible, areas=torch.full((1, 2), 7.0)).areas.tolist() == [[7, 7]]


def test_a_batch_has_the_size_of_every_view_masks_and_annotated_keypoints_of_all_samples():
    first, second = create_sample(1), create_sample(1)
    second.mask = np.zeros((3, 2), np.uint8)
    batch = collate([first, second])
    assert batch.view_sizes == [(8, 8)]
    assert batch.masks[0].all()
    assert batch.masks[1].sum() == 64 - 6
    assert batch.annotated_keypoints.shape == (2, 3)
    assert math.isnan(first.record.crowd_index)


def test_a_batch_returns_from_the_input_to_the_image_by_the_inverse_of_every_matrix():
    matrices = torch.from_numpy(
        np.stack([scaling_matrix(0.5) @ translation_matrix(-7, 3), rotation_matrix(30) @ scaling_matrix(2)])
    )
    images, visible = torch.zeros(2, 1, 8, 8, 3, dtype=torch.uint8), torch.ones(2, 1, 1)
    batch = Batch.from_instances(images, torch.zeros(2, 1, 1, 2), visible, image_to_input=matrices[:, None])
    torch.testing.assert_close(batch.input_to_image() @ matrices, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
