"""Peaks that were found in heatmaps, as arrays of NumPy."""

from __future__ import annotations

__all__ = ['Peaks', 'drop_close_peaks']

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Peaks:
    """Peaks of the heatmaps of a batch.

    Attributes:
        cells: (M, 2) x, y in cells.
        scores: (M,) values of the heatmaps.
        channels: (M,) image index * K + keypoint index, in ascending order.
    """

    cells: np.ndarray
    scores: np.ndarray
    channels: np.ndarray

    def for_image(self, image_index: int, num_keypoints: int) -> Peaks:
        """Return the peaks of one image; their channels are the keypoint indices."""
        first_channel = image_index * num_keypoints
        start, stop = np.searchsorted(self.channels, [first_channel, first_channel + num_keypoints])
        part = slice(start, stop)
        return Peaks(self.cells[part], self.scores[part], self.channels[part] - first_channel)

    def __len__(self) -> int:
        return len(self.scores)


def drop_close_peaks(
    indices: np.ndarray, width: int, cells_per_heatmap: int, min_distance_cells: float, by_columns: bool = False
) -> np.ndarray:
    """Check which peaks are not closer than a distance to an earlier kept one of their heatmap.

    Args:
        indices: (M,) of the peaks in the flattened heatmaps, in ascending order.
        width: cells per row.
        cells_per_heatmap: H * W.
        min_distance_cells: the smallest distance that is allowed.
        by_columns: whether of two close peaks the one farther left is kept; by default it is the upper one.

    Returns:
        (M,) bool, False for the peaks to drop.
    """
    channels, inside = np.divmod(indices, cells_per_heatmap)
    points = np.stack([inside % width, inside // width], axis=1)
    keep = np.ones(len(points), dtype=bool)
    order = np.lexsort((points[:, 1], points[:, 0], channels)) if by_columns else np.arange(len(points))
    for group in np.split(order, np.flatnonzero(np.diff(channels)) + 1):
        close = np.linalg.norm(points[group][:, None] - points[group][None], axis=-1) < min_distance_cells
        for i in np.flatnonzero(np.tril(close, -1).any(axis=1)):
            keep[group[i]] = not (close[i, :i] & keep[group[:i]]).any()
    return keep
