import numpy as np
import pytest

from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.predict.box_checks import looks_like_xyxy, parse_boxes, run_detector

SIZE = (200, 100)


@pytest.mark.parametrize(
    ('box', 'message'),
    [
        ([10, 20, 0, 50], 'positive'),
        ([10, 20, -5, 50], 'positive'),
        ([np.nan, 20, 5, 50], 'not finite'),
        ([120, 40, 180, 90], "box_format='xyxy'"),
        ([300, 20, 50, 50], 'outside the image'),
        ([-90, 20, 50, 50], 'outside the image'),
    ],
)
def test_an_impossible_box_is_an_error_that_says_why(box, message):
    with pytest.raises(AnnotationError, match=rf'a\.jpg: box 1 .*{message}'):
        parse_boxes([[1, 2, 3, 4], box], 'xywh', SIZE, 'a.jpg')


@pytest.mark.parametrize('box', [[0, 0, 200, 100], [5, 5, 200, 100], [150, 50, 60, 60], [-20, -20, 240, 140]])
def test_a_box_that_extends_a_little_beyond_the_image_is_accepted(box):
    assert parse_boxes([box], 'xywh', SIZE, 'a.jpg').tolist() == [[*box[:2], box[0] + box[2], box[1] + box[3]]]


def test_boxes_that_are_fractions_of_the_image_are_an_error():
    fractions = [[0.1, 0.2, 0.5, 0.7], [0.0, 0.0, 1.0, 1.0]]
    with pytest.raises(AnnotationError, match='they are fractions of the image. Multiply them by its size'):
        parse_boxes(fractions, 'xyxy', SIZE, 'a.jpg')
    assert len(parse_boxes([*fractions, [10, 20, 60, 70]], 'xyxy', SIZE, 'a.jpg')) == 3  # px: others are larger


@pytest.mark.parametrize('score', [90.0, -0.5, np.nan])
def test_scores_of_a_detector_lie_between_0_and_1(score):
    box = np.array([[10.0, 10, 60, 70]])
    with pytest.raises(ConfigError, match=r'scores \(N,\) from 0 to 1 for each image'):
        run_detector(lambda images: [(box, np.array([score]))], [np.zeros((100, 200, 3), np.uint8)])


def test_only_numbers_that_fit_as_corners_look_like_corners():
    assert looks_like_xyxy([120, 40, 180, 90], SIZE)
    assert not looks_like_xyxy([120, 40, 300, 90], SIZE)
    assert not looks_like_xyxy([120, 40, 60, 50], SIZE)


def test_a_second_corner_before_the_first_is_an_error():
    with pytest.raises(AnnotationError, match='second corner'):
        parse_boxes([[50, 20, 30, 80]], 'xyxy', SIZE, 'a.jpg')


@pytest.mark.parametrize(
    ('boxes', 'message'), [([1, 2, 3, 4], 'one row per instance'), (['a'], 'numbers'), ([[1, 2, 3]], 'row')]
)
def test_boxes_of_another_shape_are_an_error(boxes, message):
    with pytest.raises(AnnotationError, match=message):
        parse_boxes(boxes, 'xywh', SIZE, 'a.jpg')
