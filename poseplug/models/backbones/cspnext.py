"""CSPNeXt (Lyu et al. 2022, RTMDet, arXiv:2212.07784) as in RTMPose, with the published parameter names."""

from __future__ import annotations

__all__ = ['CSPNeXt']

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import check_strides, collect_feature_maps, init_convolutions
from poseplug.models.layers.csp import build_csp_stage, conv_bn_act
from poseplug.registry import MODELS

_STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))  # channels and blocks at widen_factor 1 and deepen_factor 1
_STEM_CHANNELS = 64  # at widen_factor 1
_STRIDES = (4, 8, 16, 32)


@MODELS.register_module()
class CSPNeXt(nn.Module):
    """A stem of three convolutions, then four stages of cross-stage-partial blocks at strides 4, 8, 16 and 32.

    Args:
        widen_factor: Factor on all channels. RTMPose-s: 0.5, m: 0.75, l: 1.
        deepen_factor: Factor on the number of blocks. RTMPose-s: 0.33, m: 0.67, l: 1.
        out_strides: Strides of the returned feature maps, finest first. Coarser stages are not built.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; SiLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.

    Raises:
        ConfigError: `out_strides` has a stride that there is not, or is not finest first.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        deepen_factor: float = 1.0,
        out_strides: Sequence[int] = _STRIDES,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        self.strides = check_strides('CSPNeXt', out_strides, _STRIDES)
        self.out_indices = tuple(_STRIDES.index(s) for s in self.strides)
        self.num_stages = self.out_indices[-1] + 1
        in_channels, half = int(_STEM_CHANNELS * widen_factor), int(_STEM_CHANNELS * widen_factor / 2)
        self.stem = nn.Sequential(
            conv_bn_act(3, half, 3, stride=2, layers=layers),
            conv_bn_act(half, half, 3, layers=layers),
            conv_bn_act(half, in_channels, 3, layers=layers),
        )
        channels = [int(width * widen_factor) for width, _ in _STAGES]
        for i in range(self.num_stages):
            depth, is_last = max(round(_STAGES[i][1] * deepen_factor), 1), i == len(_STAGES) - 1
            # As in the release, the last stage pools and has no identities.
            blocks = (CSPNeXtBlock(channels[i] // 2, add_identity=not is_last, layers=layers) for _ in range(depth))
            stage = build_csp_stage(in_channels, channels[i], blocks, pool=is_last, attention=True, layers=layers)
            self.add_module(f'stage{i + 1}', stage)
            in_channels = channels[i]
        self.out_channels = tuple(channels[i] for i in self.out_indices)
        # By fan-in: the fan-out of a depthwise convolution counts channels that it does not reach.
        init_convolutions(self)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded up.
        """
        stages = [getattr(self, f'stage{i + 1}') for i in range(self.num_stages)]
        return collect_feature_maps(self.stem(images), stages, self.out_indices)


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
