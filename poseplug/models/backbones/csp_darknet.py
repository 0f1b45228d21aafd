"""CSPDarknet as YOLOX has it (Ge et al. 2021, arXiv:2107.08430), with the published names of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.models.csp import SPP, CSPLayer, block, set_norms
from poseplug.models.layers import check_strides, init_convolutions
from poseplug.registry import MODELS

STAGES = ((128, 3), (256, 9), (512, 9), (1024, 3))  # channels and blocks at widen 1, deepen 1
STEM = 64  # channels
STRIDES = (4, 8, 16, 32)
NORMS = dict(eps=1e-3, momentum=0.03)


@MODELS.register_module()
class CSPDarknet(nn.Module):
    """Four stages at strides 4, 8, 16 and 32 of cross-stage-partial blocks, on a stem that reads 2x2 pixels as one.

    `widen` multiplies all channels, `deepen` all numbers of blocks (t: 0.375, 0.33; s: 0.5, 0.33; m: 0.75, 0.67; l: 1,
    1). Stages coarser than every stride of `out_strides` are not built.
    """

    def __init__(self, widen: float = 1.0, deepen: float = 1.0, out_strides: Sequence[int] = (8, 16, 32)):
        super().__init__()
        self.strides = check_strides('CSPDarknet', out_strides, STRIDES)
        self.stages = STRIDES.index(self.strides[-1]) + 1
        channels = int(STEM * widen)
        self.stem = Focus(channels)
        widths = [int(width * widen) for width, _ in STAGES]
        for i in range(self.stages):
            depth, last = max(round(STAGES[i][1] * deepen), 1), i == len(STAGES) - 1
            layers: list[nn.Module] = [block(channels, widths[i], 3, stride=2)]
            layers += [SPP(widths[i])] if last else []
            blocks = (DarknetBlock(widths[i] // 2, identity=not last) for _ in range(depth))
            layers += [CSPLayer(widths[i], blocks)]
            self.add_module(f'stage{i + 1}', nn.Sequential(*layers))
            channels = widths[i]
        self.out_channels = tuple(widths[STRIDES.index(s)] for s in self.strides)
        init_convolutions(self)
        set_norms(self, **NORMS)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride), sizes rounded up."""
        x, maps = self.stem(images), []
        for i in range(self.stages):
            x = getattr(self, f'stage{i + 1}')(x)
            if STRIDES[i] in self.strides:
                maps.append(x)
        return tuple(maps)


class Focus(nn.Module):
    """The four pixels of each 2x2 square side by side, down before right, then a 3x3 convolution.

    An odd side gets one more row or column of zeros.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = block(12, channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        images = F.pad(images, (0, images.shape[3] % 2, 0, images.shape[2] % 2))
        squares = [images[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(squares, dim=1))


class DarknetBlock(nn.Module):
    """1x1 convolution, then 3x3; `identity` adds the input."""

    def __init__(self, channels: int, identity: bool):
        super().__init__()
        self.identity = identity
        self.conv1, self.conv2 = block(channels, channels, 1), block(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return x + out if self.identity else out
