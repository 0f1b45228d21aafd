"""OpenPose on MPII: its config, with a network of a few channels, trains on whole pictures and measures everybody."""

import json

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from poseplug.build import build_dataset
from poseplug.config import load_config
from poseplug.engine import launch
from poseplug.poses import Poses
from poseplug.registry import METRICS
from poseplug.sample import Draw

WIDTH, HEIGHT = 160, 120
JOINTS = np.array([  # one person, 100 px high, in the order of MPII's files
    [12, 100], [12, 80], [14, 60], [26, 60], [28, 80], [28, 100], [20, 60], [20, 24],
    [20, 18], [20, 2], [8, 62], [8, 44], [10, 24], [30, 24], [32, 44], [32, 62],
], float)  # fmt: skip


@pytest.fixture(scope='module')
def mpii(tmp_path_factory):
    """Three pictures of two people each, and the heads of the validation half; the last person is unlabelled."""
    folder = tmp_path_factory.mktemp('mpii')
    for name in ('images', 'annot'):
        (folder / name).mkdir()
    people, joints = [], []
    for i in range(3):
        cv2.imwrite(str(folder / f'images/{i}.jpg'), np.full((HEIGHT, WIDTH, 3), 60 * i, np.uint8))
        for n in range(2):
            points = JOINTS + [10 + 70 * n, 10]
            seen = int((i, n) != (2, 1))
            person = dict(image=f'{i}.jpg', center=points.mean(axis=0).tolist(), scale=0.5)
            people.append(person | dict(joints=points.tolist(), joints_vis=[seen] * 16))
            joints.append(points)
    for half in ('train', 'valid'):
        (folder / f'annot/{half}.json').write_text(json.dumps(people))
    heads = np.repeat(np.array([[5.0, 5.0], [11.0, 13.0]])[..., None], len(people), axis=2)
    savemat(folder / 'annot/gt_valid.mat', dict(headboxes_src=heads, pos_gt_src=np.transpose(joints, (1, 2, 0))))
    return folder


@pytest.fixture
def config(root, mpii):
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    data = {'num_workers': 0, 'batch_size': 1, 'dataset.sources.0.root': str(mpii)}
    options = {f'{name}.{key}': value for name in loaders for key, value in data.items()}
    options |= {'model.codec.input_size': (64, 64), 'model.backbone.vgg': (2, 2, 2, 2), 'model.backbone.extra': (4,)}
    options |= {'model.head.stages': 2, 'model.head.first': ((3, 4),), 'model.head.later': ((7, 4),)}
    options |= {'train_cfg.steps': 2, 'train_dataloader.batch_size': 2, 'model.codec.parser': 'complete'}
    return load_config(root / 'configs/openpose/openpose_vgg19_mpii15_368.py', options, training=True)


def poses(keypoints):
    count, joints = keypoints.shape[:2]
    return Poses(keypoints, np.ones((count, joints), np.float32), np.ones(count, np.float32))


def test_a_picture_is_shown_once_for_each_of_its_people_with_a_chest_between_pelvis_and_thorax(config):
    dataset = build_dataset(config, config.train_dataloader['dataset'])
    assert len(dataset) == 5
    record = dataset[Draw(0, 0)].record
    chest = record.keypoints[:, dataset.skeleton.index('chest')]
    assert chest.tolist() == [[29, 51], [99, 51]]  # (20, 42) between (20, 60) and (20, 24), moved, counted from 0


def test_it_trains_two_steps_and_measures_every_picture_once(config, tmp_path):
    runner = launch.train(config, tmp_path)
    assert runner.iter == 2
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    found = launch.test(config, tmp_path)
    assert {'PCKh@0.5', 'PCKh@0.1'} <= set(found.values)
    assert len(found.predictions) == 3


def test_everybody_is_measured_by_their_heads_whatever_their_order_and_without_the_chest(config):
    """In the first picture one of both is not found: 4 of 5 people."""
    dataset = build_dataset(config, config.val_dataloader['dataset'])
    metric = METRICS.build(config.val_evaluator, skeleton=dataset.skeleton)
    for i in range(len(dataset)):
        record = dataset[Draw(0, i)].record
        found = record.keypoints[::-1][: 2 if i else 1].copy()
        found[:, dataset.skeleton.index('chest')] += 50
        metric.add(poses(found), record)
    scores = metric.compute()
    assert scores.values['PCKh@0.5'] == pytest.approx(80)
    assert not any('left out' in note for note in scores.notes)
