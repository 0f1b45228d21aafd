"""The configs of configs/associative_embedding: the networks of the papers, and the commands with a tiny one."""

import json
from pathlib import Path

import pytest
import torch

from poseplug.build import build_model
from poseplug.config import load_config
from tests.conftest import whole_options

FOLDER = Path(__file__).parents[2] / 'configs/associative_embedding'
CONFIG = FOLDER / 'ae_hourglass4_coco_512.py'
TINY = {'model.head.stacks': 2, 'model.head.channels': 8, 'train_cfg.steps': 2, 'train_cfg.val_interval': 2}


def built(name):
    cfg = load_config(FOLDER / f'{name}.py', training=True)
    with torch.device('meta'):
        return cfg, build_model(cfg)


@pytest.mark.parametrize(('name', 'weights', 'stages'), [
    ('ae_hrnet_w32_coco_512', 28_536_113 + 17 * 33, 1),  # a 1x1 of 32 channels, twice as wide as top-down
    ('ae_hourglass4_coco_512', 13_020_612 + 17 * (4 * 257 + 3 * 256), 4),  # of every stack, and back into it
])  # fmt: skip
def test_a_config_has_the_weights_of_its_network_which_predicts_on_its_codecs_grid(name, weights, stages):
    _, net = built(name)
    found = net(torch.zeros(1, 512, 512, 3, device='meta'))
    assert sum(p.numel() for p in net.parameters()) == weights
    assert len(found) == stages
    for stage in found:
        assert {n: tuple(maps.shape[1:]) for n, maps in stage.items()} == net.codec.shapes
        assert net.codec.shapes == {'heatmap': (17, 128, 128), 'tags': (17, 128, 128)}


@pytest.mark.parametrize('name', ['ae_hrnet_w32_coco_512', 'ae_hourglass4_coco_512'])
def test_joints_are_grouped_from_head_and_trunk_outwards_by_the_loss_of_the_paper(name):
    cfg, net = built(name)
    order = [net.skeleton.joints[k].split('_')[-1] for k in net.codec.places]
    assert order[7:] == ['hip'] * 2 + ['elbow'] * 2 + ['wrist'] * 2 + ['knee'] * 2 + ['ankle'] * 2
    assert cfg.model.loss.tags == dict(type='AssociativeEmbedding', factor=1e-3)
    assert net.flip_test


@pytest.fixture
def options(people_data):
    given = {**whole_options(people_data), **TINY, 'val_dataloader': None}
    return ['--cfg-options', *(f'{k}={v!r}' for k, v in given.items())]


def test_a_run_is_trained_and_measured_with_the_mirrored_pictures(command, options, tmp_path):
    code, _, err = command('train.py', CONFIG, '--work-dir', tmp_path / 'run', *options)
    assert code == 0, err
    file = tmp_path / 'results.json'
    code, out, err = command('test.py', CONFIG, tmp_path / 'run', '--out', file, *options)
    assert code == 0, err
    assert '3 pictures in ' in out
    assert json.loads(file.read_text())['pictures'] == 3


def test_the_oracle_finds_everybody(command, people_data):
    given = {'test_dataloader.dataset.sources.0.root': str(people_data), 'test_dataloader.num_workers': 0}
    sharp = {'model.codec.peaks.type': 'Heatmap', 'model.codec.peaks.refine': 'taylor'}
    typed = [f'{k}={v!r}' for k, v in {**given, **sharp}.items()]
    code, out, err = command('analyze.py', 'oracle', FOLDER / 'ae_hrnet_w32_coco_512.py', '--cfg-options', *typed)
    assert code == 0, err
    assert float(out.split(' AP ')[1].split(',')[0]) >= 97
