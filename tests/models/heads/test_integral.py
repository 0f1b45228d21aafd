import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.integral import IntegralHead, correct_positions, soft_argmax

SIZE = (64, 96)
BOTH = {'heatmap': (3, 24, 16), 'keypoints': (3, 2)}


def test_the_mean_of_two_cells_is_half_way_between_them():
    """Cells of 17 stand 4 px apart on 65: cells 4 and 6 are pixels 16 and 24, whose mean is 20 of 65."""
    probs = torch.zeros(1, 1, 17, 17)
    probs[0, 0, 8, 4] = probs[0, 0, 8, 6] = 0.5
    assert_close(soft_argmax(probs, (65, 65)), torch.tensor([[[20 / 65, 32 / 65]]]))


def test_the_corners_are_the_first_and_the_last_pixel_and_a_single_cell_is_the_middle():
    corners = torch.zeros(1, 2, 24, 16)
    corners[0, 0, 0, 0] = corners[0, 1, -1, -1] = 1
    assert_close(soft_argmax(corners, SIZE) * torch.tensor(SIZE), torch.tensor([[[0.0, 0], [63, 95]]]))
    assert_close(soft_argmax(torch.ones(1, 1, 1, 1), SIZE) * torch.tensor(SIZE), torch.tensor([[[31.5, 47.5]]]))


def test_the_correction_of_high_maps_is_none_and_of_low_ones_that_of_the_formula():
    points = torch.tensor([[[0.25, 0.75]]])
    assert_close(correct_positions(points, torch.full((1, 1, 64, 64), 200.0)), points)
    total = 4 * torch.tensor(0.5).exp()
    expected = total / (total - 1) * (points - 1 / (2 * total))
    assert_close(correct_positions(points, torch.full((1, 1, 2, 2), 0.5)), expected)


def test_distributions_have_a_sum_of_one_and_points_are_their_expectations():
    torch.manual_seed(0)
    head = IntegralHead((5,), (8,), BOTH, SIZE, stride=4, deconv_out_channels=8).eval()
    (stage,) = head([50 * torch.randn(2, 5, 12, 8)])
    assert_close(stage['heatmap'].sum((2, 3)), torch.ones(2, 3))
    assert_close(stage['keypoints'], soft_argmax(stage['heatmap'], SIZE))


def test_a_large_beta_makes_the_largest_cell_the_expectation():
    torch.manual_seed(0)
    maps = torch.rand(1, 5, 24, 16)
    soft, sharp = (IntegralHead((5,), (4,), BOTH, SIZE, stride=4, beta=s) for s in (1.0, 1e6))
    sharp.load_state_dict(soft.state_dict())
    (stage,) = sharp([maps])
    index = soft.maps(maps).flatten(2).argmax(-1)
    expected = torch.stack([index % 16 * 63 / 15 / 64, index // 16 * 95 / 23 / 96], dim=-1)
    assert_close(stage['keypoints'], expected)


def test_a_codec_of_points_reads_them_from_the_map_without_deconvolutions():
    head = IntegralHead((5,), (32,), {'keypoints': (3, 2)}, SIZE)
    assert len(head.deconvs) == 0
    (stage,) = head([torch.rand(2, 5, 3, 2)])
    assert {name: tuple(field.shape) for name, field in stage.items()} == {'keypoints': (2, 3, 2)}


def test_a_map_is_doubled_up_to_the_stride_of_the_codec():
    head = IntegralHead((5,), (32,), BOTH, SIZE, stride=4, deconv_out_channels=8)
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in head.deconvs) == 3


@pytest.mark.parametrize(
    'shapes', [{'heatmap': (3, 24, 16)}, {'keypoints': (3, 4)}, {'heatmap': (4, 24, 16), 'keypoints': (3, 2)}]
)
def test_fields_that_are_no_points_and_maps_are_an_error(shapes):
    with pytest.raises(MismatchError, match=r'IntegralHead .* set model.codec.type to Integral or Regression'):
        IntegralHead((8,), (4,), shapes, SIZE, stride=4)
