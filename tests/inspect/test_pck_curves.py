"""Curves over the threshold, with distances counted by hand."""

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.prediction_file import PredictionFile
from poseplug.inspect.pck_curves import compute_pck_curve
from poseplug.registry.skeletons import get_skeleton
from tests.inspect.test_error_groups import image

LSP = get_skeleton('lsp')


def person(offset):
    """LSP's keypoints on a line 10 px apart; the torso and the head have known lengths."""
    return np.stack([np.arange(14.0) * 10 + offset, np.zeros(14)], axis=1)


def test_a_keypoint_counts_from_the_threshold_of_its_distance_on():
    """All keypoints are 4 px beside; the torso is as long as its keypoints are apart."""
    start, end = (LSP.index(name) for name in LSP.torso)
    torso = 10 * abs(start - end)
    curve = compute_pck_curve(PredictionFile('run', LSP, [image([person(0)], [person(4)])]), 'torso', 0.2, 20)
    expected = np.where(curve.thresholds >= 4 / torso, 100, 0)
    np.testing.assert_array_equal(curve.percents, expected)
    assert (curve.num_left_out, len(curve.thresholds)) == (0, 21)


def test_the_head_and_the_box_are_other_normalizers():
    files = PredictionFile('run', LSP, [image([person(0)], [person(4)])])
    head = compute_pck_curve(files, 'head', 0.5, 50)
    start, end = (LSP.index(name) for name in LSP.head)
    assert head.percents[head.thresholds >= 4 / (10 * abs(start - end)) + 1e-9].min() == 100
    box = compute_pck_curve(files, 'box', 0.2, 20)
    assert box.thresholds[np.argmax(box.percents)] == pytest.approx(0.04)  # 4 / 130 lies between 0.03 and 0.04


def test_a_person_without_a_prediction_is_wrong_and_one_without_a_torso_is_left_out():
    visible = np.full((3, 14), 2)
    visible[2, LSP.index(LSP.torso[0])] = 0
    people = [person(0), person(1000), person(5000)]
    curve = compute_pck_curve(PredictionFile('run', LSP, [image(people, [person(0)], visible)]))
    assert curve.percents[-1] == 50
    assert curve.area == pytest.approx(50)
    assert curve.num_left_out == 1


def test_a_skeleton_without_a_torso_is_an_error():
    dots = Skeleton('dots', ('a', 'b'))
    files = PredictionFile('run', dots, [image(np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))])
    with pytest.raises(ConfigError, match="the skeleton 'dots' has no torso to divide distances by"):
        compute_pck_curve(files)
    with pytest.raises(ConfigError, match='run: no instance has a box to divide by'):
        compute_pck_curve(files, 'box')
