import math

import pytest
import torch

from poseplug.codecs.msra import MSRAHeatmap
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton

ONE = Skeleton('one', ('nose',))


def draw(x: float, y: float) -> torch.Tensor:
    """The heatmap (64, 48) of a keypoint."""
    return (
        MSRAHeatmap(ONE, (192, 256))
        .encode(torch.tensor([[[[x, y]]]]), torch.ones(1, 1, 1))
        .stage_fields(0)['heatmap'][0, 0]
    )


def test_the_gaussian_stands_on_the_nearest_cell_and_ends_after_3_sigma():
    heatmap = draw(101.9, 122.0)  # 25.475 and 30.5 cells
    assert heatmap[31, 25] == 1
    assert heatmap[31, 26].item() == pytest.approx(math.exp(-1 / 8))
    assert heatmap[31, 31].item() == pytest.approx(math.exp(-36 / 8))
    assert heatmap[31, 32] == 0
    assert heatmap[37, 19] > 0


def test_keypoints_of_one_cell_have_the_same_heatmap():
    assert torch.equal(draw(98.0, 118.0), draw(101.9, 121.9))


@pytest.mark.parametrize(('x', 'counts'), [(0.0, 1), (-29.9, 1), (-34.1, 0), (213.9, 1), (214.0, 0)])
def test_a_keypoint_counts_while_its_square_and_one_cell_beside_touch_the_grid(x, counts):
    codec = MSRAHeatmap(ONE, (192, 256))
    targets = codec.encode(torch.tensor([[[[x, 90.0]]]]), torch.ones(1, 1, 1))
    assert targets.weights['heatmap'].tolist() == [[counts]]


@pytest.mark.parametrize(
    ('settings', 'message'), [({'min_value': 0.1}, 'truncate and min_value'), ({'center': 'round'}, 'center is')]
)
def test_a_setting_without_meaning_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        MSRAHeatmap(ONE, (192, 256), **settings)


@pytest.mark.parametrize(('center', 'cell'), [('cell', (25, 31)), ('floor', (25, 30)), ('ceil', (26, 31))])
def test_a_keypoint_is_rounded_to_the_nearest_cell_down_or_up(center, cell):
    codec = MSRAHeatmap(ONE, (192, 256), center=center)
    keypoints = torch.tensor([[[[101.9, 122.0]]]])  # 25.475 and 30.5 cells
    heatmap = codec.encode(keypoints, torch.ones(1, 1, 1)).stage_fields(0)['heatmap'][0, 0]
    assert (heatmap == 1).nonzero().flip(-1).tolist() == [list(cell)]
    assert heatmap[cell[1], cell[0] + 6] > 0 == heatmap[cell[1], cell[0] + 7]
