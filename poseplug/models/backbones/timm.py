"""Any network of the package timm (PyTorch Image Models) that gives feature maps, as a backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from poseplug.errors import ConfigError, clauses, closest
from poseplug.models.layers import check_strides
from poseplug.registry import MODELS


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """timm's network of a `name`, cut to the maps of `out_strides` (of each stride the last map; None: timm's choice).

    `options` go to `timm.create_model` as they are: `dict(drop_path_rate=0.1)`, `dict(img_size=(256, 192))`,
    `dict(pretrained=True)`. timm is imported only here. Weights start as timm starts them.

    Raises:
        ConfigError: timm is not installed, has no such network, or the network has no map of a stride.
    """

    def __init__(self, name: str, out_strides: Sequence[int] | None = None, options: Mapping[str, Any] | None = None):
        super().__init__()
        options = dict(options or {})
        if out_strides is not None:
            info = created(name, {**options, 'pretrained': False}).feature_info
            places = dict(zip(info.reduction(), info.out_indices, strict=True))  # the last one of a stride stays
            chosen = check_strides(f'TimmBackbone {name!r}', out_strides, list(places))
            options['out_indices'] = tuple(places[s] for s in chosen)
        self.network = created(name, options)
        self.strides = tuple(self.network.feature_info.reduction())
        self.out_channels = tuple(self.network.feature_info.channels())
        self.channels_last = getattr(self.network, 'output_fmt', 'NCHW') == 'NHWC'

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W) to one map a stride, each (B, C, H/stride, W/stride); timm rounds sizes its own way."""
        maps = self.network(images)
        return tuple(x.permute(0, 3, 1, 2) for x in maps) if self.channels_last else tuple(maps)


def created(name: str, options: Mapping[str, Any]) -> Any:
    """timm's network of a name, as one that returns its feature maps."""
    try:
        timm = import_module('timm')
    except ImportError as error:
        raise ConfigError(
            f'TimmBackbone {name!r} needs the package timm, which cannot be imported ({error}); install it with '
            f"pip install 'poseplug[timm]', or take another backbone: ResNet, HRNet, MobileNetV2, CSPNeXt"
        ) from None
    try:
        return timm.create_model(name, features_only=True, **options)
    except Exception as error:  # timm has no errors of its own: what it raises depends on the network
        near = '' if timm.is_model(name) else closest(name, timm.list_models())
        given = ', '.join(f'{k}={v!r}' for k, v in options.items()) or 'its defaults'
        raise ConfigError(
            clauses(f'TimmBackbone: timm cannot make {name!r} with {given}', f'{type(error).__name__}: {error}', near)
        ) from error
