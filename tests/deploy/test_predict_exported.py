"""`poseplug predict --model FILE`: what it writes, what it loads and what it refuses."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from poseplug.deploy.checked_export import export_checked
from poseplug.deploy.export_settings import ExportOptions
from tests.reliability import videos

pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')
BOXES = ('5,5,60,80', '20,10,50,70')


@pytest.fixture(scope='module')
def lite_onnx(tmp_path_factory):
    """The installed model as an ONNX file, without its flip test."""
    file = tmp_path_factory.mktemp('onnx') / 'lite.onnx'
    return export_checked('cpm_lsp_lite', None, file, 'onnx', ExportOptions(), report=lambda line: None)


@pytest.fixture
def image(tiny_data):
    return sorted((tiny_data / 'images').glob('*.jpg'))[0]


def read_instances(out):
    return json.loads((out / 'results.json').read_text())['images'][0]['instances']


def test_a_file_writes_what_its_model_writes(command, lite_onnx, image, tmp_path):
    arguments = (image, '--boxes', *BOXES, '--format', 'coco,yolo,openpose,labelme,cvat', '--csv', '--threads', 1)
    outs = tmp_path / 'model', tmp_path / 'file'
    for out, options in zip(outs, (['--model', 'cpm_lsp_lite', '--no-flip'], ['--model', lite_onnx]), strict=True):
        code, _, error = command('predict', *arguments, *options, '--out', out)
        assert code == 0, error
    names = [sorted(str(file.relative_to(out)) for file in out.rglob('*')) for out in outs]
    assert names[0] == names[1]
    expected, actual = map(read_instances, outs)
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_allclose(other['keypoints'], one['keypoints'], atol=0.011)
        assert other['box_xyxy'] == one['box_xyxy']
        np.testing.assert_allclose(other['keypoint_sigmas_px'], one['keypoint_sigmas_px'], rtol=1e-3, atol=0.011)
    drawings = [cv2.imread(str(out / f'{image.stem}_pose.jpg')).astype(int) for out in outs]
    assert np.abs(drawings[0] - drawings[1]).mean() < 0.1


def test_a_file_predicts_a_video_without_loading_torch(lite_onnx, image, tmp_path):
    videos.write_video(tmp_path / 'clip.avi', 'MJPG')
    arguments = ['poseplug', 'predict', tmp_path / 'clip.avi', image, '--model', lite_onnx, '--out', tmp_path / 'out']
    code = (
        f'import sys; sys.argv = {list(map(str, arguments))}\n'
        'from poseplug.__main__ import main\nmain()\n'
        'print({"torch", "mmengine", "scipy", "matplotlib"} & set(sys.modules))'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == 'set()'
    lines = (tmp_path / 'out/clip.jsonl').read_text().splitlines()
    assert len(json.loads(lines[1])['instances'][0]['keypoints']) == 14


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--precision', 'bf16'], 'leave --precision out'),
        (['--no-flip', '--heatmaps'], 'leave --no-flip, --heatmaps out'),
        (['--weights', 'raw'], 'leave --weights out'),
    ],
)
def test_what_is_fixed_in_a_file_is_refused(command, lite_onnx, image, options, message):
    code, _, error = command('predict', image, '--model', lite_onnx, *options)
    assert code == 2
    assert message in error


def test_a_model_is_named_once(command, image, tmp_path):
    code, _, error = command('predict', 'a.py', 'a.pth', image, '--model', 'cpm_lsp_lite')
    assert (code, '--model cpm_lsp_lite and a.py are two models' in error) == (2, True)
    code, _, error = command('predict', image, '--runtime', 'openvino')
    assert (code, 'name one by --model FILE.onnx' in error) == (2, True)
    code, _, error = command('predict', image, '--model', tmp_path / 'missing.onnx')
    assert (code, 'missing.onnx: no such file' in error) == (2, True)


def test_an_installed_model_is_named(command, image, tmp_path):
    code, _, error = command('predict', image, '--model', 'cpm_lsp_lite', '--out', tmp_path / 'out')
    assert code == 0, error
    assert json.loads((tmp_path / 'out/results.json').read_text())['model'].startswith('cpm_lsp_lite')
