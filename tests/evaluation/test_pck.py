"""PCK and its area by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.pck import PCK
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton
from poseplug.skeletons.lsp import LSP

TRIANGLE = Skeleton('triangle', ('a', 'b', 'c'), torso=('a', 'b'), groups={'ends': ('a', 'b'), 'tip': ('c',)})


def person(points, visible=None) -> Record:
    keypoints = np.asarray(points, np.float32)[None]
    flags = np.full(keypoints.shape[1], 2) if visible is None else np.asarray(visible)
    return Record(Path('made.jpg'), 'made', keypoints, flags[None].astype(np.uint8), 'made')


def guess(points) -> Poses:
    keypoints = np.asarray(points, np.float32)[None]
    return Poses(keypoints, np.ones(keypoints.shape[:2], np.float32), np.ones(1, np.float32))


def measured(pairs, skeleton=TRIANGLE, **settings):
    metric = PCK(skeleton, **settings)
    for predicted, true in pairs:
        metric.add(predicted, true)
    return metric.compute()


TRUE = [(0, 0), (10, 0), (5, 8)]  # the torso is 10 px


def test_a_joint_is_correct_up_to_its_share_of_the_torso():
    """Errors of 0, 2 and 2.1 px on a torso of 10: the second just counts at 0.2, the third does not."""
    scores = measured([(guess([(0, 0), (10, 2), (5, 10.1)]), person(TRUE))])
    assert scores.values['PCK@0.2'] == 66.67
    assert scores.values['PCK@0.1'] == 33.33


def test_groups_and_total_weigh_every_joint_alike():
    """Joint a right in 2 of 2, b in 1 of 2, c in 1 of 1 labelled: ends 75, tip 100, total 250 / 3."""
    pairs = [
        (guess(TRUE), person(TRUE)),
        (guess([(0, 0), (30, 0), (99, 99)]), person(TRUE, visible=[2, 1, 0])),
    ]
    scores = measured(pairs).values
    assert (scores['PCK@0.2/ends'], scores['PCK@0.2/tip'], scores['PCK@0.2']) == (75.0, 100.0, 83.33)


def test_occluded_joints_count():
    scores = measured([(guess([(0, 0), (10, 0), (50, 50)]), person(TRUE, visible=[2, 2, 1]))])
    assert scores.values['PCK@0.2'] == 66.67


def test_the_torso_is_the_persons_own_and_true():
    """The same error of 3 px is too much on a torso of 10 and little on one of 20."""
    moved = [(0, 0), (10, 0), (5, 11)]
    small = measured([(guess(moved), person(TRUE))])
    large = measured([(guess([(0, 0), (20, 0), (10, 19)]), person([(0, 0), (20, 0), (10, 16)]))])
    assert (small.values['PCK@0.2/tip'], large.values['PCK@0.2/tip']) == (0.0, 100.0)


def test_lsps_torso_is_right_hip_to_left_shoulder():
    """Native joints 2 and 9 of the file: a distance of 100 px here, all others being 0."""
    points = np.zeros((14, 2))
    points[9] = (60, 80)
    for error, score in ((19.9, 100.0), (20.1, 0.0)):
        scores = measured([(guess(points + np.array([error, 0])), person(points))], LSP)
        assert scores.values['PCK@0.2'] == score


def test_people_without_a_torso_are_left_out_and_counted():
    pairs = [
        (guess(TRUE), person(TRUE)),
        (guess(TRUE), replace(person(TRUE, visible=[0, 2, 2]), id='im7')),
        (guess(TRUE), person([(3, 3), (3, 3), (5, 8)])),
    ]
    scores = measured(pairs)
    assert scores.values['PCK@0.2'] == 100.0
    assert scores.notes[0].startswith('2 of 3 people were left out: a or b is not labelled')
    assert '(first: im7)' in scores.notes[0]


def test_a_perfect_predictor_has_an_area_of_100_and_a_hopeless_one_of_0():
    assert measured([(guess(TRUE), person(TRUE))]).values['AUC@0.2'] == 100.0
    assert measured([(guess(np.add(TRUE, 1000)), person(TRUE))]).values['AUC@0.2'] == 0.0


def test_the_area_is_the_mean_height_of_the_curve():
    """All errors are 1 px of 10: correct from 0.1 on, of 0.2. The rise before 0.1 adds half its width of 0.01."""
    scores = measured([(guess(np.add(TRUE, (1, 0))), person(TRUE))])
    assert scores.values['AUC@0.2'] == pytest.approx(100 * (0.1 + 0.005) / 0.2, abs=0.01)
    shares, rates = scores.curves['total']
    assert (shares[0], shares[-1], len(shares)) == (0.0, pytest.approx(0.2), 21)
    assert rates == [0.0] * 10 + [100.0] * 11
    assert set(scores.curves) == {'total', 'ends', 'tip'}


def test_the_order_of_the_pictures_does_not_matter():
    rng = np.random.default_rng(0)
    pairs = [(guess(TRUE + rng.normal(0, 2, (3, 2))), person(TRUE, visible=rng.integers(0, 3, 3))) for _ in range(30)]
    assert measured(pairs).values == measured(pairs[::-1]).values


def test_thresholds_are_settings():
    scores = measured([(guess(TRUE), person(TRUE))], thresholds=(0.5,), curve=0.5)
    assert set(scores.values) == {'PCK@0.5', 'PCK@0.5/ends', 'PCK@0.5/tip', 'AUC@0.5'}


@pytest.mark.parametrize('missing', [
    guess([(0, 0), (10, 0), (np.nan, 8)]),
    guess([(0, 0), (10, 0), (np.inf, 8)]),
])  # fmt: skip
def test_a_joint_predicted_nowhere_is_a_miss_not_a_joint_less(missing):
    assert measured([(missing, person(TRUE))]).values['PCK@0.2'] == 66.67


def test_a_person_who_was_not_found_is_three_misses():
    nobody = Poses(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0))
    assert measured([(nobody, person(TRUE))]).values['PCK@0.2'] == 0.0


def test_a_joint_that_nobody_has_is_no_part_of_the_total():
    scores = measured([(guess(TRUE), person(TRUE, visible=[2, 2, 0]))]).values
    assert scores['PCK@0.2'] == 100.0
    assert np.isnan(scores['PCK@0.2/tip'])


def test_nothing_measured_gives_no_numbers():
    assert measured([]).values == {}


def test_a_skeleton_without_a_torso_is_an_error():
    with pytest.raises(ConfigError, match=r"'bare' names no torso, which PCK divides by; give it torso=\(a, b\)"):
        PCK(Skeleton('bare', ('a', 'b')))


def test_other_sizes_and_everybody_of_a_picture_may_be_measured():
    """An error of 9 px is 0.9 of the torso and 0.15 of the longer side of a box of 40 x 60 px."""
    boxes = np.array([[0, 0, 40, 60.0]])
    true, moved = replace(person(TRUE), boxes=boxes), guess(np.add(TRUE, (9, 0)))
    assert measured([(moved, true)]).values['PCK@0.2'] == 0
    by_box = measured([(moved, true)], normaliser='box').values
    assert (by_box['PCK@0.1'], by_box['PCK@0.2']) == (0, 100)
    both = replace(true, keypoints=np.concatenate([true.keypoints + 500, true.keypoints]),
                   visible=np.repeat(true.visible, 2, axis=0), boxes=np.repeat(boxes, 2, axis=0))  # fmt: skip
    assert measured([(moved, both)], normaliser='box').values['PCK@0.2'] == 0
    assert measured([(moved, both)], normaliser='box', people='all').values['PCK@0.2'] == 50


def test_a_size_that_is_unknown_or_that_the_data_lack_is_said():
    with pytest.raises(ConfigError, match="PCK: normaliser is one of 'torso', .*; got 'bbox'"):
        PCK(TRIANGLE, normaliser='bbox')
    scores = measured([(guess(TRUE), person(TRUE))], normaliser='head')
    assert scores.values == {}
    assert scores.notes == [
        '1 of 1 people were left out: the data set gives them no head size to measure by (first: made)'
    ]
