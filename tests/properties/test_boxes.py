"""Laws of boxes: clipping, overlap, suppression."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseplug.core.boxes import box_areas, box_iou, boxes_to_corners, clip_boxes, has_extent
from poseplug.core.errors import AnnotationError
from poseplug.data.sources.box_files import compute_fit_fraction
from poseplug.grouping.nms import nms
from poseplug.predict.box_checks import parse_boxes
from tests.properties.laws import LAW, boxes, rng, seeds, sizes


def repeat_size(size, count):
    return np.tile(np.array(size, dtype=float), (count, 1))


@LAW
@given(boxes(), sizes)
def test_clipping_twice_is_clipping_once(xyxy, size):
    once = clip_boxes(xyxy, repeat_size(size, len(xyxy)))
    assert np.array_equal(clip_boxes(once, repeat_size(size, len(xyxy))), once)


@LAW
@given(boxes(), sizes)
def test_a_clipped_box_lies_in_its_image_and_in_itself(xyxy, size):
    inside = clip_boxes(xyxy, repeat_size(size, len(xyxy)))
    assert ((inside >= 0) & (inside <= [*size, *size])).all()
    positive = has_extent(inside)
    assert (inside[positive, :2] >= xyxy[positive, :2]).all()
    assert (inside[positive, 2:] <= xyxy[positive, 2:]).all()


@LAW
@given(boxes(), sizes)
def test_clipping_never_makes_a_box_larger(xyxy, size):
    assert (box_areas(clip_boxes(xyxy, repeat_size(size, len(xyxy)))) <= box_areas(xyxy) + 1e-9).all()


@LAW
@given(boxes(1), sizes)
def test_a_box_inside_the_image_is_not_clipped(xyxy, size):
    inside = clip_boxes(xyxy, repeat_size(size, len(xyxy)))
    assert np.array_equal(clip_boxes(inside, repeat_size(size, len(inside)) + 1), inside)
    assert compute_fit_fraction(np.array([[0.0, 0, *size]]), repeat_size(size, 1)) == 1


@LAW
@given(boxes())
def test_width_and_height_become_the_second_corner(xyxy):
    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    assert np.allclose(boxes_to_corners(xywh, 'xywh'), xyxy)
    assert boxes_to_corners(xyxy, 'xyxy') is xyxy


@LAW
@given(boxes(1), boxes(1))
def test_iou_is_a_fraction_and_symmetric(one, other):
    iou = box_iou(one, other)
    assert ((iou >= 0) & (iou <= 1 + 1e-12)).all()
    assert np.allclose(iou, box_iou(other, one).T)


@LAW
@given(boxes(1))
def test_a_box_with_an_extent_has_iou_1_with_itself(xyxy):
    real = xyxy[box_areas(xyxy) > 1e-6]
    assert np.allclose(np.diag(box_iou(real, real)), 1)


@LAW
@given(boxes(1), st.floats(-100, 100), st.floats(0.1, 10))
def test_iou_does_not_depend_on_position_and_scale(xyxy, shift, factor):
    real = xyxy[(xyxy[:, 2:] - xyxy[:, :2] > 1e-3).all(axis=1)]
    assert np.allclose(box_iou(real * factor + shift, real * factor + shift), box_iou(real, real), atol=1e-6)


@LAW
@given(boxes(1, 20), seeds, st.floats(0.05, 0.95))
def test_no_two_kept_boxes_overlap_too_much_and_the_highest_scoring_is_kept(xyxy, seed, threshold):
    scores = rng(seed).permutation(len(xyxy)) / len(xyxy)
    indices = nms(xyxy, scores, threshold)
    assert indices[0] == scores.argmax()
    overlap = box_iou(xyxy[indices], xyxy[indices])
    np.fill_diagonal(overlap, 0)
    assert (overlap <= threshold).all()
    assert (np.diff(scores[indices]) < 0).all()


@LAW
@given(boxes(1, 20), seeds, st.floats(0.05, 0.95))
def test_a_suppressed_box_overlaps_a_kept_one_with_a_higher_score(xyxy, seed, threshold):
    scores = rng(seed).permutation(len(xyxy)) / len(xyxy)
    indices = nms(xyxy, scores, threshold)
    for suppressed in set(range(len(xyxy))) - set(indices.tolist()):
        higher_scoring = indices[scores[indices] > scores[suppressed]]
        assert (box_iou(xyxy[[suppressed]], xyxy[higher_scoring]) > threshold).any()


@LAW
@given(boxes(1, 15), seeds)
def test_suppression_does_not_depend_on_the_order(xyxy, seed):
    scores, order = rng(seed).permutation(len(xyxy)) / len(xyxy), rng(seed + 1).permutation(len(xyxy))
    assert np.array_equal(order[nms(xyxy[order], scores[order])], nms(xyxy, scores))


@LAW
@given(boxes(1, 15), seeds)
def test_suppression_twice_is_once(xyxy, seed):
    scores = rng(seed).permutation(len(xyxy)) / len(xyxy)
    indices = nms(xyxy, scores)
    assert np.array_equal(nms(xyxy[indices], scores[indices]), np.arange(len(indices)))


@LAW
@given(st.integers(0, 90), st.integers(0, 90), st.integers(3, 10), st.integers(3, 10))
def test_the_predictor_parses_both_formats_to_the_same_boxes(x, y, w, h):
    from_xyxy = parse_boxes([[x, y, x + w, y + h]], 'xyxy', (100, 100), 'a')
    assert np.array_equal(parse_boxes([[x, y, w, h]], 'xywh', (100, 100), 'a'), from_xyxy)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@LAW
@given(st.integers(0, 3))
def test_a_box_with_a_value_that_is_not_finite_is_refused(value, index):
    box = [10.0, 10, 20, 20]
    box[index] = value
    with pytest.raises(AnnotationError, match='is not finite'):
        parse_boxes([box], 'xywh', (100, 100), 'a')
