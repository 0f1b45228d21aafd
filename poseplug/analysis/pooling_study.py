"""Accuracy against the number of poolings at equal depth (Wei et al. 2016, section 3.2.2: stride 8 against 4)."""

from __future__ import annotations

__all__ = ['build_pooling_claims', 'build_pooling_variants']

from collections.abc import Mapping, Sequence
from typing import Any

from poseplug.analysis.study import StudySettings
from poseplug.analysis.variants import Variant
from poseplug.analysis.verdicts import Claim
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.models.backbones.cpm import CPMTrunk
from poseplug.models.heads.cpm import CPMHead
from poseplug.registry.wiring import inspect_parameters


def build_pooling_variants(settings: StudySettings, strides: Sequence[int]) -> list[Variant]:
    """Build variants of a config of CPM whose trunk ends at other strides.

    A convolution that loses its pooling moves to the front of the layers behind the trunk, so that all variants up to
    the config's stride have the same layers; beyond it, the last convolution and its pooling are repeated.

    Args:
        settings: of the experiment.
        strides: powers of 2 from 2 on, one variant each.

    Raises:
        ConfigError: the config has no CPMTrunk with a CPMHead, or a stride is no power of 2.
    """
    wrong = [stride for stride in strides if stride < 2 or stride & (stride - 1)]
    if wrong or not strides:
        raise ConfigError(f'strides are powers of 2 from 2 on, such as 4,8,16; got {list(strides)}')
    model = load_config(settings.config, settings.options).model
    for role, part in (('backbone', 'CPMTrunk'), ('head', 'CPMHead')):
        if model.get(role, {}).get('type') != part:
            raise ConfigError(
                f'poolings are varied of a config with CPMTrunk and CPMHead, such as cpm_lsp_368; model.{role} of '
                f'{settings.config} is {model.get(role, {}).get("type")}. Compare others by poseplug analyze variants'
            )
    trunk = list(zip(*(_get_setting(model.backbone, CPMTrunk, name) for name in _TRUNK_SETTINGS), strict=True))
    layers = {name: tuple(_get_setting(model.head, CPMHead, name)) for name in _HEAD_SETTINGS}
    return [_build_variant(trunk, layers, stride) for stride in strides]


_TRUNK_SETTINGS = ('channels', 'kernel_sizes')
_HEAD_SETTINGS = ('first_layers', 'image_layers')


def _get_setting(cfg: Mapping[str, Any], part: type, name: str) -> Any:
    """A setting of a part, or its default."""
    return cfg.get(name, inspect_parameters(part)[0][name].default)


def _build_variant(trunk: Sequence[tuple[int, int]], layers: Mapping[str, tuple[Any, ...]], stride: int) -> Variant:
    """The variant whose trunk of (channels, kernel size) has one pooling per factor of 2 of the stride."""
    count = stride.bit_length() - 1
    pooled = [*trunk[:count], *[trunk[-1]] * (count - len(trunk))]
    moved = tuple((kernel_size, channels) for channels, kernel_size in trunk[count:])
    options: dict[str, Any] = {'model.codec.stride': stride}
    for index, name in enumerate(_TRUNK_SETTINGS):
        options[f'model.backbone.{name}'] = tuple(layer[index] for layer in pooled)
    for name, behind in layers.items():
        options[f'model.head.{name}'] = (*moved, *behind)
    return Variant(f'stride {stride}', options)


def build_pooling_claims(names: Sequence[str], margin: float) -> list[Claim]:
    """Build the claims that a pooling costs accuracy, and that it costs none within a margin.

    Args:
        names: of the variants, by rising stride.
        margin: difference of the score within which two are equally good.
    """
    claims = []
    for name, before in zip(names[1:], names, strict=False):
        claims.append(Claim(f'pooling costs accuracy: {before} better than {name}', before, name))
        claims.append(Claim(f'{name} as good as {before}, within {margin:g}', name, before, -margin, margin))
    return claims
