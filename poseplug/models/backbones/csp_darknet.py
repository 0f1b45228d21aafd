"""CSPDarknet as in YOLOX (Ge et al. 2021, arXiv:2107.08430), with the published parameter names."""

from __future__ import annotations

__all__ = ['CSPDarknet']

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.setting_checks import check_positive
from poseplug.models.layers.building import DEFAULT_LAYERS, LayerBuilder, LayerConfig
from poseplug.models.layers.conv import init_convolutions
from poseplug.models.layers.csp import (
    YOLOX_NORM_CONSTANTS,
    CSPStages,
    configure_batch_norms,
    conv_bn_act,
    scale_csp_stages,
)
from poseplug.registry import MODELS

_STAGES = ((128, 3), (256, 9), (512, 9), (1024, 3))  # channels and blocks at widen_factor 1 and deepen_factor 1
_STEM_CHANNELS = 64  # at widen_factor 1


@MODELS.register_module()
class CSPDarknet(CSPStages):
    """Four stages of cross-stage-partial blocks at strides 4, 8, 16 and 32, on a stem that reads 2x2 pixels as one.

    Args:
        widen_factor: Factor on all channels. YOLOX-t: 0.375, s: 0.5, m: 0.75, l: 1.
        deepen_factor: Factor on the number of blocks. YOLOX-t and s: 0.33, m: 0.67, l: 1.
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
        out_strides: Sequence[int] = (8, 16, 32),
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
    ):
        check_positive('CSPDarknet', widen_factor=widen_factor, deepen_factor=deepen_factor)
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        stem_channels = int(_STEM_CHANNELS * widen_factor)
        stages = scale_csp_stages(_STAGES, widen_factor, deepen_factor)
        build_block = partial(DarknetBlock, layers=layers)
        super().__init__(Focus(stem_channels, layers), stem_channels, stages, build_block, out_strides, False, layers)
        init_convolutions(self)
        # The weights are trained with these constants: other ones change what the network computes.
        configure_batch_norms(self, **YOLOX_NORM_CONSTANTS)


class Focus(nn.Module):
    """Concatenate the four pixels of every 2x2 square as channels, then apply a 3x3 convolution.

    The pixels are ordered by columns. An odd side is padded by one row or column of zeros.
    """

    def __init__(self, channels: int, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.conv = conv_bn_act(12, channels, 3, layers=layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (B, channels, H/2, W/2) of images (B, 3, H, W), sizes rounded up."""
        images = F.pad(images, (0, images.shape[3] % 2, 0, images.shape[2] % 2))
        squares = [images[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.conv(torch.cat(squares, dim=1))


class DarknetBlock(nn.Module):
    """A 1x1 and a 3x3 convolution, optionally beside the identity.

    Args:
        channels: Channels of the input and the output.
        add_identity: Whether the input is added to the output.
        layers: What builds the layers.
    """

    def __init__(self, channels: int, add_identity: bool, layers: LayerBuilder = DEFAULT_LAYERS):
        super().__init__()
        self.add_identity = add_identity
        self.conv1, self.conv2 = (
            conv_bn_act(channels, channels, 1, layers=layers),
            conv_bn_act(channels, channels, 3, layers=layers),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for `x` (B, channels, H, W), of the same shape."""
        out = self.conv2(self.conv1(x))
        return x + out if self.add_identity else out
