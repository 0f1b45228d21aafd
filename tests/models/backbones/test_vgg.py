import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.vgg import VGG


@pytest.mark.parametrize(('depth', 'layers'), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_it_has_as_many_convolutions_as_its_name_says_less_three_layers_of_the_classifier(depth, layers):
    with torch.device('meta'):
        network = VGG(depth)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == layers == depth - 3


def test_the_convolutions_of_depth_16_have_the_papers_parameters():
    with torch.device('meta'):
        network = VGG(16)
    num_channels = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
    # 14,714,688 with biases; a norm has two numbers per channel in place of one.
    assert sum(p.numel() for p in network.parameters()) == 14_714_688 + num_channels
    assert network.out_channels == (128, 256, 512, 512)


def test_an_unknown_depth_is_an_error_that_names_the_known():
    with pytest.raises(ConfigError, match='11, 13, 16, 19; got 12'):
        VGG(12)
