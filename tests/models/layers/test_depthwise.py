import torch
from torch import nn

from poseplug.models.layers.building import LayerBuilder
from poseplug.models.layers.depthwise import DepthwiseConv2d

SETTINGS = dict(kernel_size=5, stride=2, padding=2)


def build_pair(channels: int = 6) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The layer and torch's own, of equal weights."""
    torch.manual_seed(0)
    layer = DepthwiseConv2d(channels, channels, groups=channels, **SETTINGS)
    plain = nn.Conv2d(channels, channels, groups=channels, **SETTINGS)
    plain.load_state_dict(layer.state_dict())
    return layer, plain


def test_without_autocast_it_is_torchs_convolution():
    layer, plain = build_pair()
    maps = torch.rand(2, 6, 9, 12)
    assert torch.equal(layer(maps), plain(maps))


def test_under_autocast_it_is_trained_in_float32_and_keeps_the_format_of_its_input():
    layer, plain = build_pair()
    maps = torch.rand(2, 6, 9, 12).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        output = layer(maps)
        output.float().sum().backward()
    plain(maps.float()).sum().backward()
    assert output.dtype is torch.bfloat16
    assert torch.equal(layer.weight.grad, plain.weight.grad)


def test_predictions_under_autocast_are_computed_in_bfloat16():
    layer, plain = build_pair()
    maps = torch.rand(2, 6, 9, 12)
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        assert torch.equal(layer(maps), plain(maps))
        assert layer(maps).dtype is torch.bfloat16


def test_parts_have_it_where_every_channel_is_a_group():
    build = LayerBuilder().build_conv
    assert type(build(4, 4, 3, groups=4)) is DepthwiseConv2d
    assert type(build(4, 4, 3, groups=2)) is nn.Conv2d
    assert type(build(1, 4, 3)) is nn.Conv2d
