"""What callers of a predictor may get wrong ends in a named error, or in the right result."""

import json
import os
import sys

import cv2
import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import AnnotationError, CheckpointError, ConfigError, ImageError
from poseplug.deploy.web_content import build_response
from poseplug.files.weights import load_weights
from poseplug.models.devices import parse_device
from poseplug.predict.box_checks import to_number_array
from poseplug.predict.boxes_option import parse_boxes_option
from poseplug.predict.input_checks import check_inputs
from poseplug.predict.model_loading import load_model
from poseplug.predict.opened_image import open_with_boxes
from poseplug.predict.prediction_options import PredictionOptions
from poseplug.predict.predictor import Predictor

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
BOX = [10.0, 12, 50, 80]


@pytest.fixture(scope='module')
def shipped():
    return Predictor(device='cpu')


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('batch_size', [0, -1, 2.5, True, '8', None, float('nan')])
def test_a_batch_size_that_is_no_count_is_refused_by_name(predictor, batch_size):
    for call in (predictor, predictor.stream, predictor.predict_stages):
        with pytest.raises(ConfigError, match='batch_size is a whole number from 1 on; got'):
            call([IMAGE, IMAGE], batch_size=batch_size)
    assert len(predictor([IMAGE, IMAGE], batch_size=np.int64(1))) == 2


@pytest.mark.parametrize('device', ['cuda:7', 'gpu', '0', 'mps', 'meta', '', 'cpu:x'])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(command, device, tmp_path):
    with pytest.raises(ConfigError, match=r'device .* cannot be used: .*; this machine has cpu'):
        parse_device(device)
    with pytest.raises(ConfigError, match='cannot be used'):
        load_model(device=device)
    code, _, error = command('predict', 'absent.jpg', '--device', device, '--out', tmp_path / 'out')
    assert (code, 'absent.jpg' in error) == (2, False)  # known before any input is opened


def test_the_message_of_a_device_is_one_sentence():
    with pytest.raises(ConfigError) as raised:
        parse_device('mps')
    assert str(raised.value) == "device 'mps' cannot be used: this torch was built without mps; this machine has cpu"


@pytest.mark.parametrize('model', [torch.nn.Linear(2, 2), 3, ['cpm_lsp_lite']], ids=['network', 'number', 'list'])
def test_a_network_alone_is_no_model(model):
    with pytest.raises(
        ConfigError, match=f'a model is a name, a config file .* got one of type {type(model).__name__}'
    ):
        Predictor(model)


@pytest.mark.parametrize('threshold', ['nan', '-0.1', '1.5', 'inf'])
@pytest.mark.parametrize('option', ['--keypoint-threshold', '--detector-threshold'])
def test_a_threshold_lies_between_0_and_1(command, option, threshold):
    code, _, error = command('predict', 'a.jpg', option, threshold)
    assert code == 2
    assert 'does not lie between 0 and 1' in error


@pytest.mark.parametrize(
    'settings', [{'frame_interval': 0}, {'batch_size': -1}, {'threshold': float('nan')}, {'threshold': 1.5}]
)
def test_options_of_a_video_are_checked_by_range(settings):
    with pytest.raises(ConfigError, match=f'PredictionOptions: {next(iter(settings))} is a'):
        PredictionOptions(**settings)


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_a_single_weight_that_is_not_finite_is_an_error(tiny_config, tmp_path, value):
    model = build_model(tiny_config())
    weights = model.state_dict()
    name = [name for name, tensor in weights.items() if tensor.is_floating_point()][-1]
    weights[name].view(-1)[-1] = value
    torch.save({'state_dict': weights}, tmp_path / 'spoilt.pth')
    with pytest.raises(CheckpointError, match=rf'spoilt.pth: 1 of \d+ tensors .* not finite \(first: {name}\)'):
        load_weights(model, tmp_path / 'spoilt.pth')


def test_finite_weights_whose_sum_overflows_are_loaded(tiny_config, tmp_path):
    model = build_model(tiny_config())
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    max(weights.values(), key=torch.numel).fill_(60_000)
    torch.save({'state_dict': weights}, tmp_path / 'large.pth')
    load_weights(model, tmp_path / 'large.pth')


def test_fields_that_are_not_finite_are_an_error_not_a_person(tiny_config, tmp_path):
    torch.manual_seed(0)
    cfg = tiny_config()
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    predictor = Predictor(cfg, tmp_path / 'weights.pth', device='cpu')
    with torch.no_grad():
        next(predictor.model.network.head.parameters()).fill_(float('nan'))  # after loading, as by an overflow
    for call in (predictor, predictor.predict_stages):
        with pytest.raises(CheckpointError, match='numbers that are not finite for image 0'):
            call([IMAGE])


@pytest.mark.parametrize(
    ('dtype', 'tolerance_px'), [(torch.float16, 0.5), (torch.bfloat16, 3.0), (torch.float64, 0.01)]
)
def test_a_model_of_another_precision_predicts_the_same_keypoints(shipped, dtype, tolerance_px):
    (expected,) = shipped([IMAGE], [[BOX]])
    other = Predictor(device='cpu')
    other.model.to(dtype)
    (poses,) = other([IMAGE], [[BOX]])
    assert np.median(np.abs(poses.keypoints - expected.keypoints)) < tolerance_px


# --- boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'box',
    [
        [50, 40, 10**400, 160],
        ['10', '12', '50', '80'],
        [10, 12, None, 80],
        [10, 12, 50 + 1j, 80],
        [True, True, True, True],
        [10, 12, float('nan'), 80],
        [10, 12, 50],
        {'x': 1},
        [[10, 12, 50, 80], [1, 2]],
    ],
)
def test_boxes_that_are_no_numbers_are_refused(predictor, box):
    with pytest.raises(AnnotationError, match='image 0'):
        predictor([IMAGE], [[box]])


@pytest.mark.parametrize(
    'boxes',
    [
        torch.tensor([BOX], requires_grad=True),
        [torch.tensor(BOX, requires_grad=True)],
        torch.tensor([BOX], dtype=torch.bfloat16),
        [[torch.tensor(value) for value in BOX]],
        np.array([BOX], np.float16),
        [tuple(map(int, BOX))],
        [np.array(BOX)],
    ],
)
def test_boxes_may_be_tensors_and_arrays_of_any_precision(predictor, boxes):
    (poses,), (expected,) = predictor([IMAGE], [boxes]), predictor([IMAGE], [[BOX]])
    assert np.array_equal(poses.keypoints, expected.keypoints)


def test_masked_numbers_are_no_boxes(predictor):
    boxes = np.ma.array([BOX], mask=[[False, False, True, False]])
    with pytest.raises(AnnotationError, match='four per instance; some of them are masked'):
        predictor(IMAGE, boxes)
    assert len(predictor(IMAGE, np.ma.array([BOX]))) == 1


def test_numbers_keep_their_values():
    assert to_number_array([[1, 2.5], [torch.tensor(3), 4]]).tolist() == [[1, 2.5], [3, 4]]
    assert to_number_array([]).shape == (0,)


@pytest.mark.parametrize('images', [None, 5.5, {'a.jpg': 1}, object()])
def test_what_is_no_image_is_refused(predictor, images):
    with pytest.raises(ImageError, match='images are one image or several; got a'):
        predictor(images, [None])
    with pytest.raises(ImageError, match='images are one image or several; got a'):
        predictor(images)


@pytest.mark.parametrize(
    ('images', 'boxes'),
    [
        (lambda: (image for image in [IMAGE, IMAGE]), [None]),
        (lambda: [IMAGE], lambda: iter([None, None])),
        (lambda: np.stack([IMAGE, IMAGE]), [None]),
        (lambda: [IMAGE, IMAGE], np.zeros((1, 1, 4))),
        (lambda: [IMAGE], 5),
    ],
)
def test_images_and_boxes_of_different_numbers_are_refused(predictor, images, boxes):
    with pytest.raises(AnnotationError):
        predictor(images(), boxes() if callable(boxes) else boxes)


def test_nothing_has_no_results(predictor):
    assert predictor([]) == []
    assert predictor(np.zeros((0, 8, 8, 3), np.uint8)) == []
    assert predictor([], []) == []
    assert list(predictor.stream(iter(()), iter(()))) == []
    assert predictor.predict_stages([]) == []


def test_a_detector_may_return_tensors_with_gradients():
    def detect(images):
        boxes = torch.tensor([[10.0, 12, 60, 92]], requires_grad=True)
        return [(boxes, torch.tensor([0.9], requires_grad=True)) for _ in images]

    (poses,) = Predictor(device='cpu', detector=detect)([IMAGE])
    assert poses.boxes.tolist() == [[10, 12, 60, 92]]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def image_file(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), IMAGE)
    return tmp_path / 'a.png'


def read_instances(out):
    return [result['instances'] for result in json.loads((out / 'results.json').read_text())['images']]


@pytest.mark.parametrize(
    'boxes', [['-3,5,40,60'], ['1,1,60,100', '-5.5,10,60,100'], ['-.5,-2,40,60'], ['1e1,12,50,80']]
)
def test_boxes_may_begin_left_of_the_image(command, image_file, tmp_path, boxes):
    code, _, _ = command('predict', image_file, '--boxes', *boxes, '--out', tmp_path / 'out', '--device', 'cpu')
    assert code == 0
    (instances,) = read_instances(tmp_path / 'out')
    x, y, width, height = map(float, boxes[-1].split(','))
    assert len(instances) == len(boxes)
    assert instances[-1]['box_xyxy'] == [x, y, x + width, y + height]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32'])
def test_a_file_of_boxes_may_have_any_unicode_encoding(tmp_path, encoding):
    file = tmp_path / 'boxes.JSON'
    file.write_bytes(json.dumps({'é.jpg': [BOX]}, ensure_ascii=False).encode(encoding))
    assert parse_boxes_option([str(file)], [tmp_path / 'é.jpg']) == [[BOX]]


def test_a_name_of_two_images_in_a_file_of_boxes_is_refused(tmp_path, caplog):
    files = [tmp_path / 'x' / '1.jpg', tmp_path / 'y' / '1.jpg']
    (tmp_path / 'boxes.json').write_text(json.dumps({'1.jpg': [BOX], str(files[1]): [], 'z.jpg': []}))
    assert parse_boxes_option([str(tmp_path / 'boxes.json')], files) == [[BOX], []]
    assert "1 entries are of files that are not among the inputs, such as 'z.jpg'" in caplog.text
    with pytest.raises(AnnotationError, match=r"'1.jpg' is the name of .*x/1.jpg and of .*z/1.jpg"):
        parse_boxes_option([str(tmp_path / 'boxes.json')], [files[0], tmp_path / 'z' / '1.jpg'])


@pytest.mark.skipif(sys.platform != 'linux', reason='file names of any bytes')
def test_names_that_no_encoding_holds_are_predicted_and_written_with_escapes(run_process, image_file, tmp_path):
    names = [b'caf\xe9.png', '人.png'.encode()]
    files = [os.path.join(os.fsencode(tmp_path), name) for name in names]
    for file in files:
        with open(file, 'wb') as stream:
            stream.write(image_file.read_bytes())
    done = run_process('predict', *files, '--csv', '--out', tmp_path / 'out', PYTHONIOENCODING='ascii:strict')
    assert (done.returncode, b'Traceback' in done.stderr) == (0, False)
    assert b'caf\\udce9.png' in done.stdout
    assert len(read_instances(tmp_path / 'out')) == 2
    assert os.path.exists(os.path.join(os.fsencode(tmp_path), b'out', b'caf\xe9_pose.jpg'))
    assert 'caf\\udce9.png' in (tmp_path / 'out' / 'results.csv').read_text(encoding='utf-8')


@pytest.fixture
def run_process():
    import subprocess

    def run(*words, **variables):
        arguments = [word if isinstance(word, bytes) else str(word) for word in words]
        environment = {**os.environ, 'LC_ALL': 'C.UTF-8', **variables}
        return subprocess.run([sys.executable, '-m', 'poseplug', *arguments], env=environment, capture_output=True)

    return run


@pytest.mark.parametrize(
    ('address', 'message'),
    [
        ('63', 'camera 63 cannot be opened'),
        ('rtsp://127.0.0.1:9/s', 'cannot be read (Connection refused)'),
        ('http://127.0.0.1:9/a.jpg', 'cannot be fetched'),
        ('ftp://127.0.0.1/a.jpg', 'an address that has no reader'),
    ],
)
def test_a_source_that_is_not_there_is_named(command, tmp_path, address, message):
    code, _, error = command('predict', address, '--out', tmp_path / 'out', '--device', 'cpu')
    assert code == 2
    assert message in error


# --- an image without a box -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('transform', [dict(type='CropBox'), dict(type='CropByScale')])
def test_without_boxes_the_whole_image_is_the_box(tiny_config, tmp_path, transform):
    pipeline = [transform, dict(type='Warp')]
    cfg = tiny_config(**{'test_dataloader.dataset.pipeline': pipeline})
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    predictor = Predictor(cfg, tmp_path / 'weights.pth', device='cpu')
    height, width = IMAGE.shape[:2]
    (poses,), (expected,) = predictor([IMAGE]), predictor([IMAGE], [[[0, 0, width, height]]])
    assert len(poses) == 1
    assert np.array_equal(poses.keypoints, expected.keypoints)
    assert poses.boxes.tolist() == [[0, 0, width, height]]
    assert len(predictor.predict_heatmaps(IMAGE).heatmaps) == 2


def test_command_web_page_and_python_agree_to_the_last_digit(command, shipped, image_file, tmp_path):
    code, printed, _ = command('predict', image_file, '--out', tmp_path / 'out', '--device', 'cpu', '--json')
    assert code == 0
    (from_command,) = json.loads(printed)['images']
    (from_page,) = build_response(shipped, image_file.read_bytes())['images']
    (poses,) = shipped(image_file)
    assert from_command['instances'] == from_page['instances'] == poses.to_dicts()
    assert [from_command[key] for key in ('width', 'height')] == [from_page[key] for key in ('width', 'height')]


@pytest.mark.parametrize('shape', [(1, 50), (50, 1), (1, 1)])
def test_an_image_of_a_single_row_or_column_is_refused_by_every_predictor_and_before_the_work(tmp_path, shape):
    """One rule: data sets refuse it, too, and exported models took it."""
    pixels = np.zeros((*shape, 3), np.uint8)
    file = tmp_path / 'line.png'
    cv2.imwrite(str(file), pixels)
    for image in (pixels, file):
        with pytest.raises(ImageError, match=rf'the image has {shape[1]}x{shape[0]} px; 2x2 px are required'):
            open_with_boxes(image, None, 0)  # the door of `Predictor` and `ExportedPredictor`
    assert '2x2 px are required' in check_inputs([file], None, 'xywh')[file]
    assert open_with_boxes(np.zeros((2, 2, 3), np.uint8), None, 0).size == (2, 2)
