"""Intervals over seeds and verdicts."""

import math

import pytest
from scipy import stats

from poseplug.analysis.verdicts import Claim, compute_seed_interval, judge_claim
from poseplug.core.errors import ConfigError


def test_the_interval_is_that_of_students_t_distribution():
    values = [61.2, 60.4, 63.0, 61.9]
    low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
    interval = compute_seed_interval(values)
    assert interval.value == pytest.approx(61.625)
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_one_seed_says_nothing():
    assert compute_seed_interval([61.0]) == (61.0, -math.inf, math.inf)
    assert judge_claim(Claim('a is better', 'a', 'b'), {'a': [90.0], 'b': [10.0]}).verdict == 'too small to say'


@pytest.mark.parametrize(
    ('differences', 'low', 'high', 'verdict'),
    [
        ([5.0, 5.1, 4.9], 0.0, math.inf, 'holds here'),
        ([-5.0, -5.1, -4.9], 0.0, math.inf, 'does not hold here'),
        ([5.0, -1.0, 1.0], 0.0, math.inf, 'too small to say'),
        ([0.0, 0.0, 0.0], 0.0, math.inf, 'does not hold here'),  # equal, so not better
        ([0.1, -0.1, 0.0], -2.0, 2.0, 'holds here'),  # as good as
        ([5.0, 5.1, 4.9], -2.0, 2.0, 'does not hold here'),
    ],
)
def test_a_verdict_compares_the_interval_with_the_claimed_range(differences, low, high, verdict):
    baseline = [60.0, 62.0, 61.0]  # paired by seed, so that what the seeds have in common cancels out
    values = {'a': [b + d for b, d in zip(baseline, differences, strict=True)], 'b': baseline}
    assert judge_claim(Claim('a', 'a', 'b', low, high), values).verdict == verdict


def test_of_scores_that_fall_the_smaller_is_better():
    values = {'a': [3.0, 3.1, 2.9], 'b': [4.0, 4.1, 3.9]}
    result = judge_claim(Claim('a is better', 'a', 'b'), values, lower_is_better=True)
    assert result.verdict == 'holds here'
    assert result.difference.value == pytest.approx(1.0)


def test_claims_about_unknown_variants_or_unequal_seeds_are_errors():
    with pytest.raises(ConfigError, match="compares 'b', which has no scores"):
        judge_claim(Claim('a is better', 'a', 'b'), {'a': [1.0]})
    with pytest.raises(ConfigError, match='compares 1 runs with 2; use the same seeds'):
        judge_claim(Claim('a is better', 'a', 'b'), {'a': [1.0], 'b': [1.0, 2.0]})
