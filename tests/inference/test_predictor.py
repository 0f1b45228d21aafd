import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.datasets.images import read_image
from poseplug.engine import launch
from poseplug.errors import AnnotationError, ConfigError, ImageError
from poseplug.inference.predictor import Predictor, corners, like_corners

SIZE = (200, 100)


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


def same(a, b):
    return np.allclose(a.keypoints, b.keypoints, atol=1e-3) and np.allclose(a.scores, b.scores, atol=1e-5)


def test_a_prediction_is_what_the_test_command_measures(trained, predictor):
    measured = launch.test(*trained).predictions
    found = predictor([record.path for record, _ in measured])
    assert len(found) == 4
    assert all(same(mine, theirs) for mine, (_, theirs) in zip(found, measured, strict=True))


def test_a_batch_of_any_size_gives_the_same_people(predictor, files):
    boxes = [[[10, 10, 60, 80], [30, 20, 50, 60], [5, 5, 90, 90]], None, [], [[20, 20, 40, 40]], None]
    whole = predictor(files, boxes, batch_size=32)
    assert [len(p) for p in whole] == [3, 1, 0, 1, 1]
    for size in (1, 2, 4):
        assert all(map(same, predictor(files, boxes, batch_size=size), whole))


def test_a_path_and_its_pixels_give_the_same(predictor, files):
    assert all(map(same, predictor(files), predictor([read_image(f) for f in files])))


def test_every_stage_ends_with_the_last(predictor, files):
    stages = predictor(files, every_stage=True)
    assert [len(s) for s in stages] == [5, 5]
    assert all(map(same, stages[-1], predictor(files)))
    assert not same(stages[0][0], stages[1][0])


def test_boxes_stay_with_their_people_as_corners(predictor, files):
    (poses,) = predictor(files[:1], [[[10, 12, 60, 80], [30, 20, 50, 60]]])
    assert poses.boxes.tolist() == [[10, 12, 70, 92], [30, 20, 80, 80]]
    assert same(poses, predictor(files[:1], [[[10, 12, 70, 92], [30, 20, 80, 80]]], box_format='corners')[0])


def test_people_move_with_their_box_when_the_picture_lies_in_a_larger_one(predictor, files):
    image = read_image(files[0])
    height, width = image.shape[:2]
    large = np.full((height + 60, width + 90, 3), 128, np.uint8)  # the colour that the warp fills with
    large[20 : 20 + height, 50 : 50 + width] = image
    box = np.array([[8.0, 9.0, width - 20.0, height - 25.0]])
    (inside,), (moved,) = predictor([image], [box]), predictor([large], [box + [50, 20, 0, 0]])
    assert np.allclose(moved.keypoints - [50, 20], inside.keypoints, atol=0.01)


@pytest.mark.parametrize('box', [None, [10, 12, 60, 80]])
def test_belief_maps_decode_to_the_prediction(predictor, files, box):
    beliefs = predictor.fields(files[0], box)
    maps = torch.from_numpy(beliefs.maps[-1])[None]
    poses = predictor.model.codec.decode({'heatmap': maps}).numpy().moved(np.linalg.inv(beliefs.matrix))
    (found,) = predictor(files[:1], None if box is None else [[box]])
    assert np.allclose(poses.keypoints, found.keypoints, atol=1e-3)
    assert len(beliefs.maps) == 2
    assert beliefs.maps[0].shape == (15, 4, 4)
    assert beliefs.inputs.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ('box', 'told'),
    [
        ([10, 20, 0, 50], 'positive'),
        ([10, 20, -5, 50], 'positive'),
        ([np.nan, 20, 5, 50], 'not finite'),
        ([120, 40, 180, 90], "box_format='corners'"),
        ([300, 20, 50, 50], 'outside the picture'),
        ([-90, 20, 50, 50], 'outside the picture'),
    ],
)
def test_what_cannot_be_a_box_is_an_error_that_says_why(box, told):
    with pytest.raises(AnnotationError, match=rf'a\.jpg: box 1 .*{told}'):
        corners([[1, 2, 3, 4], box], 'xywh', SIZE, 'a.jpg')


@pytest.mark.parametrize('box', [[0, 0, 200, 100], [5, 5, 200, 100], [150, 50, 60, 60], [-20, -20, 240, 140]])
def test_a_box_that_reaches_a_little_out_of_the_picture_is_a_box(box):
    assert corners([box], 'xywh', SIZE, 'a.jpg').tolist() == [[*box[:2], box[0] + box[2], box[1] + box[3]]]


def test_only_numbers_that_fit_as_corners_are_taken_for_corners():
    assert like_corners(np.array([120, 40, 180, 90]), SIZE)
    assert not like_corners(np.array([120, 40, 300, 90]), SIZE)
    assert not like_corners(np.array([120, 40, 60, 50]), SIZE)


def test_a_second_corner_before_the_first_is_an_error():
    with pytest.raises(AnnotationError, match='second corner'):
        corners([[50, 20, 30, 80]], 'corners', SIZE, 'a.jpg')


@pytest.mark.parametrize(
    ('boxes', 'told'), [([1, 2, 3, 4], 'a row a person'), (['a'], 'numbers'), ([[1, 2, 3]], 'row')]
)
def test_boxes_of_another_shape_are_an_error(boxes, told):
    with pytest.raises(AnnotationError, match=told):
        corners(boxes, 'xywh', SIZE, 'a.jpg')


def test_wrong_arguments_are_errors_that_say_what_to_give(predictor, files, tmp_path):
    with pytest.raises(ImageError, match='into a list'):
        predictor(files[0])
    with pytest.raises(AnnotationError, match='5 pictures were given boxes for 1'):
        predictor(files, [None])
    with pytest.raises(ImageError, match='picture 0 is an array of float64'):
        predictor([np.zeros((5, 5, 3))])
    with pytest.raises(ImageError, match=r'nix\.jpg'):
        predictor([tmp_path / 'nix.jpg'])
    with pytest.raises(ConfigError, match="'xywh' or 'corners'"):
        predictor(files[:1], [[[1, 2, 3, 4]]], box_format='yolo')
    with pytest.raises(ConfigError, match='a config and its checkpoint'):
        Predictor('configs/cpm/cpm_lsp_lite.py')


def test_a_config_without_a_test_pipeline_is_an_error_that_names_it(trained):
    cfg, weights = trained
    cfg.test_dataloader = dict(dataset=dict(type='PoseDataset'))
    with pytest.raises(ConfigError, match="test_dataloader has no 'pipeline'"):
        Predictor(cfg, weights)


def test_predicting_needs_neither_the_runner_nor_matplotlib():
    code = (
        'import sys, poseplug.inference.predictor\n'
        "print([m for m in sys.modules if m.startswith(('mmengine.runner', 'matplotlib'))])"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_a_picture_is_read_as_it_is_stored(predictor, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert all(map(same, predictor([tmp_path / 'a.png']), predictor([image])))


@pytest.mark.parametrize(('wanted', 'last'), [(None, True), (True, True), (False, False)])
def test_on_a_cpu_the_network_lies_channels_last_unless_told_otherwise(wanted, last):
    predictor = Predictor(device='cpu', channels_last=wanted)
    layers = [m for m in predictor.model.modules() if isinstance(m, torch.nn.Conv2d)]
    weights = next(m.weight for m in layers if m.in_channels > 1 and m.kernel_size > (1, 1))
    assert weights.is_contiguous(memory_format=torch.channels_last) is last
    image = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    other = Predictor(device='cpu', channels_last=not last)
    np.testing.assert_allclose(predictor([image])[0].keypoints, other([image])[0].keypoints, atol=0.05)


# --- with a detector --------------------------------------------------------------------------------------------------


class Finder:
    """A detector that finds the same `boxes` and `scores` in every picture, and counts the pictures."""

    def __init__(self, boxes, scores):
        self.boxes, self.scores, self.seen = boxes, scores, 0

    def __call__(self, images):
        self.seen += len(images)
        return [(self.boxes, self.scores) for _ in images]


TWO = Finder(np.array([[10.0, 12, 70, 92], [30, 20, 80, 80]]), np.array([0.9, 0.5]))


def test_a_picture_without_boxes_has_the_people_that_the_detector_finds(trained, predictor, files):
    (own, given), (boxed,) = (
        Predictor(*trained, device='cpu', detector=TWO)(files[:2], [None, [[5, 5, 50, 50]]]),
        predictor(files[:1], [TWO.boxes], box_format='corners'),
    )
    assert same(own, boxed)
    assert own.boxes.tolist() == TWO.boxes.tolist()
    assert not predictor.finds_people
    assert same(given, predictor(files[1:2], [[[5, 5, 50, 50]]])[0])
    assert np.allclose(given.person_scores, predictor(files[1:2], [[[5, 5, 50, 50]]])[0].person_scores)


def test_a_found_person_scores_as_the_metric_ranks_them(files):
    (poses,) = Predictor(device='cpu', detector=TWO)(files[:1])
    means = [np.mean([s for s in row if s > 0.2]) for row in poses.scores]
    assert np.allclose(poses.person_scores, TWO.scores * means)
    assert min(means) > 0.2
    assert poses.person_scores.dtype == np.float32


def test_every_stage_of_found_people_ends_with_the_last(trained, files):
    predictor = Predictor(*trained, device='cpu', detector=TWO)
    stages = predictor(files[:2], every_stage=True)
    assert [[len(p) for p in stage] for stage in stages] == [[2, 2], [2, 2]]
    last = predictor(files[:2])
    assert all(map(same, stages[-1], last))
    assert all(np.array_equal(a.person_scores, b.person_scores) for a, b in zip(stages[-1], last, strict=True))


def test_found_people_go_through_the_network_together_whatever_their_picture(trained, files, monkeypatch):
    predictor, sizes = Predictor(*trained, device='cpu', detector=TWO), []
    predict = predictor.model.predict
    monkeypatch.setattr(
        predictor.model, 'predict', lambda batch, **rest: sizes.append(len(batch.images)) or predict(batch, **rest)
    )
    assert predictor.finds_people
    assert [len(p) for p in predictor(files)] == [2] * 5
    assert sizes == [10]


def test_a_picture_where_the_detector_finds_nobody_has_nobody(trained, files):
    predictor = Predictor(*trained, device='cpu', detector=Finder(np.zeros((0, 4)), np.zeros(0)))
    found = predictor(files[:2])
    assert [len(p) for p in found] == [0, 0]
    assert found[0].keypoints.shape == (0, 14, 2)
    with pytest.raises(AnnotationError, match='finds nobody in the picture; give a box'):
        predictor.fields(files[0])


def test_belief_maps_without_a_box_are_those_of_the_surest(trained, files):
    predictor = Predictor(*trained, device='cpu', detector=TWO)
    surest = predictor.fields(files[0], TWO.boxes[0], 'corners')
    assert np.array_equal(predictor.fields(files[0]).inputs, surest.inputs)


def test_a_detector_is_asked_picture_by_picture_as_they_come(trained, files):
    detector = Finder(np.array([[10.0, 12, 70, 92]]), np.array([0.9]))
    stream = Predictor(*trained, device='cpu', detector=detector).stream(iter(files), batch_size=1)
    next(stream)
    assert detector.seen == 1


@pytest.mark.parametrize(
    'answer',
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
def test_what_is_no_answer_of_a_detector_is_an_error_that_names_it(trained, files, answer):
    def faulty(images):
        return answer

    with pytest.raises(ConfigError, match='function did not give boxes'):
        Predictor(*trained, device='cpu', detector=faulty)(files[:1])


def test_a_box_beyond_the_picture_is_an_error_whoever_gives_it(trained, files):
    beyond = Finder(np.array([[5000.0, 5000, 5100, 5100]]), np.ones(1))
    with pytest.raises(AnnotationError, match='outside the picture'):
        Predictor(*trained, device='cpu', detector=beyond)(files[:1])


def test_a_file_is_no_detector_before_it_is_read(trained):
    with pytest.raises(ConfigError, match=r'a str cannot; .* OnnxDetector\(FILE\)'):
        Predictor(*trained, device='cpu', detector='nanodet.onnx')
