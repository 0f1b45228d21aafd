"""RT-DETR's hybrid encoder (Zhao et al. 2023, arXiv:2304.08069), as RTMO uses it (Lu et al. 2023, arXiv:2312.07526)."""

from __future__ import annotations

__all__ = ['HybridEncoder']

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import MismatchError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.position_encoding import sine_encoding, sine_periods
from poseplug.registry import MODELS

_NUM_BLOCKS = 3  # of a fusion at deepen_factor 1


@MODELS.register_module()
class HybridEncoder(nn.Module):
    """A transformer layer on the coarsest feature map, then fusion of the levels, downwards and upwards.

    All levels but the finest are returned.

    Args:
        in_channels: Channels of every feature map; provided by the backbone.
        strides: Stride of every feature map, each twice the one before; provided by the backbone.
        out_channels: Channels of the returned feature maps. RTMO-s: 256, m: 384, l: 512.
        hidden_dim: Channels of all levels inside.
        widen_factor: Channels inside the fusion blocks, as a multiple of `hidden_dim`.
        deepen_factor: Factor on the number of repeated blocks of a fusion, which is 3.
        num_heads: Number of attention heads of the transformer layer.
        feedforward_channels: Channels inside the transformer layer's feed-forward part.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        MismatchError: There are less than two levels, or a stride is not twice the one before.
    """

    needs = ('in_channels', 'strides')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        out_channels: int = 256,
        hidden_dim: int = 256,
        widen_factor: float = 1.0,
        deepen_factor: float = 1.0,
        num_heads: int = 8,
        feedforward_channels: int = 1024,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        num_levels = len(in_channels)
        if num_levels < 2 or any(b != 2 * a for a, b in zip(strides, strides[1:], strict=False)):
            raise MismatchError(
                f'HybridEncoder fuses two or more feature maps, each half as fine as the one before; the backbone has '
                f'strides {tuple(strides)}; set its out_strides, for example to (8, 16, 32)'
            )
        num_outputs = num_levels - 1
        self.out_channels, self.strides = (out_channels,) * num_outputs, tuple(strides[1:])
        self.inputs = nn.ModuleList(conv_bn_act(n, hidden_dim, 1, activation=None, layers=layers) for n in in_channels)
        self.encoder = TransformerEncoderLayer(hidden_dim, num_heads, feedforward_channels)
        num_blocks = round(_NUM_BLOCKS * deepen_factor)
        fusion: Any = dict(hidden_channels=int(hidden_dim * widen_factor), num_blocks=num_blocks, layers=layers)
        self.laterals = nn.ModuleList(conv_bn_act(hidden_dim, hidden_dim, 1, layers=layers) for _ in range(num_outputs))
        self.down_fusions = nn.ModuleList(CSPRepLayer(2 * hidden_dim, hidden_dim, **fusion) for _ in range(num_outputs))
        self.halvings = nn.ModuleList(
            conv_bn_act(hidden_dim, hidden_dim, 3, stride=2, layers=layers) for _ in range(num_outputs)
        )
        self.up_fusions = nn.ModuleList(CSPRepLayer(2 * hidden_dim, hidden_dim, **fusion) for _ in range(num_outputs))
        self.outputs = nn.ModuleList(
            conv_bn_act(hidden_dim, out_channels, 1, activation=None, layers=layers) for _ in range(num_outputs)
        )
        init_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the levels.

        Args:
            features: Feature maps, each (B, C, H, W), finest first.

        Returns:
            One feature map per level but the finest, (B, out_channels, H, W).
        """
        levels = [project(f) for project, f in zip(self.inputs, features, strict=True)]
        # Attention on the coarsest level alone: at stride 16 its cost would be 16 times as high.
        levels[-1] = self.encoder(levels[-1])
        # Downwards: from the coarsest level to the finest.
        x = levels[-1]
        laterals = []
        for lateral, fuse, finer in zip(self.laterals, self.down_fusions, levels[-2::-1], strict=True):
            x = lateral(x)
            laterals.append(x)
            # Enlarged by nearest neighbors, the default of `interpolate`.
            x = fuse(torch.cat([F.interpolate(x, size=finer.shape[2:]), finer], dim=1))
        # Upwards: from the finest level back, each halved to meet the next.
        fused = []
        for halve, fuse, coarser in zip(self.halvings, self.up_fusions, laterals[::-1], strict=True):
            x = fuse(torch.cat([halve(x), coarser], dim=1))
            fused.append(x)
        return tuple(project(f) for project, f in zip(self.outputs, fused, strict=True))


class TransformerEncoderLayer(nn.Module):
    """Attention between all cells of a feature map, then a layer on each; norms follow the sums (Vaswani et al. 2017).

    Args:
        channels: Channels of the feature map.
        num_heads: Number of attention heads.
        feedforward_channels: Channels inside the feed-forward part.
    """

    periods: Tensor

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.layer1, self.layer2 = nn.Linear(channels, feedforward_channels), nn.Linear(feedforward_channels, channels)
        # Half of the channels encode the row, half the column; 1e4 is the base of Vaswani et al.
        self.register_buffer('periods', sine_periods(channels // 2, 1e4), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the encoded features (B, C, H, W) of features (B, C, H, W).

        A sine encoding of rows and columns is added to queries and keys.
        """
        cells = features.flatten(2).transpose(1, 2)
        queries = cells + grid_encoding(features.shape[2:], self.periods).to(cells.dtype)
        # Positions are part of queries and keys, not of the values.
        cells = self.norm1(cells + self.attention(queries, queries, cells, need_weights=False)[0])
        cells = self.norm2(cells + self.layer2(F.gelu(self.layer1(cells))))
        return cells.transpose(1, 2).unflatten(2, features.shape[2:])


def grid_encoding(grid: Sequence[int], periods: Tensor) -> Tensor:
    """Encode the cells of a grid: one half of the channels is the sine encoding of the row, the other of the column.

    Args:
        grid: (rows, columns).
        periods: (n,), as from `sine_periods`.

    Returns:
        (1, rows x columns, 4 n).
    """
    rows, columns = (sine_encoding(torch.arange(n, device=periods.device), periods) for n in grid)
    halves = [rows[:, None].expand(-1, len(columns), -1), columns.expand(len(rows), -1, -1)]
    return torch.cat(halves, dim=-1).flatten(0, 1)[None]


class CSPRepLayer(nn.Module):
    """Two 1x1 convolutions, one followed by repeated blocks; their sum is projected if its channels differ.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        hidden_channels: Channels of the blocks.
        num_blocks: Number of blocks.
        layers: What builds the layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden_channels: int,
        num_blocks: int,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        self.conv1 = conv_bn_act(in_channels, hidden_channels, 1, layers=layers)
        self.conv2 = conv_bn_act(in_channels, hidden_channels, 1, layers=layers)
        self.bottlenecks = nn.Sequential(*(RepVGGBlock(hidden_channels, layers) for _ in range(num_blocks)))
        # There is no layer if the channels are equal, as released: weights have no name for it.
        self.conv3 = (
            conv_bn_act(hidden_channels, out_channels, 1, layers=layers)
            if hidden_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (B, out_channels, H, W) for `x` (B, in_channels, H, W)."""
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class RepVGGBlock(nn.Module):
    """A 3x3 and a 1x1 convolution, each with batch norm, summed, SiLU (Ding et al. 2021, RepVGG, arXiv:2101.03697)."""

    def __init__(self, channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.act = layers.build_activation(nn.SiLU)
        self.branch_3x3 = conv_bn_act(channels, channels, 3, activation=None, layers=layers)
        self.branch_1x1 = conv_bn_act(channels, channels, 1, activation=None, layers=layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, channels, H, W), of the same shape."""
        return self.act(self.branch_3x3(x) + self.branch_1x1(x))
