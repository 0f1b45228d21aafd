"""Deformable convolution (Dai et al. 2017, arXiv:1703.06211) in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def deform_conv2d(x: Tensor, offsets: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """Convolve maps at displaced positions, at stride 1 and with the size kept.

    A kernel cell reads its regular position plus an offset, interpolated between the four cells around; outside of the
    map all is 0.

    Args:
        x: (B, C, H, W).
        offsets: (B, 2 groups kernel cells, H, W), rows and columns of every kernel cell in turn, row by row of the
            kernel, group by group, in cells.
        weight: (O, C / groups, k, k) with an odd k.
        groups: Groups of channels, each with its own offsets.

    Returns:
        (B, O, H, W).
    """
    # Plain torch, because the compiled operation of torchvision is no dependency; it exports to ONNX by grid_sample.
    batch, channels, height, width = x.shape
    side = weight.shape[-1]
    num_cells = side * side
    regular = list_kernel_cells(side, x)  # (cells, 2)
    rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in (height, width))
    # (B, groups, cells, H, W), of rows and of columns
    displaced = offsets.unflatten(1, (groups, num_cells, 2)) + regular[:, :, None, None]
    y, x_positions = displaced[:, :, :, 0] + rows[:, None], displaced[:, :, :, 1] + columns
    # grid_sample has -1 and 1 at the outer borders of the first and the last cell. In the middle of these, which its
    # `align_corners` means, a map of a single row or column would be read beyond its border as within it.
    grid = torch.stack([(2 * x_positions + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    maps = x.reshape(batch * groups, channels // groups, height, width)
    samples = F.grid_sample(
        maps,
        grid.reshape(batch * groups, num_cells * height, width, 2),
        mode='bilinear',
        padding_mode='zeros',
        align_corners=False,
    )
    # (B, groups, C / groups * cells, H * W), in the order of the weight
    columns_of_groups = samples.reshape(batch, groups, channels // groups * num_cells, height * width)
    group_weight = weight.reshape(groups, -1, channels // groups * num_cells)
    return (group_weight @ columns_of_groups).reshape(batch, -1, height, width)


def list_kernel_cells(side: int, like: Tensor) -> Tensor:
    """List the cells of a square kernel relative to its middle, row by row.

    Args:
        side: Side of the kernel, an odd number.
        like: A tensor of the type and on the device of the result.

    Returns:
        (side * side, 2), rows and columns.
    """
    cells = torch.arange(side, device=like.device, dtype=like.dtype) - side // 2
    return torch.stack(torch.meshgrid(cells, cells, indexing='ij'), dim=-1).flatten(0, 1)
