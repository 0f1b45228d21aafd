"""Prediction changes none of its arguments, and does not depend on their form (goal I8)."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poseplug.core.errors import ImageError
from poseplug.files.images import read_image

QUICK = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

# Heights, widths and seeds of a few images
image_specs = st.lists(st.tuples(st.integers(8, 60), st.integers(8, 60), st.integers(0, 99)), min_size=1, max_size=5)


def draw_images(specs):
    return [np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w, seed in specs]


def is_close(one, other) -> bool:
    """Whether two predictions agree up to the rounding of different batch sizes."""
    is_same_position = np.allclose(one.keypoints, other.keypoints, rtol=0, atol=1e-5 * 60)
    return is_same_position and np.allclose(one.keypoint_scores, other.keypoint_scores, rtol=0, atol=1e-5)


@QUICK
@given(image_specs)
def test_read_only_images_are_predicted_and_left_unchanged(predictor, specs):
    images = draw_images(specs)
    before = [image.copy() for image in images]
    for image in images:
        image.flags.writeable = False
    predictor(images)
    assert all(map(np.array_equal, images, before))


@QUICK
@given(image_specs)
def test_a_batch_predicts_the_same_as_single_calls(predictor, specs):
    images = draw_images(specs)
    batch, single = predictor(images), [predictor([image])[0] for image in images]
    assert all(map(is_close, batch, single))


@QUICK
@given(image_specs)
def test_the_same_image_twice_has_the_same_prediction(predictor, specs):
    (first, *_), (second, *_) = predictor(draw_images(specs)), predictor(draw_images(specs))
    assert np.array_equal(first.keypoints, second.keypoints)
    assert np.array_equal(first.keypoint_scores, second.keypoint_scores)


def test_the_boxes_of_the_caller_are_left_unchanged(predictor):
    boxes = np.array([[5.0, 6, 20, 30]])
    boxes.flags.writeable = False
    predictor([np.zeros((50, 40, 3), np.uint8)], [boxes])
    assert boxes.tolist() == [[5.0, 6, 20, 30]]


def test_a_path_its_name_its_bytes_and_its_pixels_have_the_same_prediction(predictor, tiny_data):
    file = sorted((tiny_data / 'images').glob('*.jpg'))[0]
    data = file.read_bytes()
    forms = (file, str(file), data, bytearray(data), memoryview(data), read_image(file))
    predictions = [predictor([image])[0] for image in forms]
    assert all(np.array_equal(predictions[0].keypoints, other.keypoints) for other in predictions[1:])


def test_a_view_of_a_larger_image_is_predicted_like_its_copy(predictor):
    large = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    view = large[10:60:1, 5:45][:, ::-1]
    assert is_close(predictor([view])[0], predictor([view.copy()])[0])


def test_bytes_without_an_image_and_other_objects_are_named_by_their_index(predictor, tiny_data):
    good = sorted((tiny_data / 'images').glob('*.jpg'))[0].read_bytes()
    with pytest.raises(ImageError, match=r'^image 1: 100 bytes that are not a whole image'):
        predictor([good, good[:100]])
    with pytest.raises(ImageError, match=r'^image 0 is a set; give a path, the bytes of a file, or'):
        predictor([{1, 2}])
    with pytest.raises(ImageError, match=r'^image 0: 100 bytes that are not a whole image'):
        predictor(good[:100])


def test_a_single_image_is_a_list_of_one(predictor, tiny_data):
    good = sorted((tiny_data / 'images').glob('*.jpg'))[0].read_bytes()
    (poses,) = predictor(good)
    assert is_close(poses, predictor([good])[0])
