"""The feature pyramid."""

import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.necks.fpn import FPN

STRIDES = (4, 8, 16)


def create_features() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, c, 64 // s, 96 // s, requires_grad=True) for c, s in zip((6, 8, 10), STRIDES, strict=True)]


def test_every_map_has_the_size_of_its_level():
    maps = FPN((6, 8, 10), STRIDES, out_channels=12)(create_features())
    assert [tuple(m.shape) for m in maps] == [(1, 12, 16, 24), (1, 12, 8, 12), (1, 12, 4, 6)]


def test_a_level_depends_on_itself_and_on_the_coarser_ones_alone():
    neck = FPN((6, 8, 10), STRIDES, out_channels=12).eval()
    for index in range(3):
        features = create_features()
        neck(features)[index].square().sum().backward()
        assert [f.grad is not None and bool(f.grad.abs().sum() > 0) for f in features] == [i >= index for i in range(3)]


def test_with_projections_of_1_a_level_is_the_sum_of_itself_and_the_enlarged_coarser_ones():
    neck = FPN((1, 1), (8, 16), out_channels=1).eval()
    for parameters in (*neck.laterals.parameters(), *neck.outputs.parameters()):
        torch.nn.init.zeros_(parameters)
    for lateral, output in zip(neck.laterals, neck.outputs, strict=True):
        torch.nn.init.ones_(lateral[0].weight)
        output[0].weight.data[0, 0, 1, 1] = 1.0
        for norm in (lateral[1], output[1]):
            torch.nn.init.ones_(norm.weight)
            norm.eps = 0.0
    fine, coarse = torch.rand(1, 1, 4, 6), torch.rand(1, 1, 2, 3)
    merged, last = neck([fine, coarse])
    assert_close(merged, fine + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert_close(last, coarse)


def test_only_the_chosen_levels_are_returned_and_finer_ones_are_not_built():
    neck = FPN((6, 8, 10), STRIDES, out_channels=12, out_strides=(8,)).eval()
    maps = neck(create_features())
    assert [tuple(m.shape) for m in maps] == [(1, 12, 8, 12)]
    assert (neck.strides, neck.out_channels, len(neck.laterals)) == ((8,), (12,), 2)


def test_a_single_map_and_an_absent_stride_are_refused():
    with pytest.raises(MismatchError, match='FPN adds coarser feature maps to finer ones'):
        FPN((8,), (8,))
    with pytest.raises(ConfigError, match='FPN has feature maps of strides 8, 16; out_strides lists some of them'):
        FPN((8, 8), (8, 16), out_strides=(4,))
