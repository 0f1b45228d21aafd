"""Position embeddings of vision transformers: other grids, and the class token of MAE's weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.core.errors import CheckpointError
from poseplug.models.layers.attention import GridSize


def resize_pos_embed(embedding: Tensor, old: GridSize, new: GridSize) -> Tensor:
    """Resize a position embedding to another grid, bicubically.

    Args:
        embedding: (1, entries, C): the cells of the grid row by row, and before them a class token or none.
        old: (rows, columns) of the embedding.
        new: (rows, columns) of the result.

    Returns:
        (1, entries, C) with the class token as it was; the embedding itself if the grids are equal.
    """
    if old == new:
        return embedding
    num_cls = embedding.shape[1] - old[0] * old[1]
    # In single precision, since weights may be stored as halves.
    cells = embedding[:, num_cls:].float().unflatten(1, old).permute(0, 3, 1, 2)
    cells = F.interpolate(cells, size=new, mode='bicubic', align_corners=False)
    return torch.cat([embedding[:, :num_cls], cells.flatten(2).mT.to(embedding.dtype)], dim=1)


def fold_class_token(embedding: Tensor) -> Tensor:
    """Add the class token of a position embedding (1, 1 + cells, C) to every cell: (1, cells, C)."""
    return embedding[:, 1:] + embedding[:, :1]


def infer_grid(num_entries: int, model_grid: GridSize, name: str = 'pos_embed') -> tuple[GridSize, int]:
    """Infer the grid of a position embedding of other weights from its number of entries.

    The model's own grid is tried first, then one of its proportions, a square, and one of 4:3 (rows to columns); each
    with a class token before without.

    Args:
        num_entries: Number of entries.
        model_grid: (rows, columns) of the model.
        name: Name of the embedding, for the message.

    Returns:
        (rows, columns), and the number of class tokens before the cells (1 or 0).

    Raises:
        CheckpointError: No such grid has this number of cells.
    """
    num_cells = model_grid[0] * model_grid[1]
    # The model's own grid first: 193 entries are 16 x 12 and a class token to a model of that grid.
    for num_cls in (1, 0):
        if num_entries == num_cells + num_cls:
            return model_grid, num_cls
    for num_cls in (1, 0):
        for proportions in (model_grid, (1, 1), (4, 3)):
            grid = _scale_grid_to(num_entries - num_cls, proportions)
            if grid is not None:
                return grid, num_cls
    raise CheckpointError(
        f'{name} has {num_entries} entries: with or without a class token these are no grid that is square, 4:3 or of '
        f"the model's proportions, {model_grid} (rows, columns); resize it to {num_cells}, or set input_size to its own"
    )


def _scale_grid_to(num_cells: int, shape: GridSize) -> GridSize | None:
    """The grid of `num_cells` cells with the proportions of `shape`, or None if there is none."""
    divisor = math.gcd(*shape)
    rows, columns = shape[0] // divisor, shape[1] // divisor
    factor = math.isqrt(max(num_cells, 0) // (rows * columns))
    return (rows * factor, columns * factor) if factor and rows * columns * factor**2 == num_cells else None
