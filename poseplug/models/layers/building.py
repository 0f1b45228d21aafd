"""Norms, activations and convolutions by name: torch's own directly, others from mmcv's bricks and from plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from poseplug.core.errors import ConfigError
from poseplug.models.layers.depthwise import DepthwiseConv2d
from poseplug.registry import MODELS

LayerConfig = Mapping[str, Any]  # `dict(type=..., **settings)`

BATCH_NORM: LayerConfig = {'type': 'BN'}
# Without mmcv, whose import takes 1.8 s: more than the rest of a prediction of one image.
_TORCH_NORMS: dict[str, Any] = {
    'BN': nn.BatchNorm2d,
    'BN2d': nn.BatchNorm2d,
    'GN': nn.GroupNorm,
    'IN': nn.InstanceNorm2d,
}
_TORCH_CONVS: dict[str, Any] = {'Conv': nn.Conv2d, 'Conv2d': nn.Conv2d}
_TORCH_ACTIVATIONS: dict[str, Any] = {
    cls.__name__: cls
    for cls in (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Mish)
}


@dataclass(frozen=True)
class LayerBuilder:
    """Builds the norms, activations and convolutions of a network part.

    Transposed convolutions, the convolutions that predict fields, and the layers of transformers are no part of it.

    Attributes:
        norm_cfg: Config of the norms, such as `dict(type='GN', num_groups=32)`; batch norm by default. The type is
            'BN', 'GN', 'IN', a norm that mmcv registers, or one that a plugin registers in `MODELS`; mmcv calls it
            with the channels, `eps` and the other settings.
        act_cfg: Config of the activations, such as `dict(type='SiLU')`; by default those of the part.
        conv_cfg: Config of the convolutions; `nn.Conv2d` by default. The layer accepts the arguments of `nn.Conv2d`.
    """

    norm_cfg: LayerConfig | None = None
    act_cfg: LayerConfig | None = None
    conv_cfg: LayerConfig | None = None

    @property
    def norm_name(self) -> str | None:
        """The `norm` of `conv_block` in a part that has norms only if `norm_cfg` asks for them."""
        return None if self.norm_cfg is None else 'BN'

    def build_norm(self, channels: int) -> nn.Module:
        """Build a norm of maps (B, channels, H, W).

        Raises:
            ConfigError: `norm_cfg` names no known layer.
        """
        if self.norm_cfg is None:
            return nn.BatchNorm2d(channels)
        layer_type, settings = _parse_layer_config('norm_cfg', self.norm_cfg, _TORCH_NORMS)
        if layer_type not in _TORCH_NORMS.values():
            from mmcv.cnn import build_norm_layer

            return build_norm_layer({'type': layer_type, **settings}, channels)[1]
        # mmcv's setting, which MMPose's configs have; torch's norms do not know it.
        requires_grad = settings.pop('requires_grad', True)
        name = 'num_channels' if layer_type is nn.GroupNorm else 'num_features'
        return layer_type(**{name: channels}, **settings).requires_grad_(requires_grad)

    def build_activation(self, default: type[nn.Module] = nn.ReLU) -> nn.Module:
        """Build an activation, in place by default.

        Args:
            default: The part's own activation, which `act_cfg` replaces.

        Raises:
            ConfigError: `act_cfg` names no known layer.
        """
        if self.act_cfg is None:
            return default(inplace=True)
        layer_type, settings = _parse_layer_config('act_cfg', self.act_cfg, _TORCH_ACTIVATIONS)
        if layer_type in _TORCH_ACTIVATIONS.values():
            return layer_type(**settings)
        from mmcv.cnn import build_activation_layer

        return build_activation_layer({'type': layer_type, **settings})

    def build_conv(self, in_channels: int, out_channels: int, kernel_size: int, **settings: Any) -> nn.Module:
        """Build a convolution; `settings` are further arguments of `nn.Conv2d`.

        Raises:
            ConfigError: `conv_cfg` names no known layer.
        """
        if self.conv_cfg is None:
            is_depthwise = settings.get('groups', 1) == in_channels > 1
            conv_type = DepthwiseConv2d if is_depthwise else nn.Conv2d
            return conv_type(in_channels, out_channels, kernel_size, **settings)
        layer_type, config_settings = _parse_layer_config('conv_cfg', self.conv_cfg, _TORCH_CONVS)
        if layer_type is nn.Conv2d:
            # The config counts: it may change the padding mode, or add a bias.
            return nn.Conv2d(in_channels, out_channels, kernel_size, **{**settings, **config_settings})
        from mmcv.cnn import build_conv_layer

        return build_conv_layer(
            {'type': layer_type, **config_settings}, in_channels, out_channels, kernel_size, **settings
        )


DEFAULT_LAYERS = LayerBuilder()


def _parse_layer_config(
    setting: str, config: LayerConfig, torch_types: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The class of a layer and the settings beside it."""
    if not isinstance(config, Mapping) or 'type' not in config:
        raise ConfigError(
            f'{setting} is dict(type=..., ...), with a type such as {", ".join(torch_types)}; got {config!r}'
        )
    settings = dict(config)
    layer_type = settings.pop('type')
    # A class, as configs in Python may state it.
    if not isinstance(layer_type, str):
        return layer_type, settings
    if layer_type in torch_types:
        return torch_types[layer_type], settings
    import mmcv.cnn  # noqa: F401  registers its layers in mmengine's MODELS

    registered_type = MODELS.find_part(layer_type)
    if registered_type is None:
        raise ConfigError(
            f'{setting}: there is no layer {layer_type!r}; built in are {", ".join(torch_types)}, and others come from '
            f'mmcv or a plugin that registers them in MODELS'
        )
    return registered_type, settings
