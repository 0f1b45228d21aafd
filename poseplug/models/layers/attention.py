"""Blocks of vision transformers: attention over all cells or in windows, expert layers, stochastic depth.

Transformer block: Dosovitskiy et al. 2021, arXiv:2010.11929. Shifted windows: Liu et al. 2021, arXiv:2103.14030. Pooled
windows and experts: Xu et al. 2022, arXiv:2204.12484 and arXiv:2212.04246.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GridSize = tuple[int, int]  # (rows, columns)


class Windows:
    """A grid of cells that is cut into windows, padded at its end if the windows do not divide it.

    Args:
        grid: (rows, columns) of the cells.
        window: (rows, columns) of a window.
        shifted: Whether the windows are shifted by half a window on every axis that has more than one. Cells from
            opposite borders that meet in a window do not attend to each other.
        pooled: Whether the cells of a window also attend to the mean of every window, if there are several.

    Attributes:
        windows_per_axis: Number of windows in rows and columns.
        num_windows: Number of windows in all.
        cells_per_window: Number of cells of a window.
        shift: Rows and columns by which the windows are shifted.
        padding: Rows and columns that are added to the grid.
    """

    def __init__(self, grid: GridSize, window: GridSize, shifted: bool = False, pooled: bool = False):
        self.grid, self.window = grid, window
        self.windows_per_axis = (-(-grid[0] // window[0]), -(-grid[1] // window[1]))
        self.num_windows = self.windows_per_axis[0] * self.windows_per_axis[1]
        self.cells_per_window = window[0] * window[1]
        # Rounded up to whole windows; half a window is that of Swin, rounded down.
        self.shift = tuple(
            side // 2 if shifted and count > 1 else 0 for side, count in zip(window, self.windows_per_axis, strict=True)
        )
        self.padding = tuple(
            count * side - cells for count, side, cells in zip(self.windows_per_axis, window, grid, strict=True)
        )
        self.pooled = pooled and self.num_windows > 1

    def partition_cells(self, cells: Tensor) -> Tensor:
        """Cut cells (B, N, C), row by row, into windows (B, num_windows, cells_per_window, C)."""
        # The padding is behind the last row and column.
        maps = F.pad(cells.unflatten(1, self.grid), (0, 0, 0, self.padding[1], 0, self.padding[0]))
        if any(self.shift):
            maps = maps.roll((-self.shift[0], -self.shift[1]), dims=(1, 2))
        # (B, rows, height, columns, width, C) to (B, rows, columns, height, width, C)
        (rows, columns), (height, width) = self.windows_per_axis, self.window
        tiles = maps.reshape(maps.shape[0], rows, height, columns, width, maps.shape[-1]).transpose(2, 3)
        return tiles.reshape(maps.shape[0], self.num_windows, self.cells_per_window, maps.shape[-1])

    def merge_windows(self, windows: Tensor) -> Tensor:
        """Undo `partition_cells`: windows (B, num_windows, cells_per_window, C) to cells (B, N, C)."""
        (rows, columns), (height, width) = self.windows_per_axis, self.window
        tiles = windows.reshape(windows.shape[0], rows, columns, height, width, windows.shape[-1]).transpose(2, 3)
        maps = tiles.reshape(windows.shape[0], rows * height, columns * width, windows.shape[-1])
        if any(self.shift):
            maps = maps.roll(self.shift, dims=(1, 2))
        return maps[:, : self.grid[0], : self.grid[1]].flatten(1, 2)

    def window_means(self, cells: Tensor) -> Tensor:
        """Return the means (B, num_windows, C) of cells (B, N, C) over every unshifted window, without its padding."""
        maps = cells.unflatten(1, self.grid).permute(0, 3, 1, 2)
        # `ceil_mode` clips windows at the end, so that their means count no padding.
        return F.avg_pool2d(maps, self.window, ceil_mode=True).flatten(2).transpose(1, 2)

    def attention_mask(self, device: torch.device) -> Tensor | None:
        """Return which cells attend to which cells and means of windows.

        Args:
            device: Device of the mask.

        Returns:
            (num_windows, cells_per_window, cells_per_window + means), True if a cell attends; None if all cells of a
            window attend to one another.
        """
        if not any(self.shift) and not any(self.padding):
            return None
        # Cells attend to each other if they are in the same region: the shift joins up to four regions in one window.
        rows, columns = (self._mark_wrapped(axis, device) for axis in (0, 1))
        labels = 1 + rows[:, None] + 2 * columns  # 1 to 4; the padding of `partition_cells` is 0
        regions = self.partition_cells(labels.reshape(1, -1, 1))[0]
        same_region = regions == regions.mT
        num_means = self.num_windows if self.pooled else 0
        means = same_region.new_ones(self.num_windows, self.cells_per_window, num_means)
        return torch.cat([same_region, means], dim=2)

    def _mark_wrapped(self, axis: int, device: torch.device) -> Tensor:
        """1 for the rows (or columns) that the shift wraps to the other border, 0 for the rest."""
        return (torch.arange(self.grid[axis], device=device) < self.shift[axis]).long()


class SelfAttention(nn.Module):
    """Multi-head self-attention, over all tokens or within windows of cells.

    Args:
        dim: Channels of the tokens.
        num_heads: Number of heads, which divides `dim`.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, windows: Windows | None = None, mask: Tensor | None = None) -> Tensor:
        """Let tokens attend to each other.

        Args:
            tokens: (B, N, C); with `windows`, the cells of their grid.
            windows: Windows within which the cells attend; None for all tokens.
            mask: `windows.attention_mask`.

        Returns:
            (B, N, C).
        """
        queries, keys, values = self.qkv(tokens).chunk(3, dim=-1)
        if windows is None:
            return self.proj(compute_attention(queries, keys, values, self.num_heads))
        return self.proj(compute_window_attention(queries, keys, values, self.num_heads, windows, mask))


def compute_attention(
    queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, mask: Tensor | None = None
) -> Tensor:
    """Compute multi-head scaled dot-product attention.

    Args:
        queries: (B, N, C).
        keys: (B, M, C).
        values: (B, M, C).
        num_heads: Number of heads, which divides C.
        mask: (B, N, M), True if a query attends to a key; None for all.

    Returns:
        (B, N, C).
    """
    # Each to (B, heads, N or M, C / heads).
    queries, keys, values = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    mixed = F.scaled_dot_product_attention(queries, keys, values, None if mask is None else mask[:, None])
    return mixed.transpose(1, 2).flatten(2)


def compute_window_attention(
    queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, windows: Windows, mask: Tensor | None
) -> Tensor:
    """Compute multi-head attention of every cell to the cells of its window.

    Args:
        queries: (B, N, C), of the cells of the windows' grid.
        keys: (B, N, C).
        values: (B, N, C).
        num_heads: Number of heads, which divides C.
        windows: The windows.
        mask: `windows.attention_mask`.

    Returns:
        (B, N, C).
    """
    parts = [windows.partition_cells(x) for x in (queries, keys, values)]
    if windows.pooled:  # the mean of projected cells is the projection of their mean
        means = [windows.window_means(x)[:, None].expand(-1, windows.num_windows, -1, -1) for x in (keys, values)]
        parts[1:] = [torch.cat(pair, dim=2) for pair in zip(parts[1:], means, strict=True)]
    # Windows become samples of a larger batch.
    query, key, value = (x.flatten(0, 1) for x in parts)
    batch_mask = None if mask is None else mask.repeat(queries.shape[0], 1, 1)
    mixed = compute_attention(query, key, value, num_heads, batch_mask)
    return windows.merge_windows(mixed.reshape(parts[0].shape))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, the second one optionally with experts.

    With experts, the first `dim - part_features` outputs are common to all data sets (`fc2`) and the last
    `part_features` come from the expert of the sample's data set. All experts run on all samples: shapes then never
    depend on data, and every parameter has a gradient (0 for an unused expert), as parallel training requires.

    Args:
        dim: Channels of the tokens.
        hidden_dim: Channels between the two layers.
        num_experts: Number of experts; 0 for none.
        part_features: Outputs of every expert.
    """

    def __init__(self, dim: int, hidden_dim: int, num_experts: int = 0, part_features: int = 0):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim - part_features if num_experts else dim)
        self.experts = nn.ModuleList(nn.Linear(hidden_dim, part_features) for _ in range(num_experts))

    def forward(self, tokens: Tensor, source_indices: Tensor | None = None) -> Tensor:
        """Transform every token.

        Args:
            tokens: (B, N, C).
            source_indices: (B,), indices of the samples' experts; None without experts.

        Returns:
            (B, N, C).
        """
        hidden = F.gelu(self.fc1(tokens))
        common = self.fc2(hidden)
        if source_indices is None:
            return common
        all_experts = torch.stack([expert(hidden) for expert in self.experts], dim=1)  # (B, experts, N, part_features)
        # Selects the output of every sample's expert.
        samples = torch.arange(len(source_indices), device=source_indices.device)
        return torch.cat([common, all_experts[samples, source_indices]], dim=-1)


def drop_path(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Drop a residual branch for whole samples in training (stochastic depth; Huang et al. 2016, arXiv:1603.09382).

    The remaining samples are scaled by 1 / (1 - rate), which keeps the mean.

    Args:
        branch: (B, N, C), output of the branch.
        rate: Probability of dropping a sample.
        training: False returns the branch as it is.

    Returns:
        (B, N, C).
    """
    if not training or rate == 0:
        return branch
    # One draw per sample, for all its tokens and channels.
    keep_mask = torch.rand(len(branch), 1, 1, device=branch.device) >= rate
    return branch * (keep_mask / (1 - rate)).to(branch.dtype)


def list_drop_path_rates(max_rate: float, num_blocks: int) -> list[float]:
    """List the rates of `drop_path` of every block: from 0 in the first to `max_rate` in the last, in equal steps.

    Deeper blocks are dropped more often (Huang et al. 2016, section 3), since early features serve all later blocks.
    """
    return [max_rate * i / max(num_blocks - 1, 1) for i in range(num_blocks)]


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward layers, each normalized before and added to its input.

    Args:
        dim: Channels of the tokens.
        num_heads: Number of attention heads.
        mlp_ratio: Channels inside the feed-forward layers, as a multiple of `dim`.
        drop_path_rate: Probability of dropping a branch in training.
        num_experts: Number of experts of the feed-forward layers.
        part_features: Outputs of every expert.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.0,
        num_experts: int = 0,
        part_features: int = 0,
    ):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, mlp_ratio * dim, num_experts, part_features)

    def forward(
        self,
        tokens: Tensor,
        windows: Windows | None = None,
        mask: Tensor | None = None,
        source_indices: Tensor | None = None,
    ) -> Tensor:
        """Return the block's output for tokens (B, N, C), of the same shape; see its layers for the arguments."""
        tokens = tokens + drop_path(self.attn(self.norm1(tokens), windows, mask), self.drop_path_rate, self.training)
        return tokens + drop_path(self.mlp(self.norm2(tokens), source_indices), self.drop_path_rate, self.training)
