"""What the codecs of a single instance have in common: whose keypoints they encode."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.heatmap import labeled_mask


def select_subject(keypoints: Tensor, visible: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Select instance 0 of every image, the one a crop is about.

    Args:
        keypoints: (B, N, K, 2) x, y in input pixels.
        visible: (B, N, K) 0 for a keypoint that is not labeled.
        valid: (B, N) bool, False for padding.

    Returns:
        Keypoints (B, K, 2), and which of them (B, K) are labeled and have a finite position; the others are at 0. An
        image without instances has none.
    """
    keypoints, labeled = ensure_instance(keypoints, labeled_mask(visible, valid))
    keypoints, labeled = keypoints[:, 0], labeled[:, 0]
    usable = labeled & torch.isfinite(keypoints).all(dim=-1)
    return torch.where(usable[..., None], keypoints, 0.0), usable


def ensure_instance(keypoints: Tensor, labeled: Tensor) -> tuple[Tensor, Tensor]:
    """Return keypoints (B, N, K, 2) and which are labeled (B, N, K), with an instance without labels if N is 0."""
    if labeled.shape[1]:
        return keypoints, labeled
    return F.pad(keypoints, (0, 0, 0, 0, 0, 1)), F.pad(labeled, (0, 0, 0, 1))
