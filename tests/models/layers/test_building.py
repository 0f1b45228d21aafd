import subprocess
import sys

import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import LayerBuilder
from poseplug.models.layers.conv import conv_block
from poseplug.registry import MODELS


def test_by_default_the_layers_are_torchs_own():
    block = conv_block(4, 8, 3, 'BN')
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert block[2].inplace


def test_layers_by_name_have_their_settings():
    layers = LayerBuilder(
        dict(type='GN', num_groups=4),
        dict(type='LeakyReLU', negative_slope=0.2),
        dict(type='Conv2d', padding_mode='circular'),
    )
    conv, norm, activation = conv_block(4, 8, 3, 'BN', stride=2, layers=layers)
    assert (norm.num_channels, norm.num_groups, activation.negative_slope) == (8, 4, 0.2)
    assert (conv.padding_mode, conv.stride, conv.bias) == ('circular', (2, 2), None)


def test_a_norm_can_be_frozen():
    norm = LayerBuilder(dict(type='BN', requires_grad=False)).build_norm(4)
    assert not any(p.requires_grad for p in norm.parameters())


@pytest.mark.parametrize(('kind', 'name'), [('norm', 'IN3d'), ('act', 'HSwish'), ('conv', 'ConvWS')])
def test_layers_that_mmcv_registers_are_found_by_name(kind, name):
    layers = LayerBuilder(**{f'{kind}_cfg': dict(type=name)})
    build = dict(
        norm=lambda: layers.build_norm(4),
        act=layers.build_activation,
        conv=lambda: layers.build_conv(3, 4, 3, padding=1),
    )
    layer = build[kind]()
    assert type(layer).__name__ == {'IN3d': 'InstanceNorm3d', 'HSwish': 'Hardswish', 'ConvWS': 'ConvWS2d'}[name]


@pytest.fixture
def plugin_layers():
    @MODELS.register_module()
    class PluginScale(nn.Module):
        def __init__(self, channels, eps, start=1.0):
            super().__init__()
            self.factor = nn.Parameter(torch.full((channels, 1, 1), start))

        def forward(self, x):
            return x * self.factor

    @MODELS.register_module()
    class PluginConv(nn.Conv2d):
        pass

    yield PluginScale, PluginConv
    for name in ('PluginScale', 'PluginConv'):
        MODELS.module_dict.pop(name)


def test_layers_of_a_plugin_are_found_by_name(plugin_layers):
    layers = LayerBuilder(dict(type='PluginScale', start=2.0), None, dict(type='PluginConv'))
    block = conv_block(3, 4, 3, 'BN', layers=layers)
    assert [type(layer) for layer in block] == [plugin_layers[1], plugin_layers[0], nn.ReLU]
    assert block[1].factor.flatten().tolist() == [2.0] * 4


@pytest.mark.parametrize('name', ['BatchNom', 'nn.Nothing'])
def test_an_unknown_layer_is_an_error_that_names_the_setting(name):
    with pytest.raises(ConfigError, match=f"norm_cfg: there is no layer '{name}'; built in are BN, "):
        LayerBuilder(norm_cfg=dict(type=name)).build_norm(4)


@pytest.mark.parametrize('config', ['GN', dict(num_groups=4)])
def test_a_config_without_a_type_is_an_error(config):
    with pytest.raises(ConfigError, match=r'norm_cfg is dict\(type=\.\.\., \.\.\.\)'):
        LayerBuilder(norm_cfg=config).build_norm(4)


def test_a_setting_that_the_layer_refuses_is_an_error_of_the_part():
    with pytest.raises(ConfigError, match=r'ResNet cannot be built with .*num_groups'):
        MODELS.build(dict(type='ResNet', depth=18, norm_cfg=dict(type='GN')))


SHAPES = dict(score=(1,), box=(4,), keypoints=(3, 2), visible=(3,))


@pytest.mark.parametrize(
    'settings', [dict(type='YOLOXPoseHead', feat_channels=8), dict(type='RTMOHead', pose_channels=16)]
)
def test_one_stage_heads_train_a_step_with_group_norm(settings):
    torch.manual_seed(0)
    layers = dict(norm_cfg=dict(type='GN', num_groups=1), act_cfg=dict(type='ReLU'))
    provided = dict(in_channels=(16, 16), strides=(16, 32), shapes=SHAPES, input_size=(64, 64))
    head = MODELS.build({**settings, **layers}, **provided).train()
    assert not any(isinstance(m, nn.BatchNorm2d | nn.SiLU) for name, m in head.named_modules() if 'dcc' not in name)
    (fields,) = head([torch.randn(2, 16, 4, 4), torch.randn(2, 16, 2, 2)])
    (fields['score'].square().mean() + fields['box'].square().mean() + fields['visible'].square().mean()).backward()
    torch.optim.SGD(head.parameters(), lr=1e-4).step()
    assert all(torch.isfinite(p).all() for p in head.parameters())


def test_building_a_model_of_torchs_layers_does_not_import_mmcv():
    code = (
        'import sys; from poseplug.registry import MODELS; '
        "layers = dict(norm_cfg=dict(type='GN', num_groups=4), act_cfg=dict(type='SiLU')); "
        "MODELS.build(dict(type='ResNet', depth=18, **layers)); "
        "print('mmcv' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, '-c', code], text=True).strip() == 'False'
