"""Who is measured against whom, and who is left out."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError, MismatchError
from poseplug.evaluation.offsets import Offsets, joint_rates, nanmean
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

PAIR = Skeleton('pair', ('a', 'b'), torso=('a', 'b'))
ANN = np.array([[0, 0], [10, 0]], float)


def record(*people, visible=None, name='im1', **fields):
    points = np.array(people, float).reshape(-1, 2, 2)
    flags = np.full(points.shape[:2], 2) if visible is None else np.array(visible)
    return Record(Path(name), name, points, flags, **fields)


def found(*people):
    points = np.array(people, float).reshape(-1, 2, 2)
    return Poses(points, np.ones(points.shape[:2]), np.ones(len(points)))


def table(*pairs, people='all', normaliser=1.0):
    offsets = Offsets(PAIR, normaliser, people, 'PCK')
    for predicted, true in pairs:
        offsets.add(predicted, true)
    return offsets.table()


def test_everybody_of_a_picture_is_measured_against_the_person_nearest_one_to_one():
    distances, notes = table((found(ANN + 103, ANN + 1, ANN + 500), record(ANN, ANN + 100)))
    assert distances == pytest.approx(np.sqrt(2) * np.array([[1, 1], [3, 3]]))
    assert notes == []


def test_whoever_is_left_without_a_prediction_is_missed():
    distances, _ = table((found(ANN + 99), record(ANN, ANN + 100)), (found(), record(ANN, name='im2')))
    assert distances[:2] == pytest.approx(np.array([[np.inf, np.inf], [np.sqrt(2), np.sqrt(2)]]))
    assert np.isinf(distances[2]).all()


def test_people_without_labelled_joints_take_nobodys_prediction_and_are_counted():
    distances, notes = table((found(ANN + 1), record(ANN + 1, ANN, visible=[[0, 0], [2, 2]])))
    assert distances == pytest.approx(np.sqrt(2) * np.ones((1, 2)))
    assert notes == ['1 of 2 people were left out: none of their joints is labelled (first: im1)']


def test_a_picture_predicted_person_by_person_is_the_one_predicted_at_once():
    true = record(ANN, ANN + 100)
    once = table((found(ANN + 1, ANN + 102), true))[0]
    in_turn = table((found(ANN + 102), true.led_by(1)), (found(ANN + 1), true.led_by(0)))[0]
    assert np.sort(once, axis=0) == pytest.approx(np.sort(in_turn, axis=0))


def test_boxes_of_a_detector_are_measured_against_the_annotated_people():
    truth = record(ANN)
    box = record(0 * ANN, visible=[[0, 0]], box_scores=np.ones(1), truth=truth)
    assert table((found(ANN), box))[0].tolist() == [[0, 0]]
    distances, notes = table((found(ANN), box), people='subject')
    assert distances.shape == (0, 2)
    assert notes == ['1 of 1 people were left out: none of their joints is labelled (first: im1)']


def test_the_subject_alone_is_measured_by_default_in_sizes_of_their_own():
    distances, _ = table((found(ANN + 3), record(ANN, ANN + 100)), people='subject', normaliser='torso')
    assert distances == pytest.approx(np.sqrt(2) * 0.3 * np.ones((1, 2)))


def test_a_record_of_nobody_is_nobody_to_measure():
    assert table((found(ANN), record()), people='subject')[0].shape == (0, 2)
    assert table((found(ANN), record()))[0].shape == (0, 2)


def test_people_of_another_skeleton_and_an_unknown_rule_are_refused():
    three = Poses(np.zeros((1, 3, 2)), np.ones((1, 3)), np.ones(1))
    with pytest.raises(MismatchError, match="im1: people are predicted with 3 joints, .* the 2 of skeleton 'pair'"):
        table((three, record(ANN)))
    with pytest.raises(ConfigError, match="PCK: people is one of 'subject', 'all'; got 'everybody'"):
        table(people='everybody')


def test_rates_and_means_leave_out_what_is_not_labelled():
    distances = np.array([[0.1, np.nan, np.inf], [0.3, np.nan, 0.2]])
    assert joint_rates(distances, 0.2) == pytest.approx(np.array([0.5, np.nan, 0.5]), nan_ok=True)
    assert nanmean(np.array([1.0, np.nan, 3.0])) == 2
    assert np.isnan(nanmean(np.array([np.nan])))
