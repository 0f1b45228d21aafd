"""Boxes of a detector: which are read, which are counted as dropped, and in which format a file is."""

import json

import numpy as np
import pytest

from poseplug.core.boxes import xywh_to_xyxy
from poseplug.core.errors import AnnotationError
from poseplug.data.sources.box_files import read_detected_boxes

SIZES = {7: (640, 480), 9: (640, 480)}


@pytest.fixture
def write_file(tmp_path):
    """A function that writes a result file; returns its path."""

    def write(content):
        file = tmp_path / 'detections.json'
        file.write_text(json.dumps(content))
        return file

    return write


def make_detection(box, image_id=7, score=0.5, **entries):
    return dict(image_id=image_id, category_id=1, bbox=[*box], score=score, **entries)


def draw_plausible_boxes(seed=0, count=40) -> np.ndarray:
    """(count, 4) boxes as x, y, width, height inside 640 x 480 px."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(40, 250, (count, 2))
    return np.concatenate([rng.uniform(0, 1, (count, 2)) * ((640, 480) - size), size], axis=1)


def test_boxes_are_clipped_and_grouped_by_image_in_the_order_of_the_file(write_file):
    boxes = [((600, 10, 100, 50), 9, 0.3), ((-5, 0, 25, 20), 7, 0.5), ((1, 2, 3, 4), 9, 0.9)]
    by_image, report = read_detected_boxes(write_file([make_detection(*box) for box in boxes]), SIZES)
    assert {i: detected.boxes.tolist() for i, detected in by_image.items()} == {
        7: [[0, 0, 20, 20]], 9: [[600, 10, 640, 60], [1, 2, 4, 6]],
    }  # fmt: skip
    assert by_image[9].scores.tolist() == [0.3, 0.9]
    assert (report.kept, report.total, dict(report.dropped)) == (3, 3, {})


def test_every_dropped_box_is_counted_under_its_cause(write_file):
    good = (1, 2, 30, 40)
    content = [
        make_detection(good),
        {**make_detection(good), 'category_id': 3},
        make_detection(good, 8),
        make_detection(good, score=0.05),
        make_detection((10, 10, 0, 5)),
        make_detection((700, 10, 20, 20)),
    ]
    by_image, report = read_detected_boxes(write_file(content), SIZES, min_score=0.1)
    assert (report.kept, report.total) == (1, 6)
    assert dict(report.dropped) == {
        'of another category': 1,
        'of other images': 1,
        'with a score below 0.1': 1,
        'empty inside the image': 2,
    }
    assert list(by_image) == [7]


@pytest.mark.parametrize('box_format', ['xywh', 'xyxy'])
def test_a_file_of_the_declared_format_is_read(write_file, box_format):
    boxes = draw_plausible_boxes()
    in_file = boxes if box_format == 'xywh' else xywh_to_xyxy(boxes)
    file = write_file([make_detection(box) for box in in_file])
    by_image, report = read_detected_boxes(file, SIZES, box_format)
    assert report.kept == 40
    assert by_image[7].boxes == pytest.approx(xywh_to_xyxy(boxes))


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('box_format', ['xywh', 'xyxy'])
def test_a_file_of_the_other_format_is_refused_by_name(write_file, box_format, seed):
    boxes = draw_plausible_boxes(seed)
    declared, in_file = ('xyxy', boxes) if box_format == 'xywh' else ('xywh', xywh_to_xyxy(boxes))
    message = rf"not '{declared}' .* read as '{box_format}' .* 100 % fit. Declare '{box_format}'"
    with pytest.raises(AnnotationError, match=message):
        read_detected_boxes(write_file([make_detection(box) for box in in_file]), SIZES, declared)


def test_fractions_of_the_image_are_refused(write_file):
    boxes = draw_plausible_boxes() / (640, 480, 640, 480)
    with pytest.raises(AnnotationError, match='fractions of the image, not pixels'):
        read_detected_boxes(write_file([make_detection(box) for box in boxes]), SIZES)


def test_boxes_of_larger_images_are_refused(write_file):
    boxes = draw_plausible_boxes() * 4 + 700
    with pytest.raises(AnnotationError, match='belong to other images, or to images of another size'):
        read_detected_boxes(write_file([make_detection(box) for box in boxes]), SIZES)


def test_boxes_that_leave_their_image_a_little_are_read(write_file):
    boxes = draw_plausible_boxes() + (-8, -8, 20, 20)
    assert read_detected_boxes(write_file([make_detection(box) for box in boxes]), SIZES)[1].kept == 40


def test_boxes_without_a_category_are_persons(write_file):
    content = [dict(image_id=7, bbox=[1, 2, 3, 4], score=1)]
    assert read_detected_boxes(write_file(content), SIZES)[1].kept == 1


def test_an_empty_file_has_no_boxes(write_file):
    by_image, report = read_detected_boxes(write_file([]), SIZES)
    assert (by_image, report.total) == ({}, 0)


@pytest.mark.parametrize(('content', 'message'), [
    ({}, 'each box is an entry of a list; found an object with nothing in it'),
    ([[1, 2, 3, 4]], r'box 1 is an object with names; found \[1, 2, 3, 4\]'),
    ([make_detection((1, 2, 3))],
     r'box 1 \(image_id 7\): bbox is 4 finite numbers \(x, y, width, height\); found \[1, 2, 3\]'),
    ([make_detection((1, 2, 3, float('nan')))], 'bbox is 4 finite numbers'),
    ([make_detection((1, 2, 3, 4), score=None)], 'score is a finite number; found None'),
    ([make_detection((1, 2, 3, 4), score=float('inf'))], 'score is a finite number; found inf'),
    ([make_detection((1, 2, 3, 4), image_id='7')], "image_id is a whole number; found '7'"),
])  # fmt: skip
def test_every_defect_is_an_error_that_names_it(write_file, content, message):
    with pytest.raises(AnnotationError, match=message) as error:
        read_detected_boxes(write_file(content), SIZES)
    assert 'detections.json' in str(error.value)


def test_the_format_is_one_of_two(write_file):
    with pytest.raises(AnnotationError, match=r"the format of boxes is 'xywh' .* or 'xyxy' .*; got 'cxcywh'"):
        read_detected_boxes(write_file([]), SIZES, 'cxcywh')


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(AnnotationError, match=r'none.json: No such file or directory; check its path,'):
        read_detected_boxes(tmp_path / 'none.json', SIZES)


def test_fractions_of_the_image_are_refused_however_few_they_are(write_file):
    for count in (1, 3):
        detections = [make_detection((0.2, 0.1, 0.4, 0.7))] * count
        with pytest.raises(AnnotationError, match=f'its {count} boxes all lie within 2 px: they are fractions'):
            read_detected_boxes(write_file(detections), SIZES)
    _, report = read_detected_boxes(write_file([make_detection((0, 0, 1, 1))]), {7: (8, 8)})
    assert report.kept == 1  # a box of a small image


@pytest.mark.parametrize(('box_format', 'boxes', 'other'), [
    ('xywh', [(500, 300, 600, 470)], 'xyxy'),
    ('xywh', [(500, 300, 600, 470), (20, 400, 90, 475)], 'xyxy'),
    ('xyxy', [(500, 300, 100, 90)], 'xywh'),
    ('xyxy', [(500, 300, 100, 90), (200, 300, 50, 60), (400, 400, 60, 70)], 'xywh'),
])  # fmt: skip
def test_a_few_boxes_that_fit_in_the_other_format_alone_are_refused(write_file, box_format, boxes, other):
    file = write_file([make_detection(box) for box in boxes])
    with pytest.raises(AnnotationError, match=f"its boxes are not '{box_format}'.*100 % fit. Declare '{other}'"):
        read_detected_boxes(file, SIZES, box_format)
    assert read_detected_boxes(file, SIZES, other)[1].kept == len(boxes)


@pytest.mark.parametrize('box', [(500, 300, 160, 200), (500, 300, 600, 100), (700, 500, 20, 20), (300, 100, 0, 40)])
def test_a_few_boxes_that_leave_the_image_a_little_or_fit_in_neither_format_are_read(write_file, box):
    file = write_file([make_detection(box), make_detection((10, 10, 50, 60))])
    assert read_detected_boxes(file, SIZES)[1].total == 2
