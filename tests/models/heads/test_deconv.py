import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.deconv import DeconvHead

KEYPOINTS = {'heatmap': 17}


def layer_types(head: DeconvHead) -> list[type[nn.Module]]:
    return [type(layer) for layer in head.deconvs]


@pytest.mark.parametrize(
    ('strides', 'stride', 'count'), [((4, 8, 16, 32), 4, 3), ((16,), 4, 2), ((32,), 2, 4), ((4,), 4, 0)]
)
def test_there_are_as_many_doublings_as_lead_from_the_last_map_to_the_codec(strides, stride, count):
    head = DeconvHead((8,) * len(strides), strides, KEYPOINTS, stride, deconv_out_channels=8)
    assert layer_types(head) == [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU] * count
    (stage,) = head([torch.rand(2, 8, 64 // s, 96 // s) for s in strides])
    assert stage['heatmap'].shape == (2, 17, 64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ('channels', 'stride', 'total'),
    [
        (2048, 32, 33_999_697 - 23_508_032),  # SimpleBaseline without its ResNet-50
        (384, 16, 384 * 16 * 256 + 512 + 256 * 16 * 256 + 512 + 256 * 17 + 17),  # ViTPose-S's classic decoder
        (32, 4, 32 * 17 + 17),
    ],
)
def test_the_published_decoders_have_the_published_number_of_weights(channels, stride, total):
    with torch.device('meta'):
        head = DeconvHead((channels,), (stride,), KEYPOINTS, 4)
    assert sum(p.numel() for p in head.parameters()) == total


def test_without_deconvolutions_it_is_a_1x1_convolution():
    torch.manual_seed(0)
    head, maps = DeconvHead((3, 5), (8, 4), KEYPOINTS, 4), torch.rand(1, 5, 6, 4)
    weight = head.predict['heatmap'].weight[:, :, 0, 0]
    (stage,) = head([torch.rand(1, 3, 3, 2), maps])
    assert_close(stage['heatmap'], torch.einsum('oc,bchw->bohw', weight, maps))


def test_a_deconvolution_distributes_a_cell_over_four_by_four_of_the_next_and_keeps_its_position():
    """Cell g covers cells 2g and 2g + 1 of the doubled map, and its kernel one more on each side."""
    head = DeconvHead((1,), (8,), {'heatmap': 1}, 4, deconv_out_channels=1)
    nn.init.ones_(head.deconvs[0].weight)
    one = torch.zeros(1, 1, 6, 6)
    one[0, 0, 2, 3] = 1
    changed = head.deconvs[0](one)[0, 0].nonzero()
    assert (changed.amin(0).tolist(), changed.amax(0).tolist()) == ([3, 5], [6, 8])


def test_the_channels_of_each_deconvolution_may_be_set():
    head = DeconvHead((12,), (32,), KEYPOINTS, 4, deconv_out_channels=(10, 8, 6))
    assert [layer.out_channels for layer in head.deconvs if isinstance(layer, nn.ConvTranspose2d)] == [10, 8, 6]
    assert head.predict['heatmap'].in_channels == 6
    with pytest.raises(
        MismatchError, match=r'needs 3 deconvolutions .* 32, .* 4, but model.head.deconv_out_channels has 2'
    ):
        DeconvHead((12,), (32,), KEYPOINTS, 4, deconv_out_channels=(10, 8))


def test_a_map_finer_than_the_codec_or_of_an_odd_ratio_is_an_error_that_names_both_strides():
    with pytest.raises(
        MismatchError, match=r'codec, 8, but this map has stride 4 .*set model.codec.stride to 4 or less'
    ):
        DeconvHead((8,), (4,), KEYPOINTS, 8)
    with pytest.raises(MismatchError, match=r'of stride 24, .* never meets .* codec, 4;'):
        DeconvHead((8,), (24,), KEYPOINTS, 4)


def test_the_names_of_weights_are_those_of_a_checkpoint_of_the_same_layers_except_for_two_words():
    head = DeconvHead((8,), (16,), KEYPOINTS, 4, deconv_out_channels=4)
    learned = [n for n, _ in head.named_parameters()]
    assert learned == [
        'deconvs.0.weight', 'deconvs.1.weight', 'deconvs.1.bias', 'deconvs.3.weight', 'deconvs.4.weight',
        'deconvs.4.bias', 'predict.heatmap.weight', 'predict.heatmap.bias',
    ]  # fmt: skip


def test_weights_start_near_zero():
    torch.manual_seed(0)
    head = DeconvHead((64,), (8,), KEYPOINTS, 4)
    assert head.deconvs[0].weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert head.predict['heatmap'].weight.std().item() == pytest.approx(0.001, rel=0.05)


def test_groups_divide_the_weights_of_each_deconvolution():
    head = DeconvHead((8,), (32,), KEYPOINTS, 4, deconv_out_channels=(8, 4, 4), deconv_groups=(8, 2, 1))
    shapes = [tuple(layer.weight.shape[:2]) for layer in head.deconvs if isinstance(layer, nn.ConvTranspose2d)]
    assert shapes == [(8, 1), (8, 2), (4, 4)]


@pytest.mark.parametrize(
    ('groups', 'message'),
    [((2, 2), 'has 3 deconvolutions, but model.head.deconv_groups has 2'), (3, '3 groups of a deconvolution do not')],
)
def test_groups_that_do_not_fit_are_refused(groups, message):
    with pytest.raises(MismatchError, match=message):
        DeconvHead((8,), (32,), KEYPOINTS, 4, deconv_out_channels=8, deconv_groups=groups)
