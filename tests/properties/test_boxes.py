"""Laws of boxes: clipping, overlap, suppression."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseplug.datasets.sources.boxes import clipped, corners, fits, has_extent
from poseplug.errors import AnnotationError
from poseplug.grouping.nms import box_areas, box_iou, nms
from poseplug.inference.predictor import corners as predicted_corners
from tests.properties.laws import LAW, boxes, rng, seeds, sizes


def of(size, count):
    return np.tile(np.array(size, dtype=float), (count, 1))


@LAW
@given(boxes(), sizes)
def test_clipping_twice_is_clipping_once(found, size):
    once = clipped(found, of(size, len(found)))
    assert np.array_equal(clipped(once, of(size, len(found))), once)


@LAW
@given(boxes(), sizes)
def test_a_clipped_box_lies_in_its_picture_and_in_itself(found, size):
    inside = clipped(found, of(size, len(found)))
    assert ((inside >= 0) & (inside <= [*size, *size])).all()
    kept = has_extent(inside)
    assert (inside[kept, :2] >= found[kept, :2]).all()
    assert (inside[kept, 2:] <= found[kept, 2:]).all()


@LAW
@given(boxes(), sizes)
def test_clipping_never_makes_a_box_larger(found, size):
    assert (box_areas(clipped(found, of(size, len(found)))) <= box_areas(found) + 1e-9).all()


@LAW
@given(boxes(1), sizes)
def test_what_lies_inside_is_not_clipped(found, size):
    inside = clipped(found, of(size, len(found)))
    assert np.array_equal(clipped(inside, of(size, len(inside)) + 1), inside)
    assert fits(np.array([[0.0, 0, *size]]), of(size, 1)) == 1


@LAW
@given(boxes())
def test_width_and_height_become_the_second_corner(found):
    xywh = np.concatenate([found[:, :2], found[:, 2:] - found[:, :2]], axis=1)
    assert np.allclose(corners(xywh, 'xywh'), found)
    assert corners(found, 'xyxy') is found


@LAW
@given(boxes(1), boxes(1))
def test_overlap_is_a_share_and_symmetric(one, other):
    iou = box_iou(one, other)
    assert ((iou >= 0) & (iou <= 1 + 1e-12)).all()
    assert np.allclose(iou, box_iou(other, one).T)


@LAW
@given(boxes(1))
def test_a_box_with_an_extent_overlaps_itself_wholly(found):
    real = found[box_areas(found) > 1e-6]
    assert np.allclose(np.diag(box_iou(real, real)), 1)


@LAW
@given(boxes(1), st.floats(-100, 100), st.floats(0.1, 10))
def test_overlap_does_not_depend_on_place_and_scale(found, shift, factor):
    real = found[(found[:, 2:] - found[:, :2] > 1e-3).all(axis=1)]
    assert np.allclose(box_iou(real * factor + shift, real * factor + shift), box_iou(real, real), atol=1e-6)


@LAW
@given(boxes(1, 20), seeds, st.floats(0.05, 0.95))
def test_of_those_that_stay_no_two_overlap_too_much_and_the_best_stays(found, seed, threshold):
    scores = rng(seed).permutation(len(found)) / len(found)
    kept = nms(found, scores, threshold)
    assert kept[0] == scores.argmax()
    overlap = box_iou(found[kept], found[kept])
    np.fill_diagonal(overlap, 0)
    assert (overlap <= threshold).all()
    assert (np.diff(scores[kept]) < 0).all()


@LAW
@given(boxes(1, 20), seeds, st.floats(0.05, 0.95))
def test_whoever_goes_overlaps_a_better_one_that_stays(found, seed, threshold):
    scores = rng(seed).permutation(len(found)) / len(found)
    kept = nms(found, scores, threshold)
    for gone in set(range(len(found))) - set(kept.tolist()):
        better = kept[scores[kept] > scores[gone]]
        assert (box_iou(found[[gone]], found[better]) > threshold).any()


@LAW
@given(boxes(1, 15), seeds)
def test_suppression_does_not_depend_on_the_order(found, seed):
    scores, order = rng(seed).permutation(len(found)) / len(found), rng(seed + 1).permutation(len(found))
    assert np.array_equal(order[nms(found[order], scores[order])], nms(found, scores))


@LAW
@given(boxes(1, 15), seeds)
def test_suppression_twice_is_once(found, seed):
    scores = rng(seed).permutation(len(found)) / len(found)
    kept = nms(found, scores)
    assert np.array_equal(nms(found[kept], scores[kept]), np.arange(len(kept)))


@LAW
@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 10), st.integers(1, 10))
def test_the_predictor_reads_both_formats_alike(x, y, w, h):
    for_corners = predicted_corners([[x, y, x + w, y + h]], 'corners', (100, 100), 'a')
    assert np.array_equal(predicted_corners([[x, y, w, h]], 'xywh', (100, 100), 'a'), for_corners)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@LAW
@given(st.integers(0, 3))
def test_a_box_that_is_not_finite_is_refused_wherever_it_is_not(value, place):
    box = [10.0, 10, 20, 20]
    box[place] = value
    with pytest.raises(AnnotationError, match='is not finite'):
        predicted_corners([box], 'xywh', (100, 100), 'a')
