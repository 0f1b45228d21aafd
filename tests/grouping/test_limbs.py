"""Which pairs of peaks are limbs: scores by hand and against a plain loop, and two ways to match."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from poseplug.grouping.limbs import Pairs, every_pair, limbs_of, matched
from poseplug.grouping.peaks import Peaks
from poseplug.grouping.presets import PRESETS, Rules
from poseplug.skeleton import Skeleton, get_skeleton

TWO = Skeleton('two', ('a', 'b'), (('a', 'b'),))
PLAIN = Rules(samples=10, ratio=0.8)


def peaks_of(*points):
    """Peaks from (joint, x, y)."""
    table = np.array(sorted(points, key=lambda p: p[0]), float).reshape(-1, 3)
    return Peaks(table[:, 1:].astype(np.float32), np.ones(len(table), np.float32), table[:, 0].astype(int))


def scores_of(paf, *points, rules=PLAIN, stride=8.0, skeleton=TWO):
    peaks = peaks_of(*points)
    pairs, scores = limbs_of(every_pair(peaks, skeleton), peaks.cells, paf, rules, stride)
    return list(zip(pairs.start.tolist(), pairs.end.tolist(), scores.tolist(), strict=True))


def along_x(height=5, width=12):
    """A field that points right everywhere."""
    paf = np.zeros((2, height, width), np.float32)
    paf[0] = 1
    return paf


def test_a_limb_along_the_field_scores_1_and_one_at_60_degrees_a_half():
    assert scores_of(along_x(), (0, 1, 2), (1, 10, 2)) == [(0, 1, 1.0)]
    slanted = scores_of(along_x(12, 12), (0, 1, 1), (1, 6, 1 + 5 * math.sqrt(3)))
    assert slanted[0][2] == pytest.approx(0.5)


def test_a_limb_against_the_field_and_one_across_it_are_none():
    assert scores_of(along_x(), (0, 10, 2), (1, 1, 2)) == []
    assert scores_of(along_x(), (0, 5, 0), (1, 5, 4)) == []


def test_the_score_is_the_mean_of_the_samples_above_the_threshold():
    """Ten samples fall on the cells 0 to 9: nine of 0.5, and one below the threshold that does not count."""
    paf = 0.5 * along_x(1, 10)
    paf[0, 0, 4] = 0.01
    assert scores_of(paf, (0, 0, 0), (1, 9, 0)) == [(0, 1, 0.5)]


def test_more_than_the_ratio_of_the_samples_must_pass():
    """Of ten samples more than 0.8 are nine."""
    paf = along_x(1, 10)
    paf[0, 0, [0, 9]] = 0
    assert scores_of(paf, (0, 0, 0), (1, 9, 0)) == []
    assert scores_of(paf, (0, 0, 0), (1, 9, 0), rules=Rules(samples=10, ratio=0.75)) == [(0, 1, 1.0)]


def test_the_prior_takes_from_limbs_longer_than_half_of_the_height():
    """A limb of 8 cells in a field of 10 rows loses 1 - 5/8; one of 4 cells loses nothing."""
    rules = Rules(samples=10, ratio=0.8, prior=True)
    assert scores_of(along_x(10, 12), (0, 1, 5), (1, 9, 5), rules=rules)[0][2] == pytest.approx(5 / 8)
    assert scores_of(along_x(10, 12), (0, 1, 5), (1, 5, 5), rules=rules)[0][2] == 1
    assert scores_of(0.3 * along_x(10, 12), (0, 1, 5), (1, 9, 5), rules=rules) == []


def test_a_pair_that_is_very_close_is_a_limb_whatever_the_field_says():
    """0.3 of sqrt(12 * 3) cells are 1.8."""
    nothing, rules = np.zeros((2, 3, 12), np.float32), Rules(short=0.3, along=0.05)
    assert scores_of(nothing, (0, 2, 1), (1, 3.7, 1), rules=rules)[0][2] == pytest.approx(0.050001)
    assert scores_of(nothing, (0, 2, 1), (1, 3.9, 1), rules=rules) == []


def test_peaks_on_one_spot_are_no_limb():
    assert scores_of(along_x(), (0, 2, 2), (1, 2, 2)) == []


def integral(field, start, end, rules, stride):
    """The score of one pair, sample by sample, or None."""
    way = end - start
    length = math.hypot(*way)
    count = rules.samples
    if count == 'length':
        count = min(max(round(math.sqrt(5 * max(abs(way)) * stride)), 5), 25)
    good = []
    for i in range(count):
        x, y = start + way * (i / (count - 1))
        value = field[:, math.floor(y + 0.5), math.floor(x + 0.5)] @ way / max(length, 1e-6)
        good += [value] if value > rules.along else []
    return sum(good) / len(good) if len(good) > rules.ratio * count else None


@pytest.mark.parametrize('preset', ['cpp', 'cpp_maximize', 'lightweight'])
def test_scores_are_those_of_a_plain_loop(preset):
    """On smooth random fields, for all pairs of a skeleton at once."""
    rng = np.random.default_rng(0)
    rules = Rules(**{n: getattr(PRESETS[preset], n) for n in ('samples', 'along', 'ratio')})
    skeleton = get_skeleton('coco18')
    y, x = np.mgrid[:20, :24]
    phases = rng.uniform(0, 6, (38, 1, 1))
    paf = np.sin(0.2 * x + phases) * np.cos(0.15 * y + phases[::-1])
    paf = paf.astype(np.float32)
    cells = rng.uniform(0, (23, 19), (90, 2)).astype(np.float32)
    peaks = Peaks(cells, np.ones(90, np.float32), np.repeat(np.arange(18), 5))
    pairs, scores = limbs_of(every_pair(peaks, skeleton), cells, paf, rules, 8.0)
    found = dict(
        zip(zip(pairs.limb.tolist(), pairs.start.tolist(), pairs.end.tolist(), strict=True), scores, strict=True)
    )
    wanted = {}
    for limb, (a, b) in enumerate(skeleton.limb_indices):
        for i in range(5 * a, 5 * a + 5):
            for j in range(5 * b, 5 * b + 5):
                score = integral(paf[2 * limb : 2 * limb + 2], cells[i], cells[j], rules, 8.0)
                wanted.update({} if score is None else {(limb, i, j): score})
    assert len(wanted) > 50
    unlike = set(found) ^ set(wanted)  # rounding decides where a sample falls between two cells
    assert len(unlike) <= 0.01 * len(wanted)
    shared = sorted(set(found) & set(wanted))
    assert_allclose([found[k] for k in shared], [wanted[k] for k in shared], atol=0.02)


def test_every_pair_of_a_limb_is_looked_at_once():
    skeleton = Skeleton('three', ('a', 'b', 'c'), (('c', 'a'), ('a', 'b')))
    pairs = every_pair(peaks_of((0, 0, 0), (0, 1, 0), (1, 2, 0), (2, 3, 0), (2, 4, 0)), skeleton)
    assert_array_equal(pairs.limb, [0, 0, 0, 0, 1, 1])
    assert_array_equal(pairs.start, [3, 3, 4, 4, 0, 1])
    assert_array_equal(pairs.end, [0, 1, 0, 1, 2, 2])


def test_the_best_pair_first_may_leave_others_alone_where_the_largest_sum_does_not():
    """0.9 takes both ends that 0.8 and 0.7 would have shared."""
    pairs = Pairs(np.zeros(3, int), np.array([0, 0, 1]), np.array([2, 3, 2]))
    scores = np.array([0.9, 0.8, 0.7])
    assert matched(pairs, scores, 1, 'greedy') == [[(0, 2, 0.9)]]
    assert matched(pairs, scores, 1, 'hungarian') == [[(0, 3, 0.8), (1, 2, 0.7)]]


@pytest.mark.parametrize('how', ['greedy', 'hungarian'])
def test_limbs_do_not_exclude_each_other(how):
    pairs = Pairs(np.array([0, 2]), np.array([0, 0]), np.array([1, 1]))
    assert matched(pairs, np.array([0.5, 0.6]), 3, how) == [[(0, 1, 0.5)], [], [(0, 1, 0.6)]]
    nothing = Pairs(*np.zeros((3, 0), int))
    assert matched(nothing, np.zeros(0), 2, how) == [[], []]
