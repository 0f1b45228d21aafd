"""Checkpoints are whole or absent, plain, verified, and never executed."""

import contextlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from poseplug.engine import checkpoint
from poseplug.engine.checkpoint import INDEX, latest, load, load_weights, plain, read_index, save
from poseplug.errors import CheckpointError, UnsafeFileError


def state(value: float) -> dict:
    return {'state_dict': {'weight': torch.full((64,), value)}, 'meta': {'step': int(value)}}


def names(folder) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_what_was_saved_is_loaded(tmp_path):
    path = save(tmp_path, 'step_0000001.pth', state(1), step=1)
    assert torch.equal(load(path)['state_dict']['weight'], torch.full((64,), 1.0))
    assert latest(tmp_path) == path


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, call):
    save(tmp_path, 'step_0000001.pth', state(1), step=1, keep=1)
    before = names(tmp_path)

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, call, full)
    with pytest.raises(CheckpointError, match='No space left on device; earlier checkpoints are whole'):
        save(tmp_path, 'step_0000002.pth', state(2), step=2, keep=1)
    assert names(tmp_path) == before
    assert load(tmp_path)['meta']['step'] == 1


def test_every_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda n: (calls.append('fsync'), fsync(n))[1])
    monkeypatch.setattr(os, 'replace', lambda a, b: (calls.append('replace'), replace(a, b))[1])
    save(tmp_path, 'step_0000001.pth', state(1), step=1)
    assert calls == ['fsync', 'replace', 'fsync'] * 2  # file, name, folder; then the same for the index


def test_an_old_file_goes_only_after_the_new_one_is_safe(tmp_path, monkeypatch):
    save(tmp_path, 'step_0000001.pth', state(1), step=1, keep=1)
    usual = checkpoint.write_whole
    seen = []
    monkeypatch.setattr(checkpoint, 'write_whole', lambda p, d: (usual(p, d), seen.append(names(tmp_path))))
    save(tmp_path, 'step_0000002.pth', state(2), step=2, keep=1)
    assert all('step_0000001.pth' in names for names in seen)
    assert names(tmp_path) == {'step_0000002.pth', INDEX}


def test_the_newest_are_kept_and_the_best_always(tmp_path):
    for step in range(1, 6):
        save(tmp_path, f'step_{step:07d}.pth', state(step), step, keep=2)
        if step == 2:
            save(tmp_path, 'best.pth', state(step), step, keep=2, best=True)
    assert names(tmp_path) == {'step_0000004.pth', 'step_0000005.pth', 'best.pth', INDEX}
    assert load(tmp_path / 'best.pth')['meta']['step'] == 2


def test_saving_the_best_deletes_nothing(tmp_path):
    save(tmp_path, 'step_0000001.pth', state(1), step=1, keep=1)
    save(tmp_path, 'best.pth', state(2), step=2, keep=1, best=True)
    assert latest(tmp_path).name == 'step_0000001.pth'


@pytest.mark.parametrize('known', [True, False])
def test_one_flipped_bit_or_a_missing_end_is_found(tmp_path, known):
    """With the index by SHA-256; without it by the archive's own checksums: never other weights without a word."""
    path = save(tmp_path, 'step_0000001.pth', state(1), step=1)
    data = path.read_bytes()
    if not known:
        (tmp_path / INDEX).unlink()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 40):
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoiled)
        try:
            assert torch.equal(load(path)['state_dict']['weight'], torch.full((64,), 1.0))
            assert not known
        except CheckpointError:
            pass
    for length in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match='damaged'):
            load(path)


@pytest.mark.parametrize('index', ['', 'garbage', '[]', '{"files": {"step_0000009.pth": 3}}', None])
def test_a_damaged_index_does_not_hide_the_checkpoints(tmp_path, index):
    for step in (1, 2):
        save(tmp_path, f'step_{step:07d}.pth', state(step), step)
    (tmp_path / INDEX).unlink() if index is None else (tmp_path / INDEX).write_text(index)
    assert latest(tmp_path).name == 'step_0000002.pth'


def test_the_newest_whole_file_is_taken_when_the_newest_is_torn(tmp_path):
    for step in (1, 2):
        save(tmp_path, f'step_{step:07d}.pth', state(step), step)
    path = tmp_path / 'step_0000002.pth'
    path.write_bytes(path.read_bytes()[:-7])
    assert load(tmp_path)['meta']['step'] == 1


@pytest.mark.parametrize('data', [b'', b'PK torn', bytes(100)])
def test_a_torn_file_that_the_index_does_not_know_is_passed_over_and_told(tmp_path, caplog, data):
    save(tmp_path, 'step_0000001.pth', state(1), step=1)
    (tmp_path / 'step_0000002.pth').write_bytes(data)
    assert latest(tmp_path).name == 'step_0000001.pth'
    assert 'passed over, damaged: step_0000002.pth; the newest whole one is step_0000001.pth' in caplog.text


def test_the_best_one_is_what_a_run_goes_on_from_where_nothing_else_is_left(tmp_path):
    best = save(tmp_path, 'best.pth', state(1), step=1, best=True)
    assert latest(tmp_path) == best
    newer = save(tmp_path, 'step_0000002.pth', state(2), step=2)
    assert latest(tmp_path) == newer
    newer.write_bytes(b'torn')
    assert latest(tmp_path) == best


def test_a_file_that_is_written_again_is_whole_whenever_that_ends(tmp_path, monkeypatch):
    """A save of the best one renames the index, the file, the index. It is cut off before each, several times."""
    path = save(tmp_path, 'best.pth', state(1), step=1, best=True)
    usual, calls = os.replace, iter(())

    def killed(*files):
        if next(calls, None) is None:
            raise OSError
        usual(*files)

    monkeypatch.setattr(os, 'replace', killed)
    held, step = 1, 1
    for allowed in (1, 1, 1, 2, 2, 0, 1, 3, 1, 2):
        calls, step = iter(range(allowed)), step + 1
        with contextlib.suppress(CheckpointError):
            save(tmp_path, 'best.pth', state(step), step, best=True)
        held = step if allowed > 1 else held
        assert load(path)['meta']['step'] == held


def test_a_folder_may_be_moved(tmp_path):
    save(tmp_path / 'a', 'step_0000001.pth', state(1), step=1)
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert load(tmp_path / 'b')['meta']['step'] == 1


def test_an_index_cannot_name_files_outside_its_folder(tmp_path):
    (tmp_path / 'precious').write_text('')
    folder = tmp_path / 'run'
    save(folder, 'step_0000001.pth', state(1), step=1)
    index = json.loads((folder / INDEX).read_text())
    index['files']['../precious'] = {'step': 0, 'bytes': 0, 'sha256': ''}
    (folder / INDEX).write_text(json.dumps(index))
    assert set(read_index(folder).files) == {'step_0000001.pth'}
    save(folder, 'step_0000002.pth', state(2), step=2, keep=1)
    assert (tmp_path / 'precious').exists()


def test_what_a_cut_off_save_left_is_cleared_away(tmp_path):
    (tmp_path / '.step_0000001.pth.partial').write_text('half')
    checkpoint.clean(tmp_path)
    assert names(tmp_path) == set()


class Attack:
    """Runs a command when it is unpickled by a loader that trusts its file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def attacks(marker) -> dict[str, bytes]:
    archive, old = io.BytesIO(), io.BytesIO()
    torch.save({'state_dict': Attack(marker)}, archive)
    torch.save({'state_dict': Attack(marker)}, old, _use_new_zipfile_serialization=False)
    return {'zip': archive.getvalue(), 'legacy': old.getvalue(), 'pickle': pickle.dumps(Attack(marker), protocol=2)}


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
@pytest.mark.parametrize('trusting', ['0', '1'])
def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path, monkeypatch, kind, trusting):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', trusting)
    path = tmp_path / 'attack.pth'
    path.write_bytes(attacks(tmp_path / 'marker')[kind])
    with pytest.raises(UnsafeFileError, match=r'attack.pth holds more than plain data: it asks for posix.system'):
        load(path)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.parametrize('content', [b'', b'a text file, whatever it is called', bytes(1000), b'PK\x03\x04 not a zip'])
def test_something_else_under_a_checkpoints_name_is_an_error(tmp_path, content):
    (tmp_path / 'some.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match='some.pth is damaged'):
        load(tmp_path / 'some.pth')


def test_a_tensor_alone_is_no_checkpoint(tmp_path):
    torch.save(torch.zeros(3), tmp_path / 'some.pth')
    with pytest.raises(CheckpointError, match='holds a Tensor, not a checkpoint'):
        load(tmp_path / 'some.pth')


def test_an_absent_checkpoint_says_which_name_is_near(tmp_path):
    save(tmp_path, 'step_0000001.pth', state(1), step=1)
    with pytest.raises(CheckpointError, match=r"no such checkpoint; closest: 'step_0000001.pth'"):
        load(tmp_path / 'step_000001.pth')


def test_weights_of_another_model_are_named(tmp_path):
    save(tmp_path, 'step_0000001.pth', {'state_dict': {'weight': torch.zeros(2, 3), 'gate': torch.zeros(1)}}, step=1)
    with pytest.raises(CheckpointError) as error:
        load_weights(torch.nn.Linear(3, 4), tmp_path)
    assert '1 missing (first: bias)' in str(error.value)
    assert '1 not in the model (first: gate)' in str(error.value)
    assert '(2, 3) in the file, (4, 3) in the model' in str(error.value)


def test_safetensors_are_read_and_a_damaged_one_is_an_error(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'weights.safetensors'
    save_file({'weight': torch.ones(2)}, path)
    assert torch.equal(load(path)['state_dict']['weight'], torch.ones(2))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match='damaged'):
        load(path)


def test_a_runs_checkpoint_needs_no_allow_list(tiny_config, tmp_path):
    from poseplug.engine import launch

    launch.train(tiny_config(**{'train_cfg.steps': 1}), tmp_path)
    path = latest(tmp_path)
    assert torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) == []
    with torch.serialization.safe_globals([]):
        assert 'optimizer' in torch.load(path, weights_only=True)
    assert zipfile.ZipFile(path).testzip() is None


def test_numpy_values_become_plain_and_objects_are_refused():
    found = plain({'a': np.float32(1.5), 'b': np.arange(3), 'c': (np.int64(2), [True, None])})
    assert (type(found['a']), found['a']) == (float, 1.5)
    assert torch.equal(found['b'], torch.arange(3))
    assert found['c'] == (2, [True, None])
    for value in (object(), np.array(['text'])):
        with pytest.raises(CheckpointError, match='plain data only'):
            plain({'x': value})
