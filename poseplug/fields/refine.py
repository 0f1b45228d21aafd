"""The highest peak of each heatmap, refined between the cells: not at all, by a quarter step, or by an expansion.

'dark' (Zhang et al. 2020, arXiv:1910.06278) smooths the heatmaps (modulation) and scales them back to their peak by
the largest of the 5 x 5 cells around it, as released. Equation 11 stretches the whole heatmap from its smallest value,
which is 0 or nearly so, to its largest: `rescale='range'`. A second-order Taylor expansion of their logarithm gives
the offset from the largest cell. 'taylor' is the same expansion of the heatmaps as they are, which suits coarse ones:
with a Gaussian of about one cell, smoothing and steps of two cells reach beyond the peak. 'udp' (Huang et al. 2020,
arXiv:1911.07524) smooths like DARK and takes steps of one cell. 'second_peak' (Chen et al. 2018, arXiv:1711.07319) is
a quarter step along the line to the second largest cell.
"""

from __future__ import annotations

__all__ = [
    'REFINEMENTS',
    'count_strips',
    'find_line_maxima',
    'gather_neighborhood',
    'get_heatmap_maximum',
    'refine_keypoints',
]

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.fields.blur import blur_heatmaps, smoothing_matrix


def get_heatmap_maximum(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest cell of each heatmap and its value.

    Args:
        heatmaps: (B, K, H, W).

    Returns:
        The x, y of the cells (B, K, 2), whole numbers, and their values (B, K). Of equal cells the first counts, row
        by row.
    """
    width = heatmaps.shape[-1]
    indices, values = (
        maxima.view(heatmaps.shape[:2]) for maxima in find_line_maxima(heatmaps.flatten(2).flatten(0, 1))
    )
    return torch.stack([indices % width, indices.div(width, rounding_mode='floor')], dim=-1), values


def find_line_maxima(lines: Tensor) -> tuple[Tensor, Tensor]:
    """Find the largest value of each line of numbers.

    Args:
        lines: (N, n).

    Returns:
        The indices (N,) of the maxima, and their values (N,). Of equal maxima the first counts. NaN is larger than any
        number, as in `torch.max`; where a line has both NaN and infinity, its index can be that of either.
    """
    # On a CPU a maximum without its index takes a fraction of the time of one with it. So each line is cut into strips,
    # and the index is searched only in the strip of the maximum: for 32 instances of 17 heatmaps of 64 x 48 cells in
    # 0.4 ms, against 1.8 ms of `lines.max(dim=1)`.
    num_lines, line_length = lines.shape
    num_strips = count_strips(line_length)
    strip_length = line_length // num_strips
    strips = lines.view(num_lines, num_strips, strip_length)
    values, best_strips = strips.amax(dim=2).max(dim=1)
    rows = best_strips + torch.arange(0, num_lines * num_strips, num_strips, device=lines.device)
    best_values = strips.flatten(0, 1).index_select(0, rows)
    # Cells below the maximum are moved behind all others, so that the smallest position is that of the first maximum.
    # A maximum of NaN is replaced by infinity, because only NaN is not less than that.
    limits = torch.where(values.isnan(), math.inf, values)
    is_less = best_values.lt_(limits[:, None])  # in place it is 1.0 or 0.0
    positions = torch.arange(strip_length, dtype=torch.float32, device=lines.device)
    first = torch.add(positions, is_less, alpha=strip_length).amin(dim=1).long()
    return best_strips * strip_length + first, values


def count_strips(line_length: int) -> int:
    """Return the number of equal strips, at most 16 and each of at least 128 numbers, into which a line is cut."""
    return max(n for n in range(1, 17) if line_length % n == 0 and (n == 1 or line_length // n >= 128))


def refine_keypoints(
    heatmaps: Tensor,
    cells: Tensor,
    method: str,
    kernel_size: int = 11,
    match: str = 'poseplug',
    rescale: str = 'peak',
) -> Tensor:
    """Refine peaks between the cells.

    Args:
        heatmaps: (B, K, H, W).
        cells: (B, K, 2) x, y of the peaks, whole cells.
        method: one of `REFINEMENTS`.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'; 1 for none.
        match: whose rules count near the border, for 'quarter' and 'udp': 'poseplug', 'mmpose', or 'official' (HRNet
            and UDP-Pose).
        rescale: for 'dark', whether smoothed heatmaps are scaled back to their 'peak', or stretched over its 'range'.

    Returns:
        (B, K, 2) x, y in cells.
    """
    if method == 'none':
        return cells.to(heatmaps)
    if (method, rescale) == ('dark', 'range'):
        return cells + _dark_step(heatmaps, cells, kernel_size, _modulate_range)
    if match != 'poseplug' and method in _MATCHED_STEPS:
        return cells + _MATCHED_STEPS[method](heatmaps, cells, kernel_size, match)
    if method in _SMOOTHED_STEPS:
        return cells + _SMOOTHED_STEPS[method](heatmaps, cells, kernel_size)
    return cells + _UNSMOOTHED_STEPS[method](heatmaps, cells)


def gather_neighborhood(heatmaps: Tensor, cells: Tensor, radius: int) -> Tensor:
    """Gather the square of cells around each peak; cells beyond the heatmap are 0.

    Args:
        heatmaps: (B, K, H, W). One heatmap that `expand` repeats along K, for several peaks, is not copied.
        cells: (B, K, 2) x, y of the peaks, whole cells.
        radius: cells on each side of a peak.

    Returns:
        (2 radius + 1, 2 radius + 1, B, K), rows first. The long axes are last, and so in all that is computed from it,
        because elementwise operations are fastest along a long last axis.
    """
    height, width = heatmaps.shape[-2:]
    heatmaps = heatmaps if heatmaps.stride(1) else heatmaps[:, :1]
    integer = torch.int32 if heatmaps.numel() < 2**31 else torch.int64  # half the memory traffic of int64
    lines, inside_lines = _neighbor_lines(heatmaps, cells.to(integer), radius)
    is_inside, (columns, rows) = inside_lines == lines, inside_lines
    first = torch.arange(0, heatmaps.numel(), height * width, dtype=integer, device=heatmaps.device)
    indices = (first.view(heatmaps.shape[:2]) + rows * width)[:, None] + columns
    values = heatmaps.flatten().index_select(0, indices.flatten()).view(indices.shape)
    return values.mul_(is_inside[1, :, None]).mul_(is_inside[0])


def _neighbor_lines(heatmaps: Tensor, cells: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The columns and rows around each peak (2, 2 radius + 1, B, K), and the same clamped to the heatmap."""
    steps = torch.arange(-radius, radius + 1, dtype=cells.dtype, device=cells.device)[:, None, None]
    lines = cells.movedim(-1, 0).contiguous()[:, None] + steps
    return lines, lines.clamp(min=0).minimum(_last_cell(heatmaps).to(lines)[:, None, None, None])


def _last_cell(heatmaps: Tensor) -> Tensor:
    """The x and y of the last cell of a heatmap."""
    return torch.tensor([heatmaps.shape[-1] - 1, heatmaps.shape[-2] - 1], device=heatmaps.device)


def _is_interior(heatmaps: Tensor, cells: Tensor, margin: int) -> Tensor:
    """Whether a peak has `margin` cells on either side, in x and in y: (B, K, 2)."""
    return (cells >= margin) & (cells <= _last_cell(heatmaps) - margin)


def _quarter_step(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the higher neighbor, on each axis that has neighbors on both sides."""
    return _unbounded_quarter_step(heatmaps, cells) * _is_interior(heatmaps, cells, 1)


def _unbounded_quarter_step(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the higher neighbor; cells beyond the heatmap are 0."""
    near = gather_neighborhood(heatmaps, cells, 1)
    slope = torch.stack([near[1, 2] - near[1, 0], near[2, 1] - near[0, 1]], dim=-1)
    return 0.25 * slope.sign()


def _matched_quarter_step(heatmaps: Tensor, cells: Tensor, kernel_size: int, match: str) -> Tensor:
    """The quarter step of MMPose or of HRNet, which make none from cells that ours makes one from.

    HRNet's peak has two cells before it and one behind it on both axes, or makes no step. In MMPose each axis counts by
    itself, but a peak in the first column makes no step in y, and one in the first row none in x.
    """
    has_room = (cells >= 2) & (cells <= _last_cell(heatmaps) - 1)
    if match == 'official':
        has_room = has_room.all(dim=-1, keepdim=True)
    else:
        has_room = has_room & (cells.flip(-1) > 0)
    return _unbounded_quarter_step(heatmaps, cells) * has_room


def _matched_udp_step(heatmaps: Tensor, cells: Tensor, kernel_size: int, match: str) -> Tensor:
    """UDP's offset as MMPose or UDP-Pose compute it: the whole heatmap is smoothed, and a step may have any length.

    MMPose smooths with zeros beyond the border and scales by the largest value. UDP-Pose reflects, and stretches the
    values from the smallest, which becomes 0, to the largest.
    """
    is_official = match == 'official'
    smooth = blur_heatmaps(heatmaps.double(), kernel_size, reflect=is_official)
    low = smooth.amin(dim=(2, 3), keepdim=True) if is_official else 0.0
    scale = heatmaps.amax(dim=(2, 3), keepdim=True) / (smooth.amax(dim=(2, 3), keepdim=True) - low)
    f = ((smooth - low) * scale).nan_to_num().clamp_(1e-3, 50.0).log_()
    _, (columns, rows) = _neighbor_lines(heatmaps, cells, 1)  # the outermost cells are repeated beyond the border
    indices = rows[:, None] * heatmaps.shape[-1] + columns  # (3, 3, B, K)
    near = f.flatten(2).gather(2, indices.flatten(0, 1).movedim(0, -1)).movedim(-1, 0)
    gx, gy, hxx, hyy, hxy = _apply_table(torch.from_numpy(_UDP_DIFFERENCES).to(f.device), near)
    eps = 0.0 if is_official else _UDP_EPS
    return _newton_step(gx, gy, hxx + eps, hxy, hyy + eps).to(heatmaps)


def _dark_step(
    heatmaps: Tensor,
    cells: Tensor,
    kernel_size: int,
    modulate: Callable[[Tensor, Tensor, int, int], Tensor] | None = None,
) -> Tensor:
    """DARK's offset (B, K, 2) in cells: smoothing by a Gaussian, then -H⁻¹g of the logarithm.

    The second differences take steps of two cells; peaks within two cells of the border stay where they are.
    """
    f = (modulate or _modulate_peaks)(heatmaps, cells, kernel_size, 5).clamp_(min=1e-10).log_()
    gx, gy, hxx, hyy, hxy = _apply_table(torch.from_numpy(_central_differences()).to(f.device), f.flatten(0, 1))
    inside = _is_interior(heatmaps, cells, 2).all(dim=-1, keepdim=True)
    return torch.where(inside, _newton_step(gx, gy, hxx, hxy, hyy), 0.0).to(heatmaps)


def _modulate_peaks(heatmaps: Tensor, cells: Tensor, kernel_size: int, side: int) -> Tensor:
    """The smoothed `side` x `side` cells around each peak (side, side, B, K), scaled back to the peak's height.

    In double precision: near a singular Hessian the step is many times less exact than these values.
    """
    radius = (side + kernel_size) // 2 - 1
    around = gather_neighborhood(heatmaps, cells, radius)
    blur = torch.from_numpy(smoothing_matrix(kernel_size, side)).to(around.device)
    rows = _apply_table(blur, around.double())
    near = (blur @ rows.flatten(2)).view(side, side, *around.shape[2:])
    return near.mul_(around[radius, radius] / near.amax(dim=(0, 1)).clamp(min=1e-10))


def _modulate_range(heatmaps: Tensor, cells: Tensor, kernel_size: int, side: int) -> Tensor:
    """The same cells of the whole smoothed heatmap, stretched from 0 to the height of the peak (eq. 11)."""
    smooth = blur_heatmaps(heatmaps.double(), kernel_size)
    low, high = (f(smooth, dim=(2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    heights = heatmaps.double().amax(dim=(2, 3), keepdim=True)
    return gather_neighborhood((smooth - low) * (heights / (high - low).clamp(min=1e-10)), cells, side // 2)


def _apply_table(table: Tensor, values: Tensor) -> Tensor:
    """A table (m, n) applied to the first axis: (n, ...) to (m, ...)."""
    products: Tensor = (table @ values.flatten(1)).unflatten(1, values.shape[1:])
    return products


def _udp_step(heatmaps: Tensor, cells: Tensor, kernel_size: int) -> Tensor:
    """UDP's offset (B, K, 2) in cells: smoothing as in DARK, then -H⁻¹g of the logarithm by steps of one cell.

    Beyond the border the smoothed heatmap repeats its outermost cells. A step longer than the smoothing reaches, where
    a heatmap has no summit, is not taken; the published formula takes a step of any length.
    """
    f = _modulate_peaks(heatmaps, cells, kernel_size, 3).clamp_(1e-3, 50.0).log_()
    lines, inside_lines = _neighbor_lines(heatmaps, cells, 1)
    column, row = inside_lines - lines[:, :1]  # 0, 1 or 2 within the 3x3 square, repeating the last one at a border
    repeated = 3 * row[:, None] + column
    f = f.flatten(0, 1).gather(0, repeated.flatten(0, 1))
    gx, gy, hxx, hyy, hxy = _apply_table(torch.from_numpy(_UDP_DIFFERENCES).to(f.device), f)
    step = _newton_step(gx, gy, hxx + _UDP_EPS, hxy, hyy + _UDP_EPS)
    in_reach = (step.abs() <= max(kernel_size // 2, 1)).all(dim=-1, keepdim=True)
    return torch.where(in_reach, step, 0.0).to(heatmaps)


def _second_peak_step(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """A quarter of a cell towards the second largest cell of the heatmap, wherever it is, if it is positive."""
    index = cells[..., 1] * heatmaps.shape[-1] + cells[..., 0]
    others = heatmaps.flatten(2).scatter(2, index[..., None], -math.inf).view_as(heatmaps)
    second, value = get_heatmap_maximum(others)
    direction = F.normalize((second - cells).to(heatmaps), dim=-1)
    return torch.where((value > 0)[..., None], 0.25 * direction, 0.0)


def _taylor_step(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """The offset (B, K, 2) in cells to the top of a paraboloid through the logarithm of the peak and its neighbors.

    Exact for a Gaussian. A peak at the border is expanded about the nearest cell that has all neighbors, and no peak
    moves by more than one cell. Where the logarithm has no summit the peak stays where it is.
    """
    base = torch.minimum(cells.clamp(min=1), _last_cell(heatmaps) - 1)
    f = torch.log(gather_neighborhood(heatmaps, base, 1).clamp(min=1e-4))
    (ul, up, ur), (left, mid, right), (dl, down, dr) = f
    gx, gy, hxy = (right - left) / 2, (down - up) / 2, (dr - ur - dl + ul) / 4
    hxx, hyy = right - 2 * mid + left, down - 2 * mid + up
    has_summit = ((hxx < 0) & (hxx * hyy > hxy * hxy))[..., None]
    step = base - cells + _newton_step(gx, gy, hxx, hxy, hyy)
    return torch.where(has_summit, step.clamp(-1, 1), 0.0)


def _newton_step(gx: Tensor, gy: Tensor, hxx: Tensor, hxy: Tensor, hyy: Tensor) -> Tensor:
    """-H⁻¹g (..., 2) of a function of two variables, and 0 where H cannot be inverted."""
    det = hxx * hyy - hxy * hxy
    numerators = torch.stack([hxy * gy - hyy * gx, hxy * gx - hxx * gy], dim=-1)
    return numerators / torch.where(det != 0, det, math.inf)[..., None]


_UDP_EPS = torch.finfo(torch.float32).eps  # what UDP adds to both curvatures
_UDP_STENCILS = (  # of a 3x3 square, row by row: twice d/dx, d/dy, d²/dx², d²/dy², d²/dxdy
    (0, 0, 0, -1, 0, 1, 0, 0, 0),
    (0, -1, 0, 0, 0, 0, 0, 1, 0),
    (0, 0, 0, 2, -4, 2, 0, 0, 0),
    (0, 2, 0, 0, -4, 0, 0, 2, 0),
    (1, -1, 0, -1, 2, -1, 0, -1, 1),
)
_UDP_DIFFERENCES = 0.5 * np.array(_UDP_STENCILS)
_SMOOTHED_STEPS = {'dark': _dark_step, 'udp': _udp_step}
_MATCHED_STEPS = {'quarter': _matched_quarter_step, 'udp': _matched_udp_step}
_UNSMOOTHED_STEPS = {'quarter': _quarter_step, 'taylor': _taylor_step, 'second_peak': _second_peak_step}
REFINEMENTS = ('none', *_UNSMOOTHED_STEPS, *_SMOOTHED_STEPS)


@lru_cache(maxsize=1)
def _central_differences() -> np.ndarray:
    """The table (5, 25) from a 5x5 square, row by row, to its differences d/dx, d/dy, d²/dx², d²/dy², d²/dxdy."""
    pick = np.eye(5)
    middle, slope = pick[2], (pick[3] - pick[1]) / 2
    curve = (pick[4] - 2 * pick[2] + pick[0]) / 4
    pairs = ((middle, slope), (slope, middle), (middle, curve), (curve, middle), (slope, slope))  # rows, columns
    return np.stack([np.outer(rows, columns).ravel() for rows, columns in pairs])
