"""Multi-stage pyramids: MSPN (Li et al. 2019, arXiv:1901.00148) and RSN (Cai et al. 2020, arXiv:2003.04030)."""

from __future__ import annotations

__all__ = ['MSPN', 'RSN']

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.residual import Bottleneck, ResidualBlock, build_shortcut, residual_blocks
from poseplug.registry import MODELS

_STRIDES = (4, 8, 16, 32)
_STEM_CHANNELS = 64
_STEP_WIDTH = 26 / 64  # channels of a step in an RSN block, as a fraction of the block's input channels
BuildLevel = Callable[[int, int], nn.Sequential]  # of input channels and the index of the level


class PyramidStages(nn.Module):
    """Stages in a row, each a path down to stride 32 and a path up to stride 4 again, with skips between the stages.

    Args:
        num_stages: Number of stages.
        unit_channels: Channels of the path up.
        level_channels: Channels of the four levels of the path down, finest first.
        build_level: Builds the blocks of a level.
        layers: What builds the layers.

    Raises:
        ConfigError: There is no stage.
    """

    def __init__(
        self,
        num_stages: int,
        unit_channels: int,
        level_channels: Sequence[int],
        build_level: BuildLevel,
        layers: LayerBuilder,
    ):
        super().__init__()
        if num_stages < 1:
            raise ConfigError(f'{type(self).__name__} needs at least one stage; got {num_stages=}')
        self.stem = nn.Sequential(
            conv_bn_act(3, _STEM_CHANNELS, 7, stride=2, activation=nn.ReLU, layers=layers), nn.MaxPool2d(3, 2, 1)
        )
        self.stages = nn.ModuleList(
            PyramidStage(unit_channels, level_channels, build_level, index < num_stages - 1, layers)
            for index in range(num_stages)
        )
        self.strides = _STRIDES * num_stages
        self.out_channels = (unit_channels,) * len(self.strides)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            Four feature maps per stage, (B, unit_channels, H/stride, W/stride), those of a stage finest first.
        """
        # The stem runs once; later stages begin from the finest features of the stage before, at the stem's channels.
        stage_input = self.stem(images)
        skips: list[Tensor] = []
        features: list[Tensor] = []
        for stage in self.stages:
            levels, skips, stage_input = stage(stage_input, skips)
            features += levels
        return tuple(features)


class PyramidStage(nn.Module):
    """A path down, whose levels also receive the skips of the stage before, and a path up.

    Args:
        unit_channels: Channels of the path up.
        level_channels: Channels of the path down, finest first.
        build_level: Builds the blocks of a level.
        has_next: Whether another stage follows, which receives skips and an input.
        layers: What builds the layers.
    """

    def __init__(
        self,
        unit_channels: int,
        level_channels: Sequence[int],
        build_level: BuildLevel,
        has_next: bool,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        in_channels = (_STEM_CHANNELS, *level_channels[:-1])
        self.down = nn.ModuleList(build_level(channels, i) for i, channels in enumerate(in_channels))
        coarsest = len(level_channels) - 1
        self.up = nn.ModuleList(
            UpsampleUnit(channels, unit_channels, i < coarsest, has_next, layers)
            for i, channels in enumerate(level_channels)
        )
        self.next_input = (
            conv_bn_act(unit_channels, _STEM_CHANNELS, 1, activation=nn.ReLU, layers=layers) if has_next else None
        )

    def forward(self, x: Tensor, skips: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Run the stage.

        Args:
            x: Input (B, C, H/4, W/4).
            skips: Of the stage before, one per level; none in the first stage.

        Returns:
            The features and the skips of all levels, finest first, and the input of the next stage.
        """
        down_features: list[Tensor] = []
        for index, blocks in enumerate(self.down):
            x = blocks(x)
            # Cross-stage feature aggregation: both skips of the stage before, already summed, behind a level's blocks.
            if skips:
                x = x + skips[index]
            down_features.append(x)
        features: list[Tensor] = []
        # From the coarsest level up: `features[0]` is then the next coarser one.
        for unit, level in zip(reversed(self.up), reversed(down_features), strict=True):
            features.insert(0, unit(level, features[0] if features else None))
        if self.next_input is None:
            return features, [], features[0]
        skips = [unit.compute_skip(*pair) for unit, *pair in zip(self.up, down_features, features, strict=True)]  # type: ignore[operator]
        return features, skips, self.next_input(features[0])


class UpsampleUnit(nn.Module):
    """One level of the path up: the level of the path down plus the next coarser level of the path up, enlarged.

    Args:
        in_channels: Channels of the level of the path down.
        channels: Channels of the path up.
        has_coarser: Whether there is a coarser level.
        has_skip: Whether the level of both paths is passed on to the next stage.
        layers: What builds the layers.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        has_coarser: bool,
        has_skip: bool,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        self.lateral = conv_bn_act(in_channels, channels, 1, activation=None, layers=layers)
        self.coarser = conv_bn_act(channels, channels, 1, activation=None, layers=layers) if has_coarser else None
        self.relu = layers.build_activation()
        self.skips = (
            nn.ModuleList(
                conv_bn_act(n, in_channels, 1, activation=nn.ReLU, layers=layers) for n in (in_channels, channels)
            )
            if has_skip
            else None
        )

    def forward(self, level: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Return the level of the path up (B, channels, H, W).

        Args:
            level: (B, in_channels, H, W) of the path down.
            coarser: (B, channels, H/2, W/2), the next coarser level of the path up.
        """
        out = self.lateral(level)
        if self.coarser is not None and coarser is not None:
            # A 1x1 convolution before enlarging is the same as behind it, at a quarter of the work.
            projected = self.coarser(coarser)
            # Corners aligned, as released.
            out = out + F.interpolate(projected, size=level.shape[-2:], mode='bilinear', align_corners=True)
        return self.relu(out)

    def compute_skip(self, level: Tensor, unit_output: Tensor) -> Tensor:
        """Return what the next stage's path down receives at this level, (B, in_channels, H, W)."""
        from_down, from_up = self.skips  # type: ignore[misc]
        return from_down(level) + from_up(unit_output)


@MODELS.register_module()
class MSPN(PyramidStages):
    """The multi-stage pose network: in every stage a ResNet of bottlenecks on the path down.

    Args:
        num_stages: Number of stages.
        unit_channels: Channels of all feature maps.
        num_blocks: Number of bottlenecks per level, finest first.
        base_channels: Channels inside the bottlenecks of the finest level; every coarser level doubles them.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: There is no stage, or `num_blocks` has not four positive values.
    """

    def __init__(
        self,
        num_stages: int = 4,
        unit_channels: int = 256,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        base_channels: int = 64,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        _check_num_blocks('MSPN', num_blocks)
        widths = [base_channels * 2**i for i in range(len(_STRIDES))]

        def build_level(in_channels: int, index: int) -> nn.Sequential:
            stride = 1 if index == 0 else 2
            return residual_blocks(Bottleneck, in_channels, widths[index], num_blocks[index], stride, layers)

        super().__init__(num_stages, unit_channels, [Bottleneck.expansion * w for w in widths], build_level, layers)


@MODELS.register_module()
class RSN(PyramidStages):
    """The residual steps network: on the path down blocks that fuse features of many receptive fields.

    Args:
        num_stages: Number of stages.
        unit_channels: Channels of all feature maps.
        num_blocks: Number of blocks per level, finest first.
        num_steps: Number of branches of a block; branch i has i convolutions.
        base_channels: Channels of the finest level of the path down; every coarser level doubles them.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: There is no stage or step, or `num_blocks` has not four positive values.
    """

    def __init__(
        self,
        num_stages: int = 1,
        unit_channels: int = 256,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        num_steps: int = 4,
        base_channels: int = 64,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        _check_num_blocks('RSN', num_blocks)
        if num_steps < 1:
            raise ConfigError(f'RSN needs at least one step in a block; got {num_steps=}')
        widths = [base_channels * 2**i for i in range(len(_STRIDES))]

        def build_level(in_channels: int, index: int) -> nn.Sequential:
            width, stride = widths[index], 1 if index == 0 else 2
            first = ResidualStepsBlock(in_channels, width, num_steps, stride, layers)
            later = (ResidualStepsBlock(width, width, num_steps, layers=layers) for _ in range(num_blocks[index] - 1))
            return nn.Sequential(first, *later)

        super().__init__(num_stages, unit_channels, widths, build_level, layers)


class ResidualStepsBlock(ResidualBlock):
    """Branches of one, two, ... 3x3 convolutions, each of which also reads the branch before, beside a shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        num_steps: Number of branches.
        stride: Stride of the first convolution.
        layers: What builds the layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_steps: int = 4,
        stride: int = 1,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        # Of the input's channels, as released: the first block of a coarser level has narrower steps than the others.
        width = max(1, int(in_channels * _STEP_WIDTH))
        self.enter = conv_bn_act(in_channels, num_steps * width, 1, stride=stride, activation=nn.ReLU, layers=layers)
        self.branches = nn.ModuleList(
            nn.ModuleList(conv_bn_act(width, width, 3, activation=nn.ReLU, layers=layers) for _ in range(count))
            for count in range(1, num_steps + 1)
        )
        self.leave = conv_bn_act(num_steps * width, out_channels, 1, activation=None, layers=layers)
        self.downsample = build_shortcut(in_channels, out_channels, stride, layers)
        self.relu = layers.build_activation()

    def compute_branch(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        previous: list[Tensor] = []
        for branch, part in zip(self.branches, self.enter(x).chunk(len(self.branches), dim=1), strict=True):
            # Branch i has i steps; step j of it adds what step j of branch i - 1 computed (figure 3 of RSN).
            step, current = part, list[Tensor]()
            convs: Any = branch
            for index, conv in enumerate(convs):
                # The last step of a branch has no counterpart in the branch before.
                step = conv(step + previous[index] if index < len(previous) else step)
                current.append(step)
            outputs.append(step)
            previous = current
        return self.leave(torch.cat(outputs, dim=1))


def _check_num_blocks(part: str, num_blocks: Sequence[int]) -> None:
    if len(num_blocks) != len(_STRIDES) or min(num_blocks) < 1:
        raise ConfigError(f'{part}: num_blocks is the number of blocks of each of four levels; got {num_blocks}')
