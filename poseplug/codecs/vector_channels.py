"""Fields of vectors, of which each keypoint has two channels: x, and y behind it."""

from __future__ import annotations

__all__ = ['list_vector_channels', 'name_vector_channels', 'negate_x']

from collections.abc import Sequence

import torch
from torch import Tensor


def list_vector_channels(keypoint_indices: Sequence[int]) -> list[int]:
    """List the channels of keypoints, in their order: x and y of each in turn.

    Example:
        >>> list_vector_channels([1, 0])
        [2, 3, 0, 1]
    """
    return [2 * k + axis for k in keypoint_indices for axis in (0, 1)]


def name_vector_channels(keypoints: Sequence[str]) -> list[str]:
    """Name the channels of keypoints.

    Example:
        >>> name_vector_channels(['nose'])
        ['nose.x', 'nose.y']
    """
    return [f'{name}.{axis}' for name in keypoints for axis in 'xy']


def negate_x(vectors: Tensor) -> Tensor:
    """Return vectors (B, 2 K, ...) with x negated, which is what flipping an image does to them."""
    return torch.stack([-vectors[:, ::2], vectors[:, 1::2]], dim=2).flatten(1, 2)
