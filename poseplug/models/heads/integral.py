"""Joints as expectations of maps, so that they can be trained as points (Sun et al. 2018, arXiv:1711.08229)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.errors import MismatchError
from poseplug.geometry import Size
from poseplug.models.heads.base import Head
from poseplug.models.heads.deconv import deconv_block, doublings
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class IntegralHead(Head):
    """One map a joint of the last feature map, its softmax over all cells, and the place that this expects.

    A field (K, 2) gets the expected places, as shares of the input on a grid from the first pixel to the last, and a
    field (K, H, W) the distributions, of sum 1. The map is doubled by deconvolutions of `deconvs` channels up to the
    codec's stride, and stays as it is for a codec without cells. `sharpness` multiplies the maps before the softmax.
    """

    predicts: ClassVar[tuple[str, ...]] = ('integral', 'points')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Mapping[str, tuple[int, ...]],
        input_size: Size,
        stride: int | None = None,
        deconvs: int = 256,
        sharpness: float = 1.0,
    ):
        super().__init__()
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        self.stride, self.sharpness = strides[-1] if stride is None else stride, sharpness
        joints, names = {shape[0] for shape in shapes.values()}, sorted((len(s), s[1]) for s in shapes.values())
        if len(joints) != 1 or names[0] != (2, 2) or [n for n, _ in names[1:]] not in ([], [3]):
            raise MismatchError(
                f'IntegralHead gives every joint x and y, and the map that expects them; the codec reads '
                f'{dict(shapes)}; set model.codec.type to Integral or Regression'
            )
        widths = [deconvs] * doublings(strides, self.stride)
        channels = [in_channels[-1], *widths]
        self.deconvs = nn.Sequential(*(m for pair in zip(channels, widths, strict=False) for m in deconv_block(*pair)))
        self.maps = nn.Conv2d(channels[-1], joints.pop(), 1, bias=False)  # a softmax would not see a bias
        init_convolutions(self.maps, 0.001)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        maps = self.maps(self.deconvs(features[-1])).float()
        chances = (self.sharpness * maps).flatten(2).softmax(dim=-1).view_as(maps)
        points = expected(chances, self.input_size)
        return [{name: points if len(shape) == 2 else chances for name, shape in self.shapes.items()}]


def expected(chances: Tensor, input_size: Sequence[int]) -> Tensor:
    """The expectation of distributions (B, K, H, W) of sum 1: (B, K, 2), as shares of the input.

    The first cell stands at the first pixel and the last at the last; a single one stands in the middle.
    """
    sides = chances.sum(dim=-2), chances.sum(dim=-1)
    return torch.stack(
        [(side * places(side, n)).sum(dim=-1) for side, n in zip(sides, input_size, strict=True)], dim=-1
    )


def places(side: Tensor, pixels: int) -> Tensor:
    """Where the cells of (B, K, n) stand, as shares of so many pixels: (n,)."""
    count, last = side.shape[-1], (pixels - 1) / pixels
    if count == 1:
        return side.new_full((1,), last / 2)
    return torch.arange(count, dtype=side.dtype, device=side.device) * (last / (count - 1))
