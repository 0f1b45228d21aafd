"""Prediction changes nothing that it is given, and does not depend on how it is asked (goal I8)."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poseplug.datasets.images import read_image
from poseplug.errors import ImageError

QUICK = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


pictures = st.lists(st.tuples(st.integers(8, 60), st.integers(8, 60), st.integers(0, 99)), min_size=1, max_size=5)


def drawn(shapes):
    return [np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w, seed in shapes]


def same(one, other) -> bool:
    return np.allclose(one.keypoints, other.keypoints, rtol=0, atol=1e-5 * 60) and np.allclose(
        one.scores, other.scores, rtol=0, atol=1e-5
    )


@QUICK
@given(pictures)
def test_pictures_that_must_not_be_written_to_are_predicted_and_left_as_they_were(predictor, shapes):
    images = drawn(shapes)
    before = [image.copy() for image in images]
    for image in images:
        image.flags.writeable = False
    predictor(images)
    assert all(map(np.array_equal, images, before))


@QUICK
@given(pictures)
def test_a_batch_gives_what_single_calls_give(predictor, shapes):
    images = drawn(shapes)
    together, alone = predictor(images), [predictor([image])[0] for image in images]
    assert all(map(same, together, alone))


@QUICK
@given(pictures)
def test_the_same_picture_twice_gives_the_same(predictor, shapes):
    (first, *_), (again, *_) = predictor(drawn(shapes)), predictor(drawn(shapes))
    assert np.array_equal(first.keypoints, again.keypoints)
    assert np.array_equal(first.scores, again.scores)


def test_the_boxes_of_the_caller_are_left_as_they_were(predictor):
    boxes = np.array([[5.0, 6, 20, 30]])
    boxes.flags.writeable = False
    predictor([np.zeros((50, 40, 3), np.uint8)], [boxes])
    assert boxes.tolist() == [[5.0, 6, 20, 30]]


def test_a_path_its_name_its_bytes_and_its_pixels_give_the_same(predictor, tiny_data):
    file = sorted((tiny_data / 'images').glob('*.jpg'))[0]
    data = file.read_bytes()
    given = (file, str(file), data, bytearray(data), memoryview(data), read_image(file))
    found = [predictor([one])[0] for one in given]
    assert all(np.array_equal(found[0].keypoints, other.keypoints) for other in found[1:])


def test_a_view_of_a_larger_picture_is_predicted_as_its_copy(predictor):
    large = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    view = large[10:60:1, 5:45][:, ::-1]
    assert same(predictor([view])[0], predictor([view.copy()])[0])


def test_bytes_that_are_no_picture_and_things_that_are_neither_are_named_by_their_place(predictor, tiny_data):
    good = sorted((tiny_data / 'images').glob('*.jpg'))[0].read_bytes()
    with pytest.raises(ImageError, match=r'^picture 1: 100 bytes that are not a whole picture'):
        predictor([good, good[:100]])
    with pytest.raises(ImageError, match=r'^picture 0 is a list; give a path, the bytes of a file, or'):
        predictor([[1, 2]])
    with pytest.raises(ImageError, match='put a single picture into a list'):
        predictor(good)
