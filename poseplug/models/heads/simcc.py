"""Coordinates by classification, from flattened maps (SimCC: Li et al. 2022, arXiv:2107.03332)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.errors import MismatchError
from poseplug.geometry import Size
from poseplug.models.heads.base import Head
from poseplug.models.heads.deconv import deconv_block
from poseplug.models.layers import init_convolutions
from poseplug.registry import MODELS

Shapes = Mapping[str, tuple[int, ...]]


@MODELS.register_module()
class SimCCHead(Head):
    """The last feature map, doubled by deconvolutions, one map a joint, and one layer a field on all of its cells.

    `deconvs` are the channels of the deconvolutions, one number for as many as bring the map to `map_stride` or finer
    (none where it is so already), or one each, whatever that leads to.
    """

    predicts: ClassVar[tuple[str, ...]] = ('bins',)

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: Shapes,
        input_size: Size,
        deconvs: int | Sequence[int] = 256,
        map_stride: int = 4,
    ):
        super().__init__()
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        count = max(0, math.ceil(math.log2(strides[-1] / map_stride)))
        widths = (deconvs,) * count if isinstance(deconvs, int) else tuple(deconvs)
        channels = (in_channels[-1], *widths)
        self.size = cells_of('SimCCHead', input_size, strides[-1])
        self.deconvs = nn.Sequential(*(m for pair in zip(channels, widths, strict=False) for m in deconv_block(*pair)))
        self.maps = nn.Conv2d(channels[-1], joints_of('SimCCHead', shapes), 1)
        init_convolutions(self.maps, 0.001)
        self.bins = BinLayers(math.prod(self.size) * 4 ** len(widths), shapes)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        maps = self.maps(self.deconvs(sized('SimCCHead', features[-1], self.size, self.input_size)))
        return [self.bins(maps.flatten(2))]


class BinLayers(nn.ModuleDict):
    """One layer a field, the same for every joint: tokens (B, K, C) to fields (B, K, bins)."""

    def __init__(self, channels: int, shapes: Shapes, bias: bool = True):
        super().__init__({name: nn.Linear(channels, shape[1], bias=bias) for name, shape in shapes.items()})
        for layer in self.children():
            nn.init.normal_(layer.weight, 0.0, 0.01)  # type: ignore[arg-type]
            if bias:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        return {name: layer(tokens) for name, layer in self.items()}


def joints_of(part: str, shapes: Shapes) -> int:
    """The number of joints of bins (K, n), which all fields share."""
    if len({shape[0] for shape in shapes.values()}) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise MismatchError(
            f'{part} gives every joint one line of bins in each field, (joints, bins) of one number of joints; the '
            f'codec reads {dict(shapes)}; take SimCC as model.codec.type'
        )
    return next(iter(shapes.values()))[0]


def cells_of(part: str, input_size: Size, stride: int) -> Size:
    """(width, height) of a feature map of this stride, which the input must fill."""
    if any(n % stride for n in input_size):
        near = tuple(max(1, round(n / stride)) * stride for n in input_size)
        raise MismatchError(
            f'{part} reads every cell of the last feature map, of stride {stride:g}, which does not divide the input '
            f'of {tuple(input_size)} px; set model.codec.input_size={near}'
        )
    return input_size[0] // stride, input_size[1] // stride


def sized(part: str, maps: Tensor, size: Size, input_size: Size) -> Tensor:
    """Maps (B, C, H, W), which must have the size (width, height) that the head was built for."""
    found = (maps.shape[-1], maps.shape[-2])
    if found != size:
        raise MismatchError(
            f'{part} was built for an input of {input_size} px and maps of {size} cells, all (width, height); these '
            f'have {found}. Set model.codec.input_size to that of the pictures'
        )
    return maps
