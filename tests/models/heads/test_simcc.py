import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.simcc import SimCCHead

BINS = {'x': (17, 384), 'y': (17, 512)}


def count_parameters(head: nn.Module) -> int:
    return sum(p.numel() for p in head.parameters())


def test_the_published_head_has_the_published_number_of_weights():
    """Three deconvolutions, one map per keypoint, and a layer for 384 and one for 512 bins on 48 x 64 cells."""
    deconvs = 2048 * 16 * 256 + 512 + 2 * (256 * 16 * 256 + 512)
    with torch.device('meta'):
        head = SimCCHead((2048,), (32,), BINS, (192, 256))
        bare = SimCCHead((2048,), (32,), BINS, (192, 256), deconv_out_channels=())
    assert count_parameters(head) == deconvs + (256 * 17 + 17) + (3072 + 1) * (384 + 512)
    assert count_parameters(bare) == (2048 * 17 + 17) + (48 + 1) * (384 + 512)


@pytest.mark.parametrize(('stride', 'deconvs', 'doubled'), [(32, 8, 3), (16, 8, 2), (4, 8, 0), (32, (8, 6), 2)])
def test_there_are_as_many_doublings_as_lead_to_the_stride_of_the_map_or_as_are_set(stride, deconvs, doubled):
    head = SimCCHead((6,), (stride,), {'x': (3, 10), 'y': (3, 14)}, (64, 96), deconv_out_channels=deconvs)
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in head.deconvs) == doubled
    (stage,) = head([torch.rand(2, 6, 96 // stride, 64 // stride)])
    assert {name: tuple(field.shape) for name, field in stage.items()} == {'x': (2, 3, 10), 'y': (2, 3, 14)}


def test_every_keypoint_has_a_map_and_all_have_the_layers_in_common():
    torch.manual_seed(0)
    head = SimCCHead((2,), (32,), {'x': (3, 10), 'y': (3, 14)}, (64, 96), deconv_out_channels=()).eval()
    maps = torch.rand(1, 2, 3, 2)
    with torch.no_grad():
        head.maps.weight[1] = head.maps.weight[0]
        (stage,) = head([maps])
        head.maps.weight[2] += 1
        (changed,) = head([maps])
    assert_close(stage['x'][:, 0], stage['x'][:, 1])
    assert_close(changed['y'][:, :2], stage['y'][:, :2])
    assert not torch.equal(changed['y'][:, 2], stage['y'][:, 2])


def test_an_input_that_the_stride_does_not_divide_or_another_one_is_an_error_with_the_remedy():
    with pytest.raises(MismatchError, match=r'stride 32, .* \(200, 256\) px; set model.codec.input_size=\(192, 256\)'):
        SimCCHead((8,), (32,), BINS, (200, 256))
    head = SimCCHead((8,), (32,), BINS, (192, 256), deconv_out_channels=())
    with pytest.raises(MismatchError, match=r'\(192, 256\) px and feature maps of \(6, 8\) .* have \(8, 8\)'):
        head([torch.rand(1, 8, 8, 8)])


@pytest.mark.parametrize('shapes', [{'heatmap': (17, 64, 48)}, {'x': (3, 10), 'y': (4, 10)}])
def test_fields_that_are_not_bins_of_the_same_keypoints_are_an_error(shapes):
    with pytest.raises(
        MismatchError, match=r'SimCCHead predicts one row of bins per keypoint .*set model.codec.type to SimCC'
    ):
        SimCCHead((8,), (32,), shapes, (64, 96))
