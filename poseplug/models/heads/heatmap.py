"""The plainest dense head (as in Xiao et al. 2018, arXiv:1804.06208, after its deconvolutions)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.layers import conv_stack, init_convolutions
from poseplug.registry import MODELS


class FieldConvs(nn.ModuleDict):
    """One convolution a field that keeps the size (odd `kernel`); weights start near 0, so that fields do, too."""

    def __init__(self, channels: int, fields: Mapping[str, int], kernel: int = 1, init_std: float = 0.001):
        super().__init__({name: nn.Conv2d(channels, n, kernel, padding=kernel // 2) for name, n in fields.items()})
        init_convolutions(self, init_std)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """Maps (B, C, H, W) to fields, each (B, its channels, H, W)."""
        return {name: conv(maps) for name, conv in self.items()}


@MODELS.register_module()
class HeatmapHead(Head):
    """Every field by a 1x1 convolution of the last feature map that has the codec's stride.

    `hidden` blocks of (kernel, channels) may stand before it.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        hidden: Sequence[Sequence[float]] = (),
        norm: str | None = 'BN',
    ):
        super().__init__()
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.place = maps_of_stride('HeatmapHead', in_channels, strides, stride)[-1]
        self.hidden, channels = conv_stack(in_channels[self.place], hidden, norm)
        init_convolutions(self.hidden)
        self.predict = FieldConvs(channels, fields)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return [self.predict(self.hidden(features[self.place]))]
