"""RTMO on unusual images: no instance, a crowd, and every shape; it finds instances by itself."""

import cv2
import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError, ImageError
from poseplug.predict.predictor import Predictor
from tests.conftest import ROOT

TINY = {
    'model.codec.input_size': (64, 64),
    'model.backbone.widen_factor': 0.125,
    'model.neck': dict(
        type='HybridEncoder',
        out_channels=16,
        hidden_dim=16,
        widen_factor=0.5,
        deepen_factor=0.33,
        feedforward_channels=16,
    ),
    'model.head': dict(type='RTMOHead', pose_channels=16, dcc=dict(feat_channels=16, num_bins=(12, 16))),
}


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    """A function from a score threshold to the smallest RTMO, with random weights whose scores are 0.001 to 0.999."""
    torch.manual_seed(0)
    config = ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py'
    model = build_model(load_config(config, TINY))
    for layer in model.network.head.scores['score']:
        torch.nn.init.normal_(layer.weight, std=3.0)
        torch.nn.init.zeros_(layer.bias)
    weights = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save({'state_dict': model.state_dict()}, weights)

    def load(threshold=0.1):
        return Predictor(load_config(config, {**TINY, 'model.codec.score_threshold': threshold}), weights, device='cpu')

    return load


def create_noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def are_finite_and_inside(poses, width: int, height: int) -> bool:
    """Whether all numbers are finite, scores are from 0 to 1, and every box overlaps the image."""
    scores, boxes = (poses.keypoint_scores, poses.instance_scores), poses.boxes
    is_finite = all(np.isfinite(values).all() for values in (poses.keypoints, *scores, boxes))
    in_range = all(((values >= 0) & (values <= 1)).all() for values in scores)
    overlaps = (boxes[:, 2:] > -0.5).all() and (boxes[:, :2] < [width - 0.5, height - 0.5]).all()
    return is_finite and in_range and bool(overlaps)


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (300, 4000), (4000, 30), (40, 32), (32, 200), (2, 900)])
def test_images_of_any_shape_give_finite_instances_whose_boxes_overlap_the_image(predictor, height, width):
    (poses,) = predictor(threshold=0.0)([create_noise(height, width)])
    assert len(poses) > 0
    assert are_finite_and_inside(poses, width, height)


def test_an_image_of_one_row_is_refused_by_name(predictor):
    with pytest.raises(ImageError, match='900x1 px'):
        predictor()([create_noise(1, 900)])


def test_without_a_cell_above_the_threshold_there_is_no_instance(predictor):
    (poses,) = predictor(threshold=0.9999)([create_noise(48, 64)])
    assert poses.keypoints.shape == (0, 17, 2)
    assert poses.boxes.shape == (0, 4)


def test_a_gray_image_equals_one_of_three_equal_channels(predictor, tmp_path):
    """As a file of one channel, and as an array."""
    gray = cv2.cvtColor(create_noise(50, 60), cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(tmp_path / 'gray.png'), gray)
    one, other = predictor()([tmp_path / 'gray.png', cv2.merge([gray] * 3)])
    np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-3)
    assert len(one) > 0


def test_instances_are_found_in_whole_images_without_boxes(predictor):
    one_stage = predictor()
    assert one_stage.model.finds_instances
    with pytest.raises(ConfigError, match='OneStage finds instances in whole images by itself; leave boxes out'):
        one_stage([create_noise(64, 64)], [[[1, 2, 3, 4]]])


def test_a_flip_test_is_refused_by_name():
    options = {**TINY, 'model.flip_test': True}
    with pytest.raises(ConfigError, match="model.flip_test: OneStage has no argument 'flip_test'; it takes: codec"):
        build_model(load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', options))


def test_a_batch_gives_what_its_images_give_alone(predictor):
    one_stage, images = predictor(), [create_noise(64, 64), create_noise(300, 90), create_noise(48, 64)]
    for alone, together in zip([one_stage([image])[0] for image in images], one_stage(images), strict=True):
        np.testing.assert_allclose(alone.keypoints, together.keypoints, atol=0.01)
