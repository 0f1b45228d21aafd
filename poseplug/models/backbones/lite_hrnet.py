"""Lite-HRNet (Yu et al. 2021, arXiv:2104.06403), with MMPose's parameter names."""

from __future__ import annotations

__all__ = ['LiteHRNet']

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.branch_fusion import BranchTransition, build_fuse_layers
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.channel_shuffle import shuffle_channels
from poseplug.models.layers.conv import check_strides, conv_block, init_convolutions
from poseplug.models.layers.csp import conv_bn_act
from poseplug.models.layers.squeeze_excitation import SqueezeExcitation
from poseplug.registry import MODELS

_STRIDES = (4, 8, 16, 32)
_STEM_CHANNELS = 32
_SPATIAL_RATIO = 4  # channels per hidden channel of the weights of one branch


@MODELS.register_module()
class LiteHRNet(nn.Module):
    """A light HRNet: weights of channels, computed from all branches, replace the costly 1x1 convolutions.

    Args:
        width: Channels of the finest branch; the others have 2, 4 and 8 times as many.
        out_strides: Strides of the returned feature maps, finest first. The coarser branches, upsampled, are added to
            each on the way.
        num_modules: Number of modules in the stages of two, three and four branches: (2, 4, 2) in Lite-HRNet-18 and
            (3, 8, 3) in Lite-HRNet-30.
        num_blocks: Number of blocks in a module.
        reduce_ratio: Number of channels of all branches per hidden channel of their common weights.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `num_modules` has not three positive values, `width` is odd, or `out_strides` has an
            unknown stride.
    """

    def __init__(
        self,
        width: int = 40,
        out_strides: Sequence[int] = (4,),
        num_modules: Sequence[int] = (2, 4, 2),
        num_blocks: int = 2,
        reduce_ratio: int = 8,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if len(num_modules) != 3 or min(num_modules) < 1:
            raise ConfigError(
                f'LiteHRNet: num_modules is the number of modules of each of three stages, at least one; got '
                f'{num_modules}'
            )
        if width % 2:
            raise ConfigError(f'LiteHRNet: width is even, since blocks halve the channels; got {width}')
        self.strides = check_strides('LiteHRNet', out_strides, _STRIDES)
        self.stem = LiteStem(layers)
        channels, finest = [_STEM_CHANNELS], _STRIDES.index(self.strides[0])
        build_conv = partial(_build_transition_conv, layers=layers)
        for stage, count in enumerate(num_modules):
            new_channels = [2**i * width for i in range(stage + 2)]
            self.add_module(f'transition{stage}', BranchTransition(channels, new_channels, build_conv))
            channels = new_channels
            modules = [LiteModule(channels, num_blocks, reduce_ratio, 0, layers) for _ in range(count - 1)]
            # The last module computes the requested branches and the coarser ones alone.
            first_branch = finest if len(channels) == len(_STRIDES) else 0
            modules.append(LiteModule(channels, num_blocks, reduce_ratio, first_branch, layers))
            self.add_module(f'stage{stage}', nn.Sequential(*modules))
        self.head_layer = IterativeAggregation(channels, finest, layers)
        self.out_indices = tuple(_STRIDES.index(s) - finest for s in self.strides)
        self.out_channels = tuple(self.head_layer.out_channels[i] for i in self.out_indices)
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        features = [self.stem(images)]
        for stage in range(3):
            features = getattr(self, f'transition{stage}')(features)
            features = getattr(self, f'stage{stage}')(features)
        maps = self.head_layer(features)
        return tuple(maps[i] for i in self.out_indices)


class LiteStem(nn.Module):
    """A 3x3 convolution and two branches of half of its channels, at stride 4."""

    def __init__(self, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        half = _STEM_CHANNELS // 2
        self.conv1 = conv_bn_act(3, _STEM_CHANNELS, 3, 2, activation=nn.ReLU, layers=layers)
        self.branch1 = nn.Sequential(
            conv_bn_act(half, half, 3, 2, half, None, layers),
            conv_bn_act(half, half, 1, activation=nn.ReLU, layers=layers),
        )
        self.expand_conv = conv_bn_act(half, _STEM_CHANNELS, 1, activation=nn.ReLU, layers=layers)
        self.depthwise_conv = conv_bn_act(_STEM_CHANNELS, _STEM_CHANNELS, 3, 2, _STEM_CHANNELS, None, layers)
        self.linear_conv = conv_bn_act(_STEM_CHANNELS, half, 1, activation=nn.ReLU, layers=layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, C, H/4, W/4) of images (B, 3, H, W)."""
        # The paper's stem: a 3x3 convolution of stride 2, then a shuffle block of stride 2 with two branches.
        first, second = self.conv1(images).chunk(2, dim=1)
        second = self.linear_conv(self.depthwise_conv(self.expand_conv(second)))
        return shuffle_channels(torch.cat([self.branch1(first), second], dim=1), 2)


def _separable_layers(
    in_channels: int, out_channels: int, stride: int, activation: type[nn.Module] | None, layers: LayerBuilder
) -> nn.Sequential:
    """A depthwise 3x3 and a 1x1 convolution, with norms, as one row of layers."""
    depthwise = conv_block(
        in_channels, in_channels, 3, 'BN', stride=stride, groups=in_channels, activation=None, layers=layers
    )
    pointwise = conv_block(in_channels, out_channels, 1, 'BN', activation=activation, layers=layers)
    return nn.Sequential(*depthwise, *pointwise)


def _build_transition_conv(in_channels: int, out_channels: int, stride: int, layers: LayerBuilder) -> nn.Module:
    return _separable_layers(in_channels, out_channels, stride, nn.ReLU, layers)


class LiteModule(nn.Module):
    """Blocks over all branches, and the output branches as sums over all of them.

    Args:
        channels: Channels of every branch.
        num_blocks: Number of blocks.
        reduce_ratio: See `CrossResolutionWeighting`.
        first_branch: Index of the finest branch that is computed.
        layers: What builds the layers.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_blocks: int,
        reduce_ratio: int,
        first_branch: int = 0,
        layers: LayerBuilder = DEFAULT_LAYERS,
    ):
        super().__init__()
        blocks = (ConditionalChannelWeighting(channels, reduce_ratio, layers) for _ in range(num_blocks))
        self.layers = nn.Sequential(*blocks)
        self.relu = layers.build_activation()
        self.first_branch = first_branch
        # The sums of coarser branches contain that of the finest.
        targets = sorted({0, *range(first_branch, len(channels))})
        self.fuse_layers = build_fuse_layers(channels, targets, partial(_build_fuse_layer, layers=layers))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of the output branches.

        Args:
            features: One map per branch, (B, C, H, W), finest first.

        Returns:
            One map per output branch, of the branch's shape.
        """
        features = list(self.layers(features))
        totals = {}
        for target, layers in self.fuse_layers.items():
            totals[target] = self._sum_branches(int(target), layers, features)
            if target == '0':
                # The release adds to the finest features in place, so that the coarser branches read this branch's sum.
                features[0] = totals[target].clone()  # the activation is in place
        return [self.relu(total) for target, total in totals.items() if int(target) >= self.first_branch]

    def _sum_branches(self, branch: int, layers: Any, features: Sequence[Tensor]) -> Tensor:
        """The sum of a branch. As in the release, the finest one counts twice, and to coarser ones gives its sum."""
        # Twice for the same reason: the sum begins as the features themselves and then receives them as an addend.
        finest = features[0] if branch == 0 else layers['0'](features[0])
        total = finest + features[branch]
        for source, layer in layers.items():
            addend = finest if source == '0' else layer(features[int(source)])
            if int(source) > branch:
                addend = F.interpolate(addend, size=total.shape[-2:], mode='nearest')
            total = total + addend
        return total


def _build_fuse_layer(channels: Sequence[int], source: int, target: int, layers: LayerBuilder) -> nn.Sequential:
    """1x1 to the channels of a finer branch (enlarged afterwards), or separable halvings down to a coarser branch."""
    if source > target:
        return conv_block(channels[source], channels[target], 1, 'BN', activation=None, layers=layers)
    width, num_halvings = channels[source], target - source - 1
    halvings = [_separable_layers(width, width, 2, nn.ReLU, layers) for _ in range(num_halvings)]
    return nn.Sequential(*halvings, _separable_layers(width, channels[target], 2, None, layers))


class ConditionalChannelWeighting(nn.Module):
    """Weight half of the channels of every branch, convolve them depthwise, and interleave both halves (figure 3b).

    Args:
        channels: Channels of every branch.
        reduce_ratio: See `CrossResolutionWeighting`.
        layers: What builds the layers.
    """

    def __init__(self, channels: Sequence[int], reduce_ratio: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        # As in ShuffleNetV2, the other half passes unchanged, which halves the work.
        halves = [c // 2 for c in channels]
        self.cross_resolution_weighting = CrossResolutionWeighting(halves, reduce_ratio, layers)
        self.depthwise_convs = nn.ModuleList(conv_bn_act(c, c, 3, 1, c, None, layers) for c in halves)
        # The paper calls it spatial weighting because the means are over positions; it weights channels.
        self.spatial_weighting = nn.ModuleList(SqueezeExcitation(c, _SPATIAL_RATIO, layers=layers) for c in halves)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features (B, C, H, W) of every branch."""
        unchanged, halves = zip(*(x.chunk(2, dim=1) for x in features), strict=True)
        weighted = self.cross_resolution_weighting(halves)
        convolved = [conv(x) for conv, x in zip(self.depthwise_convs, weighted, strict=True)]
        changed = [weighting(x) for weighting, x in zip(self.spatial_weighting, convolved, strict=True)]
        pairs = zip(unchanged, changed, strict=True)
        return [shuffle_channels(torch.cat(pair, dim=1), 2) for pair in pairs]


class CrossResolutionWeighting(nn.Module):
    """Multiply the channels of every branch by weights that all branches give, at the size of the coarsest.

    Args:
        channels: Channels of every branch.
        reduce_ratio: Number of channels of all branches per hidden channel.
        layers: What builds the layers.
    """

    def __init__(self, channels: Sequence[int], reduce_ratio: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.channels, total = list(channels), sum(channels)
        hidden_channels = max(1, total // reduce_ratio)
        self.conv1 = conv_bn_act(total, hidden_channels, 1, activation=nn.ReLU, layers=layers)
        self.conv2 = conv_bn_act(hidden_channels, total, 1, activation=None, layers=layers)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the weighted features (B, C, H, W) of every branch."""
        # (B, sum of channels, rows, columns): every branch averaged down to the grid of the coarsest.
        rows, columns = features[-1].shape[-2:]
        pooled = torch.cat([F.adaptive_avg_pool2d(x, (rows, columns)) for x in features], dim=1)
        weights = torch.sigmoid(self.conv2(self.conv1(pooled))).split(self.channels, dim=1)
        return [x * F.interpolate(w, x.shape[-2:], mode='nearest') for x, w in zip(features, weights, strict=True)]


class SeparableConv(nn.Module):
    """A depthwise 3x3 convolution without and a 1x1 convolution with activation."""

    def __init__(self, in_channels: int, out_channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.depthwise_conv = conv_bn_act(in_channels, in_channels, 3, 1, in_channels, None, layers)
        self.pointwise_conv = conv_bn_act(in_channels, out_channels, 1, activation=nn.ReLU, layers=layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, out_channels, H, W) for `x` (B, in_channels, H, W)."""
        return self.pointwise_conv(self.depthwise_conv(x))


class IterativeAggregation(nn.Module):
    """Add every branch, upsampled, to the next finer one, from the coarsest to the finest.

    Args:
        channels: Channels of every branch, finest first.
        first_branch: Index of the finest branch that is computed.
        layers: What builds the layers.
    """

    def __init__(self, channels: Sequence[int], first_branch: int = 0, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        # Each branch ends with the channels of the next finer one, which it is added to; the finest keeps its channels.
        pairs = [(c, channels[max(0, i - 1)]) for i, c in enumerate(channels)][first_branch:]
        self.out_channels = tuple(out for _, out in pairs)
        self.projects = nn.ModuleList(SeparableConv(c, out, layers) for c, out in reversed(pairs))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the aggregated features (B, C, H, W) of the computed branches, finest first."""
        maps: list[Tensor] = []
        for x, project in zip(reversed(features), self.projects, strict=True):
            if maps:
                # Corners aligned, unlike the other resizings here: as released.
                x = x + F.interpolate(maps[-1], size=x.shape[-2:], mode='bilinear', align_corners=True)
            maps.append(project(x))
        return maps[::-1]
