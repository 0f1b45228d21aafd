"""OpenCV's Gaussian blur as matrices, for heatmaps on any device."""

from __future__ import annotations

__all__ = ['blur_heatmaps', 'dark_kernel_size', 'gaussian_blur_weights', 'smoothing_matrix']

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

# OpenCV's fixed weights of small blurs, from the middle outwards, before they are divided by their sum.
_SMALL_BLUR_WEIGHTS = {3: (2, 1), 5: (6, 4, 1), 7: (72, 56, 28, 8), 9: (60, 51, 30, 13, 4)}


def gaussian_blur_weights(kernel_size: int) -> np.ndarray:
    """Return the weights (kernel_size,), of sum 1, of OpenCV's Gaussian blur of an odd size."""
    steps = abs(np.arange(kernel_size) - kernel_size // 2)
    sigma = 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8
    small = _SMALL_BLUR_WEIGHTS.get(kernel_size)
    weights = np.array(small, float)[steps] if small else np.exp(-(steps**2) / (2 * sigma**2))
    normalized_weights: np.ndarray = weights / weights.sum()
    return normalized_weights


# Tables are kept as arrays: a tensor first made while a model is exported would be a fake one, and stay one.
@lru_cache(maxsize=16)
def smoothing_matrix(kernel_size: int, num_outputs: int = 5) -> np.ndarray:
    """Return the matrix (num_outputs, kernel_size + num_outputs - 1) that blurs a line of cells to its middle ones."""
    weights = gaussian_blur_weights(kernel_size)
    return np.stack([np.pad(weights, (i, num_outputs - 1 - i)) for i in range(num_outputs)])


def blur_heatmaps(heatmaps: Tensor, kernel_size: int, reflect: bool = False) -> Tensor:
    """Blur heatmaps by OpenCV's Gaussian blur.

    Args:
        heatmaps: (..., H, W).
        kernel_size: odd size of the blur, in cells.
        reflect: whether values beyond the border are those reflected at the outermost cells; 0 by default.

    Returns:
        (..., H, W).
    """
    down, across = (torch.from_numpy(_blur_matrix(n, kernel_size, reflect)).to(heatmaps) for n in heatmaps.shape[-2:])
    return down @ heatmaps @ across.T


@lru_cache(maxsize=16)
def _blur_matrix(count: int, kernel_size: int, reflect: bool) -> np.ndarray:
    """The matrix (count, count) that blurs a line of cells."""
    reach, identity = kernel_size // 2, np.eye(count)
    mode: Literal['reflect', 'constant'] = 'reflect' if reflect and count > 1 else 'constant'
    padded = np.pad(identity, ((reach, reach), (0, 0)), mode=mode)
    table: np.ndarray = sum(
        weight * padded[i : i + count] for i, weight in enumerate(gaussian_blur_weights(kernel_size))
    )
    return table


def dark_kernel_size(sigma_cells: float) -> int:
    """Return the odd blur size of a Gaussian of `sigma_cells`, by OpenCV's rule: 3 for 1 cell, 11 for 2, 17 for 3."""
    size = math.floor(2 * ((sigma_cells - 0.8) / 0.3 + 1) + 1 + 1e-6)
    return max(3, size - 1 + size % 2)
