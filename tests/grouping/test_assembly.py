"""How limbs become people: by their first joint or by either, and who is left out."""

from collections import Counter

import numpy as np
import pytest

from poseplug.grouping.assembly import Assembly, surviving
from poseplug.grouping.peaks import Peaks
from poseplug.grouping.presets import Rules
from poseplug.skeleton import Skeleton, get_skeleton

CHAIN = Skeleton('chain', ('a', 'b', 'c', 'd'), (('a', 'b'), ('b', 'c'), ('c', 'd')),
                 parsing=(('a', 'b'), ('b', 'c'), ('c', 'd')))  # fmt: skip
LOOP = Skeleton('loop', ('a', 'b', 'c'), (('a', 'b'), ('b', 'c'), ('a', 'c')),
                parsing=(('a', 'b'), ('b', 'c'), ('a', 'c')), redundant=(('a', 'c'),))  # fmt: skip


def assembled(skeleton, counts, limbs, cells=None, **rules):
    """Who has which peaks, from how many peaks each joint has and the limbs by name: [(start, end, score), ...]."""
    channels = np.repeat(np.arange(len(skeleton)), counts)
    cells = np.zeros((len(channels), 2), np.float32) if cells is None else np.array(cells, np.float32)
    rules = Rules(**rules)
    people = Assembly(skeleton, Peaks(cells, np.full(len(channels), 0.5, np.float32), channels), rules)
    for step in skeleton.assembly:
        people.add(step, limbs.get(''.join(skeleton.limbs[step.limb]), []))
    if rules.gather:
        people.gather(cells, rules.gather)
    joints, sums = people.table()
    return joints.tolist(), sums.tolist()


def test_a_chain_of_limbs_is_one_person_whose_sum_counts_every_peak_and_limb():
    joints, sums = assembled(CHAIN, [1, 1, 1, 1], {'ab': [(0, 1, 0.9)], 'bc': [(1, 2, 0.8)], 'cd': [(2, 3, 0.7)]})
    assert joints == [[0, 1, 2, 3]]
    assert sums == pytest.approx([4 * 0.5 + 0.9 + 0.8 + 0.7])


@pytest.mark.parametrize('join', ['start', 'either'])
def test_a_gap_in_a_chain_makes_two_people(join):
    joints, _ = assembled(CHAIN, [1, 1, 1, 1], {'ab': [(0, 1, 0.9)], 'cd': [(2, 3, 0.7)]}, join=join)
    assert joints == [[0, 1, -1, -1], [-1, -1, 2, 3]]


def test_a_limb_joins_two_people_only_by_either_end():
    """The arm d-c, put together first, meets the rest at c; by its start alone c is given twice."""
    skeleton = Skeleton('meeting', ('a', 'b', 'c', 'd'), (('a', 'b'), ('d', 'c'), ('b', 'c')),
                        parsing=(('a', 'b'), ('d', 'c'), ('b', 'c')))  # fmt: skip
    limbs = {'ab': [(0, 1, 1.0)], 'dc': [(3, 2, 1.0)], 'bc': [(1, 2, 1.0)]}
    either, sums = assembled(skeleton, [1, 1, 1, 1], limbs, join='either')
    assert either == [[0, 1, 2, 3]]
    assert sums == [4 * 0.5 + 3]
    assert assembled(skeleton, [1, 1, 1, 1], limbs, join='start')[0] == [[0, 1, 2, -1], [-1, -1, 2, 3]]


def test_two_people_with_a_joint_in_common_are_never_one():
    skeleton = Skeleton('both', ('a', 'b', 'c', 'd'), (('a', 'b'), ('c', 'd'), ('b', 'c')),
                        parsing=(('a', 'b'), ('c', 'd'), ('b', 'c')))  # fmt: skip
    limbs = {'ab': [(0, 2, 1.0), (1, 3, 1.0)], 'cd': [(4, 5, 1.0)], 'bc': [(2, 4, 1.0), (3, 4, 0.5)]}
    joints, _ = assembled(skeleton, [2, 2, 1, 1], limbs, join='either')
    assert sorted(joints) == [[0, 2, 4, 5], [1, 3, -1, -1]]


@pytest.mark.parametrize(('join', 'added'), [('start', 0.0), ('either', 0.5 + 0.6)])
def test_a_redundant_limb_fills_a_missing_end_and_founds_nobody(join, added):
    joints, sums = assembled(LOOP, [1, 1, 1], {'ab': [(0, 1, 0.9)], 'ac': [(0, 2, 0.6)]}, join=join, lone='none')
    assert joints == [[0, 1, 2]]
    assert sums == pytest.approx([2 * 0.5 + 0.9 + added])
    assert assembled(LOOP, [1, 1, 1], {'ac': [(0, 2, 0.6)]}, join=join, lone='none')[0] == []


def test_a_limb_is_followed_from_the_joint_that_is_there_first():
    """The field runs from b to a, the parser from a to b."""
    skeleton = Skeleton('back', ('a', 'b', 'c'), (('b', 'a'), ('b', 'c')), parsing=(('a', 'b'), ('b', 'c')))
    joints, _ = assembled(skeleton, [1, 1, 1], {'ba': [(1, 0, 1.0)], 'bc': [(1, 2, 1.0)]})
    assert joints == [[0, 1, 2]]


def test_peaks_whose_other_joint_is_nowhere_are_people_of_one_joint_if_asked():
    joints, sums = assembled(CHAIN, [0, 2, 0, 1], {}, lone='absent')
    assert joints == [[-1, 0, -1, -1], [-1, 1, -1, -1], [-1, -1, -1, 2]]
    assert sums == [0.5, 0.5, 0.5]
    assert assembled(CHAIN, [0, 2, 0, 1], {}, lone='none')[0] == []
    assert assembled(CHAIN, [1, 2, 0, 0], {}, lone='absent')[0] == [[-1, 1, -1, -1], [-1, 2, -1, -1]]


def test_people_without_a_joint_in_common_are_gathered_nearest_first():
    """Two upper halves 4 cells high at x = 0 and 10, and two lower ones at x = 1 and 12: each to its own."""
    cells = [[0, 0], [10, 0], [0, 4], [10, 4], [12, 6], [1, 6], [12, 9], [1, 9]]
    limbs = {'ab': [(0, 2, 1.0), (1, 3, 1.0)], 'cd': [(4, 6, 1.0), (5, 7, 1.0)]}
    joints, _ = assembled(CHAIN, [2, 2, 2, 2], limbs, cells, gather=1.0)
    assert sorted(joints) == [[0, 2, 5, 7], [1, 3, 4, 6]]
    assert len(assembled(CHAIN, [2, 2, 2, 2], limbs, cells, gather=0.5)[0]) == 4
    assert assembled(CHAIN, [0, 0, 0, 0], {}, [], gather=1.0)[0] == []


def kept(joints, sums, skeleton=CHAIN, **rules):
    counts = Counter()
    return surviving(np.array(joints), np.array(sums), skeleton, Rules(**rules), counts).tolist(), dict(+counts)


def test_who_has_too_few_joints_or_too_low_a_mean_is_counted_under_its_cause():
    people = [[0, 1, 2, -1], [3, 4, -1, -1], [5, 6, 7, 8]]
    assert kept(people, [1.3, 2.0, 1.5]) == (
        [True, False, False],
        {'of fewer than 3 joints': 1, 'of a mean score below 0.4': 1},
    )


def test_all_joints_of_a_small_skeleton_are_enough():
    assert kept([[0]], [0.5], Skeleton('one', ('a',)))[0] == [True]


def body25(*joints):
    row = np.full(25, -1)
    row[[get_skeleton('body25').index(j) for j in joints]] = range(len(joints))
    return row


def test_feet_do_not_make_a_person_of_a_leg():
    """A leg with its foot has 3 joints beyond the foot, which is a person without that rule; a body keeps its feet."""
    leg = ('left_hip', 'left_knee', 'left_ankle')
    foot = ('left_big_toe', 'left_small_toe', 'left_heel')
    people = [body25(*leg), body25(*leg, *foot), body25(*leg, *foot, 'mid_hip', 'neck')]
    skeleton = get_skeleton('body25')
    assert kept(people, [9.0] * 3, skeleton) == ([True, False, True], {'of a foot and at most 4 other joints': 1})
    assert kept(people, [9.0] * 3, skeleton, feet=True)[0] == [True, True, True]
    assert kept([body25('left_knee', 'left_ankle', *foot)], [9.0], skeleton)[1] == {'of fewer than 3 joints': 1}
