"""Gaussians and blurred cells on a grid, and heatmaps shared by several instances; all positions are in cells."""

from __future__ import annotations

__all__ = [
    'draw_blurred_cells',
    'draw_gaussians',
    'draw_thresholded_gaussians',
    'fill_background',
    'gaussian_inplace',
    'merge_heatmaps',
    'reaches_grid',
    'round_to_cells',
]

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.core.geometry import Size
from poseplug.fields.blur import gaussian_blur_weights

_MIN_EXPONENT = -42.0  # exp of it is below 1e-18, which `gaussian_inplace` sets to 0


def draw_gaussians(
    cells: Tensor, mask: Tensor, size: Size, sigma_cells: float, truncation_center: Tensor | None = None
) -> Tensor:
    """Draw a Gaussian of peak 1 around each keypoint.

    Args:
        cells: (..., K, 2) x, y of the keypoints; any value where `mask` is False.
        mask: (..., K) bool, which keypoints to draw; the others get an empty heatmap.
        size: (width, height) of the grid.
        sigma_cells: standard deviation.
        truncation_center: (..., K, 2) cells around which the Gaussian is 0 beyond 3 sigma, in x or in y.

    Returns:
        (..., K, H, W).
    """
    points = torch.where(mask[..., None], cells, math.inf)  # at infinity the Gaussian is 0 in every cell
    lines = []
    for axis, count in enumerate(size):
        steps = torch.arange(count, dtype=cells.dtype, device=cells.device)
        values = gaussian_inplace(steps - points[..., axis, None], sigma_cells)
        if truncation_center is not None:
            distances = (steps - truncation_center[..., axis, None]).abs_()
            values *= distances.le_(3 * sigma_cells)  # in place the comparison stays a float, 1.0 or 0.0
        lines.append(values)
    x_values, y_values = lines
    return y_values[..., :, None] * x_values[..., None, :]


def round_to_cells(cells: Tensor) -> Tensor:
    """Round positions to the nearest cell, halves up; before the first cell towards it, as the MSRA family does."""
    return (cells + 0.5).trunc()


def draw_blurred_cells(cells: Tensor, mask: Tensor, size: Size, kernel_size: int) -> Tensor:
    """Draw each keypoint as one cell, blurred and scaled to a peak of 1.

    What the blur puts beyond the border is reflected back at it (Chen et al. 2018, arXiv:1711.07319, released code).

    Args:
        cells: (..., K, 2) x, y of the keypoints, whole numbers; any value where `mask` is False.
        mask: (..., K) bool, which keypoints to draw.
        size: (width, height) of the grid.
        kernel_size: odd size of the Gaussian blur, in cells.

    Returns:
        (..., K, H, W).
    """
    whole_cells = torch.where(mask[..., None], cells, 0).long()
    x_values, y_values = (_blurred_cell_line(whole_cells[..., axis, None], size[axis], kernel_size) for axis in (0, 1))
    return (y_values * mask[..., None])[..., :, None] * x_values[..., None, :]


def _blurred_cell_line(center: Tensor, count: int, kernel_size: int) -> Tensor:
    """The blurred cell along one axis of `count` cells, for centers (..., 1): (..., count), of peak 1."""
    steps, last = torch.arange(count, device=center.device), count - 1
    # The trailing 0 is what all cells beyond the kernel read, by the clamp below.
    weights = [*gaussian_blur_weights(kernel_size)[kernel_size // 2 :], 0.0]  # from the middle outwards
    half = torch.tensor(weights, dtype=torch.float32, device=center.device)

    def weights_around(position: Tensor) -> Tensor:
        return half[(steps - position).abs().clamp(max=len(half) - 1)]

    # Reflected at the outermost cells, which are not repeated themselves: OpenCV's BORDER_REFLECT_101.
    before_first = weights_around(-center) * (center > 0)
    after_last = weights_around(2 * last - center) * (center < last)
    values = weights_around(center) + (before_first + after_last)
    return values / values.amax(dim=-1, keepdim=True)


def draw_thresholded_gaussians(
    cells: Tensor, mask: Tensor, size: Size, sigma_cells: float, min_value: float, merge_mode: str, background: bool
) -> Tensor:
    """Draw Gaussians whose values up to `min_value` are 0, merged over the instances.

    Equals `merge_heatmaps` of thresholded `draw_gaussians`, with the background as `fill_background` writes it.
    Only the square of cells that a Gaussian reaches is computed.

    Args:
        cells: (B, N, K, 2) x, y of the keypoints of N instances.
        mask: (B, N, K) bool, which keypoints to draw.
        size: (width, height) of the grid.
        sigma_cells: standard deviation.
        min_value: values up to this become 0; above 0.
        merge_mode: 'max', or 'add' capped at 1, where instances meet.
        background: whether a last channel holds 1 minus the largest keypoint value.

    Returns:
        (B, K, H, W), or (B, K + 1, H, W) with the background.
    """
    # 18 keypoints of 30 instances in each of 8 images of 46 x 46 cells: 3.6 ms, against 68 ms for whole Gaussians that
    # are thresholded and merged (one thread); a training step of the smallest bottom-up model takes 500 ms.
    values, indices = _gaussian_patches(cells, mask, size, sigma_cells, min_value)
    values, indices = (p.transpose(1, 2).flatten(2) for p in (values, indices))
    width, height = size
    batch, num_keypoints = values.shape[:2]
    heatmaps = values.new_zeros(batch, num_keypoints + background, height * width)
    adds = merge_mode == 'add' and cells.shape[1] > 1
    if adds:
        heatmaps[:, :num_keypoints].scatter_add_(2, indices, values).clamp_(max=1.0)
    else:
        heatmaps[:, :num_keypoints].scatter_reduce_(2, indices, values, 'amax')
    if background and adds:
        fill_background(heatmaps)
    elif background:
        largest = heatmaps[:, num_keypoints].scatter_reduce_(1, indices.flatten(1), values.flatten(1), 'amax')
        largest.neg_().add_(1.0)
    maps: Tensor = heatmaps.unflatten(2, (height, width))
    return maps


def _gaussian_patches(
    cells: Tensor, mask: Tensor, size: Size, sigma_cells: float, min_value: float
) -> tuple[Tensor, Tensor]:
    """The square of cells around each keypoint that a Gaussian above `min_value` reaches.

    Returns the values and the indices of the cells, row by row, both (..., K, P * P). Cells beyond the grid and those
    of masked keypoints have the value 0.
    """
    reach = math.ceil(sigma_cells * math.sqrt(-2 * math.log(min_value)))
    points = torch.where(mask[..., None], cells, math.inf)[..., None]  # beyond the grid, where every value is 0
    last = cells.new_tensor(size)[:, None] - 1
    first = (points.floor() - (reach - 1)).clamp(min=-2.0 * reach).minimum(last + 1)
    square = first + torch.arange(2 * reach, device=cells.device)
    inside = square.clamp(min=0.0).minimum(last)
    lines = torch.where(square == inside, gaussian_inplace(square - points, sigma_cells), 0.0)
    values = lines[..., 1, :, None] * lines[..., 0, None, :]
    indices = inside[..., 1, :, None] * size[0] + inside[..., 0, None, :]
    return F.threshold(values, min_value, 0.0, inplace=True).flatten(-2), indices.flatten(-2).long()


def gaussian_inplace(distance: Tensor, sigma: float) -> Tensor:
    """Overwrite `distance` with exp(-distance² / (2 sigma²)), both in one unit, and return it.

    Values below 1e-18 become 0: a processor is ten times slower on the denormal numbers that their products are.
    """
    exponents = distance.square_().mul_(-0.5 / sigma**2).clamp_(min=_MIN_EXPONENT)
    return F.threshold(exponents.exp_(), 1e-18, 0.0, inplace=True)


def reaches_grid(cells: Tensor, size: Size, sigma_cells: float) -> Tensor:
    """Return which keypoints are at most 3 sigma and one cell beyond the outermost cells of a grid.

    The rule by which the MSRA family (Xiao et al. 2018) leaves a keypoint beyond the crop out of the loss.

    Args:
        cells: (..., K, 2) x, y of the keypoints.
        size: (width, height) of the grid.
        sigma_cells: standard deviation of their Gaussians.

    Returns:
        (..., K) bool.
    """
    margin, last = 3 * sigma_cells + 1, cells.new_tensor(size) - 1
    return ((cells >= -margin) & (cells < last + margin)).all(dim=-1)


def merge_heatmaps(heatmaps: Tensor, merge_mode: str) -> Tensor:
    """Merge the heatmaps of N instances (B, N, K, H, W) to (B, K, H, W): by 'max', or by 'add', capped at 1."""
    if heatmaps.shape[1] == 1:
        return heatmaps[:, 0]
    if merge_mode == 'max' and heatmaps.shape[1]:
        return heatmaps.amax(dim=1)
    return heatmaps.sum(dim=1).clamp(max=1.0)


def fill_background(heatmaps: Tensor) -> Tensor:
    """Overwrite the last of heatmaps (B, K + 1, ...) with 1 minus the largest of the others, at least 0."""
    torch.sub(1.0, heatmaps[:, :-1].amax(dim=1), out=heatmaps[:, -1]).clamp_(min=0.0)
    return heatmaps
