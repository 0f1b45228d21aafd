"""Which pairs of peaks are limbs by heatmaps of the limbs' midpoints (the alternative in Cao et al. 2017, figure 5b).

Unlike a limb field, a midpoint says neither the direction of a limb nor which ends it has: of two crossing limbs whose
middles meet, all four pairs of ends have the same midpoint.
"""

from __future__ import annotations

import numpy as np

from poseplug.grouping.limb_scores import PeakPairs
from poseplug.grouping.paf_rules import PAFRules


def find_midpoint_limbs(
    pairs: PeakPairs, cells: np.ndarray, midpoints: np.ndarray, rules: PAFRules, stride: float
) -> tuple[PeakPairs, np.ndarray]:
    """Select the pairs that are limbs, and score them by the heatmap at their middle.

    Args:
        pairs: of peaks.
        cells: (P, 2) x, y of the peaks in cells.
        midpoints: (L, H, W) heatmap of the midpoints of each limb.
        rules: of which `paf_threshold` counts: a pair is a limb if the heatmap exceeds it.
        stride: input pixels per cell, without effect here.

    Returns:
        The pairs that are limbs, and their scores (M,).
    """
    middles = (cells[pairs.start_peaks] + cells[pairs.end_peaks]) / 2
    scores = _interpolate_heatmaps(midpoints, pairs.limb_indices, middles)
    is_limb = scores > max(rules.paf_threshold, 0.0)
    return pairs[is_limb], scores[is_limb]


def _interpolate_heatmaps(heatmaps: np.ndarray, channels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values (M,) of heatmaps (C, H, W) at points (M, 2) between the cells, one channel each, bilinearly."""
    last = np.array(heatmaps.shape[:0:-1]) - 1
    inside = np.clip(points, 0, last)
    low = np.floor(inside).astype(int)
    high = np.minimum(low + 1, last)
    x_fraction, y_fraction = (inside - low).T
    columns, rows = np.stack([low[:, 0], high[:, 0]]), np.stack([low[:, 1], high[:, 1]])
    upper = heatmaps[channels, rows[0], columns]
    lower = heatmaps[channels, rows[1], columns]
    lines = upper * (1 - y_fraction) + lower * y_fraction
    values: np.ndarray = lines[0] * (1 - x_fraction) + lines[1] * x_fraction
    return values
