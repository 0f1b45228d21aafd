import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.shufflenet_v1 import ShuffleNetV1
from poseplug.models.backbones.shufflenet_v2 import HalvingShuffleUnit, ShuffleNetV2, SplitShuffleUnit
from poseplug.models.layers.channel_shuffle import shuffle_channels


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_shuffling_transposes_groups_and_channels_and_undoes_itself():
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert shuffle_channels(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert shuffle_channels(shuffle_channels(x, 2), 3).equal(x)


@pytest.mark.parametrize(
    ('factor', 'parameters'), [(0.5, 1_366_792), (1.0, 2_278_604), (1.5, 3_503_624), (2.0, 7_393_996)]
)
def test_shufflenet_v2_with_a_classifier_of_1000_classes_is_the_image_net_network(factor, parameters):
    last = 2048 if factor == 2.0 else 1024
    with torch.device('meta'):
        network = ShuffleNetV2(factor, last_channels=last)
    assert count_parameters(network) + 1000 * last + 1000 == parameters


@pytest.mark.parametrize('groups', [1, 2, 3, 4, 8])
def test_shufflenet_has_the_channels_of_the_papers_table(groups):
    channels = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}[groups]
    with torch.device('meta'):
        network = ShuffleNetV1(groups)
    assert network.out_channels == (24, channels, 2 * channels, 4 * channels)


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: ShuffleNetV1(5), '1, 2, 3, 4, 8 groups; got 5'),
        (lambda: ShuffleNetV2(0.7), '0.5, 1.0, 1.5, 2.0; got 0.7'),
        (lambda: ShuffleNetV2(out_strides=(8,), last_channels=1024), 'add 32 to it, or remove last_channels'),
    ],
)
def test_unknown_settings_are_refused_by_name(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@torch.no_grad()
def test_a_split_unit_keeps_half_of_the_channels():
    x = torch.randn(1, 8, 5, 5)
    assert SplitShuffleUnit(8).eval()(x)[:, ::2].equal(x[:, :4])


@torch.no_grad()
def test_a_halving_unit_interleaves_its_branches():
    unit, x = HalvingShuffleUnit(6, 8).eval(), torch.randn(1, 6, 7, 4)
    out = unit(x)
    assert out.shape == (1, 8, 4, 2)
    assert out[:, ::2].equal(unit.branch1(x))
    assert out[:, 1::2].equal(unit.branch2(x))
