"""PCK and the area under its curve, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.pck import PCK
from poseplug.skeletons.lsp import LSP
from poseplug.testing import change_record, create_annotated_record

TRIANGLE = Skeleton('triangle', ('a', 'b', 'c'), torso=('a', 'b'), groups={'ends': ('a', 'b'), 'tip': ('c',)})


def make_record(points, visible=None) -> Record:
    keypoints = np.asarray(points, np.float32)[None]
    flags = np.full(keypoints.shape[1], 2) if visible is None else np.asarray(visible)
    return create_annotated_record(Path('made.jpg'), 'made', keypoints, flags[None].astype(np.uint8), 'made')


def make_poses(points) -> Poses:
    keypoints = np.asarray(points, np.float32)[None]
    return Poses(keypoints, np.ones(keypoints.shape[:2], np.float32), np.ones(1, np.float32))


def evaluate(pairs, skeleton=TRIANGLE, **settings):
    metric = PCK(skeleton, **settings)
    for predictions, record in pairs:
        metric.update(predictions, record)
    return metric.compute()


ANNOTATED = [(0, 0), (10, 0), (5, 8)]  # the torso is 10 px


def test_a_keypoint_is_correct_up_to_a_fraction_of_the_torso():
    """Errors of 0, 2 and 2.1 px on a torso of 10: the second just counts at 0.2, the third does not."""
    scores = evaluate([(make_poses([(0, 0), (10, 2), (5, 10.1)]), make_record(ANNOTATED))])
    assert scores.values['PCK@0.2'] == 66.67
    assert scores.values['PCK@0.1'] == 33.33


def test_groups_and_mean_weight_every_keypoint_equally():
    """Keypoint a correct in 2 of 2, b in 1 of 2, c in 1 of 1 labeled: ends 75, tip 100, mean 250 / 3."""
    pairs = [
        (make_poses(ANNOTATED), make_record(ANNOTATED)),
        (make_poses([(0, 0), (30, 0), (99, 99)]), make_record(ANNOTATED, visible=[2, 1, 0])),
    ]
    scores = evaluate(pairs).values
    assert (scores['PCK@0.2/ends'], scores['PCK@0.2/tip'], scores['PCK@0.2']) == (75.0, 100.0, 83.33)


def test_occluded_keypoints_count():
    scores = evaluate([(make_poses([(0, 0), (10, 0), (50, 50)]), make_record(ANNOTATED, visible=[2, 2, 1]))])
    assert scores.values['PCK@0.2'] == 66.67


def test_the_torso_is_the_annotated_one_of_each_instance():
    """The same error of 3 px is above 0.2 of a torso of 10 and below 0.2 of one of 20."""
    shifted = [(0, 0), (10, 0), (5, 11)]
    small = evaluate([(make_poses(shifted), make_record(ANNOTATED))])
    large = evaluate([(make_poses([(0, 0), (20, 0), (10, 19)]), make_record([(0, 0), (20, 0), (10, 16)]))])
    assert (small.values['PCK@0.2/tip'], large.values['PCK@0.2/tip']) == (0.0, 100.0)


def test_lsps_torso_is_right_hip_to_left_shoulder():
    """Keypoints 2 and 9 of the file: a distance of 100 px here, all others being 0."""
    points = np.zeros((14, 2))
    points[9] = (60, 80)
    for error, score in ((19.9, 100.0), (20.1, 0.0)):
        scores = evaluate([(make_poses(points + np.array([error, 0])), make_record(points))], LSP)
        assert scores.values['PCK@0.2'] == score


def test_instances_without_a_torso_are_excluded_and_counted():
    pairs = [
        (make_poses(ANNOTATED), make_record(ANNOTATED)),
        (make_poses(ANNOTATED), change_record(make_record(ANNOTATED, visible=[0, 2, 2]), id='im7')),
        (make_poses(ANNOTATED), make_record([(3, 3), (3, 3), (5, 8)])),
    ]
    scores = evaluate(pairs)
    assert scores.values['PCK@0.2'] == 100.0
    assert scores.notes[0].startswith('2 of 3 instances are excluded: a or b is not labeled')
    assert '(first: im7)' in scores.notes[0]


def test_perfect_predictions_have_an_area_of_100_and_distant_ones_of_0():
    assert evaluate([(make_poses(ANNOTATED), make_record(ANNOTATED))]).values['AUC@0.2'] == 100.0
    assert evaluate([(make_poses(np.add(ANNOTATED, 1000)), make_record(ANNOTATED))]).values['AUC@0.2'] == 0.0


def test_the_area_is_the_mean_height_of_the_curve():
    """All errors are 1 px of 10: correct from 0.1 on, of 0.2. The rise before 0.1 adds half its width of 0.01."""
    scores = evaluate([(make_poses(np.add(ANNOTATED, (1, 0))), make_record(ANNOTATED))])
    assert scores.values['AUC@0.2'] == pytest.approx(100 * (0.1 + 0.005) / 0.2, abs=0.01)
    thresholds, percentages = scores.curves['mean']
    assert (thresholds[0], thresholds[-1], len(thresholds)) == (0.0, pytest.approx(0.2), 21)
    assert percentages == [0.0] * 10 + [100.0] * 11
    assert set(scores.curves) == {'mean', 'ends', 'tip'}


def test_the_order_of_images_does_not_matter():
    rng = np.random.default_rng(0)
    pairs = [
        (make_poses(ANNOTATED + rng.normal(0, 2, (3, 2))), make_record(ANNOTATED, visible=rng.integers(0, 3, 3)))
        for _ in range(30)
    ]
    assert evaluate(pairs).values == evaluate(pairs[::-1]).values


def test_thresholds_are_settings():
    scores = evaluate([(make_poses(ANNOTATED), make_record(ANNOTATED))], thresholds=(0.5,), max_threshold=0.5)
    assert set(scores.values) == {'PCK@0.5', 'PCK@0.5/ends', 'PCK@0.5/tip', 'AUC@0.5'}


@pytest.mark.parametrize('missing', [
    make_poses([(0, 0), (10, 0), (np.nan, 8)]),
    make_poses([(0, 0), (10, 0), (np.inf, 8)]),
])  # fmt: skip
def test_a_keypoint_without_a_finite_prediction_counts_as_wrong(missing):
    assert evaluate([(missing, make_record(ANNOTATED))]).values['PCK@0.2'] == 66.67


def test_an_instance_without_a_prediction_counts_as_wrong_in_all_keypoints():
    no_instances = Poses(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0))
    assert evaluate([(no_instances, make_record(ANNOTATED))]).values['PCK@0.2'] == 0.0


def test_a_keypoint_that_is_never_labeled_is_not_part_of_the_mean():
    scores = evaluate([(make_poses(ANNOTATED), make_record(ANNOTATED, visible=[2, 2, 0]))]).values
    assert scores['PCK@0.2'] == 100.0
    assert np.isnan(scores['PCK@0.2/tip'])


def test_without_instances_there_are_no_values():
    assert evaluate([]).values == {}


def test_a_skeleton_without_a_torso_is_an_error():
    with pytest.raises(ConfigError, match=r"'bare' names no torso, which PCK divides by; set its torso=\(a, b\)"):
        PCK(Skeleton('bare', ('a', 'b')))


def test_other_sizes_and_all_instances_of_an_image_can_be_measured():
    """An error of 9 px is 0.9 of the torso and 0.15 of the longer side of a box of 40 x 60 px."""
    boxes = np.array([[0, 0, 40, 60.0]])
    record, shifted = change_record(make_record(ANNOTATED), boxes=boxes), make_poses(np.add(ANNOTATED, (9, 0)))
    assert evaluate([(shifted, record)]).values['PCK@0.2'] == 0
    by_box = evaluate([(shifted, record)], normalizer='box').values
    assert (by_box['PCK@0.1'], by_box['PCK@0.2']) == (0, 100)
    keypoints, visible = record.instances.keypoints, record.instances.visible
    both = change_record(record, keypoints=np.concatenate([keypoints + 500, keypoints]),
                         visible=np.repeat(visible, 2, axis=0), boxes=np.repeat(boxes, 2, axis=0))  # fmt: skip
    assert evaluate([(shifted, both)], normalizer='box').values['PCK@0.2'] == 0
    assert evaluate([(shifted, both)], normalizer='box', instances='all').values['PCK@0.2'] == 50


def test_an_unknown_size_is_refused_and_a_size_that_the_data_lack_is_noted():
    with pytest.raises(ConfigError, match="PCK: normalizer is one of 'torso', .*; got 'bbox'"):
        PCK(TRIANGLE, normalizer='bbox')
    scores = evaluate([(make_poses(ANNOTATED), make_record(ANNOTATED))], normalizer='head')
    assert scores.values == {}
    assert scores.notes == [
        '1 of 1 instances are excluded: the data set has no head size of them to normalize by (first: made)'
    ]


def test_the_fraction_of_a_keypoint_is_that_of_its_instances():
    metric = PCK(TRIANGLE)
    for shift in (1.0, 3.0):
        points = np.array(ANNOTATED, float) + [[shift, 0], [0, 0], [0, 2.5]]
        metric.update(make_poses(points), make_record(ANNOTATED))
    assert metric.compute_per_keypoint(0.2).tolist() == [0.5, 1, 0]
