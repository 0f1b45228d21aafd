"""Coordinates by classification, with attention between keypoints (RTMPose: Jiang et al. 2023, arXiv:2303.07399)."""

from __future__ import annotations

__all__ = ['RTMCCHead']

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from poseplug.core.geometry import Size
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.simcc import (
    BinLayers,
    FieldShapes,
    check_feature_size,
    compute_feature_size,
    count_bin_keypoints,
)
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.gau import GatedAttention, ScaleNorm
from poseplug.registry import MODELS


@MODELS.register_module()
class RTMCCHead(Head):
    """One map per keypoint of the last feature map, a token from each, attention, and one linear layer per field.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape (K, bins) of every field; provided by the codec.
        input_size: (width, height) of the input in px; provided by the codec.
        hidden_dims: Channels of the tokens.
        final_layer_kernel_size: Side of the kernels of the convolution to one map per keypoint, an odd number.
        query_dims: Channels of queries and keys; see `GatedAttention`.
        expansion_factor: Channels inside the attention, as a multiple of `hidden_dims`.

    Raises:
        MismatchError: The fields are no bins, or the stride of the feature map does not divide the input.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'shapes', 'input_size')
    field_kinds: ClassVar[tuple[str, ...]] = ('bins',)

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        shapes: FieldShapes,
        input_size: Size,
        hidden_dims: int = 256,
        final_layer_kernel_size: int = 7,
        query_dims: int = 128,
        expansion_factor: float = 2.0,
    ):
        super().__init__()
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        self.feature_size = compute_feature_size('RTMCCHead', input_size, strides[-1])
        num_cells, num_keypoints = math.prod(self.feature_size), count_bin_keypoints('RTMCCHead', shapes)
        padding = final_layer_kernel_size // 2
        # A large kernel instead of deconvolutions: cells of stride 32 see their surroundings.
        self.maps = nn.Conv2d(in_channels[-1], num_keypoints, final_layer_kernel_size, padding=padding)
        init_convolutions(self.maps, 0.001)
        self.tokens = nn.Sequential(ScaleNorm(num_cells), nn.Linear(num_cells, hidden_dims, bias=False))
        self.attention = GatedAttention(hidden_dims, query_dims, expansion_factor)
        # Without a bias, as released.
        self.bins = BinLayers(hidden_dims, shapes, bias=False)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        maps = self.maps(check_feature_size('RTMCCHead', features[-1], self.feature_size, self.input_size))
        # (B, K, H, W) to one token (H * W) per keypoint, then to `hidden_dims`
        return [self.bins(self.attention(self.tokens(maps.flatten(2))))]

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of the map per keypoint, from which all fields are predicted."""
        return [FieldAxis(f'maps.{name}', 0, ('x',)) for name, _ in self.maps.named_parameters()]
