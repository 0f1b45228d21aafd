"""Kinds of blocks, upsampling, repeated stacks and supervision inside an hourglass (Newell et al. 2016, section 3)."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.hourglass import HourglassDesign, HourglassModule, PreActResidual
from poseplug.models.heads.hourglass import HourglassHead


def build_head(**settings):
    torch.manual_seed(0)
    return HourglassHead(
        (8,), (4,), {'heatmap': 3}, 4, **{**dict(num_stacks=2, channels=8, depth=2), **settings}
    ).eval()


def count_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ('block', 'weights'),
    [
        ('residual', 8 * 4 + 4 * 4 * 9 + 4 * 8 + 16 + 2 * (8 + 4 + 4)),  # convolutions, their biases, batch norms
        ('large', 8 * 8 * 25 + 8 + 2 * 8),
        ('double', 2 * (8 * 8 * 9 + 8 + 2 * 8)),
    ],
)
def test_a_block_has_the_layers_of_its_kind(block, weights):
    design = HourglassDesign(8, 1, 1, block)
    from poseplug.models.layers.building import DEFAULT_LAYERS

    assert count_parameters(design.build_blocks(DEFAULT_LAYERS)) == weights
    assert isinstance(design.build_blocks(DEFAULT_LAYERS)[0], PreActResidual) == (block == 'residual')


@pytest.mark.parametrize(('upsampling', 'settings'), [('nearest', {}), ('bilinear', dict(align_corners=False))])
def test_low_features_are_enlarged_as_the_setting_says(upsampling, settings):
    torch.manual_seed(0)
    module = HourglassModule(HourglassDesign(8, 1, 1, upsampling=upsampling), 1).eval()
    x = torch.rand(1, 8, 6, 10)
    output, low = module.forward_with_low(x)
    assert low.shape == (1, 8, 3, 5)
    assert_close(output, module.skip(x) + F.interpolate(low, size=(6, 10), mode=upsampling, **settings))


def test_a_repeated_stack_has_the_weights_of_one():
    single, repeated, separate = build_head(num_stacks=1), build_head(repeat_stack=True), build_head()
    assert count_parameters(repeated.stacks) == count_parameters(single.stacks) == count_parameters(separate.stacks) / 2
    assert len(repeated([torch.rand(1, 8, 16, 16)])) == 2


def test_a_prediction_inside_is_a_stage_before_that_of_its_stack():
    torch.manual_seed(1)
    features = [torch.rand(2, 8, 16, 12)]
    head = build_head(predict_inside=True)
    stages = head(features)
    assert (head.num_stages, len(stages)) == (4, 4)
    assert {stage['heatmap'].shape for stage in stages} == {(2, 3, 16, 12)}
    _, low = head.stacks[0].forward_with_low(features[0])
    inside = F.interpolate(head.predict_low[0](low)['heatmap'], scale_factor=2, mode='nearest')
    assert_close(stages[0]['heatmap'], inside)
    assert sorted(axis.tensor for axis in head.list_field_axes())[0] == 'predict.0.heatmap.bias'
    plain = build_head()
    plain.load_state_dict({n: w for n, w in head.state_dict().items() if not n.startswith('predict_low')})
    assert_close(plain(features)[-1]['heatmap'], stages[-1]['heatmap'])  # what is inside changes no other prediction


@pytest.mark.parametrize('settings', [dict(block='inception'), dict(upsampling='cubic'), dict(channels=7)])
def test_unknown_kinds_and_wrong_numbers_are_refused(settings):
    with pytest.raises(ConfigError, match='an hourglass has'):
        build_head(**settings)
