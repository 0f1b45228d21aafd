"""Gaussians on a grid, and how those of several people share a map."""

from __future__ import annotations

import torch
from torch import Tensor

from poseplug.codecs.base import Grid


def gaussians(keypoints: Tensor, drawn: Tensor, grid: Grid, sigma: float, cut: float = 0.0) -> Tensor:
    """A Gaussian of peak 1 around each joint: (..., K, 2) and (..., K) to (..., K, H, W).

    `sigma` is in input pixels; values below `cut` become 0. A joint that is not `drawn` leaves its map empty.
    """
    columns, rows = grid.axes(keypoints)
    gain = -0.5 / sigma**2
    across = torch.exp(gain * (columns - keypoints[..., 0, None]) ** 2)
    down = torch.exp(gain * (rows - keypoints[..., 1, None]) ** 2) * drawn[..., None]
    maps = down[..., :, None] * across[..., None, :]
    return torch.where(maps < cut, 0.0, maps) if cut else maps


def merge(maps: Tensor, how: str) -> Tensor:
    """The maps of N people (B, N, K, H, W) as one stack (B, K, H, W): by 'max', or by 'add', capped at 1."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return maps.amax(dim=1) if how == 'max' else maps.sum(dim=1).clamp(max=1.0)


def with_background(maps: Tensor) -> Tensor:
    """Maps (B, K, H, W) with one more channel: 1 minus the largest of them, at least 0."""
    return torch.cat([maps, (1 - maps.amax(dim=1, keepdim=True)).clamp(min=0.0)], dim=1)
