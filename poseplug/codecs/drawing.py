"""Gaussians on a grid, and how those of several people share a map."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Grid


def gaussians(keypoints: Tensor, drawn: Tensor, grid: Grid, sigma: float) -> Tensor:
    """A Gaussian of peak 1 around each joint: (..., K, 2) and (..., K) to (..., K, H, W).

    `sigma` is in input pixels. A joint that is not `drawn` leaves its map empty, whatever its position says.
    """
    placed = torch.where(drawn[..., None], keypoints, math.inf)  # infinitely far: the Gaussian of it is 0 everywhere
    columns, rows = grid.axes(keypoints)
    across = bell(columns - placed[..., 0, None], sigma)
    down = bell(rows - placed[..., 1, None], sigma)
    return down[..., :, None] * across[..., None, :]


def cut_gaussians(
    keypoints: Tensor, drawn: Tensor, grid: Grid, sigma: float, cut: float, how: str, background: bool
) -> Tensor:
    """What `merge(gaussians(...))` gives with values of at most `cut` as 0: (B, N, K, 2) to (B, C, H, W).

    Only the cells that a joint reaches are computed; people meet on the map itself, and joints on the `background`.
    """
    values, places = patches(keypoints, drawn, grid, sigma, cut)
    values, places = (p.transpose(1, 2).flatten(2) for p in (values, places))
    width, height = grid.size
    batch, joints = values.shape[:2]
    maps = values.new_zeros(batch, joints + background, height * width)
    several = how == 'add' and keypoints.shape[1] > 1
    if several:
        maps[:, :joints].scatter_add_(2, places, values).clamp_(max=1.0)
    else:
        maps[:, :joints].scatter_reduce_(2, places, values, 'amax')
    if background and several:
        fill_background(maps)
    elif background:
        maps[:, joints].scatter_reduce_(1, places.flatten(1), values.flatten(1), 'amax').neg_().add_(1.0)
    return maps.unflatten(2, (height, width))


def patches(keypoints: Tensor, drawn: Tensor, grid: Grid, sigma: float, cut: float) -> tuple[Tensor, Tensor]:
    """The square of cells around each joint that a Gaussian above `cut` reaches: values and places, (..., K, P * P).

    Places count row by row; cells beyond the grid, and those of joints that are not drawn, have the value 0.
    """
    reach = math.ceil(sigma * math.sqrt(-2 * math.log(cut)) / min(grid.strides))
    placed = torch.where(drawn[..., None], keypoints, math.inf)  # off the grid, where all cells are 0
    last = keypoints.new_tensor(grid.size)[:, None] - 1
    first = (grid.cells(placed).floor() - (reach - 1))[..., None].clamp(min=-2.0 * reach).minimum(last + 1)
    cells = first + torch.arange(2 * reach, device=keypoints.device)
    inside = cells.clamp(min=0.0).minimum(last)
    line = torch.where(cells == inside, bell(grid.pixels(cells.mT).mT - placed[..., None], sigma), 0.0)
    values = line[..., 1, :, None] * line[..., 0, None, :]
    places = inside[..., 1, :, None] * grid.size[0] + inside[..., 0, None, :]
    return F.threshold(values, cut, 0.0, inplace=True).flatten(-2), places.flatten(-2).long()


def bell(distance: Tensor, sigma: float) -> Tensor:
    """exp(-d²/2σ²), written over `distance`; 0 below 1e-18, since a processor is ten times slower on tinier numbers."""
    exponents = distance.square_().mul_(-0.5 / sigma**2).clamp_(min=-42.0)
    return F.threshold(exponents.exp_(), 1e-18, 0.0, inplace=True)


def near(keypoints: Tensor, grid: Grid, sigma: float) -> Tensor:
    """(..., K) whether a joint's Gaussian reaches the grid: at most 3 sigma and one cell beyond the outermost cells.

    The rule by which the MSRA family (Xiao et al. 2018) leaves a joint beyond the crop out of the loss.
    """
    cells, margin = grid.cells(keypoints), 3 * sigma / min(grid.strides) + 1
    last = keypoints.new_tensor(grid.size) - 1
    return ((cells >= -margin) & (cells < last + margin)).all(dim=-1)


def merge(maps: Tensor, how: str) -> Tensor:
    """The maps of N people (B, N, K, H, W) as one stack (B, K, H, W): by 'max', or by 'add', capped at 1."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return maps.amax(dim=1) if how == 'max' and maps.shape[1] else maps.sum(dim=1).clamp(max=1.0)


def fill_background(maps: Tensor) -> Tensor:
    """Maps (B, K + 1, ...), the last of them made 1 minus the largest of the others, at least 0."""
    torch.sub(1.0, maps[:, :-1].amax(dim=1), out=maps[:, -1]).clamp_(min=0.0)
    return maps
