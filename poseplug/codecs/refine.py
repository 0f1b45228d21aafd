"""Peaks of heatmaps, and how they are placed between the cells: not at all, by a quarter step, or by an expansion.

DARK: Zhang et al. 2020 (arXiv:1910.06278): the maps are smoothed (modulation), and a second-order Taylor expansion of
their logarithm gives the offset from the largest cell. 'taylor' is the same expansion of the maps as they are, which
suits coarse maps: with a Gaussian of about one cell, smoothing and steps of two cells reach beyond the peak. 'udp'
(Huang et al. 2020, arXiv:1911.07524) smooths like DARK and takes steps of one cell. 'second' (Chen et al. 2018,
arXiv:1711.07319) is a quarter step along the line to the second largest cell.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Largest cell of each map (B, K, H, W): its x, y (B, K, 2; whole cells) and its value (B, K).

    Of equal ones the first, row by row.
    """
    width = maps.shape[-1]
    place, value = (found.view(maps.shape[:2]) for found in largest(maps.flatten(2).flatten(0, 1)))
    return torch.stack([place % width, place.div(width, rounding_mode='floor')], dim=-1), value


def largest(lines: Tensor) -> tuple[Tensor, Tensor]:
    """The place of the first of the largest values of each line (N, n), and that value: (N,) each.

    A maximum alone is found several times faster than with its place, so that the place is looked for only in the
    strip of the line that holds the maximum, as the largest of falling numbers where that is reached.
    """
    strips = lines.unflatten(1, (strip_count(lines.shape[1]), -1))
    count, length = strips.shape[1:]
    value, best = strips.amax(dim=2).max(dim=1)
    numbers = best + torch.arange(0, len(lines) * count, count, device=lines.device)
    reached = strips.flatten(0, 1).index_select(0, numbers).eq_(value[:, None])  # written over, it is 1.0 or 0.0
    falling = torch.arange(length, 0, -1, dtype=torch.float32, device=lines.device)
    first = (length - reached.mul(falling).amax(dim=1)).long().clamp(max=length - 1)  # nowhere, if there is no number
    return best * length + first, value


def strip_count(cells: int) -> int:
    """Into how many strips of at least 128 cells a line is cut: what divides it, at most 16."""
    return max(n for n in range(1, 17) if cells % n == 0 and (n == 1 or cells // n >= 128))


def refine(maps: Tensor, cells: Tensor, how: str, kernel: int = 11) -> Tensor:
    """Peaks (B, K, 2) in whole cells to positions in cells, by one of `REFINES`."""
    if how == 'none':
        return cells.to(maps)
    if how in SMOOTHED:
        return cells + SMOOTHED[how](maps, cells, kernel)
    return cells + PLAIN[how](maps, cells)


def neighbourhood(maps: Tensor, cells: Tensor, radius: int) -> Tensor:
    """The square of cells around each peak, 0 beyond the map: (B, K, H, W) to (2r+1, 2r+1, B, K), its rows first.

    The long axes last, and so in whatever is made of it: a processor works along the last one. A map that `expand`
    repeats for many peaks is not copied.
    """
    height, width = maps.shape[-2:]
    maps = maps if maps.stride(1) else maps[:, :1]
    numbers = torch.int32 if maps.numel() < 2**31 else torch.int64
    lines, inside = lines_around(maps, cells.to(numbers), radius)
    there, (columns, rows) = inside == lines, inside
    first = torch.arange(0, maps.numel(), height * width, dtype=numbers, device=maps.device).view(maps.shape[:2])
    places = (first + rows * width)[:, None] + columns
    values = maps.flatten().index_select(0, places.flatten()).view(places.shape)
    return values.mul_(there[1, :, None]).mul_(there[0])


def lines_around(maps: Tensor, cells: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The columns and rows around each peak (2, 2r+1, B, K), and of each the nearest one of the map."""
    steps = torch.arange(-radius, radius + 1, dtype=cells.dtype, device=cells.device)[:, None, None]
    lines = cells.movedim(-1, 0).contiguous()[:, None] + steps
    return lines, lines.clamp(min=0).minimum(last_cell(maps).to(lines)[:, None, None, None])


def last_cell(maps: Tensor) -> Tensor:
    """Its x and y."""
    return torch.tensor([maps.shape[-1] - 1, maps.shape[-2] - 1], device=maps.device)


def interior(maps: Tensor, cells: Tensor, margin: int) -> Tensor:
    """(B, K, 2) whether a peak has `margin` cells on either side, in x and in y."""
    return (cells >= margin) & (cells <= last_cell(maps) - margin)


def quarter_step(maps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the higher neighbour, on each axis that has neighbours on both sides."""
    near = neighbourhood(maps, cells, 1)
    slope = torch.stack([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]], dim=-1)
    return 0.25 * slope.sign() * interior(maps, cells, 1)


def dark_step(maps: Tensor, cells: Tensor, kernel: int) -> Tensor:
    """DARK's offset (B, K, 2) in cells: smoothing by a Gaussian of odd size `kernel`, then -H⁻¹g of the logarithm.

    The second differences take steps of two cells; peaks within two cells of the border stay.
    """
    f = modulated(maps, cells, kernel, 5).clamp_(min=1e-10).log_()
    gx, gy, hxx, hyy, hxy = along(torch.from_numpy(differences()).to(f.device), f.flatten(0, 1))
    inside = interior(maps, cells, 2).all(dim=-1, keepdim=True)
    return torch.where(inside, newton(gx, gy, hxx, hxy, hyy), 0.0).to(maps)


def modulated(maps: Tensor, cells: Tensor, kernel: int, keep: int) -> Tensor:
    """The smoothed `keep` x `keep` cells around each peak (keep, keep, B, K), scaled so that the peak stays.

    In double precision: near a singular Hessian the step is many times less exact than these.
    """
    radius = (keep + kernel) // 2 - 1
    around = neighbourhood(maps, cells, radius)
    lines = torch.from_numpy(smoothing(kernel, keep)).to(around.device)
    rows = along(lines, around.double())
    near = (lines @ rows.flatten(2)).view(keep, keep, *around.shape[2:])
    return near.mul_(around[radius, radius] / near.amax(dim=(0, 1)).clamp(min=1e-10))


def along(table: Tensor, values: Tensor) -> Tensor:
    """A table (m, n) applied to the first axis: (n, ...) to (m, ...)."""
    return (table @ values.flatten(1)).unflatten(1, values.shape[1:])


def udp_step(maps: Tensor, cells: Tensor, kernel: int) -> Tensor:
    """UDP's offset (B, K, 2) in cells: smoothing as in DARK, then -H⁻¹g of the logarithm by steps of one cell.

    Beyond the border the smoothed map goes on as it ends. A step beyond the reach of the smoothing, of a map without
    a summit, is not taken; the published formula goes any distance.
    """
    f = modulated(maps, cells, kernel, 3).clamp_(1e-3, 50.0).log_()
    lines, inside = lines_around(maps, cells, 1)
    column, row = inside - lines[:, :1]  # which of the three, the last one where the map ends
    stay = 3 * row[:, None] + column
    f = f.flatten(0, 1).gather(0, stay.flatten(0, 1))
    gx, gy, hxx, hyy, hxy = along(torch.from_numpy(UDP_DIFFERENCES).to(f.device), f)
    step = newton(gx, gy, hxx + EPS, hxy, hyy + EPS)
    return torch.where((step.abs() <= kernel // 2).all(dim=-1, keepdim=True), step, 0.0).to(maps)


def second_step(maps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the second largest cell of the map, wherever that is, if it is positive."""
    place = cells[..., 1] * maps.shape[-1] + cells[..., 0]
    others = maps.flatten(2).scatter(2, place[..., None], -math.inf).view_as(maps)
    second, value = peaks(others)
    way = (second - cells).to(maps)
    return torch.where((value > 0)[..., None], 0.25 * F.normalize(way, dim=-1), 0.0)


def taylor_step(maps: Tensor, cells: Tensor) -> Tensor:
    """The offset (B, K, 2) in cells to the top of a paraboloid through the logarithm of the peak and its neighbours.

    Exact for a Gaussian. A peak at the border is expanded about the nearest cell that has all neighbours, and no peak
    moves by more than one cell. Where the logarithm is not a summit the peak stays.
    """
    base = torch.minimum(cells.clamp(min=1), last_cell(maps) - 1)
    f = torch.log(neighbourhood(maps, base, 1).clamp(min=1e-4))
    (ul, up, ur), (left, mid, right), (dl, down, dr) = f
    gx, gy, hxy = (right - left) / 2, (down - up) / 2, (dr - ur - dl + ul) / 4
    hxx, hyy = right - 2 * mid + left, down - 2 * mid + up
    summit = ((hxx < 0) & (hxx * hyy > hxy * hxy))[..., None]
    return torch.where(summit, (base - cells + newton(gx, gy, hxx, hxy, hyy)).clamp(-1, 1), 0.0)


def newton(gx: Tensor, gy: Tensor, hxx: Tensor, hxy: Tensor, hyy: Tensor) -> Tensor:
    """-H⁻¹g (..., 2) of a function of two variables, and 0 where H cannot be inverted."""
    det = hxx * hyy - hxy * hxy
    way = torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], dim=-1)
    return way / torch.where(det != 0, det, math.inf)[..., None]


EPS = torch.finfo(torch.float32).eps  # what UDP adds to both curvatures
UDP_DIFFERENCES = 0.5 * np.array(  # of a 3x3 square, row by row: d/dx, d/dy, d²/dx², d²/dy², d²/dxdy
    [
        [0, 0, 0, -1, 0, 1, 0, 0, 0],
        [0, -1, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 2, -4, 2, 0, 0, 0],
        [0, 2, 0, 0, -4, 0, 0, 2, 0],
        [1, -1, 0, -1, 2, -1, 0, -1, 1],
    ]
)
SMOOTHED = {'dark': dark_step, 'udp': udp_step}
PLAIN = {'quarter': quarter_step, 'taylor': taylor_step, 'second': second_step}
REFINES = ('none', *PLAIN, *SMOOTHED)
SMALL_BLURS = {3: (2, 1), 5: (6, 4, 1), 7: (72, 56, 28, 8), 9: (60, 51, 30, 13, 4)}  # OpenCV's, from the middle out


def blur_line(kernel: int) -> np.ndarray:
    """(kernel,) the weights of OpenCV's Gaussian blur of that odd size, of sum 1."""
    steps = abs(np.arange(kernel) - kernel // 2)
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    small = SMALL_BLURS.get(kernel)
    line = np.array(small, float)[steps] if small else np.exp(-(steps**2) / (2 * sigma**2))
    return line / line.sum()


# Tables are kept as arrays: a tensor first made while a model is exported would be a fake one, and stay one.
@lru_cache(maxsize=16)
def smoothing(kernel: int, keep: int = 5) -> np.ndarray:
    """(keep, kernel + keep - 1) that blurs a line of cells and keeps its middle."""
    return np.stack([np.pad(blur_line(kernel), (i, keep - 1 - i)) for i in range(keep)])


def blurred(maps: Tensor, kernel: int, mirror: bool = False) -> Tensor:
    """Maps (..., H, W) under OpenCV's Gaussian blur; beyond the border they are 0, or mirrored at the last cells."""
    down, across = (torch.from_numpy(blur_matrix(n, kernel, mirror)).to(maps) for n in maps.shape[-2:])
    return down @ maps @ across.T


@lru_cache(maxsize=16)
def blur_matrix(count: int, kernel: int, mirror: bool) -> np.ndarray:
    """(count, count) that blurs a line of cells."""
    reach, line = kernel // 2, np.eye(count)
    beyond = np.pad(line, ((reach, reach), (0, 0)), mode='reflect' if mirror and count > 1 else 'constant')
    return sum(weight * beyond[i : i + count] for i, weight in enumerate(blur_line(kernel)))


@lru_cache(maxsize=1)
def differences() -> np.ndarray:
    """(5, 25) that takes a 5x5 square, row by row, to its central differences d/dx, d/dy, d²/dx², d²/dy², d²/dxdy."""
    pick = np.eye(5)
    middle, slope = pick[2], (pick[3] - pick[1]) / 2
    curve = (pick[4] - 2 * pick[2] + pick[0]) / 4
    pairs = ((middle, slope), (slope, middle), (middle, curve), (curve, middle), (slope, slope))  # rows, columns
    return np.stack([np.outer(rows, columns).ravel() for rows, columns in pairs])


def dark_kernel(sigma: float) -> int:
    """The odd blur size of a Gaussian of `sigma` cells, by OpenCV's rule: 3 for 1 cell, 11 for 2, 17 for 3."""
    size = math.floor(2 * ((sigma - 0.8) / 0.3 + 1) + 1 + 1e-6)
    return max(3, size - 1 + size % 2)
