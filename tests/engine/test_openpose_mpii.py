"""OpenPose on MPII: its config, with a network of a few channels, trains on whole images and evaluates all people."""

import json

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from poseplug.config.build import build_dataset
from poseplug.config.load import load_config
from poseplug.core.poses import Poses
from poseplug.core.sample import SampleKey
from poseplug.engine import launch
from poseplug.registry import METRICS

WIDTH, HEIGHT = 160, 120
KEYPOINTS = np.array([  # one person, 100 px high, in the order of MPII's files
    [12, 100], [12, 80], [14, 60], [26, 60], [28, 80], [28, 100], [20, 60], [20, 24],
    [20, 18], [20, 2], [8, 62], [8, 44], [10, 24], [30, 24], [32, 44], [32, 62],
], float)  # fmt: skip


@pytest.fixture(scope='module')
def mpii(tmp_path_factory):
    """Three images of two people each, and the head boxes of the validation split; the last person is unlabeled."""
    folder = tmp_path_factory.mktemp('mpii')
    for name in ('images', 'annot'):
        (folder / name).mkdir()
    people, keypoints = [], []
    for i in range(3):
        cv2.imwrite(str(folder / f'images/{i}.jpg'), np.full((HEIGHT, WIDTH, 3), 60 * i, np.uint8))
        for n in range(2):
            points = KEYPOINTS + [10 + 70 * n, 10]
            is_labeled = int((i, n) != (2, 1))
            person = dict(image=f'{i}.jpg', center=points.mean(axis=0).tolist(), scale=0.5)
            people.append(person | dict(joints=points.tolist(), joints_vis=[is_labeled] * 16))
            keypoints.append(points)
    for split in ('train', 'valid'):
        (folder / f'annot/{split}.json').write_text(json.dumps(people))
    head_boxes = np.repeat(np.array([[5.0, 5.0], [11.0, 13.0]])[..., None], len(people), axis=2)
    savemat(
        folder / 'annot/gt_valid.mat', dict(headboxes_src=head_boxes, pos_gt_src=np.transpose(keypoints, (1, 2, 0)))
    )
    return folder


@pytest.fixture
def config(root, mpii):
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    data = {'num_workers': 0, 'batch_size': 1, 'dataset.sources.0.data_root': str(mpii)}
    options = {f'{name}.{key}': value for name in loaders for key, value in data.items()}
    options |= {
        'model.codec.input_size': (64, 64),
        'model.backbone.vgg_channels': (2, 2, 2, 2),
        'model.backbone.extra_channels': (4,),
    }
    options |= {'model.head.num_stages': 2, 'model.head.first_layers': ((3, 4),), 'model.head.later_layers': ((7, 4),)}
    options |= {'train_cfg.max_steps': 2, 'train_dataloader.batch_size': 2, 'model.codec.parser': 'complete'}
    return load_config(root / 'configs/openpose/openpose_vgg19_mpii15_368.py', options, training=True)


def create_poses(keypoints):
    count, num_keypoints = keypoints.shape[:2]
    return Poses(keypoints, np.ones((count, num_keypoints), np.float32), np.ones(count, np.float32))


def test_an_image_is_a_sample_for_each_labeled_person_with_a_chest_between_pelvis_and_thorax(config):
    dataset = build_dataset(config, config.train_dataloader['dataset'])
    assert len(dataset) == 5
    record = dataset[SampleKey(0, 0)].record
    chest = record.instances.keypoints[:, dataset.skeleton.index('chest')]
    assert chest.tolist() == [[29, 51], [99, 51]]  # (20, 42) between (20, 60) and (20, 24), moved, counted from 0


def test_it_trains_two_steps_and_evaluates_every_image_once(config, tmp_path):
    runner = launch.run_training(config, tmp_path)
    assert runner.iter == 2
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    result = launch.test(config, tmp_path)
    assert {'PCKh@0.5', 'PCKh@0.1'} <= set(result.values)
    assert len(result.predictions) == 3


def test_pckh_matches_people_in_any_order_by_their_heads_and_without_the_chest(config):
    """One of two people is not predicted in the first image: 4 of 5 people."""
    dataset = build_dataset(config, config.val_dataloader['dataset'])
    metric = METRICS.build(config.val_evaluator, skeleton=dataset.skeleton)
    for i in range(len(dataset)):
        record = dataset[SampleKey(0, i)].record
        predicted = record.instances.keypoints[::-1][: 2 if i else 1].copy()
        predicted[:, dataset.skeleton.index('chest')] += 50
        metric.update(create_poses(predicted), record)
    scores = metric.compute()
    assert scores.values['PCKh@0.5'] == pytest.approx(80)
    assert not any('excluded' in note for note in scores.notes)
