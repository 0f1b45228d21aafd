"""How limbs become instances: by their start or by either end, and which instances are dropped."""

from collections import Counter

import numpy as np
import pytest

from poseplug.core.skeleton import Skeleton
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.instance_assembler import InstanceAssembler, select_valid_instances
from poseplug.grouping.paf_rules import PAFRules
from poseplug.registry.skeletons import get_skeleton

CHAIN = Skeleton('chain', ('a', 'b', 'c', 'd'), (('a', 'b'), ('b', 'c'), ('c', 'd')),
                 grouping_order=(('a', 'b'), ('b', 'c'), ('c', 'd')))  # fmt: skip
LOOP = Skeleton('loop', ('a', 'b', 'c'), (('a', 'b'), ('b', 'c'), ('a', 'c')),
                grouping_order=(('a', 'b'), ('b', 'c'), ('a', 'c')), redundant_limbs=(('a', 'c'),))  # fmt: skip


def assemble_limbs(skeleton, counts, limbs, cells=None, **rules):
    """The peaks and score sums of instances, from peak counts and limbs by name: [(start, end, score), ...]."""
    channels = np.repeat(np.arange(len(skeleton)), counts)
    cells = np.zeros((len(channels), 2), np.float32) if cells is None else np.array(cells, np.float32)
    rules = PAFRules(**rules)
    assembler = InstanceAssembler(skeleton, Peaks(cells, np.full(len(channels), 0.5, np.float32), channels), rules)
    for step in skeleton.limb_steps:
        assembler.add_limbs(step, limbs.get(''.join(skeleton.limbs[step.limb]), []))
    if rules.merge_distance_ratio:
        assembler.merge_nearby_instances(cells, rules.merge_distance_ratio)
    peak_indices, score_sums = assembler.to_arrays()
    return peak_indices.tolist(), score_sums.tolist()


def test_a_chain_of_limbs_is_one_instance_whose_sum_counts_every_peak_and_limb():
    peak_indices, score_sums = assemble_limbs(
        CHAIN, [1, 1, 1, 1], {'ab': [(0, 1, 0.9)], 'bc': [(1, 2, 0.8)], 'cd': [(2, 3, 0.7)]}
    )
    assert peak_indices == [[0, 1, 2, 3]]
    assert score_sums == pytest.approx([4 * 0.5 + 0.9 + 0.8 + 0.7])


@pytest.mark.parametrize('assign_by', ['start', 'either'])
def test_a_gap_in_a_chain_makes_two_instances(assign_by):
    peak_indices, _ = assemble_limbs(
        CHAIN, [1, 1, 1, 1], {'ab': [(0, 1, 0.9)], 'cd': [(2, 3, 0.7)]}, assign_by=assign_by
    )
    assert peak_indices == [[0, 1, -1, -1], [-1, -1, 2, 3]]


def test_a_limb_merges_two_instances_only_by_either_end():
    """The arm d-c, grouped first, meets the rest at c; by its start alone two instances have c."""
    skeleton = Skeleton('meeting', ('a', 'b', 'c', 'd'), (('a', 'b'), ('d', 'c'), ('b', 'c')),
                        grouping_order=(('a', 'b'), ('d', 'c'), ('b', 'c')))  # fmt: skip
    limbs = {'ab': [(0, 1, 1.0)], 'dc': [(3, 2, 1.0)], 'bc': [(1, 2, 1.0)]}
    either, score_sums = assemble_limbs(skeleton, [1, 1, 1, 1], limbs, assign_by='either')
    assert either == [[0, 1, 2, 3]]
    assert score_sums == [4 * 0.5 + 3]
    assert assemble_limbs(skeleton, [1, 1, 1, 1], limbs, assign_by='start')[0] == [[0, 1, 2, -1], [-1, -1, 2, 3]]


def test_two_instances_with_a_keypoint_in_common_are_never_merged():
    skeleton = Skeleton('both', ('a', 'b', 'c', 'd'), (('a', 'b'), ('c', 'd'), ('b', 'c')),
                        grouping_order=(('a', 'b'), ('c', 'd'), ('b', 'c')))  # fmt: skip
    limbs = {'ab': [(0, 2, 1.0), (1, 3, 1.0)], 'cd': [(4, 5, 1.0)], 'bc': [(2, 4, 1.0), (3, 4, 0.5)]}
    peak_indices, _ = assemble_limbs(skeleton, [2, 2, 1, 1], limbs, assign_by='either')
    assert sorted(peak_indices) == [[0, 2, 4, 5], [1, 3, -1, -1]]


@pytest.mark.parametrize(('assign_by', 'added'), [('start', 0.0), ('either', 0.5 + 0.6)])
def test_a_redundant_limb_fills_a_missing_end_and_starts_no_instance(assign_by, added):
    peak_indices, score_sums = assemble_limbs(
        LOOP, [1, 1, 1], {'ab': [(0, 1, 0.9)], 'ac': [(0, 2, 0.6)]}, assign_by=assign_by, single_peaks='none'
    )
    assert peak_indices == [[0, 1, 2]]
    assert score_sums == pytest.approx([2 * 0.5 + 0.9 + added])
    assert assemble_limbs(LOOP, [1, 1, 1], {'ac': [(0, 2, 0.6)]}, assign_by=assign_by, single_peaks='none')[0] == []


def test_a_limb_grows_from_the_keypoint_that_comes_first_in_the_grouping_order():
    """The field runs from b to a, the parser from a to b."""
    skeleton = Skeleton('back', ('a', 'b', 'c'), (('b', 'a'), ('b', 'c')), grouping_order=(('a', 'b'), ('b', 'c')))
    peak_indices, _ = assemble_limbs(skeleton, [1, 1, 1], {'ba': [(1, 0, 1.0)], 'bc': [(1, 2, 1.0)]})
    assert peak_indices == [[0, 1, 2]]


def test_peaks_of_limbs_whose_other_keypoint_has_none_are_instances_of_one_keypoint_if_configured():
    peak_indices, score_sums = assemble_limbs(CHAIN, [0, 2, 0, 1], {}, single_peaks='unpaired')
    assert peak_indices == [[-1, 0, -1, -1], [-1, 1, -1, -1], [-1, -1, -1, 2]]
    assert score_sums == [0.5, 0.5, 0.5]
    assert assemble_limbs(CHAIN, [0, 2, 0, 1], {}, single_peaks='none')[0] == []
    assert assemble_limbs(CHAIN, [1, 2, 0, 0], {}, single_peaks='unpaired')[0] == [[-1, 1, -1, -1], [-1, 2, -1, -1]]


def test_instances_without_a_keypoint_in_common_are_merged_nearest_first():
    """Two upper halves 4 cells high at x = 0 and 10, and two lower ones at x = 1 and 12: each to its own."""
    cells = [[0, 0], [10, 0], [0, 4], [10, 4], [12, 6], [1, 6], [12, 9], [1, 9]]
    limbs = {'ab': [(0, 2, 1.0), (1, 3, 1.0)], 'cd': [(4, 6, 1.0), (5, 7, 1.0)]}
    peak_indices, _ = assemble_limbs(CHAIN, [2, 2, 2, 2], limbs, cells, merge_distance_ratio=1.0)
    assert sorted(peak_indices) == [[0, 2, 5, 7], [1, 3, 4, 6]]
    assert len(assemble_limbs(CHAIN, [2, 2, 2, 2], limbs, cells, merge_distance_ratio=0.5)[0]) == 4
    assert assemble_limbs(CHAIN, [0, 0, 0, 0], {}, [], merge_distance_ratio=1.0)[0] == []


def select(peak_indices, score_sums, skeleton=CHAIN, **rules):
    """Which instances are valid, and the counts above 0."""
    counts = Counter()
    valid = select_valid_instances(np.array(peak_indices), np.array(score_sums), skeleton, PAFRules(**rules), counts)
    return valid.tolist(), dict(+counts)


def test_peaks_that_do_not_count_do_not_count_after_a_merge_either():
    assembler = InstanceAssembler(
        CHAIN,
        Peaks(np.zeros((4, 2), np.float32), np.full(4, 0.5, np.float32), np.arange(4)),
        PAFRules(redundant_peaks='any', merge_distance_ratio=1.0),
    )
    assembler.instances, assembler.score_sums = [[0, -1, -1, -1], [-1, -1, 2, 3]], [0.5, 1.0]
    assembler.redundant_counts = [0, 1]
    assert assembler.merge_instances(0, 1, 0.0)
    assert assembler.to_arrays()[0].tolist() == [[0, -1, 2, 3]]
    assert assembler.get_redundant_counts().tolist() == [1]


def test_dropped_instances_are_counted_under_their_cause():
    instances = [[0, 1, 2, -1], [3, 4, -1, -1], [5, 6, 7, 8]]
    assert select(instances, [1.3, 2.0, 1.5]) == (
        [True, False, False],
        {'with fewer than 3 keypoints': 1, 'with a mean score below 0.4': 1},
    )


def test_all_keypoints_of_a_small_skeleton_are_enough():
    assert select([[0]], [0.5], Skeleton('one', ('a',)))[0] == [True]


def body25_peaks(*names):
    """The peaks (25,) of an instance with these keypoints."""
    peak_indices = np.full(25, -1)
    peak_indices[[get_skeleton('body25').index(name) for name in names]] = range(len(names))
    return peak_indices


def test_feet_do_not_make_an_instance_of_a_leg():
    """A leg with its foot has 3 keypoints beside the foot, enough without that rule; a body keeps its feet."""
    leg = ('left_hip', 'left_knee', 'left_ankle')
    foot = ('left_big_toe', 'left_small_toe', 'left_heel')
    instances = [body25_peaks(*leg), body25_peaks(*leg, *foot), body25_peaks(*leg, *foot, 'mid_hip', 'neck')]
    skeleton = get_skeleton('body25')
    assert select(instances, [9.0] * 3, skeleton) == (
        [True, False, True],
        {'with a foot and at most 4 other keypoints': 1},
    )
    assert select(instances, [9.0] * 3, skeleton, count_feet=True)[0] == [True, True, True]
    assert select([body25_peaks('left_knee', 'left_ankle', *foot)], [9.0], skeleton)[1] == {
        'with fewer than 3 keypoints': 1
    }
