"""Which instances are measured against each other, and which are excluded."""

from pathlib import Path

import numpy as np
import pytest

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.distance_collector import DistanceCollector, nanmean, pck_per_keypoint
from poseplug.testing import create_annotated_record

PAIR = Skeleton('pair', ('a', 'b'), torso=('a', 'b'))
ANNOTATED = np.array([[0, 0], [10, 0]], float)


def make_record(*instances, visible=None, name='im1', **fields):
    points = np.array(instances, float).reshape(-1, 2, 2)
    flags = np.full(points.shape[:2], 2) if visible is None else np.array(visible)
    return create_annotated_record(Path(name), name, points, flags, **fields)


def make_poses(*instances):
    points = np.array(instances, float).reshape(-1, 2, 2)
    return Poses(points, np.ones(points.shape[:2]), np.ones(len(points)))


def normalize(*pairs, instances='all', normalizer=1.0):
    collector = DistanceCollector(PAIR, normalizer, instances, 'PCK')
    for predictions, record in pairs:
        collector.update(predictions, record)
    return collector.normalize_distances()


def test_all_instances_of_an_image_are_matched_one_to_one_to_the_nearest_predictions():
    distances, notes = normalize(
        (make_poses(ANNOTATED + 103, ANNOTATED + 1, ANNOTATED + 500), make_record(ANNOTATED, ANNOTATED + 100))
    )
    assert distances == pytest.approx(np.sqrt(2) * np.array([[1, 1], [3, 3]]))
    assert notes == []


def test_an_instance_without_a_match_counts_as_missed():
    distances, _ = normalize(
        (make_poses(ANNOTATED + 99), make_record(ANNOTATED, ANNOTATED + 100)),
        (make_poses(), make_record(ANNOTATED, name='im2')),
    )
    assert distances[:2] == pytest.approx(np.array([[np.inf, np.inf], [np.sqrt(2), np.sqrt(2)]]))
    assert np.isinf(distances[2]).all()


def test_instances_without_labeled_keypoints_take_no_prediction_and_are_counted():
    distances, notes = normalize(
        (make_poses(ANNOTATED + 1), make_record(ANNOTATED + 1, ANNOTATED, visible=[[0, 0], [2, 2]]))
    )
    assert distances == pytest.approx(np.sqrt(2) * np.ones((1, 2)))
    assert notes == ['1 of 2 instances are excluded: none of their keypoints is labeled (first: im1)']


def test_an_image_predicted_crop_by_crop_equals_one_predicted_at_once():
    record = make_record(ANNOTATED, ANNOTATED + 100)
    at_once = normalize((make_poses(ANNOTATED + 1, ANNOTATED + 102), record))[0]
    by_crop = normalize(
        (make_poses(ANNOTATED + 102), record.put_first(1)), (make_poses(ANNOTATED + 1), record.put_first(0))
    )[0]
    assert np.sort(at_once, axis=0) == pytest.approx(np.sort(by_crop, axis=0))


def test_boxes_of_a_detector_are_measured_against_the_annotated_instances():
    ground_truth = make_record(ANNOTATED)
    box = make_record(0 * ANNOTATED, visible=[[0, 0]], box_scores=np.ones(1), ground_truth=ground_truth)
    assert normalize((make_poses(ANNOTATED), box))[0].tolist() == [[0, 0]]
    distances, notes = normalize((make_poses(ANNOTATED), box), instances='subject')
    assert distances.shape == (0, 2)
    assert notes == ['1 of 1 instances are excluded: none of their keypoints is labeled (first: im1)']


def test_the_subject_alone_is_measured_in_its_own_size():
    distances, _ = normalize(
        (make_poses(ANNOTATED + 3), make_record(ANNOTATED, ANNOTATED + 100)), instances='subject', normalizer='torso'
    )
    assert distances == pytest.approx(np.sqrt(2) * 0.3 * np.ones((1, 2)))


def test_a_record_without_instances_adds_nothing():
    assert normalize((make_poses(ANNOTATED), make_record()), instances='subject')[0].shape == (0, 2)
    assert normalize((make_poses(ANNOTATED), make_record()))[0].shape == (0, 2)


def test_instances_of_another_skeleton_and_an_unknown_mode_are_refused():
    three = Poses(np.zeros((1, 3, 2)), np.ones((1, 3)), np.ones(1))
    with pytest.raises(
        MismatchError, match="im1: instances are predicted with 3 keypoints, .* the 2 of skeleton 'pair'"
    ):
        normalize((three, make_record(ANNOTATED)))
    with pytest.raises(ConfigError, match="PCK: instances is one of 'subject', 'all'; got 'everything'"):
        normalize(instances='everything')


def test_fractions_and_means_ignore_what_is_not_labeled():
    distances = np.array([[0.1, np.nan, np.inf], [0.3, np.nan, 0.2]])
    assert pck_per_keypoint(distances, 0.2) == pytest.approx(np.array([0.5, np.nan, 0.5]), nan_ok=True)
    assert nanmean(np.array([1.0, np.nan, 3.0])) == 2
    assert np.isnan(nanmean(np.array([np.nan])))


def test_occluded_keypoints_match_like_visible_ones():
    record = make_record(ANNOTATED, ANNOTATED + 100, visible=[[1, 1], [1, 1]])
    distances, _ = normalize((make_poses(ANNOTATED + 103, ANNOTATED + 1), record))
    assert distances == pytest.approx(np.sqrt(2) * np.array([[1, 1], [3, 3]]))
