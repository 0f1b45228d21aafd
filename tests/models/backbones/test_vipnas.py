import pytest
import torch
from torch import nn

from poseplug.models.backbones.vipnas_mobilenet_v3 import SteepHardSigmoid, ViPNASMobileNetV3
from poseplug.models.backbones.vipnas_resnet import ViPNASResNet
from poseplug.models.layers.global_context import GlobalContext


@pytest.mark.parametrize(
    ('build', 'channels', 'strides'),
    [
        (ViPNASResNet, (80, 160, 304, 608), (4, 8, 16, 32)),
        (ViPNASMobileNetV3, (24, 40, 112, 160), (4, 8, 16, 32)),
        (lambda: ViPNASMobileNetV3(out_strides=(2, 8)), (16, 40), (2, 8)),
        (lambda: ViPNASResNet(out_strides=(8,), widen_factor=0.5), (80,), (8,)),
    ],
)
def test_channels_are_those_of_the_search(build, channels, strides):
    with torch.device('meta'):
        network = build()
    assert (network.out_channels, network.strides) == (channels, strides)


def test_the_steep_sigmoid_is_a_line_from_minus_one_to_one():
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 1.0, 3.0])
    assert SteepHardSigmoid()(x).tolist() == [0, 0, 0.25, 0.5, 1, 1]


@torch.no_grad()
def test_a_context_of_equal_weights_follows_from_the_mean_of_the_cells():
    layer = GlobalContext(4, 2)
    nn.init.zeros_(layer.mask.weight)
    x = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(layer(x), x + layer.transform(x.mean((2, 3), keepdim=True)))
