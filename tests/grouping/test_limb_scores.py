"""Which pairs of peaks are limbs: scores by hand and against plain versions, and two ways to match."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.fields.limbs import encode_limb_fields
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_scores import PeakPairs, enumerate_peak_pairs, find_limbs, match_pairs
from poseplug.grouping.paf_rules import PAF_PRESETS, PAFRules
from poseplug.registry.skeletons import get_skeleton

TWO = Skeleton('two', ('a', 'b'), (('a', 'b'),))
TEN_SAMPLES = PAFRules(num_samples=10, min_sample_fraction=0.8)


def peaks_of(*points):
    """Peaks from (keypoint, x, y)."""
    table = np.array(sorted(points, key=lambda p: p[0]), float).reshape(-1, 3)
    return Peaks(table[:, 1:].astype(np.float32), np.ones(len(table), np.float32), table[:, 0].astype(int))


def scores_of(paf, *points, rules=TEN_SAMPLES, stride=8.0, skeleton=TWO):
    peaks = peaks_of(*points)
    pairs, scores = find_limbs(enumerate_peak_pairs(peaks, skeleton), peaks.cells, paf, rules, stride)
    return list(zip(pairs.start_peaks.tolist(), pairs.end_peaks.tolist(), scores.tolist(), strict=True))


def along_x(height=5, width=12):
    """A field that points right everywhere."""
    paf = np.zeros((2, height, width), np.float32)
    paf[0] = 1
    return paf


def test_the_paper_averages_all_samples_and_the_released_codes_those_above_the_threshold():
    """A field that is 1 on the first half of a limb and -0.2 on the second: 5 samples each."""
    paf = along_x()
    paf[0, :, 6:] = -0.2
    pair, rules = ((0, 1, 2), (1, 10, 2)), PAF_PRESETS['paper']
    assert scores_of(paf, *pair, rules=rules) == [(0, 1, pytest.approx(0.4))]
    assert scores_of(paf, *pair, rules=PAFRules(num_samples=10, min_sample_fraction=0.4)) == [
        (0, 1, pytest.approx(1.0))
    ]
    assert scores_of(-paf, *pair, rules=rules) == []


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


def test_more_than_the_fraction_of_the_samples_must_pass():
    """Of ten samples more than 0.8 are nine."""
    paf = along_x(1, 10)
    paf[0, 0, [0, 9]] = 0
    assert scores_of(paf, (0, 0, 0), (1, 9, 0)) == []
    assert scores_of(paf, (0, 0, 0), (1, 9, 0), rules=PAFRules(num_samples=10, min_sample_fraction=0.75)) == [
        (0, 1, 1.0)
    ]


def test_the_prior_lowers_the_scores_of_limbs_longer_than_half_of_the_height():
    """A limb of 8 cells in a field of 10 rows loses 1 - 5/8; one of 4 cells loses nothing."""
    rules = PAFRules(num_samples=10, min_sample_fraction=0.8, length_prior=True)
    assert scores_of(along_x(10, 12), (0, 1, 5), (1, 9, 5), rules=rules)[0][2] == pytest.approx(5 / 8)
    assert scores_of(along_x(10, 12), (0, 1, 5), (1, 5, 5), rules=rules)[0][2] == 1
    assert scores_of(0.3 * along_x(10, 12), (0, 1, 5), (1, 9, 5), rules=rules) == []


def test_a_pair_that_is_very_close_is_a_limb_whatever_the_field_says():
    """0.3 of sqrt(12 * 3) cells are 1.8."""
    nothing, rules = np.zeros((2, 3, 12), np.float32), PAFRules(short_limb_fraction=0.3, paf_threshold=0.05)
    assert scores_of(nothing, (0, 2, 1), (1, 3.7, 1), rules=rules)[0][2] == pytest.approx(0.050001)
    assert scores_of(nothing, (0, 2, 1), (1, 3.9, 1), rules=rules) == []


def test_peaks_at_one_point_are_no_limb():
    assert scores_of(along_x(), (0, 2, 2), (1, 2, 2)) == []


def score_pair_plainly(field, start, end, rules, stride):
    """The score of one pair, sample by sample, or None."""
    displacement = end - start
    length = math.hypot(*displacement)
    count = rules.num_samples
    if count == 'length':
        count = min(max(round(math.sqrt(5 * max(abs(displacement)) * stride)), 5), 25)
    passed = []
    for i in range(count):
        x, y = start + displacement * (i / (count - 1))
        value = field[:, math.floor(y + 0.5), math.floor(x + 0.5)] @ displacement / max(length, 1e-6)
        passed += [value] if value > rules.paf_threshold else []
    return sum(passed) / len(passed) if len(passed) > rules.min_sample_fraction * count else None


def find_limbs_plainly(pairs, cells, paf, rules, stride):
    """`find_limbs` without screening and complex numbers: every pair is sampled in full."""
    height, width = paf.shape[-2:]
    cells = np.clip(cells, 0, np.array([width - 1, height - 1], np.float32))
    starts, displacements = cells[pairs.start_peaks], cells[pairs.end_peaks] - cells[pairs.start_peaks]
    lengths = np.linalg.norm(displacements, axis=1)
    counts = np.clip(np.rint(np.sqrt(5 * abs(displacements).max(axis=1) * np.float32(stride))), 5, 25)
    if rules.num_samples != 'length':
        counts = np.full_like(counts, rules.num_samples)
    steps = np.arange(counts.max(initial=2), dtype=np.float32)[:, None]
    points = starts + np.minimum(steps / (counts - 1), 1)[..., None] * displacements
    x, y = (points + np.float32(0.5)).astype(int).transpose(2, 0, 1)
    vectors = paf.reshape(-1, 2, height, width)[pairs.limb_indices, :, y, x]
    values = (vectors * displacements).sum(axis=-1) / np.maximum(lengths, np.float32(1e-6))
    exceeds = (values > rules.paf_threshold) & (steps < counts)
    num_passed = exceeds.sum(axis=0)
    runs_along_field = num_passed > rules.min_sample_fraction * counts + 1e-6
    means = (values * exceeds).sum(axis=0) / np.maximum(num_passed, 1)
    if rules.score_samples == 'all':
        means = (values * (steps < counts)).sum(axis=0) / counts
    scores = np.where(runs_along_field, means, rules.paf_threshold + 1e-6)
    if rules.length_prior:
        scores += np.minimum(0.5 * height / np.maximum(lengths, 1e-6) - 1, 0)
    is_short = lengths < rules.short_limb_fraction * math.sqrt(width * height)
    is_limb = (runs_along_field | is_short) & (scores > 0)
    return pairs[is_limb], scores[is_limb]


@pytest.mark.parametrize('preset', PAF_PRESETS)
def test_limbs_are_those_of_the_plain_version(preset):
    """On true fields with noise, and on noise alone, where most pairs are screened out."""
    rng = np.random.default_rng(0)
    skeleton, cells = get_skeleton('coco18'), rng.uniform(0, (23, 19), (144, 2)).astype(np.float32)
    peaks = Peaks(cells, np.ones(144, np.float32), np.repeat(np.arange(18), 8))
    points = torch.from_numpy(cells).view(1, 18, 8, 2).transpose(1, 2)  # 8 instances
    start, end = (points[:, :, skeleton.limb_indices[:, i].tolist()] for i in (0, 1))
    mask = torch.ones(1, 8, 19, dtype=torch.bool)
    fields = encode_limb_fields(start, end, mask, (24, 20), width_cells=1.0, merge='mean')[0].numpy()
    noise = rng.normal(0, 0.3, fields.shape).astype(np.float32)
    pairs = enumerate_peak_pairs(peaks, skeleton)
    num_limbs = []
    for paf in (fields + 0.1 * noise, noise):
        limbs, scores = find_limbs(pairs, cells, paf, PAF_PRESETS[preset], 8.0)
        expected, expected_scores = find_limbs_plainly(pairs, cells, paf, PAF_PRESETS[preset], 8.0)
        for name in ('limb_indices', 'start_peaks', 'end_peaks'):
            assert_array_equal(getattr(limbs, name), getattr(expected, name))
        assert_allclose(scores, expected_scores, atol=2e-6)
        num_limbs.append(len(scores))
    assert num_limbs[0] >= 100
    max_fraction = 0.6 if preset == 'paper' else 0.1  # the paper has no threshold: half of all noise is above 0
    assert num_limbs[1] < max_fraction * len(pairs)


@pytest.mark.parametrize('preset', ['openpose', 'openpose_maximize_positives', 'lightweight', 'pytorch_openpose'])
def test_scores_are_those_of_a_plain_loop(preset):
    """On smooth random fields, for all pairs of a skeleton at once."""
    rng = np.random.default_rng(0)
    names = ('num_samples', 'paf_threshold', 'min_sample_fraction')
    rules = PAFRules(**{name: getattr(PAF_PRESETS[preset], name) for name in names})
    skeleton = get_skeleton('coco18')
    y, x = np.mgrid[:20, :24]
    phases = rng.uniform(0, 6, (38, 1, 1))
    paf = np.sin(0.2 * x + phases) * np.cos(0.15 * y + phases[::-1])
    paf = paf.astype(np.float32)
    cells = rng.uniform(0, (23, 19), (90, 2)).astype(np.float32)
    peaks = Peaks(cells, np.ones(90, np.float32), np.repeat(np.arange(18), 5))
    pairs, scores = find_limbs(enumerate_peak_pairs(peaks, skeleton), cells, paf, rules, 8.0)
    keys = zip(pairs.limb_indices.tolist(), pairs.start_peaks.tolist(), pairs.end_peaks.tolist(), strict=True)
    limbs = dict(zip(keys, scores, strict=True))
    expected = {}
    for limb, (a, b) in enumerate(skeleton.limb_indices):
        for i in range(5 * a, 5 * a + 5):
            for j in range(5 * b, 5 * b + 5):
                score = score_pair_plainly(paf[2 * limb : 2 * limb + 2], cells[i], cells[j], rules, 8.0)
                expected.update({} if score is None else {(limb, i, j): score})
    assert len(expected) > 50
    differing = set(limbs) ^ set(expected)  # rounding decides where a sample falls between two cells
    assert len(differing) <= 0.01 * len(expected)
    common = sorted(set(limbs) & set(expected))
    assert_allclose([limbs[k] for k in common], [expected[k] for k in common], atol=0.02)


def test_every_pair_of_a_limb_is_listed_once():
    skeleton = Skeleton('three', ('a', 'b', 'c'), (('c', 'a'), ('a', 'b')))
    pairs = enumerate_peak_pairs(peaks_of((0, 0, 0), (0, 1, 0), (1, 2, 0), (2, 3, 0), (2, 4, 0)), skeleton)
    assert_array_equal(pairs.limb_indices, [0, 0, 0, 0, 1, 1])
    assert_array_equal(pairs.start_peaks, [3, 3, 4, 4, 0, 1])
    assert_array_equal(pairs.end_peaks, [0, 1, 0, 1, 2, 2])


def test_the_greedy_matching_may_leave_peaks_unmatched_that_the_largest_sum_matches():
    """0.9 uses one peak of the pair of 0.8 and one of that of 0.7."""
    pairs = PeakPairs(np.zeros(3, int), np.array([0, 0, 1]), np.array([2, 3, 2]))
    scores = np.array([0.9, 0.8, 0.7])
    assert match_pairs(pairs, scores, 1, 'greedy', np.array([0, 0, 1, 1])) == [[(0, 2, 0.9)]]
    assert match_pairs(pairs, scores, 1, 'hungarian', np.array([0, 0, 1, 1])) == [[(0, 3, 0.8), (1, 2, 0.7)]]


@pytest.mark.parametrize('method', ['greedy', 'hungarian', 'graph'])
def test_limbs_do_not_exclude_each_other(method):
    pairs = PeakPairs(np.array([0, 2]), np.array([0, 0]), np.array([1, 1]))
    assert match_pairs(pairs, np.array([0.5, 0.6]), 3, method, np.array([0, 1])) == [[(0, 1, 0.5)], [], [(0, 1, 0.6)]]
    no_pairs = PeakPairs(*np.zeros((3, 0), int))
    assert match_pairs(no_pairs, np.zeros(0), 2, method, np.zeros(0, int)) == [[], []]


def test_peaks_beyond_the_field_count_as_in_its_outermost_cells():
    rng = np.random.default_rng(0)
    paf = rng.uniform(0.5, 1, (2, 5, 12)).astype(np.float32)
    beyond, clipped = ((0, -0.4, -0.3), (1, 11.4, 4.2)), ((0, 0, 0), (1, 11, 4))
    assert scores_of(paf, *beyond) == scores_of(paf, *clipped) != []


@pytest.mark.parametrize('name', ['peak_threshold', 'paf_threshold', 'short_limb_fraction', 'min_mean_score'])
def test_a_fraction_of_the_rules_above_1_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f'^parser: {name} is a number from 0 to 1; got 1.5'):
        PAFRules(**{name: 1.5})
