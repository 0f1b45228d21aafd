"""A model that finds instances by itself: whole images of any shape, and no boxes."""

import cv2
import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.engine import launch
from poseplug.files.images import read_image
from poseplug.predict.predictor import Predictor
from poseplug.report.heatmaps import draw_heatmap_strips
from tests.conftest import ROOT, bottom_up_options

WHOLE_IMAGE_PIPELINE = [dict(type='FitImage'), dict(type='Warp')]


@pytest.fixture
def trained(multi_person_data, tmp_path):
    """Config and checkpoint of a small network with random weights that finds instances."""
    torch.manual_seed(0)
    options = {**bottom_up_options(multi_person_data), 'model.codec.parser': 'complete', 'model.flip_test': True}
    cfg = load_config(ROOT / 'configs/openpose/openpose_tiny_synthetic_256.py', options)
    cfg.test_dataloader.dataset.pipeline = WHOLE_IMAGE_PIPELINE
    model = build_model(cfg)
    for conv in model.network.head.predict.values():
        torch.nn.init.normal_(conv.weight, std=0.3)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'weights.pth')
    return cfg, tmp_path / 'weights.pth'


@pytest.fixture
def predictor(trained):
    return Predictor(*trained, device='cpu')


@pytest.fixture
def files(multi_person_data):
    return sorted(multi_person_data.rglob('*.jpg'))


def are_close(a, b):
    return len(a) == len(b) and np.allclose(a.keypoints, b.keypoints, atol=0.01)


def test_a_prediction_is_what_the_test_command_measures(trained, predictor):
    """Of images of several shapes, one at a time."""
    trained[0].test_dataloader.batch_size = 1
    measured = launch.test(*trained)
    predictions = predictor([record.path for record, _ in measured.predictions])
    assert len(predictions) == 3
    assert all(
        are_close(poses, expected) for poses, (_, expected) in zip(predictions, measured.predictions, strict=True)
    )
    assert sum(map(len, predictions)) > 3
    assert 'AP' in measured.values


def test_batches_of_any_size_and_shape_give_the_same_instances(predictor, files):
    images = [read_image(f) for f in files[:3]] + [read_image(files[0])] * 2
    alone = [predictor([image])[0] for image in images]
    for size in (1, 16, 64):
        assert all(map(are_close, predictor(images, batch_size=size), alone))


def test_boxes_are_refused_and_instances_have_those_around_their_keypoints(predictor, files):
    with pytest.raises(ConfigError, match='BottomUp finds instances in whole images by itself'):
        predictor(files[:1], [[[1, 2, 3, 4]]])
    (poses,) = predictor(files[:1])
    visible = poses.visibility > 0
    assert poses.boxes.shape == (len(poses), 4)
    np.testing.assert_allclose(poses.boxes[0, :2], poses.keypoints[0][visible[0]].min(axis=0), atol=1e-3)


@pytest.mark.parametrize('shape', [(40, 32), (900, 60), (33, 33)])
def test_images_of_any_shape_are_predicted(predictor, shape):
    assert len(predictor([np.full((*shape, 3), 90, np.uint8)])) == 1


def test_heatmaps_lie_on_the_grid_of_the_image_beside_the_limb_fields(predictor, files):
    image = cv2.resize(read_image(files[0]), (200, 100))
    stages = predictor.predict_heatmaps(image)
    assert stages.input_image.shape == (64, 128, 3)
    assert stages.grid.size == (32, 16)
    assert stages.heatmaps[0].shape == (19, 16, 32)
    assert stages.limb_fields[0].shape == (38, 16, 32)
    assert draw_heatmap_strips(stages, keypoints=['neck']).ndim == 3


def test_several_scales_are_tested_in_batches_of_images_of_several_shapes(trained, files):
    cfg, weights = trained
    cfg.test_dataloader.dataset.pipeline = [
        *WHOLE_IMAGE_PIPELINE[:1],
        dict(type='MultiScaleImage', scales=(1.0, 0.5, 1.5)),
        *WHOLE_IMAGE_PIPELINE[1:],
    ]
    measured = launch.test(cfg, weights)
    assert len(measured.predictions) == 3
    predictions = Predictor(cfg, weights, device='cpu')([read_image(f) for f in files[-3:]])
    assert all(np.isfinite(p.keypoints).all() for p in predictions)
    assert sum(map(len, predictions)) > 3


def test_a_model_that_finds_instances_by_itself_accepts_no_detector(trained):
    with pytest.raises(ConfigError, match='BottomUp finds instances in whole images by itself; leave the detector out'):
        Predictor(*trained, device='cpu', detector=lambda images: [])
