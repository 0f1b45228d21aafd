"""Object keypoint similarity, and non-maximum suppression by it (Papandreou et al. 2017, arXiv:1701.01779)."""

from __future__ import annotations

__all__ = ['OKSCandidates', 'oks', 'oks_nms', 'soft_oks_nms']

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from poseplug.grouping.nms import greedy_nms

_MIN_AREA_PX2 = 1e-6  # divisor for instances without an area
_MIN_EXPONENT = -80.0  # its power is 0 beside 1; below it the processor's exp is ten times slower


def oks(
    keypoints: Tensor,
    other_keypoints: Tensor,
    areas: Tensor,
    sigmas: Tensor,
    visible: Tensor | None = None,
    other_visible: Tensor | None = None,
) -> Tensor:
    """Compute the object keypoint similarity: the mean over keypoints of exp(-d² / (2 area (2 sigma)²)).

    Args:
        keypoints, other_keypoints: (..., N, K, 2) and (..., M, K, 2) px.
        areas: broadcastable to (..., N, M), px²: that of the annotated instance, or the mean of both.
        sigmas: (K,) of the skeleton.
        visible, other_visible: (..., N, K) and (..., M, K) bool, which keypoints count; all by default. A pair that has
            no keypoint in common has similarity 0.

    Returns:
        (..., N, M), from 0 to 1.

    Example:
        >>> keypoints = torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]])  # 2 instances of 1 keypoint
        >>> oks(keypoints, keypoints, torch.tensor(100.0), torch.tensor([0.1]))[0].round(decimals=2).tolist()
        [1.0, 0.6100000143051147]
    """
    others = other_keypoints.movedim(-1, 0).mT.unsqueeze(-3).contiguous()  # (2, ..., 1, K, M): the long axis last
    x, y = keypoints[..., 0, None] - others[0], keypoints[..., 1, None] - others[1]
    scales = -(sigmas[:, None] ** -2) / 8
    squared_distances = x.square_().add_(y.square_())
    exponents = squared_distances.mul_(scales) / torch.atleast_1d(areas).clamp(min=_MIN_AREA_PX2).unsqueeze(-2)
    similarities: Tensor = exponents.clamp_(min=_MIN_EXPONENT).exp_()
    if visible is None and other_visible is None:
        return similarities.mean(dim=-2)
    counts = torch.ones_like(similarities, dtype=torch.bool)
    if visible is not None:
        counts = counts & visible[..., None]
    if other_visible is not None:
        counts = counts & other_visible[..., None, :, :].mT
    means: Tensor = (similarities * counts).sum(dim=-2) / counts.sum(dim=-2).clamp(min=1)
    return means


class OKSCandidates:
    """The candidates of one image, between which OKS is computed pair by pair.

    Args:
        keypoints: (N, K, 2) px.
        areas: (N,) px².
        sigmas: (K,) of the skeleton.
        visible: (N, K) which keypoints count; all by default.
    """

    def __init__(
        self,
        keypoints: np.ndarray,
        areas: np.ndarray,
        sigmas: Sequence[float] | np.ndarray,
        visible: np.ndarray | None = None,
    ):
        self.keypoints = torch.as_tensor(np.asarray(keypoints, dtype=np.float32))
        self.areas = torch.as_tensor(np.asarray(areas, dtype=np.float32))
        self.sigmas = torch.as_tensor(np.asarray(sigmas, dtype=np.float32))
        self.visible = None if visible is None else torch.as_tensor(np.asarray(visible, dtype=bool))

    def pairwise_oks(self, indices: np.ndarray, other_indices: np.ndarray) -> np.ndarray:
        """Return the OKS (A, B) of candidates (A,) and (B,), by the mean of both areas."""
        areas = (self.areas[indices][:, None] + self.areas[other_indices][None]) / 2
        pair = (self.keypoints[indices], self.keypoints[other_indices])
        if self.visible is None:
            return oks(*pair, areas, self.sigmas).numpy()
        return oks(*pair, areas, self.sigmas, self.visible[indices], self.visible[other_indices]).numpy()


def oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    threshold: float = 0.9,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """Suppress every instance whose OKS with a kept one of higher score is above a threshold.

    Args:
        keypoints: (N, K, 2) px.
        scores: (N,).
        areas: (N,) px²; two instances are compared by the mean of their areas.
        sigmas: (K,) of the skeleton.
        threshold: an OKS, from 0 to 1.
        visible: (N, K) which keypoints count; all by default.

    Returns:
        The indices of the kept instances, highest score first.
    """
    return greedy_nms(scores, OKSCandidates(keypoints, areas, sigmas, visible).pairwise_oks, threshold)


def soft_oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    threshold: float = 0.9,
    max_instances: int = 20,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """Select the highest-scoring instances, where every selected one lowers the scores of those similar to it.

    A score is multiplied by exp(-OKS² / threshold) for every instance selected before (Bodla et al. 2017,
    arXiv:1704.04503, the Gaussian rule).

    Args:
        keypoints: (N, K, 2) px.
        scores: (N,).
        areas: (N,) px²; two instances are compared by the mean of their areas.
        sigmas: (K,) of the skeleton.
        threshold: the smaller, the more a score is lowered.
        max_instances: instances selected at most.
        visible: (N, K) which keypoints count; all by default.

    Returns:
        The indices of the selected instances, in the order of selection.
    """
    candidates = OKSCandidates(keypoints, areas, sigmas, visible)
    selected: list[int] = []
    lowered_scores, remaining = np.array(scores, dtype=float), np.arange(len(scores))
    while len(remaining) and len(selected) < max_instances:
        best = int(remaining[np.argmax(lowered_scores[remaining])])
        remaining = remaining[remaining != best]
        selected.append(best)
        similarities = candidates.pairwise_oks(np.array([best]), remaining)[0]
        lowered_scores[remaining] *= np.exp(-(similarities**2) / threshold)
    return np.array(selected, dtype=int)
