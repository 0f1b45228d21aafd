import pytest
import torch

from poseplug.codecs.dark import DARKHeatmap
from poseplug.codecs.msra import MSRAHeatmap
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton

FOUR = Skeleton('four', ('a', 'b', 'c', 'd'))


def largest_error(codec) -> float:
    """Largest error in pixels of keypoints at least 32 px inside, encoded and decoded."""
    keypoints = torch.rand(16, 1, 4, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([128.0, 192.0]) + 32
    decoded = codec.decode(codec.encode(keypoints, torch.ones(16, 1, 4)).stage_fields(0)).keypoints
    return (decoded - keypoints[:, 0]).abs().max().item()


@pytest.mark.parametrize('aligned', [False, True])
def test_both_of_its_grids_lose_less_than_a_fifth_of_a_pixel_where_rounding_loses_two(aligned):
    assert largest_error(DARKHeatmap(FOUR, (192, 256), aligned=aligned)) < 0.2
    assert 1.8 < largest_error(MSRAHeatmap(FOUR, (192, 256))) <= 2.0


def test_the_expansion_without_smoothing_decodes_a_gaussian_exactly():
    assert largest_error(DARKHeatmap(FOUR, (192, 256), refine='taylor')) < 0.001


def test_an_aligned_grid_has_no_offset():
    with pytest.raises(ConfigError, match='starts at pixel 0'):
        DARKHeatmap(FOUR, (192, 256), aligned=True, offset=1.5)
