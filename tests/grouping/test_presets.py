"""The constants of the released parsers, and how a config changes them."""

import pytest

from poseplug.errors import ConfigError
from poseplug.grouping.presets import PRESETS, Rules, get_rules

TABLE = {  # peak, apart, samples, along, ratio, parts, mean, prior
    'cpp': (0.05, 0.0, 'length', 0.05, 0.95, 3, 0.4, False),
    'cpp_maximize': (0.02, 0.0, 'length', 0.01, 0.75, 2, 0.05, False),
    'cpp_mpi': (0.6, 0.0, 'length', 0.01, 0.95, 3, 0.4, False),
    'matlab': (0.1, 6.0, 10, 0.05, 0.8, 3, 0.2, True),
    'matlab_mpi': (0.1, 6.0, 10, 0.01, 0.8, 3, 0.2, True),
    'lightweight': (0.1, 6.0, 10, 0.05, 0.8, 3, 0.2, False),
}


@pytest.mark.parametrize('name', TABLE)
def test_the_constants_are_the_released_ones(name):
    names = ('peak', 'apart', 'samples', 'along', 'ratio', 'parts', 'mean', 'prior')
    assert tuple(getattr(PRESETS[name], n) for n in names) == TABLE[name]


def test_the_library_tries_again_with_lower_limits_and_takes_the_127_best_peaks():
    assert (PRESETS['cpp'].again, PRESETS['cpp'].most, PRESETS['cpp'].short) == ('cpp_maximize', 127, 1 / 150)


def test_a_dict_changes_a_preset():
    assert get_rules(dict(preset='matlab', match='hungarian')).match == 'hungarian'
    assert get_rules(dict(preset='matlab', match='hungarian')).samples == 10
    assert get_rules({}) == PRESETS['cpp']
    assert get_rules(rules := Rules(parts=4)) is rules


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        ('matlap', "no parser 'matlap'; closest: 'matlab'"),
        ({'part': 2}, "no rule 'part'; closest: 'parts'"),
        ({'match': 'best'}, 'match is one of'),
        ({'join': 'end'}, 'join is one of'),
        ({'lone': 'some'}, 'lone is one of'),
        ({'samples': 1}, 'samples is a number of at least 2'),
        ({'ratio': 1.0}, 'below 1; got 1.0'),
        ({'again': 'never'}, "one of .*; got 'never'"),
    ],
)
def test_a_rule_that_means_nothing_is_an_error(spec, message):
    with pytest.raises(ConfigError, match=message):
        get_rules(spec)
