"""CSPNeXt (Lyu et al. 2022, RTMDet, arXiv:2212.07784), as RTMPose uses it, with its published names of parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.models.csp import SPP, CSPLayer, block
from poseplug.models.layers import check_strides, init_convolutions
from poseplug.registry import MODELS

STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))  # channels and blocks at widen 1, deepen 1
STEM = 64  # channels
STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class CSPNeXt(nn.Module):
    """A stem of three convolutions, then four stages at strides 4, 8, 16 and 32 of cross-stage-partial blocks.

    `widen` multiplies all channels, `deepen` all numbers of blocks (s: 0.5, 0.33; m: 0.75, 0.67; l: 1, 1). Stages
    coarser than every stride of `out_strides` are not built. Weights start from He et al. 2015's normal distribution by
    fan-in, since the fan-out of a depthwise convolution counts channels that it does not reach; norms at 1 and 0.
    """

    def __init__(self, widen: float = 1.0, deepen: float = 1.0, out_strides: Sequence[int] = STRIDES):
        super().__init__()
        self.strides = check_strides('CSPNeXt', out_strides, STRIDES)
        channels, half = int(STEM * widen), int(STEM * widen / 2)
        self.stem = nn.Sequential(block(3, half, 3, stride=2), block(half, half, 3), block(half, channels, 3))
        self.stages = STRIDES.index(self.strides[-1]) + 1
        widths = [int(width * widen) for width, _ in STAGES]
        for i in range(self.stages):
            depth, last = max(round(STAGES[i][1] * deepen), 1), i == len(STAGES) - 1
            layers: list[nn.Module] = [block(channels, widths[i], 3, stride=2)]
            layers += [SPP(widths[i])] if last else []
            blocks = (CSPNeXtBlock(widths[i] // 2, identity=not last) for _ in range(depth))
            layers += [CSPLayer(widths[i], blocks, attention=True)]
            self.add_module(f'stage{i + 1}', nn.Sequential(*layers))
            channels = widths[i]
        self.out_channels = tuple(widths[STRIDES.index(s)] for s in self.strides)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride), sizes rounded up."""
        x, maps = self.stem(images), []
        for i in range(self.stages):
            x = getattr(self, f'stage{i + 1}')(x)
            if STRIDES[i] in self.strides:
                maps.append(x)
        return tuple(maps)


class CSPNeXtBlock(nn.Module):
    """3x3 convolution, then a 5x5 one in each channel and a 1x1 over them; `identity` adds the input."""

    def __init__(self, channels: int, identity: bool):
        super().__init__()
        self.identity = identity
        self.conv1 = block(channels, channels, 3)
        depthwise, pointwise = block(channels, channels, 5, groups=channels), block(channels, channels, 1)
        self.conv2 = nn.Sequential(OrderedDict(depthwise_conv=depthwise, pointwise_conv=pointwise))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return x + out if self.identity else out
