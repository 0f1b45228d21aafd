"""Swin transformers (Liu et al. 2021, arXiv:2103.14030)."""

from __future__ import annotations

__all__ = ['SwinTransformer']

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.layers.attention import FeedForward, GridSize, drop_path, list_drop_path_rates
from poseplug.models.layers.conv import check_strides
from poseplug.models.layers.window_attention import WindowAttention
from poseplug.registry import MODELS

_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class SwinTransformer(nn.Module):
    """Patches of 4x4 px as tokens, and four stages of attention in windows; every other block shifts its windows.

    Args:
        embed_dim: Channels of the first stage; every later stage doubles them. T and S: 96, B: 128, L: 192.
        depths: Number of blocks of every stage. T: (2, 2, 6, 2), the others (2, 2, 18, 2).
        num_heads: Number of heads of every stage, which divides its channels.
        window_size: Side of a window in cells.
        mlp_ratio: Channels inside the feed-forward layers, as a multiple of the stage's channels.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 in the first.
        out_strides: Strides of the returned feature maps, finest first. Coarser stages are not built.

    Raises:
        ConfigError: There are not four stages, heads do not divide the channels, or `out_strides` has a stride that
            there is not.
    """

    def __init__(
        self,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.2,
        out_strides: Sequence[int] = _STRIDES,
    ):
        super().__init__()
        channels = [embed_dim * 2**i for i in range(len(_STRIDES))]
        _check_stages(channels, depths, num_heads)
        self.strides = check_strides('SwinTransformer', out_strides, _STRIDES)
        self.out_indices = tuple(_STRIDES.index(s) for s in self.strides)
        num_stages = self.out_indices[-1] + 1
        rates = iter(list_drop_path_rates(drop_path_rate, sum(depths)))
        self.patch_embed = nn.Conv2d(3, embed_dim, 4, stride=4)
        self.patch_norm = nn.LayerNorm(embed_dim)
        self.stages = nn.ModuleList()
        for i in range(num_stages):
            blocks = nn.ModuleList()
            for j in range(depths[i]):
                # Shifted windows join cells of four neighbors, which separate windows never see together.
                shift = window_size // 2 if j % 2 else 0
                blocks.append(SwinBlock(channels[i], num_heads[i], window_size, shift, mlp_ratio, next(rates)))
            self.stages.append(blocks)
        self.merges = nn.ModuleList(PatchMerging(n) for n in channels[: num_stages - 1])
        # One norm per returned map: the stage behind it reads the cells before that norm.
        self.norms = nn.ModuleDict({str(i): nn.LayerNorm(channels[i]) for i in self.out_indices})
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        self._init_weights()

    def _init_weights(self) -> None:
        """Linear weights from a normal distribution of deviation 0.02; biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        # To whole patches of 4 px, at the end.
        images = F.pad(images, (0, -images.shape[3] % 4, 0, -images.shape[2] % 4))
        patches = self.patch_embed(images)
        grid: GridSize = (patches.shape[2], patches.shape[3])
        cells, feature_maps = self.patch_norm(patches.flatten(2).transpose(1, 2)), []
        for index, blocks in enumerate(self.stages):
            if index:
                cells, grid = self.merges[index - 1](cells, grid)
            for block in blocks:  # type: ignore[attr-defined]
                cells = block(cells, grid)
            if index in self.out_indices:
                features = self.norms[str(index)](cells)
                feature_maps.append(features.transpose(1, 2).unflatten(2, grid))
        return tuple(feature_maps)


class SwinBlock(nn.Module):
    """Attention in windows and feed-forward layers, each normalized before and added to its input.

    Args:
        dim: Channels of the cells.
        num_heads: Number of heads.
        window_size: Side of a window in cells.
        shift: Rows and columns by which the windows are shifted.
        mlp_ratio: Channels inside the feed-forward layers, as a multiple of `dim`.
        drop_path_rate: Probability of dropping a branch in training.
    """

    def __init__(self, dim: int, num_heads: int, window_size: int, shift: int, mlp_ratio: int, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window_size, shift)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio * dim)

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Return the block's output for cells (B, N, C) of a grid, of the same shape."""
        cells = cells + drop_path(self.attn(self.norm1(cells), grid), self.drop_path_rate, self.training)
        return cells + drop_path(self.mlp(self.norm2(cells)), self.drop_path_rate, self.training)


class PatchMerging(nn.Module):
    """Make one cell of every 2x2, with twice the channels.

    Args:
        dim: Channels of the cells.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, cells: Tensor, grid: GridSize) -> tuple[Tensor, GridSize]:
        """Return cells (B, N/4, 2 C) of cells (B, N, C), and their grid. An odd grid is padded at its end."""
        maps = F.pad(cells.unflatten(1, grid), (0, 0, 0, grid[1] % 2, 0, grid[0] % 2))
        # The four cells of a square lie side by side, channel by channel.
        # (B, H, W, C) to (B, H/2, W/2, 4 C)
        squares = maps.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 5, 2, 4).flatten(3)
        return self.reduction(self.norm(squares.flatten(1, 2))), (squares.shape[1], squares.shape[2])


def _check_stages(channels: Sequence[int], depths: Sequence[int], num_heads: Sequence[int]) -> None:
    are_four = len(depths) == len(num_heads) == len(channels)
    if not are_four or min(*depths, *num_heads) < 1 or any(n % h for n, h in zip(channels, num_heads, strict=True)):
        raise ConfigError(
            f'SwinTransformer has four stages with {", ".join(map(str, channels))} channels: depths and num_heads have '
            f'one positive value for each, and the heads divide the channels; got {depths=}, {num_heads=}'
        )
