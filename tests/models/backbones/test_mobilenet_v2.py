import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.mobilenet_v2 import MobileNetV2, make_divisible


def build_on_meta(**settings) -> MobileNetV2:
    """A network without memory for its numbers."""
    with torch.device('meta'):
        return MobileNetV2(**settings)


def count_parameters(network: MobileNetV2) -> int:
    return sum(p.numel() for p in network.parameters())


def test_with_its_last_layer_and_a_classifier_of_1000_classes_it_is_the_image_net_network():
    assert count_parameters(build_on_meta(last_channels=1280)) == 2_223_872
    assert count_parameters(build_on_meta(last_channels=1280)) + 1280 * 1000 + 1000 == 3_504_872


def test_the_last_layer_is_not_built_unless_it_is_requested():
    assert count_parameters(build_on_meta()) == 2_223_872 - (320 * 1280 + 2 * 1280)
    assert build_on_meta().out_channels == (24, 32, 96, 320)
    assert build_on_meta(last_channels=1280).out_channels == (24, 32, 96, 1280)
    assert build_on_meta(out_strides=(2, 16)).out_channels == (16, 96)


def test_the_last_layer_needs_the_coarsest_map():
    with pytest.raises(
        ConfigError, match=r'last_channels=1280 stand at stride 32, but out_strides is \(4, 16\); add 32'
    ):
        build_on_meta(out_strides=(4, 16), last_channels=1280)


@pytest.mark.parametrize(
    ('requested', 'divisible'), [(1, 8), (11.9, 16), (12, 16), (33.6, 32), (35.5, 32), (36, 40), (134.4, 136)]
)
def test_channels_are_multiples_of_8_and_never_lose_more_than_a_tenth(requested, divisible):
    assert make_divisible(requested) == divisible


def test_names_are_torchvisions():
    state = build_on_meta(last_channels=1280).state_dict()
    shapes = {
        'features.0.0.weight': (32, 3, 3, 3),
        'features.1.conv.0.0.weight': (32, 1, 3, 3),
        'features.1.conv.1.weight': (16, 32, 1, 1),
        'features.1.conv.2.running_var': (16,),
        'features.2.conv.0.1.weight': (96,),
        'features.2.conv.1.0.weight': (96, 1, 3, 3),
        'features.17.conv.2.weight': (320, 960, 1, 1),
        'features.18.0.weight': (1280, 320, 1, 1),
        'features.18.1.bias': (1280,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert len(state) == 6 * 52  # a convolution and five of its norm, each


def test_a_block_has_a_shortcut_where_its_shape_stays():
    assert [b.has_shortcut for b in build_on_meta().features[1:8]] == [False, False, True, False, True, True, False]
