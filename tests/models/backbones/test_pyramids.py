"""Laws of all convolutional backbones that give maps of strides 4 to 32."""

import pytest
import torch
from torch import nn

from poseplug.errors import ConfigError
from poseplug.models.backbones.cspnext import CSPNeXt
from poseplug.models.backbones.hrnet import HRNet
from poseplug.models.backbones.mobilenet_v2 import MobileNetV2
from poseplug.models.backbones.resnet import ResNet

ALL = (4, 8, 16, 32)
SMALL = {
    CSPNeXt: dict(widen=0.125, deepen=0.33),
    HRNet: dict(width=4, modules=(1, 1, 1), blocks=1),
    MobileNetV2: dict(width=0.25),
    ResNet: dict(depth=18, width=4),
}
every = pytest.mark.parametrize('kind', SMALL, ids=lambda kind: kind.__name__)


def small(kind: type, out_strides=ALL) -> nn.Module:
    torch.manual_seed(0)
    return kind(**SMALL[kind], out_strides=out_strides).eval()


def pictures(width: int, height: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@every
@pytest.mark.parametrize('strides', [(4,), [8, 16], (32,)], ids=str)
def test_some_maps_are_those_of_all_and_nothing_idle_is_built(kind, strides):
    whole, part = small(kind), small(kind, strides)
    state = whole.state_dict()
    part.load_state_dict({name: state[name] for name in part.state_dict()})
    chosen = [m for m, stride in zip(whole(pictures(64, 64)), ALL, strict=True) if stride in strides]
    found = part(pictures(64, 64))
    for one, other in zip(found, chosen, strict=True):
        assert torch.equal(one, other)
    torch.stack([m.square().sum() for m in found]).sum().backward()
    assert all(p.grad is not None for p in part.parameters())


@every
@pytest.mark.parametrize(('width', 'height'), [(96, 128), (100, 75), (33, 31)])
def test_sizes_are_divided_and_rounded_up(kind, width, height):
    sizes = [tuple(m.shape[-2:]) for m in small(kind)(pictures(width, height))]
    assert sizes == [(-(-height // s), -(-width // s)) for s in ALL]


@every
@torch.inference_mode()
def test_channels_last_means_the_same(kind):
    backbone = small(kind)
    plain = backbone(pictures(64, 48))
    backbone.to(memory_format=torch.channels_last)
    turned = backbone(pictures(64, 48).contiguous(memory_format=torch.channels_last))
    for one, other in zip(plain, turned, strict=True):
        assert other.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@every
@torch.inference_mode()
def test_it_runs_in_bfloat16(kind):
    for exact, rough in zip(
        small(kind)(pictures(64, 48)), small(kind).bfloat16()(pictures(64, 48).bfloat16()), strict=True
    ):
        assert rough.dtype == torch.bfloat16
        assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.slow
@every
@torch.inference_mode()
def test_it_compiles_in_one_piece(kind):
    backbone = small(kind)
    compiled = torch.compile(backbone, fullgraph=True, backend='eager')
    for one, other in zip(compiled(pictures(64, 48)), backbone(pictures(64, 48)), strict=True):
        assert torch.equal(one, other)


@every
@pytest.mark.parametrize('strides', [(), (64,), (8, 4), (4, 4)], ids=str)
def test_strides_that_it_has_not_or_not_in_order_are_an_error(kind, strides):
    with pytest.raises(ConfigError, match=rf'{kind.__name__} has maps of strides .*4, 8, 16, 32.*finest first'):
        small(kind, strides)


@pytest.mark.parametrize(('kind', 'fan'), [(ResNet, 0), (HRNet, 0), (MobileNetV2, 1), (CSPNeXt, 1)])
def test_weights_start_with_the_deviation_of_he_and_norms_at_one_and_zero(kind, fan):
    torch.manual_seed(0)
    for layer in kind(out_strides=(4,)).modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 5000:
            deviation = (2 / (layer.weight.shape[fan] * layer.weight[0, 0].numel())) ** 0.5
            assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.eq(1).all()
            assert not layer.bias.any()
