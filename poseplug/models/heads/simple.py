"""ViTPose's simple decoder: little more than an upsampling (Xu et al. 2022, arXiv:2204.12484, section 3.1)."""

from __future__ import annotations

__all__ = ['SimpleHead']

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from poseplug.core.errors import MismatchError
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.heatmap import FieldConvs
from poseplug.registry import MODELS


@MODELS.register_module()
class SimpleHead(Head):
    """ReLU of the last feature map, bilinear upsampling to the codec's stride, and one convolution per field.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        kernel_size: Side of the convolutions' square kernels, an odd number.

    Raises:
        MismatchError: The last feature map is finer than the codec.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 4,
        kernel_size: int = 3,
    ):
        super().__init__()
        self.stride, self.fields = stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.upscale_factor = compute_upscale_factor('SimpleHead', strides, stride)
        self.predict = FieldConvs(in_channels[-1], fields, kernel_size)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        feature_map = features[-1]
        # The factor is a float, since a stride may be one.
        size = [round(n * self.upscale_factor) for n in feature_map.shape[-2:]]
        # As released: ReLU before the upsampling, since the transformer's last layer is a norm without activation.
        return [self.predict(upsample_bilinear(feature_map.relu(), size))]

    def list_field_axes(self) -> list[FieldAxis]:
        return self.predict.list_axes('predict')


def compute_upscale_factor(part: str, strides: Sequence[int], stride: float) -> float:
    """Compute how many times larger the fields are than the last feature map.

    Args:
        part: Name of the head, for the message.
        strides: Stride of every feature map.
        stride: Stride of the fields.

    Returns:
        The factor, at least 1.

    Raises:
        MismatchError: The last feature map is finer than the fields.
    """
    if strides[-1] < stride:
        raise MismatchError(
            f'{part} upsamples the last feature map to the stride of the codec, {stride:g}, but this map has stride '
            f'{strides[-1]:g} of {tuple(strides)} and would have to shrink; set model.codec.stride to {strides[-1]:g} '
            f'or less'
        )
    return strides[-1] / stride


def upsample_bilinear(features: Tensor, size: Sequence[int]) -> Tensor:
    """Resize features bilinearly; corners are not aligned.

    Args:
        features: (B, C, H, W).
        size: (rows, columns) of the result.

    Returns:
        (B, C, rows, columns); the features themselves if they have this size.
    """
    # Not only faster: an exported graph then has no resizing.
    if tuple(features.shape[-2:]) == tuple(size):
        return features
    return F.interpolate(features, size=list(size), mode='bilinear', align_corners=False)
