import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.lite_hrnet import CrossResolutionWeighting, IterativeAggregation, LiteHRNet


@pytest.mark.parametrize(('num_modules', 'millions'), [((2, 4, 2), 1.1), ((3, 8, 3), 1.8)], ids=['18', '30'])
def test_it_has_the_papers_number_of_parameters(num_modules, millions):
    with torch.device('meta'):
        network = LiteHRNet(num_modules=num_modules)
    head = 40 * 17 + 17
    assert round((sum(p.numel() for p in network.parameters()) + head) / 1e6, 1) == millions
    assert (network.out_channels, network.strides) == ((40,), (4,))


@torch.no_grad()
def test_a_coarse_map_does_not_depend_on_whether_finer_ones_are_returned():
    settings = dict(width=8, num_modules=(1, 1, 1), num_blocks=1)
    torch.manual_seed(0)
    all_maps = LiteHRNet(**settings, out_strides=(4, 8, 16, 32)).eval()
    coarse_maps = LiteHRNet(**settings, out_strides=(16, 32)).eval()
    state = all_maps.state_dict()
    coarse_maps.load_state_dict({name: state[name] for name in coarse_maps.state_dict()})
    images = torch.randn(1, 3, 64, 64)
    for expected, output in zip(all_maps(images)[2:], coarse_maps(images), strict=True):
        torch.testing.assert_close(output, expected)


@torch.no_grad()
def test_zero_logits_weight_every_branch_by_one_half():
    layer = CrossResolutionWeighting([4, 8], 4).eval()
    torch.nn.init.zeros_(layer.conv2.conv.weight)
    features = [torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)]
    for output, x in zip(layer(features), features, strict=True):
        torch.testing.assert_close(output, x / 2)


def test_a_branch_ends_with_the_channels_of_the_next_finer_one():
    assert IterativeAggregation([4, 8, 16]).out_channels == (4, 4, 8)
    assert IterativeAggregation([4, 8, 16], first_branch=1).out_channels == (4, 8)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [(dict(num_modules=(1, 1)), 'num_modules is the number'), (dict(width=5), 'width is even')],
)
def test_settings_without_a_network_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LiteHRNet(**settings)
