"""Checkpoints that MMPose saved, converted by the command: the same outputs. Minutes: pytest -m slow.

`tools/compare/save_mmpose.py FOLDER` writes them, with the Python of MMPose's environment; POSEPLUG_MMPOSE names
FOLDER.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.config.build import build_model, get_crop_rule
from poseplug.config.load import load_config
from poseplug.files.weights import load_weights
from poseplug.models.estimators.network import predict_from_features

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
NETWORKS = {  # file name to config, as in docs/howto/convert_weights.md
    'hrnet_w32': 'hrnet/hrnet_w32_coco_256x192.py',
    'hrnet_w32_udp': 'hrnet/hrnet_w32_coco_256x192.py',
    'res50': 'simple_baseline/simple_baseline_r50_coco_256x192.py',
    'vitpose_s': 'vitpose/vitpose_s_coco_256x192.py',
    'simcc_res50': 'simcc/simcc_r50_coco_256x192.py',
    'rtmpose_s': 'rtmpose/rtmpose_s_coco_256x192.py',
}
EXTRA_SETTINGS = {'hrnet_w32_udp': "model = dict(codec=dict(_delete_=True, type='UDPHeatmap', input_size=(192, 256)))"}
TOLERANCE = 1e-4


@pytest.fixture
def saved() -> Path:
    """The folder with checkpoints, inputs and outputs of MMPose's own models."""
    folder = os.environ.get('POSEPLUG_MMPOSE')
    if not folder:
        pytest.skip('POSEPLUG_MMPOSE names no folder; tools/compare/save_mmpose.py FOLDER writes one')
    return Path(folder)


DOCUMENTED_CONFIGS = re.findall(r'```python\n(.+?)```', (ROOT / 'docs/howto/convert_weights.md').read_text(), re.DOTALL)


@pytest.mark.parametrize('text', DOCUMENTED_CONFIGS)
def test_the_configs_on_the_page_build(text, tmp_path):
    (tmp_path / 'config.py').write_text(text.replace("'configs/", f"'{CONFIGS}/"))
    cfg = load_config(tmp_path / 'config.py')
    with torch.device('meta'):
        model = build_model(cfg)
    assert model.codec.input_size in ((192, 256), (288, 384))
    assert get_crop_rule(cfg) == ('corners' if getattr(model.codec, 'aligned', False) else 'pixels')


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_a_converted_checkpoint_gives_the_outputs_of_mmpose(saved, command, tmp_path, name):
    config, weights = tmp_path / 'config.py', tmp_path / 'ours.safetensors'
    config.write_text(f"_base_ = ['{CONFIGS}/{NETWORKS[name]}']\n{EXTRA_SETTINGS.get(name, '')}\n")
    code, printed, error = command('convert', saved / f'{name}.pth', config, '--out', weights, '--trust')
    assert code == 0, error
    assert f'{weights}: sha256 ' in printed.splitlines()[-1]
    model = build_model(load_config(config)).eval()
    load_weights(model, weights)
    with np.load(saved / f'{name}.npz') as arrays:
        images = torch.from_numpy(arrays['input'])
        expected = [arrays[f'out{i}'] for i in range(len(arrays.files) - 1)]
    with torch.no_grad():
        network = model.network
        stages = predict_from_features(network.neck, network.head, network.backbone(images))
        outputs = [field.numpy() for field in stages[-1].values()]
    assert [a.shape for a in outputs] == [a.shape for a in expected]
    max_difference = max(float(np.abs(a - b).max()) for a, b in zip(outputs, expected, strict=True))
    max_output = max(np.abs(b).max() for b in expected)
    print(f'{name}: differs by at most {max_difference:.1e}, of outputs up to {max_output:.2f}')
    assert max_difference <= TOLERANCE
