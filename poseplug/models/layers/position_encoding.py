"""Sine encodings of positions (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import torch
from torch import Tensor


def sine_periods(channels: int, temperature: float) -> Tensor:
    """Return the periods of a sine encoding, divided by 2π.

    Args:
        channels: Channels of the encoding, half of them cosines and half sines.
        temperature: Base of the geometric series that the periods form.

    Returns:
        (channels // 2,), `temperature ** (i / (channels // 2))` for i = 0, 1, ...
    """
    count = channels // 2
    return temperature ** (torch.arange(count, dtype=torch.float32) / count)


def sine_encoding(positions: Tensor, periods: Tensor) -> Tensor:
    """Encode positions by their cosines and sines over several periods.

    Args:
        positions: (...), in any unit.
        periods: (n,), divided by 2π, in the unit of the positions.

    Returns:
        (..., 2 n), n cosines and then n sines, in single precision.
    """
    angles = positions[..., None].float() / periods  # (..., n)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
