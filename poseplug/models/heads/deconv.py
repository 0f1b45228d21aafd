"""Deconvolutions up to the codec's stride (SimpleBaseline: Xiao et al. 2018, arXiv:1804.06208; ViTPose's classic)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.errors import MismatchError
from poseplug.models.heads.base import Head
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.models.heads.simple import enlargement
from poseplug.registry import MODELS


@MODELS.register_module()
class DeconvHead(Head):
    """The last feature map, doubled by deconvolutions (4x4, batch norm, ReLU), and a 1x1 convolution a field.

    There are as many deconvolutions as lead from the map's stride to the codec's: three from 32 to 4, none where both
    are equal. `deconvs` are their channels, one number for all or one each.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        deconvs: int | Sequence[int] = 256,
    ):
        super().__init__()
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        count = doublings(strides, stride)
        widths = (deconvs,) * count if isinstance(deconvs, int) else tuple(deconvs)
        if len(widths) != count:
            raise MismatchError(
                f'DeconvHead needs {count} deconvolutions from the stride of the last feature map, {strides[-1]:g}, to '
                f'that of the codec, {stride:g}, but model.head.deconvs gives {len(widths)}: {widths}'
            )
        channels = (in_channels[-1], *widths)
        self.deconvs = nn.Sequential(*(m for pair in zip(channels, widths, strict=False) for m in deconv_block(*pair)))
        self.predict = FieldConvs(channels[-1], fields)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return [self.predict(self.deconvs(features[-1]))]


def doublings(strides: Sequence[int], stride: float) -> int:
    """How often the last feature map is doubled on its way to the codec's stride."""
    ratio = enlargement('DeconvHead', strides, stride)
    count = round(math.log2(ratio))
    if 2**count != ratio:
        raise MismatchError(
            f'DeconvHead doubles the last feature map, of stride {strides[-1]:g}, and so never meets the stride of the '
            f'codec, {stride:g}; set model.codec.stride to {strides[-1]:g} divided by a power of 2, or take SimpleHead'
        )
    return count


def deconv_block(channels: int, out: int) -> list[nn.Module]:
    """Twice the size: a 4x4 deconvolution without bias, batch norm, ReLU."""
    deconv = nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False)
    nn.init.normal_(deconv.weight, 0.0, 0.001)
    return [deconv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
