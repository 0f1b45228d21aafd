"""CSPDarknet."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.csp_darknet import CSPDarknet, Focus


def test_the_stem_reads_each_square_down_before_right():
    stem = Focus(12).eval()
    with torch.no_grad():
        stem.conv.conv.weight.zero_()[:, :, 1, 1] = torch.eye(12)
        stem.conv.act = torch.nn.Identity()
        stem.conv.bn.eps = 0.0
        squares = stem(torch.arange(16.0).view(1, 1, 4, 4).expand(1, 3, 4, 4))
    assert_close(squares[0, ::3, 0, 0], torch.tensor([0.0, 4, 1, 5]))
    assert_close(squares[0, ::3, 1, 1], torch.tensor([10.0, 14, 11, 15]))


@pytest.mark.parametrize(
    ('widen_factor', 'deepen_factor', 'channels'), [(0.375, 0.33, (96, 192, 384)), (0.5, 0.33, (128, 256, 512))]
)
def test_the_sizes_have_the_published_widths(widen_factor, deepen_factor, channels):
    backbone = CSPDarknet(widen_factor, deepen_factor)
    assert backbone.out_channels == channels
    assert backbone.strides == (8, 16, 32)


def test_norms_have_the_constants_of_the_release():
    norms = [m for m in CSPDarknet(0.125, 0.33).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.03)}


def test_stages_that_are_not_requested_are_not_built():
    backbone = CSPDarknet(0.125, 0.33, out_strides=(4, 8))
    assert not hasattr(backbone, 'stage3')
    with pytest.raises(ConfigError, match='CSPDarknet'):
        CSPDarknet(out_strides=(2,))
