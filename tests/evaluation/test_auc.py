"""The area under the curve by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.auc import AUC
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton

FACE = Skeleton('face', ('left_eye', 'right_eye', 'chin'))
TRUE = np.array([[0, 0], [40, 0], [20, 50]], float)


def measured(metric, error):
    points = TRUE[None] + np.array(error, float)[None, :, None] * [0.6, 0.8]
    true = Record(Path('a'), 'a', TRUE[None], np.full((1, 3), 2), boxes=np.array([[0, 0, 60, 80]]))
    metric.add(Poses(points, np.ones((1, 3)), np.ones(1)), true)
    return metric.compute()


def test_the_area_under_a_step_at_half_of_the_top_is_a_half():
    """Every error is 15 of 30 px: right from threshold 0.5 on, in steps of 0.05; the trapezoid adds half a step."""
    assert measured(AUC(FACE, 30), (15, 15, 15)).values['AUC'] == 52.5
    assert measured(AUC(FACE, 30, rule='left'), (15, 15, 15)).values['AUC'] == 50
    assert measured(AUC(FACE, 30, top=0.5, steps=1), (15, 15, 15)).values['AUC'] == 50


def test_the_area_of_perfect_and_hopeless_predictions_is_100_and_0_by_both_rules():
    for rule in ('left', 'trapezoid'):
        assert measured(AUC(FACE, 'box', rule=rule), (0, 0, 0)).values['AUC'] == 100
        assert measured(AUC(FACE, 'box', rule=rule), (999, 999, np.nan)).values['AUC'] == 0


def test_the_area_says_its_normaliser_and_rule_and_shows_its_curve():
    scores = measured(AUC(FACE, 'box', steps=4), (0, 0, 40))
    assert scores.notes == ['AUC: thresholds up to 1 x the longer side of the box, trapezoid rule']
    assert scores.curves['AUC'] == ([0, 0.25, 0.5, 0.75, 1], [66.67, 66.67, 100, 100, 100])


def test_nothing_measured_is_no_area_and_settings_that_fit_nothing_are_refused():
    assert AUC(FACE, 30).compute().values == {}
    with pytest.raises(ConfigError, match="AUC: rule is one of 'trapezoid', 'left'; got 'right'"):
        AUC(FACE, 30, rule='right')
    with pytest.raises(ConfigError, match='top and steps are above 0; got 0 and 20'):
        AUC(FACE, 30, top=0)
