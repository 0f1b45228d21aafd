import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import MismatchError
from poseplug.models.heads.rtmcc import RTMCCHead
from poseplug.models.layers.gau import GatedAttention, ScaleNorm

BINS = {'x': (17, 384), 'y': (17, 512)}


def test_the_head_of_rtmpose_s_has_its_published_layers():
    """7x7 maps, tokens of 256 from 48 cells, attention of width 128 and twice 256 inner channels, 384 and 512 bins."""
    attention = 1 + 256 * (2 * 512 + 128) + 2 * (2 * 128) + 512 * 256 + 256
    with torch.device('meta'):
        head = RTMCCHead((512,), (32,), BINS, (192, 256))
    total = (512 * 49 * 17 + 17) + (1 + 48 * 256) + attention + 256 * (384 + 512)
    assert sum(p.numel() for p in head.parameters()) == total


def test_a_keypoint_that_changes_changes_the_others():
    """Attention mixes the tokens: the map of one keypoint changes the bins of all."""
    torch.manual_seed(0)
    head = RTMCCHead((2,), (32,), {'x': (3, 10), 'y': (3, 14)}, (64, 96), hidden_dims=8, query_dims=4).eval()
    maps = torch.rand(1, 2, 3, 2)
    with torch.no_grad():
        before = head([maps])[0]['x']
        head.maps.weight[0] += 1
        after = head([maps])[0]['x']
    assert ((before - after).abs().amax(dim=-1) > 0).all()


def test_norm_divides_by_the_root_mean_square():
    assert_close(ScaleNorm(4)(torch.tensor([2.0, -2, 2, -2])), torch.tensor([1.0, -1, 1, -1]))
    assert_close(ScaleNorm(2)(torch.tensor([3.0, 4])), torch.tensor([3.0, 4]) / 12.5**0.5)
    assert ScaleNorm(3)(torch.zeros(3)).tolist() == [0, 0, 0]
    assert ScaleNorm(2)(torch.tensor([3.0, 4]).bfloat16()).dtype == torch.bfloat16


def attention_by_hand(unit: GatedAttention, tokens: torch.Tensor) -> torch.Tensor:
    """The unit, token by token (Hua et al. 2022, eqs. 3-5) beside a scaled shortcut."""
    e, s = unit.inner_channels, unit.query_dims
    flat = F.silu(unit.ln(tokens) @ unit.uv.weight.T)
    u, v, base = flat[:, :e], flat[:, e : 2 * e], flat[:, 2 * e :]
    rows = []
    for i in range(len(tokens)):
        q = base[i] * unit.gamma[0] + unit.beta[0]
        keys = base * unit.gamma[1] + unit.beta[1]
        weights = [max(0.0, float(q @ key) / s**0.5) ** 2 for key in keys]
        mixed = sum(weight * v[j] for j, weight in enumerate(weights))
        rows.append(tokens[i] * unit.shortcut + (u[i] * mixed) @ unit.o.weight.T)
    return torch.stack(rows)


@torch.no_grad()
def test_the_attention_unit_is_its_formula():
    torch.manual_seed(0)
    unit, tokens = GatedAttention(6, query_dims=4, expansion_factor=1.5), torch.randn(2, 5, 6)
    unit.shortcut.uniform_()
    assert unit.inner_channels == 9
    assert_close(unit(tokens), torch.stack([attention_by_hand(unit, t) for t in tokens]))


@torch.no_grad()
def test_the_attention_unit_treats_all_tokens_equally():
    torch.manual_seed(0)
    unit, tokens, order = GatedAttention(6, query_dims=4), torch.randn(1, 5, 6), [3, 1, 4, 0, 2]
    assert_close(unit(tokens[:, order]), unit(tokens)[:, order])


def test_every_weight_of_the_attention_unit_learns_from_the_start():
    torch.manual_seed(0)
    unit = GatedAttention(6, query_dims=4)
    unit(torch.randn(2, 5, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in unit.parameters())


def test_an_input_that_the_stride_does_not_divide_is_an_error_with_the_remedy():
    with pytest.raises(MismatchError, match=r'RTMCCHead .* stride 32, .* set model.codec.input_size=\(192, 256\)'):
        RTMCCHead((8,), (32,), BINS, (190, 256))


def test_heatmaps_are_no_bins():
    with pytest.raises(MismatchError, match='RTMCCHead predicts one row of bins per keypoint'):
        RTMCCHead((8,), (32,), {'heatmap': (17, 64, 48)}, (192, 256))


@pytest.mark.parametrize(('size', 'millions'), [('t', 3.34), ('s', 5.47), ('m', 13.59), ('l', 27.66)])
def test_the_configs_build_networks_of_the_published_sizes(root, size, millions):
    config = load_config(root / f'configs/rtmpose/rtmpose_{size}_coco_256x192.py')
    with torch.device('meta'):
        net = build_model(config)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
