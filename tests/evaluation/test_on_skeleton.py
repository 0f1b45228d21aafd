"""Metrics over the joints of another skeleton."""

import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.on_skeleton import OnSkeleton
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import get_skeleton

BOTH = get_skeleton('lsp+coco')
COCO = get_skeleton('coco')
OKS = dict(type='OKSAP')


def person(skeleton, seed=0):
    points = np.random.default_rng(seed).uniform(10, 90, (1, len(skeleton), 2)).astype(np.float32)
    visible = np.full((1, len(skeleton)), 2)
    return Record('a.jpg', 'a.jpg', points, visible, areas=np.array([6400.0]), boxes=np.array([[10.0, 10, 90, 90]]))


def test_a_model_of_two_sets_is_measured_as_one_of_the_named_set_would_be():
    records = [person(COCO, seed) for seed in range(3)]
    both, alone = OnSkeleton('coco', OKS, BOTH), OnSkeleton('coco', OKS, COCO)
    for seed, record in enumerate(records):
        found = Poses.of_record(record.keypoints + seed, record.visible)
        alone.add(found, record)
        both.add(found.with_joints(BOTH.mapping(COCO)), record.mapped_to(COCO, BOTH))
    assert both.compute().values == alone.compute().values
    assert 0 < both.compute().values['AP'] < 100


def test_what_the_named_skeleton_lacks_does_not_count():
    record = person(BOTH)
    found = Poses.of_record(record.keypoints, record.visible)
    other = [BOTH.index(j) for j in BOTH.joints if j not in COCO.joints]
    found.keypoints[:, other] += 500
    metric = OnSkeleton('coco', OKS, BOTH)
    metric.add(found, record)
    assert metric.compute().values['AP'] == 100


def test_it_is_better_where_its_metric_is():
    assert OnSkeleton('lsp', dict(type='EPE'), BOTH).lower
    assert not OnSkeleton('lsp', dict(type='PCK'), BOTH).lower


def test_joints_that_the_model_does_not_predict_cannot_be_measured():
    with pytest.raises(ConfigError, match="'coco' has the joint 'nose', which the skeleton 'lsp' of model and data"):
        OnSkeleton('coco', OKS, get_skeleton('lsp'))
