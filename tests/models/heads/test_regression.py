import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.regression import RegressionHead

POINTS = {'keypoints': (17, 2)}


def test_points_are_one_layer_on_the_mean_of_the_last_map():
    torch.manual_seed(0)
    head, maps = RegressionHead((3, 5), (8, 16), POINTS), torch.rand(2, 5, 6, 4)
    layer = head.points['keypoints']
    (stage,) = head([torch.rand(2, 3, 12, 8), maps])
    assert_close(stage['keypoints'], layer(maps.mean((2, 3))).view(2, 17, 2))


def test_positions_in_the_map_do_not_matter():
    torch.manual_seed(0)
    head, maps = RegressionHead((5,), (16,), POINTS), torch.rand(2, 5, 6, 4)
    (stage,), (flipped,) = head([maps]), head([maps.flip(-1)])
    assert_close(stage['keypoints'], flipped['keypoints'])


def test_the_head_of_resnet_50_has_as_many_weights_as_numbers_and_channels_say():
    with torch.device('meta'):
        head = RegressionHead((2048,), (32,), POINTS)
    assert sum(p.numel() for p in head.parameters()) == 34 * 2049


@pytest.mark.parametrize('shape', [(17, 4), (17, 64, 48)])
def test_another_number_of_values_per_keypoint_is_an_error_that_names_the_remedy(shape):
    with pytest.raises(MismatchError, match=r'RegressionHead predicts 2 values per keypoint, .* or use RLEHead'):
        RegressionHead((8,), (32,), {'keypoints': shape})
