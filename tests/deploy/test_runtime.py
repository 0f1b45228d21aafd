"""What running an exported model loads, and how it is called."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from poseplug.core.errors import CheckpointError, ConfigError, ImageError
from poseplug.deploy.exported_model import OUTPUT_NAMES, ExportedModel


def test_the_runtime_of_exported_models_loads_neither_torch_nor_mmengine():
    for module, forbidden in (
        ('exported_model', {'torch', 'mmengine', 'scipy', 'onnxruntime'}),
        ('runtime', {'torch', 'mmengine', 'scipy', 'matplotlib', 'onnxruntime', 'http', 'ssl'}),
    ):
        code = f'import sys, poseplug.deploy.{module}; print(*sys.modules)'
        loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
        assert not {name.partition('.')[0] for name in loaded} & forbidden, module


class BusyRequest:
    """A request as OpenVINO's, which refuses a second thread while it infers."""

    def __init__(self, outputs):
        self.outputs, self.is_busy, self.profiling_info = outputs, False, ()

    def infer(self, inputs):
        if self.is_busy:
            raise RuntimeError('Infer Request is busy')
        self.is_busy = True
        time.sleep(0.05)
        self.is_busy = False
        return self.outputs


@pytest.fixture
def openvino_model(monkeypatch, tmp_path):
    """An exported model on a stand-in of OpenVINO, and the requests that it created."""
    outputs = {name: np.zeros((1, 2, 2), np.float32) for name in OUTPUT_NAMES['one_stage']}
    requests = []

    def create_infer_request():
        requests.append(BusyRequest(outputs))
        return requests[-1]

    metadata = json.dumps({'input_size': [8, 4], 'keypoint_names': ['a', 'b']})
    network = SimpleNamespace(get_rt_info=lambda path: SimpleNamespace(astype=lambda kind: metadata))
    core = SimpleNamespace(
        read_model=lambda file: network,
        compile_model=lambda *arguments: SimpleNamespace(create_infer_request=create_infer_request),
    )
    monkeypatch.setitem(sys.modules, 'openvino', SimpleNamespace(Core=lambda: core))
    (tmp_path / 'model.onnx').write_bytes(b'')
    return ExportedModel(tmp_path / 'model.onnx', 'openvino'), requests


def test_openvino_refuses_files_of_8_bits(monkeypatch, tmp_path):
    metadata = json.dumps({'input_size': [8, 4], 'keypoint_names': ['a', 'b'], 'precision': 'int8'})
    network = SimpleNamespace(get_rt_info=lambda path: SimpleNamespace(astype=lambda kind: metadata))
    core = SimpleNamespace(read_model=lambda file: network, compile_model=lambda *arguments: None)
    monkeypatch.setitem(sys.modules, 'openvino', SimpleNamespace(Core=lambda: core))
    (tmp_path / 'int8.onnx').write_bytes(b'')
    with pytest.raises(ConfigError, match=r'int8\.onnx: OpenVINO computes other keypoints .* run it by onnxruntime'):
        ExportedModel(tmp_path / 'int8.onnx', 'openvino')


def test_several_threads_may_call_one_model_on_openvino(openvino_model):
    model, requests = openvino_model
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(model, [np.zeros((1, 4, 8, 3), np.uint8)] * 8))
    assert len(results) == 8
    assert 2 <= len(requests) <= 4


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('name', OUTPUT_NAMES['one_stage'])
def test_a_network_that_predicts_no_numbers_is_refused(openvino_model, name, value):
    model, _ = openvino_model
    images = np.zeros((1, 4, 8, 3), np.uint8)
    model(images)
    model.runtime_session.thread_data.request.outputs[name][..., 1] = value
    with pytest.raises(CheckpointError, match=r'model\.onnx predicts numbers that are not finite'):
        model(images)


def test_no_images_have_no_instances(openvino_model):
    model, requests = openvino_model
    poses = model(np.zeros((0, 4, 8, 3), np.uint8))
    assert (len(poses), poses.keypoints.shape, poses.boxes.shape) == (0, (0, 2, 2), (0, 4))
    assert not requests
    with pytest.raises(ImageError, match='got a list'):
        model([])
