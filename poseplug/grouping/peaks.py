"""The peaks of all joints in all pictures, on the device of the maps, without enlarging them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.refine import REFINES, neighbourhood, refine

CENTROID = 'centroid'
PLACES = (CENTROID, *(how for how in REFINES if how != 'second'))  # 'second' knows one peak a map
NEAREST = 2  # cells between two peaks of a map, at least: neighbours are never both one


@dataclass(frozen=True)
class Peaks:
    """M peaks: `cells` (M, 2; x, y), `scores` (M,), and their `channels` (M,), sorted: picture * K + joint."""

    cells: np.ndarray
    scores: np.ndarray
    channels: np.ndarray

    def of_picture(self, picture: int, joints: int) -> Peaks:
        """Those of one picture, their channels the joints."""
        first, last = np.searchsorted(self.channels, [picture * joints, (picture + 1) * joints])
        part = slice(first, last)
        return Peaks(self.cells[part], self.scores[part], self.channels[part] - picture * joints)

    def __len__(self) -> int:
        return len(self.scores)


def find_peaks(
    maps: Tensor,
    threshold: float,
    most: int = 127,
    how: str = 'none',
    kernel: int = 11,
    apart: float = 0.0,
    raw: Tensor | None = None,
) -> Peaks:
    """Cells of maps (B, K, H, W) above `threshold` and above their eight neighbours, placed between cells by `how`.

    Of equal neighbours the first counts, row by row. Beyond the border there is nothing, so that cells at the border
    can be peaks. Of each map the `most` largest count, and of those less than `apart` cells from each other the first.
    Scores are the values of `raw` maps, if these were smoothed.
    """
    maps = maps.contiguous()
    height, width = maps.shape[-2:]
    places = best(maps.flatten(), summits(maps, threshold), height * width, most)
    if apart > NEAREST:
        places = distinct(places, width, height * width, apart)
    channels, inside = places.div(height * width, rounding_mode='floor'), places % (height * width)
    cells = torch.stack([inside % width, inside.div(width, rounding_mode='floor')], dim=-1)
    scores = (maps if raw is None else raw.contiguous()).flatten()[places]
    cells = refined(maps.flatten(0, 1), channels, cells, how, kernel)
    table = torch.cat([cells.double(), scores.double()[:, None], channels[:, None]], dim=1).cpu().numpy()
    return Peaks(table[:, :2].astype(np.float32), table[:, 2].astype(np.float32), table[:, 3].astype(np.int64))


def summits(maps: Tensor, threshold: float) -> Tensor:
    """(M,) where in the flattened maps (B, K, H, W) a cell is a peak, in order.

    The few cells above the threshold are compared with one neighbour after the other, which costs less than looking for
    the largest around every cell.
    """
    height, width = maps.shape[-2:]
    walled = F.pad(maps, (1, 1, 1, 1), value=-torch.inf)
    flat, wide = walled.flatten(), width + 2
    places = above(flat, threshold)
    values = flat[places]
    for step in (wide + 1, wide, wide - 1, 1):
        keep = values > flat[places - step]
        places, values = places[keep], values[keep]
        keep = values >= flat[places + step]
        places, values = places[keep], values[keep]
    channel, inside = places.div(wide * (height + 2), rounding_mode='floor'), places % (wide * (height + 2))
    row, column = inside.div(wide, rounding_mode='floor') - 1, inside % wide - 1
    return (channel * height + row) * width + column


def above(values: Tensor, threshold: float) -> Tensor:
    """(M,) where values (N,) are above the threshold, in order; on a CPU NumPy finds them several times faster."""
    if values.device.type == 'cpu':
        return torch.from_numpy(np.flatnonzero(values.detach().numpy() > threshold))
    return (values > threshold).nonzero()[:, 0]


def best(values: Tensor, places: Tensor, cells: int, most: int) -> Tensor:
    """Of the places (M,) in maps of so many cells, the `most` of each map whose values are largest, in order."""
    counts = torch.bincount(places.div(cells, rounding_mode='floor'))
    if len(places) <= most or int(counts.max()) <= most:
        return places
    falling = places[torch.argsort(values[places], descending=True, stable=True)]
    order = torch.argsort(falling.div(cells, rounding_mode='floor'), stable=True)
    grouped = falling[order]
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(grouped), device=places.device) - starts[grouped.div(cells, rounding_mode='floor')]
    return grouped[rank < most].sort().values


def refined(maps: Tensor, channels: Tensor, cells: Tensor, how: str, kernel: int) -> Tensor:
    """Peaks (M, 2) in whole cells of maps (C, H, W), several a map, placed between the cells by one of `PLACES`."""
    if how == 'none' or not len(cells):
        return cells.to(maps)
    counts = torch.bincount(channels, minlength=len(maps))
    rank = torch.arange(len(cells), device=cells.device) - (torch.cumsum(counts, 0) - counts)[channels]
    most = int(counts.max())
    table = cells.new_zeros(len(maps), most, 2)
    table[channels, rank] = cells
    every = maps[:, None].expand(-1, most, -1, -1)
    return (centroid(every, table) if how == CENTROID else refine(every, table, how, kernel))[channels, rank]


def centroid(maps: Tensor, cells: Tensor) -> Tensor:
    """Peaks (B, K, 2) in whole cells to those of the released library, which enlarges the maps (B, K, H, W) 8 times.

    That is, the largest place near the cell on a map interpolated by cubics, and around it the mean of 7 x 7 places,
    weighted by their values where these are positive. Only the cells around a peak are interpolated.
    """
    around = neighbourhood(maps, cells, 3).movedim((0, 1), (2, 3)).double()
    enlarge = torch.from_numpy(cubic(8, 15)).to(maps.device)
    fine = enlarge @ around @ enlarge.T  # (B, K, 30, 30), of which the 24 x 24 in the middle are at most 1 cell away
    top = fine[..., 3:-3, 3:-3].flatten(-2).argmax(dim=-1)
    corner = torch.stack([top % 24, top.div(24, rounding_mode='floor')], dim=-1)
    steps = torch.arange(7, device=maps.device)
    columns, rows = (corner[..., axis, None] + steps for axis in (0, 1))
    window = fine.flatten(-2).gather(-1, (rows[..., :, None] * 30 + columns[..., None, :]).flatten(-2))
    window = window.clamp(min=0).unflatten(-1, (7, 7))
    total = window.sum(dim=(-2, -1)).clamp(min=1e-12)
    x, y = (window.sum(dim=-2) * columns).sum(dim=-1) / total, (window.sum(dim=-1) * rows).sum(dim=-1) / total
    return cells + ((torch.stack([x, y], dim=-1) - 14.5) / 8).to(maps)


@lru_cache(maxsize=4)
def cubic(scale: int, reach: int) -> np.ndarray:
    """(2 reach, 7) that interpolates 7 cells at the places within `reach` / `scale` cells of the middle one.

    By the cubic of -0.75 that OpenCV and torch use; places lie in the middle of their `scale` parts of a cell.
    """
    places = (np.arange(-reach, reach) + 0.5) / scale
    far = abs(places[:, None] - np.arange(-3, 4))
    near = (1.25 * far - 2.25) * far * far + 1
    wide = -0.75 * (((far - 5) * far + 8) * far - 4)
    return np.where(far <= 1, near, np.where(far < 2, wide, 0.0))


def distinct(places: Tensor, width: int, cells: int, apart: float) -> Tensor:
    """Places (M,) without those that lie less than `apart` cells from an earlier one of their map that stays."""
    spots = places.cpu().numpy()
    channels, inside = np.divmod(spots, cells)
    points = np.stack([inside % width, inside // width], axis=1)
    keep = np.ones(len(spots), dtype=bool)
    for group in np.split(np.arange(len(spots)), np.flatnonzero(np.diff(channels)) + 1):
        close = np.linalg.norm(points[group][:, None] - points[group][None], axis=-1) < apart
        for i in np.flatnonzero(np.tril(close, -1).any(axis=1)):
            keep[group[i]] = not (close[i, :i] & keep[group[:i]]).any()
    return places[torch.from_numpy(keep).to(places.device)]
