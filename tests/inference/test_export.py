"""A model as one ONNX graph: what ONNX Runtime and OpenVINO find is what PyTorch finds."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from poseplug.build import build_model
from poseplug.config import load_config
from poseplug.errors import CheckpointError, ConfigError, ImageError
from poseplug.inference.export import at, export_onnx, of_any_length
from tests.conftest import ROOT
from tests.inference.test_one_stage import TINY

RUNTIMES = ('onnxruntime', 'openvino')
HEADS = {'rtmo': TINY['model.head'], 'yolox': dict(type='YOLOXPoseHead', width=16)}


def sure_model(head: str, cells: int = 12, **codec):
    """The smallest model, of random weights, sure of so many cells of two pictures of noise; and the pictures."""
    torch.manual_seed(0)
    cfg = load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', {**TINY, 'model.head': HEADS[head]})
    model = build_model(cfg).eval()
    for layer in model.head.modules():
        if isinstance(layer, nn.Conv2d) and layer.out_channels == 1:
            nn.init.normal_(layer.weight, std=1.0)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        scores = model(torch.from_numpy(images))[0]['score'].sigmoid().flatten().sort().values
    middle = scores[-cells - 1 : len(scores) - cells + 1].mean().item()
    model.codec = replace(model.codec, **{'threshold': middle, 'overlap': 0.5, **codec})
    return model, images


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A function from a head to its model, its file and pictures; skipped where the packages are missing."""
    for package in ('onnx', 'onnxscript'):
        pytest.importorskip(package, reason=f'{package} is not installed (extra: export)')
    made = {}

    def load(head, **codec):
        key = (head, *codec.items())
        if key not in made:
            model, images = sure_model(head, **codec)
            made[key] = model, export_onnx(model, tmp_path_factory.mktemp('onnx') / 'model.onnx'), images
        return made[key]

    return load


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    pytest.importorskip(request.param, reason=f'{request.param} is not installed (extra: export)')
    return request.param


@pytest.mark.parametrize('head', HEADS)
def test_an_exported_model_finds_whom_the_estimator_finds(exported, runtime, head):
    from poseplug.inference.exported import Exported, differences

    model, file, images = exported(head)
    there = Exported(file, runtime)
    assert len(there(images)) >= 4
    away = differences(model, there, images)
    assert max(away.values()) < 1e-4, away


def test_batches_may_be_of_any_length_and_pictures_of_nobody(exported, runtime):
    from poseplug.inference.exported import Exported

    model, file, images = exported('rtmo')
    there = Exported(file, runtime)
    for count in (1, 3):
        assert set(there(images[:1].repeat(count, axis=0)).images.tolist()) == set(range(count))
    _, unsure, images = exported('rtmo', threshold=0.9999)
    assert Exported(unsure, runtime)(images).keypoints.shape == (0, 17, 2)


def test_limits_of_candidates_and_people_hold_in_the_graph(exported, runtime):
    """A picture has 20 cells."""
    from poseplug.inference.exported import Exported, differences

    model, file, images = exported('rtmo', candidates=10, most=2, threshold=0.0)
    there = Exported(file, runtime)
    assert there(images).images.tolist() == [0, 0, 1, 1]
    assert max(differences(model, there, images).values()) < 1e-4


def test_the_file_names_joints_and_settings_and_refuses_other_pictures(exported, runtime):
    from poseplug.inference.exported import Exported

    model, file, images = exported('rtmo')
    there = Exported(file, runtime)
    assert there.settings['joints'] == list(model.skeleton.joints)
    assert (there.settings['input_size'], there.settings['overlap']) == ([64, 64], 0.5)
    with pytest.raises(
        ImageError, match=r'takes uint8 of \(B, 64, 64, 3\), letterboxed; got uint8 of \(2, 32, 64, 3\)'
    ):
        there(images[:, :32])


def test_files_that_are_not_of_the_exporter_are_refused_by_name(runtime, tmp_path):
    from poseplug.inference.exported import Exported

    onnx = pytest.importorskip('onnx', reason='onnx is not installed (extra: export)')
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in 'xy']
    graph = onnx.helper.make_graph([onnx.helper.make_node('Relu', ['x'], ['y'])], 'other', values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid('', 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), str(tmp_path / 'other.onnx'))
    (tmp_path / 'noise.onnx').write_bytes(bytes(range(256)))
    for name in ('other.onnx', 'noise.onnx'):
        with pytest.raises(CheckpointError, match=f'{name}: {runtime} cannot use it as a file of tools/export.py'):
            Exported(tmp_path / name, runtime)


def test_what_operators_cost_is_told(exported, runtime):
    from poseplug.inference.exported import Exported

    _, file, images = exported('rtmo')
    there = Exported(file, runtime, threads=1, profile=True)
    there(images)
    costs = there.costs()
    assert any(kind.startswith('NonMaxSuppression') for kind in costs)
    assert all(spent >= 0 for spent in costs.values())


def test_the_command_writes_a_file_and_compares_it(exported, tmp_path):
    exported('rtmo')
    cfg = load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', TINY)
    torch.save({'state_dict': build_model(cfg).state_dict()}, tmp_path / 'weights.pth')
    options = [f'{key}={value}' for key, value in TINY.items()]
    out = tmp_path / 'sub/model.onnx'
    command = ['tools/export.py', 'configs/rtmo/rtmo_tiny_synthetic_256.py', str(tmp_path / 'weights.pth')]
    command = [sys.executable, '-W', 'ignore', *command, '--out', str(out), '--cfg-options', *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.is_file()
    assert 'onnxruntime' in done.stdout


def test_other_models_are_refused_by_name(tmp_path):
    model = build_model(load_config(ROOT / 'configs/cpm/cpm_synthetic.py'))
    with pytest.raises(ConfigError, match='TopDown with the codec .* has no export; there is one for models that find'):
        export_onnx(model, tmp_path / 'model.onnx')


def test_without_the_packages_it_is_told_which_extra_brings_them(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ConfigError, match=r"needs the package onnx, .* pip install 'poseplug\[export\]'"):
        export_onnx(sure_model('rtmo')[0], tmp_path / 'model.onnx')


def test_a_missing_file_and_an_unknown_runtime_are_refused(tmp_path):
    from poseplug.inference.exported import Exported

    with pytest.raises(CheckpointError, match='no such file; write it with tools/export.py'):
        Exported(tmp_path / 'none.onnx')
    with pytest.raises(ConfigError, match="runtime is 'onnxruntime' or 'openvino'; got 'tensorrt'"):
        Exported(tmp_path / 'none.onnx', 'tensorrt')


def test_fields_of_chosen_cells_are_gathered_whatever_their_shape():
    field = torch.arange(2 * 5 * 3 * 2).view(2, 5, 3, 2)
    cells = torch.tensor([[4, 0], [1, 1]])
    assert at(field, cells).equal(torch.stack([field[0, [4, 0]], field[1, [1, 1]]]))
    assert at(field[..., 0, 0], cells).equal(at(field, cells)[..., 0, 0])


def test_every_length_is_free():
    free = of_any_length((torch.zeros(2, 3), (torch.zeros(1),)))
    assert json.dumps([list(free[0]), list(free[1][0])]) == '[[0], [0]]'
