"""Path aggregation (Liu et al. 2018, arXiv:1803.01534) with cross-stage-partial blocks: YOLOX's and RTMDet's necks."""

from __future__ import annotations

__all__ = ['CSPNeXtPAFPN', 'YOLOXPAFPN']

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.models.backbones.csp_darknet import DarknetBlock
from poseplug.models.backbones.cspnext import CSPNeXtBlock
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import YOLOX_NORM_CONSTANTS, CSPLayer, configure_batch_norms, conv_bn_act
from poseplug.registry import MODELS


class PathAggregation(nn.Module):
    """Fuse feature maps from the coarsest to the finest, and from there back to the coarsest.

    Args:
        in_channels: Channels of every feature map, finest first.
        strides: Stride of every feature map.
        build_block: Builds a block of the cross-stage-partial layers from its channels.
        num_csp_blocks: Number of blocks of every layer.
        out_channels: Channels to which 1x1 convolutions lead; by default there are none of these.
        num_outputs: Number of returned feature maps, the coarsest ones; by default all.
        layers: What builds the layers.

    Raises:
        ConfigError: `num_csp_blocks` or `num_outputs` is out of range.
        MismatchError: There are less than two feature maps, or a stride is not twice the one before.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        build_block: Callable[[int], nn.Module],
        num_csp_blocks: int,
        out_channels: int | None,
        num_outputs: int | None,
        layers: LayerBuilder,
    ):
        super().__init__()
        part, num_levels = type(self).__name__, len(in_channels)
        if num_levels < 2 or any(b != 2 * a for a, b in zip(strides, strides[1:], strict=False)):
            raise MismatchError(
                f'{part} fuses two or more feature maps, each half as fine as the one before; the backbone has '
                f'strides {tuple(strides)}; set its out_strides, for example to (8, 16, 32)'
            )
        num_outputs = num_levels if num_outputs is None else num_outputs
        if num_csp_blocks < 1 or not 1 <= num_outputs <= num_levels:
            raise ConfigError(
                f'{part} has at least one block, and 1 to {num_levels} outputs; got {num_csp_blocks=}, {num_outputs=}'
            )

        def build_layer(width_in: int, width: int) -> CSPLayer:
            blocks = (build_block(width // 2) for _ in range(num_csp_blocks))
            return CSPLayer(width, blocks, layers=layers, in_channels=width_in)

        finer = in_channels[-2::-1]  # from the second coarsest to the finest
        pairs = list(zip(in_channels[:-1], in_channels[1:], strict=True))  # of a level and the next coarser
        # Coarsest first, in the order of the path down.
        self.laterals = nn.ModuleList(conv_bn_act(c, f, 1, layers=layers) for f, c in reversed(pairs))
        self.down_fusions = nn.ModuleList(build_layer(2 * n, n) for n in finer)
        self.halvings = nn.ModuleList(conv_bn_act(f, f, 3, stride=2, layers=layers) for f, _ in pairs)
        # Here the lateral of the coarser level has already the channels of the finer one, hence 2 f.
        self.up_fusions = nn.ModuleList(build_layer(2 * f, c) for f, c in pairs)
        self.first_output = num_levels - num_outputs
        widths = in_channels[self.first_output :]
        self.strides = tuple(strides[self.first_output :])
        self.out_channels = tuple(widths) if out_channels is None else (out_channels,) * num_outputs
        self.outputs = nn.ModuleList(
            nn.Identity() if out_channels is None else conv_bn_act(n, out_channels, 1, layers=layers) for n in widths
        )
        init_convolutions(self)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Fuse the levels.

        Args:
            features: Feature maps, each (B, C, H, W), finest first.

        Returns:
            One feature map per returned level, (B, C, H, W).
        """
        # Down: every level receives the coarser ones.
        x, laterals = features[-1], []
        for lateral, fuse, level in zip(self.laterals, self.down_fusions, features[-2::-1], strict=True):
            x = lateral(x)
            laterals.append(x)
            enlarged = F.interpolate(x, size=level.shape[-2:], mode='nearest')
            x = fuse(torch.cat([enlarged, level], dim=1))
        # Up again, from the finest level; the laterals are reused, as in YOLOX.
        fused = [x]
        for halve, fuse, coarser in zip(self.halvings, self.up_fusions, reversed(laterals), strict=True):
            fused.append(fuse(torch.cat([halve(fused[-1]), coarser], dim=1)))
        return tuple(project(f) for project, f in zip(self.outputs, fused[self.first_output :], strict=True))


@MODELS.register_module()
class YOLOXPAFPN(PathAggregation):
    """The neck of YOLOX (Ge et al. 2021, arXiv:2107.08430), behind `CSPDarknet`.

    Args:
        in_channels: Channels of every feature map; provided by the backbone.
        strides: Stride of every feature map; provided by the backbone.
        num_csp_blocks: Number of blocks of every layer. YOLOX-t and s: 1, m: 2, l: 3.
        out_channels: Channels of all returned feature maps; None for those of the backbone.
        num_outputs: Number of returned feature maps, the coarsest ones; by default all.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `num_csp_blocks` or `num_outputs` is out of range.
        MismatchError: There are less than two feature maps, or a stride is not twice the one before.
    """

    needs = ('in_channels', 'strides')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_csp_blocks: int = 1,
        out_channels: int | None = 128,
        num_outputs: int | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)

        def build_block(channels: int) -> nn.Module:
            return DarknetBlock(channels, add_identity=False, layers=layers)

        super().__init__(in_channels, strides, build_block, num_csp_blocks, out_channels, num_outputs, layers)
        # RTMDet's neck below has torch's constants, as trained.
        configure_batch_norms(self, **YOLOX_NORM_CONSTANTS)


@MODELS.register_module()
class CSPNeXtPAFPN(PathAggregation):
    """The neck of RTMDet (Lyu et al. 2022, arXiv:2212.07784) as in RTMW, behind `CSPNeXt`.

    Args:
        in_channels: Channels of every feature map; provided by the backbone.
        strides: Stride of every feature map; provided by the backbone.
        num_csp_blocks: Number of blocks of every layer.
        out_channels: Channels of all returned feature maps; None for those of the backbone, as in RTMW.
        num_outputs: Number of returned feature maps, the coarsest ones; RTMW: 2.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `num_csp_blocks` or `num_outputs` is out of range.
        MismatchError: There are less than two feature maps, or a stride is not twice the one before.
    """

    needs = ('in_channels', 'strides')

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_csp_blocks: int = 2,
        out_channels: int | None = None,
        num_outputs: int | None = None,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)

        def build_block(channels: int) -> nn.Module:
            return CSPNeXtBlock(channels, add_identity=False, layers=layers)

        super().__init__(in_channels, strides, build_block, num_csp_blocks, out_channels, num_outputs, layers)
