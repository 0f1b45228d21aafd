"""Greedy non-maximum suppression: a candidate is kept if no kept one of higher score overlaps it too much."""

from __future__ import annotations

__all__ = ['NMS_BLOCK_SIZE', 'greedy_nms', 'nms']

from collections.abc import Callable

import numpy as np

from poseplug.core.boxes import box_iou

NMS_BLOCK_SIZE = 32  # candidates whose overlaps are computed at once: their table stays in the processor's cache


def greedy_nms(
    scores: np.ndarray, overlap_fn: Callable[[np.ndarray, np.ndarray], np.ndarray], threshold: float
) -> np.ndarray:
    """Suppress every candidate whose overlap with a kept one of higher score is above a threshold.

    A block of the highest-scoring candidates is compared at once with all that remain; what they suppress is never
    compared again, so that clustered candidates cost little.

    Args:
        scores: (N,).
        overlap_fn: takes indices (A,) and (B,) of candidates and returns their overlaps (A, B).
        threshold: an overlap above it suppresses.

    Returns:
        The indices of the kept candidates, highest score first; of equal scores the first comes first.
    """
    remaining = np.argsort(-np.asarray(scores), kind='stable')
    selected: list[int] = []
    while len(remaining):
        block, alive = remaining[:NMS_BLOCK_SIZE], np.ones(len(remaining), dtype=bool)
        suppresses = overlap_fn(block, remaining) > threshold
        for i, index in enumerate(block):
            # Only what is still alive suppresses: greedy, not all against all.
            if alive[i]:
                selected.append(int(index))
                alive[i + 1 :] &= ~suppresses[i, i + 1 :]
        remaining = remaining[len(block) :][alive[len(block) :]]
    return np.array(selected, dtype=int)


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float = 0.65) -> np.ndarray:
    """Suppress every box whose IoU with a kept one of higher score is above a threshold.

    Args:
        boxes: (N, 4; xyxy).
        scores: (N,).
        threshold: an IoU, from 0 to 1.

    Returns:
        The indices of the kept boxes, highest score first.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
        >>> nms(boxes, np.array([0.8, 0.9, 0.7])).tolist()
        [1, 2]
    """
    return greedy_nms(scores, lambda a, b: box_iou(boxes[a], boxes[b]), threshold)
