"""The widths of peaks of heatmaps, which say how uncertain a keypoint is."""

from __future__ import annotations

__all__ = ['measure_peak_widths']

import torch
from torch import Tensor

from poseplug.fields.refine import gather_neighborhood

_MIN_CURVED_VALUE = 1e-6  # of a heatmap, whose logarithm is taken


def measure_peak_widths(heatmaps: Tensor, cells: Tensor, strides: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Measure the standard deviation of the Gaussian that has the curvature of each peak.

    The second difference of a Gaussian's logarithm is -1 / sigma² anywhere, so that three cells along each axis suffice
    and the result is exact whatever the position between the cells.

    Args:
        heatmaps: (B, K, H, W).
        cells: (B, K, 2) x, y of the peaks, whole cells.
        strides: the sides of a cell in x and y, such as input pixels per cell.

    Returns:
        (B, K) the root of the mean variance in x and y, in units of `strides`. Along an axis on which the heatmap is
        not curved, or the peak stands at the border, the side of the heatmap counts.

    Example:
        >>> columns = torch.arange(32.0)
        >>> line = torch.exp(-((columns - 15.3) ** 2) / (2 * 2.5**2))
        >>> cells = torch.tensor([[[15, 15]]])
        >>> round(float(measure_peak_widths((line[:, None] * line)[None, None], cells)), 4)
        2.5
    """
    # Clamped before the logarithm; a heatmap below the clamp is flat, and so as wide as its side.
    near = gather_neighborhood(heatmaps, cells, 1)
    logs = near.clamp(min=_MIN_CURVED_VALUE).log()
    middle, horizontal, vertical = logs[1, 1], logs[1, 0] + logs[1, 2], logs[0, 1] + logs[2, 1]
    curvatures = 2 * middle[..., None] - torch.stack([horizontal, vertical], dim=-1)
    sides = torch.tensor([heatmaps.shape[-1], heatmaps.shape[-2]], device=logs.device)
    is_interior = (cells > 0) & (cells < sides - 1)
    curvatures = torch.where(is_interior, curvatures, 0.0).maximum(1 / sides.to(logs) ** 2)
    variances = torch.tensor(strides, dtype=logs.dtype, device=logs.device) ** 2 / curvatures
    return variances.mean(dim=-1).sqrt()
