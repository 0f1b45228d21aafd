import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.models.layers.deform_conv import deform_conv2d


def read_map(maps: torch.Tensor, y: float, x: float) -> float:
    """A map (H, W) at a position between cells; what lies outside is 0."""
    top, left, total = math.floor(y), math.floor(x), 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < maps.shape[0] and 0 <= column < maps.shape[1]:
                total += float(maps[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def convolve_cell_by_cell(x, offsets, weight, groups):
    """The definition, by loops over everything."""
    output = torch.zeros(x.shape[0], weight.shape[0], *x.shape[2:])
    out_per_group, in_per_group = weight.shape[0] // groups, weight.shape[1]
    for b, o, row, column in (
        (b, *i)
        for b in range(len(x))
        for i in torch.cartesian_prod(
            torch.arange(len(weight)), torch.arange(x.shape[2]), torch.arange(x.shape[3])
        ).tolist()
    ):
        group = o // out_per_group
        for c in range(in_per_group):
            for k in range(9):
                dy, dx = offsets[b, 18 * group + 2 * k : 18 * group + 2 * k + 2, row, column].tolist()
                position = (row + k // 3 - 1 + dy, column + k % 3 - 1 + dx)
                value = read_map(x[b, group * in_per_group + c], *position)
                output[b, o, row, column] += weight[o, c, k // 3, k % 3] * value
    return output


@pytest.mark.parametrize('groups', [1, 2])
def test_it_is_the_definition_cell_by_cell(groups):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 4, 5, generator=generator)
    offsets = 2 * torch.randn(2, 18 * groups, 4, 5, generator=generator)
    weight = torch.randn(6, 4 // groups, 3, 3, generator=generator)
    expected = convolve_cell_by_cell(x, offsets, weight, groups)
    assert_close(deform_conv2d(x, offsets, weight, groups), expected, rtol=1e-4, atol=1e-4)


def test_without_offsets_it_is_a_convolution():
    x, weight = torch.randn(2, 6, 7, 5), torch.randn(9, 2, 3, 3)
    assert_close(deform_conv2d(x, torch.zeros(2, 54, 7, 5), weight, 3), F.conv2d(x, weight, padding=1, groups=3))


@pytest.mark.parametrize('size', [(1, 1), (1, 4), (4, 1)], ids=str)
def test_outside_of_a_single_row_or_column_all_is_0(size):
    x, weight = torch.randn(2, 3, *size), torch.randn(4, 3, 3, 3)
    assert_close(deform_conv2d(x, torch.zeros(2, 18, *size), weight), F.conv2d(x, weight, padding=1))


def test_gradients_reach_all_of_its_inputs():
    tensors = [torch.randn(s, requires_grad=True) for s in ((1, 2, 3, 4), (1, 18, 3, 4), (2, 2, 3, 3))]
    deform_conv2d(*tensors).sum().backward()
    assert all(t.grad is not None and t.grad.any() for t in tensors)
