"""HRFormer: an HRNet whose blocks are transformers (Yuan et al. 2021, arXiv:2110.09408)."""

from __future__ import annotations

__all__ = ['HRFormer']

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.backbones.hrnet import HighResolutionNetwork
from poseplug.models.layers.attention import GridSize, drop_path, list_drop_path_rates
from poseplug.models.layers.branch_fusion import build_fuse_layers, fuse_branches
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import conv_block
from poseplug.models.layers.window_attention import WindowAttention
from poseplug.registry import MODELS

_NUM_BOTTLENECKS = 2  # of the first stage
# Of the layer norms, as released.
_NORM_EPS = 1e-6


@dataclass(frozen=True)
class HRFormerBlockSettings:
    """Settings that all blocks of a network share.

    Attributes:
        num_heads: Number of heads of the finest branch; branch i has 2^i times as many.
        window_size: Side of a window in cells.
        mlp_ratio: Channels inside the feed-forward layers, as a multiple of the branch's channels.
    """

    num_heads: int
    window_size: int
    mlp_ratio: int


@MODELS.register_module()
class HRFormer(HighResolutionNetwork):
    """Branches at strides 4, 8, 16 and 32, of attention in windows and feed-forward layers with a 3x3 convolution.

    Args:
        width: Channels of the finest branch; the others have 2, 4 and 8 times as many. Small: 32, base: 78.
        num_heads: Number of heads of the finest branch; the others have 2, 4 and 8 times as many. Small: 1, base: 2.
        out_strides: Strides of the returned feature maps, finest first. The last module computes these alone.
        num_modules: Number of modules in the stages of two, three and four branches.
        num_blocks: Number of blocks of a branch in every module.
        window_size: Side of a window in cells.
        mlp_ratio: Channels inside the feed-forward layers, as a multiple of the branch's channels.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 in the first. Small: 0.1, base:
            0.2.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default. Those of the
            cells are layer norms.
        act_cfg: Config of the activations of convolutions, such as `dict(type='SiLU')`; ReLU by default, and GELU in
            the feed-forward layers.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `num_modules` has not three positive values, heads do not divide the channels, or `out_strides`
            has an unknown stride.
    """

    def __init__(
        self,
        width: int = 32,
        num_heads: int = 1,
        out_strides: Sequence[int] = (4,),
        num_modules: Sequence[int] = (1, 4, 2),
        num_blocks: int = 2,
        window_size: int = 7,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.1,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if width % num_heads:
            raise ConfigError(f'HRFormer: num_heads divides the width; got {num_heads=}, {width=}')
        settings = HRFormerBlockSettings(num_heads, window_size, mlp_ratio)
        # One rate per block in the order of depth; blocks of equal depth in other branches have the same.
        rates = iter(list_drop_path_rates(drop_path_rate, num_blocks * sum(num_modules)))

        def build_module(channels: Sequence[int], out_branches: Sequence[int]) -> nn.Module:
            module_rates = [next(rates) for _ in range(num_blocks)]
            return HRFormerModule(channels, out_branches, settings, module_rates, layers)

        super().__init__(width, out_strides, num_modules, _NUM_BOTTLENECKS, build_module, layers)


class HRFormerModule(nn.Module):
    """Transformer blocks in every branch, then the output branches as sums over all branches.

    Args:
        channels: Channels of every branch.
        out_branches: Indices of the branches that are computed.
        settings: Of the blocks.
        drop_path_rates: Stochastic depth of the blocks of a branch.
        layers: What builds the layers.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_branches: Sequence[int],
        settings: HRFormerBlockSettings,
        drop_path_rates: Sequence[float],
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        self.relu = layers.build_activation()
        self.branches = nn.ModuleList()
        for i, width in enumerate(channels):
            # Heads grow with the channels: all branches have heads of one width, 32 channels in the small network.
            heads = settings.num_heads * 2**i
            self.branches.append(
                nn.ModuleList(HRFormerBlock(width, heads, settings, rate, layers) for rate in drop_path_rates)
            )
        self.fuse_layers = build_fuse_layers(channels, out_branches, partial(_build_fuse_layer, layers=layers))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the features of the output branches.

        Args:
            features: One map per branch, (B, C, H, W), finest first.

        Returns:
            One map per output branch, of the branch's shape.
        """
        branch_features = []
        for blocks, x in zip(self.branches, features, strict=True):
            # (B, C, H, W) to (B, H W, C) for the blocks, and back behind the last one.
            grid, cells = (x.shape[2], x.shape[3]), x.flatten(2).transpose(1, 2)
            for block in blocks:  # type: ignore[attr-defined]
                cells = block(cells, grid)
            branch_features.append(cells.transpose(1, 2).unflatten(2, grid))
        return fuse_branches(self.fuse_layers, branch_features, self.relu, 'bilinear')


class HRFormerBlock(nn.Module):
    """Attention in windows and a feed-forward part with a 3x3 convolution, each normalized before and added.

    Args:
        channels: Channels of the cells.
        num_heads: Number of heads.
        settings: The other settings of the block.
        drop_path_rate: Probability of dropping a branch in training.
        layers: What builds the layers.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        settings: HRFormerBlockSettings,
        drop_path_rate: float,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.norm1 = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.attn = WindowAttention(channels, num_heads, settings.window_size, center_padding=True)
        self.norm2 = nn.LayerNorm(channels, eps=_NORM_EPS)
        self.ffn = NormedFeedForward(channels, settings.mlp_ratio * channels, layers)

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Return the block's output for cells (B, N, C) of a grid, of the same shape."""
        cells = cells + drop_path(self.attn(self.norm1(cells), grid), self.drop_path_rate, self.training)
        return cells + drop_path(self.ffn(self.norm2(cells), grid), self.drop_path_rate, self.training)


class NormedFeedForward(nn.Module):
    """A 1x1, a depthwise 3x3 and a 1x1 convolution, a norm and an activation behind each.

    Args:
        channels: Channels of the cells.
        hidden_channels: Channels between the 1x1 convolutions.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, hidden_channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.fc1 = layers.build_conv(channels, hidden_channels, 1)
        self.norm1 = layers.build_norm(hidden_channels)
        # Windows are never shifted: within a block this convolution alone carries information from one to the next.
        self.dw3x3 = layers.build_conv(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.norm2 = layers.build_norm(hidden_channels)
        self.fc2 = layers.build_conv(hidden_channels, channels, 1)
        self.norm3 = layers.build_norm(channels)

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Transform cells (B, N, C) of a grid."""
        maps = cells.transpose(1, 2).unflatten(2, grid)
        for conv, norm in ((self.fc1, self.norm1), (self.dw3x3, self.norm2), (self.fc2, self.norm3)):
            maps = F.gelu(norm(conv(maps)))
        return maps.flatten(2).transpose(1, 2)


def _build_fuse_layer(channels: Sequence[int], source: int, target: int, layers: LayerBuilder) -> nn.Sequential:
    """1x1 to the channels of a finer branch (enlarged afterwards), or separable 3x3 of stride 2 down to a coarser."""
    if source > target:
        return conv_block(channels[source], channels[target], 1, 'BN', activation=None, layers=layers)
    width, steps = channels[source], []
    for step in range(source + 1, target + 1):
        is_last = step == target
        depthwise = conv_block(width, width, 3, 'BN', stride=2, groups=width, activation=None, layers=layers)
        out_channels, activation = channels[target] if is_last else width, None if is_last else nn.ReLU
        pointwise = conv_block(width, out_channels, 1, 'BN', activation=activation, layers=layers)
        steps.append(nn.Sequential(*depthwise, *pointwise))
    return nn.Sequential(*steps)
