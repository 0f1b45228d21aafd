import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import MismatchError
from poseplug.models.heads.regression import RegressionHead

POINTS = {'keypoints': (17, 2)}


def test_points_are_one_layer_on_the_mean_of_the_last_map():
    torch.manual_seed(0)
    head, maps = RegressionHead((3, 5), (8, 16), POINTS), torch.rand(2, 5, 6, 4)
    layer = head.points['keypoints']
    (stage,) = head([torch.rand(2, 3, 12, 8), maps])
    assert_close(stage['keypoints'], layer(maps.mean((2, 3))).view(2, 17, 2))


def test_where_in_the_map_something_is_does_not_matter():
    torch.manual_seed(0)
    head, maps = RegressionHead((5,), (16,), POINTS), torch.rand(2, 5, 6, 4)
    (stage,), (turned,) = head([maps]), head([maps.flip(-1)])
    assert_close(stage['keypoints'], turned['keypoints'])


def test_the_head_of_resnet_50_has_as_many_weights_as_numbers_and_channels_say():
    with torch.device('meta'):
        head = RegressionHead((2048,), (32,), POINTS)
    assert sum(p.numel() for p in head.parameters()) == 34 * 2049


@pytest.mark.parametrize('shape', [(17, 4), (17, 64, 48)])
def test_other_numbers_a_joint_are_an_error_that_names_the_remedy(shape):
    with pytest.raises(MismatchError, match=r'RegressionHead gives every joint 2 numbers, .* or take RLEHead'):
        RegressionHead((8,), (32,), {'keypoints': shape})
