"""Detectors: boxes by hand from a head's numbers, through the letterbox and back, and those of a real file."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from poseplug.datasets.images import read_image
from poseplug.datasets.sources.coco import CocoSource
from poseplug.errors import CheckpointError, ConfigError, ImageError, UnsafeFileError
from poseplug.geometry import apply, mirroring
from poseplug.grouping.nms import box_iou
from poseplug.inference import detectors
from poseplug.inference.detectors import BINS, OnnxDetector, boxes_of, centers, letterboxed, people_of
from poseplug.inference.found_boxes import LARGE, matched
from poseplug.inference.onnx_file import input_shapes


def logits(*distances):
    """A head's distributions (1, 4 * BINS) whose means are the `distances`, whole or half, in strides."""
    table = np.full((4, BINS), -100.0)
    for row, d in zip(table, distances, strict=True):
        row[[int(np.floor(d)), int(np.ceil(d))]] = 0
    return table.reshape(1, -1).astype(np.float32)


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_a_distance_is_the_mean_of_its_distribution_in_strides():
    middles = np.array([[100.0, 80.0]])
    assert boxes_of(logits(1, 2, 3, 7), (middles, 16.0)).tolist() == [[84, 48, 148, 192]]
    assert boxes_of(logits(0.5, 2.5, 0, 6.5), (middles, 8.0)).tolist() == [[96, 60, 100, 132]]
    even = boxes_of(np.zeros((1, 4 * BINS)), (middles, 2.0))  # the mean of 0 to 7 is 3.5
    assert even.tolist() == [[93, 73, 107, 87]]


def test_logits_of_any_size_give_finite_boxes():
    spread = np.tile(np.linspace(-1e4, 1e4, BINS), 4)[None]
    assert boxes_of(spread, (np.zeros((1, 2)), 8.0)).tolist() == [[-56, -56, 56, 56]]


def test_a_cell_of_stride_8_stands_in_the_middle_of_its_8_pixels():
    middles, stride = centers(6, (24, 16))
    assert stride == 8
    assert middles.tolist() == [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5]]


@pytest.mark.parametrize(('count', 'size'), [(2705, (416, 416)), (42, (100, 90)), (0, (64, 64)), (3, (1, 1))])
def test_cells_that_do_not_tile_the_input_are_an_error(count, size):
    with pytest.raises(
        CheckpointError, match=f'{count} cells of one stride do not tile an input of {size[0]}x{size[1]}'
    ):
        centers(count, size)


def head(cells=16, classes=3, person=1, place=5, score=0.9, distances=(1, 1, 1, 1)):
    """One pair of NanoDet's maps, sure of one cell."""
    chance, distance = np.full((1, cells, classes), 0.01, np.float32), np.zeros((1, cells, 4 * BINS), np.float32)
    chance[0, place, person] = score
    distance[0, place] = logits(*distances)
    return chance, distance


def test_maps_of_several_strides_are_read_whatever_their_order():
    fine, coarse = head(16, place=5), head(4, place=3, score=0.8, distances=(0, 0, 0.5, 0.5))
    for outputs in ([fine[0], coarse[0], fine[1], coarse[1]], [coarse[1], coarse[0], fine[1], fine[0]]):
        found = people_of(outputs, (32, 32), person=1)
        best = np.argsort(-found.scores)[:2]
        assert np.allclose(found.scores[best], [0.9, 0.8])
        assert np.allclose(found.boxes[best], [[3.5, 3.5, 19.5, 19.5], [23.5, 23.5, 31.5, 31.5]])


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
def test_boxes_that_are_given_outright_are_taken_as_they_are(outputs):
    found = people_of(outputs, (64, 64))
    assert np.allclose(found.boxes, ROWS[[0, 2], :4])
    assert np.allclose(found.scores, [0.9, 0.7])


@pytest.mark.parametrize(
    'outputs', [[ROWS[:0]], [ROWS[None, :0, :5], ROWS[None, :0, 5]], [ROWS[:1] * [[1, 1, 1, 1, 1, 7]] + 7]]
)
def test_outputs_of_nobody_are_nobody(outputs):
    found = people_of(outputs, (64, 64))
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == (0,)


@pytest.mark.parametrize(
    ('shapes', 'told'),
    [
        ([(1, 25200, 85)], 'its outputs are 1 x 25200 x 85; understood are'),
        ([(1, 3, 64, 64)], '1 x 3 x 64 x 64'),
        ([(1, 16, 80), (1, 4, 80), (1, 16, 32)], '1 x 16 x 80, 1 x 4 x 80, 1 x 16 x 32'),
        ([(1, 16, 32), (1, 4, 32)], '1 x 16 x 32, 1 x 4 x 32'),
        ([(7,)], 'its outputs are 7;'),
        ([(9, 4), (8, 80)], '9 x 4, 8 x 80'),
        ([(9, 5), (8,)], '9 x 5, 8;'),
    ],
)
def test_other_outputs_are_an_error_that_lists_them_and_what_is_understood(shapes, told):
    with pytest.raises(CheckpointError, match=told):
        people_of([np.zeros(s, np.float32) for s in shapes], (32, 32))


def test_a_class_that_there_is_not_is_an_error_that_counts_them():
    with pytest.raises(ConfigError, match='3 classes apart, 0 to 2; got person=3'):
        people_of(head(), (32, 32), person=3)


# --- placing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'size', [(640, 480), (480, 640), (416, 416), (30, 20), (4000, 3000), (5000, 40), (1, 1), (3000, 3)]
)
def test_a_picture_of_any_form_fills_the_input_one_way_and_keeps_its_proportions(size):
    inputs, matrix = letterboxed(np.full((size[1], size[0], 3), 255, np.uint8), (64, 48))
    assert inputs.shape == (48, 64, 3)
    assert matrix[0, 0] == pytest.approx(min(64 / size[0], 48 / size[1]))
    assert matrix[0, 0] == matrix[1, 1]
    assert np.allclose(apply(matrix, np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])), [31.5, 23.5])


def test_a_large_picture_is_averaged_and_not_sampled():
    stripes = np.zeros((800, 1600, 3), np.uint8)
    stripes[:, ::2] = 255  # every other column: sampled, the input would be white or black
    inputs, _ = letterboxed(stripes, (100, 50))
    assert np.abs(inputs[5:-5, 5:-5].astype(int) - 127).max() <= 1


class Bright:
    """A stand-in for a network: one box around what is bright in the input, scores by `scores`, shifted by `shifts`."""

    def __init__(self, scores=(0.9,), shifts=(0,)):
        self.scores, self.shifts, self.seen = scores, shifts, []

    def getUnconnectedOutLayersNames(self):  # noqa: N802 (OpenCV's name)
        return ('boxes',)

    def setInput(self, blob):  # noqa: N802
        self.seen.append(blob)

    def forward(self, _):
        y, x = np.nonzero(self.seen[-1][0].min(axis=0) > 0)
        if not len(x):
            return [np.zeros((1, 0, 5), np.float32)]
        box = np.array([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])
        return [np.array([[*(box + d), s] for d, s in zip(self.shifts, self.scores, strict=True)], np.float32)[None]]


@pytest.fixture
def bright(monkeypatch):
    """A function to a detector whose network is a stand-in, and that stand-in."""

    def load(size=(64, 64), net=None, **settings):
        net = net or Bright()
        monkeypatch.setattr(detectors, 'read_net', lambda file: (net, size))
        return OnnxDetector('x.onnx', **settings), net

    return load


def with_box(size, box):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


@pytest.mark.parametrize('size', [(64, 64), (128, 96), (90, 160), (640, 64), (32, 32)])
def test_boxes_come_back_in_the_pixels_of_the_picture(bright, size):
    box = np.array([size[0] // 4, size[1] // 4, size[0] // 2, size[1] * 3 // 4])
    detector, _ = bright()
    (found,) = detector([with_box(size, box)])
    assert np.abs(found.boxes[0] - (box - 0.5)).max() <= 1.01 * max(size) / 64  # a pixel of the input


def test_colours_are_scaled_in_bgr_order(bright):
    detector, net = bright(mean=(10, 20, 30), deviation=(1, 2, 4))
    detector([np.full((64, 64, 3), (11, 24, 42), np.uint8)])
    assert np.allclose(net.seen[-1], np.array([1, 2, 3]).reshape(1, 3, 1, 1))
    assert net.seen[-1].dtype == np.float32


def test_everybody_is_where_their_picture_is_and_an_empty_picture_has_nobody(bright):
    detector, _ = bright()
    images = [with_box((64, 64), (8, 8, 20, 40)), np.zeros((40, 50, 3), np.uint8), with_box((64, 64), (30, 10, 60, 50))]
    first, nobody, last = detector(images)
    assert nobody.boxes.shape == (0, 4)
    assert nobody.scores.shape == (0,)
    assert first.boxes.tolist() == [[7.5, 7.5, 19.5, 39.5]]
    assert last.boxes.tolist() == [[29.5, 9.5, 59.5, 49.5]]
    assert detector([]) == []


def test_the_best_of_overlapping_boxes_stays_and_the_surest_comes_first(bright):
    net = Bright(scores=(0.5, 0.9, 0.45, 0.3), shifts=(0, 1, 40, 42))  # of 20 px: 1 px aside is an IoU of 0.83
    detector, _ = bright((128, 128), net)
    (found,) = detector([with_box((128, 128), (10, 10, 30, 30))])
    assert np.allclose(found.scores, [0.9, 0.45])
    assert np.allclose(found.boxes[:, 0], [10.5, 49.5])
    detector, _ = bright((128, 128), net, threshold=0.48, overlap=0.9)
    assert np.allclose(detector([with_box((128, 128), (10, 10, 30, 30))])[0].scores, [0.9, 0.5])


def test_boxes_are_cut_at_the_border_and_slivers_are_nobody(bright):
    net = Bright(scores=(0.9, 0.8), shifts=(20, 43.8))
    detector, _ = bright((64, 64), net)
    (found,) = detector([with_box((64, 64), (20, 20, 50, 50))])
    assert found.boxes.tolist() == [[39.5, 39.5, 64, 64]]  # and of the second 0.7 px lie in the picture


# --- files ------------------------------------------------------------------------------------------------------------


def field(number, content):
    """A field of a Protocol Buffers message: a whole number below 128, or bytes below 128 of them."""
    return (
        bytes([number << 3, content]) if isinstance(content, int) else bytes([number << 3 | 2, len(content)]) + content
    )


def told_input(name, *lengths):
    shape = b''.join(field(1, field(1, n) if n else field(2, b'batch')) for n in lengths)
    return field(11, field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))))


def test_the_shapes_of_inputs_are_read_out_of_the_bytes_without_the_weights():
    graph = told_input(b'image', 0, 3, 64, 48) + told_input(b'w', 5) + field(5, field(8, b'w')) + told_input(b'size', 2)
    other = field(1, 7) + bytes([2 << 3 | 1]) + bytes(8) + bytes([3 << 3 | 5]) + bytes(4)  # fields of other kinds
    assert input_shapes(other + field(7, graph)) == [(0, 3, 64, 48), (2,)]


def test_any_other_bytes_are_an_error_and_nothing_else():
    whole = field(7, told_input(b'image', 1, 3, 64, 64))
    rng = np.random.default_rng(0)
    wrong = [b'', b'\xff' * 20, whole[:-3], b'<html>', *(rng.bytes(int(n)) for n in rng.integers(1, 60, 300))]
    for data in wrong:
        with pytest.raises(ValueError, match='.'):
            input_shapes(data)


def test_what_is_no_detector_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(CheckpointError, match=r'nix\.onnx: No such file .*; name the ONNX file'):
        OnnxDetector(tmp_path / 'nix.onnx')
    (tmp_path / 'page.onnx').write_text('<html>')
    with pytest.raises(CheckpointError, match=r'page\.onnx is no ONNX file that OpenCV reads'):
        OnnxDetector(tmp_path / 'page.onnx')
    (tmp_path / 'hollow.onnx').write_bytes(field(7, told_input(b'image', 1, 3, 64, 64)))
    with pytest.raises(CheckpointError, match=r'hollow\.onnx: its outputs are none; understood are'):
        OnnxDetector(tmp_path / 'hollow.onnx')
    with pytest.raises(UnsafeFileError, match='sha256'):
        OnnxDetector('https://example.org/detector.onnx')


@pytest.mark.parametrize('shapes', [[(0, 3, 0, 0)], [(1, 1, 64, 64)], [(1, 3, 64, 64), (2,)], [(5,)]])
def test_inputs_that_are_no_picture_of_one_size_are_an_error_that_tells_them(monkeypatch, tmp_path, shapes):
    (tmp_path / 'x.onnx').write_bytes(b'x')
    monkeypatch.setattr(detectors, 'input_shapes', lambda data: shapes)
    monkeypatch.setattr(cv2.dnn, 'readNetFromONNX', lambda data: SimpleNamespace())
    told = ' x '.join(str(n or r'\?') for n in shapes[0])
    with pytest.raises(CheckpointError, match=f'takes {told}.* 1 x 3 x height x width'):
        OnnxDetector(tmp_path / 'x.onnx')


def test_outputs_that_are_not_understood_name_the_file(bright):
    net = Bright()
    net.forward = lambda _: [np.zeros((1, 9, 85))]
    with pytest.raises(CheckpointError, match=r'x\.onnx: its outputs are 1 x 9 x 85'):
        bright(net=net)


@pytest.mark.parametrize('settings', [dict(threshold=40), dict(overlap=-0.1)])
def test_settings_beyond_their_range_are_an_error(settings):
    with pytest.raises(ConfigError, match='lies between 0 and 1'):
        OnnxDetector('x.onnx', **settings)


def test_what_is_no_picture_is_an_error_that_says_which(bright):
    with pytest.raises(ImageError, match='picture 1 is an array of float64'):
        bright()[0]([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3))])


# --- a real one -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def real(real_data):
    """A function from settings to the detector that lies beside the real data."""
    file = real_data / 'models/nanodet_m.onnx'
    if not file.is_file():
        pytest.skip(f'no detector {file}; name its folder by POSEPLUG_DATA')
    return lambda **settings: OnnxDetector(file, **settings)


@pytest.fixture(scope='module')
def pictures(real_data):
    """COCO's pictures at hand: path, and boxes (N, 4) and areas (N,) of the people with joints."""
    if not (real_data / 'coco/val2017').is_dir():
        pytest.skip(f'no COCO in {real_data}; name the folder above it by POSEPLUG_DATA')
    records, _ = CocoSource(real_data / 'coco', half='val').load()
    return records


def test_four_of_five_large_people_of_coco_are_found(real, pictures):
    detector, large, again = real(threshold=0.3), [], []
    for record in pictures[:50]:
        (found,) = detector([record.path])
        large.append(record.areas > LARGE)
        again.append(matched(record.boxes, found.boxes))
    large, again = np.concatenate(large), np.concatenate(again)
    assert large.sum() > 100
    assert again[large].mean() >= 0.8


def test_a_mirrored_picture_has_mirrored_boxes(real, pictures):
    for record in pictures[:5]:
        image = read_image(record.path)
        detector = real(threshold=0.5)
        plain, mirrored = detector([image, np.ascontiguousarray(image[:, ::-1])])
        back = apply(mirroring(image.shape[1]), mirrored.boxes.reshape(-1, 2, 2))
        back = np.concatenate([back.min(axis=1), back.max(axis=1)], axis=1)
        assert len(plain.boxes)
        sure = plain.scores > 0.6
        assert matched(plain.boxes[sure], back).all()
        assert box_iou(plain.boxes[:1], back).max() > 0.9


def test_people_of_a_very_wide_picture_are_found_where_they_are(real, pictures):
    """Three pictures' widths in a row are three times smaller in the input; who is large is found all the same."""
    image = read_image(pictures[0].path)
    (alone,) = real()([image])
    wide = np.concatenate([image, np.zeros_like(image), image], axis=1)
    (found,) = real(threshold=0.2)([wide])
    best = alone.boxes[:1]
    for shift in (0, 2 * image.shape[1]):
        assert box_iou(best + [shift, 0, shift, 0], found.boxes).max() > 0.7


def test_a_picture_of_one_colour_has_nobody(real):
    for image in (
        np.zeros((300, 400, 3), np.uint8),
        np.full((50, 700, 3), 128, np.uint8),
        np.ones((1, 1, 3), np.uint8),
    ):
        assert len(real()([image])[0].boxes) == 0


def test_what_comes_of_a_picture_is_the_same_in_any_company(real, pictures):
    paths = [r.path for r in pictures[:3]]
    detector = real()
    for path, found in zip(paths[::-1], detector(paths[::-1]), strict=True):
        (alone,) = detector([path])
        assert np.array_equal(alone.boxes, found.boxes)
        assert (np.diff(found.scores) <= 0).all()


# --- from the command line --------------------------------------------------------------------------------------------


@pytest.fixture
def predict(command, monkeypatch, tmp_path):
    """A function that runs the predict command with a stand-in for the network: (code, errors, results)."""
    monkeypatch.setattr(detectors, 'read_net', lambda file: (Bright(), (64, 64)))

    def run(*arguments):
        code, out, told = command(
            'predict.py', *arguments, '--detector', 'x.onnx', '--device', 'cpu', '--out', tmp_path / 'out'
        )
        results = tmp_path / 'out/results.json'
        return code, told, json.loads(results.read_text()) if results.is_file() else None

    return run


def test_the_command_predicts_whom_the_detector_finds_with_their_belief_maps(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), with_box((64, 64), (20, 8, 40, 56)))
    cv2.imwrite(str(tmp_path / 'nobody.png'), np.zeros((64, 64, 3), np.uint8))
    code, _, results = predict(tmp_path / 'one.png', tmp_path / 'nobody.png', '--fields')
    assert code == 0
    one, nobody = results['images']
    assert [p['corners'] for p in one['people']] == [[19.5, 7.5, 39.5, 55.5]]
    assert nobody['people'] == []
    drawn = {f.name for f in (tmp_path / 'out').iterdir()}
    assert drawn == {'one_pose.jpg', 'one_fields.jpg', 'nobody_pose.jpg', 'results.json'}


def test_the_command_leaves_out_boxes_below_the_detectors_threshold(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), with_box((64, 64), (20, 8, 40, 56)))
    assert predict(tmp_path / 'one.png', '--detector-threshold', 0.95)[2]['images'][0]['people'] == []


def test_boxes_and_a_detector_at_once_are_an_error(predict, tmp_path):
    cv2.imwrite(str(tmp_path / 'one.png'), with_box((64, 64), (20, 8, 40, 56)))
    code, told, _ = predict(tmp_path / 'one.png', '--boxes', '1,2,30,40')
    assert code == 2
    assert 'leave one of them out' in told


def test_a_person_who_walks_through_a_video_is_followed_by_the_detectors_boxes(predict, tmp_path):
    film = cv2.VideoWriter(str(tmp_path / 'walk.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 25, (128, 96))
    for n in range(12):
        film.write(with_box((128, 96), (10 + 6 * n, 16, 40 + 6 * n, 80)))
    film.release()
    assert predict(tmp_path / 'walk.avi')[0] == 0
    _, *frames = map(json.loads, (tmp_path / 'out/walk.jsonl').read_text().splitlines())
    assert len(frames) == 12
    assert [[p['id'] for p in f['people']] for f in frames] == [[1]] * 12
    left = np.array([f['people'][0]['corners'][0] for f in frames])
    assert np.abs(left - (10 + 6 * np.arange(12))).max() <= 6  # a block of JPEG, dark grey beside the person
    assert (np.diff(left) > 0).all()
