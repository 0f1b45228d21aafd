"""Detectors: boxes worked by hand from a head's outputs, through the letterbox and back, and those of a real file."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from poseplug.core.boxes import box_iou
from poseplug.core.errors import CheckpointError, ConfigError, ImageError, UnsafeFileError
from poseplug.core.geometry import flip_matrix, transform_points
from poseplug.data.sources.coco import CocoSource
from poseplug.files.images import read_image
from poseplug.files.onnx_file import read_input_shapes
from poseplug.predict import detectors
from poseplug.predict.detected_boxes import LARGE_AREA_PX2, match_detected_boxes
from poseplug.predict.detectors import (
    NANODET_BINS,
    OnnxDetector,
    decode_nanodet_boxes,
    grid_cell_centers,
    letterbox_to_input,
    parse_detections,
)


def create_logits(*distances):
    """A head's distributions (1, 4 * BINS) whose means are the `distances`, whole or half, in strides."""
    table = np.full((4, NANODET_BINS), -100.0)
    for row, distance in zip(table, distances, strict=True):
        row[[int(np.floor(distance)), int(np.ceil(distance))]] = 0
    return table.reshape(1, -1).astype(np.float32)


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_a_distance_is_the_mean_of_its_distribution_in_strides():
    centers = np.array([[100.0, 80.0]])
    assert decode_nanodet_boxes(create_logits(1, 2, 3, 7), (centers, 16.0)).tolist() == [[84, 48, 148, 192]]
    assert decode_nanodet_boxes(create_logits(0.5, 2.5, 0, 6.5), (centers, 8.0)).tolist() == [[96, 60, 100, 132]]
    uniform = decode_nanodet_boxes(np.zeros((1, 4 * NANODET_BINS)), (centers, 2.0))  # the mean of 0 to 7 is 3.5
    assert uniform.tolist() == [[93, 73, 107, 87]]


def test_logits_of_any_size_give_finite_boxes():
    logits = np.tile(np.linspace(-1e4, 1e4, NANODET_BINS), 4)[None]
    assert decode_nanodet_boxes(logits, (np.zeros((1, 2)), 8.0)).tolist() == [[-56, -56, 56, 56]]


def test_the_center_of_a_cell_of_stride_8_is_the_middle_of_its_8_pixels():
    centers, stride = grid_cell_centers(6, (24, 16))
    assert stride == 8
    assert centers.tolist() == [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5]]


@pytest.mark.parametrize(('count', 'size'), [(2705, (416, 416)), (42, (100, 90)), (0, (64, 64)), (3, (1, 1))])
def test_cells_that_do_not_tile_the_input_are_an_error(count, size):
    with pytest.raises(
        CheckpointError, match=f'{count} cells of one stride do not tile an input of {size[0]}x{size[1]}'
    ):
        grid_cell_centers(count, size)


def create_outputs(num_cells=16, num_classes=3, person_class=1, cell=5, score=0.9, distances=(1, 1, 1, 1)):
    """One pair of NanoDet's outputs with one cell that scores high."""
    class_scores = np.full((1, num_cells, num_classes), 0.01, np.float32)
    distance_logits = np.zeros((1, num_cells, 4 * NANODET_BINS), np.float32)
    class_scores[0, cell, person_class] = score
    distance_logits[0, cell] = create_logits(*distances)
    return class_scores, distance_logits


def test_outputs_of_several_strides_are_parsed_in_any_order():
    fine, coarse = create_outputs(16, cell=5), create_outputs(4, cell=3, score=0.8, distances=(0, 0, 0.5, 0.5))
    for outputs in ([fine[0], coarse[0], fine[1], coarse[1]], [coarse[1], coarse[0], fine[1], fine[0]]):
        detections = parse_detections(outputs, (32, 32), person_class=1)
        top_2 = np.argsort(-detections.scores)[:2]
        assert np.allclose(detections.scores[top_2], [0.9, 0.8])
        assert np.allclose(detections.boxes[top_2], [[3.5, 3.5, 19.5, 19.5], [23.5, 23.5, 31.5, 31.5]])


ROWS = np.array([[1, 2, 30, 40, 0.9, 0], [5, 6, 9, 12, 0.8, 2], [3, 3, 8, 9, 0.7, 0]], np.float32)


@pytest.mark.parametrize(
    'outputs',
    [
        [ROWS],
        [ROWS[None]],
        [ROWS[None, :, :5], ROWS[None, :, 5].astype(np.int64)],
        [ROWS[:, :5], ROWS[:, 5]],
        [ROWS[None, [0, 2], :4], np.array([[[0.9, 0.1, 0], [0.7, 0, 0]]])],
        [ROWS[[0, 2], :5]],
    ],
)
def test_outputs_that_are_boxes_are_returned_unchanged(outputs):
    detections = parse_detections(outputs, (64, 64))
    assert np.allclose(detections.boxes, ROWS[[0, 2], :4])
    assert np.allclose(detections.scores, [0.9, 0.7])


@pytest.mark.parametrize(
    'outputs', [[ROWS[:0]], [ROWS[None, :0, :5], ROWS[None, :0, 5]], [ROWS[:1] * [[1, 1, 1, 1, 1, 7]] + 7]]
)
def test_outputs_without_people_give_no_boxes(outputs):
    detections = parse_detections(outputs, (64, 64))
    assert detections.boxes.shape == (0, 4)
    assert detections.scores.shape == (0,)


@pytest.mark.parametrize(
    ('shapes', 'message'),
    [
        ([(1, 25200, 85)], 'its outputs are 1 x 25200 x 85; supported are'),
        ([(1, 3, 64, 64)], '1 x 3 x 64 x 64'),
        ([(1, 16, 80), (1, 4, 80), (1, 16, 32)], '1 x 16 x 80, 1 x 4 x 80, 1 x 16 x 32'),
        ([(1, 16, 32), (1, 4, 32)], '1 x 16 x 32, 1 x 4 x 32'),
        ([(7,)], 'its outputs are 7;'),
        ([(9, 4), (8, 80)], '9 x 4, 8 x 80'),
        ([(9, 5), (8,)], '9 x 5, 8;'),
    ],
)
def test_other_outputs_are_an_error_that_lists_them_and_what_is_supported(shapes, message):
    with pytest.raises(CheckpointError, match=message):
        parse_detections([np.zeros(s, np.float32) for s in shapes], (32, 32))


def test_an_unknown_class_is_an_error_that_counts_the_classes():
    with pytest.raises(ConfigError, match='3 classes, 0 to 2; got person_class=3'):
        parse_detections(create_outputs(), (32, 32), person_class=3)


# --- letterbox --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'size', [(640, 480), (480, 640), (416, 416), (30, 20), (4000, 3000), (5000, 40), (1, 1), (3000, 3)]
)
def test_an_image_of_any_shape_fills_the_input_along_one_axis_and_keeps_its_proportions(size):
    inputs, matrix = letterbox_to_input(np.full((size[1], size[0], 3), 255, np.uint8), (64, 48))
    assert inputs.shape == (48, 64, 3)
    assert matrix[0, 0] == pytest.approx(min(64 / size[0], 48 / size[1]))
    assert matrix[0, 0] == matrix[1, 1]
    assert np.allclose(transform_points(matrix, np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])), [31.5, 23.5])


def test_a_large_image_is_averaged_and_not_sampled():
    stripes = np.zeros((800, 1600, 3), np.uint8)
    stripes[:, ::2] = 255  # every other column: sampled, the input would be white or black
    inputs, _ = letterbox_to_input(stripes, (100, 50))
    assert np.abs(inputs[5:-5, 5:-5].astype(int) - 127).max() <= 1


class BrightAreaNetwork:
    """A stand-in for a network: boxes around the bright area of the input, with `scores`, shifted by `shifts`."""

    def __init__(self, scores=(0.9,), shifts=(0,)):
        self.scores, self.shifts, self.inputs = scores, shifts, []

    def getUnconnectedOutLayersNames(self):  # noqa: N802 (OpenCV's name)
        return ('boxes',)

    def setInput(self, blob):  # noqa: N802
        self.inputs.append(blob)

    def forward(self, _):
        y, x = np.nonzero(self.inputs[-1][0].min(axis=0) > 0)
        if not len(x):
            return [np.zeros((1, 0, 5), np.float32)]
        box = np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])
        return [np.array([[*(box + d), s] for d, s in zip(self.shifts, self.scores, strict=True)], np.float32)[None]]


@pytest.fixture
def bright(monkeypatch):
    """A function that builds a detector whose network is a stand-in; returns both."""

    def load(size=(64, 64), net=None, **settings):
        net = net or BrightAreaNetwork()
        monkeypatch.setattr(detectors, '_load_network', lambda file: (net, size))
        return OnnxDetector('x.onnx', **settings), net

    return load


def draw_box(size, box):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.mark.parametrize('size', [(64, 64), (128, 96), (90, 160), (640, 64), (32, 32)])
def test_boxes_are_in_pixels_of_the_image(bright, size):
    box = np.array([size[0] // 4, size[1] // 4, size[0] // 2, size[1] * 3 // 4])
    detector, _ = bright()
    (detections,) = detector([draw_box(size, box)])
    assert np.abs(detections.boxes[0] - (box - 0.5)).max() <= 1.01 * max(size) / 64  # a pixel of the input


def test_channels_are_normalized_in_bgr_order(bright):
    detector, net = bright(mean=(10, 20, 30), std=(1, 2, 4))
    detector([np.full((64, 64, 3), (11, 24, 42), np.uint8)])
    assert np.allclose(net.inputs[-1], np.array([1, 2, 3]).reshape(1, 3, 1, 1))
    assert net.inputs[-1].dtype == np.float32


def test_boxes_belong_to_their_image_and_an_empty_image_has_none(bright):
    detector, _ = bright()
    images = [draw_box((64, 64), (8, 8, 20, 40)), np.zeros((40, 50, 3), np.uint8), draw_box((64, 64), (30, 10, 60, 50))]
    first, empty, last = detector(images)
    assert empty.boxes.shape == (0, 4)
    assert empty.scores.shape == (0,)
    assert first.boxes.tolist() == [[7.5, 7.5, 19.5, 39.5]]
    assert last.boxes.tolist() == [[29.5, 9.5, 59.5, 49.5]]
    assert detector([]) == []


def test_of_overlapping_boxes_the_highest_scoring_stays_and_comes_first(bright):
    net = BrightAreaNetwork(
        scores=(0.5, 0.9, 0.45, 0.3), shifts=(0, 1, 40, 42)
    )  # of 20 px: a shift of 1 px is an IoU of 0.83
    detector, _ = bright((128, 128), net)
    (detections,) = detector([draw_box((128, 128), (10, 10, 30, 30))])
    assert np.allclose(detections.scores, [0.9, 0.45])
    assert np.allclose(detections.boxes[:, 0], [10.5, 49.5])
    detector, _ = bright((128, 128), net, threshold=0.48, nms_threshold=0.9)
    assert np.allclose(detector([draw_box((128, 128), (10, 10, 30, 30))])[0].scores, [0.9, 0.5])


def test_boxes_are_clipped_to_the_image_and_slivers_are_dropped(bright):
    net = BrightAreaNetwork(scores=(0.9, 0.8), shifts=(20, 43.8))
    detector, _ = bright((64, 64), net)
    (detections,) = detector([draw_box((64, 64), (20, 20, 50, 50))])
    assert detections.boxes.tolist() == [[39.5, 39.5, 64, 64]]  # 0.7 px of the second lie in the image


# --- files ------------------------------------------------------------------------------------------------------------


def encode_field(number, content):
    """A field of a Protocol Buffers message: a whole number below 128, or fewer than 128 bytes."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    return bytes([number << 3 | 2, len(content)]) + content


def encode_input(name, *lengths):
    dimensions = [encode_field(1, n) if n else encode_field(2, b'batch') for n in lengths]
    shape = b''.join(encode_field(1, dimension) for dimension in dimensions)
    tensor_type = encode_field(1, 1) + encode_field(2, shape)
    return encode_field(11, encode_field(1, name) + encode_field(2, encode_field(1, tensor_type)))


def test_the_shapes_of_inputs_are_read_from_the_bytes_without_the_weights():
    weight = encode_input(b'w', 5) + encode_field(5, encode_field(8, b'w'))
    graph = encode_input(b'image', 0, 3, 64, 48) + weight + encode_input(b'size', 2)
    other = (
        encode_field(1, 7) + bytes([2 << 3 | 1]) + bytes(8) + bytes([3 << 3 | 5]) + bytes(4)
    )  # fields of other kinds
    assert read_input_shapes(other + encode_field(7, graph)) == [(0, 3, 64, 48), (2,)]


def test_any_other_bytes_are_a_value_error():
    complete = encode_field(7, encode_input(b'image', 1, 3, 64, 64))
    rng = np.random.default_rng(0)
    damaged = [b'', b'\xff' * 20, complete[:-3], b'<html>', *(rng.bytes(int(n)) for n in rng.integers(1, 60, 300))]
    for data in damaged:
        with pytest.raises(ValueError, match='.'):
            read_input_shapes(data)


def test_a_file_that_is_no_detector_is_an_error_that_names_it(tmp_path):
    with pytest.raises(CheckpointError, match=r'nix\.onnx: No such file .*; name the ONNX file'):
        OnnxDetector(tmp_path / 'nix.onnx')
    (tmp_path / 'page.onnx').write_text('<html>')
    with pytest.raises(CheckpointError, match=r'page\.onnx is no ONNX file that OpenCV reads'):
        OnnxDetector(tmp_path / 'page.onnx')
    (tmp_path / 'hollow.onnx').write_bytes(encode_field(7, encode_input(b'image', 1, 3, 64, 64)))
    with pytest.raises(CheckpointError, match=r'hollow\.onnx: its outputs are none; supported are'):
        OnnxDetector(tmp_path / 'hollow.onnx')
    with pytest.raises(UnsafeFileError, match='sha256'):
        OnnxDetector('https://example.org/detector.onnx')


@pytest.mark.parametrize('shapes', [[(0, 3, 0, 0)], [(1, 1, 64, 64)], [(1, 3, 64, 64), (2,)], [(5,)]])
def test_inputs_that_are_no_image_of_a_fixed_size_are_an_error_that_lists_them(monkeypatch, tmp_path, shapes):
    (tmp_path / 'x.onnx').write_bytes(b'x')
    monkeypatch.setattr(detectors, 'read_input_shapes', lambda data: shapes)
    monkeypatch.setattr(cv2.dnn, 'readNetFromONNX', lambda data: SimpleNamespace())
    shape = ' x '.join(str(n or r'\?') for n in shapes[0])
    with pytest.raises(CheckpointError, match=f'has the inputs {shape}.* 1 x 3 x height x width'):
        OnnxDetector(tmp_path / 'x.onnx')


def test_an_error_about_unsupported_outputs_names_the_file(bright):
    net = BrightAreaNetwork()
    net.forward = lambda _: [np.zeros((1, 9, 85))]
    with pytest.raises(CheckpointError, match=r'x\.onnx: its outputs are 1 x 9 x 85'):
        bright(net=net)


@pytest.mark.parametrize('settings', [dict(threshold=40), dict(nms_threshold=-0.1)])
def test_settings_out_of_range_are_an_error(settings):
    with pytest.raises(ConfigError, match='lies between 0 and 1'):
        OnnxDetector('x.onnx', **settings)


def test_an_error_about_an_image_says_which(bright):
    with pytest.raises(ImageError, match='image 1 is an array of float64'):
        bright()[0]([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))])


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
        corners = transform_points(flip_matrix(image.shape[1]), flipped.boxes.reshape(-1, 2, 2))
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
        np.ones((1, 1, 3), np.uint8),
    ):
        assert len(real()([image])[0].boxes) == 0


def test_detections_do_not_depend_on_the_other_images(real, coco_records):
    paths = [r.path for r in coco_records[:3]]
    detector = real()
    for path, together in zip(paths[::-1], detector(paths[::-1]), strict=True):
        (alone,) = detector([path])
        assert np.array_equal(alone.boxes, together.boxes)
        assert (np.diff(together.scores) <= 0).all()


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def predict(command, monkeypatch, tmp_path):
    """A function that runs the predict command with a stand-in for the network: (code, errors, results)."""
    monkeypatch.setattr(detectors, '_load_network', lambda file: (BrightAreaNetwork(), (64, 64)))

    def run(*arguments):
        code, _, error = command(
            'predict', *arguments, '--detector', 'x.onnx', '--device', 'cpu', '--out', tmp_path / 'out'
        )
        results = tmp_path / 'out/results.json'
        return code, error, json.loads(results.read_text()) if results.is_file() else None

    return run


def test_the_command_predicts_detected_people_with_their_heatmaps(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    cv2.imwrite(str(tmp_path / 'empty.png'), np.zeros((64, 64, 3), np.uint8))
    code, _, results = predict(tmp_path / 'one.png', tmp_path / 'empty.png', '--heatmaps')
    assert code == 0
    one, empty = results['images']
    assert [instance['box_xyxy'] for instance in one['instances']] == [[19.5, 7.5, 39.5, 55.5]]
    assert empty['instances'] == []
    files = {file.name for file in (tmp_path / 'out').iterdir()}
    assert files == {'one_pose.jpg', 'one_heatmaps.jpg', 'empty_pose.jpg', 'results.json'}


def test_the_command_drops_boxes_below_the_detector_threshold(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    assert predict(tmp_path / 'one.png', '--detector-threshold', 0.95)[2]['images'][0]['instances'] == []


def test_boxes_and_a_detector_at_once_are_an_error(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), draw_box((64, 64), (20, 8, 40, 56)))
    code, error, _ = predict(tmp_path / 'one.png', '--boxes', '1,2,30,40')
    assert code == 2
    assert 'use one of the two' in error


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
