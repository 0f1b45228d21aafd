import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.mobilenet_v1 import MobileNetV1


def build_on_meta(**settings) -> MobileNetV1:
    """A network without memory for its numbers."""
    with torch.device('meta'):
        return MobileNetV1(**settings)


def count_parameters(network: MobileNetV1) -> int:
    return sum(p.numel() for p in network.parameters())


def test_with_a_classifier_of_1000_classes_it_is_the_image_net_network():
    assert count_parameters(build_on_meta()) + 1024 * 1000 + 1000 == 4_231_976  # 4.2 million in table 8 of the paper


def test_blocks_coarser_than_requested_are_not_built():
    assert build_on_meta().out_channels == (128, 256, 512, 1024)
    assert build_on_meta(out_strides=(2, 4)).out_channels == (64, 128)
    assert len(build_on_meta(out_strides=(2, 4)).features) == 1 + 3
    assert len(build_on_meta(out_strides=(16,)).features) == 1 + 11


def test_the_width_multiplies_all_channels():
    assert build_on_meta(widen_factor=0.25).out_channels == (32, 64, 128, 256)
    assert build_on_meta(widen_factor=0.25).features[0][0].out_channels == 8


def test_lightweight_openposes_trunk_keeps_stride_8_until_conv5_5_and_dilates_conv5_1_alone():
    network = build_on_meta(out_strides=(8,), num_dilated=6)
    assert (network.out_channels, network.strides) == ((512,), (8,))
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [c.stride[0] for c in convs] == [1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]
    assert [c.dilation[0] for c in convs] == [1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


def test_every_stride_that_is_lost_widens_the_block_behind_it():
    convs = [
        m for m in build_on_meta(out_strides=(8,), num_dilated=8).modules() if isinstance(m, nn.Conv2d) and m.groups > 1
    ]
    assert [c.dilation[0] for c in convs[5:]] == [1, 2, 1, 1, 1, 1, 1, 4]


def test_a_dilated_block_computes_at_every_second_cell_what_the_coarser_network_computes():
    torch.manual_seed(0)
    coarse = MobileNetV1(widen_factor=0.125, out_strides=(16,)).eval()
    fine = MobileNetV1(widen_factor=0.125, out_strides=(8,), num_dilated=2).eval()
    fine.features.load_state_dict(coarse.features[:8].state_dict())
    images = torch.rand(1, 3, 96, 64)
    expected = coarse.features[:8](images)
    assert expected.shape[-2:] == (6, 4)
    assert expected.std() > 0.01
    torch.testing.assert_close(fine(images)[0][..., ::2, ::2], expected)


@pytest.mark.parametrize('num_dilated', [9, -1])
def test_blocks_that_do_not_exist_cannot_be_dilated(num_dilated):
    with pytest.raises(ConfigError, match=rf'has 8 blocks coarser than stride 8, .* got num_dilated={num_dilated}'):
        build_on_meta(out_strides=(8,), num_dilated=num_dilated)
