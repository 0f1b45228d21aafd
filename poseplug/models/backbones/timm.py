"""Any network of the package timm (PyTorch Image Models) that returns feature maps, as a backbone."""

from __future__ import annotations

__all__ = ['TimmBackbone']

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from poseplug.core.errors import ConfigError, compose_message, suggest_closest
from poseplug.models.layers.conv import check_strides
from poseplug.registry import MODELS


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """A network of timm, cut to some of its feature maps.

    timm is imported only here. The initial weights are timm's.

    Args:
        name: The network's name in timm.
        out_strides: Strides of the returned feature maps, finest first, of each the last map; None for timm's choice.
        options: Arguments of `timm.create_model`, such as `dict(drop_path_rate=0.1)`, `dict(img_size=(256, 192))` or
            `dict(pretrained=True)`.

    Raises:
        ConfigError: timm is not installed, has no such network, or the network has no feature map of a stride.
    """

    def __init__(self, name: str, out_strides: Sequence[int] | None = None, options: Mapping[str, Any] | None = None):
        super().__init__()
        options = dict(options or {})
        if out_strides is not None:
            # A first network reports the strides; it needs no pretrained weights.
            info = _create_timm_model(name, {**options, 'pretrained': False}).feature_info
            out_indices = dict(zip(info.reduction(), info.out_indices, strict=True))  # keeps the last of equal strides
            requested = check_strides(f'TimmBackbone {name!r}', out_strides, list(out_indices))
            options['out_indices'] = tuple(out_indices[s] for s in requested)
        self.network = _create_timm_model(name, options)
        self.strides = tuple(self.network.feature_info.reduction())
        self.out_channels = tuple(self.network.feature_info.channels())
        # Swin and its like return (B, H, W, C); timm says so in `output_fmt`, which most networks lack.
        self.channels_last = getattr(self.network, 'output_fmt', 'NCHW') == 'NHWC'

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of images.

        Args:
            images: (B, 3, H, W).

        Returns:
            One feature map per stride, (B, C, H/stride, W/stride), sizes rounded as timm does.
        """
        feature_maps = self.network(images)
        if self.channels_last:
            feature_maps = [x.permute(0, 3, 1, 2) for x in feature_maps]
        return tuple(feature_maps)


def _create_timm_model(name: str, options: Mapping[str, Any]) -> Any:
    """timm's network of a name, as one that returns its feature maps."""
    try:
        timm = import_module('timm')
    except ImportError as error:
        raise ConfigError(
            f'TimmBackbone {name!r} needs the package timm, which cannot be imported ({error}); install it with '
            f"pip install 'poseplug[timm]', or choose another backbone: ResNet, HRNet, MobileNetV2, CSPNeXt"
        ) from None
    try:
        return timm.create_model(name, features_only=True, **options)
    except Exception as error:  # timm has no errors of its own: what it raises depends on the network
        hint = '' if timm.is_model(name) else suggest_closest(name, timm.list_models())
        settings = ', '.join(f'{k}={v!r}' for k, v in options.items()) or 'its defaults'
        message = f'TimmBackbone: timm cannot create {name!r} with {settings}'
        raise ConfigError(compose_message(message, f'{type(error).__name__}: {error}', hint)) from error
