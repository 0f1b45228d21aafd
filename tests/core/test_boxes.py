"""Box arithmetic by hand, the same for arrays and for tensors."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.core.boxes import (
    aligned_box_iou,
    box_areas,
    box_iou,
    boxes_to_corners,
    clip_boxes,
    clip_boxes_to_region,
    enclose_keypoints,
    has_extent,
    transform_boxes,
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from poseplug.core.geometry import rotation_matrix

both_kinds = pytest.mark.parametrize('convert', [np.asarray, torch.as_tensor])


def create_boxes(num_boxes: int, seed: int = 0) -> np.ndarray:
    """Boxes (N, 4) of which many overlap."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 80, (num_boxes, 2))
    return np.concatenate([low, low + rng.uniform(5, 45, (num_boxes, 2))], axis=1).astype(np.float32)


@both_kinds
def test_two_squares_that_share_half_of_each_have_an_iou_of_a_third(convert):
    square, others = convert(np.array([[0.0, 0, 10, 10]])), convert(np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]]))
    np.testing.assert_allclose(box_iou(square, others), [[1 / 3, 0]])
    np.testing.assert_allclose(aligned_box_iou(square, others), [1 / 3, 0])


@both_kinds
def test_boxes_without_an_extent_overlap_nothing(convert):
    empty = convert(np.array([[3.0, 3, 3, 3], [9, 9, 4, 4]]))
    assert box_areas(empty).tolist() == [0, 0]
    assert has_extent(empty).tolist() == [False, False]
    assert box_iou(empty, empty).tolist() == [[0, 0], [0, 0]]


def test_integers_overlap_like_floats():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10]])
    np.testing.assert_array_equal(box_iou(boxes, boxes), box_iou(boxes.astype(float), boxes.astype(float)))


def test_a_batch_of_boxes_is_compared_image_by_image():
    boxes, others = torch.from_numpy(create_boxes(12)).reshape(3, 4, 4), torch.from_numpy(create_boxes(6, seed=1))
    table = box_iou(boxes, others.reshape(3, 2, 4))
    assert table.shape == (3, 4, 2)
    assert_close(table[1], box_iou(boxes[1], others[2:4]))


@pytest.mark.parametrize(
    'function',
    [
        box_areas,
        has_extent,
        xywh_to_xyxy,
        xyxy_to_xywh,
        lambda boxes: box_iou(boxes, boxes[:3]),
        lambda boxes: transform_boxes(rotation_matrix(30).astype(np.float32), boxes),
        lambda boxes: clip_boxes(boxes, boxes[:, 2:] / 2),
        lambda boxes: clip_boxes_to_region(boxes, boxes[0]),
    ],
)
def test_tensors_have_the_numbers_of_arrays(function):
    boxes = create_boxes(7)
    assert_close(function(torch.from_numpy(boxes)), torch.from_numpy(function(boxes)))


def test_the_gradient_of_an_iou_reaches_both_boxes():
    boxes = torch.tensor([[0.0, 0, 10, 10]], requires_grad=True)
    others = torch.tensor([[5.0, 0, 15, 10]], requires_grad=True)
    aligned_box_iou(boxes, others).sum().backward()
    assert boxes.grad[0, 2] > 0
    assert others.grad[0, 0] < 0


@both_kinds
def test_corners_and_sizes_are_inverse(convert):
    xywh = convert(np.array([[10.0, 20, 30, 40]]))
    assert xywh_to_xyxy(xywh).tolist() == boxes_to_corners(xywh, 'xywh').tolist() == [[10, 20, 40, 60]]
    assert xyxy_to_xywh(xywh_to_xyxy(xywh)).tolist() == xywh.tolist()
    assert boxes_to_corners(xywh, 'xyxy') is xywh


@both_kinds
def test_a_rotated_box_encloses_its_corners(convert):
    boxes = transform_boxes(rotation_matrix(90), convert(np.array([[0.0, 0, 4, 2]])))
    np.testing.assert_allclose(boxes, [[-2, 0, 0, 4]], atol=1e-12)


@both_kinds
def test_a_clipped_box_lies_in_its_image(convert):
    boxes, sizes = convert(np.array([[-5.0, 10, 30, 50], [60, 0, 70, 5]])), convert(np.array([[20.0, 40]]))
    assert clip_boxes(boxes, sizes).tolist() == [[0, 10, 20, 40], [20, 0, 20, 5]]


@both_kinds
def test_a_box_outside_a_region_has_no_extent_in_it(convert):
    boxes, region = convert(np.array([[0.0, 0, 10, 10], [30, 0, 40, 10]])), convert(np.array([5.0, -5, 20, 8]))
    clipped = clip_boxes_to_region(boxes, region)
    assert clipped[0].tolist() == [5, 0, 10, 8]
    assert has_extent(clipped).tolist() == [True, False]


def test_keypoints_that_count_are_enclosed_and_none_give_zeros():
    keypoints = np.array([[[1.0, 2], [5, 9], [100, 100]]] * 2, np.float32)
    mask = np.array([[True, True, False], [False, False, False]])
    boxes = enclose_keypoints(keypoints, mask)
    assert boxes.tolist() == [[1, 2, 5, 9], [0, 0, 0, 0]]
    assert boxes.dtype == np.float32
