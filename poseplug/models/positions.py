"""Codes of positions by waves (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import torch
from torch import Tensor


def periods(channels: int, temperature: float) -> Tensor:
    """The periods (channels / 2,) of a code, over 2π: `temperature`^(i / count) for i from 0 to count - 1."""
    count = channels // 2
    return temperature ** (torch.arange(count, dtype=torch.float32) / count)


def sine_code(places: Tensor, over: Tensor) -> Tensor:
    """Numbers (...) to vectors (..., 2 n): cosines, then sines, of the numbers over n periods, in single precision."""
    angles = places[..., None].float() / over
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
