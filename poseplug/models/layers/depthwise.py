"""Depthwise convolutions, whose gradient bfloat16 makes slow on a CPU."""

from __future__ import annotations

__all__ = ['DepthwiseConv2d']

import torch
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group per channel; it is trained in float32 under autocast on a CPU.

    oneDNN has no fast gradient of depthwise convolutions in bfloat16. On two cores with these instructions, forward
    and backward of 32 maps, channels last: 5x5 of stride 2 on 144 channels of 32x32, 11 ms in float32 and 78 ms in
    bfloat16; 3x3 of stride 2 on 240 channels of 16x16, 1.6 and 25 ms. Predictions stay in the format of autocast,
    where bfloat16 is the faster one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps (B, C, H', W') of `x` (B, C, H, W), in its number format."""
        is_trained_on_cpu = x.device.type == 'cpu' and torch.is_grad_enabled()
        if not (is_trained_on_cpu and torch.is_autocast_enabled('cpu')):
            return super().forward(x)
        with torch.autocast('cpu', enabled=False):
            return super().forward(x.float()).to(x.dtype)
