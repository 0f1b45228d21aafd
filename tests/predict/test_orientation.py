"""One rule for the EXIF orientation, wherever a photo is predicted."""

import json
import zlib

import cv2
import numpy as np
import pytest

from poseplug.deploy.web_content import build_response
from poseplug.files.images import apply_orientation, read_image
from poseplug.predict.predictor import Predictor

_EXIF_OF = {
    n: b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0' + bytes([n, 0, 0, 0, 0, 0, 0]) for n in range(1, 9)
}
_STORED_ORIENTATION = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # the inverse of each orientation


def write_photo(file, upright, orientation):
    """A PNG file cannot be lossy: its pixels are exact, its orientation is a chunk."""
    stored = apply_orientation(upright, _STORED_ORIENTATION[orientation])
    data = cv2.imencode('.png', stored)[1].tobytes()
    exif = _EXIF_OF[orientation][6:]
    chunk = b'eXIf' + exif
    block = len(exif).to_bytes(4, 'big') + chunk + zlib.crc32(chunk).to_bytes(4, 'big')
    file.write_bytes(data[:33] + block + data[33:])
    return file


@pytest.fixture(scope='module')
def predictor():
    return Predictor(device='cpu')


@pytest.fixture
def upright(tiny_data):
    return read_image(min((tiny_data / 'images').glob('*.jpg')))[:, :90]


@pytest.mark.parametrize('orientation', range(1, 9))
def test_a_photo_is_predicted_as_viewers_show_it(predictor, upright, orientation, tmp_path):
    file = write_photo(tmp_path / 'photo.png', upright, orientation)
    (expected,) = predictor(upright)
    for image in (file, file.read_bytes()):
        (poses,) = predictor(image)
        assert np.array_equal(poses.keypoints, expected.keypoints)
    (result,) = build_response(predictor, file.read_bytes())['images']
    assert (result['width'], result['height']) == upright.shape[1::-1]
    assert result['instances'] == expected.to_dicts()


def test_the_command_predicts_and_draws_the_upright_photo(command, predictor, upright, tmp_path):
    file = write_photo(tmp_path / 'photo.png', upright, 6)
    code, _, _ = command('predict', file, '--out', tmp_path / 'out', '--device', 'cpu')
    assert code == 0
    (result,) = json.loads((tmp_path / 'out/results.json').read_text())['images']
    assert (result['width'], result['height']) == upright.shape[1::-1]
    assert result['instances'] == predictor(upright)[0].to_dicts()
    drawn = cv2.imread(str(tmp_path / 'out/photo_pose.jpg'))
    assert drawn.shape[0] * upright.shape[1] == drawn.shape[1] * upright.shape[0]
