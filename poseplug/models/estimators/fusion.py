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
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch


def fuse_views(codec: Codec, view_fields: list[dict[str, Tensor]], batch: Batch) -> list[Poses]:
    """The joints of every picture from the fields of its views: the largest whole pixel of their mean."""
    if not isinstance(codec, Heatmap):
        raise ConfigError(f'{type(codec).__name__} has no maps to fuse; test it with a single view (scales=[1.0])')
    return [_fuse_image_views(codec, [v['heatmap'][i] for v in view_fields], batch, i) for i in range(len(batch))]


def _fuse_image_views(codec: Heatmap, view_heatmaps: list[Tensor], batch: Batch, image_index: int) -> Poses:
    size = batch.image_sizes[image_index]
    maps = [
        resample_to_image(codec, maps, batch.image_to_input[image_index, v], size)
        for v, maps in enumerate(view_heatmaps)
    ]
    full = replace(codec, input_size=size, stride=1, offset=0.0, refine='none')
    return replace(full.decode({'heatmap': torch.stack(maps).mean(dim=0)[None]}), image_indices=None).numpy()


def resample_to_image(codec: Heatmap, heatmaps: Tensor, image_to_input: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Maps (C, H, W) of one view, sampled bicubically at every pixel of the picture: (C, height, width).

    What the view never saw gets 0, and 1 in the background.
    """
    width, height = image_size
    image_to_input = image_to_input.to(heatmaps)
    y, x = torch.meshgrid(torch.arange(height).to(heatmaps), torch.arange(width).to(heatmaps), indexing='ij')
    pixels = torch.stack([x, y], dim=-1) @ image_to_input[:2, :2].T + image_to_input[:2, 2]
    inside = ((pixels >= 0) & (pixels <= torch.tensor(codec.input_size).to(heatmaps) - 1)).all(dim=-1)
    seen = _sample_at_cells(heatmaps[None], codec.grid.to_cells(pixels)[None])[0]
    unseen = torch.zeros_like(seen)
    if codec.background:
        unseen[-1] = 1.0
    return torch.where(inside, seen, unseen)


def _sample_at_cells(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """Maps (B, C, H, W), sampled bicubically at positions (B, h, w, 2) in cells: (B, C, h, w); beyond, the border."""
    extent = torch.tensor([heatmaps.shape[-1], heatmaps.shape[-2]]).to(heatmaps)
    grid = (2 * cells + 1) / extent - 1
    return F.grid_sample(heatmaps, grid, mode='bicubic', padding_mode='border', align_corners=False)


def fuse_fields(codecs: Sequence[MapCodec], view_fields: Sequence[Fields], image_to_input: Tensor) -> dict[str, Tensor]:
    """The mean of the fields of several views, on the cells of the first: each (B, C, H, W).

    `codecs` are of the views' sizes, `image_to_input` (B, V, 3, 3) take image to input pixels. A cell is averaged over
    the views that see it. The codec's `relative_fields` are those of the first.
    """
    first, relative = codecs[0].grid, codecs[0].relative_fields
    columns, rows = first.axis_pixels(next(iter(view_fields[0].values())).float())
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1)
    total = {name: maps.float() for name, maps in view_fields[0].items()}
    count = torch.ones_like(pixels[..., 0])
    for v, (codec, fields) in enumerate(list(zip(codecs, view_fields, strict=True))[1:], start=1):
        there = (image_to_input[:, v] @ torch.linalg.inv(image_to_input[:, 0])).to(pixels)
        seen_at = pixels @ there[:, None, :2, :2].mT + there[:, None, None, :2, 2]
        inside = ((seen_at >= -0.5) & (seen_at <= torch.tensor(codec.input_size).to(pixels) - 0.5)).all(dim=-1)
        cells, inside = codec.grid.to_cells(seen_at), inside[:, None].float()
        total = {
            name: maps if name in relative else maps + inside * _sample_at_cells(fields[name].float(), cells)
            for name, maps in total.items()
        }
        count = count + inside
    return {name: maps if name in relative else maps / count for name, maps in total.items()}
