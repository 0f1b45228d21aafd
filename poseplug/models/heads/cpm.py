"""The sequential prediction of convolutional pose machines (Wei et al. 2016, arXiv:1602.00134, figure 2)."""

from __future__ import annotations

__all__ = ['CPMHead']

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poseplug.core.errors import ConfigError
from poseplug.models.heads.base import FieldAxis, Head, find_first_weight, find_stride_indices
from poseplug.models.layers.building import LayerBuilder, LayerConfig
from poseplug.models.layers.conv import LayerSpec, conv_stack, init_convolutions
from poseplug.registry import MODELS

_CENTER_MAPS = ('subject', 'instances', 'none')


@MODELS.register_module()
class CPMHead(Head):
    """Stage 1 reads the image features; later stages read them again, with the last heatmaps and a center map.

    The center map marks the subject of the crop. The first feature map of the codec's stride feeds stage 1 and the next
    ones the later stages; the last one feeds all remaining stages.

    Args:
        in_channels: Channels of every feature map; provided by the backbone or neck.
        strides: Stride of every feature map; provided by the backbone or neck.
        fields: Names and channels of the fields; provided by the codec.
        stride: Input pixels per cell of the fields; provided by the codec.
        num_stages: Number of stages.
        first_layers: (kernel size, channels) or (kernel size, channels, dropout) of the layers of stage 1.
        image_layers: The same of the layers of a later stage on the image features alone.
        context_layers: The same of the layers of a later stage on image features, heatmaps and center map.
        share_image_layers: Whether all later stages have one copy of `image_layers`, as the paper words it; the
            released network has one per stage.
        heatmaps_first: Whether the heatmaps stand before the image features in the input of `context_layers`, as in the
            released VGG network.
        center_map: Whose centers the center map marks: that of the 'subject', or those of all annotated 'instances' (a
            reference implementation); 'none' leaves the map out.
        center_sigma_px: Standard deviation of the center map's Gaussian in input px.
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; none by default.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; ReLU by default.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default.
        init_std: Standard deviation of the initial weights; None for that of He et al. 2015.
        center_pooling: Whether the pooling of the center map has a border of one pixel of zeros, as in implementations
            in PyTorch, and not windows that begin at the border; as the setting of `CPMTrunk`.

    Raises:
        ConfigError: There is no stage, or common image layers would read feature maps of several widths.
        MismatchError: No feature map has the codec's stride.
    """

    needs: ClassVar[tuple[str, ...]] = ('in_channels', 'strides', 'fields', 'stride')
    uses_centers: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        fields: dict[str, int],
        stride: int = 8,
        num_stages: int = 6,
        first_layers: Sequence[LayerSpec] = ((5, 32), (9, 512, 0.5), (1, 512, 0.5)),
        image_layers: Sequence[LayerSpec] = ((5, 32),),
        context_layers: Sequence[LayerSpec] = ((11, 128), (11, 128), (11, 128), (1, 128)),
        share_image_layers: bool = False,
        heatmaps_first: bool = False,
        center_map: Literal['subject', 'instances', 'none'] = 'subject',
        center_sigma_px: float = 21.0,
        norm_cfg: LayerConfig | None = None,
        act_cfg: LayerConfig | None = None,
        conv_cfg: LayerConfig | None = None,
        init_std: float | None = 0.01,
        center_pooling: bool = False,
    ):
        super().__init__()
        layers = LayerBuilder(norm_cfg, act_cfg, conv_cfg)
        if num_stages < 1:
            raise ConfigError(f'CPMHead needs at least one stage; got {num_stages=}')
        if center_map not in _CENTER_MAPS:
            raise ConfigError(f'CPMHead: center_map is one of {", ".join(_CENTER_MAPS)}; got {center_map!r}')
        self.center_map, self.uses_instance_centers = center_map, center_map == 'instances'
        self.num_stages, self.stride, self.fields = num_stages, stride, dict(fields)
        self.in_channels, self.strides = tuple(in_channels), tuple(strides)
        self.center_sigma_px, self.heatmaps_first = center_sigma_px, heatmaps_first
        self.center_pooling = center_pooling
        indices = find_stride_indices('CPMHead', in_channels, strides, stride)
        # One map for each stage as long as there are some; the last one serves all that remain.
        self.feature_indices = [indices[min(t, len(indices) - 1)] for t in range(num_stages)]
        self.first, width = conv_stack(in_channels[self.feature_indices[0]], first_layers, layers.norm_name, layers)
        later_channels = [in_channels[i] for i in self.feature_indices[1:]]
        self.images, image_widths = self._build_image_blocks(later_channels, image_layers, layers, share_image_layers)
        num_fields = sum(fields.values())
        # Image features, heatmaps and the center map.
        context_channels = [width + num_fields + self.num_center_maps for width in image_widths]
        contexts = [conv_stack(c, context_layers, layers.norm_name, layers) for c in context_channels]
        self.contexts = nn.ModuleList(stack for stack, _ in contexts)
        init_convolutions(self, init_std)
        # The predictions start near 0 whatever `init_std` is.
        widths = [width, *(w for _, w in contexts)]
        self.predict = nn.ModuleList(nn.Conv2d(w, num_fields, 1) for w in widths)
        init_convolutions(self.predict, 0.01)

    @property
    def num_center_maps(self) -> int:
        """Number of center maps that a later stage reads, 0 or 1."""
        return 0 if self.center_map == 'none' else 1

    @staticmethod
    def _build_image_blocks(
        channels: list[int], specs: Sequence[LayerSpec], layers: LayerBuilder, is_common: bool
    ) -> tuple[nn.ModuleList, list[int]]:
        """The image blocks of the later stages, or their common one, and the width of every stage's."""
        if is_common and len(set(channels)) > 1:
            raise ConfigError(
                f'CPMHead: share_image_layers needs later stages with feature maps of one width; got {channels}'
            )
        block_channels = channels[:1] if is_common else channels
        blocks = [conv_stack(c, specs, layers.norm_name, layers) for c in block_channels]
        widths = [width for _, width in blocks]
        return nn.ModuleList(block for block, _ in blocks), widths * len(channels) if is_common else widths

    def forward(self, features: Sequence[Tensor], centers: Tensor | None = None) -> list[dict[str, Tensor]]:
        """Predict the fields of every stage.

        Args:
            features: Feature maps, each (B, C, H, W).
            centers: (B, 2), the subject's position in input px, by default the middle of the input; (B, N, 2) with the
                center map of all instances.

        Returns:
            The stages, each with fields (B, C, H, W) by name.
        """
        # Stage 1 sees no center map: it finds the parts of all people in the crop.
        heatmaps = self.predict[0](self.first(features[self.feature_indices[0]]))
        stages = [heatmaps]
        reads_center_map = self.num_stages > 1 and self.num_center_maps
        center_maps = [self.draw_center_map(heatmaps, centers)] if reads_center_map else []
        for t, index in enumerate(self.feature_indices[1:]):
            image_features = self.images[min(t, len(self.images) - 1)](features[index])
            inputs = [heatmaps, image_features] if self.heatmaps_first else [image_features, heatmaps]
            heatmaps = self.predict[t + 1](self.contexts[t](torch.cat([*inputs, *center_maps], dim=1)))
            stages.append(heatmaps)
        names, counts = list(self.fields), list(self.fields.values())
        return [dict(zip(names, stage.split(counts, dim=1), strict=True)) for stage in stages]

    def list_field_axes(self) -> list[FieldAxis]:
        """List the axes of the predicted fields, and of those that the later stages read."""
        names = tuple(self.fields)
        axes = [FieldAxis(f'predict.{name}', 0, names) for name, _ in self.predict.named_parameters()]
        for t, context in enumerate(self.contexts):
            # image features, heatmaps, and the center map in the last channel, or heatmaps first
            weight = find_first_weight(context)
            num_before = context.get_parameter(weight).shape[1] - sum(self.fields.values()) - self.num_center_maps
            start = 0 if self.heatmaps_first else num_before
            axes.append(FieldAxis(f'contexts.{t}.{weight}', 1, names, start))
        return axes

    def draw_center_map(self, like: Tensor, centers: Tensor | None) -> Tensor:
        """Draw a Gaussian around each center and average-pool their maximum to the grid of the fields.

        It is drawn in input px, and pooled over windows of `stride` + 1 px that end at the border. In training it is
        cut to 0 below 1 %, as in the released code.

        Args:
            like: (B, C, H, W), a tensor on the grid, for its size, type and device.
            centers: (B, 2) or (B, N, 2) in input px, NaN for padding; by default the middle of the input.

        Returns:
            (B, 1, H, W).
        """
        height, width = (int(n * self.stride) for n in like.shape[-2:])
        if centers is None:
            middle = [(width - 1) / 2, (height - 1) / 2]
            # Pixel centers sit on integers, so the middle of an even size lies between two of them.
            centers = torch.tensor([middle], device=like.device).expand(like.shape[0], 2)
        gain = -0.5 / self.center_sigma_px**2
        # The Gaussian is separable: one exponent per column and one per row.
        x_exponent = gain * (torch.arange(width, device=like.device) - centers[..., 0, None]) ** 2
        y_exponent = gain * (torch.arange(height, device=like.device) - centers[..., 1, None]) ** 2
        full = torch.exp(y_exponent[..., :, None] + x_exponent[..., None, :])
        # Padding is NaN and becomes an empty map, which adds nothing to the maximum.
        if centers.ndim == 3:
            full = full.nan_to_num(0.0).amax(dim=1)
        if self.training:
            full = torch.where(full < 0.01, 0.0, full)
        kernel_size, stride = int(self.stride) + 1, int(self.stride)
        if self.center_pooling:
            pooled = F.avg_pool2d(full[:, None], kernel_size, stride, padding=1)
        else:
            # Windows of an odd size that are clipped at the border, as in the trunk's poolings.
            pooled = F.avg_pool2d(full[:, None], kernel_size, stride, ceil_mode=True, count_include_pad=False)
        return pooled.to(like.dtype)
