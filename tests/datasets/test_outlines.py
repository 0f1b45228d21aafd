"""Shapes as COCO stores them, against its own mask code, and what of an input counts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.datasets.outlines import Runs, counting, draw, read_outline
from poseplug.datasets.sources.coco import CocoSource
from poseplug.geometry import apply, mirroring, place, rotation, scaling, translation
from poseplug.sample import Record

STILL = np.eye(3)
mask_api = pytest.importorskip('faster_coco_eval').mask


def shape(seed: int = 0) -> np.ndarray:
    """(H, W) a ring with a hole, as no polygon of one piece could tell it."""
    mask = np.zeros((37, 52), np.uint8)
    cv2.circle(mask, (20 + seed, 18), 12, 1, 4)
    return mask


def test_packed_and_plain_run_lengths_are_the_mask_that_cocos_own_code_packed():
    for seed in range(20):
        packed = mask_api.encode(np.asfortranarray(shape(seed)))
        runs = read_outline(packed)
        np.testing.assert_array_equal(runs.mask(), shape(seed))
        text = {**packed, 'counts': packed['counts'].decode()}
        np.testing.assert_array_equal(read_outline(text).mask(), shape(seed))
        plain = read_outline({'size': packed['size'], 'counts': runs.counts.tolist()})
        np.testing.assert_array_equal(plain.mask(), shape(seed))


def test_a_polygon_is_cocos_own_to_the_pixels_on_its_border():
    flat = [5.5, 4.0, 40.2, 8.1, 33.0, 30.7, 12.3, 25.0]
    theirs = mask_api.decode(mask_api.merge(mask_api.frPyObjects([flat], 37, 52)))
    ours = np.zeros((37, 52), np.uint8)
    draw(ours, read_outline([flat]), STILL, 1)
    edge = cv2.dilate(theirs, np.ones((3, 3), np.uint8)) - cv2.erode(theirs, np.ones((3, 3), np.uint8))
    assert not ((ours != theirs) & (edge == 0)).any()
    assert (ours >= theirs).all(), 'the border belongs to it, so that no part of somebody counts'


@pytest.mark.parametrize('stored', [None, [], {}, [[1, 2, 3, 4]]])
def test_what_holds_no_shape_is_none(stored):
    assert read_outline(stored) is None


@pytest.mark.parametrize(
    ('stored', 'wanted'),
    [
        (7, 'a list of polygons'),
        ('text', 'a list of polygons'),
        ([[1, 2, 3, 4, 5, float('nan')]], 'finite numbers'),
        ([[1, 2, 3, 4, 5]], 'x and y in turn'),
        ([['a', 2]], 'x and y in turn'),
        ([7], 'x and y in turn'),
        ({'counts': [1, 2], 'size': [2, 2]}, 'fill their size'),
        ({'counts': [-1, 5], 'size': [2, 2]}, 'fill their size'),
        ({'counts': '1', 'size': None}, 'fill their size'),
        ({'counts': 'o', 'size': [2, 2]}, 'fill their size'),
        ({'size': [2, 2]}, 'fill their size'),
    ],
)
def test_a_shape_that_is_none_is_a_value_error_that_says_what_one_is(stored, wanted):
    with pytest.raises(ValueError, match=wanted):
        read_outline(stored)


def outlined(*outlines: object) -> np.ndarray:
    column = np.full(len(outlines), None, dtype=object)
    for i, outline in enumerate(outlines):
        column[i] = outline
    return column


def record(**regions: object) -> Record:
    zero = np.zeros((len(regions.get('boxes', ())), 14, 2), np.float32)
    return Record(Path('p.jpg'), 'p', zero, zero[..., 0], **regions)


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, float)


def test_a_picture_without_ignored_regions_counts_everywhere():
    assert counting(record(), STILL, (5, 4)).tolist() == [[1] * 5] * 4
    assert counting(record(ignore=np.zeros((0, 4))), STILL, (5, 4)).min() == 1


def test_somebody_without_labels_does_not_count_even_where_a_labelled_person_stands():
    mask = counting(
        record(boxes=boxes((0, 0, 30, 30)), ignore=boxes((10, 10, 20, 20)), ignore_crowds=np.array([False])),
        STILL,
        (40, 30),
    )
    assert mask[15, 15] == 0
    assert mask[15, 5] == mask[15, 25] == 1


def test_a_crowd_does_not_count_but_where_a_labelled_person_stands():
    mask = counting(
        record(boxes=boxes((0, 0, 15, 30)), ignore=boxes((10, 10, 20, 20)), ignore_crowds=np.array([True])),
        STILL,
        (40, 30),
    )
    assert mask[15, 12] == 1
    assert mask[15, 18] == 0


def test_what_has_an_outline_is_not_its_box():
    triangle = (np.array([(10, 10), (20, 10), (10, 20)], np.float32),)
    mask = counting(record(ignore=boxes((10, 10, 20, 20)), ignore_outlines=outlined(triangle)), STILL, (40, 30))
    assert mask[12, 12] == 0
    assert mask[19, 19] == 1


@pytest.mark.parametrize(
    'matrix', [scaling(2.0), mirroring(60), place((20, 18), 0.7, (60, 60)) @ rotation(30), translation(-18, 5)]
)
def test_run_lengths_and_polygons_go_through_the_matrix_as_joints_do(matrix):
    """The middle of a square, and what lies two pixels beyond its corners."""
    square = np.zeros((37, 52), np.uint8)
    square[10:21, 12:31] = 1
    flat = [12.0, 10.0, 31.0, 10.0, 31.0, 21.0, 12.0, 21.0]
    inside = np.array([(x, y) for x in (14, 21, 28) for y in (12, 15, 18)], float)
    outside = np.array([(x, y) for x in (9, 33) for y in (7, 23)], float)
    for stored in (mask_api.encode(np.asfortranarray(square)), [flat]):
        mask = counting(
            record(ignore=boxes((0, 0, 1, 1)), ignore_outlines=outlined(read_outline(stored))), matrix, (90, 80)
        )
        for points, value in ((inside, 0), (outside, 1)):
            there = np.rint(apply(matrix, points)).astype(int)
            there = there[((there >= 0) & (there < (90, 80))).all(axis=1)]
            assert len(there)
            assert (mask[there[:, 1], there[:, 0]] == value).all()


def test_a_crowd_reader_keeps_shapes_only_when_asked(real_data):
    plain, _ = CocoSource(root=real_data / 'coco').load()
    kept, _ = CocoSource(root=real_data / 'coco', outlines=True).load()
    assert all(r.outlines is None and r.ignore_outlines is None for r in plain)
    crowds = [o for r in kept for o, crowd in zip(r.ignore_outlines, r.ignore_crowds, strict=True) if crowd]
    assert crowds
    assert all(isinstance(o, Runs) for o in crowds)
    assert all(len(r.outlines) == len(r.keypoints) and len(r.ignore_outlines) == len(r.ignore) for r in kept)
    led = next(r for r in kept if len(r.keypoints) > 2)
    assert led.led_by(2).outlines[0] is led.outlines[2]
