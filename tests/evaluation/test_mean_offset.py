"""EPE and NME by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.epe import EPE
from poseplug.evaluation.nme import NME
from poseplug.evaluation.pck import PCK
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

FACE = Skeleton('face', ('left_eye', 'right_eye', 'chin'))
TRUE = np.array([[0, 0], [40, 0], [20, 50]], float)


def measured(metric, *errors, visible=(2, 2, 2)):
    for error in errors:
        points = TRUE[None] + np.array(error, float)[None, :, None] * [0.6, 0.8]
        true = Record(Path('a'), 'a', TRUE[None], np.array([visible]), boxes=np.array([[0, 0, 60, 80]]))
        metric.add(Poses(points, np.ones((1, 3)), np.ones(1)), true)
    return metric.compute()


def test_the_end_point_error_is_the_mean_distance_over_labelled_joints():
    assert measured(EPE(FACE), (1, 2, 6)).values == {'EPE': 3, 'EPE/left_eye': 1, 'EPE/right_eye': 2, 'EPE/chin': 6}
    assert measured(EPE(FACE), (1, 2, 6), visible=(1, 2, 0)).values == {
        'EPE': 1.5,
        'EPE/left_eye': 1,
        'EPE/right_eye': 2,
    }


def test_every_labelled_joint_weighs_alike_whatever_its_kind():
    metric = EPE(FACE)
    measured(metric, (1, 1, 1), visible=(2, 0, 0))
    assert measured(metric, (4, 4, 4)).values['EPE'] == (1 + 3 * 4) / 4


def test_the_normalised_error_is_a_percentage_of_the_declared_size():
    assert measured(NME(FACE, ('left_eye', 'right_eye')), (2, 4, 6)).values['NME'] == 10
    assert measured(NME(FACE, 'box_diagonal'), (2, 4, 6)).values['NME'] == 4
    scores = measured(NME(FACE, 'box'), (2, 4, 6))
    assert scores.values['NME'] == 5
    assert scores.notes == ['NME is in percent of the longer side of the box']


@pytest.mark.parametrize('metric', [EPE(FACE), NME(FACE, 'box')])
def test_joints_predicted_nowhere_are_left_out_and_counted(metric):
    scores = measured(metric, (0, 0, np.nan))
    assert scores.values[metric.name] == 0
    assert f'1 of 3 labelled joints were predicted nowhere: left out of {metric.name}' in scores.notes
    nowhere = measured(type(metric)(FACE, *['box'] * (type(metric) is NME)), (np.inf, np.nan, np.nan))
    assert nowhere.values == {}
    assert '3 of 3 labelled joints were predicted nowhere' in nowhere.notes[0]


def test_smaller_is_better_for_errors_alone():
    assert EPE.lower
    assert NME.lower
    assert not PCK.lower


def test_a_skeleton_that_lacks_the_declared_size_is_refused():
    with pytest.raises(ConfigError, match="'face' names no torso, which NME divides by"):
        NME(FACE, 'torso')
