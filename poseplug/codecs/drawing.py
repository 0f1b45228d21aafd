"""Gaussians and blurred points on a grid, and how those of several people share a map. All positions are in cells."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.refine import blur_line
from poseplug.geometry import Size


def gaussians(cells: Tensor, drawn: Tensor, size: Size, sigma: float, middle: Tensor | None = None) -> Tensor:
    """A Gaussian of peak 1 around each joint: (..., K, 2) and (..., K) to (..., K, H, W), of `size` (width, height).

    With `middle` (..., K, 2) it is 0 more than 3 sigma beside that cell, in x or in y. A joint that is not `drawn`
    leaves its map empty, whatever its position says.
    """
    placed = torch.where(drawn[..., None], cells, math.inf)  # infinitely far: the Gaussian of it is 0 everywhere
    lines = []
    for axis, count in enumerate(size):
        steps = torch.arange(count, dtype=cells.dtype, device=cells.device)
        values = bell(steps - placed[..., axis, None], sigma)
        if middle is not None:
            values *= (steps - middle[..., axis, None]).abs_().le_(3 * sigma)  # written over, it is 1.0 or 0.0
        lines.append(values)
    across, down = lines
    return down[..., :, None] * across[..., None, :]


def nearest(cells: Tensor) -> Tensor:
    """The nearest cell, halves to the right; before the first cell rounded towards it, as the MSRA family does."""
    return (cells + 0.5).trunc()


def spots(cells: Tensor, drawn: Tensor, size: Size, kernel: int) -> Tensor:
    """One cell a joint (..., K, 2; whole numbers) blurred by an odd kernel, of peak 1: (..., K, H, W).

    What the blur puts beyond the border is mirrored back at it (Chen et al. 2018, arXiv:1711.07319, in their code).
    """
    placed = torch.where(drawn[..., None], cells, 0).long()
    across, down = (spot_line(placed[..., axis, None], size[axis], kernel) for axis in (0, 1))
    return (down * drawn[..., None])[..., :, None] * across[..., None, :]


def spot_line(center: Tensor, count: int, kernel: int) -> Tensor:
    """The blurred cell along one axis, for the centers (..., 1): (..., count), of peak 1."""
    steps, last = torch.arange(count, device=center.device), count - 1
    weights = [*blur_line(kernel)[kernel // 2 :], 0.0]  # from the middle out
    half = torch.tensor(weights, dtype=torch.float32, device=center.device)

    def around(place: Tensor) -> Tensor:
        return half[(steps - place).abs().clamp(max=len(half) - 1)]

    mirrored = around(-center) * (center > 0) + around(2 * last - center) * (center < last)
    values = around(center) + mirrored
    return values / values.amax(dim=-1, keepdim=True)


def cut_gaussians(
    cells: Tensor, drawn: Tensor, size: Size, sigma: float, cut: float, how: str, background: bool
) -> Tensor:
    """What `merge(gaussians(...))` gives with values of at most `cut` as 0: (B, N, K, 2) to (B, C, H, W).

    Only the cells that a joint reaches are computed; people meet on the map itself, and joints on the `background`.
    """
    values, places = patches(cells, drawn, size, sigma, cut)
    values, places = (p.transpose(1, 2).flatten(2) for p in (values, places))
    width, height = size
    batch, joints = values.shape[:2]
    maps = values.new_zeros(batch, joints + background, height * width)
    several = how == 'add' and cells.shape[1] > 1
    if several:
        maps[:, :joints].scatter_add_(2, places, values).clamp_(max=1.0)
    else:
        maps[:, :joints].scatter_reduce_(2, places, values, 'amax')
    if background and several:
        fill_background(maps)
    elif background:
        maps[:, joints].scatter_reduce_(1, places.flatten(1), values.flatten(1), 'amax').neg_().add_(1.0)
    return maps.unflatten(2, (height, width))


def patches(cells: Tensor, drawn: Tensor, size: Size, sigma: float, cut: float) -> tuple[Tensor, Tensor]:
    """The square of cells around each joint that a Gaussian above `cut` reaches: values and places, (..., K, P * P).

    Places count row by row; cells beyond the grid, and those of joints that are not drawn, have the value 0.
    """
    reach = math.ceil(sigma * math.sqrt(-2 * math.log(cut)))
    placed = torch.where(drawn[..., None], cells, math.inf)[..., None]  # off the grid, where all cells are 0
    last = cells.new_tensor(size)[:, None] - 1
    first = (placed.floor() - (reach - 1)).clamp(min=-2.0 * reach).minimum(last + 1)
    square = first + torch.arange(2 * reach, device=cells.device)
    inside = square.clamp(min=0.0).minimum(last)
    lines = torch.where(square == inside, bell(square - placed, sigma), 0.0)
    values = lines[..., 1, :, None] * lines[..., 0, None, :]
    places = inside[..., 1, :, None] * size[0] + inside[..., 0, None, :]
    return F.threshold(values, cut, 0.0, inplace=True).flatten(-2), places.flatten(-2).long()


def bell(distance: Tensor, sigma: float) -> Tensor:
    """exp(-d²/2σ²), written over `distance`; 0 below 1e-18, since a processor is ten times slower on tinier numbers."""
    exponents = distance.square_().mul_(-0.5 / sigma**2).clamp_(min=-42.0)
    return F.threshold(exponents.exp_(), 1e-18, 0.0, inplace=True)


def near(cells: Tensor, size: Size, sigma: float) -> Tensor:
    """(..., K) whether a joint's Gaussian reaches the grid: at most 3 sigma and one cell beyond the outermost cells.

    The rule by which the MSRA family (Xiao et al. 2018) leaves a joint beyond the crop out of the loss.
    """
    margin, last = 3 * sigma + 1, cells.new_tensor(size) - 1
    return ((cells >= -margin) & (cells < last + margin)).all(dim=-1)


def merge(maps: Tensor, how: str) -> Tensor:
    """The maps of N people (B, N, K, H, W) as one stack (B, K, H, W): by 'max', or by 'add', capped at 1."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return maps.amax(dim=1) if how == 'max' and maps.shape[1] else maps.sum(dim=1).clamp(max=1.0)


def fill_background(maps: Tensor) -> Tensor:
    """Maps (B, K + 1, ...), the last of them made 1 minus the largest of the others, at least 0."""
    torch.sub(1.0, maps[:, :-1].amax(dim=1), out=maps[:, -1]).clamp_(min=0.0)
    return maps
