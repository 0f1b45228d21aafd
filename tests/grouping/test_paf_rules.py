"""The constants of the released parsers, and how a config changes them."""

import pytest

from poseplug.core.errors import ConfigError
from poseplug.grouping.paf_rules import PAF_PRESETS, PAFRules, get_paf_rules

NAMES = (
    'peak_threshold',
    'min_peak_distance_px',
    'num_samples',
    'paf_threshold',
    'min_sample_fraction',
    'min_keypoints',
    'min_mean_score',
    'length_prior',
)
TABLE = {
    'openpose': (0.05, 0.0, 'length', 0.05, 0.95, 3, 0.4, False),
    'openpose_maximize_positives': (0.02, 0.0, 'length', 0.01, 0.75, 2, 0.05, False),
    'openpose_mpi': (0.6, 0.0, 'length', 0.01, 0.95, 3, 0.4, False),
    'matlab': (0.1, 6.0, 10, 0.05, 0.8, 3, 0.2, True),
    'matlab_mpi': (0.1, 6.0, 10, 0.01, 0.8, 3, 0.2, True),
    'lightweight': (0.1, 6.0, 10, 0.05, 0.8, 3, 0.2, False),
    'pytorch_openpose': (0.1, 0.0, 10, 0.05, 0.8, 4, 0.4, True),
    'paper': (0.1, 6.0, 10, 0.0, 0.0, 3, 0.2, False),
}


@pytest.mark.parametrize('name', TABLE)
def test_the_constants_are_the_released_ones(name):
    assert tuple(getattr(PAF_PRESETS[name], n) for n in NAMES) == TABLE[name]


def test_openpose_tries_again_with_lower_thresholds_and_uses_the_127_highest_peaks():
    rules = PAF_PRESETS['openpose']
    assert (rules.fallback, rules.max_peaks, rules.short_limb_fraction) == ('openpose_maximize_positives', 127, 1 / 150)


def test_a_dict_changes_a_preset():
    assert get_paf_rules(dict(preset='matlab', matching='hungarian')).matching == 'hungarian'
    assert get_paf_rules(dict(preset='matlab', matching='hungarian')).num_samples == 10
    assert get_paf_rules({}) == PAF_PRESETS['openpose']
    assert get_paf_rules(rules := PAFRules(min_keypoints=4)) is rules


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('matlap', "no parser 'matlap'; closest: 'matlab'"),
        ({'min_keypoint': 2}, "no rule 'min_keypoint'; closest: 'min_keypoints'"),
        ({'matching': 'best'}, 'matching is one of'),
        ({'assign_by': 'end'}, 'assign_by is one of'),
        ({'peak_neighbors': 6}, 'peak_neighbors is one of'),
        ({'peak_order': 'x'}, 'peak_order is one of'),
        ({'score_samples': 'some'}, 'score_samples is one of'),
        (dict(preset='matlab', redundant_peaks='any'), "redundant_peaks='any' needs assign_by='start'"),
        ({'single_peaks': 'some'}, 'single_peaks is one of'),
        ({'num_samples': 1}, 'num_samples is an int of at least 2'),
        ({'min_sample_fraction': 1.0}, 'below 1; got 1.0'),
        ({'fallback': 'never'}, "one of .*; got 'never'"),
    ],
)
def test_a_rule_without_meaning_is_an_error(spec, message):
    with pytest.raises(ConfigError, match=message):
        get_paf_rules(spec)
