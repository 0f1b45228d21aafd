import sys

import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.timm import TimmBackbone
from poseplug.registry import MODELS


def test_without_timm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)  # importing it fails from here on
    with pytest.raises(ConfigError, match=r"'resnet18' needs the package timm.*pip install 'poseplug\[timm\]'.*ResNet"):
        MODELS.build(dict(type='TimmBackbone', name='resnet18'))


def test_channels_and_strides_are_those_that_timm_declares(timm):
    backbone = TimmBackbone('small')
    assert (backbone.out_channels, backbone.strides) == ((4, 6, 8, 10), (2, 4, 4, 8))


def test_of_two_maps_of_a_stride_the_later_is_repermuted_and_nothing_behind_it_is_built(timm):
    backbone = TimmBackbone('small', out_strides=[2, 4])
    assert (backbone.out_channels, backbone.strides) == ((4, 8), (2, 4))
    assert [layer.out_channels for layer in backbone.network] == [4, 6, 8]


def test_maps_with_channels_last_are_permuted(timm):
    torch.manual_seed(0)
    permuted = TimmBackbone('small_nhwc')
    plain = TimmBackbone('small_plain')
    plain.load_state_dict(permuted.state_dict())
    images = torch.rand(1, 3, 16, 24)
    for one, other in zip(permuted(images), plain(images), strict=True):
        assert torch.equal(one, other)


def test_options_are_passed_to_timm_unchanged_and_weights_are_loaded_once(timm, monkeypatch):
    pretrained, create = [], timm.create_model
    monkeypatch.setattr(timm, 'create_model', lambda *a, **k: pretrained.append(k.get('pretrained')) or create(*a, **k))
    backbone = TimmBackbone('small', out_strides=(4,), options=dict(width=2, pretrained=True))
    assert backbone.out_channels == (16,)
    assert backbone.network.pretrained
    assert pretrained == [False, True]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(name='smal'), "cannot create 'smal' with its defaults; RuntimeError: Unknown model.*; closest: 'small'"),
        (dict(name='small', out_strides=(4, 32)), r"'small' has feature maps of strides 2, 4, 8; .*got \(4, 32\)"),
        (dict(name='small', options=dict(depth=3)), "cannot create 'small' with depth=3; TypeError: .*'depth'$"),
    ],
)
def test_what_timm_cannot_create_is_an_error_that_says_so(timm, settings, message):
    with pytest.raises(ConfigError, match=message):
        TimmBackbone(**settings)
