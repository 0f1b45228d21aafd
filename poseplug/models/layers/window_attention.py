"""Attention within windows with relative position biases, as in Swin and HRFormer.

Liu et al. 2021, arXiv:2103.14030; Yuan et al. 2021, arXiv:2110.09408. Unlike `attention.Windows`, the padding takes
part in the attention, as in the released networks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.models.layers.attention import GridSize

_MASKED = -100.0  # added to masked logits, as released; its exponential is 0 in single precision


class WindowAttention(nn.Module):
    """Multi-head attention of every cell to the cells of its square window, with a bias per relative position.

    Args:
        dim: Channels of the cells.
        num_heads: Number of heads, which divides `dim`.
        window_size: Side of a window in cells.
        shift: Rows and columns by which the windows are shifted. Cells of opposite borders that meet in a window do not
            attend to each other.
        center_padding: Whether the grid is padded on both sides to a multiple of the windows, and not at its end alone.
    """

    relative_positions: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int, shift: int = 0, center_padding: bool = False):
        super().__init__()
        self.num_heads, self.window_size, self.shift = num_heads, window_size, shift
        self.center_padding = center_padding
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer('relative_positions', index_relative_positions(window_size), persistent=False)

    def forward(self, cells: Tensor, grid: GridSize) -> Tensor:
        """Let the cells of every window attend to each other.

        Args:
            cells: (B, N, C), row by row.
            grid: (rows, columns) of the cells.

        Returns:
            (B, N, C).
        """
        left, right, top, bottom = self._compute_padding(grid)
        maps = F.pad(cells.unflatten(1, grid), (0, 0, left, right, top, bottom))
        padded_grid = (maps.shape[1], maps.shape[2])
        if self.shift:
            maps = maps.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = partition_windows(maps, self.window_size)  # (B, windows, cells, C)
        mixed = self._attend_in_windows(self.qkv(windows).flatten(0, 1), padded_grid)
        maps = merge_windows(self.proj(mixed).unflatten(0, windows.shape[:2]), padded_grid, self.window_size)
        if self.shift:
            maps = maps.roll((self.shift, self.shift), dims=(1, 2))
        return maps[:, top : top + grid[0], left : left + grid[1]].flatten(1, 2)

    def _attend_in_windows(self, projected: Tensor, grid: GridSize) -> Tensor:
        """Attention in windows that are samples of one batch: (B windows, cells, C) of (B windows, cells, 3 C)."""
        # Windows are samples, since torch has a fast kernel for four dimensions alone: 16 times as fast on a CPU.
        # (3, B windows, heads, cells, C / heads)
        queries, keys, values = projected.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self._compute_bias(grid, projected.dtype)
        if self.shift:
            bias = bias.repeat(projected.shape[0] // bias.shape[0], 1, 1, 1)
        mixed = F.scaled_dot_product_attention(queries, keys, values, bias)
        return mixed.transpose(1, 2).flatten(2)

    def _compute_padding(self, grid: GridSize) -> tuple[int, int, int, int]:
        """Columns left and right, and rows above and below the grid."""
        rows, columns = (-cells % self.window_size for cells in grid)
        left, top = (columns // 2, rows // 2) if self.center_padding else (0, 0)
        return left, columns - left, top, rows - top

    def _compute_bias(self, grid: GridSize, dtype: torch.dtype) -> Tensor:
        """What is added to the logits: (1, heads, N, N), or with shifted windows (windows, heads, N, N)."""
        bias = self.bias_table[self.relative_positions].permute(2, 0, 1)[None]
        if self.shift:
            same_region = mark_same_regions(grid, self.window_size, self.shift, bias.device)
            bias = bias + torch.where(same_region, 0.0, _MASKED)[:, None]
        return bias.to(dtype)


def index_relative_positions(window_size: int) -> Tensor:
    """Index every pair of cells of a window by their relative position.

    Args:
        window_size: Side of the window in cells.

    Returns:
        (N, N) for the N cells of the window, row by row; each below (2 window_size - 1)^2.
    """
    y, x = torch.meshgrid(torch.arange(window_size), torch.arange(window_size), indexing='ij')
    y, x = y.flatten(), x.flatten()
    rows, columns = (axis[:, None] - axis + window_size - 1 for axis in (y, x))
    # Both axes from 0 to 2 window_size - 2, as one index of the table.
    return rows * (2 * window_size - 1) + columns


def mark_same_regions(grid: GridSize, window_size: int, shift: int, device: torch.device) -> Tensor:
    """Mark the pairs of cells in a window of a shifted grid that were neighbors before the shift.

    Args:
        grid: (rows, columns), multiples of `window_size`.
        window_size: Side of a window in cells.
        shift: Rows and columns by which the grid was shifted.
        device: Of the result.

    Returns:
        (windows, N, N), True for cells of one region.
    """
    labels = []
    for cells in grid:
        index = torch.arange(cells, device=device)
        # Three regions per axis: all windows but the last, and the two parts of the last, which the shift joins.
        labels.append((index >= cells - window_size).long() + (index >= cells - shift).long())
    regions = 3 * labels[0][:, None] + labels[1]
    windows = partition_windows(regions[None, ..., None], window_size)[0]
    return windows == windows.mT


def partition_windows(maps: Tensor, window_size: int) -> Tensor:
    """Cut maps (B, H, W, C) into windows (B, windows, cells, C), row by row."""
    tiles = maps.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size)).transpose(2, 3)
    return tiles.flatten(3, 4).flatten(1, 2)


def merge_windows(windows: Tensor, grid: GridSize, window_size: int) -> Tensor:
    """Undo `partition_windows`: windows (B, windows, cells, C) to maps (B, H, W, C) of a grid."""
    counts = (grid[0] // window_size, grid[1] // window_size)
    tiles = windows.unflatten(2, (window_size, window_size)).unflatten(1, counts).transpose(2, 3)
    return tiles.flatten(3, 4).flatten(1, 2)
