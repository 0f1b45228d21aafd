"""Residual networks (He et al. 2016, arXiv:1512.03385), with torchvision's names of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.layers import BasicBlock, Bottleneck, check_strides, init_convolutions, residual_blocks
from poseplug.registry import MODELS

Block = type[BasicBlock] | type[Bottleneck]
DEPTHS: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class ResNet(nn.Module):
    """A 7x7 convolution and a pooling to stride 4, then four layers of residual blocks at strides 4, 8, 16 and 32.

    Layers coarser than every stride of `out_strides` are not built. `width` is that of the stem; layer l has
    `2 ** (l - 1) * width` channels, 4 times as many from depth 50 on. Weights start from He et al. 2015's normal
    distribution by fan-out, which keeps the size of gradients, norms at 1 and 0.
    """

    def __init__(self, depth: int = 50, out_strides: Sequence[int] = STRIDES, width: int = 64):
        super().__init__()
        if depth not in DEPTHS:
            raise ConfigError(f'ResNet has a depth of {", ".join(map(str, DEPTHS))}; got {depth}')
        block, depths = DEPTHS[depth]
        self.strides = check_strides('ResNet', out_strides, STRIDES)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = STRIDES.index(self.strides[-1]) + 1
        channels = width
        for i in range(self.layers):
            layer = residual_blocks(block, channels, 2**i * width, depths[i], 1 if i == 0 else 2)
            self.add_module(f'layer{i + 1}', layer)
            channels = 2**i * width * block.expansion
        self.out_channels = tuple(s // STRIDES[0] * width * block.expansion for s in self.strides)
        init_convolutions(self, fan='fan_out')

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride), sizes rounded up."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True))
        maps = []
        for i in range(self.layers):
            x = getattr(self, f'layer{i + 1}')(x)
            if STRIDES[i] in self.strides:
                maps.append(x)
        return tuple(maps)
