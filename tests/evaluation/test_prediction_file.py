"""Predictions of a test, grouped by image."""

from pathlib import Path

import numpy as np

from poseplug.core.instances import Instances
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.evaluation.prediction_file import NO_SUBJECT, group_predictions


def create_instances(ids, keypoints) -> Instances:
    keypoints = np.array(keypoints, float).reshape(len(ids), -1, 2)
    return Instances.from_annotations(keypoints, np.full(keypoints.shape[:2], 2), annotation_ids=np.array(ids))


def group_subjects(*crops: Instances) -> list[int]:
    """The subjects of crops of one image, each with a prediction at (0, 0)."""
    pose = Poses(np.zeros((1, 2, 2)), np.ones((1, 2)), np.ones(1))
    ((_, _, image),) = group_predictions([(Record(Path('a.jpg'), 'a', crop), pose) for crop in crops])
    return image.subjects.tolist()


def test_each_crop_is_of_the_instance_that_stands_first_in_its_record():
    one, other = [0, 0, 10, 10], [20, 0, 30, 10]
    assert group_subjects(create_instances([7, 9], [one, other]), create_instances([9, 7], [other, one])) == [0, 1]


def test_an_instance_that_is_annotated_twice_is_two_subjects():
    twice = [[0, 0, 10, 10], [0, 0, 10, 10]]
    assert group_subjects(create_instances([7, 9], twice), create_instances([9, 7], twice)) == [0, 1]


def test_a_subject_that_is_not_annotated_is_none():
    first = create_instances([7], [[0, 0, 10, 10]])
    assert group_subjects(first, create_instances([8], [[20, 0, 30, 10]])) == [0, NO_SUBJECT]
