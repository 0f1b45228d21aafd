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

    Of equal ones the first, row by row. The maximum alone is found several times faster than with its place, so that
    the place is looked for only in the strip of cells that holds the maximum.
    """
    width, cells = maps.shape[-1], maps.shape[-2] * maps.shape[-1]
    strips = maps.flatten(2).unflatten(2, (strip_count(cells), -1))
    best = strips.amax(dim=3).argmax(dim=2)
    picture, joint = (torch.arange(n, device=maps.device) for n in maps.shape[:2])
    strip = strips[picture[:, None], joint, best]
    value, place = strip.max(dim=2)
    place = place + best * strips.shape[3]
    return torch.stack([place % width, place.div(width, rounding_mode='floor')], dim=-1), value


def strip_count(cells: int) -> int:
    """Into how many strips of at least 128 cells a map is cut: what divides it, at most 16."""
    return max(n for n in range(1, 17) if cells % n == 0 and (n == 1 or cells // n >= 128))


def refine(maps: Tensor, cells: Tensor, how: str, kernel: int = 11) -> Tensor:
    """Peaks (B, K, 2) in whole cells to positions in cells, by one of `REFINES`."""
    if how == 'none':
        return cells.to(maps)
    if how in SMOOTHED:
        return cells + SMOOTHED[how](maps, cells, kernel)
    return cells + PLAIN[how](maps, cells)


def neighbourhood(maps: Tensor, cells: Tensor, radius: int) -> Tensor:
    """The square of cells around each peak, 0 beyond the map: (B, K, H, W) to (B, K, 2r+1, 2r+1)."""
    height, width = maps.shape[-2:]
    steps = torch.arange(-radius, radius + 1, device=maps.device)
    columns, rows = (cells[..., axis, None] + steps for axis in (0, 1))
    places = rows.clamp(0, height - 1)[..., :, None] * width + columns.clamp(0, width - 1)[..., None, :]
    there = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    values = maps.flatten(2).gather(2, places.flatten(2)).view(*places.shape)
    return torch.where(there, values, 0.0)


def interior(maps: Tensor, cells: Tensor, margin: int) -> Tensor:
    """(B, K, 2) whether a peak has `margin` cells on either side, in x and in y."""
    last = torch.tensor([maps.shape[-1] - 1, maps.shape[-2] - 1], device=cells.device)
    return (cells >= margin) & (cells <= last - margin)


def quarter_step(maps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the higher neighbour, on each axis that has neighbours on both sides."""
    near = neighbourhood(maps, cells, 1)
    slope = torch.stack([near[..., 1, 2] - near[..., 1, 0], near[..., 2, 1] - near[..., 0, 1]], dim=-1)
    return 0.25 * slope.sign() * interior(maps, cells, 1)


def dark_step(maps: Tensor, cells: Tensor, kernel: int) -> Tensor:
    """DARK's offset (B, K, 2) in cells: smoothing by a Gaussian of odd size `kernel`, then -H⁻¹g of the logarithm.

    The second differences take steps of two cells; peaks within two cells of the border stay.
    """
    f = torch.log(modulated(maps, cells, kernel, 5).clamp(min=1e-10))
    gx, gy, hxx, hyy, hxy = (f @ torch.from_numpy(differences()).to(f)).unbind(dim=-1)
    step, sound = newton(gx, gy, hxx, hxy, hyy)
    return torch.where(sound & interior(maps, cells, 2).all(dim=-1, keepdim=True), step, 0.0).to(maps)


def modulated(maps: Tensor, cells: Tensor, kernel: int, keep: int) -> Tensor:
    """The smoothed `keep` x `keep` cells around each peak, row by row (B, K, keep²), scaled so that the peak stays.

    In double precision: near a singular Hessian the step is many times less exact than these.
    """
    around = neighbourhood(maps, cells, (keep + kernel) // 2 - 1).flatten(-2)
    top = around[..., around.shape[-1] // 2, None]
    near = around.double() @ torch.from_numpy(smoothing(kernel, keep)).to(around.device)
    return near * (top / near.amax(dim=-1, keepdim=True).clamp(min=1e-10))


def udp_step(maps: Tensor, cells: Tensor, kernel: int) -> Tensor:
    """UDP's offset (B, K, 2) in cells: smoothing as in DARK, then -H⁻¹g of the logarithm by steps of one cell.

    Beyond the border the smoothed map goes on as it ends. A step beyond the reach of the smoothing, of a map without
    a summit, is not taken; the published formula goes any distance.
    """
    f = modulated(maps, cells, kernel, 3).clamp(1e-3, 50.0).log().unflatten(-1, (3, 3))
    last = torch.tensor([maps.shape[-1] - 1, maps.shape[-2] - 1], device=cells.device)
    steps = torch.arange(-1, 2, device=cells.device)
    kept = 1 + ((cells[..., None] + steps).clamp(min=0).minimum(last[:, None]) - cells[..., None])
    f = f.gather(-1, kept[..., 0, None, :].expand_as(f)).gather(-2, kept[..., 1, :, None].expand_as(f))
    (ul, up, _), (left, mid, right), (_, down, dr) = (row.unbind(-1) for row in f.unbind(-2))
    hxx, hyy = right - 2 * mid + left + EPS, down - 2 * mid + up + EPS
    hxy = (dr - right - down + 2 * mid - left - up + ul) / 2
    step, sound = newton((right - left) / 2, (down - up) / 2, hxx, hxy, hyy)
    return torch.where(sound & (step.abs() <= kernel // 2).all(dim=-1, keepdim=True), step, 0.0).to(maps)


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
    last = torch.tensor([maps.shape[-1] - 2, maps.shape[-2] - 2], device=cells.device)
    base = torch.minimum(cells.clamp(min=1), last)
    f = torch.log(neighbourhood(maps, base, 1).clamp(min=1e-4))
    gx, gy = (f[..., 1, 2] - f[..., 1, 0]) / 2, (f[..., 2, 1] - f[..., 0, 1]) / 2
    hxx = f[..., 1, 2] - 2 * f[..., 1, 1] + f[..., 1, 0]
    hyy = f[..., 2, 1] - 2 * f[..., 1, 1] + f[..., 0, 1]
    hxy = (f[..., 2, 2] - f[..., 0, 2] - f[..., 2, 0] + f[..., 0, 0]) / 4
    step, sound = newton(gx, gy, hxx, hxy, hyy)
    sound = sound & ((hxx < 0) & (hxx * hyy > hxy * hxy))[..., None]
    return torch.where(sound, (base - cells + step).clamp(-1, 1), 0.0)


def newton(gx: Tensor, gy: Tensor, hxx: Tensor, hxy: Tensor, hyy: Tensor) -> tuple[Tensor, Tensor]:
    """-H⁻¹g (..., 2) of a function of two variables, and (..., 1) whether H can be inverted."""
    det = hxx * hyy - hxy * hxy
    sound = (det != 0)[..., None]
    det = torch.where(det != 0, det, 1.0)
    return torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], dim=-1) / det[..., None], sound


EPS = torch.finfo(torch.float32).eps  # what UDP adds to both curvatures
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
    """((kernel + keep - 1)², keep²) that blurs a square of cells, row by row, and keeps its middle."""
    lines = np.stack([np.pad(blur_line(kernel), (i, keep - 1 - i)) for i in range(keep)])
    return np.kron(lines, lines).T.copy()


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
    """(25, 5) that takes a 5x5 square, row by row, to its central differences d/dx, d/dy, d²/dx², d²/dy², d²/dxdy."""
    pick = np.eye(5)
    middle, slope = pick[2], (pick[3] - pick[1]) / 2
    curve = (pick[4] - 2 * pick[2] + pick[0]) / 4
    pairs = ((middle, slope), (slope, middle), (middle, curve), (curve, middle), (slope, slope))  # rows, columns
    return np.stack([np.outer(rows, columns).ravel() for rows, columns in pairs], axis=1)


def dark_kernel(sigma: float) -> int:
    """The odd blur size of a Gaussian of `sigma` cells, by OpenCV's rule: 3 for 1 cell, 11 for 2, 17 for 3."""
    size = math.floor(2 * ((sigma - 0.8) / 0.3 + 1) + 1 + 1e-6)
    return max(3, size - 1 + size % 2)
