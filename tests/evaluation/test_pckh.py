"""PCKh and both of its means by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.pckh import PCKh
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

BODY = Skeleton('body', ('neck', 'head_top', 'wrist', 'pelvis', 'thorax'), head=('neck', 'head_top'))
TRUE = np.array([[0, 0], [0, 20], [50, 50], [30, 80], [10, 5]], float)


def record(visible=(2, 2, 2, 2, 2), heads=(10.0,)):
    return Record(Path('a'), 'a', TRUE[None], np.array([visible]), heads=None if heads is None else np.array(heads))


def measured(*pairs, **settings):
    metric = PCKh(BODY, **settings)
    for errors, true in pairs:
        points = TRUE[None] + np.array(errors, float)[None, :, None] * [1.0, 0.0]
        metric.add(Poses(points, np.ones((1, 5)), np.ones(1)), true)
    return metric.compute()


def test_a_joint_is_correct_up_to_its_share_of_the_given_head():
    values = measured(([5, 5.1, 1, 0, 0], record())).values
    assert (values['PCKh@0.5/neck'], values['PCKh@0.5/head_top'], values['PCKh@0.5/wrist']) == (100, 0, 100)
    assert (values['PCKh@0.1/neck'], values['PCKh@0.1/wrist']) == (0, 100)


def test_the_two_means_differ_where_joints_are_labelled_unequally_often():
    """Neck 2 of 2, head top 0 of 2, wrist 1 of 1: 3 of 5 weighted, two thirds as a plain mean."""
    pairs = [([0, 9, 0, 0, 0], record()), ([0, 9, 0, 0, 0], record(visible=(2, 1, 0, 2, 2)))]
    weighted, plain = (measured(*pairs, average=rule) for rule in ('weighted', 'plain'))
    assert (weighted.values['PCKh@0.5'], plain.values['PCKh@0.5']) == (60, 66.67)
    assert any('weighted by how often each joint is labelled' in note for note in weighted.notes)
    assert any('plain mean over the joints' in note for note in plain.notes)
    assert any('without pelvis and thorax' in note for note in plain.notes)


def test_pelvis_and_thorax_are_measured_but_no_part_of_the_mean():
    values = measured(([0, 0, 0, 99, 99], record())).values
    assert values['PCKh@0.5'] == 100
    assert values['PCKh@0.5/pelvis'] == values['PCKh@0.5/thorax'] == 0
    assert measured(([0, 0, 0, 99, 99], record()), excluded=()).values['PCKh@0.5'] == 60


def test_the_distance_of_the_skeletons_head_joints_may_be_the_size():
    pair = ([9, 9, 9, 9, 9], record(heads=None))
    assert measured(pair, head='joints').values['PCKh@0.5'] == 100
    scores = measured(pair)
    assert scores.values == {}
    assert scores.notes[0].startswith('1 of 1 people were left out: the data set gives them no head size')


def test_settings_that_fit_nothing_are_refused():
    with pytest.raises(ConfigError, match="'bare' names no head, which PCKh divides by"):
        PCKh(Skeleton('bare', ('a', 'b')), head='joints')
    with pytest.raises(ConfigError, match="average is one of 'weighted', 'plain'; got 'mean'"):
        PCKh(BODY, average='mean')
    with pytest.raises(ConfigError, match="head is one of 'given', 'joints'; got 'box'"):
        PCKh(BODY, head='box')
    with pytest.raises(ConfigError, match='leaves no joint'):
        PCKh(BODY, excluded=BODY.joints)
