"""The exchange of channels between groups (Zhang et al. 2018, arXiv:1707.01083, section 3.1)."""

from __future__ import annotations

from torch import Tensor


def shuffle_channels(x: Tensor, groups: int) -> Tensor:
    """Reorder channels so that the first channels of all groups come first, then the second ones, and so on.

    Args:
        x: (B, C, H, W).
        groups: Number of groups, which divides C.

    Returns:
        (B, C, H, W).
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
