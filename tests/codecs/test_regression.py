import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.regression import Regression, RLERegression
from poseplug.skeleton import Skeleton

PAIR = Skeleton('pair', ('left', 'right', 'head'), swaps=(('left', 'right'),))
SIZE = (192, 256)
BOTH = [Regression, RLERegression]


def encode(codec, *joints, visible=(2, 2, 2)):
    return codec.encode(torch.tensor([[joints]], dtype=torch.float32), torch.tensor([[visible]]))


@pytest.mark.parametrize('part', BOTH)
def test_joints_are_shares_of_width_and_height_and_come_back(part):
    codec = part(PAIR, SIZE)
    targets = encode(codec, (48, 64), (0, 0), (191, 255))
    assert_close(targets.at(0)['keypoints'][0, :2, :2], torch.tensor([[0.25, 0.25], [0, 0]]))
    assert_close(codec.decode(targets.at(0)).keypoints[0], torch.tensor([[48.0, 64], [0, 0], [191, 255]]))


@pytest.mark.parametrize('part', BOTH)
def test_a_joint_outside_or_without_label_does_not_count_and_stays_finite(part):
    targets = encode(part(PAIR, SIZE), (-1, 30), (30, float('nan')), (40, 50), visible=(2, 2, 0))
    assert targets.weights['keypoints'].tolist() == [[0, 0, 0]]
    assert not targets.at(0)['keypoints'].any()
    edge = encode(part(PAIR, SIZE), (192, 256), (192.1, 30), (30, 256.1))
    assert edge.weights['keypoints'].tolist() == [[1, 0, 0]]


@pytest.mark.parametrize('part', BOTH)
def test_nobody_is_no_error(part):
    targets = part(PAIR, SIZE).encode(torch.zeros(2, 0, 3, 2), torch.zeros(2, 0, 3))
    assert targets.weights['keypoints'].tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize('part', BOTH)
def test_a_mirror_takes_x_to_the_last_pixel_less_x_and_exchanges_left_and_right(part):
    codec = part(PAIR, SIZE)
    fields = encode(codec, (10, 20), (30, 40), (191, 60)).at(0)
    found = codec.decode(codec.flip(fields)).keypoints[0]
    assert_close(found, torch.tensor([[161.0, 40], [181, 20], [0, 60]]))


def test_points_tell_nothing_of_how_sure_they_are():
    assert Regression(PAIR, SIZE).decode({'keypoints': torch.rand(2, 3, 2)}).scores.tolist() == [[1] * 3] * 2


def test_the_score_is_what_the_mean_spread_leaves_of_one():
    fields = {'keypoints': torch.tensor([[[0.5, 0.5, 0.1, 0.3], [0.5, 0.5, 0, 0], [0.5, 0.5, 1.5, 1.5]]])}
    assert_close(RLERegression(PAIR, SIZE).decode(fields).scores, torch.tensor([[0.8, 1, 0]]))


def test_the_spreads_that_are_wanted_are_nothing():
    assert not encode(RLERegression(PAIR, SIZE), (48, 64), (1, 2), (3, 4)).at(0)['keypoints'][..., 2:].any()


def test_half_precision_shares_become_pixels_in_full_precision():
    """bf16 knows 8 bits of a share, and all pixels that these give."""
    fields = {'keypoints': torch.tensor([[[0.25, 0.75]] * 3]).bfloat16()}
    poses = Regression(PAIR, SIZE).decode(fields)
    assert poses.keypoints.dtype == torch.float32
    assert poses.keypoints[0, 0].tolist() == [48, 192]
