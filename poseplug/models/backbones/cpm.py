"""The image trunks of convolutional pose machines (Wei et al. 2016, arXiv:1602.00134; the VGG kind: later release)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from poseplug.errors import ConfigError
from poseplug.models.layers import conv_block, conv_stack, init_convolutions
from poseplug.registry import MODELS


@MODELS.register_module()
class CPMTrunk(nn.Module):
    """Large convolutions, each followed by a 3x3 pooling of stride 2 whose output size is rounded up.

    `trunks` copies see the picture side by side: the first feeds stage 1, the next ones the later stages. Two are the
    official network (all later stages share one); one a stage shares nothing; a single one serves all stages.
    """

    def __init__(
        self,
        trunks: int = 2,
        channels: Sequence[int] = (128, 128, 128),
        kernels: Sequence[int] = (9, 9, 9),
        norm: str | None = None,
        init_std: float | None = 0.01,
    ):
        super().__init__()
        if len(channels) != len(kernels):
            raise ConfigError(f'CPMTrunk: one kernel a layer; got channels={channels}, kernels={kernels}')
        self.trunks = nn.ModuleList(self._trunk(channels, kernels, norm) for _ in range(trunks))
        self.out_channels = (channels[-1],) * trunks
        self.strides = (2 ** len(channels),) * trunks
        init_convolutions(self, init_std)

    @staticmethod
    def _trunk(channels: Sequence[int], kernels: Sequence[int], norm: str | None) -> nn.Sequential:
        layers: list[nn.Module] = []
        for before, out, kernel in zip((3, *channels), channels, kernels, strict=False):
            layers += [conv_block(before, out, kernel, norm), nn.MaxPool2d(3, 2, ceil_mode=True)]
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a trunk, each (B, C, H/8, W/8), sizes rounded up."""
        features = []
        for trunk in self.trunks:  # a loop, since a generator would be one frame more to the first layer
            features.append(trunk(images))
        return tuple(features)


@MODELS.register_module()
class CPMVGGTrunk(nn.Module):
    """The first ten 3x3 convolutions of VGG-19 with three 2x2 poolings, then CPM's own 3x3 convolutions.

    `vgg` are the channels of the four VGG blocks (of 2, 2, 4 and 2 convolutions), `extra` those of the own layers:
    five in CPM, 256 and 128 in OpenPose. The last `prelu` convolutions of all have a PReLU, one slope a channel, in
    place of the ReLU; OpenPose's BODY_25 network has three of these, since its 26,166,084 weights include their slopes.
    """

    def __init__(
        self,
        vgg: Sequence[int] = (64, 128, 256, 512),
        extra: Sequence[int] = (256, 256, 256, 256, 128),
        norm: str | None = None,
        init_std: float | None = 0.01,
        prelu: int = 0,
    ):
        super().__init__()
        depths = (2, 2, 4, 2)
        if len(vgg) != len(depths):
            raise ConfigError(f'CPMVGGTrunk: vgg has the channels of four blocks; got {vgg}')
        blocks: list[nn.Module] = []
        channels = 3
        for block, (out, depth) in enumerate(zip(vgg, depths, strict=True)):
            stack, channels = conv_stack(channels, [(3, out)] * depth, norm)
            blocks += [stack] if block == 0 else [nn.MaxPool2d(2, 2), stack]
        self.vgg = nn.Sequential(*blocks)
        self.extra, channels = conv_stack(channels, [(3, out) for out in extra], norm)
        self._learn_slopes(prelu)
        self.out_channels = (channels,)
        self.strides = (8,)
        init_convolutions(self, init_std)

    def _learn_slopes(self, count: int) -> None:
        """A PReLU in place of the ReLU of the last `count` convolutions."""
        stacks: Any = [*self.vgg, self.extra]
        blocks: list[Any] = [block for stack in stacks if isinstance(stack, nn.Sequential) for block in stack]
        if not 0 <= count <= len(blocks):
            raise ConfigError(f'CPMVGGTrunk has {len(blocks)} convolutions, of which prelu counts some; got {count}')
        for block in blocks[len(blocks) - count :]:
            block[-1] = nn.PReLU(block[0].out_channels)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Images (B, 3, H, W), multiples of 8, to one map (B, C, H/8, W/8)."""
        return (self.extra(self.vgg(images)),)
