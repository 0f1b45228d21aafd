import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.regression import Regression, RLERegression
from poseplug.core.skeleton import Skeleton

PAIR = Skeleton('pair', ('left', 'right', 'head'), flip_pairs=(('left', 'right'),))
SIZE = (192, 256)
CODECS = [Regression, RLERegression]


def encode(codec, *keypoints, visible=(2, 2, 2)):
    return codec.encode(torch.tensor([[keypoints]], dtype=torch.float32), torch.tensor([[visible]]))


@pytest.mark.parametrize('codec_class', CODECS)
def test_keypoints_are_fractions_of_width_and_height_and_come_back(codec_class):
    codec = codec_class(PAIR, SIZE)
    targets = encode(codec, (48, 64), (0, 0), (191, 255))
    assert_close(targets.stage_fields(0)['keypoints'][0, :2, :2], torch.tensor([[0.25, 0.25], [0, 0]]))
    assert_close(codec.decode(targets.stage_fields(0)).keypoints[0], torch.tensor([[48.0, 64], [0, 0], [191, 255]]))


@pytest.mark.parametrize('codec_class', CODECS)
def test_a_keypoint_outside_or_without_label_does_not_count_and_stays_finite(codec_class):
    targets = encode(codec_class(PAIR, SIZE), (-1, 30), (30, float('nan')), (40, 50), visible=(2, 2, 0))
    assert targets.weights['keypoints'].tolist() == [[0, 0, 0]]
    assert not targets.stage_fields(0)['keypoints'].any()
    edge = encode(codec_class(PAIR, SIZE), (192, 256), (192.1, 30), (30, 256.1))
    assert edge.weights['keypoints'].tolist() == [[1, 0, 0]]


@pytest.mark.parametrize('codec_class', CODECS)
def test_no_instance_is_no_error(codec_class):
    targets = codec_class(PAIR, SIZE).encode(torch.zeros(2, 0, 3, 2), torch.zeros(2, 0, 3))
    assert targets.weights['keypoints'].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize('codec_class', CODECS)
def test_a_flip_moves_x_to_the_last_pixel_less_x_and_exchanges_left_and_right(codec_class):
    codec = codec_class(PAIR, SIZE)
    fields = encode(codec, (10, 20), (30, 40), (191, 60)).stage_fields(0)
    keypoints = codec.decode(codec.flip(fields)).keypoints[0]
    assert_close(keypoints, torch.tensor([[161.0, 40], [181, 20], [0, 60]]))


def test_points_carry_no_confidence_and_score_1():
    assert Regression(PAIR, SIZE).decode({'keypoints': torch.rand(2, 3, 2)}).keypoint_scores.tolist() == [[1] * 3] * 2


def test_the_score_is_1_minus_the_mean_error_scale():
    fields = {'keypoints': torch.tensor([[[0.5, 0.5, 0.1, 0.3], [0.5, 0.5, 0, 0], [0.5, 0.5, 1.5, 1.5]]])}
    assert_close(RLERegression(PAIR, SIZE).decode(fields).keypoint_scores, torch.tensor([[0.8, 1, 0]]))


def test_the_target_of_the_error_scales_is_0():
    assert not encode(RLERegression(PAIR, SIZE), (48, 64), (1, 2), (3, 4)).stage_fields(0)['keypoints'][..., 2:].any()


def test_half_precision_fractions_become_pixels_in_full_precision():
    """bf16 has 8 bits of a fraction, whose products with the size keep all of theirs in single precision."""
    fields = {'keypoints': torch.tensor([[[0.25, 0.75]] * 3]).bfloat16()}
    poses = Regression(PAIR, SIZE).decode(fields)
    assert poses.keypoints.dtype == torch.float32
    assert poses.keypoints[0, 0].tolist() == [48, 192]
