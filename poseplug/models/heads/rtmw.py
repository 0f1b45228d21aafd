"""RTMW's head: coordinates by classification from two feature maps (Jiang et al. 2024, arXiv:2407.08634)."""

from __future__ import annotations

__all__ = ['RTMWHead']

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import MismatchError
from poseplug.core.geometry import Size
from poseplug.models.heads.base import FieldAxis, Head
from poseplug.models.heads.simcc import (
    BinLayers,
    FieldShapes,
    check_feature_size,
    compute_feature_size,
    count_bin_keypoints,
)
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.gau import GatedAttention, ScaleNorm
from poseplug.registry import MODELS

_SHUFFLE_FACTOR = 2  # cells per axis into which the coarse feature map's channels are spread


@MODELS.register_module()
class RTMWHead(Head):
    """One map per keypoint of the last feature map, and one of the next finer map beside the last one at its size.

    Both make one half of the keypoint's token each; then attention, and one linear layer per field.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        shapes: Shape (K, bins) of every field; provided by the codec.
        input_size: (width, height) of the input in px; provided by the codec.
        hidden_dims: Channels of the tokens, an even number.
        final_layer_kernel_size: Side of the kernels of the convolutions to one map per keypoint, an odd number.
        query_dims: Channels of queries and keys; see `GatedAttention`.
        expansion_factor: Channels inside the attention, as a multiple of `hidden_dims`.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=1)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: The fields are no bins, a stride does not divide the input, or the last two feature maps do not
            have strides s and 2 s and channels that four cells can have.
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
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        num_keypoints = count_bin_keypoints('RTMWHead', shapes)
        _check_levels(in_channels, strides)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.shapes, self.input_size = dict(shapes), (input_size[0], input_size[1])
        self.feature_sizes = [compute_feature_size('RTMWHead', input_size, s) for s in strides[-2:]]
        # Shuffling turns 4 channels of a coarse cell into one channel of 2x2 fine cells.
        shuffled = in_channels[-1] // _SHUFFLE_FACTOR**2
        widths = (in_channels[-2] + shuffled, in_channels[-1])
        kernel_size = final_layer_kernel_size
        self.shuffle = conv_bn_act(shuffled, shuffled, kernel_size, activation=nn.ReLU, layers=layers)
        # Of the fine and of the coarse map, each with norm and ReLU, as released; RTMPose has neither here.
        self.maps = nn.ModuleList(
            conv_bn_act(n, num_keypoints, kernel_size, activation=nn.ReLU, layers=layers) for n in widths
        )
        init_convolutions(self)
        self.tokens = nn.ModuleList()
        for size in self.feature_sizes:
            num_cells = math.prod(size)
            self.tokens.append(nn.Sequential(ScaleNorm(num_cells), nn.Linear(num_cells, hidden_dims // 2, bias=False)))
        self.attention = GatedAttention(hidden_dims, query_dims, expansion_factor)
        self.bins = BinLayers(hidden_dims, shapes, bias=False)

    def forward(self, features: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        fine, coarse = (
            check_feature_size('RTMWHead', f, size, self.input_size)
            for f, size in zip(features[-2:], self.feature_sizes, strict=True)
        )
        shuffled = self.shuffle(F.pixel_shuffle(coarse, _SHUFFLE_FACTOR))
        # Two maps per keypoint: (B, K, 2 H, 2 W) and (B, K, H, W).
        maps = [self.maps[0](torch.cat([shuffled, fine], dim=1)), self.maps[1](coarse)]
        fine_tokens, coarse_tokens = (layer(m.flatten(2)) for layer, m in zip(self.tokens, maps, strict=True))
        # The coarse half stands first, as in the released weights.
        return [self.bins(self.attention(torch.cat([coarse_tokens, fine_tokens], dim=2)))]

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of the maps per keypoint, of weights and norms, from which all fields are predicted."""
        return [FieldAxis(f'maps.{name}', 0, ('x',)) for name, value in self.maps.state_dict().items() if value.ndim]


def _check_levels(in_channels: Sequence[int], strides: Sequence[int]) -> None:
    if len(strides) < 2 or strides[-1] != _SHUFFLE_FACTOR * strides[-2] or in_channels[-1] % _SHUFFLE_FACTOR**2:
        raise MismatchError(
            f'RTMWHead reads two feature maps, the last one half as fine as the one before and of a multiple of '
            f'{_SHUFFLE_FACTOR**2} channels; the backbone or neck has strides {tuple(strides)} with '
            f'{tuple(in_channels)} channels; set its out_strides, for example to (16, 32)'
        )
