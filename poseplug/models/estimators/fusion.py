"""Fields of several views of an image, averaged in one frame.

Crops are fused in the image's own pixels (Wei et al. 2016, test at seven scales), whole images on the cells of the
first view (Cao et al. 2017, test at four scales).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.codecs.base import Codec, Fields, MapCodec
from poseplug.codecs.heatmap import Heatmap
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.geometry import Size

# --- crops ------------------------------------------------------------------------------------------------------------


def fuse_crops(codec: Codec, view_fields: Sequence[Fields], batch: Batch) -> Iterator[tuple[Codec, Tensor]]:
    """Average the heatmaps of several crops of an image at every pixel of the image.

    Args:
        codec: The codec of every crop.
        view_fields: The fields (B, C, H, W) of every view.
        batch: The B images.

    Yields:
        For every image the codec that reads its heatmaps (the largest whole pixel) and the heatmaps
        (1, C, image height, image width). They are computed one image at a time, since they are large.

    Raises:
        ConfigError: The codec has no heatmaps.
    """
    if not isinstance(codec, Heatmap):
        raise ConfigError(f'{type(codec).__name__} has no maps to fuse; test it with a single view (scales=[1.0])')
    for index, size in enumerate(batch.image_sizes):
        heatmaps = [
            resample_to_image(codec, fields['heatmap'][index], batch.image_to_input[index, view], size)
            for view, fields in enumerate(view_fields)
        ]
        # Integer peaks, as in the test protocol of CPM: no step below a pixel.
        image_codec = replace(codec, input_size=size, stride=1, offset=0.0, refine='none')
        yield image_codec, torch.stack(heatmaps).mean(dim=0)[None]


def resample_to_image(codec: Heatmap, heatmaps: Tensor, image_to_input: Tensor, image_size: Size) -> Tensor:
    """Sample the heatmaps of one view bicubically at every pixel of the image.

    Args:
        codec: The codec of the view.
        heatmaps: (C, H, W).
        image_to_input: (3, 3).
        image_size: (width, height).

    Returns:
        (C, height, width). Pixels outside the view are 0, and 1 in the background.
    """
    width, height = image_size
    image_to_input = image_to_input.to(heatmaps)
    y, x = torch.meshgrid(torch.arange(height).to(heatmaps), torch.arange(width).to(heatmaps), indexing='ij')
    pixels = torch.stack([x, y], dim=-1) @ image_to_input[:2, :2].T + image_to_input[:2, 2]
    inside = ((pixels >= 0) & (pixels <= torch.tensor(codec.input_size).to(heatmaps) - 1)).all(dim=-1)
    sampled = _sample_at_cells(heatmaps[None], codec.grid.to_cells(pixels)[None])[0]
    outside = torch.zeros_like(sampled)
    if codec.background:
        outside[-1] = 1.0
    return torch.where(inside, sampled, outside)


def _sample_at_cells(heatmaps: Tensor, cells: Tensor) -> Tensor:
    """Maps (B, C, H, W), sampled bicubically at positions (B, h, w, 2) in cells: (B, C, h, w); beyond, the border."""
    grid_size = torch.tensor([heatmaps.shape[-1], heatmaps.shape[-2]]).to(heatmaps)
    # Cell g of n at (2 g + 1) / n - 1: `grid_sample` without aligned corners.
    grid = (2 * cells + 1) / grid_size - 1
    return F.grid_sample(heatmaps, grid, mode='bicubic', padding_mode='border', align_corners=False)


# --- whole images -----------------------------------------------------------------------------------------------------


def fuse_whole_images(codecs: Sequence[Codec], view_fields: Sequence[Fields], batch: Batch) -> dict[str, Tensor]:
    """Average the fields of several views on the cells of the first one.

    Args:
        codecs: The codec of every view, which has the size of its input; the fields are maps.
        view_fields: The fields (B, C, H, W) of every view.
        batch: The B images, with the matrices of their views.

    Returns:
        (B, C, H, W) by name: the mean over the views that contain a cell. The codec's `relative_fields` are those of
        the first view.

    Raises:
        ConfigError: The codec has no maps.
    """
    grids = [codec.grid for codec in codecs if isinstance(codec, MapCodec)]
    if len(grids) != len(codecs):
        raise ConfigError(f'{type(codecs[0]).__name__} has no maps to fuse; test it with a single view')
    relative = codecs[0].relative_fields
    columns, rows = grids[0].axis_pixels(next(iter(view_fields[0].values())).float())
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1)
    # A running sum: memory for one view more, not for all of them.
    total = {name: maps.float() for name, maps in view_fields[0].items()}
    count = torch.ones_like(pixels[..., 0])
    for view in range(1, len(codecs)):
        first_to_view = batch.to_view(view).to(pixels)
        view_pixels = pixels @ first_to_view[:, None, :2, :2].mT + first_to_view[:, None, None, :2, 2]
        # Pixel centers sit on integers, so an input of n px reaches from -0.5 to n - 0.5.
        last_pixel = torch.tensor(codecs[view].input_size).to(pixels) - 0.5
        inside = ((view_pixels >= -0.5) & (view_pixels <= last_pixel)).all(dim=-1)[:, None].float()
        cells = grids[view].to_cells(view_pixels)
        for name in total.keys() - relative:
            total[name] = total[name] + inside * _sample_at_cells(view_fields[view][name].float(), cells)
        count = count + inside
    return {name: maps if name in relative else maps / count for name, maps in total.items()}


def check_field_shapes(fields: Fields, codec: Codec, head_name: str) -> None:
    """Check that fields have the shapes that a codec reads; `relative_fields` may have further, flipped channels.

    Raises:
        MismatchError: They have others.
    """
    shapes = {name: tuple(maps.shape[1:]) for name, maps in fields.items()}
    if {name: _drop_flipped_channels(name, shape, codec) for name, shape in shapes.items()} != codec.shapes:
        raise MismatchError(
            f'{head_name} predicts {shapes} for images of {codec.input_size} px but {type(codec).__name__} reads '
            f"{codec.shapes}; let the images end at multiples of the backbone's largest stride (`size_divisor` of "
            f'FitImage and MultiScaleImage)'
        )


def _drop_flipped_channels(name: str, shape: tuple[int, ...], codec: Codec) -> tuple[int, ...]:
    """The shape of a field without the further channels that a relative field has of the flipped image."""
    channels = codec.fields.get(name, 0)
    is_multiple = bool(channels and shape[0] and shape[0] % channels == 0)
    return (channels, *shape[1:]) if name in codec.relative_fields and is_multiple else shape
