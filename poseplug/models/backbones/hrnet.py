"""High-resolution networks (Sun et al. 2019, arXiv:1902.09212), with the parameter names of the official release."""

from __future__ import annotations

__all__ = ['HRNet']

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import (
    BasicBlock,
    Bottleneck,
    check_strides,
    conv_block,
    init_convolutions,
    residual_blocks,
)
from poseplug.registry import MODELS

_STRIDES = (4, 8, 16, 32)
_STEM_CHANNELS = 64
_UPSAMPLE_MODES = ('nearest', 'bilinear')


@MODELS.register_module()
class HRNet(nn.Module):
    """Branches at strides 4, 8, 16 and 32, which start one after the other and exchange features in every module.

    Args:
        width: Channels of the finest branch; the others have 2, 4 and 8 times as many.
        out_strides: Strides of the returned feature maps, finest first. The last module computes these alone.
        num_modules: Number of modules in the stages of two, three and four branches.
        num_blocks: Number of residual blocks of a branch in every module.
        upsample_mode: How a coarser branch is enlarged before it is added to a finer one, 'nearest' or 'bilinear' (in
            the networks of faces and hands that HRNetV2's authors and MMPose published).
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `num_modules` has not three positive values, `out_strides` a stride that there is not, or the mode
            is unknown.
    """

    def __init__(
        self,
        width: int = 32,
        out_strides: Sequence[int] = (4,),
        num_modules: Sequence[int] = (1, 4, 3),
        num_blocks: int = 4,
        upsample_mode: str = 'nearest',
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if len(num_modules) != 3 or min(num_modules) < 1:
            raise ConfigError(
                f'HRNet: num_modules is the number of modules of each of three stages, at least one; got {num_modules}'
            )
        if upsample_mode not in _UPSAMPLE_MODES:
            raise ConfigError(f'HRNet has an upsample_mode of {", ".join(_UPSAMPLE_MODES)}; got {upsample_mode!r}')
        self.strides = check_strides('HRNet', out_strides, _STRIDES)
        self.out_channels = tuple(s // _STRIDES[0] * width for s in self.strides)
        self.conv1 = layers.build_conv(3, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = layers.build_norm(_STEM_CHANNELS)
        self.conv2 = layers.build_conv(_STEM_CHANNELS, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = layers.build_norm(_STEM_CHANNELS)
        self.relu = layers.build_activation()
        # The official stage 1: four of ResNet-50's bottlenecks, to 256 channels at stride 4.
        self.layer1 = residual_blocks(Bottleneck, _STEM_CHANNELS, _STEM_CHANNELS, 4, layers=layers)
        # The last module computes the requested branches alone: weights of others would have no gradient.
        last_branches = [_STRIDES.index(s) for s in self.strides]
        in_channels = [_STEM_CHANNELS * Bottleneck.expansion]
        for stage, count in enumerate(num_modules, 2):  # the stage's number is its number of branches
            channels = [2**i * width for i in range(stage)]
            out_branches = [list(range(stage))] * count
            if stage == 4:
                out_branches[-1] = last_branches
            modules = (HRModule(channels, num_blocks, branches, layers, upsample_mode) for branches in out_branches)
            self.add_module(f'transition{stage - 1}', HRTransition(in_channels, channels, layers))
            self.add_module(f'stage{stage}', nn.Sequential(*modules))
            in_channels = channels
        init_convolutions(self, fan_mode='fan_out')  # keeps the size of gradients

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        features = [self.layer1(x)]
        for stage in (2, 3, 4):
            features = getattr(self, f'transition{stage - 1}')(features)
            features = getattr(self, f'stage{stage}')(features)
        return tuple(features)


class HRTransition(nn.ModuleDict):
    """Adapt the branches' channels and start one more branch from the coarsest, at half its size.

    Layers are named by the index of their branch; a branch that keeps its channels has none.

    Args:
        in_channels: Channels of the branches before.
        out_channels: Channels of the branches behind, one more.
        layers: What builds the layers.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], layers: LayerBuilder = DEFAULT_LAYERS):
        pairs = enumerate(zip(in_channels, out_channels, strict=False))
        super().__init__(
            {str(i): conv_block(old, new, 3, 'BN', layers=layers) for i, (old, new) in pairs if old != new}
        )
        self.new_branch = str(len(in_channels))
        # A Sequential of one block: the released names count the halvings to a new branch.
        self[self.new_branch] = nn.Sequential(
            conv_block(in_channels[-1], out_channels[-1], 3, 'BN', stride=2, layers=layers)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the features (B, C, H, W) of all branches, finest first."""
        adapted = [self[str(i)](x) if str(i) in self else x for i, x in enumerate(features)]
        # The new branch reads the features as they came, not as adapted.
        return [*adapted, self[self.new_branch](features[-1])]


class HRModule(nn.Module):
    """Residual blocks in every branch, then the output branches as sums over all branches.

    Args:
        channels: Channels of every branch.
        num_blocks: Number of residual blocks per branch.
        out_branches: Indices of the branches that are computed.
        layers: What builds the layers.
        upsample_mode: 'nearest' or 'bilinear'.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_blocks: int,
        out_branches: Sequence[int],
        layers: LayerBuilder = DEFAULT_LAYERS,
        upsample_mode: str = 'nearest',
    ):
        super().__init__()
        self.upsample_mode = upsample_mode
        self.relu = layers.build_activation()
        self.branches = nn.ModuleList(residual_blocks(BasicBlock, c, c, num_blocks, layers=layers) for c in channels)
        self.fuse_layers = nn.ModuleDict({str(i): _build_fuse_layers(channels, i, layers) for i in out_branches})

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the features of the output branches.

        Args:
            features: One map per branch, (B, C, H, W), finest first.

        Returns:
            One map per output branch, of the branch's shape.
        """
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        return [self._fuse_branch(int(i), layers, features) for i, layers in self.fuse_layers.items()]

    def _fuse_branch(self, branch: int, layers: Any, features: list[Tensor]) -> Tensor:
        total = features[branch]
        for source, layer in layers.items():
            addend = layer(features[int(source)])
            # A coarser branch is enlarged; a finer one was halved by its layers.
            if int(source) > branch:
                addend = F.interpolate(addend, size=total.shape[-2:], mode=self.upsample_mode)
            # Not in place: the branch's features are also addends of the other branches.
            total = total + addend
        return self.relu(total)


def _build_fuse_layers(channels: Sequence[int], target: int, layers: LayerBuilder) -> nn.ModuleDict:
    """The layers from every other branch to the branch `target`."""
    sources = [i for i in range(len(channels)) if i != target]
    return nn.ModuleDict({str(source): _build_fuse_layer(channels, source, target, layers) for source in sources})


def _build_fuse_layer(channels: Sequence[int], source: int, target: int, layers: LayerBuilder) -> nn.Sequential:
    """1x1 to the channels of a finer branch (enlarged afterwards), or 3x3 of stride 2 down to a coarser branch."""
    if source > target:
        return conv_block(channels[source], channels[target], 1, 'BN', activation=None, layers=layers)
    width, num_halvings = channels[source], target - source - 1
    halvings = [conv_block(width, width, 3, 'BN', stride=2, layers=layers) for _ in range(num_halvings)]
    last = conv_block(width, channels[target], 3, 'BN', stride=2, activation=None, layers=layers)
    return nn.Sequential(*halvings, last)
