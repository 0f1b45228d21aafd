"""Gaussians on a grid, and how those of several people share a map."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Grid


def gaussians(keypoints: Tensor, drawn: Tensor, grid: Grid, sigma: float, cut: float = 0.0) -> Tensor:
    """A Gaussian of peak 1 around each joint: (..., K, 2) and (..., K) to (..., K, H, W).

    `sigma` is in input pixels; values of at most `cut` become 0. A joint that is not `drawn` leaves its map empty,
    whatever its position says.
    """
    columns, rows = grid.axes(keypoints)
    placed = torch.where(drawn[..., None], keypoints, math.inf)  # infinitely far: the Gaussian of it is 0 everywhere
    across, down = (
        bell(axis - at[..., None], sigma) for axis, at in zip((columns, rows), placed.unbind(-1), strict=True)
    )
    maps = down[..., :, None] * across[..., None, :]
    return F.threshold(maps, cut, 0.0, inplace=True) if cut else maps


def bell(distance: Tensor, sigma: float) -> Tensor:
    """exp(-d²/2σ²), written over `distance`; 0 below 1e-18, since a processor is ten times slower on tinier numbers."""
    exponents = distance.square_().mul_(-0.5 / sigma**2).clamp_(min=-42.0)
    return F.threshold(exponents.exp_(), 1e-18, 0.0, inplace=True)


def near(keypoints: Tensor, grid: Grid, sigma: float) -> Tensor:
    """(..., K) whether a joint's Gaussian reaches the grid: at most 3 sigma and one cell beyond the outermost cells.

    The rule by which the MSRA family (Xiao et al. 2018) leaves a joint beyond the crop out of the loss.
    """
    cells, margin = grid.cells(keypoints), 3 * sigma / grid.stride + 1
    last = keypoints.new_tensor(grid.size) - 1
    return ((cells >= -margin) & (cells < last + margin)).all(dim=-1)


def merge(maps: Tensor, how: str) -> Tensor:
    """The maps of N people (B, N, K, H, W) as one stack (B, K, H, W): by 'max', or by 'add', capped at 1."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return maps.amax(dim=1) if how == 'max' else maps.sum(dim=1).clamp(max=1.0)


def with_background(maps: Tensor) -> Tensor:
    """Maps (B, K, H, W) with one more channel: 1 minus the largest of them, at least 0."""
    return torch.cat([maps, (1 - maps.amax(dim=1, keepdim=True)).clamp(min=0.0)], dim=1)
