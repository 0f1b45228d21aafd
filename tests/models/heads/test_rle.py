import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.rle import RLEHead

POINTS = {'keypoints': (17, 4)}


def test_sigmas_pass_a_sigmoid_and_points_do_not():
    torch.manual_seed(0)
    head, maps = RLEHead((5,), (32,), POINTS), 100 * torch.randn(2, 5, 6, 4)
    raw = head.points['keypoints'](maps.mean((2, 3))).view(2, 17, 4)
    (stage,) = head([maps])
    assert_close(stage['keypoints'][..., :2], raw[..., :2])
    assert_close(stage['keypoints'][..., 2:], raw[..., 2:].sigmoid())
    assert stage['keypoints'][..., :2].abs().max() > 1


def test_sigmas_start_at_a_half():
    head = RLEHead((5,), (32,), POINTS)
    assert_close(head([torch.zeros(1, 5, 2, 2)])[0]['keypoints'][..., 2:], torch.full((1, 17, 2), 0.5))


def test_points_alone_are_an_error_that_names_the_remedy():
    with pytest.raises(MismatchError, match=r'RLEHead predicts 4 values per keypoint, .* or use RegressionHead'):
        RLEHead((8,), (32,), {'keypoints': (17, 2)})
