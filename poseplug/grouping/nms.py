"""Greedy non-maximum suppression: a candidate is kept if no kept one of higher score overlaps it too much."""

from __future__ import annotations

__all__ = ['NMS_BLOCK_SIZE', 'greedy_nms', 'nms', 'nms_mask', 'nms_mask_by_loop', 'nms_mask_by_table']

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from poseplug.core.boxes import box_iou

NMS_BLOCK_SIZE = 32  # candidates whose overlaps are computed at once: their table stays in the processor's cache
_MAX_LOOP_BOXES = 200  # boxes per image up to which, on a CPU, OpenCV's loop takes less time than the table of overlaps


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


def nms_mask(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Check which boxes of each image are kept by greedy non-maximum suppression.

    Keeps a box if no kept box with a higher score overlaps it by more than `threshold`.

    Args:
        boxes: (B, M, 4; xyxy), of every image the highest score first.
        valid: (B, M) bool, False for padding.
        threshold: an IoU, from 0 to 1.

    Returns:
        (B, M) bool, False for padding.
    """
    if boxes.device.type == 'cpu' and 0 < boxes.shape[1] <= _MAX_LOOP_BOXES:
        return nms_mask_by_loop(boxes, valid, threshold)
    return nms_mask_by_table(boxes, valid, threshold)


def nms_mask_by_table(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Compute `nms_mask` from the table of all overlaps.

    The rule is applied to all boxes at once until nothing changes. After n rounds the first n boxes are right; nearly
    always all boxes are after a few.
    """
    has_higher_score = torch.ones(boxes.shape[1], boxes.shape[1], dtype=torch.bool, device=boxes.device).triu(1)
    suppresses = (box_iou(boxes, boxes) > threshold) & has_higher_score & valid[:, :, None]
    mask = valid
    for _ in range(boxes.shape[1]):
        updated = valid & ~(suppresses & mask[:, :, None]).any(dim=1)
        if torch.equal(updated, mask):
            break
        mask = updated
    return mask


def nms_mask_by_loop(boxes: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Compute `nms_mask` by OpenCV's loop, image by image."""
    mask = np.zeros(valid.shape, dtype=bool)
    corners = boxes.detach().double().numpy()
    xywh = np.concatenate([corners[..., :2], np.maximum(corners[..., 2:] - corners[..., :2], 0)], axis=-1)
    descending = np.linspace(1.0, 0.5, boxes.shape[1], dtype=np.float32)  # stands for the scores: only order counts
    for image_mask, image_boxes, image_valid in zip(mask, xywh, valid.numpy(), strict=True):
        indices = np.flatnonzero(image_valid)
        if len(indices):
            selected: Any = cv2.dnn.NMSBoxes(image_boxes[indices], descending[indices].tolist(), 0.0, threshold)
            image_mask[indices[np.asarray(selected, dtype=np.int64)]] = True
    return torch.from_numpy(mask)
