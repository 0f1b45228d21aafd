import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.hourglass import (
    Hourglass,
    HourglassDesign,
    HourglassModule,
    HourglassStack,
    HourglassStem,
    PreActResidual,
)


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_a_residual_normalizes_before_it_convolves_and_adds_last():
    kinds = [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    torch.manual_seed(0)
    block, maps = PreActResidual(4, 6).eval(), torch.randn(2, 4, 5, 3)
    assert [type(layer) for layer in block.branch] == kinds * 3
    assert [layer.out_channels for layer in block.branch[2::3]] == [3, 3, 6]
    before = maps.clone()
    assert_close(block(maps), block.skip(before) + block.branch(before))
    assert torch.equal(maps, before)  # the in-place ReLU has not changed the input
    assert block(maps).min() < 0  # nothing is cut after the sum


def test_a_residual_of_one_width_has_no_convolution_beside_it():
    assert isinstance(PreActResidual(8, 8).skip, nn.Identity)
    assert isinstance(PreActResidual(8, 4).skip, nn.Conv2d)


@pytest.mark.parametrize(('num_modules', 'residuals'), [(1, 13), (2, 26)])
def test_an_hourglass_of_depth_4_has_13_positions_of_residuals(num_modules, residuals):
    hourglass = HourglassModule(HourglassDesign(8, 4, num_modules), 4)
    assert sum(isinstance(m, PreActResidual) for m in hourglass.modules()) == residuals


@pytest.mark.parametrize('size', [(32, 24), (64, 64), (17, 31), (5, 1), (1, 1)])
def test_an_hourglass_keeps_every_size_odd_ones_too(size):
    assert HourglassStack(HourglassDesign(4)).eval()(torch.randn(1, 4, *size)).shape == (1, 4, *size)


def test_the_sizes_on_the_way_down_are_halves_rounded_down():
    """At 128x96 px: 32x24 cells, and 2x1 at the bottom."""
    hourglass, sizes = HourglassModule(HourglassDesign(4), 4).eval(), []
    for level in hourglass.modules():
        if isinstance(level, HourglassModule):
            level.register_forward_pre_hook(lambda _, maps: sizes.append(tuple(maps[0].shape[-2:])))
    bottom = [m for m in hourglass.modules() if isinstance(m, HourglassModule)][-1].inner
    bottom.register_forward_pre_hook(lambda _, maps: sizes.append(tuple(maps[0].shape[-2:])))
    hourglass(torch.randn(1, 4, 32, 24))
    assert sizes == [(32, 24), (16, 12), (8, 6), (4, 3), (2, 1)]


def test_without_what_its_residuals_add_an_hourglass_is_the_input_and_its_coarse_maxima():
    hourglass = HourglassModule(HourglassDesign(2, 2), 2).eval()
    for block in hourglass.modules():
        if isinstance(block, PreActResidual):
            nn.init.zeros_(block.branch[-1].weight)
            nn.init.zeros_(block.branch[-1].bias)
    maps = torch.arange(32.0).reshape(1, 2, 4, 4)
    twos = maps[:, :, 1::2, 1::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    fours = maps[:, :, 3:, 3:].expand_as(maps)
    assert_close(hourglass(maps), maps + twos + fours)


def test_the_stem_is_a_quarter_of_the_image_and_has_the_weights_of_either_release():
    """By hand: 7x7 convolution and batch norm 9,600; residuals 64-128 58,112, 128-256 230,912, 256-256 214,528."""
    with torch.device('meta'):
        assert count_parameters(HourglassStem()) == 9_600 + 58_112 + 230_912 + 214_528
        assert count_parameters(HourglassStem(mid_channels=128)) == 9_600 + 58_112 + 54_016 + 230_912
    (maps,) = HourglassStem(8)(torch.rand(2, 3, 64, 48))
    assert maps.shape == (2, 8, 16, 12)


def test_the_backbone_returns_one_map_per_stack_and_each_stack_builds_on_the_one_before():
    torch.manual_seed(0)
    backbone = Hourglass(3, 8, depth=2).eval()
    maps = backbone(torch.rand(1, 3, 32, 32))
    assert (backbone.out_channels, backbone.strides) == ((8, 8, 8), (4, 4, 4))
    assert [m.shape for m in maps] == [(1, 8, 8, 8)] * 3
    (stem,) = backbone.stem(torch.zeros(1, 3, 32, 32))
    first, second, _ = backbone(torch.zeros(1, 3, 32, 32))
    assert_close(second, backbone.stacks[1](stem + backbone.merges[0](first)))


def test_the_backbone_has_no_weights_after_its_last_stack_nor_for_predictions():
    """A stack: 13 + 1 residuals of 214,528, a 1x1 convolution, batch norm; between two stacks a 1x1 convolution."""
    with torch.device('meta'):
        stack, merge = 14 * 214_528 + 65_792 + 512, 65_792
        assert count_parameters(Hourglass(4)) == count_parameters(HourglassStem()) + 4 * stack + 3 * merge


@pytest.mark.parametrize('settings', [dict(num_stacks=0), dict(channels=12), dict(depth=0), dict(num_modules=0)])
def test_invalid_settings_are_an_error_that_names_the_value(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=f'{name}={value}'):
        Hourglass(**{'channels': 8, **settings})
    with pytest.raises(ConfigError, match='channels=7'):
        HourglassDesign(7)
