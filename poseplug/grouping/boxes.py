"""Overlaps of boxes and greedy non-maximum suppression of whole batches, in plain torch on the boxes' own device."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

FEW = 200  # boxes of a picture up to which OpenCV's loop takes less time on a CPU than the table of all overlaps


def areas_of(boxes: Tensor) -> Tensor:
    """(...) px² of boxes (..., 4; x, y of two corners); 0 where the second corner does not lie beyond the first."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def common(one: Tensor, other: Tensor) -> Tensor:
    """(...) px² that boxes (..., 4) share, those of each place with one another."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """(...) the share of their union that boxes (..., 4) have in common, from 0 to 1; 0 without an extent."""
    shared = common(one, other)
    union = areas_of(one) + areas_of(other) - shared
    return shared / torch.where(union > 0, union, 1)


def iou_table(one: Tensor, other: Tensor) -> Tensor:
    """(..., N, M) the IoU of every one of boxes (..., N, 4) with every one of (..., M, 4)."""
    return iou(one[..., :, None, :], other[..., None, :, :])


def staying(boxes: Tensor, counts: Tensor, threshold: float) -> Tensor:
    """Which boxes of each picture stay: whoever overlaps a better one that stays by more than `threshold` goes.

    Args:
        boxes: (B, M, 4; x, y of two corners), the best of every picture first.
        counts: (B, M) which of them are boxes at all.
        threshold: an IoU, from 0 to 1.

    Returns:
        (B, M), False where there is no box.
    """
    if boxes.device.type == 'cpu' and 0 < boxes.shape[1] <= FEW:
        return staying_by_loop(boxes, counts, threshold)
    return staying_by_table(boxes, counts, threshold)


def staying_by_table(boxes: Tensor, counts: Tensor, threshold: float) -> Tensor:
    """As `staying`, by the table of all overlaps.

    Whoever no staying better one overlaps stays. That is asked of everybody at once until nothing changes; the first
    n answers are right after n times, and nearly always all are after a few.
    """
    better = torch.ones(boxes.shape[1], boxes.shape[1], dtype=torch.bool, device=boxes.device).triu(1)
    suppresses = (iou_table(boxes, boxes) > threshold) & better & counts[:, :, None]
    stays = counts
    for _ in range(boxes.shape[1]):
        now = counts & ~(suppresses & stays[:, :, None]).any(dim=1)
        if torch.equal(now, stays):
            break
        stays = now
    return stays


def staying_by_loop(boxes: Tensor, counts: Tensor, threshold: float) -> Tensor:
    """As `staying`, by OpenCV's loop, picture by picture."""
    stays = np.zeros(counts.shape, dtype=bool)
    corners, real = boxes.detach().double().numpy(), counts.numpy()
    sizes = np.concatenate([corners[..., :2], np.maximum(corners[..., 2:] - corners[..., :2], 0)], axis=-1)
    falling = np.linspace(1.0, 0.5, boxes.shape[1], dtype=np.float32)
    for own, rows, some in zip(stays, sizes, real, strict=True):
        places = np.flatnonzero(some)
        if len(places):
            kept: Any = cv2.dnn.NMSBoxes(rows[places], falling[places].tolist(), 0.0, threshold)
            own[places[np.asarray(kept, dtype=np.int64)]] = True
    return torch.from_numpy(stays)
