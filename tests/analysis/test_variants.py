"""Variants and how their steps are split."""

import pytest

from poseplug.analysis.variants import Variant, VariantTraining, check_variants, split_steps
from poseplug.core.errors import ConfigError


def test_steps_of_the_trainings_add_up():
    assert split_steps(100, [VariantTraining(), VariantTraining(), VariantTraining()]) == [33, 34, 33]
    with pytest.raises(ConfigError, match='2 steps are too few for 3 trainings; raise --steps'):
        split_steps(2, [VariantTraining()] * 3)


def test_variants_whose_results_would_mix_are_refused():
    with pytest.raises(ConfigError, match="the variants 'a b' and 'a_b' have one name"):
        check_variants([Variant('a b'), Variant('a_b')])
    with pytest.raises(ConfigError, match='there is no variant to train'):
        check_variants([])
    with pytest.raises(ConfigError, match='needs trainings of a fraction above 0'):
        check_variants([Variant('a', trainings=(VariantTraining(fraction=0),))])
