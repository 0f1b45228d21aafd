"""The area under the curve by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.auc import AUC
from poseplug.testing import create_annotated_record

FACE = Skeleton('face', ('left_eye', 'right_eye', 'chin'))
ANNOTATED = np.array([[0, 0], [40, 0], [20, 50]], float)


def measure(metric, error):
    points = ANNOTATED[None] + np.array(error, float)[None, :, None] * [0.6, 0.8]
    record = create_annotated_record(
        Path('a'), 'a', ANNOTATED[None], np.full((1, 3), 2), boxes=np.array([[0, 0, 60, 80]])
    )
    metric.update(Poses(points, np.ones((1, 3)), np.ones(1)), record)
    return metric.compute()


def test_the_area_under_a_step_at_half_of_the_largest_threshold_is_a_half():
    """Every error is 15 of 30 px: correct from threshold 0.5 on, in steps of 0.05; the trapezoid adds half a step."""
    assert measure(AUC(FACE, 30), (15, 15, 15)).values['AUC'] == 52.5
    assert measure(AUC(FACE, 30, rule='left'), (15, 15, 15)).values['AUC'] == 50
    assert measure(AUC(FACE, 30, max_threshold=0.5, num_steps=1), (15, 15, 15)).values['AUC'] == 50


def test_the_area_of_perfect_and_hopeless_predictions_is_100_and_0_by_both_rules():
    for rule in ('left', 'trapezoid'):
        assert measure(AUC(FACE, 'box', rule=rule), (0, 0, 0)).values['AUC'] == 100
        assert measure(AUC(FACE, 'box', rule=rule), (999, 999, np.nan)).values['AUC'] == 0


def test_the_area_reports_its_normalizer_and_rule_and_its_curve():
    result = measure(AUC(FACE, 'box', num_steps=4), (0, 0, 40))
    assert result.notes == ['AUC: thresholds up to 1 x the longer side of the box, trapezoid rule']
    assert result.curves['AUC'] == ([0, 0.25, 0.5, 0.75, 1], [66.67, 66.67, 100, 100, 100])


def test_without_instances_there_is_no_area_and_invalid_settings_are_refused():
    assert AUC(FACE, 30).compute().values == {}
    with pytest.raises(ConfigError, match="AUC: rule is one of 'trapezoid', 'left'; got 'right'"):
        AUC(FACE, 30, rule='right')
    with pytest.raises(ConfigError, match='AUC: max_threshold is a fraction, above 0 and up to 5; got 0'):
        AUC(FACE, 30, max_threshold=0)
