"""Blocks of vision transformers: attention over all cells or in windows, layers with experts, stochastic depth.

Transformer block: Dosovitskiy et al. 2021, arXiv:2010.11929. Shifted windows: Liu et al. 2021, arXiv:2103.14030. Pooled
windows and experts: Xu et al. 2022, arXiv:2204.12484 and arXiv:2212.04246.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Grid = tuple[int, int]  # (rows, columns)


class Windows:
    """A grid of cells cut into windows, both (rows, columns); cells are padded at the end where it does not divide.

    `shifted` moves the windows by half of one on each axis that has more than one; what then meets from opposite
    borders does not see one another. With `pooled`, each window also sees the mean of every window, unless it is the
    only one.
    """

    def __init__(self, grid: Grid, window: Grid, shifted: bool = False, pooled: bool = False):
        self.grid, self.window = grid, window
        self.many = (-(-grid[0] // window[0]), -(-grid[1] // window[1]))
        self.count = self.many[0] * self.many[1]
        self.cells = window[0] * window[1]
        self.shift = tuple(
            side // 2 if shifted and many > 1 else 0 for side, many in zip(window, self.many, strict=True)
        )
        self.spare = tuple(m * w - g for m, w, g in zip(self.many, window, grid, strict=True))
        self.pooled = pooled and self.count > 1

    def split(self, cells: Tensor) -> Tensor:
        """Cells (B, N, C), row by row, to windows (B, windows, cells of one, C)."""
        maps = F.pad(cells.unflatten(1, self.grid), (0, 0, 0, self.spare[1], 0, self.spare[0]))
        if any(self.shift):
            maps = maps.roll((-self.shift[0], -self.shift[1]), dims=(1, 2))
        (rows, columns), (height, width) = self.many, self.window
        tiles = maps.reshape(len(maps), rows, height, columns, width, maps.shape[-1]).transpose(2, 3)
        return tiles.reshape(len(maps), self.count, self.cells, maps.shape[-1])

    def join(self, windows: Tensor) -> Tensor:
        """What `split` gives, back to cells (B, N, C)."""
        (rows, columns), (height, width) = self.many, self.window
        tiles = windows.reshape(len(windows), rows, columns, height, width, windows.shape[-1]).transpose(2, 3)
        maps = tiles.reshape(len(windows), rows * height, columns * width, windows.shape[-1])
        if any(self.shift):
            maps = maps.roll(self.shift, dims=(1, 2))
        return maps[:, : self.grid[0], : self.grid[1]].flatten(1, 2)

    def means(self, cells: Tensor) -> Tensor:
        """Cells (B, N, C) to the mean of each unshifted window (B, windows, C), over the cells that it really has."""
        maps = cells.unflatten(1, self.grid).permute(0, 3, 1, 2)
        return F.avg_pool2d(maps, self.window, ceil_mode=True).flatten(2).transpose(1, 2)

    def mask(self, device: torch.device) -> Tensor | None:
        """(windows, cells, cells and means): who sees whom in each window; None where everybody sees everybody."""
        if not any(self.shift) and not any(self.spare):
            return None
        rows, columns = (self._sides(axis, device) for axis in (0, 1))
        region = self.split((1 + rows[:, None] + 2 * columns).reshape(1, -1, 1))[0]  # 1 to 4, and 0 for padding
        same = region == region.mT
        means = same.new_ones(self.count, self.cells, self.count if self.pooled else 0)
        return torch.cat([same, means], dim=2)

    def _sides(self, axis: int, device: torch.device) -> Tensor:
        """1 for the rows (or columns) that the shift wraps to the other border, 0 for the rest."""
        return (torch.arange(self.grid[axis], device=device) < self.shift[axis]).long()


class Attention(nn.Module):
    """Multi-head self-attention, over all tokens or within windows of cells."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, windows: Windows | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, N, C) to the same shape; with `windows`, N are the cells of their grid, and `mask` is theirs."""
        queries, keys, values = self.qkv(tokens).chunk(3, dim=-1)
        if windows is None:
            return self.proj(attend(queries, keys, values, self.heads))
        return self.proj(attend_in_windows(queries, keys, values, self.heads, windows, mask))


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Queries (B, N, C), keys and values (B, M, C) to (B, N, C); `mask` (B, N, M) is True where a query sees a key."""
    # each to (B, heads, N or M, C / heads)
    queries, keys, values = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    seen = F.scaled_dot_product_attention(queries, keys, values, None if mask is None else mask[:, None])
    return seen.transpose(1, 2).flatten(2)


def attend_in_windows(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, windows: Windows, mask: Tensor | None
) -> Tensor:
    """Queries, keys and values of the cells (B, N, C) to (B, N, C), each cell seeing its window."""
    parts = [windows.split(x) for x in (queries, keys, values)]
    if windows.pooled:  # the mean of projected cells is the projection of their mean
        means = [windows.means(x)[:, None].expand(-1, windows.count, -1, -1) for x in (keys, values)]
        parts[1:] = [torch.cat(both, dim=2) for both in zip(parts[1:], means, strict=True)]
    query, key, value = (x.flatten(0, 1) for x in parts)
    seen = attend(query, key, value, heads, None if mask is None else mask.repeat(len(queries), 1, 1))
    return windows.join(seen.reshape(parts[0].shape))


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them. With experts, the second is shared in part.

    The first `dim - part` outputs are everybody's (`fc2`), the last `part` those of the expert of a sample's data set.
    All experts run on all samples, so that shapes never depend on data and every parameter has a gradient (0 where
    its expert was not asked), as training in parallel wants.
    """

    def __init__(self, dim: int, hidden: int, experts: int = 0, part: int = 0):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim - part if experts else dim)
        self.experts = nn.ModuleList(nn.Linear(hidden, part) for _ in range(experts))

    def forward(self, tokens: Tensor, domains: Tensor | None = None) -> Tensor:
        """(B, N, C) to the same shape; `domains` (B,) are the samples' experts."""
        hidden = F.gelu(self.fc1(tokens))
        shared = self.fc2(hidden)
        if domains is None:
            return shared
        every = torch.stack([expert(hidden) for expert in self.experts], dim=1)  # (B, experts, N, part)
        own = every[torch.arange(len(domains), device=domains.device), domains]
        return torch.cat([shared, own], dim=-1)


def drop_path(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382): in training, whole samples of a branch are left out.

    The others grow by 1 / (1 - rate), so that the mean stays.
    """
    if not training or rate == 0:
        return branch
    kept = torch.rand(len(branch), 1, 1, device=branch.device) >= rate
    return branch * (kept / (1 - rate)).to(branch.dtype)


class Block(nn.Module):
    """Attention and feed-forward layers, each normalised before and added to what came in."""

    def __init__(self, dim: int, heads: int, widening: int = 4, drop: float = 0.0, experts: int = 0, part: int = 0):
        super().__init__()
        self.drop = drop
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, widening * dim, experts, part)

    def forward(
        self,
        tokens: Tensor,
        windows: Windows | None = None,
        mask: Tensor | None = None,
        domains: Tensor | None = None,
    ) -> Tensor:
        """(B, N, C) to the same shape."""
        tokens = tokens + drop_path(self.attn(self.norm1(tokens), windows, mask), self.drop, self.training)
        return tokens + drop_path(self.mlp(self.norm2(tokens), domains), self.drop, self.training)
