"""Pyramid vision transformers (Wang et al. 2021, arXiv:2102.12122; version 2: 2022, arXiv:2106.13797)."""

from __future__ import annotations

__all__ = ['PyramidVisionTransformer', 'PyramidVisionTransformerV2']

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.layers.attention import GridSize, compute_attention, drop_path, list_drop_path_rates
from poseplug.models.layers.conv import check_strides, collect_feature_maps
from poseplug.models.layers.depthwise import DepthwiseConv2d
from poseplug.registry import MODELS

_STRIDES = (4, 8, 16, 32)
_REDUCTIONS = (8, 4, 2, 1)  # of rows and columns of keys and values in every stage
# Of the four stages: the published networks differ in depth and channels, not in these.
_MLP_RATIOS = (8, 8, 4, 4)
_PRETRAINED_SIDE = 224  # px, of the images that the released position embeddings are for
_NORM_EPS = 1e-6


@dataclass(frozen=True)
class _StageSettings:
    """What one stage is built from."""

    in_channels: int
    channels: int
    num_heads: int
    reduction: int
    mlp_ratio: int
    stride: int


class PyramidTransformer(nn.Module):
    """Four stages of attention whose keys and values come from a coarser grid.

    Args:
        embed_dims: Channels of every stage.
        depths: Number of blocks of every stage. (2, 2, 2, 2): tiny, B0 and B1; (3, 4, 6, 3): small and B2;
            (3, 4, 18, 3): medium and B3.
        num_heads: Number of heads of every stage.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 in the first.
        out_strides: Strides of the returned feature maps, finest first. Coarser stages are not built.

    Attributes:
        is_second_version: Whether patches overlap, a depthwise convolution stands in the feed-forward layers, and every
            stage ends with a norm, instead of position embeddings.

    Raises:
        ConfigError: There are not four stages, heads do not divide the channels, or `out_strides` has an
            unknown stride.
    """

    is_second_version: ClassVar[bool]

    def __init__(
        self,
        embed_dims: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (3, 4, 6, 3),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        drop_path_rate: float = 0.1,
        out_strides: Sequence[int] = _STRIDES,
    ):
        super().__init__()
        part = type(self).__name__
        are_four = len(embed_dims) == len(depths) == len(num_heads) == len(_STRIDES)
        if (
            not are_four
            or min(*depths, *num_heads) < 1
            or any(n % h for n, h in zip(embed_dims, num_heads, strict=True))
        ):
            raise ConfigError(
                f'{part}: embed_dims, depths and num_heads have a positive value for each of four stages, and heads '
                f'divide the channels; got {embed_dims=}, {depths=}, {num_heads=}'
            )
        self.strides = check_strides(part, out_strides, _STRIDES)
        self.out_indices = tuple(_STRIDES.index(s) for s in self.strides)
        self.out_channels = tuple(embed_dims[i] for i in self.out_indices)
        # Counted over all four stages, also those that are not built: a cut network drops its blocks as the whole one.
        rates = list_drop_path_rates(drop_path_rate, sum(depths))
        self.stages = nn.ModuleList()
        for i in range(self.out_indices[-1] + 1):
            in_channels = embed_dims[i - 1] if i else 3
            settings = _StageSettings(
                in_channels, embed_dims[i], num_heads[i], _REDUCTIONS[i], _MLP_RATIOS[i], _STRIDES[i]
            )
            first = sum(depths[:i])
            stage_rates = rates[first : first + depths[i]]
            self.stages.append(PyramidTransformerStage(settings, stage_rates, self.is_second_version))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        return collect_feature_maps(images, self.stages, self.out_indices)


@MODELS.register_module()
class PyramidVisionTransformer(PyramidTransformer):
    """PVT: separate patches, and a position embedding per stage, which is resized to the grid."""

    is_second_version = False


@MODELS.register_module()
class PyramidVisionTransformerV2(PyramidTransformer):
    """PVT v2: overlapping patches, and depthwise convolutions in place of position embeddings."""

    is_second_version = True


class PyramidTransformerStage(nn.Module):
    """Patches as tokens, and blocks of attention and feed-forward layers.

    Args:
        settings: Channels, heads and sizes.
        drop_path_rates: Stochastic depth of every block.
        is_second_version: As in `PyramidTransformer`.
    """

    def __init__(self, settings: _StageSettings, drop_path_rates: Sequence[float], is_second_version: bool):
        super().__init__()
        channels, scale = settings.channels, 4 if settings.stride == 4 else 2
        self.patch_size = 1 if is_second_version else scale
        if is_second_version:
            # Overlapping patches: 7x7 px every 4 in the first stage, then 3x3 cells every 2.
            self.patch_embed = nn.Conv2d(settings.in_channels, channels, 2 * scale - 1, scale, padding=scale - 1)
        else:
            self.patch_embed = nn.Conv2d(settings.in_channels, channels, scale, scale)
        self.patch_norm = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.pos_embed = None
        if not is_second_version:
            # 56, 28, 14 and 7 cells a side, as in the published weights; other grids get a resized embedding.
            num_cells = (_PRETRAINED_SIDE // settings.stride) ** 2
            self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, num_cells, channels), std=0.02))
        self.blocks = nn.ModuleList(
            PyramidTransformerBlock(settings, rate, is_second_version) for rate in drop_path_rates
        )
        self.norm = nn.LayerNorm(channels, eps=_NORM_EPS) if is_second_version else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's features (B, C, H/scale, W/scale) of features (B, in_channels, H, W)."""
        # Separate patches need whole multiples; overlapping ones have their own padding (`patch_size` is 1).
        x = F.pad(x, (0, -x.shape[3] % self.patch_size, 0, -x.shape[2] % self.patch_size))
        patches = self.patch_embed(x)
        grid: GridSize = (patches.shape[2], patches.shape[3])
        cells = self.patch_norm(patches.flatten(2).transpose(1, 2))
        if self.pos_embed is not None:
            cells = cells + _resize_embedding(self.pos_embed, grid)
        for block in self.blocks:
            cells = block(cells, grid)
        return self.norm(cells).transpose(1, 2).unflatten(2, grid)


class PyramidTransformerBlock(nn.Module):
    """Attention to a coarser grid and feed-forward layers, each normalized before and added to its input.

    Args:
        settings: Channels, heads and sizes.
        drop_path_rate: Probability of dropping a branch in training.
        has_depthwise: Whether the feed-forward layers have a depthwise 3x3 convolution.
    """

    def __init__(self, settings: _StageSettings, drop_path_rate: float, has_depthwise: bool):
        super().__init__()
        channels, hidden = settings.channels, settings.mlp_ratio * settings.channels
        self.drop_path_rate = drop_path_rate
        self.norm1 = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.attn = ReducedAttention(channels, settings.num_heads, settings.reduction)
        self.norm2 = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.mlp = ConvFeedForward(channels, hidden, has_depthwise)

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Return the block's output for cells (B, N, C) of a grid, of the same shape."""
        cells = cells + drop_path(self.attn(self.norm1(cells), grid), self.drop_path_rate, self.training)
        return cells + drop_path(self.mlp(self.norm2(cells), grid), self.drop_path_rate, self.training)


class ReducedAttention(nn.Module):
    """Attention of every cell to the cells of a coarser grid, which a convolution computes.

    Args:
        channels: Channels of the cells.
        num_heads: Number of heads, which divides them.
        reduction: Rows and columns of the grid per row and column of the coarser one.
    """

    def __init__(self, channels: int, num_heads: int, reduction: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        # A reduction of r divides the work of the attention by r * r. The last stage has 1 and reads its own cells.
        self.reduce = nn.Conv2d(channels, channels, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(channels, eps=_NORM_EPS) if reduction > 1 else None

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Return cells (B, N, C) that have attended to the coarser grid, of cells (B, N, C) of a grid."""
        coarse = cells
        if self.reduce is not None and self.norm is not None:
            maps = self.reduce(cells.transpose(1, 2).unflatten(2, grid))
            coarse = self.norm(maps.flatten(2).transpose(1, 2))
        sizes = [cells.shape[2], 2 * cells.shape[2]]
        # One layer, as released: its first outputs are queries of the cells, the others keys and values of the coarse.
        query_weight, key_value_weight = self.qkv.weight.split(sizes)
        query_bias, key_value_bias = self.qkv.bias.split(sizes)
        queries = F.linear(cells, query_weight, query_bias)
        keys, values = F.linear(coarse, key_value_weight, key_value_bias).chunk(2, dim=-1)
        return self.proj(compute_attention(queries, keys, values, self.num_heads))


class ConvFeedForward(nn.Module):
    """Two linear layers with a GELU between them, optionally behind a depthwise 3x3 convolution.

    Args:
        channels: Channels of the cells.
        hidden_channels: Channels between the layers.
        has_depthwise: Whether there is the convolution.
    """

    def __init__(self, channels: int, hidden_channels: int, has_depthwise: bool):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden_channels, 1)
        self.depthwise: DepthwiseConv2d | None = None
        if has_depthwise:
            self.depthwise = DepthwiseConv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.fc2 = nn.Conv2d(hidden_channels, channels, 1)

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Transform cells (B, N, C) of a grid."""
        # The published layers are 1x1 convolutions; as linear layers they leave the order of the cells in memory alone.
        hidden = F.linear(cells, self.fc1.weight.flatten(1), self.fc1.bias)
        if self.depthwise is not None:
            maps = self.depthwise(hidden.transpose(1, 2).unflatten(2, grid))
            hidden = maps.flatten(2).transpose(1, 2)
        return F.linear(F.gelu(hidden), self.fc2.weight.flatten(1), self.fc2.bias)


def _resize_embedding(embedding: Tensor, grid: GridSize) -> Tensor:
    """Resize a position embedding (1, side * side, C) to a grid: (1, rows * columns, C)."""
    side = round(embedding.shape[1] ** 0.5)
    if (side, side) == grid:
        return embedding
    maps = embedding.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(maps, size=grid, mode='bilinear', align_corners=False).flatten(2).transpose(1, 2)
