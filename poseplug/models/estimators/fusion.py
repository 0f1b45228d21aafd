"""Fields of several views of a picture, summed in the picture's own pixels (Wei et al. 2016, test at seven scales)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec
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
    cells = codec.grid.cells(pixels)
    extent = torch.tensor([maps.shape[-1], maps.shape[-2]]).to(maps)
    grid = (2 * cells + 1) / extent - 1
    seen = F.grid_sample(maps[None], grid[None], mode='bicubic', padding_mode='border', align_corners=False)[0]
    unseen = torch.zeros_like(seen)
    if codec.background:
        unseen[-1] = 1.0
    return torch.where(inside, seen, unseen)
