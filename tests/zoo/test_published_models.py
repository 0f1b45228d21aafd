"""Models by name, from a served file of MMPose's form to keypoints, in Python and by the commands."""

import hashlib
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.predict.model_loading import list_models, load_model
from poseplug.predict.predictor import Predictor
from poseplug.predict.shipped_model import SHIPPED_MODEL_DIR
from poseplug.zoo import index
from poseplug.zoo.index import PublishedModel, PublishedScore
from poseplug.zoo.installed_models import find_installed_weights
from poseplug.zoo.published_models import get_published_weights, load_published_config
from tests.zoo.published_files import ServedFiles, save_as_mmpose, serve_files

NAME = 'tiny-hrnet'
OVERRIDES = {
    'model.backbone.width': 4,
    'model.backbone.num_modules': (1, 1, 1),
    'model.backbone.num_blocks': 1,
    'model.codec.input_size': (64, 64),
}


def are_equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_model(load_config('hrnet_w32_coco_256x192', OVERRIDES)).eval()


@pytest.fixture
def served(model, tmp_path, monkeypatch):
    content = save_as_mmpose(model)
    file_name = f'tiny-{hashlib.sha256(content).hexdigest()[:8]}_20260101.pth'
    monkeypatch.setenv('POSEPLUG_CACHE', str(tmp_path / 'cache'))
    with serve_files(ServedFiles({file_name: content})) as files:
        entry = PublishedModel(
            NAME, ('td-hm_tiny_coco-64x64',), 'body', 'hrnet_w32_coco_256x192', OVERRIDES, (files.get_url(file_name),),
            'coco', (64, 64), 1000, sha256_prefix=file_name[5:13], scores=(PublishedScore('COCO', {'AP': 0.5}),),
        )  # fmt: skip
        entries, names = index._read_index()
        extended = ({**entries, NAME: entry}, {**names, NAME: NAME, entry.aliases[0]: NAME})
        monkeypatch.setattr(index, '_read_index', lambda: extended)
        yield files


def test_a_model_is_fetched_converted_and_loaded_by_name(served, model, tmp_path):
    loaded = load_model(NAME, device='cpu')
    state = loaded.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert loaded.codec.match == 'mmpose'
    assert not loaded.training
    weights = get_published_weights('td-hm_tiny_coco-64x64')
    assert weights.parent == tmp_path / 'cache/models'
    assert weights.suffix == '.safetensors'
    assert len(served.requests) == 1
    lock = json.loads((weights.parent / 'lock.json').read_text())
    assert lock[weights.name]['source_sha256'] == next(r['sha256'] for name, r in lock.items() if name.endswith('.pth'))


def test_converted_weights_that_were_changed_are_converted_again(served):
    weights = get_published_weights(NAME)
    content = weights.read_bytes()
    weights.write_bytes(content[:-8] + bytes(8))
    assert are_equal(load_file(get_published_weights(NAME)), load(content))


def test_converted_weights_are_enough_without_the_published_file(served):
    weights = get_published_weights(NAME)
    (published,) = weights.parent.glob('*.pth')
    published.unlink()
    assert get_published_weights(NAME) == weights
    assert len(served.requests) == 1


def test_weights_are_converted_beside_a_cache_that_cannot_be_written(served, monkeypatch):
    from poseplug.zoo.weight_cache import WeightCache

    weights = get_published_weights(NAME)
    content = weights.read_bytes()
    weights.unlink()

    def refuse(*_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(WeightCache, 'lock_folder', refuse)
    elsewhere = get_published_weights(NAME)
    assert elsewhere.parent != weights.parent
    assert are_equal(load_file(elsewhere), load(content))


def test_a_file_of_other_keypoints_than_the_index_says_is_refused(served, model):
    (file_name,) = served.contents
    content = save_as_mmpose(model, [*model.skeleton.keypoints[1:], 'tail'])
    served.contents = {file_name: content}
    entry = index.find_published_model(NAME)
    changed = replace(entry, sha256_prefix='')
    index._read_index()[0][NAME] = changed
    with pytest.raises(CheckpointError, match='keypoint 0 is left_eye in the file, nose in the config'):
        get_published_weights(NAME)


def test_weights_of_a_name_start_a_run(served, model):
    from poseplug.engine.weight_init import init_weights

    other = build_model(load_published_config(NAME))
    init_weights(other, NAME)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    (report,) = init_weights(build_model(load_published_config(NAME)), dict(backbone=NAME))
    assert not report.missing


def test_weights_of_an_installed_model_start_a_run():
    from poseplug.engine.weight_init import init_weights

    model = build_model(load_config('cpm_efficientnet_lsp'))
    init_weights(model, 'cpm_efficientnet_lsp')
    file = SHIPPED_MODEL_DIR / 'cpm_efficientnet_lsp.safetensors'
    assert are_equal(
        {k: v.half() for k, v in model.state_dict().items() if v.is_floating_point()},
        {k: v.half() for k, v in load_file(file).items() if v.is_floating_point()},
    )


def test_weights_of_an_installed_model_that_were_changed_are_refused(tmp_path):
    shutil.copytree(SHIPPED_MODEL_DIR, tmp_path / 'weights')
    file = tmp_path / 'weights' / 'cpm_lsp_lite.safetensors'
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match='is not the file that cpm_lsp_lite.json describes'):
        find_installed_weights('cpm_lsp_lite', tmp_path / 'weights')
    assert find_installed_weights('cpm_lsp_large', tmp_path / 'weights') is None


def test_a_teacher_is_a_published_model(served, model):
    cfg = load_published_config(NAME)
    cfg.model = {**cfg.model, 'type': 'DistilledTopDown', 'teacher': NAME}
    teacher = build_model(cfg).criterion.teacher.estimator
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in model.state_dict().items())


def test_own_weights_are_loaded_into_a_model_by_name(served, model, tmp_path):
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'mine.pth')
    loaded = load_model(NAME, tmp_path / 'mine.pth', device='cpu')
    assert loaded.codec.match == 'mmpose'
    assert served.requests == []


def test_the_predictor_and_the_command_predict_by_name(served, command, tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 255, (96, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    (result,) = Predictor(NAME, device='cpu')(image)
    assert result.keypoints.shape == (1, 17, 2)
    capsys.readouterr()
    arguments = ('--model', NAME, '--out', tmp_path / 'out', '--device', 'cpu', '--json')
    code, printed, error = command('predict', tmp_path / 'street.png', *arguments)
    assert code == 0, error
    assert error == ''  # fetched before
    (instance,) = json.loads(printed)['images'][0]['instances']
    assert np.allclose(np.array(instance['keypoints'])[:, :2], result.keypoints[0], atol=0.01)


def test_a_model_is_named_once(command, tmp_path):
    code, _, error = command('test', 'hrnet_w32_coco_256x192', tmp_path / 'a.pth', '--model', 'hrnet-w32')
    assert code == 2
    assert '--model hrnet-w32 and hrnet_w32_coco_256x192 are two models' in error
    code, _, error = command('test')
    assert code == 2
    assert 'which model? Name a CONFIG and its CHECKPOINT, or a published model by --model NAME' in error


def test_the_commands_list_and_fetch_models(served, command, tmp_path):
    code, printed, _ = command('models', 'tiny-*')
    assert code == 0
    assert 'published by MMPose 1.3.2' in printed
    code, printed, _ = command('models', '--json', NAME)
    assert json.loads(printed)[0]['name'] == NAME
    code, printed, error = command('fetch', NAME, 'td-hm_tiny_coco-64x64', '--to', tmp_path / 'usb')
    assert code == 0, error
    (file,) = (tmp_path / 'usb/models').glob('*.pth')
    assert printed.startswith(f'{NAME}: {file}, ')
    code, printed, error = command('fetch', 'cpm_lsp_lite')
    assert (code, error) == (0, '')
    assert printed == 'cpm_lsp_lite: installed with poseplug, nothing to fetch\n'
    assert len(served.requests) == 1


def test_a_name_that_is_a_part_of_others_tells_of_them(command):
    _, printed, _ = command('models', 'rtmo')
    assert printed.splitlines()[0].split() == ['name', 'rtmo-l']
    assert (
        printed.splitlines()[-1]
        .split(maxsplit=1)[1]
        .endswith("more have 'rtmo' in their names: poseplug models '*rtmo*'")
    )
    _, printed, _ = command('models', 'rtmo-s-crowdpose')
    assert printed.splitlines()[-1].startswith('use ')


def test_a_file_that_was_fetched_by_hand_is_converted_for_a_model_by_name(served, model, command, tmp_path):
    (content,) = served.contents.values()
    (tmp_path / 'fetched.pth').write_bytes(content)
    out = tmp_path / 'weights.safetensors'
    code, printed, error = command('convert', tmp_path / 'fetched.pth', NAME, '--out', out, '--trust')
    assert (code, served.requests) == (0, []), error
    assert printed.splitlines()[-2].endswith("used with match='mmpose'")
    assert are_equal(load_model(NAME, out, device='cpu').state_dict(), model.state_dict())


def test_a_typo_has_the_closest_name():
    with pytest.raises(ConfigError, match="rtmo-z has no weights of its own.*closest: 'rtmo-"):
        load_model('rtmo-z')
    assert {'rtmo-s', 'cpm_lsp_lite'} <= set(list_models(with_weights=True))
