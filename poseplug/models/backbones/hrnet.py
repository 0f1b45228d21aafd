"""High-resolution networks (Sun et al. 2019, arXiv:1902.09212), with the parameter names of the official release."""

from __future__ import annotations

__all__ = ['HRNet']

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.branch_fusion import BranchTransition, build_fuse_layers, fuse_branches
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, conv_block, init_convolutions
from poseplug.models.layers.residual import BasicBlock, Bottleneck, residual_blocks
from poseplug.registry import MODELS

_STRIDES = (4, 8, 16, 32)
_STEM_CHANNELS = 64
_NUM_BOTTLENECKS = 4  # of the official stage 1, to 256 channels at stride 4
_UPSAMPLE_MODES = ('nearest', 'bilinear')
BuildModule = Callable[[Sequence[int], Sequence[int]], nn.Module]  # of channels and computed branches


class HighResolutionNetwork(nn.Module):
    """A stem and bottlenecks at stride 4, then stages of modules over two, three and four branches.

    Args:
        width: Channels of the finest branch; the others have 2, 4 and 8 times as many.
        out_strides: Strides of the returned feature maps, finest first. The last module computes these alone.
        num_modules: Number of modules in the stages of two, three and four branches.
        num_bottlenecks: Number of bottlenecks before the first stage.
        build_module: Builds a module; called module by module, from the first stage to the last.
        layers: What builds the layers.

    Raises:
        ConfigError: `num_modules` has not three positive values, or `out_strides` has an unknown stride.
    """

    def __init__(
        self,
        width: int,
        out_strides: Sequence[int],
        num_modules: Sequence[int],
        num_bottlenecks: int,
        build_module: BuildModule,
        layers: LayerBuilder,
    ):
        super().__init__()
        part = type(self).__name__
        if len(num_modules) != 3 or min(num_modules) < 1:
            raise ConfigError(
                f'{part}: num_modules is the number of modules of each of three stages, at least one; got {num_modules}'
            )
        self.strides = check_strides(part, out_strides, _STRIDES)
        self.out_channels = tuple(s // _STRIDES[0] * width for s in self.strides)
        self.conv1 = layers.build_conv(3, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = layers.build_norm(_STEM_CHANNELS)
        self.conv2 = layers.build_conv(_STEM_CHANNELS, _STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = layers.build_norm(_STEM_CHANNELS)
        self.relu = layers.build_activation()
        self.layer1 = residual_blocks(Bottleneck, _STEM_CHANNELS, _STEM_CHANNELS, num_bottlenecks, layers=layers)
        # The last module computes the requested branches alone: weights of others would have no gradient.
        last_branches = [_STRIDES.index(s) for s in self.strides]
        in_channels = [_STEM_CHANNELS * Bottleneck.expansion]
        build_conv = partial(_build_transition_conv, layers=layers)
        for stage, count in enumerate(num_modules, 2):  # the stage's number is its number of branches
            channels = [2**i * width for i in range(stage)]
            out_branches = [list(range(stage))] * count
            if stage == 4:
                out_branches[-1] = last_branches
            modules = [build_module(channels, branches) for branches in out_branches]
            self.add_module(f'transition{stage - 1}', BranchTransition(in_channels, channels, build_conv))
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


def _build_transition_conv(in_channels: int, out_channels: int, stride: int, layers: LayerBuilder) -> nn.Module:
    return conv_block(in_channels, out_channels, 3, 'BN', stride=stride, layers=layers)


@MODELS.register_module()
class HRNet(HighResolutionNetwork):
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
        ConfigError: `num_modules` has not three positive values, `out_strides` an unknown stride, or the mode
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
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if upsample_mode not in _UPSAMPLE_MODES:
            raise ConfigError(f'HRNet has an upsample_mode of {", ".join(_UPSAMPLE_MODES)}; got {upsample_mode!r}')

        def build_module(channels: Sequence[int], out_branches: Sequence[int]) -> nn.Module:
            return HRModule(channels, num_blocks, out_branches, layers, upsample_mode)

        super().__init__(width, out_strides, num_modules, _NUM_BOTTLENECKS, build_module, layers)


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
        self.fuse_layers = build_fuse_layers(channels, out_branches, partial(_build_fuse_layer, layers=layers))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the features of the output branches.

        Args:
            features: One map per branch, (B, C, H, W), finest first.

        Returns:
            One map per output branch, of the branch's shape.
        """
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        return fuse_branches(self.fuse_layers, features, self.relu, self.upsample_mode)


def _build_fuse_layer(channels: Sequence[int], source: int, target: int, layers: LayerBuilder) -> nn.Sequential:
    """1x1 to the channels of a finer branch (enlarged afterwards), or 3x3 of stride 2 down to a coarser branch."""
    if source > target:
        return conv_block(channels[source], channels[target], 1, 'BN', activation=None, layers=layers)
    width, num_halvings = channels[source], target - source - 1
    halvings = [conv_block(width, width, 3, 'BN', stride=2, layers=layers) for _ in range(num_halvings)]
    last = conv_block(width, channels[target], 3, 'BN', stride=2, activation=None, layers=layers)
    return nn.Sequential(*halvings, last)
