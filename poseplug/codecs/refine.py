"""Peaks of heatmaps, and how they are placed between the cells: not at all, by a quarter step, or by DARK.

DARK: Zhang et al. 2020 (arXiv:1910.06278): the maps are smoothed (modulation), and a second-order Taylor expansion of
their logarithm gives the offset from the largest cell.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Largest cell of each map (B, K, H, W): its x, y (B, K, 2; whole cells) and its value (B, K)."""
    width = maps.shape[-1]
    value, place = maps.flatten(2).max(dim=2)
    return torch.stack([place % width, place.div(width, rounding_mode='floor')], dim=-1), value


def refine(maps: Tensor, cells: Tensor, how: str, kernel: int = 11) -> Tensor:
    """Peaks (B, K, 2) in whole cells to positions in cells, by 'none', 'quarter' or 'dark'."""
    if how == 'none':
        return cells.to(maps)
    return cells + (quarter_step(maps, cells) if how == 'quarter' else dark_step(maps, cells, kernel))


def neighbourhood(maps: Tensor, cells: Tensor, radius: int) -> Tensor:
    """The square of cells around each peak, 0 beyond the map: (B, K, H, W) to (B, K, 2r+1, 2r+1)."""
    padded = F.pad(maps, [radius] * 4)
    steps = torch.arange(2 * radius + 1, device=maps.device)
    rows, columns = cells[..., 1, None] + steps, cells[..., 0, None] + steps
    places = rows[..., :, None] * padded.shape[-1] + columns[..., None, :]
    return padded.flatten(2).gather(2, places.flatten(2)).view(*places.shape)


def interior(maps: Tensor, cells: Tensor, margin: int) -> Tensor:
    """(B, K, 1) whether a peak is at least `margin` cells away from every border."""
    last = torch.tensor([maps.shape[-1] - 1, maps.shape[-2] - 1], device=cells.device)
    return ((cells >= margin) & (cells <= last - margin)).all(dim=-1, keepdim=True)


def quarter_step(maps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the higher neighbour on each axis; none at the border."""
    near = neighbourhood(maps, cells, 1)
    slope = torch.stack([near[..., 1, 2] - near[..., 1, 0], near[..., 2, 1] - near[..., 0, 1]], dim=-1)
    return 0.25 * slope.sign() * interior(maps, cells, 1)


def dark_step(maps: Tensor, cells: Tensor, kernel: int) -> Tensor:
    """DARK's offset (B, K, 2) in cells: smoothing by a Gaussian of odd size `kernel`, then -H⁻¹g of the logarithm.

    The second differences take steps of two cells; peaks within two cells of the border stay.
    """
    reach = 2 + kernel // 2
    weights = smoothing(kernel).to(maps)
    near = weights @ neighbourhood(maps, cells, reach) @ weights.T
    top = maps.flatten(2).amax(dim=2)[..., None, None]
    f = torch.log((near * (top / near.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-10))).clamp(min=1e-10))
    gx, gy = (f[..., 2, 3] - f[..., 2, 1]) / 2, (f[..., 3, 2] - f[..., 1, 2]) / 2
    hxx = (f[..., 2, 4] - 2 * f[..., 2, 2] + f[..., 2, 0]) / 4
    hyy = (f[..., 4, 2] - 2 * f[..., 2, 2] + f[..., 0, 2]) / 4
    hxy = (f[..., 3, 3] - f[..., 1, 3] - f[..., 3, 1] + f[..., 1, 1]) / 4
    det = hxx * hyy - hxy * hxy
    sound = (det != 0)[..., None] & interior(maps, cells, 2)
    det = torch.where(det != 0, det, 1.0)
    step = torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], dim=-1) / det[..., None]
    return torch.where(sound, step, 0.0)


@lru_cache(maxsize=16)
def smoothing(kernel: int) -> Tensor:
    """(5, kernel + 4) rows that blur a line of cells and keep its middle five; the deviation follows OpenCV's rule."""
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    steps = torch.arange(kernel) - kernel // 2
    bell = torch.exp(-(steps**2) / (2 * sigma**2))
    bell = bell / bell.sum()
    return torch.stack([F.pad(bell, (i, 4 - i)) for i in range(5)])


def dark_kernel(sigma: float) -> int:
    """The odd blur size that belongs to a Gaussian of `sigma` cells: 1 gives 3, 2 gives 11, 3 gives 17."""
    size = round(2 * ((sigma - 0.8) / 0.3 + 1) + 1)
    return max(3, size + 1 - size % 2)
