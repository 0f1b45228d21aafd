"""PCKh and both of its means, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.pckh import PCKh
from poseplug.testing import create_annotated_record

BODY = Skeleton('body', ('neck', 'head_top', 'wrist', 'pelvis', 'thorax'), head=('neck', 'head_top'))
ANNOTATED = np.array([[0, 0], [0, 20], [50, 50], [30, 80], [10, 5]], float)


def make_record(visible=(2, 2, 2, 2, 2), head_sizes=(10.0,)):
    return create_annotated_record(
        Path('a'),
        'a',
        ANNOTATED[None],
        np.array([visible]),
        head_sizes=None if head_sizes is None else np.array(head_sizes),
    )


def evaluate(*pairs, **settings):
    metric = PCKh(BODY, **settings)
    for errors, record in pairs:
        points = ANNOTATED[None] + np.array(errors, float)[None, :, None] * [1.0, 0.0]
        metric.update(Poses(points, np.ones((1, 5)), np.ones(1)), record)
    return metric.compute()


def test_a_keypoint_is_correct_up_to_a_fraction_of_the_annotated_head():
    values = evaluate(([5, 5.1, 1, 0, 0], make_record())).values
    assert (values['PCKh@0.5/neck'], values['PCKh@0.5/head_top'], values['PCKh@0.5/wrist']) == (100, 0, 100)
    assert (values['PCKh@0.1/neck'], values['PCKh@0.1/wrist']) == (0, 100)


def test_the_two_means_differ_where_keypoints_are_labeled_unequally_often():
    """Neck 2 of 2, head top 0 of 2, wrist 1 of 1: 3 of 5 weighted, two thirds unweighted."""
    pairs = [([0, 9, 0, 0, 0], make_record()), ([0, 9, 0, 0, 0], make_record(visible=(2, 1, 0, 2, 2)))]
    weighted, unweighted = (evaluate(*pairs, average=rule) for rule in ('weighted', 'unweighted'))
    assert (weighted.values['PCKh@0.5'], unweighted.values['PCKh@0.5']) == (60, 66.67)
    assert any('weighted by how often each keypoint is labeled' in note for note in weighted.notes)
    assert any('unweighted mean over the keypoints' in note for note in unweighted.notes)
    assert any('without pelvis and thorax' in note for note in unweighted.notes)


def test_pelvis_and_thorax_are_reported_but_not_part_of_the_mean():
    values = evaluate(([0, 0, 0, 99, 99], make_record())).values
    assert values['PCKh@0.5'] == 100
    assert values['PCKh@0.5/pelvis'] == values['PCKh@0.5/thorax'] == 0
    assert evaluate(([0, 0, 0, 99, 99], make_record()), excluded_keypoints=()).values['PCKh@0.5'] == 60


def test_the_distance_of_the_skeletons_head_keypoints_can_be_the_size():
    pair = ([9, 9, 9, 9, 9], make_record(head_sizes=None))
    assert evaluate(pair, head_size='keypoints').values['PCKh@0.5'] == 100
    scores = evaluate(pair)
    assert scores.values == {}
    assert scores.notes[0].startswith('1 of 1 instances are excluded: the data set has no head size of them')


def test_curves_end_at_the_percentage_of_the_largest_threshold():
    """Offsets of 9, 9 and 30 px from a head of 30 px and more: the curves never fall."""
    scores = evaluate(([0, 9, 30, 0, 0], make_record()), max_threshold=0.5, num_steps=10)
    thresholds, percents = scores.curves['mean']
    assert (len(thresholds), thresholds[-1]) == (11, 0.5)
    assert percents[-1] == scores.values['PCKh@0.5']
    assert percents == sorted(percents)
    assert all(
        curve[1][-1] == scores.values[f'PCKh@0.5/{name}'] for name, curve in scores.curves.items() if name != 'mean'
    )


def test_invalid_settings_are_refused():
    with pytest.raises(ConfigError, match="'bare' names no head, which PCKh divides by"):
        PCKh(Skeleton('bare', ('a', 'b')), head_size='keypoints')
    with pytest.raises(ConfigError, match="average is one of 'weighted', 'unweighted'; got 'mean'"):
        PCKh(BODY, average='mean')
    with pytest.raises(ConfigError, match="head_size is one of 'annotated', 'keypoints'; got 'box'"):
        PCKh(BODY, head_size='box')
    with pytest.raises(ConfigError, match='leaves no keypoint'):
        PCKh(BODY, excluded_keypoints=BODY.keypoints)


@pytest.mark.parametrize('setting', ['average', 'head_size'])
def test_a_word_without_a_meaning_is_refused_by_metric_and_setting(setting):
    with pytest.raises(ConfigError, match=f"^PCKh: {setting} is one of .*; got 'middle'"):
        PCKh(BODY, **{setting: 'middle'})
