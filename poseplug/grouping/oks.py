"""Object keypoint similarity, and non-maximum suppression by it (Papandreou et al. 2017, arXiv:1701.01779)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from poseplug.grouping.nms import greedy

TINY = 1e-6  # px², instead of an area of 0
FARTHEST = -80.0  # an exponent whose power is 0 beside 1; below it the processor's exp is ten times slower


def oks(
    one: Tensor,
    other: Tensor,
    areas: Tensor,
    sigmas: Tensor,
    visible: Tensor | None = None,
    other_visible: Tensor | None = None,
) -> Tensor:
    """How alike people are, from 0 to 1: the mean over joints of exp(-d² / (2 area (2 sigma)²)).

    Args:
        one, other: (..., N, K, 2) and (..., M, K, 2) px.
        areas: broadcastable to (..., N, M) px²: the annotated person's, or the mean of both.
        sigmas: (K,) the skeleton's.
        visible, other_visible: (..., N, K) and (..., M, K) which joints count; a pair without one is 0 alike.

    Returns:
        (..., N, M).
    """
    along = other.movedim(-1, 0).mT.unsqueeze(-3).contiguous()  # (2, ..., 1, K, M): the long axis last
    x, y = one[..., 0, None] - along[0], one[..., 1, None] - along[1]
    spread = -(sigmas[:, None] ** -2) / 8
    power = x.square_().add_(y.square_()).mul_(spread) / torch.atleast_1d(areas).clamp(min=TINY).unsqueeze(-2)
    alike = power.clamp_(min=FARTHEST).exp_()
    if visible is None and other_visible is None:
        return alike.mean(dim=-2)
    counts = torch.ones_like(alike, dtype=torch.bool)
    if visible is not None:
        counts = counts & visible[..., None]
    if other_visible is not None:
        counts = counts & other_visible[..., None, :, :].mT
    return (alike * counts).sum(dim=-2) / counts.sum(dim=-2).clamp(min=1)


class Crowd:
    """Candidates of one picture: joints (N, K, 2) px, areas (N,) px², `visible` (N, K) which joints count."""

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

    def alike(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(A, B) the similarity of the candidates at places (A,) and (B,), by the mean of both areas."""
        areas = (self.areas[one][:, None] + self.areas[other][None]) / 2
        seen = (None, None) if self.visible is None else (self.visible[one], self.visible[other])
        return oks(self.keypoints[one], self.keypoints[other], areas, self.sigmas, *seen).numpy()


def oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    threshold: float = 0.9,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """The places of the people that stay, best first: nobody is more alike a better one than `threshold`.

    Args:
        keypoints, scores: (N, K, 2) px and (N,).
        areas: (N,) px²; two people are compared by the mean of theirs.
        sigmas: (K,) the skeleton's.
        threshold: an OKS above it suppresses.
        visible: (N, K) which joints count; all by default.
    """
    return greedy(scores, Crowd(keypoints, areas, sigmas, visible).alike, threshold)


def soft_oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    threshold: float = 0.9,
    most: int = 20,
    visible: np.ndarray | None = None,
) -> np.ndarray:
    """The places of the `most` best people, best first, where every choice dims those that are alike.

    A score is multiplied by exp(-OKS² / threshold) for every better one that was chosen (Bodla et al. 2017,
    arXiv:1704.04503, the Gaussian rule). The arguments are those of `oks_nms`.
    """
    crowd = Crowd(keypoints, areas, sigmas, visible)
    kept: list[int] = []
    dimmed, left = np.array(scores, dtype=float), np.arange(len(scores))
    while len(left) and len(kept) < most:
        chosen = int(left[np.argmax(dimmed[left])])
        left = left[left != chosen]
        kept.append(chosen)
        dimmed[left] *= np.exp(-(crowd.alike(np.array([chosen]), left)[0] ** 2) / threshold)
    return np.array(kept, dtype=int)
