"""Segmentations as COCO stores them, against COCO's mask code, and which pixels of an input take part in the loss."""

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.geometry import (
    crop_matrix,
    flip_matrix,
    rotation_matrix,
    scaling_matrix,
    transform_points,
    translation_matrix,
)
from poseplug.core.sample import Record
from poseplug.data.masks import RLEMask, build_loss_mask, fill_segmentation, parse_segmentation
from poseplug.data.sources.coco import CocoSource
from poseplug.testing import create_annotated_record

IDENTITY = np.eye(3)
mask_api = pytest.importorskip('faster_coco_eval').mask


def draw_ring(seed: int = 0) -> np.ndarray:
    """(H, W) a ring with a hole, which no polygon of one piece could describe."""
    mask = np.zeros((37, 52), np.uint8)
    cv2.circle(mask, (20 + seed, 18), 12, 1, 4)
    return mask


def test_packed_and_plain_run_lengths_are_the_mask_that_cocos_code_packed():
    for seed in range(20):
        packed = mask_api.encode(np.asfortranarray(draw_ring(seed)))
        rle = parse_segmentation(packed)
        np.testing.assert_array_equal(rle.to_mask(), draw_ring(seed))
        text = {**packed, 'counts': packed['counts'].decode()}
        np.testing.assert_array_equal(parse_segmentation(text).to_mask(), draw_ring(seed))
        plain = parse_segmentation({'size': packed['size'], 'counts': rle.counts.tolist()})
        np.testing.assert_array_equal(plain.to_mask(), draw_ring(seed))


def test_a_polygon_is_cocos_except_for_pixels_on_its_border():
    flat = [5.5, 4.0, 40.2, 8.1, 33.0, 30.7, 12.3, 25.0]
    expected = mask_api.decode(mask_api.merge(mask_api.frPyObjects([flat], 37, 52)))
    mask = np.zeros((37, 52), np.uint8)
    fill_segmentation(mask, parse_segmentation([flat]), IDENTITY, 1)
    edge = cv2.dilate(expected, np.ones((3, 3), np.uint8)) - cv2.erode(expected, np.ones((3, 3), np.uint8))
    assert not ((mask != expected) & (edge == 0)).any()
    assert (mask >= expected).all(), 'the border belongs to it, so that no part of an instance is background'


@pytest.mark.parametrize('stored', [None, [], {}, [[1, 2, 3, 4]]])
def test_an_empty_segmentation_is_none(stored):
    assert parse_segmentation(stored) is None


@pytest.mark.parametrize(
    ('stored', 'message'),
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
def test_another_value_is_an_error_that_says_what_is_expected(stored, message):
    with pytest.raises(ValueError, match=message):
        parse_segmentation(stored)


def test_damaged_packed_run_lengths_are_an_error_or_fill_their_size():
    rng = np.random.default_rng(0)
    packed = mask_api.encode(np.asfortranarray(draw_ring()))
    for _ in range(300):
        codes = np.frombuffer(packed['counts'], np.uint8).copy()
        codes[rng.integers(len(codes), size=2)] = rng.integers(33, 256, 2)
        for text in (codes.tobytes(), codes[: rng.integers(1, len(codes))].tobytes(), codes.tobytes().decode('latin')):
            with contextlib.suppress(ValueError):
                rle = parse_segmentation({**packed, 'counts': text})
                assert rle.to_mask().shape == draw_ring().shape


def make_segmentations(*segmentations: object) -> np.ndarray:
    column = np.full(len(segmentations), None, dtype=object)
    for i, segmentation in enumerate(segmentations):
        column[i] = segmentation
    return column


def make_record(**fields: object) -> Record:
    keypoints = np.zeros((len(fields.get('boxes', ())), 14, 2), np.float32)
    return create_annotated_record(Path('p.jpg'), 'p', keypoints, keypoints[..., 0], **fields)


def make_boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, float)


def test_in_an_image_without_ignored_regions_every_pixel_is_in_the_loss():
    assert build_loss_mask(make_record(), IDENTITY, (5, 4)).tolist() == [[1] * 5] * 4
    assert build_loss_mask(make_record(ignored_boxes=np.zeros((0, 4))), IDENTITY, (5, 4)).min() == 1


def test_an_unlabeled_instance_does_not_take_part_even_where_a_labeled_one_is():
    record = make_record(
        boxes=make_boxes((0, 0, 30, 30)),
        ignored_boxes=make_boxes((10, 10, 20, 20)),
        ignored_crowds=np.array([False]),
    )
    mask = build_loss_mask(record, IDENTITY, (40, 30))
    assert mask[15, 15] == 0
    assert mask[15, 5] == mask[15, 25] == 1


def test_a_crowd_does_not_take_part_except_where_a_labeled_instance_is():
    record = make_record(
        boxes=make_boxes((0, 0, 15, 30)),
        ignored_boxes=make_boxes((10, 10, 20, 20)),
        ignored_crowds=np.array([True]),
    )
    mask = build_loss_mask(record, IDENTITY, (40, 30))
    assert mask[15, 12] == 1
    assert mask[15, 18] == 0


def test_a_region_with_a_segmentation_is_not_its_box():
    triangle = (np.array([(10, 10), (20, 10), (10, 20)], np.float32),)
    record = make_record(ignored_boxes=make_boxes((10, 10, 20, 20)), ignored_segmentations=make_segmentations(triangle))
    mask = build_loss_mask(record, IDENTITY, (40, 30))
    assert mask[12, 12] == 0
    assert mask[19, 19] == 1


@pytest.mark.parametrize(
    'matrix',
    [
        scaling_matrix(2.0),
        flip_matrix(60),
        crop_matrix((20, 18), 0.7, (60, 60)) @ rotation_matrix(30),
        translation_matrix(-18, 5),
    ],
)
def test_run_lengths_and_polygons_go_through_the_matrix_as_keypoints_do(matrix):
    """Points within a square, and points two pixels beyond its corners."""
    square = np.zeros((37, 52), np.uint8)
    square[10:21, 12:31] = 1
    flat = [12.0, 10.0, 31.0, 10.0, 31.0, 21.0, 12.0, 21.0]
    inside = np.array([(x, y) for x in (14, 21, 28) for y in (12, 15, 18)], float)
    outside = np.array([(x, y) for x in (9, 33) for y in (7, 23)], float)
    for stored in (mask_api.encode(np.asfortranarray(square)), [flat]):
        segmentations = make_segmentations(parse_segmentation(stored))
        record = make_record(ignored_boxes=make_boxes((0, 0, 1, 1)), ignored_segmentations=segmentations)
        mask = build_loss_mask(record, matrix, (90, 80))
        for points, value in ((inside, 0), (outside, 1)):
            cells = np.rint(transform_points(matrix, points)).astype(int)
            cells = cells[((cells >= 0) & (cells < (90, 80))).all(axis=1)]
            assert len(cells)
            assert (mask[cells[:, 1], cells[:, 0]] == value).all()


def test_the_reader_reads_segmentations_only_with_the_setting(real_data):
    without, _ = CocoSource(data_root=real_data / 'coco').load()
    records, _ = CocoSource(data_root=real_data / 'coco', segmentations=True).load()
    assert not any(s is not None for r in without for s in (*r.instances.segmentations, *r.ignored.segmentations))
    crowds = [
        segmentation
        for r in records
        for segmentation, is_crowd in zip(r.ignored.segmentations, r.ignored.crowds, strict=True)
        if is_crowd
    ]
    assert crowds
    assert all(isinstance(segmentation, RLEMask) for segmentation in crowds)
    assert all(len(r.instances.segmentations) == len(r.instances) for r in records)
    assert all(len(r.ignored.segmentations) == len(r.ignored) for r in records)
    record = next(r for r in records if len(r.instances) > 2)
    assert record.put_first(2).instances.segmentations[0] is record.instances.segmentations[2]
