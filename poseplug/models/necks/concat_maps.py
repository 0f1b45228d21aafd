"""All feature maps at one size (HRNetV2: Sun et al. 2019, arXiv:1904.04514, figure 3b)."""

from __future__ import annotations

__all__ = ['ConcatMaps']

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.registry import MODELS


@MODELS.register_module()
class ConcatMaps(nn.Module):
    """All feature maps, upsampled bilinearly to the finest one, one after the other along the channels.

    Args:
        in_channels: Channels of every feature map; provided by the backbone.
        strides: Stride of every feature map; provided by the backbone.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides')

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.out_channels = (sum(in_channels),)
        self.strides = (min(strides),)
        # The first of them if several have that stride.
        self.finest = list(strides).index(min(strides))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one feature map.

        Args:
            features: One map per stride, (B, C, H, W).

        Returns:
            A single map (B, sum of C, H, W), of the size of the finest.
        """
        # Measured, not computed from strides: an odd input rounds its maps up.
        size = features[self.finest].shape[-2:]
        maps = [
            x if x.shape[-2:] == size else F.interpolate(x, size=size, mode='bilinear', align_corners=False)
            for x in features
        ]
        return (torch.cat(maps, dim=1),)
