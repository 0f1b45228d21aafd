"""The image trunks of convolutional pose machines (Wei et al. 2016, arXiv:1602.00134; VGG: their later release)."""

from __future__ import annotations

__all__ = ['CPMTrunk', 'CPMVGGTrunk']

from collections.abc import Sequence

from torch import Tensor, nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import conv_block, conv_stack, init_convolutions
from poseplug.registry import MODELS

_VGG_DEPTHS = (2, 2, 4, 2)  # convolutions of VGG-19's blocks, up to its tenth


@MODELS.register_module()
class CPMTrunk(nn.Module):
    """Large convolutions with 3x3 poolings of stride 2, in several copies side by side.

    Every copy reads the image. The first one serves stage 1 of the head, the next ones the later stages. A pooling
    halves the size; it rounds an odd one down, and with `center_pooling` up. A cell's window begins at its first pixel,
    or with `center_pooling` one pixel before.

    Args:
        num_trunks: Number of copies. 2 is the official network, whose later stages have one in common; as many as
            stages make all of them independent; 1 serves all stages.
        channels: Channels of every convolution.
        kernel_sizes: Kernel size of every convolution.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; none by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.
        init_std: Standard deviation of the initial weights; None for that of He et al. 2015.
        center_pooling: Whether the windows of the poolings are centered on every second pixel, as in MMPose and
            other implementations in PyTorch; in the released network they begin at the border.

    Raises:
        ConfigError: `channels` and `kernel_sizes` differ in length.
    """

    def __init__(
        self,
        num_trunks: int = 2,
        channels: Sequence[int] = (128, 128, 128),
        kernel_sizes: Sequence[int] = (9, 9, 9),
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
        init_std: float | None = 0.01,
        center_pooling: bool = False,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if len(channels) != len(kernel_sizes):
            raise ConfigError(
                f'CPMTrunk needs one kernel size per layer; got channels={channels}, kernel_sizes={kernel_sizes}'
            )
        self.trunks = nn.ModuleList(
            self._build_trunk(channels, kernel_sizes, layers, center_pooling) for _ in range(num_trunks)
        )
        self.out_channels = (channels[-1],) * num_trunks
        self.strides = (2 ** len(channels),) * num_trunks
        init_convolutions(self, init_std)

    @staticmethod
    def _build_trunk(
        channels: Sequence[int], kernel_sizes: Sequence[int], layers: LayerBuilder, center_pooling: bool
    ) -> nn.Sequential:
        padding = 1 if center_pooling else 0
        trunk: list[nn.Module] = []
        for in_channels, out_channels, kernel_size in zip((3, *channels), channels, kernel_sizes, strict=False):
            trunk.append(conv_block(in_channels, out_channels, kernel_size, layers.norm_name, layers=layers))
            # 368 px become 184, 92 and 46 cells: without `ceil_mode` the last window would be missing.
            trunk.append(nn.MaxPool2d(3, 2, padding, ceil_mode=not center_pooling))
        return nn.Sequential(*trunk)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per trunk, (B, C, H/8, W/8) with three layers, each half rounded as the class says.
        """
        features = []
        for trunk in self.trunks:  # a loop, since a generator would be one frame more to the first layer
            features.append(trunk(images))
        return tuple(features)


@MODELS.register_module()
class CPMVGGTrunk(nn.Module):
    """The first ten 3x3 convolutions of VGG-19 with three 2x2 poolings, then 3x3 convolutions of CPM's own.

    Args:
        vgg_channels: Channels of the four VGG blocks, of 2, 2, 4 and 2 convolutions.
        extra_channels: Channels of the convolutions behind them: five in CPM, (256, 128) in OpenPose.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; none by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.
        init_std: Standard deviation of the initial weights; None for that of He et al. 2015.
        num_prelu: Number of convolutions, the last ones of the trunk, whose ReLU is a PReLU with one slope per channel.
            OpenPose's BODY_25 network has three: its 26,166,084 weights include their slopes.

    Raises:
        ConfigError: `vgg_channels` has not four values, or there are fewer convolutions than `num_prelu`.
    """

    def __init__(
        self,
        vgg_channels: Sequence[int] = (64, 128, 256, 512),
        extra_channels: Sequence[int] = (256, 256, 256, 256, 128),
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
        init_std: float | None = 0.01,
        num_prelu: int = 0,
    ):
        super().__init__()
        if len(vgg_channels) != len(_VGG_DEPTHS):
            raise ConfigError(f'CPMVGGTrunk: vgg_channels has one value for each of four blocks; got {vgg_channels}')
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        vgg: list[nn.Module] = []
        channels = 3
        for block_channels, depth in zip(vgg_channels, _VGG_DEPTHS, strict=True):
            stack, channels = conv_stack(channels, [(3, block_channels)] * depth, layers.norm_name, layers)
            if vgg:
                vgg.append(nn.MaxPool2d(2, 2))
            vgg.append(stack)
        self.vgg = nn.Sequential(*vgg)
        self.extra, channels = conv_stack(channels, [(3, c) for c in extra_channels], layers.norm_name, layers)
        self._replace_last_relus(num_prelu)
        self.out_channels = (channels,)
        self.strides = (8,)
        init_convolutions(self, init_std)

    def _replace_last_relus(self, count: int) -> None:
        """Replace the ReLU of the last `count` convolutions by a PReLU."""
        # Poolings are no stacks; the rest are blocks of a convolution and its activation.
        stacks = [layer for layer in (*self.vgg, self.extra) if isinstance(layer, nn.Sequential)]
        blocks = [block for stack in stacks for block in stack if isinstance(block, nn.Sequential)]
        total = len(blocks)
        if not 0 <= count <= total:
            raise ConfigError(f'CPMVGGTrunk has {total} convolutions, so num_prelu is from 0 to {total}; got {count}')
        for block in blocks[total - count :]:
            conv = block[0]
            assert isinstance(conv, nn.Conv2d)
            block[-1] = nn.PReLU(conv.out_channels)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W), multiples of 8.

        Returns:
            One feature map (B, C, H/8, W/8).
        """
        return (self.extra(self.vgg(images)),)
