import math

import pytest
import torch

from poseplug.codecs.msra import MSRAHeatmap
from poseplug.errors import ConfigError
from poseplug.skeleton import Skeleton

ONE = Skeleton('one', ('nose',))


def drawn(x: float, y: float) -> torch.Tensor:
    """The map (64, 48) of a joint."""
    return MSRAHeatmap(ONE, (192, 256)).encode(torch.tensor([[[[x, y]]]]), torch.ones(1, 1, 1)).at(0)['heatmap'][0, 0]


def test_the_gaussian_stands_on_the_nearest_cell_and_ends_after_3_sigma():
    maps = drawn(101.9, 122.0)  # 25.475 and 30.5 cells
    assert maps[31, 25] == 1
    assert maps[31, 26].item() == pytest.approx(math.exp(-1 / 8))
    assert maps[31, 31].item() == pytest.approx(math.exp(-36 / 8))
    assert maps[31, 32] == 0
    assert maps[37, 19] > 0


def test_joints_of_one_cell_have_one_map():
    assert torch.equal(drawn(98.0, 118.0), drawn(101.9, 121.9))


@pytest.mark.parametrize(('x', 'counts'), [(0.0, 1), (-29.9, 1), (-34.1, 0), (213.9, 1), (214.0, 0)])
def test_a_joint_counts_while_its_square_and_one_cell_beside_touch_the_map(x, counts):
    codec = MSRAHeatmap(ONE, (192, 256))
    targets = codec.encode(torch.tensor([[[[x, 90.0]]]]), torch.ones(1, 1, 1))
    assert targets.weights['heatmap'].tolist() == [[counts]]


@pytest.mark.parametrize(('settings', 'message'), [({'cut': 0.1}, 'patch and cut'), ({'center': 'round'}, 'center is')])
def test_a_setting_that_means_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        MSRAHeatmap(ONE, (192, 256), **settings)
