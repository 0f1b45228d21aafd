"""Viewpoints, occlusion and the nearest other person, by hand."""

import numpy as np
import pytest

from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.prediction_file import NO_SUBJECT, ImagePredictions, PredictionFile
from poseplug.inspect.error_groups import VIEWPOINTS, classify_viewpoints, group_errors, measure_nearest_distances

TRUNK = Skeleton('trunk', ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip'), sigmas=(0.1,) * 4)
FRONT = np.array([[60.0, 0], [20, 0], [50, 60], [30, 60]])


def image(annotated, predicted, visible=None, name='a.jpg'):
    annotated, predicted = np.asarray(annotated, float), np.asarray(predicted, float)
    visible = np.full(annotated.shape[:2], 2) if visible is None else np.asarray(visible)
    return ImagePredictions(
        image=name,
        annotated=annotated,
        visible=visible,
        areas=np.full(len(annotated), 3600.0),
        predicted=predicted,
        keypoint_scores=np.full(predicted.shape[:2], 0.9),
        scores=np.full(len(predicted), 0.9),
        subjects=np.full(len(predicted), NO_SUBJECT),
    )


def view_of(points, skeleton=TRUNK):
    index = classify_viewpoints(skeleton, points[None], np.full((1, 4), 2))[0]
    return VIEWPOINTS[index] if index >= 0 else None


@pytest.mark.parametrize('degrees', [0, 90, 180, 217])
def test_the_viewpoint_does_not_depend_on_how_the_person_is_turned(degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert view_of(FRONT @ turn.T) == 'front'
    assert view_of(FRONT[[1, 0, 3, 2]] @ turn.T) == 'back'
    narrow = np.array([[42.0, 0], [38, 0], [41, 60], [39, 60]])
    assert view_of(narrow @ turn.T) == 'side'


def test_a_flipped_person_is_seen_from_the_other_side():
    assert view_of(FRONT * [-1, 1]) == 'back'


def test_without_labels_or_with_sides_of_the_observer_there_is_no_viewpoint():
    assert classify_viewpoints(TRUNK, FRONT[None], np.array([[2, 2, 0, 2]])).tolist() == [-1]
    observer = Skeleton('observer', TRUNK.keypoints, sigmas=TRUNK.sigmas, centric='observer')
    assert view_of(FRONT, observer) is None
    assert classify_viewpoints(Skeleton('one', ('nose',)), np.zeros((2, 1, 2)), np.ones((2, 1))).tolist() == [-1, -1]


def test_the_nearest_distance_is_in_diagonals_of_its_box():
    """Boxes of 40 x 60, diagonal 72.11, middles 80 px apart; the third person has no labels."""
    people = [FRONT, FRONT + [80, 0], FRONT]
    visible = [[2] * 4, [2] * 4, [0] * 4]
    distances = measure_nearest_distances(image(people, people[:2], visible))
    np.testing.assert_allclose(distances[:2], 80 / np.hypot(40, 60))
    assert np.isnan(distances[2])
    assert np.isnan(measure_nearest_distances(image([FRONT], [FRONT]))).all()


def test_groups_have_the_keypoints_and_the_percentages_counted_by_hand():
    """Image a: from the front, alone, right but for an occluded shoulder. Image b: two from behind, one all wrong."""
    wrong_shoulder = FRONT.copy()
    wrong_shoulder[0] += 500
    back = FRONT[[1, 0, 3, 2]]
    first = image([FRONT], [wrong_shoulder], [[1, 2, 2, 2]])
    second = image([back, back + [30, 0]], [back, back + [900, 900]], name='b.jpg')
    groups = {group.group: group for group in group_errors(PredictionFile('run', TRUNK, [first, second]))}
    counts = {name: (group.count, round(group.percent.value, 2)) for name, group in groups.items()}
    assert counts == {
        'all': (12, 58.33),
        'seen from the front': (4, 75.0),
        'seen from the back': (8, 50.0),
        'visible': (11, 63.64),
        'occluded': (1, 0.0),
        'alone in the image': (4, 75.0),
        'within 0.5': (8, 50.0),
    }
    assert sum(groups['all'].kinds) == pytest.approx(100)
