"""Ways to train a network of several stages (Wei et al. 2016, section 4.1): jointly, stage by stage, or both."""

from __future__ import annotations

__all__ = [
    'TOGETHER',
    'TOGETHER_LAST',
    'STAGEWISE',
    'STAGEWISE_TOGETHER',
    'build_regime_claims',
    'build_regime_variants',
]

from poseplug.analysis.variants import Variant, VariantTraining
from poseplug.analysis.verdicts import Claim
from poseplug.core.errors import ConfigError

TOGETHER = 'i joint'
STAGEWISE = 'ii stage by stage'
STAGEWISE_TOGETHER = 'iii stage by stage, then joint'
TOGETHER_LAST = 'iv joint, last stage supervised'


def build_regime_variants(num_stages: int) -> list[Variant]:
    """Build the four regimes as variants with equal steps.

    i: all stages at once, with intermediate supervision. ii: one stage after the other, each on the frozen ones before
    it. iii: half of the steps as ii, then half of them as i. iv: all stages at once, with a loss on the last one alone.

    Args:
        num_stages: of the network.

    Raises:
        ConfigError: the network has one stage.
    """
    if num_stages < 2:
        raise ConfigError('regimes compare ways to train several stages; the network has one stage')
    stagewise = [_build_stage_training(stage, num_stages) for stage in range(1, num_stages + 1)]
    # as many steps as all single stages together: half of the variant's
    together = VariantTraining({'model.supervision': 'all'}, fraction=num_stages)
    return [
        Variant(TOGETHER, {'model.supervision': 'all'}),
        Variant(STAGEWISE, trainings=stagewise),
        Variant(STAGEWISE_TOGETHER, trainings=[*stagewise, together]),
        Variant(TOGETHER_LAST, {'model.supervision': 'last'}),
    ]


def _build_stage_training(stage: int, num_stages: int) -> VariantTraining:
    """The training of one stage, counted from 1, with all others frozen."""
    supervision = [float(number == stage) for number in range(1, num_stages + 1)]
    # later stages are frozen, too: their gradients are 0, but weight decay would change them
    frozen = [number for number in range(1, num_stages + 1) if number != stage]
    return VariantTraining({'model.supervision': supervision, 'freeze': dict(stages=frozen)})


def build_regime_claims(margin: float) -> list[Claim]:
    """Build what the paper claims about the regimes.

    Args:
        margin: difference of the score within which two regimes count as equally good.
    """
    return [
        Claim('intermediate supervision helps: i better than iv', TOGETHER, TOGETHER_LAST),
        Claim('joint training helps: i better than ii', TOGETHER, STAGEWISE),
        Claim('joint fine-tuning helps: iii better than ii', STAGEWISE_TOGETHER, STAGEWISE),
        Claim(f'iii as good as i, within {margin:g}', STAGEWISE_TOGETHER, TOGETHER, -margin, margin),
    ]
