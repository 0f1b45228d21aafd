"""The integer program over all limbs: the Hungarian matching along a tree, brute force where limbs close cycles."""

from itertools import combinations

import numpy as np
import pytest

from poseplug.core.skeleton import Skeleton
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_graph import match_limb_graph
from poseplug.grouping.limb_scores import enumerate_peak_pairs, match_pairs

TREE = Skeleton('tree', ('a', 'b', 'c', 'd'), (('a', 'b'), ('b', 'c'), ('b', 'd')))
CYCLE = Skeleton('cycle', ('a', 'b', 'c'), (('a', 'b'), ('b', 'c'), ('c', 'a')))


def random_pairs(skeleton, num_peaks, seed):
    """All pairs of so many peaks per keypoint with random scores, and the keypoint of each peak."""
    keypoints = np.repeat(np.arange(len(skeleton)), num_peaks)
    peaks = Peaks(np.zeros((len(keypoints), 2)), np.ones(len(keypoints)), keypoints)
    pairs = enumerate_peak_pairs(peaks, skeleton)
    return pairs, np.random.default_rng(seed).random(len(pairs)), keypoints


def is_consistent(ends, chosen, limbs, keypoints):
    """Whether no peak has two limbs of one kind, and no instance two peaks of one keypoint."""
    for side in (0, 1):
        used = [(limbs[pair], ends[pair, side]) for pair in chosen]
        if len(set(used)) < len(used):
            return False
    groups = [{peak} for peak in range(len(keypoints))]
    for pair in chosen:
        first, second = (next(g for g in groups if peak in g) for peak in ends[pair].tolist())
        if first is not second:
            groups.remove(second)
            first |= second
    return all(len(group) == len({keypoints[peak] for peak in group}) for group in groups)


@pytest.mark.parametrize('seed', range(5))
def test_along_a_tree_the_program_chooses_what_the_hungarian_matching_chooses(seed):
    pairs, scores, keypoints = random_pairs(TREE, 4, seed)
    assert match_pairs(pairs, scores, 3, 'graph', keypoints) == match_pairs(pairs, scores, 3, 'hungarian', keypoints)


@pytest.mark.parametrize('seed', range(4))
def test_on_a_cycle_it_has_the_largest_sum_of_all_consistent_choices(seed):
    pairs, scores, keypoints = random_pairs(CYCLE, 2, seed)
    ends = np.stack([pairs.start_peaks, pairs.end_peaks], axis=1)
    chosen = match_limb_graph(ends, pairs.limb_indices, scores, keypoints)
    assert is_consistent(ends, chosen, pairs.limb_indices, keypoints)
    choices = (c for n in range(7) for c in combinations(range(len(scores)), n))
    sums = [scores[list(c)].sum() for c in choices if is_consistent(ends, c, pairs.limb_indices, keypoints)]
    assert scores[chosen].sum() == pytest.approx(max(sums))


def test_three_limbs_of_high_scores_that_join_two_people_are_not_all_chosen():
    """a0-b0, b0-c0 and c0-a1 would put a0 and a1 into one instance; the Hungarian matching takes all three."""
    ends, limbs = np.array([[0, 2], [2, 4], [4, 1]]), np.array([0, 1, 2])
    scores, keypoints = np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1, 1, 2, 2])
    assert match_limb_graph(ends, limbs, scores, keypoints).tolist() == [0, 1]


def test_no_pairs_are_no_limbs():
    assert match_limb_graph(np.zeros((0, 2), int), np.zeros(0, int), np.zeros(0), np.zeros(3, int)).tolist() == []


def test_a_choice_that_takes_too_long_is_made_consistent(monkeypatch):
    """The first program alone takes all three limbs; without time for a second one the lowest-scoring is dropped."""
    ends, limbs = np.array([[0, 2], [2, 4], [4, 1]]), np.array([0, 1, 2])
    scores, keypoints = np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1, 1, 2, 2])
    times = iter([0.0, 1.0, 100.0])
    monkeypatch.setattr('poseplug.grouping.limb_graph.time.monotonic', lambda: next(times))
    assert match_limb_graph(ends, limbs, scores, keypoints).tolist() == [0, 1]
