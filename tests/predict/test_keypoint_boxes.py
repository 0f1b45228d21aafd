"""Boxes around keypoints: a pose model as a detector, and boxes between two runs of a detector in a video."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.predict import pose_detector
from poseplug.predict.keypoint_boxes import BoxFollower, box_keypoints
from poseplug.predict.pose_detector import PoseDetector
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.predictor import Predictor
from poseplug.predict.video import track_frames
from poseplug.registry.skeletons import get_skeleton
from tests.predict.test_one_stage import TINY

SQUARE = np.array([[0.0, 0.0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]])


def create_poses(corners, scores=None, boxes=None, keypoint_scores=1.0, ids=None):
    """Instances of five keypoints, in the corners and the middle of rectangles (x1, y1, x2, y2)."""
    rectangles = np.array(corners, float).reshape(-1, 4)
    keypoints = rectangles[:, None, :2] + SQUARE * (rectangles[:, 2:] - rectangles[:, :2])[:, None]
    instance_scores = np.ones(len(keypoints)) if scores is None else np.array(scores)
    keypoint_scores = np.full(keypoints.shape[:2], keypoint_scores)
    boxes = None if boxes is None else np.array(boxes, float)
    return Poses(keypoints, keypoint_scores, instance_scores, boxes=boxes, ids=None if ids is None else np.array(ids))


def test_a_box_goes_beyond_its_keypoints_by_an_eighth_on_every_side():
    boxes, is_boxed = box_keypoints(create_poses([[10, 20, 50, 100], [0, 0, 8, 8]]))
    assert boxes.tolist() == [[5, 10, 55, 110], [-1, -1, 9, 9]]
    assert is_boxed.tolist() == [True, True]


def test_keypoints_of_a_low_score_do_not_count_and_three_are_needed():
    poses = create_poses([[10, 20, 50, 100]] * 2)
    poses.keypoint_scores[0, 3] = 0.1  # of the lower left corner
    poses.keypoint_scores[1, 2:] = 0.1
    boxes, is_boxed = box_keypoints(poses)
    assert boxes[0].tolist() == [5, 10, 55, 110]
    assert is_boxed.tolist() == [True, False]


# --- a pose model as the detector -------------------------------------------------------------------------------------


@pytest.fixture
def standin(monkeypatch):
    """A function from poses to a PoseDetector whose model finds them in every image."""

    def build(poses, **settings):
        class Model:
            name, model = 'standin', SimpleNamespace(finds_instances=True)

            def __init__(self, *arguments):
                pass

            def __call__(self, images):
                return [poses] * len(images)

        monkeypatch.setattr(pose_detector, 'Predictor', Model)
        return PoseDetector('standin', **settings)

    return build


IMAGE = np.zeros((120, 200, 3), np.uint8)


def test_a_predicted_box_stays_and_one_that_encloses_the_keypoints_gains_a_margin(standin):
    rectangles = [[10, 20, 50, 100], [60, 20, 100, 100]]
    detector = standin(create_poses(rectangles, boxes=[rectangles[0], [58, 15, 104, 108]]))
    ((boxes, scores),) = detector([IMAGE])
    assert boxes.tolist() == [[5, 10, 55, 110], [58, 15, 104, 108]]
    assert scores.tolist() == [1, 1]
    assert standin(create_poses(rectangles))([IMAGE])[0].boxes.tolist() == [[5, 10, 55, 110], [55, 10, 105, 110]]


def test_boxes_are_clipped_ordered_by_score_and_counted(standin, tmp_path):
    detector = standin(
        create_poses([[150, 60, 200, 140], [10, 20, 50, 100], [0, 0, 9, 9], [300, 300, 330, 330]], [0.5, 0.9, 0.3, 0.8])
    )
    cv2.imwrite(str(tmp_path / 'a.png'), IMAGE)
    (first, second) = detector([IMAGE, tmp_path / 'a.png'])
    assert first.boxes.tolist() == second.boxes.tolist() == [[5, 10, 55, 110], [143.75, 50, 200, 120]]
    assert first.scores.tolist() == [0.9, 0.5]
    funnel = detector.funnel
    assert (funnel.images, funnel.candidates, funnel.confident, funnel.small, funnel.boxes) == (2, 8, 6, 2, 4)
    assert 'boxes: 4 in 2 images (0 without)' in detector.describe_funnel()
    assert detector([]) == []


def test_a_model_that_needs_boxes_itself_is_no_detector():
    with pytest.raises(ConfigError, match='cpm_lsp_lite.safetensors is a TopDown, which needs boxes itself'):
        PoseDetector('cpm_lsp_lite', device='cpu')
    with pytest.raises(ConfigError, match='threshold lies between 0 and 1; got 40'):
        PoseDetector('cpm_lsp_lite', threshold=40)


def test_a_one_stage_model_is_the_detector_of_a_top_down_one(root, tmp_path, command):
    torch.manual_seed(0)
    config = root / 'configs/rtmo/rtmo_tiny_synthetic_256.py'
    options = {**TINY, 'model.codec.score_threshold': 0.1}
    model = build_model(load_config(config, options))
    for layer in model.network.head.scores['score']:
        torch.nn.init.normal_(layer.weight, std=3.0)
        torch.nn.init.zeros_(layer.bias)
    weights = tmp_path / 'random.pth'
    torch.save({'state_dict': model.state_dict()}, weights)
    detector = PoseDetector(load_config(config, options), weights, 0.2, 'cpu')
    image = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    ((boxes, _),) = detector([image])
    assert len(boxes) > 1
    (poses,) = Predictor(device='cpu', detector=detector)(image)
    assert len(poses) == len(boxes)
    assert poses.boxes == pytest.approx(boxes, abs=1e-3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--detector', 'x.onnx', '--detector-weights', 'w.pth'), 'but x.onnx is an ONNX file'),
        (('--detector', 'rtmo_s', '--detector-family', 'YOLOX'), 'rtmo_s is no ONNX file .* but a pose model'),
        (('--detector-weights', 'w.pth'), 'no detector; name its file'),
        (('--detector', 'cpm_lsp_lite'), 'which needs boxes itself'),
    ],
)
def test_options_of_the_other_kind_of_detector_are_an_error(command, tmp_path, options, message):
    cv2.imwrite(str(tmp_path / 'a.png'), IMAGE)
    code, _, error = command('predict', tmp_path / 'a.png', *options, '--device', 'cpu', '--out', tmp_path / 'out')
    assert code == 2
    assert re.search(message, error)


# --- boxes between two runs of a detector -----------------------------------------------------------------------------


def test_the_detector_runs_on_one_of_so_many_frames():
    follower = BoxFollower(interval=3)
    turns = []
    for _ in range(7):
        turns.append(follower.next_boxes((200, 120)) is None)
        follower.update(create_poses([[10, 20, 50, 100]], ids=[1]))
    assert turns == [True, False, False, True, False, False, True]


def test_a_box_goes_on_as_its_keypoints_went():
    follower = BoxFollower(interval=4)
    follower.update(create_poses([[10, 20, 50, 100], [100, 20, 140, 100]], ids=[1, 2]))
    assert follower.next_boxes((200, 120)).tolist() == [[5, 10, 55, 110], [95, 10, 145, 110]]
    follower.update(create_poses([[104, 20, 144, 100], [13, 18, 53, 98]], ids=[2, 1]))  # 4 px right; 3 right, 2 up
    assert follower.next_boxes((200, 120)).tolist() == [[103, 10, 153, 110], [11, 6, 61, 106]]


def test_an_instance_without_confident_keypoints_or_outside_is_lost():
    follower = BoxFollower(interval=4)
    follower.update(create_poses([[10, 20, 50, 100]], keypoint_scores=0.1, ids=[1]))
    assert follower.next_boxes((200, 120)).shape == (0, 4)
    follower.update(create_poses([[300, 20, 350, 100]], ids=[1]))
    assert follower.next_boxes((200, 120)).shape == (0, 4)


class PerfectPredictor:
    """A top-down model whose keypoints are right if its box holds them, with a detector that counts its runs."""

    finds_instances, skeleton = True, get_skeleton('coco')

    def __init__(self):
        self.detector, self.num_detections, self.box_sizes = self, 0, []

    def stream(self, images, boxes=None, batch_size=32, box_format='xywh'):
        for n, image in enumerate(images):
            y, x = np.nonzero(image.max(axis=2))
            walker = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], float)
            if boxes is None:
                self.num_detections += 1
                image_boxes = walker[None]
            else:
                image_boxes = np.asarray(boxes[n])
            self.box_sizes += (image_boxes[:, 2:] - image_boxes[:, :2]).tolist()
            holds = (image_boxes[:, :2] <= walker[:2] + 1).all(axis=1) & (image_boxes[:, 2:] >= walker[2:] - 1).all(
                axis=1
            )
            points = walker[:2] + np.linspace(0, 1, 17)[:, None] * (walker[2:] - walker[:2])
            keypoints = np.repeat(points[None], len(image_boxes), axis=0)
            yield Poses(
                keypoints, np.repeat(holds[:, None] * 0.9, 17, axis=1), np.full(len(holds), 0.9), boxes=image_boxes
            )


@pytest.mark.parametrize(('interval', 'runs'), [(1, 24), (5, 5), (24, 1)])
def test_a_walker_keeps_an_id_between_detections_and_the_box_does_not_grow(interval, runs):
    predictor, frames = PerfectPredictor(), []
    for n in range(24):
        image = np.zeros((120, 200, 3), np.uint8)
        image[20:100, 10 + 4 * n : 40 + 4 * n] = 255
        frames.append(SimpleNamespace(image=image, seconds=n / 25, index=n))
    results = list(track_frames(predictor, frames, None, PredictionOptions(detector_interval=interval)))
    assert [frame.index for frame, _ in results] == list(range(24))
    assert predictor.num_detections == runs
    assert [poses.ids.tolist() for _, poses in results] == [[1]] * 24
    left = np.array([poses.keypoints[0, 0, 0] for _, poses in results])
    assert left.tolist() == [10 + 4 * n for n in range(24)]
    assert np.array(predictor.box_sizes).max() <= 1.25 * 80 + 1
