"""The peaks of several instances in heatmaps, found on their device and at their size: nothing is enlarged."""

from __future__ import annotations

__all__ = [
    'CENTROID',
    'PEAK_REFINEMENTS',
    'cubic_weights',
    'find_local_maxima',
    'find_peaks',
    'refine_by_centroid',
    'refine_peaks',
    'select_top_peaks',
]

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.fields.peak_arrays import Peaks, drop_close_peaks
from poseplug.fields.refine import REFINEMENTS, gather_neighborhood, refine_keypoints

CENTROID = 'centroid'
PEAK_REFINEMENTS = (CENTROID, *(m for m in REFINEMENTS if m != 'second_peak'))  # that one assumes one peak per heatmap
# By number of compared neighbors: maxima are at least this far apart, so that a smaller minimum drops none of them.
_MIN_PEAK_DISTANCE_CELLS = {8: 2.0, 4: 1.0}


def find_peaks(
    heatmaps: Tensor,
    threshold: float,
    max_peaks: int = 127,
    refine: str = 'none',
    kernel_size: int = 11,
    min_distance_cells: float = 0.0,
    raw_heatmaps: Tensor | None = None,
    num_neighbors: int = 8,
    by_columns: bool = False,
) -> Peaks:
    """Find the local maxima above a threshold: the cells that are larger than their neighbors.

    Of neighbors with equal values the first, row by row, is the peak. A cell at the border can be a peak.

    Args:
        heatmaps: (B, K, H, W).
        threshold: a peak is larger than this.
        max_peaks: the largest peaks kept of each heatmap.
        refine: how peaks are refined between the cells, one of `PEAK_REFINEMENTS`.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'.
        min_distance_cells: a peak closer than this to an earlier kept one of its heatmap is dropped.
        raw_heatmaps: (B, K, H, W) from which scores are taken, where `heatmaps` were smoothed.
        num_neighbors: 8, or the 4 beside, above and below a cell; see `find_local_maxima`.
        by_columns: whether of two close peaks the one farther left is kept; by default it is the upper one.

    Returns:
        The peaks by image, keypoint, row and column.
    """
    heatmaps = heatmaps.contiguous()
    height, width = heatmaps.shape[-2:]
    size = height * width
    indices = select_top_peaks(
        heatmaps.flatten(), find_local_maxima(heatmaps, threshold, num_neighbors), size, max_peaks
    )
    if min_distance_cells > _MIN_PEAK_DISTANCE_CELLS[num_neighbors]:
        keep = drop_close_peaks(indices.cpu().numpy(), width, size, min_distance_cells, by_columns)
        indices = indices[torch.from_numpy(keep).to(indices.device)]
    channels, inside = indices.div(size, rounding_mode='floor'), indices % size
    cells = torch.stack([inside % width, inside.div(width, rounding_mode='floor')], dim=-1)
    scores = (heatmaps if raw_heatmaps is None else raw_heatmaps.contiguous()).flatten()[indices]
    cells = refine_peaks(heatmaps.flatten(0, 1), channels, cells, refine, kernel_size)
    # One table, and so one transfer and one synchronization with a GPU.
    table = torch.cat([cells.double(), scores.double()[:, None], channels[:, None]], dim=1).cpu().numpy()
    return Peaks(table[:, :2].astype(np.float32), table[:, 2].astype(np.float32), table[:, 3].astype(np.int64))


def find_local_maxima(heatmaps: Tensor, threshold: float, num_neighbors: int = 8) -> Tensor:
    """Find the local maxima above a threshold: the cells that are larger than their neighbors.

    Args:
        heatmaps: (B, K, H, W).
        threshold: a peak is larger than this.
        num_neighbors: 8, where the first of equal neighbors, row by row, is a peak; or 4 (left, right, above, below),
            where equal neighbors are no peaks.

    Returns:
        The indices (M,) of the peaks in the flattened heatmaps, in ascending order.
    """
    # Only the few cells above the threshold are compared, with one neighbor after the other, and those that are no
    # peaks are dropped at once: 0.5 ms for 17 heatmaps of 128 x 128 cells and three peaks each, against 2.7 ms if all
    # cells are compared.
    height, width = heatmaps.shape[-2:]
    padded = F.pad(heatmaps, (1, 1, 1, 1), value=-torch.inf).flatten()
    padded_height, padded_width = height + 2, width + 2
    padded_size = padded_height * padded_width
    indices = _find_indices_above(padded, threshold)
    values = padded[indices]
    is_strict = num_neighbors == 4
    steps = (padded_width, 1) if is_strict else (padded_width + 1, padded_width, padded_width - 1, 1)
    for step in steps:  # back to the earlier neighbors, and forward
        is_peak = values > padded[indices - step]
        indices, values = indices[is_peak], values[is_peak]
        later = padded[indices + step]
        is_peak = values > later if is_strict else values >= later
        indices, values = indices[is_peak], values[is_peak]
    channels, inside = indices.div(padded_size, rounding_mode='floor'), indices % padded_size
    rows, columns = inside.div(padded_width, rounding_mode='floor') - 1, inside % padded_width - 1
    return (channels * height + rows) * width + columns


def _find_indices_above(values: Tensor, threshold: float) -> Tensor:
    """The indices (M,) of the values (N,) above a threshold, in ascending order."""
    # On a CPU NumPy compares and searches several times faster than torch; it has no bfloat16.
    if values.device.type == 'cpu' and values.dtype != torch.bfloat16:
        return torch.from_numpy(np.flatnonzero(values.detach().numpy() > threshold))
    return (values > threshold).nonzero()[:, 0]


def select_top_peaks(values: Tensor, indices: Tensor, cells_per_heatmap: int, max_peaks: int) -> Tensor:
    """Select the largest peaks of each heatmap.

    Args:
        values: (B * K * H * W,) flattened heatmaps.
        indices: (M,) of the peaks in `values`, in ascending order.
        cells_per_heatmap: H * W.
        max_peaks: peaks kept of each heatmap at most.

    Returns:
        The indices that are kept, in ascending order.
    """
    counts = torch.bincount(indices.div(cells_per_heatmap, rounding_mode='floor'))
    if len(indices) <= max_peaks or int(counts.max()) <= max_peaks:
        return indices
    by_value = indices[torch.argsort(values[indices], descending=True, stable=True)]
    order = torch.argsort(by_value.div(cells_per_heatmap, rounding_mode='floor'), stable=True)
    grouped = by_value[order]  # heatmap by heatmap, the largest peak first
    starts = torch.cumsum(counts, 0) - counts
    start_of_peak = starts[grouped.div(cells_per_heatmap, rounding_mode='floor')]
    ranks = torch.arange(len(grouped), device=indices.device) - start_of_peak
    return grouped[ranks < max_peaks].sort().values


def refine_peaks(heatmaps: Tensor, channels: Tensor, cells: Tensor, refine: str, kernel_size: int) -> Tensor:
    """Refine several peaks per heatmap between the cells.

    Args:
        heatmaps: (C, H, W).
        channels: (M,) heatmap of each peak, in ascending order.
        cells: (M, 2) x, y of the peaks, whole cells.
        refine: one of `PEAK_REFINEMENTS`.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'.

    Returns:
        (M, 2) x, y in cells.
    """
    if refine == 'none' or not len(cells):
        return cells.to(heatmaps)
    # A table of heatmaps by peaks, because `refine_keypoints` reads one peak per (expanded) heatmap.
    counts = torch.bincount(channels, minlength=len(heatmaps))
    ranks = torch.arange(len(cells), device=cells.device) - (torch.cumsum(counts, 0) - counts)[channels]
    max_count = int(counts.max())
    table = cells.new_zeros(len(heatmaps), max_count, 2)
    table[channels, ranks] = cells
    expanded = heatmaps[:, None].expand(-1, max_count, -1, -1)
    if refine == CENTROID:
        return refine_by_centroid(expanded, table)[channels, ranks]
    return refine_keypoints(expanded, table, refine, kernel_size)[channels, ranks]


def refine_by_centroid(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """Refine peaks as the OpenPose library does, which enlarges the heatmaps 8 times.

    The cells around each peak are enlarged 8 times by cubic interpolation. The result is the centroid of the 7 x 7
    enlarged positions around their maximum, weighted by their values; negative ones count as 0.

    Args:
        heatmaps: (B, K, H, W).
        cells: (B, K, 2) x, y of the peaks, whole cells.

    Returns:
        (B, K, 2) x, y in cells.
    """
    # 7 x 7 cells: positions reach 14.5 / 8 cells from the middle one, and a cubic 2 cells beyond.
    around = gather_neighborhood(heatmaps, cells, 3).movedim((0, 1), (2, 3)).double()
    weights = torch.from_numpy(cubic_weights(8, 15)).to(heatmaps.device)
    fine = weights @ around @ weights.T  # (B, K, 30, 30), of which the middle 24 x 24 are at most 1 cell away
    top = fine[..., 3:-3, 3:-3].flatten(-2).argmax(dim=-1)
    corner = torch.stack([top % 24, top.div(24, rounding_mode='floor')], dim=-1)
    steps = torch.arange(7, device=heatmaps.device)
    columns, rows = (corner[..., axis, None] + steps for axis in (0, 1))
    indices = (rows[..., :, None] * 30 + columns[..., None, :]).flatten(-2)
    window = fine.flatten(-2).gather(-1, indices).clamp(min=0).unflatten(-1, (7, 7))
    total = window.sum(dim=(-2, -1)).clamp(min=1e-12)
    x = (window.sum(dim=-2) * columns).sum(dim=-1) / total
    y = (window.sum(dim=-1) * rows).sum(dim=-1) / total
    return cells + ((torch.stack([x, y], dim=-1) - 14.5) / 8).to(heatmaps)


@lru_cache(maxsize=4)
def cubic_weights(scale: int, reach: int) -> np.ndarray:
    """Return the matrix (2 reach, 7) that interpolates 7 cells at positions around the middle one.

    The positions lie up to `reach` / `scale` cells from the middle cell, each in the middle of one of the `scale` parts
    of a cell. The cubic has the parameter -0.75, as in OpenCV and torch.
    """
    positions = (np.arange(-reach, reach) + 0.5) / scale
    distance = abs(positions[:, None] - np.arange(-3, 4))
    inner = (1.25 * distance - 2.25) * distance * distance + 1
    outer = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, inner, np.where(distance < 2, outer, 0.0))
