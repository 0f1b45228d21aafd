"""A model that finds people by itself: whole pictures of any shape, and no boxes."""

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.datasets.images import read_image
from poseplug.engine import launch
from poseplug.errors import ConfigError
from poseplug.inference.predictor import Predictor
from poseplug.visualization.fields import stage_strips
from tests.conftest import ROOT, whole_options

WHOLE = [dict(type='PlaceWhole'), dict(type='Warp')]


@pytest.fixture
def trained(people_data, tmp_path):
    """Config and checkpoint of a small network that sees people in its noise."""
    torch.manual_seed(0)
    options = {**whole_options(people_data), 'model.codec.parser': 'complete', 'model.flip_test': True}
    cfg = load_config(ROOT / 'configs/openpose/openpose_tiny_synthetic_256.py', options)
    cfg.test_dataloader.dataset.pipeline = WHOLE
    model = build_model(cfg)
    for conv in model.head.predict.values():
        torch.nn.init.normal_(conv.weight, std=0.3)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'weights.pth')
    return cfg, tmp_path / 'weights.pth'


@pytest.fixture
def predictor(trained):
    return Predictor(*trained, device='cpu')


@pytest.fixture
def files(people_data):
    return sorted(people_data.rglob('*.jpg'))


def same(a, b):
    return len(a) == len(b) and np.allclose(a.keypoints, b.keypoints, atol=0.01)


def test_a_prediction_is_what_the_test_command_measures(trained, predictor):
    """Of pictures of several shapes, one at a time."""
    trained[0].test_dataloader.batch_size = 1
    measured = launch.test(*trained)
    found = predictor([record.path for record, _ in measured.predictions])
    assert len(found) == 3
    assert all(same(mine, theirs) for mine, (_, theirs) in zip(found, measured.predictions, strict=True))
    assert sum(map(len, found)) > 3
    assert 'AP' in measured.values


def test_batches_of_any_size_give_the_same_people_and_no_picture_waits_for_another_shape(predictor, files):
    pictures = [read_image(f) for f in files[:3]] + [read_image(files[0])] * 2
    alone = [predictor([picture])[0] for picture in pictures]
    for size in (1, 16, 64):
        assert all(map(same, predictor(pictures, batch_size=size), alone))


def test_boxes_are_refused_and_people_have_those_of_their_joints(predictor, files):
    with pytest.raises(ConfigError, match='BottomUp finds people in whole pictures by itself'):
        predictor(files[:1], [[[1, 2, 3, 4]]])
    (poses,) = predictor(files[:1])
    seen = poses.visibility > 0
    assert poses.boxes.shape == (len(poses), 4)
    np.testing.assert_allclose(poses.boxes[0, :2], poses.keypoints[0][seen[0]].min(axis=0), atol=1e-3)


@pytest.mark.parametrize('shape', [(40, 32), (900, 60), (33, 33)])
def test_pictures_of_any_shape_are_taken(predictor, shape):
    assert len(predictor([np.full((*shape, 3), 90, np.uint8)])) == 1


def test_fields_lie_on_the_grid_of_the_picture_and_hold_the_limbs(predictor, files):
    image = cv2.resize(read_image(files[0]), (200, 100))
    beliefs = predictor.fields(image)
    assert beliefs.inputs.shape == (64, 128, 3)
    assert beliefs.grid.size == (32, 16)
    assert beliefs.maps[0].shape == (19, 16, 32)
    assert beliefs.limbs[0].shape == (38, 16, 32)
    assert stage_strips(beliefs, joints=['neck']).ndim == 3


def test_several_scales_are_tested_in_batches_of_pictures_of_several_shapes(trained, files):
    cfg, weights = trained
    cfg.test_dataloader.dataset.pipeline = [*WHOLE[:1], dict(type='WholeScales', scales=(1.0, 0.5, 1.5)), *WHOLE[1:]]
    measured = launch.test(cfg, weights)
    assert len(measured.predictions) == 3
    found = Predictor(cfg, weights, device='cpu')([read_image(f) for f in files[-3:]])
    assert all(np.isfinite(p.keypoints).all() for p in found)
    assert sum(map(len, found)) > 3


def test_a_model_that_finds_people_by_itself_takes_no_detector(trained):
    with pytest.raises(ConfigError, match='BottomUp finds people in whole pictures by itself; leave the detector out'):
        Predictor(*trained, device='cpu', detector=lambda images: [])
