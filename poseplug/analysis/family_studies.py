"""Ablations of network families as groups of variants: stacked hourglasses and plain transformers."""

from __future__ import annotations

__all__ = ['FAMILY_STUDIES', 'VariantGroup', 'build_capacity_group']

from collections.abc import Mapping
from dataclasses import dataclass

from poseplug.analysis.variants import Variant
from poseplug.analysis.verdicts import Claim

# eight blocks along the stacks in each variant, so that parameters are about equal
_CAPACITY = ((1, 8), (2, 4), (4, 2), (8, 1))  # stacks, blocks at every position


@dataclass(frozen=True)
class VariantGroup:
    """An experiment of a paper.

    Attributes:
        summary: what is varied.
        variants: what is trained.
        claims: what the paper says about them.
    """

    summary: str
    variants: list[Variant]
    claims: list[Claim]


def build_capacity_group() -> VariantGroup:
    """Build one to eight stacks of about equal parameters, with a loss at every stage (Newell et al. 2016, 4.3)."""
    variants = []
    for stacks, blocks in _CAPACITY:
        options = {'model.head.num_stacks': stacks, 'model.head.num_modules': blocks}
        variants.append(Variant(f'{stacks} x {blocks}', options))
    # the paper's figure: accuracy rises with every doubling of the stacks
    claims = []
    for variant, before in zip(variants[1:], variants, strict=False):
        claims.append(Claim(f'{variant.name} better than {before.name}', variant.name, before.name))
    return VariantGroup('number of stacks at equal capacity', variants, claims)


def _build_supervision_group() -> VariantGroup:
    stacked = {'model.head.num_stacks': 2}
    names = ('every stack', 'last stack', 'every stack and inside')
    variants = [
        Variant(names[0], {**stacked, 'model.supervision': 'all'}),
        Variant(names[1], {**stacked, 'model.supervision': 'last'}),
        Variant(names[2], {**stacked, 'model.head.predict_inside': True, 'model.supervision': 'all'}),
    ]
    claims = [
        Claim('intermediate supervision helps', names[0], names[1]),
        Claim('supervision inside helps further', names[2], names[0]),
    ]
    return VariantGroup('supervision of stacks and inside an hourglass', variants, claims)


def _build_setting_group(
    summary: str,
    key: str,
    values: Mapping[str, object],
    claims: list[Claim],
    common: Mapping[str, object] | None = None,
) -> VariantGroup:
    """A group that varies one setting, with other settings that all its variants have."""
    variants = [Variant(name, {**(common or {}), key: value}) for name, value in values.items()]
    return VariantGroup(summary, variants, claims)


# command -> group -> experiment
FAMILY_STUDIES: Mapping[str, Mapping[str, VariantGroup]] = {
    'hourglass': {
        'capacity': build_capacity_group(),
        'supervision': _build_supervision_group(),
        'upsampling': _build_setting_group(
            'upsampling',
            'model.head.upsampling',
            {'nearest': 'nearest', 'bilinear': 'bilinear'},
            [Claim('nearest as good as bilinear, within 2', 'nearest', 'bilinear', -2.0, 2.0)],
        ),
        'blocks': _build_setting_group(
            'kinds of blocks',
            'model.head.block',
            {'residual': 'residual', 'two 3x3': 'double', 'one 5x5': 'large'},
            [
                Claim('residuals better than a large kernel', 'residual', 'one 5x5'),
                Claim('two small kernels better than a large one', 'two 3x3', 'one 5x5'),
            ],
        ),
        'sharing': _build_setting_group(
            'weights of the stacks',
            'model.head.repeat_stack',
            {'separate stacks': False, 'one stack repeated': True},
            [Claim('separate stacks better than a repeated one', 'separate stacks', 'one stack repeated')],
            {'model.head.num_stacks': 2},
        ),
    },
    'transformers': {
        'attention': _build_setting_group(
            'kinds of attention',
            'model.backbone.attention',
            {kind: kind for kind in ('full', 'window', 'shift', 'pool', 'shift+pool')},
            [
                Claim('full attention better than windows', 'full', 'window'),
                Claim('shifted and pooled windows better than plain ones', 'shift+pool', 'window'),
            ],
        ),
        'decoders': _build_setting_group(
            'decoders',
            'model.head.type',
            {'classic': 'DeconvHead', 'simple': 'SimpleHead'},
            [Claim('the simple decoder as good as the classic one, within 2', 'simple', 'classic', -2.0, 2.0)],
        ),
        'frozen': _build_setting_group(
            'frozen parts',
            'freeze',
            {
                'all trained': None,
                'attention frozen': [r'^backbone\.blocks\.\d+\.attn\.'],
                'feed-forward frozen': [r'^backbone\.blocks\.\d+\.mlp\.'],
            },
            [
                Claim(
                    'frozen attention as good as all trained, within 2', 'attention frozen', 'all trained', -2.0, 2.0
                ),
                Claim('frozen attention better than frozen feed-forward', 'attention frozen', 'feed-forward frozen'),
            ],
        ),
    },
}
