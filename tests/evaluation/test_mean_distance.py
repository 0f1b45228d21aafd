"""EPE and NME, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.epe import EPE
from poseplug.evaluation.nme import NME
from poseplug.evaluation.pck import PCK
from poseplug.testing import create_annotated_record

FACE = Skeleton('face', ('left_eye', 'right_eye', 'chin'))
ANNOTATED = np.array([[0, 0], [40, 0], [20, 50]], float)


def evaluate(metric, *errors, visible=(2, 2, 2)):
    for error in errors:
        points = ANNOTATED[None] + np.array(error, float)[None, :, None] * [0.6, 0.8]
        record = create_annotated_record(
            Path('a'), 'a', ANNOTATED[None], np.array([visible]), boxes=np.array([[0, 0, 60, 80]])
        )
        metric.update(Poses(points, np.ones((1, 3)), np.ones(1)), record)
    return metric.compute()


def test_the_end_point_error_is_the_mean_distance_over_labeled_keypoints():
    assert evaluate(EPE(FACE), (1, 2, 6)).values == {'EPE': 3, 'EPE/left_eye': 1, 'EPE/right_eye': 2, 'EPE/chin': 6}
    assert evaluate(EPE(FACE), (1, 2, 6), visible=(1, 2, 0)).values == {
        'EPE': 1.5,
        'EPE/left_eye': 1,
        'EPE/right_eye': 2,
    }


def test_every_labeled_keypoint_of_any_name_has_the_same_weight():
    metric = EPE(FACE)
    evaluate(metric, (1, 1, 1), visible=(2, 0, 0))
    assert evaluate(metric, (4, 4, 4)).values['EPE'] == (1 + 3 * 4) / 4


def test_the_normalized_error_is_a_percentage_of_the_declared_size():
    assert evaluate(NME(FACE, ('left_eye', 'right_eye')), (2, 4, 6)).values['NME'] == 10
    assert evaluate(NME(FACE, 'box_diagonal'), (2, 4, 6)).values['NME'] == 4
    scores = evaluate(NME(FACE, 'box'), (2, 4, 6))
    assert scores.values['NME'] == 5
    assert scores.notes == ['NME is in percent of the longer side of the box']


@pytest.mark.parametrize('metric', [EPE(FACE), NME(FACE, 'box')])
def test_keypoints_without_a_finite_prediction_are_excluded_and_counted(metric):
    scores = evaluate(metric, (0, 0, np.nan))
    assert scores.values[metric.name] == 0
    assert f'1 of 3 labeled keypoints have no prediction and are excluded from {metric.name}' in scores.notes
    unpredicted = evaluate(type(metric)(FACE, *['box'] * (type(metric) is NME)), (np.inf, np.nan, np.nan))
    assert unpredicted.values == {}
    assert '3 of 3 labeled keypoints have no prediction' in unpredicted.notes[0]


def test_smaller_is_better_for_errors_alone():
    assert EPE.lower_is_better
    assert NME.lower_is_better
    assert not PCK.lower_is_better


def test_a_skeleton_that_lacks_the_declared_size_is_refused():
    with pytest.raises(ConfigError, match="'face' names no torso, which NME divides by"):
        NME(FACE, 'torso')
