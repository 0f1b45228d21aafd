"""RT-DETR's hybrid encoder."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.layers.position_encoding import sine_periods
from poseplug.models.necks.hybrid_encoder import HybridEncoder, TransformerEncoderLayer, grid_encoding


def test_every_cell_has_another_encoding_and_half_of_it_is_that_of_its_row():
    encoding = grid_encoding((3, 4), sine_periods(8, 1e4))[0].unflatten(0, (3, 4))
    assert encoding.shape == (3, 4, 16)
    assert_close(encoding[1, :, :8], encoding[1, :1, :8].expand(4, -1))
    assert_close(encoding[:, 2, 8:], encoding[:1, 2, 8:].expand(3, -1))
    assert len({tuple(c) for c in encoding.flatten(0, 1).tolist()}) == 12


def test_the_first_period_is_that_of_the_cosine():
    encoding = grid_encoding((1, 2), sine_periods(4, 1e4))
    assert_close(encoding[0, 1, 4], torch.tensor(1.0).cos())
    assert_close(encoding[0, 1, 6], torch.tensor(1.0).sin())


def test_the_transformer_layer_is_the_one_of_torch_with_positions_for_queries_and_keys_alone():
    torch.manual_seed(0)
    layer = TransformerEncoderLayer(16, 2, 32).eval()
    layer.periods.fill_(float('inf'))  # the same encoding everywhere: cosines 1, sines 0
    encoding = grid_encoding((2, 3), layer.periods)
    reference = torch.nn.TransformerEncoderLayer(16, 2, 32, 0, torch.nn.functional.gelu, batch_first=True).eval()
    names = {'attention': 'self_attn', 'layer1': 'linear1', 'layer2': 'linear2', 'norm1': 'norm1', 'norm2': 'norm2'}
    for name, torch_name in names.items():
        getattr(reference, torch_name).load_state_dict(getattr(layer, name).state_dict())
    with torch.no_grad():  # a constant encoding is a constant bias of queries and keys
        shift = reference.self_attn.in_proj_weight[:32] @ encoding[0, 0]
        reference.self_attn.in_proj_bias[:32] += shift
    maps = torch.randn(2, 16, 2, 3)
    expected = reference(maps.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (2, 3))
    assert_close(layer(maps), expected, atol=1e-5, rtol=1e-4)


def test_all_maps_but_the_finest_are_returned_and_every_level_changes_them():
    torch.manual_seed(0)
    neck = HybridEncoder((6, 8, 10), (8, 16, 32), out_channels=12, hidden_dim=16, feedforward_channels=16).eval()
    features = [torch.randn(1, c, 64 // s, 96 // s, requires_grad=True) for c, s in ((6, 8), (8, 16), (10, 32))]
    maps = neck(features)
    assert [tuple(m.shape) for m in maps] == [(1, 12, 4, 6), (1, 12, 2, 3)]
    assert neck.strides == (16, 32)
    maps[1].square().sum().backward()
    assert all(f.grad.abs().sum() > 0 for f in features)


@pytest.mark.parametrize('strides', [(8,), (4, 16, 32)])
def test_strides_that_do_not_double_are_refused(strides):
    with pytest.raises(MismatchError, match='HybridEncoder fuses two or more feature maps, each half as fine'):
        HybridEncoder((8,) * len(strides), strides)
