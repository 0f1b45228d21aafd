"""ViTPose's simple decoder: hardly anything but a resizing (Xu et al. 2022, arXiv:2204.12484, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from poseplug.errors import MismatchError
from poseplug.models.heads.base import Head
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.registry import MODELS


@MODELS.register_module()
class SimpleHead(Head):
    """ReLU, bilinear enlargement to the codec's stride (corners not aligned), one convolution a field.

    It reads the last feature map, of the codec's stride or a coarser one.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        kernel: int = 3,
    ):
        super().__init__()
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.enlarge = enlargement('SimpleHead', strides, stride)
        self.predict = FieldConvs(in_channels[-1], fields, kernel)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        maps = features[-1]
        size = [round(n * self.enlarge) for n in maps.shape[-2:]]
        return [self.predict(resized(maps.relu(), size))]


def enlargement(part: str, strides: Sequence[int], stride: float) -> float:
    """How many times larger the fields are than the last feature map, at least 1; less is an error that says so."""
    if strides[-1] < stride:
        raise MismatchError(
            f'{part} enlarges the last feature map to the stride of the codec, {stride:g}, but this map has stride '
            f'{strides[-1]:g} of {tuple(strides)} and would have to shrink; set model.codec.stride to {strides[-1]:g} '
            f'or less'
        )
    return strides[-1] / stride


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, H, W) at `size` (rows, columns), bilinear between cell middles."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=list(size), mode='bilinear', align_corners=False)
