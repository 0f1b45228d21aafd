import json
from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.build import build_model
from poseplug.errors import CheckpointError
from poseplug.inference import shipped
from poseplug.inference.predictor import Predictor

CONFIG = Path(__file__).parents[2] / 'configs/cpm/cpm_lsp_lite.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """The config that ships, with random weights."""
    from poseplug.config import load_config

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp('run') / 'weights.pth'
    torch.save({'state_dict': build_model(load_config(CONFIG)).state_dict()}, file)
    return file


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch):
    """A folder with the packaged model, in place of the one that ships."""
    shipped.package_model(CONFIG, checkpoint, tmp_path, metrics={'PCK@0.2': 61.5, 'PCK@0.2/wrist': 40.0})
    monkeypatch.setattr(shipped.shipped_model, '__defaults__', (tmp_path, shipped.NAME))
    return tmp_path


def test_a_packaged_model_predicts_like_its_checkpoint(folder, checkpoint):
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    (packaged,), (own,) = Predictor(device='cpu')([image]), Predictor(CONFIG, checkpoint, 'cpu')([image])
    assert np.abs(packaged.scores - own.scores).max() < 5e-3
    assert Predictor().skeleton.groups['wrist'] == ('right_wrist', 'left_wrist')


def test_the_model_that_ships_takes_at_most_10_mb(folder):
    card = json.loads((folder / f'{shipped.NAME}.json').read_text())
    assert (folder / f'{shipped.NAME}.safetensors').stat().st_size == card['bytes'] <= 10_000_000
    assert card['metrics'] == {'PCK@0.2': 61.5}
    assert card['parameters'] > 2_000_000


def test_light_weights_are_kept_whole(folder, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, 'LIMIT', 10**9)
    weights, _ = shipped.package_model(CONFIG, checkpoint, tmp_path / 'whole')
    from safetensors.torch import load_file

    kept, own = load_file(weights), torch.load(checkpoint, weights_only=True)['state_dict']
    assert kept.keys() == own.keys()
    assert all(torch.equal(kept[n], own[n]) for n in kept)


def test_a_changed_file_of_weights_is_refused(folder):
    file = folder / f'{shipped.NAME}.safetensors'
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match='SHA-256 differs'):
        Predictor()


@pytest.mark.parametrize('ending', ['safetensors', 'json'])
def test_an_absent_model_is_an_error_that_says_how_to_go_on(folder, ending):
    (folder / f'{shipped.NAME}.{ending}').unlink()
    with pytest.raises(CheckpointError, match=rf'\.{ending}.*name a config.*package_model\.py CONFIG CHECKPOINT'):
        Predictor()


@pytest.mark.parametrize(('text', 'told'), [('{', 'damaged'), ('{}', 'lacks skeleton'), ('[]', 'lacks skeleton')])
def test_a_damaged_description_is_an_error(folder, text, told):
    (folder / f'{shipped.NAME}.json').write_text(text)
    with pytest.raises(CheckpointError, match=told):
        Predictor()


def test_a_weight_beyond_float16_is_not_packaged():
    assert shipped.halved(torch.full((2, 2), 6e4), 'a').dtype == torch.float16
    assert shipped.halved(torch.full((2,), 1e9), 'a').dtype == torch.float32
    with pytest.raises(CheckpointError, match='head.weight holds values beyond'):
        shipped.halved(torch.full((2, 2), 7e4), 'head.weight')


def test_the_command_packages_a_model_with_its_scores(command, checkpoint, tmp_path):
    (tmp_path / 'results.json').write_text('{"metrics": {"PCK@0.2": 50.0}}')
    results = ('--results', tmp_path / 'results.json', '--out', tmp_path / 'out', '--name', 'mine')
    code, out, _ = command('package_model.py', CONFIG, checkpoint, *results)
    assert code == 0
    assert 'mine.safetensors' in out
    cfg, weights = shipped.shipped_model(tmp_path / 'out', 'mine')
    assert cfg['skeleton']['name'] == 'lsp'
    (tmp_path / 'results.json').write_text('[]')
    code, _, told = command('package_model.py', CONFIG, checkpoint, *results)
    assert code == 2
    assert 'tools/test.py --out' in told
