import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.simple import SimpleHead, upsample_bilinear

KEYPOINTS = {'heatmap': 17}


def test_the_published_decoder_has_one_convolution():
    head = SimpleHead((384,), (16,), KEYPOINTS)
    assert {n: tuple(p.shape) for n, p in head.named_parameters()} == {
        'predict.heatmap.weight': (17, 384, 3, 3),
        'predict.heatmap.bias': (17,),
    }


def test_negative_features_are_cut_before_they_are_enlarged():
    """Cut afterwards, the map would be 0, 0, 0.5, 1."""
    head = SimpleHead((1,), (8,), {'heatmap': 1}, 4, kernel_size=1)
    nn.init.ones_(head.predict['heatmap'].weight)
    features = torch.tensor([[[[-1.0, 1.0]]]])
    (stage,) = head([features])
    assert_close(stage['heatmap'][0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))
    assert features.min() == -1  # the backbone's own map is left as it was


@pytest.mark.parametrize('factor', [2, 4])
def test_upsampling_keeps_the_middles_of_cells(factor):
    """A ramp over input pixels stays that ramp: cell g of stride s covers the pixels around s * g + (s - 1) / 2."""
    coarse = (torch.arange(8.0) * factor + (factor - 1) / 2).expand(1, 1, 3, 8)
    fine = upsample_bilinear(coarse, (3 * factor, 8 * factor))[0, 0]
    inner = slice(factor, -factor)
    assert_close(fine[:, inner], torch.arange(8.0 * factor).expand(3 * factor, -1)[:, inner])


def test_an_equal_stride_leaves_the_map_as_it_is_and_a_ratio_need_not_be_a_power_of_2():
    features = [torch.rand(1, 4, 3, 2), torch.rand(1, 6, 6, 4)]
    assert SimpleHead((4, 6), (8, 4), KEYPOINTS, 4)(features)[0]['heatmap'].shape == (1, 17, 6, 4)
    assert SimpleHead((4,), (14,), KEYPOINTS, 7)([torch.rand(1, 4, 3, 2)])[0]['heatmap'].shape == (1, 17, 6, 4)
    assert SimpleHead((4,), (12,), KEYPOINTS, 4)([torch.rand(1, 4, 3, 2)])[0]['heatmap'].shape == (1, 17, 9, 6)


def test_a_map_finer_than_the_codec_is_an_error_that_names_both_strides():
    with pytest.raises(MismatchError, match=r'SimpleHead .* codec, 8, but this map has stride 4 of \(16, 4\)'):
        SimpleHead((8, 8), (16, 4), KEYPOINTS, 8)
