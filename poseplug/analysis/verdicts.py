"""Whether a claim holds: intervals over seeds, and three verdicts."""

from __future__ import annotations

__all__ = ['Claim', 'ClaimResult', 'compute_seed_interval', 'judge_claim', 'judge_interval']

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.evaluation.keypoint_errors import Interval

HOLDS, FAILS, UNDECIDED = 'holds here', 'does not hold here', 'too small to say'
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Claim:
    """A statement about the difference of two variants, in the unit of their score.

    Attributes:
        text: the statement, in words.
        variant: the name of one variant.
        baseline: the name of the other one.
        low: the difference variant - baseline is above this, 0 for 'better than'.
        high: the difference is below this; with `low` = -`high` the statement is 'as good as'.
    """

    text: str
    variant: str
    baseline: str
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True)
class ClaimResult:
    """A claim with what was measured.

    Attributes:
        claim: the statement.
        difference: variant - baseline, paired by seed, with its 95 % interval.
        verdict: 'holds here', 'does not hold here' or 'too small to say'.
    """

    claim: Claim
    difference: Interval
    verdict: str


def compute_seed_interval(values: Sequence[float]) -> Interval:
    """Compute the mean of runs with other seeds and its 95 % interval by Student's t distribution.

    Args:
        values: one per seed. The interval of one value is infinite.

    Example:
        >>> interval = compute_seed_interval([60.0, 61.0, 62.0])
        >>> round(interval.value, 2), round(interval.low, 2), round(interval.high, 2)
        (61.0, 58.52, 63.48)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    from scipy.stats import t  # here, since its import takes a second

    standard_error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half_width = float(t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1)) * standard_error
    return Interval(mean, mean - half_width, mean + half_width)


def judge_claim(claim: Claim, values: Mapping[str, Sequence[float]], lower_is_better: bool = False) -> ClaimResult:
    """Judge a claim by the runs of two variants.

    It holds here if the whole interval of the difference lies in the claimed range, and does not hold here if none of
    it does; otherwise the experiment is too small to say.

    Args:
        claim: the statement.
        values: by variant, one score per seed, of the same seeds.
        lower_is_better: whether a smaller score is the better one; the difference then changes its sign.

    Raises:
        ConfigError: a variant has no values, or the two have other numbers of seeds.

    Example:
        >>> scores = {'every': [61.0, 61.5, 61.2], 'last': [55.0, 54.6, 55.3]}
        >>> judge_claim(Claim('supervision helps', 'every', 'last'), scores).verdict
        'holds here'
    """
    for name in (claim.variant, claim.baseline):
        if not values.get(name):
            raise ConfigError(f'the claim {claim.text!r} compares {name!r}, which has no scores')
    one, other = (np.asarray(values[name], dtype=float) for name in (claim.variant, claim.baseline))
    if len(one) != len(other):
        raise ConfigError(f'the claim {claim.text!r} compares {len(one)} runs with {len(other)}; use the same seeds')
    # paired by seed: runs of one seed have the same samples in the same order
    difference = compute_seed_interval(list((one - other) * (-1 if lower_is_better else 1)))
    return ClaimResult(claim, difference, judge_interval(difference, claim.low, claim.high))


def judge_interval(difference: Interval, low: float = 0.0, high: float = math.inf) -> str:
    """Judge whether a difference lies in a claimed range.

    Args:
        difference: with its 95 % interval.
        low: lower end of the claimed range.
        high: upper end of the claimed range.

    Returns:
        'holds here', 'does not hold here' or 'too small to say', as in `judge_claim`.

    Example:
        >>> judge_interval(Interval(1.0, -0.5, 2.5))
        'too small to say'
    """
    if low < difference.low and difference.high < high:
        return HOLDS
    # the interval lies outside of the claimed range
    if difference.high <= low or high <= difference.low:
        return FAILS
    return UNDECIDED
