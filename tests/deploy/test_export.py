"""A model as one ONNX graph: ONNX Runtime and OpenVINO find the instances that PyTorch finds."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import CheckpointError, ConfigError, ImageError
from poseplug.deploy.export import export_onnx, find_export_kind
from poseplug.deploy.one_stage_export import gather_field_cells
from poseplug.deploy.onnx_graphs import make_dynamic_shapes
from tests.conftest import ROOT
from tests.predict.test_one_stage import TINY

RUNTIMES = ('onnxruntime', 'openvino')
HEADS = {'rtmo': TINY['model.head'], 'yolox': dict(type='YOLOXPoseHead', feat_channels=16)}


def create_model(head: str, num_cells: int = 12, **codec):
    """The smallest model, with random weights, and two images of noise with so many cells above its threshold."""
    torch.manual_seed(0)
    cfg = load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', {**TINY, 'model.head': HEADS[head]})
    model = build_model(cfg).eval()
    for layer in model.network.head.modules():
        if isinstance(layer, nn.Conv2d) and layer.out_channels == 1:
            nn.init.normal_(layer.weight, std=1.0)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        scores = model.network(torch.from_numpy(images))[0]['score'].sigmoid().flatten().sort().values
    threshold = scores[-num_cells - 1 : len(scores) - num_cells + 1].mean().item()
    model.postprocess.codec = replace(model.codec, **{'score_threshold': threshold, 'nms_threshold': 0.5, **codec})
    return model, images


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A function from a head to its model, its file and images; skipped where the packages are missing."""
    for package in ('onnx', 'onnxscript'):
        pytest.importorskip(package, reason=f'{package} is not installed (extra: export)')
    cache = {}

    def load(head, **codec):
        key = (head, *codec.items())
        if key not in cache:
            model, images = create_model(head, **codec)
            file = export_onnx(model, tmp_path_factory.mktemp('onnx') / 'model.onnx')
            cache[key] = model, file, images
        return cache[key]

    return load


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    pytest.importorskip(request.param, reason=f'{request.param} is not installed (extra: export)')
    return request.param


@pytest.mark.parametrize('head', HEADS)
def test_an_exported_model_finds_the_instances_of_the_estimator(exported, runtime, head):
    from poseplug.deploy.exported_model import ExportedModel
    from poseplug.deploy.parity import max_output_differences

    model, file, images = exported(head)
    exported_model = ExportedModel(file, runtime)
    assert len(exported_model(images)) >= 4
    differences = max_output_differences(model, exported_model, images)
    assert max(differences.values()) < 1e-4, differences


def test_batches_have_any_length_and_images_may_have_no_instances(exported, runtime):
    from poseplug.deploy.exported_model import ExportedModel

    model, file, images = exported('rtmo')
    exported_model = ExportedModel(file, runtime)
    for count in (1, 3):
        poses = exported_model(images[:1].repeat(count, axis=0))
        assert set(poses.image_indices.tolist()) == set(range(count))
    _, file, images = exported('rtmo', score_threshold=0.9999)
    assert ExportedModel(file, runtime)(images).keypoints.shape == (0, 17, 2)


def test_limits_of_candidates_and_instances_hold_in_the_graph(exported, runtime):
    """An image has 20 cells."""
    from poseplug.deploy.exported_model import ExportedModel
    from poseplug.deploy.parity import max_output_differences

    model, file, images = exported('rtmo', nms_pre=10, max_instances=2, score_threshold=0.0)
    exported_model = ExportedModel(file, runtime)
    assert exported_model(images).image_indices.tolist() == [0, 0, 1, 1]
    assert max(max_output_differences(model, exported_model, images).values()) < 1e-4


def test_the_file_has_keypoint_names_and_settings_and_refuses_other_images(exported, runtime):
    from poseplug.deploy.exported_model import ExportedModel

    model, file, images = exported('rtmo')
    exported_model = ExportedModel(file, runtime)
    assert exported_model.settings['keypoint_names'] == list(model.skeleton.keypoints)
    assert (exported_model.settings['input_size'], exported_model.settings['nms_threshold']) == ([64, 64], 0.5)
    with pytest.raises(
        ImageError, match=r'takes uint8 of \(B, 64, 64, 3\), letterboxed; got uint8 of \(2, 32, 64, 3\)'
    ):
        exported_model(images[:, :32])


def test_files_that_the_exporter_did_not_write_are_refused_by_name(runtime, tmp_path):
    from poseplug.deploy.exported_model import ExportedModel

    onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: export)')
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in 'xy']
    graph = onnx.helper.make_graph([onnx.helper.make_node('Relu', ['x'], ['y'])], 'other', values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid('', 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / 'other.onnx'))
    (tmp_path / 'noise.onnx').write_bytes(bytes(range(256)))
    for name in ('other.onnx', 'noise.onnx'):
        with pytest.raises(CheckpointError, match=f'{name}: {runtime} cannot use it as a file of poseplug export'):
            ExportedModel(tmp_path / name, runtime)


def test_the_time_of_operators_is_reported(exported, runtime):
    from poseplug.deploy.exported_model import ExportedModel

    _, file, images = exported('rtmo')
    exported_model = ExportedModel(file, runtime, threads=1, profile=True)
    exported_model(images)
    seconds_by_operator = exported_model.operator_seconds()
    assert any(kind.startswith('NonMaxSuppression') for kind in seconds_by_operator)
    assert all(seconds >= 0 for seconds in seconds_by_operator.values())


def test_the_command_writes_a_file_and_compares_it(exported, tmp_path):
    exported('rtmo')
    cfg = load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', TINY)
    torch.manual_seed(0)
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    # Of a network that was never trained, which all the same has to find instances to compare.
    options = [*(f'{key}={value}' for key, value in TINY.items()), 'model.codec.score_threshold=0.001']
    out = tmp_path / 'sub/model.onnx'
    command = ['-m', 'poseplug', 'export', 'configs/rtmo/rtmo_tiny_synthetic_256.py', str(tmp_path / 'weights.pth')]
    command = [sys.executable, '-W', 'ignore', *command, '--out', str(out), '--cfg-options', *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.is_file()
    assert 'onnxruntime' in result.stdout


def test_a_codec_that_chooses_one_instance_among_several_is_refused_by_name():
    parts = dict(backbone=dict(type='Hourglass', num_stacks=1, channels=8), head=dict(type='HeatmapHead'))
    codec = dict(type='PAF', input_size=(64, 64), stride=4, single_instance=True)
    model = build_model(dict(skeleton='coco', model=dict(type='TopDown', codec=codec, **parts)))
    with pytest.raises(ConfigError, match=r'TopDown with the codec PAF\(single_instance=True\) has no export'):
        find_export_kind(model)


def test_without_the_packages_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ConfigError, match=r"needs the package onnx, .* pip install 'poseplug\[export\]'"):
        export_onnx(create_model('rtmo')[0], tmp_path / 'model.onnx')


def test_a_missing_file_and_an_unknown_runtime_are_refused(tmp_path):
    from poseplug.deploy.exported_model import ExportedModel

    with pytest.raises(CheckpointError, match='no such file; write it with poseplug export'):
        ExportedModel(tmp_path / 'none.onnx')
    with pytest.raises(ConfigError, match="runtime is 'onnxruntime' or 'openvino'; got 'tensorrt'"):
        ExportedModel(tmp_path / 'none.onnx', 'tensorrt')


def test_fields_of_selected_cells_are_gathered_in_any_shape():
    field = torch.arange(2 * 5 * 3 * 2).view(2, 5, 3, 2)
    cells = torch.tensor([[4, 0], [1, 1]])
    assert gather_field_cells(field, cells).equal(torch.stack([field[0, [4, 0]], field[1, [1, 1]]]))
    assert gather_field_cells(field[..., 0, 0], cells).equal(gather_field_cells(field, cells)[..., 0, 0])


def test_every_first_dimension_is_dynamic():
    shapes = make_dynamic_shapes((torch.zeros(2, 3), (torch.zeros(1),)))
    assert json.dumps([list(shapes[0]), list(shapes[1][0])]) == '[[0], [0]]'
