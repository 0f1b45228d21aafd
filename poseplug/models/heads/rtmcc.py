"""Coordinates by classification, of joints that attend to each other (RTMPose: Jiang et al. 2023, arXiv:2303.07399)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.geometry import Size
from poseplug.models.gau import GatedAttention, ScaleNorm
from poseplug.models.heads.base import Head
from poseplug.models.heads.simcc import BinLayers, Shapes, cells_of, joints_of, sized
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class RTMCCHead(Head):
    """One map a joint of the last feature map, a token of `hidden` numbers from each, attention, and one layer a field.

    `kernel` is the size of the convolution that makes the maps. `width` and `expansion` are those of `GatedAttention`.
    """

    predicts: ClassVar[tuple[str, ...]] = ('bins',)

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Shapes,
        input_size: Size,
        hidden: int = 256,
        kernel: int = 7,
        width: int = 128,
        expansion: float = 2.0,
    ):
        super().__init__()
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        self.size = cells_of('RTMCCHead', input_size, strides[-1])
        cells = math.prod(self.size)
        self.maps = nn.Conv2d(in_channels[-1], joints_of('RTMCCHead', shapes), kernel, padding=kernel // 2)
        init_convolutions(self.maps, 0.001)
        self.tokens = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, hidden, bias=False))
        self.attention = GatedAttention(hidden, width, expansion)
        self.bins = BinLayers(hidden, shapes, bias=False)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        maps = self.maps(sized('RTMCCHead', features[-1], self.size, self.input_size))
        return [self.bins(self.attention(self.tokens(maps.flatten(2))))]
