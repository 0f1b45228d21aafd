"""Greedy non-maximum suppression of the boxes of a batch, as a mask, on the device of the boxes."""

from __future__ import annotations

__all__ = ['nms_mask', 'nms_mask_by_loop', 'nms_mask_by_table']

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from poseplug.core.boxes import box_iou

_MAX_LOOP_BOXES = 200  # boxes per image up to which, on a CPU, OpenCV's loop takes less time than the table of overlaps


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
    corners = boxes.detach().double().numpy()
    xywh = np.concatenate([corners[..., :2], corners[..., 2:] - corners[..., :2]], axis=-1)
    # An empty box overlaps none, and is kept. To OpenCV two empty boxes are equal, wherever they are.
    is_empty = (xywh[..., 2:] <= 0).any(axis=-1)
    mask = valid.numpy() & is_empty
    descending = np.linspace(1.0, 0.5, boxes.shape[1], dtype=np.float32)  # stands for the scores: only order counts
    # Image by image: OpenCV knows no batches.
    for image_mask, image_boxes, is_compared in zip(mask, xywh, valid.numpy() & ~is_empty, strict=True):
        indices = np.flatnonzero(is_compared)
        if len(indices):
            selected: Any = cv2.dnn.NMSBoxes(image_boxes[indices], descending[indices].tolist(), 0.0, threshold)
            image_mask[indices[np.asarray(selected, dtype=np.int64)]] = True
    return torch.from_numpy(mask)
