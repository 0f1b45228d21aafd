"""Ablations of heads as groups of variants: hard keypoints of CPN, stages of limb fields, bins of RTMO."""

from __future__ import annotations

__all__ = ['HEAD_STUDIES', 'build_hard_keypoint_group', 'build_paf_stage_group']

from collections.abc import Mapping, Sequence

from poseplug.analysis.family_studies import VariantGroup
from poseplug.analysis.variants import Variant
from poseplug.analysis.verdicts import Claim

# half of the mean over the four levels of GlobalNet, as in the configs
_LEVEL_LOSS = {'type': 'MeanSquaredError', 'loss_weight': 0.125}
_NUM_LEVELS = 4


def build_hard_keypoint_group(counts: Sequence[int] = (4, 8, 12)) -> VariantGroup:
    """Build GlobalNet alone, RefineNet on all keypoints, and on the hardest of every image (Chen et al. 2018, 4.4).

    Args:
        counts: numbers of hard keypoints, each below that of the skeleton.
    """
    levels = [_LEVEL_LOSS] * _NUM_LEVELS
    # codec and head have to agree on the number of stages, and the loss lists one for each
    global_options = {
        'model.codec.refined_stage': False,
        'model.head.refined_stage': False,
        'model.loss': levels,
    }
    all_keypoints = 'RefineNet, all keypoints'
    variants = [
        Variant('GlobalNet alone', global_options),
        Variant(all_keypoints, {'model.loss': [*levels, {'type': 'MeanSquaredError'}]}),
    ]
    claims = [Claim('RefineNet helps', all_keypoints, 'GlobalNet alone')]
    for count in counts:
        name = f'RefineNet, {count} hardest'
        variants.append(Variant(name, {'model.loss': [*levels, {'type': 'OHKMLoss', 'topk': count}]}))
        claims.append(Claim(f'mining the {count} hardest helps', name, all_keypoints))
    return VariantGroup('hard keypoints', variants, claims)


def build_paf_stage_group(num_stages: int = 4) -> VariantGroup:
    """Build the splits of so many stages into limb stages and keypoint stages (Cao et al. 2019, table 1).

    Args:
        num_stages: of both kinds together.
    """
    variants = []
    # there is at least one stage of either kind
    for num_limb_stages in range(num_stages - 1, 0, -1):
        counts = (num_limb_stages, num_stages - num_limb_stages)
        options = {'model.head.num_limb_stages': counts[0], 'model.head.num_keypoint_stages': counts[1]}
        variants.append(Variant(f'{counts[0]} of limbs, {counts[1]} of keypoints', options))
    first, last = variants[0].name, variants[-1].name
    return VariantGroup('stages of limbs and of keypoints', variants, [Claim('limb stages matter more', first, last)])


def _build_bin_groups() -> dict[str, VariantGroup]:
    """The ablations of RTMO's coordinate classifier (Lu et al. 2023, table 5), and of two kinds of bin encodings."""
    dynamic, static = 'dynamic bins', 'static bins'
    bins = [Variant(dynamic, {'model.head.dcc.dynamic': True}), Variant(static, {'model.head.dcc.dynamic': False})]
    likelihood, divergence = 'likelihood', 'divergence from Gaussian labels'
    one_hot = 'cross entropy of one-hot labels'
    losses = [
        Variant(likelihood, {'model.loss.keypoints': {'type': 'MLECCLoss'}}),
        Variant(divergence, {'model.loss.keypoints': {'type': 'BinDivergence'}}),
        Variant(one_hot, {'model.loss.keypoints': {'type': 'BinDivergence', 'shape': 'one_hot'}}),
    ]
    offset, coordinate = "a bin's offset", "a bin's coordinate"
    encodings = [
        Variant(offset, {'model.head.dcc.encoded_position': 'offset'}),
        Variant(coordinate, {'model.head.dcc.encoded_position': 'coordinate'}),
    ]
    predicted, fixed = 'predicted sigma', 'sigma of 0.05 sizes'
    sigmas = [
        Variant(predicted, {'model.loss.keypoints': {'type': 'MLECCLoss'}}),
        Variant(fixed, {'model.loss.keypoints': {'type': 'MLECCLoss', 'fixed_relative_sigma': 0.05}}),
        Variant('predicted, Gaussian density', {'model.loss.keypoints': {'type': 'MLECCLoss', 'shape': 'gaussian'}}),
    ]
    return {
        'bins': VariantGroup('bins', bins, [Claim('dynamic bins better than static ones', dynamic, static)]),
        'loss': VariantGroup(
            'loss of the bins',
            losses,
            [
                Claim('the likelihood better than a divergence', likelihood, divergence),
                Claim('the likelihood better than one-hot labels', likelihood, one_hot),
            ],
        ),
        'encoding': VariantGroup(
            'encoding of the bins', encodings, [Claim('offsets better than coordinates', offset, coordinate)]
        ),
        'sigma': VariantGroup('sigma', sigmas, [Claim('a predicted sigma better than a fixed one', predicted, fixed)]),
    }


# command -> group -> experiment
HEAD_STUDIES: Mapping[str, Mapping[str, VariantGroup]] = {
    'hard-keypoints': {'keypoints': build_hard_keypoint_group()},
    'paf-stages': {'stages': build_paf_stage_group()},
    'bins': _build_bin_groups(),
}
