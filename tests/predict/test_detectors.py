"""Detectors run from ONNX files: fed as their family says, boxes back in px of the image, and those of a real file."""

import json
import sys

import cv2
import numpy as np
import pytest

from poseplug.core.boxes import box_iou
from poseplug.core.errors import CheckpointError, ConfigError, ImageError, UnsafeFileError
from poseplug.core.geometry import flip_matrix, transform_points
from poseplug.data.sources.coco import CocoSource
from poseplug.files.images import read_image
from poseplug.predict.detected_boxes import LARGE_AREA_PX2, match_detected_boxes
from poseplug.predict.detector_families.base import grid_cell_centers
from poseplug.predict.detector_families.nanodet import NANODET_BINS, decode_nanodet_boxes
from poseplug.predict.detector_input import RESIZE_MODES, DetectorInput, placement_matrix, warp_detector_input
from poseplug.predict.detectors import OnnxDetector
from poseplug.registry import DETECTOR_FAMILIES
from tests.predict.detector_families import encoders
from tests.predict.detector_families.onnx_files import (
    write_bright_area_file,
    write_channel_mean_file,
    write_constant_file,
    write_sized_file,
)

RUNTIMES = ('onnxruntime', 'opencv')
FEED_BLACK = dict(family='CornerBoxes', fill=0)


def create_logits(*distances):
    """A head's distributions (1, 4 * BINS) whose means are the `distances`, whole or half, in strides."""
    table = np.full((4, NANODET_BINS), -100.0)
    for row, distance in zip(table, distances, strict=True):
        row[[int(np.floor(distance)), int(np.ceil(distance))]] = 0
    return table.reshape(1, -1).astype(np.float32)


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_a_distance_is_the_mean_of_its_distribution_in_strides():
    center, stride = np.array([[100.0, 80.0]]), np.array([[16.0]])
    assert decode_nanodet_boxes(create_logits(1, 2, 3, 7), (center, stride)).tolist() == [[84, 48, 148, 192]]
    assert decode_nanodet_boxes(create_logits(0.5, 2.5, 0, 6.5), (center, stride / 2)).tolist() == [[96, 60, 100, 132]]
    uniform = decode_nanodet_boxes(np.zeros((1, 4 * NANODET_BINS)), (center, stride / 8))  # the mean of 0 to 7 is 3.5
    assert uniform.tolist() == [[93, 73, 107, 87]]


def test_logits_of_any_size_give_finite_boxes():
    logits = np.tile(np.linspace(-1e4, 1e4, NANODET_BINS), 4)[None]
    assert decode_nanodet_boxes(logits, (np.zeros((1, 2)), np.full((1, 1), 8.0))).tolist() == [[-56, -56, 56, 56]]


def test_the_center_of_a_cell_of_stride_8_is_the_middle_of_its_8_pixels():
    centers, strides = grid_cell_centers((24, 16), [8, 16])
    assert centers[:6].tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert centers[6:].tolist() == [[8, 8], [24, 8]]  # a cell that the input cuts off counts
    assert strides.ravel().tolist() == [8] * 6 + [16] * 2
    assert grid_cell_centers((24, 16), [16], center=0.0)[0].tolist() == [[0, 0], [16, 0]]


# --- input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'size', [(640, 480), (480, 640), (416, 416), (30, 20), (4000, 3000), (5000, 40), (1, 1), (3000, 3)]
)
def test_an_image_of_any_shape_fills_the_input_along_one_axis_and_keeps_its_proportions(size):
    image = np.full((size[1], size[0], 3), 255, np.uint8)
    inputs, matrix = warp_detector_input(image, (64, 48), DetectorInput('letterbox', fill=0))
    assert inputs.shape == (48, 64, 3)
    assert matrix[0, 0] == pytest.approx(min(64 / size[0], 48 / size[1]))
    assert matrix[0, 0] == matrix[1, 1]
    assert np.allclose(transform_points(matrix, np.array(size) / 2), [32, 24])


def test_an_image_in_the_corner_begins_there_and_a_stretched_one_fills_the_input():
    corner = placement_matrix((200, 100), (64, 48), 'letterbox_corner')
    assert np.allclose(transform_points(corner, np.array([[0, 0], [200, 100]])), [[0, 0], [64, 32]])
    stretched = placement_matrix((200, 100), (64, 48), 'stretch')
    assert np.allclose(
        transform_points(stretched, np.array([[0, 0], [200, 100], [50, 50]])), [[0, 0], [64, 48], [16, 24]]
    )


def test_what_lies_beside_the_image_is_filled():
    image = np.full((50, 100, 3), 250, np.uint8)
    centered, _ = warp_detector_input(image, (64, 64), DetectorInput('letterbox', fill=114))
    assert (centered[[0, 14, 49, 63]] == 114).all()
    assert (centered[17:47, 1:-1] == 250).all()
    in_corner, _ = warp_detector_input(image, (64, 64), DetectorInput('letterbox_corner', fill=7))
    assert (in_corner[1:31, 1:-1] == 250).all()
    assert (in_corner[33:] == 7).all()
    stretched, _ = warp_detector_input(image, (64, 64), DetectorInput('stretch'))
    assert (stretched[1:-1, 1:-1] == 250).all()


def test_a_large_image_is_averaged_and_not_sampled():
    stripes = np.zeros((800, 1600, 3), np.uint8)
    stripes[:, ::2] = 255  # every other column: sampled, the input would be white or black
    inputs, _ = warp_detector_input(stripes, (100, 50), DetectorInput())
    assert np.abs(inputs[5:-5, 5:-5].astype(int) - 127).max() <= 1


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(resize='crop'), 'resize of a detector is one of letterbox, letterbox_corner, stretch'),
        (dict(channel_order='gbr'), 'channel_order of a detector is one of rgb, bgr'),
        (dict(fill=256), 'fill of a detector is a value from 0 to 255; got 256'),
        (dict(mean=(1, 2)), 'a detector: mean is one number per channel'),
        (dict(std=(1, 0, 1)), 'a detector: std is one number'),
        (dict(std=(1, float('nan'), 1)), 'a detector: std is'),
    ],
)
def test_a_rule_that_is_none_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        DetectorInput(**settings)


@pytest.mark.parametrize(
    ('family', 'blue', 'green', 'red'),
    [
        ('NanoDet', (50 - 103.53) / 57.375, (100 - 116.28) / 57.12, (200 - 123.675) / 58.395),
        ('NanoDetPlus', (50 - 103.53) / 57.375, (100 - 116.28) / 57.12, (200 - 123.675) / 58.395),
        ('RTMDet', (50 - 103.53) / 57.375, (100 - 116.28) / 57.12, (200 - 123.675) / 58.395),
        ('YOLOX', 50, 100, 200),
        ('Ultralytics', 50 / 255, 100 / 255, 200 / 255),
        ('YOLOv5', 50 / 255, 100 / 255, 200 / 255),
        ('RFDETR', (50 / 255 - 0.406) / 0.225, (100 / 255 - 0.456) / 0.224, (200 / 255 - 0.485) / 0.229),
        ('RTDETR', 50 / 255, 100 / 255, 200 / 255),
    ],
)
def test_each_family_scales_the_colors_as_its_authors_do(family, blue, green, red):
    rule = DETECTOR_FAMILIES.build(dict(type=family)).input_rule
    expected = [blue, green, red] if rule.channel_order == 'bgr' else [red, green, blue]
    channels = rule.normalize(np.full((1, 1, 3), (50, 100, 200), np.uint8))
    assert channels.dtype == np.float32
    assert channels.ravel().tolist() == pytest.approx(expected, abs=1e-5)
    assert (rule.channel_order == 'bgr') == (family in ('NanoDet', 'NanoDetPlus', 'RTMDet', 'YOLOX'))


# --- files: what goes in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({}, [140 / 255, 100 / 255, 50 / 255]),  # of the family: red, green, blue from 0 to 1
        (dict(channel_order='bgr', mean=(5, 10, 20), std=(100, 200, 400)), [0.45, 0.45, 0.3]),
    ],
)
def test_the_network_sees_the_channels_that_the_settings_say(tmp_path, runtime, settings, expected):
    file = write_channel_mean_file(tmp_path / 'x.onnx')
    image = np.full((64, 64, 3), (50, 100, 140), np.uint8)
    for index, value in enumerate(expected):
        detector = OnnxDetector(file, 0, family='CornerBoxes', classes=index, runtime=runtime, **settings)
        assert detector([image])[0].scores.tolist() == pytest.approx([value], abs=1e-5)


@pytest.mark.parametrize('element_type', ['float16', 'uint8'])
def test_inputs_of_half_precision_and_of_pixels_are_fed_as_the_file_says(tmp_path, element_type):
    file = write_channel_mean_file(tmp_path / 'x.onnx', element_type=element_type)
    detector = OnnxDetector(file, 0, family='CornerBoxes', classes=0)
    image = np.full((64, 64, 3), (0, 0, 1), np.uint8)
    assert detector([image])[0].scores.tolist() == pytest.approx([1 if element_type == 'uint8' else 1 / 255], rel=1e-3)


def test_a_network_that_takes_pixels_takes_no_mean(tmp_path):
    file = write_channel_mean_file(tmp_path / 'x.onnx', element_type='uint8')
    with pytest.raises(ConfigError, match='normalizes them itself; leave mean and std out'):
        OnnxDetector(file, family='CornerBoxes', mean=(1, 2, 3))


def test_half_precision_without_onnx_runtime_is_an_error_that_names_the_package(tmp_path):
    file = write_channel_mean_file(tmp_path / 'x.onnx', element_type='float16')
    with pytest.raises(
        CheckpointError, match=r"half precision, which OpenCV does not run; pip install 'poseplug\[onnx"
    ):
        OnnxDetector(file, family='CornerBoxes', runtime='opencv')


# --- files: what comes out --------------------------------------------------------------------------------------------


def draw_box(size, box):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.fixture
def bright(tmp_path):
    """A function from settings to a detector that finds the bright area of an image, in an input of 64 x 64 px."""
    file = write_bright_area_file(tmp_path / 'bright.onnx')
    return lambda **settings: OnnxDetector(file, **{**FEED_BLACK, **settings})


@pytest.mark.parametrize('resize', RESIZE_MODES)
@pytest.mark.parametrize('size', [(64, 64), (128, 128), (256, 128), (64, 256), (32, 32), (16, 64)])
def test_boxes_are_in_pixels_of_the_image_to_the_corner(bright, size, resize):
    """Sizes whose scale is a power of 2, and a box of whole pixels of the input: exact, whatever the placement."""
    unit = max(1, max(size) // 64, *(64 // length for length in size)) * 2
    box = [size[0] // 4 // unit * unit, size[1] // 4 // unit * unit, size[0] // 2, size[1] * 3 // 4]
    (detections,) = bright(resize=resize)([draw_box(size, box)])
    tolerance = 0.51 * max(size[0] / 64, size[1] / 64)  # a blurred edge moves by half a pixel of the input
    assert np.abs(detections.boxes[0] - box).max() <= tolerance
    if max(size) >= 64 and resize != 'stretch':
        assert detections.boxes[0].tolist() == box


@pytest.mark.parametrize('size', [(90, 160), (640, 64), (333, 251)])
def test_boxes_of_images_of_any_size_lie_within_a_pixel_of_the_input(bright, size):
    box = np.array([size[0] // 4, size[1] // 4, size[0] // 2, size[1] * 3 // 4])
    (detections,) = bright()([draw_box(size, box)])
    assert np.abs(detections.boxes[0] - box).max() <= 1.01 * max(size) / 64


BOXES = np.array([[34.0, 36.0, 50.0, 60.0], [44.0, 40.0, 62.0, 62.0]])  # px of an input of 128 x 128
SCORES = np.array([[0.9, 0.0, 0.0], [0.75, 0.0, 0.0]])
SIZE = (128, 128)
ULTRALYTICS = {'author': 'Ultralytics', 'task': 'detect', 'names': "{0: 'person', 1: 'dog', 2: 'cat'}"}


def encode_coco(class_scores, num_classes):
    return np.concatenate([class_scores, np.zeros((len(class_scores), num_classes - class_scores.shape[1]))], axis=1)


def encode_rfdetr(boxes, scores):
    """People are class 1 of 91."""
    shifted = np.concatenate([np.zeros((len(scores), 1)), scores, np.zeros((len(scores), 87))], axis=1)
    return dict(zip(('dets', 'labels'), encoders.encode_queries(boxes, shifted, SIZE), strict=True))


def encode_rtdetr(boxes, scores):
    relative, logits = encoders.encode_queries(boxes, encode_coco(scores, 80), SIZE)
    return {'pred_logits': logits, 'pred_boxes': relative}


CELLS = encoders.count_cells(SIZE, 8, 16, 32)
FILES = {  # name -> family, outputs, settings of the file
    'NanoDet': (
        'NanoDet',
        lambda boxes, scores: encoders.split_nanodet_table(
            encoders.encode_nanodet_table(boxes, encode_coco(scores, 80), SIZE, (8, 16, 32), 0.5), SIZE, (8, 16, 32)
        ),
        {},
    ),
    'NanoDet-Plus': (
        'NanoDetPlus',
        lambda b, s: {'output': encoders.encode_nanodet_table(b, encode_coco(s, 80), SIZE, (8, 16, 32, 64), 0)},
        {},
    ),
    'YOLOX': ('YOLOX', lambda b, s: {'output': encoders.encode_yolox(b, encode_coco(s, 80), SIZE, False)}, {}),
    'YOLOX decoded': ('YOLOX', lambda b, s: {'output': encoders.encode_yolox(b, encode_coco(s, 80), SIZE, True)}, {}),
    'YOLOX by MMDeploy': ('YOLOX', encoders.encode_labeled, dict(first='Slice')),
    'RTMDet': ('RTMDet', encoders.encode_labeled, {}),
    'YOLOv8': ('Ultralytics', lambda b, s: {'output0': encoders.encode_columns(b, encode_coco(s, 80), CELLS)}, {}),
    'YOLO26': ('Ultralytics', lambda b, s: {'output0': encoders.encode_rows(b, s, 300)}, {}),
    'YOLO11 of three classes': (
        'Ultralytics',
        lambda b, s: {'output0': encoders.encode_columns(b, s, CELLS)},
        dict(metadata=ULTRALYTICS),
    ),
    'RF-DETR': ('RFDETR', encode_rfdetr, {}),
    'D-FINE without its last step': ('RTDETR', encode_rtdetr, {}),
}


@pytest.mark.parametrize('runtime', RUNTIMES)
@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('image_size', [(256, 128), (100, 200)])
def test_a_file_of_each_family_is_recognized_and_its_boxes_are_those_of_the_image(tmp_path, name, runtime, image_size):
    family, encode, settings = FILES[name]
    file = write_constant_file(tmp_path / 'x.onnx', encode(BOXES, SCORES), SIZE, **settings)
    detector = OnnxDetector(file, runtime=runtime)
    assert detector.family_name == family
    ((boxes, scores),) = detector([np.zeros((*image_size[::-1], 3), np.uint8)])
    assert scores.tolist() == pytest.approx([0.9, 0.75], abs=1e-3)
    assert boxes == pytest.approx(map_to_image(BOXES, family, image_size), abs=0.01)


def map_to_image(boxes, family, image_size):
    """By the formula of the families' authors: (x - padding) / gain, or x / scale by axis; then clipped."""
    if family in ('RFDETR', 'RTDETR', 'NanoDetPlus'):
        gains, padding = np.array(SIZE) / image_size, np.zeros(2)
    else:
        gains = np.full(2, min(np.array(SIZE) / image_size))
        padding = np.zeros(2) if family in ('YOLOX', 'RTMDet') else (SIZE - gains * image_size) / 2
    mapped = ((boxes.reshape(-1, 2, 2) - padding) / gains).reshape(-1, 4)
    return np.clip(mapped, 0, np.tile(image_size, 2))


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_a_file_that_takes_the_size_of_the_image_is_told_that_of_its_input(tmp_path, runtime):
    detector = OnnxDetector(write_sized_file(tmp_path / 'x.onnx', (16, 8, 48, 32)), runtime=runtime)
    assert detector.family_name == 'RTDETR'
    (detections,) = detector([np.zeros((128, 256, 3), np.uint8)])
    assert detections.boxes == pytest.approx(np.array([[64, 16, 192, 64]]), abs=1e-4)  # stretched: 4 and 2 px


def test_a_small_file_and_a_real_one_give_the_same_boxes_by_both_runtimes(tmp_path, real_data):
    file = real_data / 'models/nanodet_m.onnx'
    if not file.is_file():
        pytest.skip(f'no detector {file}; name its folder by POSEPLUG_DATA')
    images = sorted((real_data / 'coco/val2017').glob('*.jpg'))[:4] or [np.full((300, 200, 3), 90, np.uint8)]
    by_onnxruntime, by_opencv = (OnnxDetector(file, 0.2, runtime=runtime)(images) for runtime in RUNTIMES)
    assert sum(len(detections.boxes) for detections in by_opencv)
    for one, other in zip(by_onnxruntime, by_opencv, strict=True):
        assert one.boxes == pytest.approx(other.boxes, abs=0.01)
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_without_onnx_runtime_opencv_runs_the_file_and_the_description_says_so(tmp_path, monkeypatch):
    file = write_bright_area_file(tmp_path / 'bright.onnx')
    assert OnnxDetector(file, **FEED_BLACK).network.runtime == 'onnxruntime'
    assert 'run by ONNX Runtime' in OnnxDetector(file, **FEED_BLACK).description
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    detector = OnnxDetector(file, **FEED_BLACK)
    assert detector.network.runtime == 'opencv'
    assert "run by OpenCV (faster: pip install 'poseplug[onnx]')" in detector.description
    assert detector([draw_box((64, 64), (8, 8, 20, 40))])[0].boxes.tolist() == [[8, 8, 20, 40]]
    with pytest.raises(ConfigError, match=r"needs the package onnxruntime, .* pip install 'poseplug\[onnx\]'"):
        OnnxDetector(file, runtime='onnxruntime', **FEED_BLACK)


def test_boxes_belong_to_their_image_and_an_empty_image_has_none(bright):
    images = [draw_box((64, 64), (8, 8, 20, 40)), np.zeros((40, 50, 3), np.uint8), draw_box((64, 64), (30, 10, 60, 50))]
    detector = bright()
    first, empty, last = detector(images)
    assert empty.boxes.shape == (0, 4)
    assert empty.scores.shape == (0,)
    assert first.boxes.tolist() == [[8, 8, 20, 40]]
    assert last.boxes.tolist() == [[30, 10, 60, 50]]
    assert detector([]) == []


def write_boxes(path, boxes, scores):
    outputs = {'boxes': np.array(boxes, float), 'scores': np.array(scores, float)}
    return write_constant_file(path, outputs)


def test_of_overlapping_boxes_the_highest_scoring_stays_and_comes_first(tmp_path):
    shifted = [[10 + d, 10 + d, 30 + d, 30 + d] for d in (0, 1, 40, 42)]  # of 20 px: a shift of 1 px is an IoU of 0.83
    file = write_boxes(tmp_path / 'x.onnx', shifted, [[0.5], [0.9], [0.45], [0.3]])
    image = np.zeros((128, 128, 3), np.uint8)
    (detections,) = OnnxDetector(file, family='CornerBoxes')([image])
    assert detections.scores.tolist() == pytest.approx([0.9, 0.45])
    assert detections.boxes[:, 0].tolist() == [11, 50]
    loose = OnnxDetector(file, 0.48, 0.9, family='CornerBoxes')
    assert loose([image])[0].scores.tolist() == pytest.approx([0.9, 0.5])


def test_overlapping_boxes_of_a_file_that_suppresses_them_itself_stay_unless_a_threshold_is_set(tmp_path):
    rows = np.array([[10, 10, 30, 30, 0.5, 0], [11, 11, 31, 31, 0.9, 0]])
    file = write_constant_file(tmp_path / 'x.onnx', {'output0': rows})
    image = np.zeros((128, 128, 3), np.uint8)
    assert OnnxDetector(file)([image])[0].scores.tolist() == pytest.approx([0.9, 0.5])
    assert OnnxDetector(file, nms_threshold=0.6)([image])[0].scores.tolist() == pytest.approx([0.9])


def test_boxes_are_clipped_to_the_image_and_slivers_are_dropped_and_counted(tmp_path):
    file = write_boxes(tmp_path / 'x.onnx', [[40, 40, 140, 150], [127.3, 20, 160, 60]], [[0.9], [0.8]])
    detector = OnnxDetector(file, family='CornerBoxes')
    (detections,) = detector([np.zeros((128, 128, 3), np.uint8)])
    assert detections.boxes.tolist() == [[40, 40, 128, 128]]  # 0.7 px of the second lie in the image
    assert detector.funnel.small == 1


# --- classes and the funnel -------------------------------------------------------------------------------------------


@pytest.fixture
def three_classes(tmp_path):
    rows = [[8, 8, 40, 72, 0.9, 0], [16, 24, 64, 96, 0.8, 1], [60, 10, 90, 90, 0.7, 2], [1, 1, 9, 9, 0.2, 1]]
    file = write_constant_file(tmp_path / 'x.onnx', {'output0': np.array(rows)}, metadata=ULTRALYTICS)
    return lambda **settings: OnnxDetector(file, **settings)


@pytest.mark.parametrize(
    ('classes', 'scores', 'words'),
    [
        (None, [0.9], 'detects person'),
        ('dog', [0.8], 'detects dog'),
        (2, [0.7], 'detects cat'),
        (['Cat', 0], [0.9, 0.7], 'detects cat, person'),
        (['1', '2'], [0.8, 0.7], 'detects dog, cat'),
    ],
)
def test_the_classes_that_are_named_are_detected(three_classes, classes, scores, words):
    detector = three_classes(classes=classes)
    assert words in detector.description
    assert detector([np.zeros((128, 128, 3), np.uint8)])[0].scores.tolist() == pytest.approx(scores)


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        ('dgo', "has no class 'dgo'; closest: 'dog'; it has person, dog, cat"),
        (3, 'it has 3 classes, 0 to 2; got the class 3'),
        (-1, 'got the class -1'),
        ([], 'at least one class'),
    ],
)
def test_an_unknown_class_is_an_error_that_lists_the_classes(three_classes, classes, message):
    with pytest.raises(ConfigError, match=message):
        three_classes(classes=classes)


def test_a_file_without_names_takes_no_names_and_counts_its_classes(tmp_path):
    file = write_boxes(tmp_path / 'x.onnx', [[8, 8, 40, 72]], [[0.9, 0, 0]])
    with pytest.raises(ConfigError, match='no names in its metadata: give indices'):
        OnnxDetector(file, family='CornerBoxes', classes='person')
    with pytest.raises(ConfigError, match='3 classes, 0 to 2; got the class 3'):
        OnnxDetector(file, family='CornerBoxes', classes=3)


def test_a_file_whose_classes_are_no_people_asks_for_a_class_unless_it_has_one(tmp_path):
    columns = {'output0': encoders.encode_columns(BOXES, SCORES[:, :2], CELLS)}
    animals = {**ULTRALYTICS, 'names': "{0: 'cow', 1: 'horse'}"}
    file = write_constant_file(tmp_path / 'animals.onnx', columns, metadata=animals)
    with pytest.raises(ConfigError, match=r'none of its classes is named person \(cow, horse\)'):
        OnnxDetector(file)
    assert len(OnnxDetector(file, classes='cow')([np.zeros((128, 128, 3), np.uint8)])[0].boxes) == 2
    columns = {'output0': encoders.encode_columns(BOXES, SCORES[:, :1], CELLS)}
    file = write_constant_file(tmp_path / 'heads.onnx', columns, metadata={**ULTRALYTICS, 'names': "{0: 'head'}"})
    assert 'detects head' in OnnxDetector(file).description


def test_the_funnel_says_what_became_of_every_candidate(tmp_path):
    boxes = [[8, 8, 40, 72], [9, 8, 41, 72], [16, 24, 64, 96], [127.5, 1, 140, 9], [60, 10, 90, 90]]
    scores = [[0.9, 0], [0.8, 0], [0.3, 0.7], [0.9, 0.9], [0.1, 0.1]]
    detector = OnnxDetector(write_boxes(tmp_path / 'x.onnx', boxes, scores), family='CornerBoxes')
    images = [np.zeros((128, 128, 3), np.uint8)] * 2
    detector(images)
    funnel = detector.funnel
    assert (funnel.images, funnel.empty_images, funnel.candidates, funnel.boxes) == (2, 0, 10, 2)
    assert (funnel.confident, funnel.other_classes, funnel.small, funnel.overlapping) == (6, 2, 2, 2)
    assert detector.describe_funnel() == (
        'boxes: 2 in 2 images (0 without). Candidates: 10; scoring at least 0.4 as person (class 0): 6 (highest: '
        '0.90); as another class: 2; larger than a pixel: 4; not overlapping a better one: 2'
    )


def test_an_empty_image_is_counted_with_its_highest_score(tmp_path):
    detector = OnnxDetector(write_boxes(tmp_path / 'x.onnx', [[8, 8, 40, 72]], [[0.31, 0.9]]), family='CornerBoxes')
    ((boxes, _),) = detector([np.zeros((128, 128, 3), np.uint8)])
    assert len(boxes) == 0
    assert 'boxes: 0 in 1 images (1 without)' in detector.describe_funnel()
    assert 'at least 0.4 as person (class 0): 0 (highest: 0.31); as another class: 1' in detector.describe_funnel()


# --- files that are refused -------------------------------------------------------------------------------------------


def test_a_file_that_is_no_detector_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match=r'nix\.onnx: No such file .*; name the ONNX file'):
        OnnxDetector(tmp_path / 'nix.onnx')
    (tmp_path / 'page.onnx').write_text('<html>')
    with pytest.raises(CheckpointError, match=r'page\.onnx is no ONNX file .*; download or export it again'):
        OnnxDetector(tmp_path / 'page.onnx')
    whole = write_bright_area_file(tmp_path / 'whole.onnx').read_bytes()
    (tmp_path / 'cut.onnx').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r'cut\.onnx is no ONNX file'):
        OnnxDetector(tmp_path / 'cut.onnx')
    with pytest.raises(UnsafeFileError, match='sha256'):
        OnnxDetector('https://example.org/detector.onnx')


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_a_file_with_operators_that_nobody_runs_is_an_error_that_names_it(tmp_path, runtime):
    from onnx import TensorProto, helper

    from tests.predict.detector_families.onnx_files import write_file

    node = helper.make_node('Mystery', ['images'], ['boxes'], domain='example')
    file = write_file(tmp_path / 'x.onnx', [node], [('boxes', TensorProto.FLOAT, [1, 1, 5])], [1, 3, 64, 64])
    with pytest.raises(CheckpointError, match=r'x\.onnx is no ONNX file that .* reads'):
        OnnxDetector(file, runtime=runtime)


@pytest.mark.parametrize(
    ('shape', 'settings'),
    [
        ([1, 1, 64, 64], {}),
        ([1, 64, 64, 3], {}),
        ([1, 3, 64], {}),
        ([5], {}),
    ],
)
def test_inputs_that_are_no_image_are_an_error_that_lists_them(tmp_path, shape, settings):
    from onnx import TensorProto, helper

    from tests.predict.detector_families.onnx_files import write_file

    node = helper.make_node('Identity', ['images'], ['boxes'])
    file = write_file(tmp_path / 'x.onnx', [node], [('boxes', TensorProto.FLOAT, shape)], shape, **settings)
    listed = ' x '.join(map(str, shape))
    with pytest.raises(
        CheckpointError, match=rf'has the inputs images \({listed}, float32\), .* 1 x 3 x height x width'
    ):
        OnnxDetector(file)


def test_a_file_of_any_size_takes_what_its_metadata_or_the_caller_say(tmp_path):
    columns = {'output0': encoders.encode_columns(BOXES, SCORES, CELLS)}
    free = write_constant_file(
        tmp_path / 'x.onnx', columns, size=None, batch=0, metadata={**ULTRALYTICS, 'imgsz': '[128, 96]'}
    )
    assert OnnxDetector(free).input_size == (96, 128)
    assert OnnxDetector(free, input_size=(128, 128)).input_size == (128, 128)
    nameless = write_constant_file(
        tmp_path / 'y.onnx', {'output0': encoders.encode_rows(BOXES, SCORES, 300)}, size=None
    )
    assert OnnxDetector(nameless).input_size == (640, 640)
    fixed = write_constant_file(tmp_path / 'z.onnx', columns, metadata=ULTRALYTICS)
    with pytest.raises(ConfigError, match='takes inputs of 128 x 128 px; got an input size of 640 x 640'):
        OnnxDetector(fixed, input_size=(640, 640))
    with pytest.raises(ConfigError, match='above 0'):
        OnnxDetector(free, input_size=(0, 640))


def test_a_file_for_a_fixed_batch_is_run_on_as_many_images_at_once(tmp_path):
    file = write_constant_file(tmp_path / 'x.onnx', encoders.encode_labeled(BOXES, SCORES), batch=4)
    detector = OnnxDetector(file)
    results = detector([np.zeros((128, 128, 3), np.uint8)] * 6)
    assert [detections.boxes == pytest.approx(BOXES) for detections in results] == [True] * 6
    assert detector.funnel.images == 6


def test_outputs_without_the_batch_are_an_error(tmp_path):
    from onnx import TensorProto, helper

    from tests.predict.detector_families.onnx_files import constant, write_file

    nodes = [
        helper.make_node('ReduceMax', ['images'], ['peak'], keepdims=0),
        constant('row', np.ones((7, 7), np.float32)),
        helper.make_node('Mul', ['row', 'peak'], ['rows']),
    ]
    file = write_file(tmp_path / 'x.onnx', nodes, [('rows', TensorProto.FLOAT, [7, 7])], [2, 3, 64, 64])
    with pytest.raises(CheckpointError, match=r'outputs rows \(7 x 7\) do not have the batch of 2'):
        OnnxDetector(file)


def test_outputs_that_a_named_family_does_not_read_are_an_error_with_both(tmp_path):
    file = write_constant_file(tmp_path / 'x.onnx', {'output0': np.zeros((9, 85))})
    with pytest.raises(CheckpointError, match=r'output0 \(9 x 85\), but those of RTMDet are dets \(N, 5\)'):
        OnnxDetector(file, family='rtmdet')
    with pytest.raises(ConfigError, match="'Retina' is not registered"):
        OnnxDetector(file, family='Retina')


def test_boxes_of_another_convention_are_an_error_and_not_an_empty_image(tmp_path):
    image = np.zeros((128, 128, 3), np.uint8)
    relative = {'boxes': encoders.to_cxcywh(BOXES) / 128, 'scores': SCORES}
    file = write_constant_file(tmp_path / 'x.onnx', relative)
    with pytest.raises(CheckpointError, match=r'read as CornerBoxes, .* boxes .*; name the family'):
        OnnxDetector(file, family='CornerBoxes')([image])
    pixels = {'boxes': BOXES, 'scores': SCORES}
    file = write_constant_file(tmp_path / 'y.onnx', pixels)
    with pytest.raises(CheckpointError, match='read as RFDETR, its boxes, .* reach far beyond the input'):
        OnnxDetector(file, family='RFDETR')([image])


def test_an_error_that_shows_at_an_image_names_the_file(bright):
    detector = bright(std=(1.0,) * 3)  # the file compares with 0.5, and no longer tells bright from dark
    detector.family = DETECTOR_FAMILIES.build(dict(type='RTMDet'))
    with pytest.raises(CheckpointError, match=r'bright\.onnx: its outputs are boxes \(1 x 5\)'):
        detector([np.zeros((64, 64, 3), np.uint8)])


@pytest.mark.parametrize('settings', [dict(threshold=40), dict(nms_threshold=-0.1)])
def test_settings_out_of_range_are_an_error(settings):
    with pytest.raises(ConfigError, match='lies between 0 and 1'):
        OnnxDetector('x.onnx', **settings)


def test_an_unknown_runtime_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="one of onnxruntime, opencv; got 'tensorrt'"):
        OnnxDetector(write_bright_area_file(tmp_path / 'x.onnx'), runtime='tensorrt')


def test_an_error_about_an_image_says_which(bright):
    with pytest.raises(ImageError, match='image 1 is an array of float64'):
        bright()([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))])


def test_the_page_of_messages_has_those_of_detectors(root):
    page = (root / 'docs/reference/messages.md').read_text().partition('## Detectors')[2].partition('## Videos')[0]
    messages = [line.split('`')[1] for line in page.splitlines() if line.startswith('| ') and '`' in line]
    package = root / 'poseplug/predict'
    source = ' '.join(''.join(file.read_text() for file in package.rglob('det*.py')).split())
    assert len(messages) >= 12
    for message in messages:
        words = message.split()
        assert any(' '.join(words[i : i + 3]) in source for i in range(len(words) - 2)), message


# --- a real detector --------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def real(real_data):
    """A function from settings to the detector beside the real data."""
    file = real_data / 'models/nanodet_m.onnx'
    if not file.is_file():
        pytest.skip(f'no detector {file}; name its folder by POSEPLUG_DATA')
    return lambda **settings: OnnxDetector(file, **settings)


@pytest.fixture(scope='module')
def coco_records(real_data):
    """The available records of COCO, with boxes (N, 4) and areas (N,) of the people with keypoints."""
    if not (real_data / 'coco/val2017').is_dir():
        pytest.skip(f'no COCO in {real_data}; name the folder above it by POSEPLUG_DATA')
    records, _ = CocoSource(real_data / 'coco', split='val').load()
    return records


def test_four_of_five_large_people_of_coco_are_detected(real, coco_records):
    detector, large_masks, match_masks = real(threshold=0.3), [], []
    for record in coco_records[:50]:
        (detections,) = detector([record.path])
        large_masks.append(record.instances.areas > LARGE_AREA_PX2)
        match_masks.append(match_detected_boxes(record.instances.boxes, detections.boxes))
    large, matches = np.concatenate(large_masks), np.concatenate(match_masks)
    assert large.sum() > 100
    assert matches[large].mean() >= 0.8


def test_a_flipped_image_has_flipped_boxes(real, coco_records):
    for record in coco_records[:5]:
        image = read_image(record.path)
        detector = real(threshold=0.5)
        original, flipped = detector([image, np.ascontiguousarray(image[:, ::-1])])
        corners = transform_points(flip_matrix(image.shape[1] + 1), flipped.boxes.reshape(-1, 2, 2))
        unflipped_boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        assert len(original.boxes)
        confident = original.scores > 0.6
        assert match_detected_boxes(original.boxes[confident], unflipped_boxes).all()
        assert box_iou(original.boxes[:1], unflipped_boxes).max() > 0.9


def test_large_people_in_a_very_wide_image_are_detected_in_place(real, coco_records):
    """An image three times as wide is three times smaller in the input."""
    image = read_image(coco_records[0].path)
    (alone,) = real()([image])
    wide = np.concatenate([image, np.zeros_like(image), image], axis=1)
    (detections,) = real(threshold=0.2)([wide])
    top_box = alone.boxes[:1]
    for shift in (0, 2 * image.shape[1]):
        assert box_iou(top_box + [shift, 0, shift, 0], detections.boxes).max() > 0.7


def test_an_image_of_one_color_has_no_people(real):
    for image in (
        np.zeros((300, 400, 3), np.uint8),
        np.full((50, 700, 3), 128, np.uint8),
    ):
        assert len(real()([image])[0].boxes) == 0


def test_an_image_of_one_pixel_is_refused(real):
    with pytest.raises(ImageError, match='the image has 1x1 px; 2x2 px are required'):
        real()([np.ones((1, 1, 3), np.uint8)])


def test_detections_do_not_depend_on_the_other_images(real, coco_records):
    paths = [r.path for r in coco_records[:3]]
    detector = real()
    for path, together in zip(paths[::-1], detector(paths[::-1]), strict=True):
        (alone,) = detector([path])
        assert np.array_equal(alone.boxes, together.boxes)
        assert (np.diff(together.scores) <= 0).all()


# --- the command ------------------------------------------------------------------------------------------------------


BRIGHT_OPTIONS = ('--detector-family', 'corner-boxes', '--detector-fill', 0)


@pytest.fixture
def predict(command, tmp_path):
    """A function that runs the predict command with a detector of bright areas: (code, output, errors, results)."""
    file = write_bright_area_file(tmp_path / 'bright.onnx')

    def run(*arguments):
        out = tmp_path / 'out'
        code, printed, error = command(
            'predict', *arguments, '--detector', file, *BRIGHT_OPTIONS, '--device', 'cpu', '--out', out
        )
        results = out / 'results.json'
        return code, printed, error, json.loads(results.read_text()) if results.is_file() else None

    return run


def test_the_command_predicts_detected_people_with_their_heatmaps(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    cv2.imwrite(str(tmp_path / 'empty.png'), np.zeros((64, 64, 3), np.uint8))
    code, printed, _, results = predict(tmp_path / 'one.png', tmp_path / 'empty.png', '--heatmaps')
    assert code == 0
    one, empty = results['images']
    assert [instance['box_xyxy'] for instance in one['instances']] == [[20, 8, 40, 56]]
    assert 'detector bright.onnx: CornerBoxes, run by ONNX Runtime, input 64x64 rgb (letterbox)' in printed
    assert 'detector boxes: 1 in 2 images (1 without). Candidates: 2; scoring at least 0.4' in printed
    assert empty['instances'] == []
    files = {file.name for file in (tmp_path / 'out').iterdir()}
    assert files == {'one_pose.jpg', 'one_heatmaps.jpg', 'empty_pose.jpg', 'results.json'}


def test_the_command_drops_boxes_below_the_detector_threshold(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    _, printed, _, results = predict(tmp_path / 'one.png', '--detector-threshold', 0.95)
    assert results['images'][0]['instances'] == []
    assert 'boxes: 0 in 1 images (1 without)' in printed
    assert '0 (highest: 0.90)' in printed


def test_boxes_and_a_detector_at_once_are_an_error(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    code, _, error, _ = predict(tmp_path / 'one.png', '--boxes', '1,2,30,40')
    assert code == 2
    assert 'use one of the two' in error


@pytest.mark.parametrize(
    'option', [('--detector-family', 'YOLOX'), ('--detector-threshold', 0.5), ('--detector-interval', 3)], ids=str
)
def test_options_of_a_detector_without_one_are_an_error(command, tmp_path, option):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    code, _, error = command('predict', tmp_path / 'one.png', *option, '--out', tmp_path / 'out')
    assert code == 2
    assert 'options of a detector, but no detector; name its file by --detector' in error


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (('--detector-mean', '1,2'), "'1,2' is not three numbers"),
        (('--detector-std', 'a,b,c'), "'a' is not a number"),
        (('--detector-size', '640'), "'640' is not a width and a height"),
        (('--detector-class', ','), "',' names no class"),
        (('--detector-std', '0,1,1'), 'a detector: std is one number'),
        (('--detector-size', '32x32'), 'takes inputs of 64 x 64 px; got an input size of 32 x 32'),
    ],
)
def test_an_option_of_a_detector_that_is_malformed_is_an_error(predict, tmp_path, option, message):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    code, _, error, _ = predict(tmp_path / 'one.png', *option)
    assert code == 2
    assert message in error


def test_the_report_of_the_detector_stays_out_of_json(command, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    file = write_bright_area_file(tmp_path / 'bright.onnx')
    arguments = ('--detector', file, *BRIGHT_OPTIONS, '--device', 'cpu', '--out', tmp_path / 'out', '--json')
    code, printed, error = command('predict', tmp_path / 'one.png', *arguments)
    assert code == 0
    assert len(json.loads(printed)['images']) == 1
    assert 'detector boxes: 1 in 1 images' in error


def test_a_person_who_walks_through_a_video_is_tracked_by_detected_boxes(predict, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / 'walk.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 25, (128, 96))
    for n in range(12):
        writer.write(draw_box((128, 96), (10 + 6 * n, 16, 40 + 6 * n, 80)))
    writer.release()
    assert predict(tmp_path / 'walk.avi')[0] == 0
    _, *frames = map(json.loads, (tmp_path / 'out/walk.jsonl').read_text().splitlines())
    assert len(frames) == 12
    assert [[instance['id'] for instance in frame['instances']] for frame in frames] == [[1]] * 12
    left = np.array([frame['instances'][0]['box_xyxy'][0] for frame in frames])
    assert np.abs(left - (10 + 6 * np.arange(12))).max() <= 6  # a block of JPEG, dark gray beside the person
    assert (np.diff(left) > 0).all()
