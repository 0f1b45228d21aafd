import json
from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError
from poseplug.predict import shipped_model
from poseplug.predict.predictor import Predictor
from poseplug.predict.shipped_model import (
    SHIPPED_MODEL_NAME,
    convert_to_half,
    load_shipped_model,
    package_model,
)

CONFIG = Path(__file__).parents[2] / 'configs/cpm/cpm_lsp_lite.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint of the shipped model's config, with random weights."""
    from poseplug.config.load import load_config

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp('run') / 'weights.pth'
    torch.save({'state_dict': build_model(load_config(CONFIG)).state_dict()}, file)
    return file


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch):
    """A folder with a packaged model, in place of the shipped one."""
    package_model(CONFIG, checkpoint, tmp_path, metrics={'PCK@0.2': 61.5, 'PCK@0.2/wrist': 40.0})
    monkeypatch.setattr(load_shipped_model, '__defaults__', (tmp_path, SHIPPED_MODEL_NAME))
    return tmp_path


def test_a_packaged_model_predicts_like_its_checkpoint(folder, checkpoint):
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    (packaged,) = Predictor(device='cpu')([image])
    (expected,) = Predictor(CONFIG, checkpoint, 'cpu')([image])
    assert np.abs(packaged.keypoint_scores - expected.keypoint_scores).max() < 5e-3
    assert Predictor().skeleton.groups['wrist'] == ('right_wrist', 'left_wrist')


def test_the_shipped_model_has_at_most_10_mb(folder):
    card = json.loads((folder / f'{SHIPPED_MODEL_NAME}.json').read_text())
    assert (folder / f'{SHIPPED_MODEL_NAME}.safetensors').stat().st_size == card['bytes'] <= 10_000_000
    assert card['metrics'] == {'PCK@0.2': 61.5}
    assert card['parameters'] > 2_000_000


def test_light_weights_stay_in_single_precision(folder, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped_model, '_MAX_FLOAT32_BYTES', 10**9)
    weights, _ = package_model(CONFIG, checkpoint, tmp_path / 'whole')
    from safetensors.torch import load_file

    packaged, original = load_file(weights), torch.load(checkpoint, weights_only=True)['state_dict']
    assert packaged.keys() == original.keys()
    assert all(torch.equal(packaged[name], original[name]) for name in packaged)


def test_a_changed_file_of_weights_is_refused(folder):
    file = folder / f'{SHIPPED_MODEL_NAME}.safetensors'
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match='SHA-256 differs'):
        Predictor()


@pytest.mark.parametrize('suffix', ['safetensors', 'json'])
def test_a_missing_model_is_an_error_that_says_what_to_do(folder, suffix):
    (folder / f'{SHIPPED_MODEL_NAME}.{suffix}').unlink()
    with pytest.raises(CheckpointError, match=rf'\.{suffix}.*name a config.*poseplug package_model CONFIG CHECKPOINT'):
        Predictor()


@pytest.mark.parametrize(('text', 'message'), [('{', 'damaged'), ('{}', 'lacks skeleton'), ('[]', 'lacks skeleton')])
def test_a_damaged_model_card_is_an_error(folder, text, message):
    (folder / f'{SHIPPED_MODEL_NAME}.json').write_text(text)
    with pytest.raises(CheckpointError, match=message):
        Predictor()


def test_a_weight_beyond_float16_is_not_packaged():
    assert convert_to_half(torch.full((2, 2), 6e4), 'a').dtype == torch.float16
    assert convert_to_half(torch.full((2,), 1e9), 'a').dtype == torch.float32
    with pytest.raises(CheckpointError, match='head.weight holds values beyond'):
        convert_to_half(torch.full((2, 2), 7e4), 'head.weight')


def test_the_command_packages_a_model_with_its_scores(command, checkpoint, tmp_path):
    (tmp_path / 'results.json').write_text('{"metrics": {"PCK@0.2": 50.0}}')
    results = ('--results', tmp_path / 'results.json', '--out', tmp_path / 'out', '--name', 'mine')
    code, printed, _ = command('package_model', CONFIG, checkpoint, *results)
    assert code == 0
    assert 'mine.safetensors' in printed
    cfg, weights = load_shipped_model(tmp_path / 'out', 'mine')
    assert cfg['skeleton']['name'] == 'lsp'
    (tmp_path / 'results.json').write_text('[]')
    code, _, error = command('package_model', CONFIG, checkpoint, *results)
    assert code == 2
    assert 'tools/test.py --out' in error
