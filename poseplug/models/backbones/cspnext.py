"""CSPNeXt (Lyu et al. 2022, RTMDet, arXiv:2212.07784) as in RTMPose, with the published parameter names."""

from __future__ import annotations

__all__ = ['CSPNeXt']

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from poseplug.core.setting_checks import check_positive
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import CSP_STRIDES, CSPStages, conv_bn_act, scale_csp_stages
from poseplug.registry import MODELS

_STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))  # channels and blocks at widen_factor 1 and deepen_factor 1
_STEM_CHANNELS = 64  # at widen_factor 1


@MODELS.register_module()
class CSPNeXt(CSPStages):
    """A stem of three convolutions, then four stages of cross-stage-partial blocks at strides 4, 8, 16 and 32.

    Args:
        widen_factor: Factor on all channels. RTMPose-s: 0.5, m: 0.75, l: 1.
        deepen_factor: Factor on the number of blocks. RTMPose-s: 0.33, m: 0.67, l: 1.
        out_strides: Strides of the returned feature maps, finest first. Coarser stages are not built.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: a factor is not positive, or `out_strides` has an unknown stride, or is not finest first.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        deepen_factor: float = 1.0,
        out_strides: Sequence[int] = CSP_STRIDES,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        check_positive('CSPNeXt', widen_factor=widen_factor, deepen_factor=deepen_factor)
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        channels, half = int(_STEM_CHANNELS * widen_factor), int(_STEM_CHANNELS * widen_factor / 2)
        stem = nn.Sequential(
            conv_bn_act(3, half, 3, stride=2, layers=layers),
            conv_bn_act(half, half, 3, layers=layers),
            conv_bn_act(half, channels, 3, layers=layers),
        )
        stages = scale_csp_stages(_STAGES, widen_factor, deepen_factor)
        super().__init__(stem, channels, stages, partial(CSPNeXtBlock, layers=layers), out_strides, True, layers)
        # By fan-in: the fan-out of a depthwise convolution counts channels that it does not reach.
        init_convolutions(self)


class CSPNeXtBlock(nn.Module):
    """A 3x3 and a depthwise separable 5x5 convolution, optionally beside the identity.

    Args:
        channels: Channels of the input and the output.
        add_identity: Whether the input is added to the output.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, add_identity: bool, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.add_identity = add_identity
        self.conv1 = conv_bn_act(channels, channels, 3, layers=layers)
        depthwise, pointwise = (
            conv_bn_act(channels, channels, 5, groups=channels, layers=layers),
            conv_bn_act(channels, channels, 1, layers=layers),
        )
        self.conv2 = nn.Sequential(OrderedDict(depthwise_conv=depthwise, pointwise_conv=pointwise))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, channels, H, W), of the same shape."""
        out = self.conv2(self.conv1(x))
        return x + out if self.add_identity else out
