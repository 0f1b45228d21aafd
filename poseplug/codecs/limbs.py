"""Part affinity fields drawn on a grid: a unit vector on every cell that a limb covers (Cao et al. 2017).

All positions are in cells. Only the cells near a limb are computed: for each column (row, of a steep limb) the few
rows (columns) of its band.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from poseplug.geometry import Size

SLACK = 1e-4  # cells: what rounding may take from a cell just on the edge of a limb


def limb_fields(start: Tensor, end: Tensor, drawn: Tensor, size: Size, width: float, merge: str) -> Tensor:
    """Limbs (B, N, L, 2), (B, N, L, 2) and which to draw (B, N, L) to fields (B, 2 L, H, W): x and y of each in turn.

    A cell belongs to a limb if it lies at most `width` beside its line and inside the box around both ends, grown by
    `width`. Where several people cover a cell it holds their 'mean', or the vector of the 'last' one.
    """
    way = torch.where(drawn[..., None], end - start, 0.0)
    length = way.norm(dim=-1, keepdim=True)
    drawn = drawn & (length[..., 0] > 0)
    units = (way / length.clamp(min=1e-12)).transpose(1, 2)  # (B, L, N, 2)
    places, inside = (t.transpose(1, 2) for t in covered(start, way, drawn, size, width))  # (B, L, N, cells of a band)
    cells = size[0] * size[1]
    fields = (mean if merge == 'mean' else last)(units, places, inside, cells)
    return fields.flatten(1, 2).unflatten(-1, (size[1], size[0]))


def covered(start: Tensor, way: Tensor, drawn: Tensor, size: Size, width: float) -> tuple[Tensor, Tensor]:
    """The cells of each limb's band, counted row by row, and which of them it really covers: (B, N, L, steps * few)."""
    steep = (way[..., 1].abs() > way[..., 0].abs())[..., None]
    origin, direction = (torch.where(steep, t.flip(-1), t) for t in (torch.where(drawn[..., None], start, 0.0), way))
    along = torch.arange(max(size), dtype=start.dtype, device=start.device)  # the columns, or the rows if steep
    main = direction[..., :1]
    main = torch.where(main == 0, 1.0, main)
    line = origin[..., 1:] + (along - origin[..., :1]) * (direction[..., 1:] / main)  # (B, N, L, steps)
    half = width * direction.norm(dim=-1, keepdim=True) / main.abs() + SLACK  # the band, measured across the axis
    few = torch.arange(math.floor(2 * width * math.sqrt(2) + 2 * SLACK) + 1, device=start.device)
    across = (line - half).ceil()[..., None] + few  # (B, N, L, steps, few)
    low, high = (f(origin, origin + direction) for f in (torch.minimum, torch.maximum))
    low, high = low - width - SLACK, high + width + SLACK
    last = torch.where(steep, start.new_tensor(size[::-1]), start.new_tensor(size)) - 1
    here = (along >= low[..., :1]) & (along <= high[..., :1]) & (along <= last[..., :1]) & drawn[..., None]
    low, high = low[..., 1:].clamp(min=0), torch.minimum(high[..., 1:], last[..., 1:])
    low, high = torch.maximum(low, line - half), torch.minimum(high, line + half)
    inside = here[..., None] & (across >= low[..., None]) & (across <= high[..., None])
    one, other = along[:, None].expand_as(across), across
    steep = steep[..., None]
    places = torch.where(steep, one * size[0] + other, other * size[0] + one)
    return torch.where(inside, places, 0.0).long().flatten(-2), inside.flatten(-2)


def mean(units: Tensor, places: Tensor, inside: Tensor, cells: int) -> Tensor:
    """Vectors (B, L, N, 2) on the cells (B, L, N, M) they cover, averaged over people: (B, L, 2, cells)."""
    weight = inside.to(units)
    parts = [weight, weight * units[..., :1], weight * units[..., 1:]]
    where = places.flatten(2)
    count, x, y = (units.new_zeros(*units.shape[:2], cells).scatter_add_(2, where, p.flatten(2)) for p in parts)
    return torch.stack([x, y], dim=2) / count.clamp(min=1.0)[:, :, None]


def last(units: Tensor, places: Tensor, inside: Tensor, cells: int) -> Tensor:
    """As `mean`, but each cell holds the vector of the last person who covers it."""
    people = torch.arange(1, units.shape[2] + 1, device=units.device)[:, None]
    winner = places.new_zeros(*units.shape[:2], cells)
    winner.scatter_reduce_(2, places.flatten(2), (people * inside).flatten(2), 'amax')
    choices = torch.cat([torch.zeros_like(units[:, :, :1]), units], dim=2).mT if units.shape[2] else None
    if choices is None:
        return units.new_zeros(*units.shape[:2], 2, cells)
    return choices.gather(3, winner[:, :, None].expand(-1, -1, 2, -1))
