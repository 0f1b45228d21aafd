"""Object keypoint similarity, and non-maximum suppression by it (Papandreou et al. 2017, arXiv:1701.01779)."""

from __future__ import annotations

__all__ = ['OKSCandidates', 'oks', 'oks_nms', 'soft_oks_nms']

from collections.abc import Sequence
from typing import Any

import numpy as np

from poseplug.grouping.nms import greedy_nms

_MIN_AREA_PX2 = 1e-6  # divisor for instances without an area
_MIN_EXPONENT = -80.0  # its power is 0 beside 1; below it the processor's exp is ten times slower


def oks(
    keypoints: Any, other_keypoints: Any, areas: Any, sigmas: Any, visible: Any = None, other_visible: Any = None
) -> Any:
    """Compute the object keypoint similarity: the mean over keypoints of exp(-d² / (2 area (2 sigma)²)).

    Args:
        keypoints, other_keypoints: (..., N, K, 2) and (..., M, K, 2) px; all arrays of NumPy, or all tensors.
        areas: broadcastable to (..., N, M), px²: that of the annotated instance, or the mean of both.
        sigmas: (K,) of the skeleton.
        visible, other_visible: (..., N, K) and (..., M, K) bool, which keypoints count; all by default. A pair that has
            no keypoint in common has similarity 0.

    Returns:
        (..., N, M), from 0 to 1.

    Example:
        >>> keypoints = np.array([[[0.0, 0.0]], [[2.0, 0.0]]])  # 2 instances of 1 keypoint
        >>> oks(keypoints, keypoints, np.array(100.0), np.array([0.1]))[0].round(2).tolist()
        [1.0, 0.61]
    """
    # The long axis comes last: (..., N, K, M).
    other_x, other_y = (_to_contiguous(other_keypoints[..., axis].mT)[..., None, :, :] for axis in (0, 1))
    x, y = keypoints[..., 0, None] - other_x, keypoints[..., 1, None] - other_y
    exponents = x * x
    exponents += y * y
    # 2 (2 sigma)² = 8 sigma². In place, here and below: tables of many instances are large.
    exponents *= -(sigmas[:, None] ** -2) / 8
    table_areas = areas.reshape(1) if areas.ndim == 0 else areas
    exponents = exponents / table_areas.clip(min=_MIN_AREA_PX2)[..., None, :]
    similarities = _exp_inplace(exponents.clip(min=_MIN_EXPONENT))
    if visible is None and other_visible is None:
        return similarities.mean(-2)
    counts: Any = True if visible is None else visible[..., None]
    if other_visible is not None:
        counts = counts & other_visible.mT[..., None, :, :]
    return (similarities * counts).sum(-2) / counts.sum(-2).clip(min=1)


def _to_contiguous(array: Any) -> Any:
    """An array or tensor whose last axis is contiguous in memory."""
    return array.contiguous() if hasattr(array, 'contiguous') else np.ascontiguousarray(array)


def _exp_inplace(values: Any) -> Any:
    """The exponential function of an array or tensor that is not used any more."""
    return values.exp_() if hasattr(values, 'exp_') else np.exp(values, out=values)


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
        self.keypoints = np.asarray(keypoints, dtype=np.float32)
        self.areas = np.asarray(areas, dtype=np.float32)
        self.sigmas = np.asarray(sigmas, dtype=np.float32)
        self.visible = None if visible is None else np.asarray(visible, dtype=bool)

    def pairwise_oks(self, indices: np.ndarray, other_indices: np.ndarray) -> np.ndarray:
        """Return the OKS (A, B) of candidates (A,) and (B,), by the mean of both areas."""
        areas = (self.areas[indices][:, None] + self.areas[other_indices][None]) / 2
        pair = (self.keypoints[indices], self.keypoints[other_indices])
        masks = () if self.visible is None else (self.visible[indices], self.visible[other_indices])
        similarities: np.ndarray = oks(*pair, areas, self.sigmas, *masks)
        return similarities


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
        # Of equal scores the first: `remaining` stays in order.
        best = int(remaining[np.argmax(lowered_scores[remaining])])
        remaining = remaining[remaining != best]
        selected.append(best)
        similarities = candidates.pairwise_oks(np.array([best]), remaining)[0]
        lowered_scores[remaining] *= np.exp(-(similarities**2) / threshold)
    return np.array(selected, dtype=int)
