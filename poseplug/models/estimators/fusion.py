"""Fields of several views of a picture, averaged in one frame.

Of crops in the picture's own pixels (Wei et al. 2016, test at seven scales), of whole pictures on the cells of the
first view (Cao et al. 2017, test at four scales).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Fields, MapCodec
from poseplug.codecs.heatmap import Heatmap
from poseplug.errors import ConfigError
from poseplug.poses import Poses
from poseplug.sample import Batch


def fuse_views(codec: Codec, views: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
    """The joints of every picture from the fields of its views: the largest whole pixel of their mean."""
    if not isinstance(codec, Heatmap):
        raise ConfigError(f'{type(codec).__name__} has no maps to fuse; test it with a single view (scales=[1.0])')
    return [_fuse_picture(codec, [v['heatmap'][i] for v in views], batch, i) for i in range(len(batch))]


def _fuse_picture(codec: Heatmap, views: list[Tensor], batch: Batch, place: int) -> Poses:
    size = batch.sizes[place]
    maps = [onto_picture(codec, maps, batch.matrices[place, v], size) for v, maps in enumerate(views)]
    full = replace(codec, input_size=size, stride=1, offset=0.0, refine='none')
    return replace(full.decode({'heatmap': torch.stack(maps).mean(dim=0)[None]}), images=None).numpy()


def onto_picture(codec: Heatmap, maps: Tensor, matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (C, H, W) of one view, sampled bicubically at every pixel of the picture: (C, height, width).

    What the view never saw gets 0, and 1 in the background.
    """
    width, height = size
    matrix = matrix.to(maps)
    y, x = torch.meshgrid(torch.arange(height).to(maps), torch.arange(width).to(maps), indexing='ij')
    pixels = torch.stack([x, y], dim=-1) @ matrix[:2, :2].T + matrix[:2, 2]
    inside = ((pixels >= 0) & (pixels <= torch.tensor(codec.input_size).to(maps) - 1)).all(dim=-1)
    seen = at_cells(maps[None], codec.grid.cells(pixels)[None])[0]
    unseen = torch.zeros_like(seen)
    if codec.background:
        unseen[-1] = 1.0
    return torch.where(inside, seen, unseen)


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Maps (B, C, H, W), sampled bicubically at positions (B, h, w, 2) in cells: (B, C, h, w); beyond, the border."""
    extent = torch.tensor([maps.shape[-1], maps.shape[-2]]).to(maps)
    grid = (2 * cells + 1) / extent - 1
    return F.grid_sample(maps, grid, mode='bicubic', padding_mode='border', align_corners=False)


def fuse_fields(codecs: Sequence[MapCodec], views: Sequence[Fields], matrices: Tensor) -> dict[str, Tensor]:
    """The mean of the fields of several views, on the cells of the first: each (B, C, H, W).

    `codecs` are of the views' sizes, `matrices` (B, V, 3, 3) take image to input pixels. A cell is averaged over the
    views that see it. Fields whose numbers are `relative` to their view are those of the first.
    """
    first, relative = codecs[0].grid, codecs[0].relative
    columns, rows = first.axes(next(iter(views[0].values())).float())
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1)
    total = {name: maps.float() for name, maps in views[0].items()}
    count = torch.ones_like(pixels[..., 0])
    for v, (codec, fields) in enumerate(list(zip(codecs, views, strict=True))[1:], start=1):
        there = (matrices[:, v] @ torch.linalg.inv(matrices[:, 0])).to(pixels)
        seen_at = pixels @ there[:, None, :2, :2].mT + there[:, None, None, :2, 2]
        inside = ((seen_at >= -0.5) & (seen_at <= torch.tensor(codec.input_size).to(pixels) - 0.5)).all(dim=-1)
        cells, inside = codec.grid.cells(seen_at), inside[:, None].float()
        total = {
            name: maps if name in relative else maps + inside * at_cells(fields[name].float(), cells)
            for name, maps in total.items()
        }
        count = count + inside
    return {name: maps if name in relative else maps / count for name, maps in total.items()}
