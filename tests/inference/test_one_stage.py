"""RTMO asked about awkward pictures: nobody, a crowd, and every shape; it finds people by itself."""

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.errors import ConfigError, ImageError
from poseplug.inference.predictor import Predictor
from tests.conftest import ROOT

TINY = {
    'model.codec.input_size': (64, 64),
    'model.backbone.widen': 0.125,
    'model.neck': dict(type='HybridEncoder', out=16, channels=16, widen=0.5, deepen=0.33, feedforward=16),
    'model.head': dict(type='RTMOHead', width=16, dcc=dict(channels=16, bins=(12, 16))),
}


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
    """A function from a threshold to the smallest RTMO, of random weights whose scores lie between 0.001 and 0.999."""
    torch.manual_seed(0)
    config = ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py'
    model = build_model(load_config(config, TINY))
    for layer in model.head.scores['score']:
        torch.nn.init.normal_(layer.weight, std=3.0)
        torch.nn.init.zeros_(layer.bias)
    weights = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save({'state_dict': model.state_dict()}, weights)

    def load(threshold=0.1):
        return Predictor(load_config(config, {**TINY, 'model.codec.threshold': threshold}), weights, device='cpu')

    return load


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def finite_and_seen(poses, width: int, height: int) -> bool:
    """All numbers are finite, scores are chances, and every box has something in common with the picture."""
    numbers = (poses.keypoints, poses.scores, poses.person_scores, poses.boxes)
    boxes = poses.boxes
    return (
        all(np.isfinite(n).all() for n in numbers)
        and all(((n >= 0) & (n <= 1)).all() for n in numbers[1:3])
        and bool((boxes[:, 2:] > -0.5).all() and (boxes[:, :2] < [width - 0.5, height - 0.5]).all())
    )


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (300, 4000), (4000, 30), (40, 32), (32, 200), (2, 900)])
def test_pictures_of_any_shape_give_finite_people_whose_boxes_lie_in_the_picture(predictor, height, width):
    (poses,) = predictor(threshold=0.0)([noise(height, width)])
    assert len(poses) > 0
    assert finite_and_seen(poses, width, height)


def test_a_picture_of_one_row_is_refused_by_name(predictor):
    with pytest.raises(ImageError, match='900x1 px'):
        predictor()([noise(1, 900)])


def test_where_no_cell_is_sure_there_is_nobody(predictor):
    (poses,) = predictor(threshold=0.9999)([noise(48, 64)])
    assert poses.keypoints.shape == (0, 17, 2)
    assert poses.boxes.shape == (0, 4)


def test_a_picture_without_colours_is_one_of_three_like_channels(predictor, tmp_path):
    """As a file of one channel, and as an array."""
    grey = cv2.cvtColor(noise(50, 60), cv2.COLOR_BGR2GRAY)
    cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    one, other = predictor()([tmp_path / 'grey.png', cv2.merge([grey] * 3)])
    np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-3)
    assert len(one) > 0


def test_people_are_found_in_whole_pictures_without_boxes(predictor):
    own = predictor()
    assert own.model.finds_people
    with pytest.raises(ConfigError, match='OneStage finds people in whole pictures by itself; leave boxes out'):
        own([noise(64, 64)], [[[1, 2, 3, 4]]])


def test_a_mirrored_test_is_refused_by_name():
    options = {**TINY, 'model.flip_test': True}
    with pytest.raises(ConfigError, match="model.flip_test: OneStage has no argument 'flip_test'; it takes: assigner"):
        build_model(load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', options))


def test_a_batch_gives_what_its_pictures_give_alone(predictor):
    own, pictures = predictor(), [noise(64, 64), noise(300, 90), noise(48, 64)]
    for alone, together in zip([own([p])[0] for p in pictures], own(pictures), strict=True):
        np.testing.assert_allclose(alone.keypoints, together.keypoints, atol=0.01)
