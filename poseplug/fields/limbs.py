"""Part affinity fields on a grid: a unit vector on every cell that a limb covers (Cao et al. 2017, arXiv:1611.08050).

All positions are in cells. Only the cells near a limb are computed: in each column (row, of a steep limb) the few rows
(columns) of its band.
"""

from __future__ import annotations

__all__ = ['encode_limb_fields']

import math

import torch
from torch import Tensor

from poseplug.core.geometry import Size

_SLACK_CELLS = 1e-4  # what rounding may take from a cell just on the edge of a limb


def encode_limb_fields(
    start: Tensor,
    end: Tensor,
    mask: Tensor,
    size: Size,
    width_cells: float,
    merge: str,
    limb_ends: str = 'extended',
) -> Tensor:
    """Draw the unit vectors of limbs on the cells that they cover.

    A limb covers a cell that lies at most `width_cells` beside its line, inside the box around both ends grown by
    `width_cells`; or with `limb_ends` 'exact' beside the line between both ends.

    Args:
        start, end: (B, N, L, 2) x, y in cells of the ends of L limbs of N instances.
        mask: (B, N, L) bool, which limbs to draw.
        size: (width, height) of the grid.
        width_cells: half the width of a limb.
        merge: what a cell holds that several instances cover: 'mean' of their vectors, or that of the 'last' instance.
        limb_ends: 'extended' or 'exact', whether cells beyond the ends are covered.

    Returns:
        (B, 2 L, H, W), x and y of each limb in turn.
    """
    displacement = torch.where(mask[..., None], end - start, 0.0)
    length = displacement.norm(dim=-1, keepdim=True)
    mask = mask & (length[..., 0] > 0)
    units = (displacement / length.clamp(min=1e-12)).transpose(1, 2)  # (B, L, N, 2)
    # 10 instances in each of 8 images of 46 x 46 cells: 9.5 ms for the bands, against 178 ms for all cells of the grid
    # (one thread); a training step of the smallest bottom-up model takes 500 ms.
    covered = _covered_cells(start, displacement, mask, size, width_cells, limb_ends)
    indices, inside = (t.transpose(1, 2) for t in covered)  # (B, L, N, cells of a band)
    merge_instances = _average_instances if merge == 'mean' else _keep_last_instance
    fields = merge_instances(units, indices, inside, size[0] * size[1])
    maps: Tensor = fields.flatten(1, 2).unflatten(-1, (size[1], size[0]))
    return maps


def _covered_cells(
    start: Tensor, displacement: Tensor, mask: Tensor, size: Size, width_cells: float, limb_ends: str
) -> tuple[Tensor, Tensor]:
    """The cells of each limb's band, counted row by row, and which of them it covers: (B, N, L, steps * band)."""
    # Coordinates are (main, cross): (x, y), or (y, x) of a steep limb, so that its band is narrow across.
    steep = (displacement[..., 1].abs() > displacement[..., 0].abs())[..., None]
    ends = (torch.where(mask[..., None], start, 0.0), displacement)
    origin, direction = (torch.where(steep, t.flip(-1), t) for t in ends)
    main = torch.arange(max(size), dtype=start.dtype, device=start.device)
    run = direction[..., :1]
    run = torch.where(run == 0, 1.0, run)
    line = origin[..., 1:] + (main - origin[..., :1]) * (direction[..., 1:] / run)  # (B, N, L, steps)
    half_band = width_cells * direction.norm(dim=-1, keepdim=True) / run.abs() + _SLACK_CELLS  # along the cross axis
    band_size = math.floor(2 * width_cells * math.sqrt(2) + 2 * _SLACK_CELLS) + 1
    cross = (line - half_band).ceil()[..., None] + torch.arange(band_size, device=start.device)

    low, high = (f(origin, origin + direction) for f in (torch.minimum, torch.maximum))
    low, high = low - width_cells - _SLACK_CELLS, high + width_cells + _SLACK_CELLS
    last = torch.where(steep, start.new_tensor(size[::-1]), start.new_tensor(size)) - 1
    on_main = (main >= low[..., :1]) & (main <= high[..., :1]) & (main <= last[..., :1]) & mask[..., None]
    low, high = low[..., 1:].clamp(min=0), torch.minimum(high[..., 1:], last[..., 1:])
    low, high = torch.maximum(low, line - half_band), torch.minimum(high, line + half_band)
    inside = on_main[..., None] & (cross >= low[..., None]) & (cross <= high[..., None])

    main = main[:, None].expand_as(cross)
    if limb_ends == 'exact':
        inside = inside & _is_between_ends(main, cross, origin, direction)
    indices = torch.where(steep[..., None], main * size[0] + cross, cross * size[0] + main)
    return torch.where(inside, indices, 0.0).long().flatten(-2), inside.flatten(-2)


def _is_between_ends(main: Tensor, cross: Tensor, origin: Tensor, direction: Tensor) -> Tensor:
    """Whether the projection of cells (B, N, L, steps, band) on a limb lies between its ends (Cao et al., eq. 8)."""
    o, d = origin[..., None, None, :], direction[..., None, None, :]
    along = (main - o[..., 0]) * d[..., 0] + (cross - o[..., 1]) * d[..., 1]  # times the limb's length
    length: Tensor = d.norm(dim=-1)
    between: Tensor = (along >= -_SLACK_CELLS * length) & (along <= (length + _SLACK_CELLS) * length)
    return between


def _average_instances(units: Tensor, cell_indices: Tensor, inside: Tensor, num_cells: int) -> Tensor:
    """Vectors (B, L, N, 2) on the cells (B, L, N, M) they cover, averaged over the instances: (B, L, 2, cells)."""
    weight = inside.to(units)
    summands = [weight, weight * units[..., :1], weight * units[..., 1:]]
    index = cell_indices.flatten(2)
    zeros = (units.new_zeros(*units.shape[:2], num_cells) for _ in summands)
    count, x, y = (z.scatter_add_(2, index, s.flatten(2)) for z, s in zip(zeros, summands, strict=True))
    return torch.stack([x, y], dim=2) / count.clamp(min=1.0)[:, :, None]


def _keep_last_instance(units: Tensor, cell_indices: Tensor, inside: Tensor, num_cells: int) -> Tensor:
    """As `_average_instances`, but each cell holds the vector of the last instance that covers it."""
    if not units.shape[2]:
        return units.new_zeros(*units.shape[:2], 2, num_cells)
    instance_numbers = torch.arange(1, units.shape[2] + 1, device=units.device)[:, None]  # 0 is none
    winner = cell_indices.new_zeros(*units.shape[:2], num_cells)
    winner.scatter_reduce_(2, cell_indices.flatten(2), (instance_numbers * inside).flatten(2), 'amax')
    choices = torch.cat([torch.zeros_like(units[:, :, :1]), units], dim=2).mT
    return choices.gather(3, winner[:, :, None].expand(-1, -1, 2, -1))
