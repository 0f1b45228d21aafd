"""Batches of another size at every step: a network that shall work at several sees several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from poseplug.core.sample import Batch

SizeRange = Sequence[int]


def resize_batch_randomly(batch: Batch, size_range: SizeRange) -> Batch:
    """A batch whose first side has one of the sizes (min, max, step) px, all alike likely, its shape kept.

    The size is drawn from torch's generator, whose state a checkpoint holds. Pictures are interpolated where they are;
    everything that tells a place in the input moves with them.
    """
    least, most, step = size_range
    side = least + step * int(torch.randint((most - least) // step + 1, ()))
    return resize_batch(batch, side / batch.images.shape[3], step)


def resize_batch(batch: Batch, scale_factor: float, size_divisor: int) -> Batch:
    """A batch enlarged by a factor, its sides rounded to multiples of `step` px."""
    old = batch.images.shape[3], batch.images.shape[2]
    size = tuple(max(size_divisor, round(n * scale_factor / size_divisor) * size_divisor) for n in old)
    if size == old:
        return batch
    scale = torch.tensor([a / b for a, b in zip(size, old, strict=True)], device=batch.images.device)
    shift = (scale - 1) / 2  # the corner of the picture stays, not the middle of its first pixel
    matrix = torch.eye(3, dtype=batch.image_to_input.dtype, device=batch.images.device)
    matrix[0, 0], matrix[1, 1], matrix[:2, 2] = scale[0], scale[1], shift.to(matrix)
    boxes = None if batch.boxes is None else batch.boxes * scale.repeat(2) + shift.repeat(2)
    return replace(
        batch,
        images=_resize_images(batch.images, (size[1], size[0])),
        keypoints=batch.keypoints * scale + shift,
        centers=batch.centers * scale + shift,
        image_to_input=matrix @ batch.image_to_input,
        boxes=boxes,
        areas=None if batch.areas is None else batch.areas * scale.prod(),
        masks=None if batch.masks is None else F.interpolate(batch.masks[:, None], size=(size[1], size[0]))[:, 0],
    )


def _resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, V, H, W, 3) uint8 at (rows, columns)."""
    maps = images.flatten(0, 1).permute(0, 3, 1, 2).float()
    maps = F.interpolate(maps, size=size, mode='bilinear', align_corners=False, antialias=size[0] < maps.shape[2])
    return maps.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).unflatten(0, images.shape[:2])
