"""Greedy non-maximum suppression: the best stays, whatever overlaps it too much goes, and so on down the scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

BLOCK = 32  # candidates whose overlaps are computed at once: their table stays in the processor's cache


def greedy(
    scores: np.ndarray, overlaps: Callable[[np.ndarray, np.ndarray], np.ndarray], threshold: float
) -> np.ndarray:
    """The places of those that stay, best first; of equal scores the first comes first.

    A block of the best candidates is compared with all that are left at once; what they suppress is never compared
    again, so that clustered candidates cost little.

    Args:
        scores: (N,).
        overlaps: from places (A,) and (B,) to their overlaps (A, B).
        threshold: an overlap above it suppresses.
    """
    left = np.argsort(-np.asarray(scores), kind='stable')
    kept: list[int] = []
    while len(left):
        best, alive = left[:BLOCK], np.ones(len(left), dtype=bool)
        suppressed = overlaps(best, left) > threshold
        for i, place in enumerate(best):
            if alive[i]:
                kept.append(int(place))
                alive[i + 1 :] &= ~suppressed[i, i + 1 :]
        left = left[len(best) :][alive[len(best) :]]
    return np.array(kept, dtype=int)


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(N, M) shares of the union that boxes (N, 4) and (M, 4), as two corners, have in common; 0 without an extent."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    union = box_areas(one)[:, None] + box_areas(other)[None] - common
    return common / np.where(union > 0, union, 1)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) px² of boxes (N, 4) as two corners; 0 where the second lies before the first."""
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float = 0.65) -> np.ndarray:
    """The places of the boxes (N, 4; two corners) that stay, best of `scores` (N,) first."""
    return greedy(scores, lambda a, b: box_iou(boxes[a], boxes[b]), threshold)
