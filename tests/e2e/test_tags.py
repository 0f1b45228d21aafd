"""The configs of configs/associative_embedding: the networks of the papers, and the commands with a tiny one."""

import json
from pathlib import Path

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from tests.conftest import bottom_up_options

FOLDER = Path(__file__).parents[2] / 'configs/associative_embedding'
CONFIG = FOLDER / 'ae_hourglass4_coco_512.py'
TINY = {'model.head.num_stacks': 2, 'model.head.channels': 8, 'train_cfg.max_steps': 2, 'train_cfg.val_interval': 2}


def build(name):
    cfg = load_config(FOLDER / f'{name}.py', training=True)
    with torch.device('meta'):
        return cfg, build_model(cfg)


@pytest.mark.parametrize(('name', 'num_weights', 'num_stages'), [
    ('ae_hrnet_w32_coco_512', 28_536_113 + 17 * 33, 1),  # a 1x1 of 32 channels, twice as wide as top-down
    ('ae_hourglass4_coco_512', 13_020_612 + 17 * (4 * 257 + 3 * 256), 4),  # of every stack, and back into it
])  # fmt: skip
def test_a_config_builds_a_network_of_the_published_size_that_predicts_on_its_codecs_grid(
    name, num_weights, num_stages
):
    _, net = build(name)
    stages = net.network(torch.zeros(1, 512, 512, 3, device='meta'))
    assert sum(p.numel() for p in net.parameters()) == num_weights
    assert len(stages) == num_stages
    for stage in stages:
        assert {n: tuple(maps.shape[1:]) for n, maps in stage.items()} == net.codec.shapes
        assert net.codec.shapes == {'heatmap': (17, 128, 128), 'tags': (17, 128, 128)}


@pytest.mark.parametrize('name', ['ae_hrnet_w32_coco_512', 'ae_hourglass4_coco_512'])
def test_keypoints_are_grouped_from_head_and_trunk_outwards_with_the_published_loss(name):
    cfg, net = build(name)
    order = [net.skeleton.keypoints[k].split('_')[-1] for k in net.codec.keypoint_order_indices]
    assert order[7:] == ['hip'] * 2 + ['elbow'] * 2 + ['wrist'] * 2 + ['knee'] * 2 + ['ankle'] * 2
    assert cfg.model.loss.tags == dict(type='AssociativeEmbeddingLoss', loss_weight=1e-3)
    assert net.augmentation.flip_test


@pytest.fixture
def options(multi_person_data):
    options = {**bottom_up_options(multi_person_data), **TINY, 'val_dataloader': None}
    return ['--cfg-options', *(f'{k}={v!r}' for k, v in options.items())]


def test_a_model_is_trained_and_evaluated_with_the_flip_test(command, options, tmp_path):
    code, _, err = command('train.py', CONFIG, '--work-dir', tmp_path / 'run', *options)
    assert code == 0, err
    file = tmp_path / 'results.json'
    code, out, err = command('test.py', CONFIG, tmp_path / 'run', '--out', file, *options)
    assert code == 0, err
    assert '3 images in ' in out
    assert json.loads(file.read_text())['num_images'] == 3


def test_the_oracle_predicts_all_instances(command, multi_person_data):
    data = {'test_dataloader.dataset.sources.0.data_root': str(multi_person_data), 'test_dataloader.num_workers': 0}
    codec = {'model.codec.heatmap_codec.type': 'Heatmap', 'model.codec.heatmap_codec.refine': 'taylor'}
    options = [f'{k}={v!r}' for k, v in {**data, **codec}.items()]
    code, out, err = command('analyze', 'oracle', FOLDER / 'ae_hrnet_w32_coco_512.py', '--cfg-options', *options)
    assert code == 0, err
    assert float(out.split(' AP ')[1].split(',')[0]) >= 97
