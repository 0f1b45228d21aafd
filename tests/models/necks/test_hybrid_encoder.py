"""RT-DETR's hybrid encoder."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.errors import MismatchError
from poseplug.models.necks.hybrid_encoder import EncoderLayer, HybridEncoder, positions
from poseplug.models.positions import periods


def test_every_cell_has_a_code_of_its_own_and_half_of_it_is_its_rows():
    code = positions((3, 4), periods(8, 1e4))[0].unflatten(0, (3, 4))
    assert code.shape == (3, 4, 16)
    assert_close(code[1, :, :8], code[1, :1, :8].expand(4, -1))
    assert_close(code[:, 2, 8:], code[:1, 2, 8:].expand(3, -1))
    assert len({tuple(c) for c in code.flatten(0, 1).tolist()}) == 12


def test_the_first_period_is_that_of_the_cosine():
    code = positions((1, 2), periods(4, 1e4))
    assert_close(code[0, 1, 4], torch.tensor(1.0).cos())
    assert_close(code[0, 1, 6], torch.tensor(1.0).sin())


def test_the_transformer_layer_is_the_one_of_torch_with_positions_for_queries_and_keys_alone():
    torch.manual_seed(0)
    layer = EncoderLayer(16, 2, 32).eval()
    layer.periods.fill_(float('inf'))  # the same code everywhere: cosines 1, sines 0
    code = positions((2, 3), layer.periods)
    theirs = torch.nn.TransformerEncoderLayer(16, 2, 32, 0, torch.nn.functional.gelu, batch_first=True).eval()
    names = {'attention': 'self_attn', 'layer1': 'linear1', 'layer2': 'linear2', 'norm1': 'norm1', 'norm2': 'norm2'}
    for ours, other in names.items():
        getattr(theirs, other).load_state_dict(getattr(layer, ours).state_dict())
    with torch.no_grad():  # a constant code is a constant bias of queries and keys
        shift = theirs.self_attn.in_proj_weight[:32] @ code[0, 0]
        theirs.self_attn.in_proj_bias[:32] += shift
    maps = torch.randn(2, 16, 2, 3)
    expected = theirs(maps.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (2, 3))
    assert_close(layer(maps), expected, atol=1e-5, rtol=1e-4)


def test_all_maps_but_the_finest_come_out_and_every_level_reaches_them():
    torch.manual_seed(0)
    neck = HybridEncoder((6, 8, 10), (8, 16, 32), out=12, channels=16, feedforward=16).eval()
    given = [torch.randn(1, c, 64 // s, 96 // s, requires_grad=True) for c, s in ((6, 8), (8, 16), (10, 32))]
    maps = neck(given)
    assert [tuple(m.shape) for m in maps] == [(1, 12, 4, 6), (1, 12, 2, 3)]
    assert neck.strides == (16, 32)
    maps[1].square().sum().backward()
    assert all(f.grad.abs().sum() > 0 for f in given)


@pytest.mark.parametrize('strides', [(8,), (4, 16, 32)])
def test_levels_that_do_not_double_are_refused(strides):
    with pytest.raises(MismatchError, match='HybridEncoder fuses maps of which each is half as fine'):
        HybridEncoder((8,) * len(strides), strides)
