"""Metrics over the keypoints of another skeleton."""

import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.evaluation.on_skeleton import OnSkeleton
from poseplug.registry.skeletons import get_skeleton
from poseplug.testing import create_annotated_record

BOTH = get_skeleton('lsp+coco')
COCO = get_skeleton('coco')
OKS = dict(type='OKSAP')


def make_record(skeleton, seed=0):
    points = np.random.default_rng(seed).uniform(10, 90, (1, len(skeleton), 2)).astype(np.float32)
    visible = np.full((1, len(skeleton)), 2)
    return create_annotated_record(
        'a.jpg', 'a.jpg', points, visible, areas=np.array([6400.0]), boxes=np.array([[10.0, 10, 90, 90]])
    )


def test_a_model_of_two_data_sets_is_measured_like_a_model_of_the_target_alone():
    records = [make_record(COCO, seed) for seed in range(3)]
    both, alone = OnSkeleton('coco', OKS, BOTH), OnSkeleton('coco', OKS, COCO)
    for seed, record in enumerate(records):
        predictions = Poses.from_annotations(record.instances.keypoints + seed, record.instances.visible)
        alone.update(predictions, record)
        both.update(predictions.select_keypoints(BOTH.indices_in(COCO)), record.map_to_skeleton(COCO, BOTH))
    assert both.compute().values == alone.compute().values
    assert 0 < both.compute().values['AP'] < 100


def test_keypoints_outside_the_target_skeleton_do_not_count():
    record = make_record(BOTH)
    predictions = Poses.from_annotations(record.instances.keypoints, record.instances.visible)
    other = [BOTH.index(name) for name in BOTH.keypoints if name not in COCO.keypoints]
    predictions.keypoints[:, other] += 500
    metric = OnSkeleton('coco', OKS, BOTH)
    metric.update(predictions, record)
    assert metric.compute().values['AP'] == 100


def test_lower_is_better_where_it_is_for_its_metric():
    assert OnSkeleton('lsp', dict(type='EPE'), BOTH).lower_is_better
    assert not OnSkeleton('lsp', dict(type='PCK'), BOTH).lower_is_better


def test_keypoints_that_the_model_does_not_predict_are_refused():
    with pytest.raises(ConfigError, match="'coco' has the keypoint 'nose', which the skeleton 'lsp' of model and data"):
        OnSkeleton('coco', OKS, get_skeleton('lsp'))
