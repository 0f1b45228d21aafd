"""The plainest dense head (as in Xiao et al. 2018, arXiv:1804.06208, after its deconvolutions)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.models.heads.base import Head, maps_of_stride
from poseplug.models.layers import conv_stack, init_convolutions
from poseplug.registry import MODELS


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
        self.predict = nn.ModuleDict({name: nn.Conv2d(channels, n, 1) for name, n in fields.items()})
        init_convolutions(self.predict, 0.001)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        seen = self.hidden(features[self.place])
        return [{name: predict(seen) for name, predict in self.predict.items()}]
