"""Laws of all convolutional backbones with feature maps of strides 4 to 32."""

import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.cspnext import CSPNeXt
from poseplug.models.backbones.hrnet import HRNet
from poseplug.models.backbones.mobilenet_v2 import MobileNetV2
from poseplug.models.backbones.resnet import ResNet

ALL = (4, 8, 16, 32)
SMALL = {
    CSPNeXt: dict(widen_factor=0.125, deepen_factor=0.33),
    HRNet: dict(width=4, num_modules=(1, 1, 1), num_blocks=1),
    MobileNetV2: dict(widen_factor=0.25),
    ResNet: dict(depth=18, base_channels=4),
}
every = pytest.mark.parametrize('kind', SMALL, ids=lambda kind: kind.__name__)


def build_small(kind: type, out_strides=ALL) -> nn.Module:
    torch.manual_seed(0)
    return kind(**SMALL[kind], out_strides=out_strides).eval()


def random_images(width: int, height: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@every
@pytest.mark.parametrize('strides', [(4,), [8, 16], (32,)], ids=str)
def test_some_maps_equal_those_of_all_and_no_unused_layer_is_built(kind, strides):
    whole, part = build_small(kind), build_small(kind, strides)
    state = whole.state_dict()
    part.load_state_dict({name: state[name] for name in part.state_dict()})
    expected = [m for m, stride in zip(whole(random_images(64, 64)), ALL, strict=True) if stride in strides]
    outputs = part(random_images(64, 64))
    for one, other in zip(outputs, expected, strict=True):
        assert torch.equal(one, other)
    torch.stack([m.square().sum() for m in outputs]).sum().backward()
    assert all(p.grad is not None for p in part.parameters())


@every
@pytest.mark.parametrize(('width', 'height'), [(96, 128), (100, 75), (33, 31)])
def test_sizes_are_divided_and_rounded_up(kind, width, height):
    sizes = [tuple(m.shape[-2:]) for m in build_small(kind)(random_images(width, height))]
    assert sizes == [(-(-height // s), -(-width // s)) for s in ALL]


@every
@torch.inference_mode()
def test_channels_last_has_the_same_output(kind):
    backbone = build_small(kind)
    plain = backbone(random_images(64, 48))
    backbone.to(memory_format=torch.channels_last)
    channels_last = backbone(random_images(64, 48).contiguous(memory_format=torch.channels_last))
    for one, other in zip(plain, channels_last, strict=True):
        assert other.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@every
@torch.inference_mode()
def test_it_runs_in_bfloat16(kind):
    for exact, rough in zip(
        build_small(kind)(random_images(64, 48)),
        build_small(kind).bfloat16()(random_images(64, 48).bfloat16()),
        strict=True,
    ):
        assert rough.dtype == torch.bfloat16
        assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.slow
@every
@torch.inference_mode()
def test_it_compiles_in_one_piece(kind):
    backbone = build_small(kind)
    compiled = torch.compile(backbone, fullgraph=True, backend='eager')
    for one, other in zip(compiled(random_images(64, 48)), backbone(random_images(64, 48)), strict=True):
        assert torch.equal(one, other)


@every
@pytest.mark.parametrize('strides', [(), (64,), (8, 4), (4, 4)], ids=str)
def test_unavailable_strides_or_a_wrong_order_are_an_error(kind, strides):
    with pytest.raises(ConfigError, match=rf'{kind.__name__} has feature maps of strides .*4, 8, 16, 32.*finest first'):
        build_small(kind, strides)


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
