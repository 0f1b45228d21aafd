"""MobileNet (Howard et al. 2017, arXiv:1704.04861), and its dilated form (Osokin 2018, arXiv:1811.12004)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.layers import check_strides, conv_block, init_convolutions
from poseplug.registry import MODELS

# Table 1 of the paper, without the classifier: channels and stride of every depthwise separable block.
ROWS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
STEM = 32  # channels
STRIDES = (2, 4, 8, 16, 32)


@MODELS.register_module()
class MobileNetV1(nn.Module):
    """Depthwise separable blocks; the map of a stride is that of its last block.

    Blocks coarser than every stride of `out_strides` are not built, but for the first `dilated` of them: these keep the
    coarsest stride, and the block behind one that lost its stride has a dilated 3x3 convolution, so that it sees as far
    as before. `out_strides=(8,), dilated=6` is lightweight OpenPose's trunk, which ends with conv5_5. `width`
    multiplies all channels. Weights start from He et al. 2015's normal distribution by fan-in, norms at 1 and 0.
    """

    def __init__(self, width: float = 1.0, out_strides: Sequence[int] = (4, 8, 16, 32), dilated: int = 0):
        super().__init__()
        self.strides = check_strides('MobileNetV1', out_strides, STRIDES)
        rows, ends = layout(self.strides[-1], dilated)
        channels = [max(1, round(n * width)) for n in (STEM, *(out for out, _, _ in rows))]
        layers: list[nn.Module] = [conv_block(3, channels[0], 3, 'BN', stride=2)]
        for before, out, (_, stride, dilation) in zip(channels, channels[1:], rows, strict=False):
            layers.append(separable(before, out, stride, dilation))
        self.features = nn.Sequential(*layers)
        self.places = tuple(ends[s] for s in self.strides)
        self.out_channels = tuple(channels[place] for place in self.places)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride), sizes rounded up."""
        x, maps = images, []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.places:
                maps.append(x)
        return tuple(maps)


def layout(coarsest: int, dilated: int) -> tuple[list[tuple[int, int, int]], dict[int, int]]:
    """Channels, stride and dilation of every block, and by stride the place of its last layer, the stem's being 0."""
    at, lost, dilation, beyond = 2, 1, 1, 0
    rows: list[tuple[int, int, int]] = []
    ends = {2: 0}
    for out, stride in ROWS:
        if at * lost * stride <= coarsest:
            at *= stride
            rows.append((out, stride, 1))
        elif beyond == dilated:
            break
        else:
            beyond, lost = beyond + 1, lost * stride
            rows.append((out, 1, dilation))
            dilation = lost if stride > 1 else 1
        ends[at] = len(rows)
    if beyond != dilated:
        raise ConfigError(
            f'MobileNetV1 has {beyond} blocks coarser than stride {coarsest}, of which dilated counts some; '
            f'got dilated={dilated}'
        )
    return rows, ends


def separable(channels: int, out: int, stride: int, dilation: int) -> nn.Sequential:
    """A 3x3 convolution in each channel and a 1x1 convolution of all, each with batch norm and ReLU."""
    depthwise = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False)
    return nn.Sequential(
        nn.Sequential(depthwise, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)), conv_block(channels, out, 1, 'BN')
    )
