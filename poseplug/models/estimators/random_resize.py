"""Batches of a random size at every step, to train a network for several input sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.core.batch import Batch

SizeRange = Sequence[int]


def resize_batch_randomly(batch: Batch, size_range: SizeRange) -> Batch:
    """Resize a batch so that its width is one of several sizes with equal probability; the aspect ratio is kept.

    The size is drawn from torch's generator, whose state a checkpoint contains. Images are interpolated on the device
    where they are, and all positions in the input are scaled with them.

    Args:
        batch: the batch.
        size_range: smallest and largest width and the step between widths, in px.

    Returns:
        The resized batch.
    """
    min_size, max_size, step = size_range
    side = min_size + step * int(torch.randint((max_size - min_size) // step + 1, ()))
    return resize_batch(batch, side / batch.images.shape[3], step)


def resize_batch(batch: Batch, scale_factor: float, size_divisor: int) -> Batch:
    """Return a batch scaled by a factor, its sides rounded to multiples of `size_divisor` px."""
    # (width, height)
    old = batch.images.shape[3], batch.images.shape[2]
    width, height = (max(size_divisor, round(n * scale_factor / size_divisor) * size_divisor) for n in old)
    size = (width, height)
    if size == old:
        return batch
    scale = torch.tensor([a / b for a, b in zip(size, old, strict=True)], device=batch.images.device)
    shift = (scale - 1) / 2  # the corner of the image stays, not the center of its first pixel
    matrix = torch.eye(3, dtype=batch.image_to_input.dtype, device=batch.images.device)
    matrix[0, 0], matrix[1, 1], matrix[:2, 2] = scale[0], scale[1], shift.to(matrix)
    return replace(
        batch,
        images=_resize_images(batch.images, (size[1], size[0])),
        keypoints=batch.keypoints * scale + shift,
        centers=batch.centers * scale + shift,
        image_to_input=matrix @ batch.image_to_input,
        view_sizes=[size] * batch.images.shape[1],
        boxes=batch.boxes * scale.repeat(2) + shift.repeat(2),
        areas=batch.areas * scale.prod(),
        # By nearest neighbors: a mask stays 0 or 1.
        masks=F.interpolate(batch.masks[:, None], size=(size[1], size[0]))[:, 0],
    )


def _resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, V, H, W, 3) uint8, resized to (rows, columns)."""
    maps = images.flatten(0, 1).permute(0, 3, 1, 2).float()
    maps = F.interpolate(maps, size=size, mode='bilinear', align_corners=False, antialias=size[0] < maps.shape[2])
    return maps.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).unflatten(0, images.shape[:2])
