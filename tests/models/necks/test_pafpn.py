import pytest
import torch
from torch import nn

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.necks.pafpn import YOLOXPAFPN, CSPNeXtPAFPN


class AddHalves(nn.Module):
    """Stands for a fusion: the sum of both inputs, whose channels are as many."""

    def forward(self, x):
        first, second = x.chunk(2, dim=1)
        return first + second


def test_levels_are_fused_down_and_up_again():
    """With layers that copy and fusions that add, the outputs are sums that can be counted by hand."""
    neck = YOLOXPAFPN((4, 4, 4), (8, 16, 32), out_channels=None)
    neck.laterals = nn.ModuleList([nn.Identity(), nn.Identity()])
    neck.halvings = nn.ModuleList([nn.MaxPool2d(2), nn.MaxPool2d(2)])
    neck.down_fusions = nn.ModuleList([AddHalves(), AddHalves()])
    neck.up_fusions = nn.ModuleList([AddHalves(), AddHalves()])
    fine, middle, coarse = 1.0, 10.0, 100.0
    features = [torch.full((1, 4, 16 // 2**i, 8 // 2**i), v) for i, v in enumerate((fine, middle, coarse))]
    outputs = neck(features)
    down = [fine + middle + coarse, middle + coarse, coarse]
    expected = [down[0], down[0] + down[1], down[0] + down[1] + down[2]]
    assert [o.unique().tolist() for o in outputs] == [[v] for v in expected]
    assert [o.shape for o in outputs] == [f.shape for f in features]


def test_only_the_coarsest_levels_are_returned():
    neck = CSPNeXtPAFPN((4, 8, 16), (8, 16, 32), num_outputs=2)
    assert (neck.out_channels, neck.strides) == ((8, 16), (16, 32))
    features = [torch.randn(1, c, 16 // 2**i, 8 // 2**i) for i, c in enumerate((4, 8, 16))]
    assert [o.shape[1:] for o in neck(features)] == [(8, 8, 4), (16, 4, 2)]


@pytest.mark.parametrize('settings', [dict(num_csp_blocks=0), dict(num_outputs=3), dict(num_outputs=0)])
def test_numbers_out_of_range_are_errors(settings):
    with pytest.raises(ConfigError, match='at least one block, and 1 to 2 outputs'):
        YOLOXPAFPN((4, 8), (8, 16), **settings)


@pytest.mark.parametrize('strides', [(8, 8), (8, 32), (8,)])
def test_strides_must_double(strides):
    with pytest.raises(MismatchError, match='each half as fine'):
        CSPNeXtPAFPN((4,) * len(strides), strides)
