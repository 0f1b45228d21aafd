"""Boxes of a detector: what is read, what is counted, and which format a file is in."""

import json

import numpy as np
import pytest

from poseplug.datasets.sources.boxes import read_boxes
from poseplug.errors import AnnotationError

SIZES = {7: (640, 480), 9: (640, 480)}


@pytest.fixture
def write(tmp_path):
    """A function that writes a result file; returns its path."""

    def made(content):
        file = tmp_path / 'found.json'
        file.write_text(json.dumps(content))
        return file

    return made


def found(box, image=7, score=0.5, **more):
    return dict(image_id=image, category_id=1, bbox=[*box], score=score, **more)


def people(seed=0, count=40) -> np.ndarray:
    """(count, 4) plausible boxes as x, y, width, height inside 640 x 480 px."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(40, 250, (count, 2))
    return np.concatenate([rng.uniform(0, 1, (count, 2)) * ((640, 480) - size), size], axis=1)


def turned(boxes):
    """x, y, width, height as x, y of two corners."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def test_boxes_are_cut_at_the_border_and_come_by_picture_in_the_order_of_the_file(write):
    file = write([found((600, 10, 100, 50), 9, 0.3), found((-5, 0, 25, 20)), found((1, 2, 3, 4), 9, 0.9)])
    by_picture, report = read_boxes(file, SIZES)
    assert {i: f.boxes.tolist() for i, f in by_picture.items()} == {
        7: [[0, 0, 20, 20]], 9: [[600, 10, 640, 60], [1, 2, 4, 6]],
    }  # fmt: skip
    assert by_picture[9].scores.tolist() == [0.3, 0.9]
    assert (report.kept, report.total, dict(report.dropped)) == (3, 3, {})


def test_every_box_left_out_is_counted_under_its_cause(write):
    good = (1, 2, 30, 40)
    file = write([
        found(good), {**found(good), 'category_id': 3}, found(good, 8), found(good, score=0.05),
        found((10, 10, 0, 5)), found((700, 10, 20, 20)),
    ])  # fmt: skip
    by_picture, report = read_boxes(file, SIZES, least_score=0.1)
    assert (report.kept, report.total) == (1, 6)
    assert dict(report.dropped) == {
        'of another category': 1, 'of other pictures': 1, 'with a score below 0.1': 1,
        'without an extent inside their picture': 2,
    }  # fmt: skip
    assert list(by_picture) == [7]


@pytest.mark.parametrize('form', ['xywh', 'xyxy'])
def test_a_file_of_the_declared_format_is_read(write, form):
    boxes = people()
    file = write([found(box) for box in (boxes if form == 'xywh' else turned(boxes))])
    by_picture, report = read_boxes(file, SIZES, form)
    assert report.kept == 40
    assert by_picture[7].boxes == pytest.approx(turned(boxes))


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('form', ['xywh', 'xyxy'])
def test_a_file_of_the_other_format_is_refused_by_name(write, form, seed):
    boxes = people(seed)
    other, content = ('xyxy', boxes) if form == 'xywh' else ('xywh', turned(boxes))
    with pytest.raises(AnnotationError, match=rf"not '{other}' .* read as '{form}' .* 100 % fit. Declare '{form}'"):
        read_boxes(write([found(box) for box in content]), SIZES, other)


def test_shares_of_the_picture_are_no_pixels(write):
    with pytest.raises(AnnotationError, match='shares of the picture, not pixels'):
        read_boxes(write([found(box / (640, 480, 640, 480)) for box in people()]), SIZES)


def test_boxes_of_larger_pictures_are_refused(write):
    with pytest.raises(AnnotationError, match='belong to other pictures, or to pictures of another size'):
        read_boxes(write([found(box * 4 + 700) for box in people()]), SIZES)


def test_boxes_that_leave_their_picture_a_little_are_read(write):
    boxes = people() + (-8, -8, 20, 20)
    assert read_boxes(write([found(box) for box in boxes]), SIZES)[1].kept == 40


def test_without_a_category_everything_is_a_person(write):
    content = [dict(image_id=7, bbox=[1, 2, 3, 4], score=1)]
    assert read_boxes(write(content), SIZES)[1].kept == 1


def test_a_file_of_nothing_gives_nothing(write):
    by_picture, report = read_boxes(write([]), SIZES)
    assert (by_picture, report.total) == ({}, 0)


@pytest.mark.parametrize(('content', 'told'), [
    ({}, 'each box is an entry of a list; found an object with nothing in it'),
    ([[1, 2, 3, 4]], r'box 1 is an object with names; found \[1, 2, 3, 4\]'),
    ([found((1, 2, 3))], r'box 1 \(image_id 7\): bbox is 4 finite numbers \(x, y, width, height\); found \[1, 2, 3\]'),
    ([found((1, 2, 3, float('nan')))], 'bbox is 4 finite numbers'),
    ([found((1, 2, 3, 4), score=None)], 'score is a finite number; found None'),
    ([found((1, 2, 3, 4), score=float('inf'))], 'score is a finite number; found inf'),
    ([found((1, 2, 3, 4), image='7')], "image_id is a whole number; found '7'"),
])  # fmt: skip
def test_every_defect_is_an_error_that_names_it(write, content, told):
    with pytest.raises(AnnotationError, match=told) as error:
        read_boxes(write(content), SIZES)
    assert 'found.json' in str(error.value)


def test_the_format_is_one_of_two(write):
    with pytest.raises(AnnotationError, match=r"the format of boxes is 'xywh' .* or 'xyxy' .*; got 'cxcywh'"):
        read_boxes(write([]), SIZES, 'cxcywh')


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(AnnotationError, match=r'none.json: No such file or directory; restore the file'):
        read_boxes(tmp_path / 'none.json', SIZES)
