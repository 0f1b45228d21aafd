import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.engine import launch
from poseplug.files.images import read_image
from poseplug.predict.predictor import Predictor
from poseplug.testing import create_annotated_record


@pytest.fixture
def trained(tiny_config, tmp_path):
    """Config and checkpoint of a small CPM with random weights."""
    torch.manual_seed(0)
    cfg = tiny_config()
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    return cfg, tmp_path / 'weights.pth'


@pytest.fixture
def predictor(trained):
    return Predictor(*trained, device='cpu')


@pytest.fixture
def files(tiny_data):
    return sorted((tiny_data / 'images').glob('*.jpg'))[:5]


def are_close(a, b):
    same_keypoints = np.allclose(a.keypoints, b.keypoints, atol=1e-3)
    return same_keypoints and np.allclose(a.keypoint_scores, b.keypoint_scores, atol=1e-5)


def test_a_prediction_is_what_the_test_command_measures(trained, predictor):
    measured = launch.test(*trained).predictions
    predictions = predictor([record.path for record, _ in measured])
    assert len(predictions) == 4
    assert all(are_close(poses, expected) for poses, (_, expected) in zip(predictions, measured, strict=True))


def test_a_batch_of_any_size_gives_the_same_instances(predictor, files):
    boxes = [[[10, 10, 60, 80], [30, 20, 50, 60], [5, 5, 90, 90]], None, [], [[20, 20, 40, 40]], None]
    one_batch = predictor(files, boxes, batch_size=32)
    assert [len(p) for p in one_batch] == [3, 1, 0, 1, 1]
    for size in (1, 2, 4):
        assert all(map(are_close, predictor(files, boxes, batch_size=size), one_batch))


def test_a_path_and_its_pixels_give_the_same_poses(predictor, files):
    assert all(map(are_close, predictor(files), predictor([read_image(f) for f in files])))


def test_the_last_of_all_stages_is_the_prediction(predictor, files):
    stages = predictor.predict_stages(files)
    assert [len(s) for s in stages] == [2, 2, 2, 2, 2]  # images, then stages
    assert all(map(are_close, [s[-1] for s in stages], predictor(files)))
    assert not are_close(stages[0][0], stages[0][1])


def test_a_single_image_is_predicted_like_a_list_of_one(predictor, files):
    box = [[10, 12, 60, 80]]
    for image in (files[0], str(files[0]), files[0].read_bytes(), read_image(files[0])):
        assert all(map(are_close, predictor(image), predictor(files[:1])))
        assert all(map(are_close, predictor(image, box), predictor(files[:1], [box])))
    assert [len(poses) for poses in predictor(np.stack([read_image(files[0])] * 2))] == [1, 1]
    (stages,) = predictor.predict_stages(files[0], box)
    assert [len(poses) for poses in stages] == [1, 1]
    assert isinstance(predictor(files[0]), list)
    assert [len(poses) for poses in predictor.stream(files[0])] == [1]


def test_poses_carry_their_boxes_as_corners(predictor, files):
    (poses,) = predictor(files[:1], [[[10, 12, 60, 80], [30, 20, 50, 60]]])
    assert poses.boxes.tolist() == [[10, 12, 70, 92], [30, 20, 80, 80]]
    assert are_close(poses, predictor(files[:1], [[[10, 12, 70, 92], [30, 20, 80, 80]]], box_format='xyxy')[0])


def test_keypoints_move_with_their_box_when_the_image_lies_in_a_larger_one(predictor, files):
    image = read_image(files[0])
    height, width = image.shape[:2]
    large = np.full((height + 60, width + 90, 3), 128, np.uint8)  # the color that the warp fills with
    large[20 : 20 + height, 50 : 50 + width] = image
    box = np.array([[8.0, 9.0, width - 20.0, height - 25.0]])
    (inside,), (shifted,) = predictor([image], [box]), predictor([large], [box + [50, 20, 0, 0]])
    assert np.allclose(shifted.keypoints - [50, 20], inside.keypoints, atol=0.01)


@pytest.mark.parametrize('box', [None, [10, 12, 60, 80]])
def test_heatmaps_decode_to_the_prediction(predictor, files, box):
    stages = predictor.predict_heatmaps(files[0], box)
    heatmaps = torch.from_numpy(stages.heatmaps[-1])[None]
    input_poses = predictor.model.codec.decode({'heatmap': heatmaps}).numpy()
    poses = input_poses.transform(np.linalg.inv(stages.image_to_input))
    (expected,) = predictor(files[:1], None if box is None else [[box]])
    assert np.allclose(poses.keypoints, expected.keypoints, atol=1e-3)
    assert len(stages.heatmaps) == 2
    assert stages.heatmaps[0].shape == (15, 4, 4)
    assert stages.input_image.shape == (32, 32, 3)


def test_wrong_arguments_are_errors_that_say_what_to_give(predictor, files, tmp_path):
    with pytest.raises(AnnotationError, match='one row per instance'):
        predictor(files[0], [[[1, 2, 3, 4]]])
    with pytest.raises(AnnotationError, match='no entry of boxes at position 1'):
        predictor(iter(files), iter([None]))
    with pytest.raises(AnnotationError, match='5 images were given boxes for 1'):
        predictor(files, [None])
    with pytest.raises(ImageError, match='image 0 is an array of float64'):
        predictor([np.zeros((5, 5, 3))])
    with pytest.raises(ImageError, match=r'nix\.jpg'):
        predictor([tmp_path / 'nix.jpg'])
    with pytest.raises(ConfigError, match="'xywh' or 'xyxy'"):
        predictor(files[:1], [[[1, 2, 3, 4]]], box_format='yolo')
    with pytest.raises(ConfigError, match='a config and its checkpoint'):
        Predictor('configs/cpm/cpm_lsp_lite.py')
    with pytest.raises(ConfigError, match='weights alone'):
        Predictor(weights='weights.pth')


def test_a_config_without_a_test_pipeline_is_an_error_that_names_it(trained):
    cfg, weights = trained
    cfg.test_dataloader = dict(dataset=dict(type='PoseDataset'))
    with pytest.raises(ConfigError, match="test_dataloader has no 'pipeline'"):
        Predictor(cfg, weights)


def test_predicting_needs_neither_the_runner_nor_matplotlib():
    code = (
        'import sys, poseplug.predict.predictor\n'
        "print([m for m in sys.modules if m.startswith(('mmengine.runner', 'matplotlib'))])"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '[]'


def test_an_image_is_read_as_it_is_stored(predictor, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert all(map(are_close, predictor([tmp_path / 'a.png']), predictor([image])))


@pytest.mark.parametrize(('setting', 'expected'), [(None, True), (True, True), (False, False)])
def test_on_a_cpu_the_network_is_channels_last_by_default(setting, expected):
    predictor = Predictor(device='cpu', channels_last=setting)
    layers = [m for m in predictor.model.modules() if isinstance(m, torch.nn.Conv2d)]
    weights = next(m.weight for m in layers if m.in_channels > 1 and m.kernel_size > (1, 1))
    assert weights.is_contiguous(memory_format=torch.channels_last) is expected
    image = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    other = Predictor(device='cpu', channels_last=not expected)
    np.testing.assert_allclose(predictor([image])[0].keypoints, other([image])[0].keypoints, atol=0.05)


# --- with a detector --------------------------------------------------------------------------------------------------


class FixedDetector:
    """A detector that finds the same `boxes` and `scores` in every image, and counts the images."""

    def __init__(self, boxes, scores):
        self.boxes, self.scores, self.num_images, self.batch_sizes = boxes, scores, 0, []

    def __call__(self, images):
        self.num_images += len(images)
        self.batch_sizes.append(len(images))
        return [(self.boxes, self.scores) for _ in images]


TWO_BOXES = FixedDetector(np.array([[10.0, 12, 70, 92], [30, 20, 80, 80]]), np.array([0.9, 0.5]))


def test_an_image_without_boxes_has_the_instances_that_the_detector_finds(trained, predictor, files):
    detecting = Predictor(*trained, device='cpu', detector=TWO_BOXES)
    detected, with_box = detecting(files[:2], [None, [[5, 5, 50, 50]]])
    (expected,) = predictor(files[:1], [TWO_BOXES.boxes], box_format='xyxy')
    assert are_close(detected, expected)
    assert detected.boxes.tolist() == TWO_BOXES.boxes.tolist()
    assert not predictor.finds_instances
    (expected,) = predictor(files[1:2], [[[5, 5, 50, 50]]])
    assert are_close(with_box, expected)
    assert np.allclose(with_box.instance_scores, expected.instance_scores)


def test_a_detected_instance_is_scored_as_the_metric_ranks_it(files):
    # The small model gives every one of these people a keypoint above the threshold.
    (poses,) = Predictor('cpm_lsp_lite', device='cpu', detector=TWO_BOXES)(files[:1])
    means = [np.mean([s for s in row if s > 0.2]) for row in poses.keypoint_scores]
    assert np.allclose(poses.instance_scores, TWO_BOXES.scores * means)
    assert min(means) > 0.2
    assert poses.instance_scores.dtype == np.float32


def test_the_last_of_all_stages_of_detected_instances_is_the_prediction(trained, files):
    predictor = Predictor(*trained, device='cpu', detector=TWO_BOXES)
    stages = predictor.predict_stages(files[:2])
    assert [[len(p) for p in image_stages] for image_stages in stages] == [[2, 2], [2, 2]]
    last, last_stages = predictor(files[:2]), [image_stages[-1] for image_stages in stages]
    assert all(map(are_close, last_stages, last))
    assert all(np.array_equal(a.instance_scores, b.instance_scores) for a, b in zip(last_stages, last, strict=True))


def test_detected_instances_of_all_images_go_through_the_network_together(trained, files, monkeypatch):
    predictor, sizes = Predictor(*trained, device='cpu', detector=TWO_BOXES), []
    predict = predictor.model.predict
    monkeypatch.setattr(
        predictor.model, 'predict', lambda batch, **rest: sizes.append(len(batch.images)) or predict(batch, **rest)
    )
    assert predictor.finds_instances
    assert [len(p) for p in predictor(files)] == [2] * 5
    assert sizes == [10]


def test_an_image_without_detections_has_no_instances(trained, files):
    predictor = Predictor(*trained, device='cpu', detector=FixedDetector(np.zeros((0, 4)), np.zeros(0)))
    predictions = predictor(files[:2])
    assert [len(p) for p in predictions] == [0, 0]
    assert predictions[0].keypoints.shape == (0, 14, 2)
    with pytest.raises(AnnotationError, match='finds no instance in the image; give a box'):
        predictor.predict_heatmaps(files[0])


def test_heatmaps_without_a_box_are_those_of_the_highest_scoring_detection(trained, files):
    predictor = Predictor(*trained, device='cpu', detector=TWO_BOXES)
    expected = predictor.predict_heatmaps(files[0], TWO_BOXES.boxes[0], 'xyxy')
    assert np.array_equal(predictor.predict_heatmaps(files[0]).input_image, expected.input_image)


def test_images_are_detected_one_by_one_as_they_come(trained, files):
    detector = FixedDetector(np.array([[10.0, 12, 70, 92]]), np.array([0.9]))
    stream = Predictor(*trained, device='cpu', detector=detector).stream(iter(files), batch_size=1)
    next(stream)
    assert detector.num_images == 1


def test_a_detector_is_called_with_batches_of_the_images_without_boxes(trained, files):
    detector = FixedDetector(np.array([[10.0, 12, 70, 92]]), np.array([0.9]))
    predictor = Predictor(*trained, device='cpu', detector=detector)
    together = predictor([*files, files[0]], [None] * 5 + [[[5, 5, 50, 50]]], batch_size=32)
    assert detector.batch_sizes == [4, 1]  # an image counts as 8 of the 32 instances of a batch
    one_by_one = predictor([*files, files[0]], [None] * 5 + [[[5, 5, 50, 50]]], batch_size=1)
    assert detector.batch_sizes == [4, 1, 1, 1, 1, 1, 1]
    assert all(map(are_close, together, one_by_one))


@pytest.mark.parametrize(
    'result',
    [
        [],
        None,
        [None],
        [()],
        [(np.zeros((2, 4)), np.zeros(1))],
        [(np.zeros((1, 4)), np.zeros((1, 1)))],
        [(np.zeros((1, 4)), [np.nan])],
        [([['a', 1, 2, 3]], [0.5])],
        [np.zeros((3, 5))],
    ],
)
def test_a_malformed_result_of_a_detector_is_an_error_that_names_it(trained, files, result):
    def detect(images):
        return result

    with pytest.raises(ConfigError, match='function did not return boxes'):
        Predictor(*trained, device='cpu', detector=detect)(files[:1])


def test_a_detected_box_outside_the_image_is_an_error_as_well(trained, files):
    detector = FixedDetector(np.array([[5000.0, 5000, 5100, 5100]]), np.ones(1))
    with pytest.raises(AnnotationError, match='outside the image'):
        Predictor(*trained, device='cpu', detector=detector)(files[:1])


def test_the_path_of_a_file_is_no_detector(trained):
    with pytest.raises(ConfigError, match=r'a str cannot; .* OnnxDetector\(FILE\)'):
        Predictor(*trained, device='cpu', detector='nanodet.onnx')


def test_heatmaps_of_a_record_whose_image_has_another_size_than_stated_are_refused(predictor, files):
    width, height = read_image(files[0]).shape[1::-1]
    record = create_annotated_record(files[0], 'a', np.zeros((1, 14, 2)), np.zeros((1, 14)))
    assert predictor.predict_record_heatmaps(replace(record, stated_size=(width, height))).heatmaps
    with pytest.raises(ImageError, match=f'{width + 1} x {height} px are stated, the file has {width} x {height}'):
        predictor.predict_record_heatmaps(replace(record, stated_size=(width + 1, height)))
