"""Checkpoints are complete or absent, plain data, verified, and never executed."""

import contextlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from poseplug.core.errors import CheckpointError, UnsafeFileError
from poseplug.engine import checkpoint
from poseplug.engine.checkpoint import save_checkpoint, to_plain_data
from poseplug.files.checkpoint_folder import CHECKPOINT_INDEX_FILE, find_latest_checkpoint, read_checkpoint_index
from poseplug.files.weights import load_checkpoint, load_weights


def create_content(value: float) -> dict:
    return {'state_dict': {'weight': torch.full((64,), value)}, 'meta': {'step': int(value)}}


def list_names(folder) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_a_saved_checkpoint_is_loaded(tmp_path):
    path = save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)
    assert torch.equal(load_checkpoint(path)['state_dict']['weight'], torch.full((64,), 1.0))
    assert find_latest_checkpoint(tmp_path) == path


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_failed_write_leaves_the_earlier_files_and_nothing_else(tmp_path, monkeypatch, call):
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1, max_keep_ckpts=1)
    names_before = list_names(tmp_path)

    def raise_no_space(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, call, raise_no_space)
    with pytest.raises(
        CheckpointError, match='cannot be written: No space left on device; earlier checkpoints are intact'
    ):
        save_checkpoint(tmp_path, 'step_0000002.pth', create_content(2), step=2, max_keep_ckpts=1)
    assert list_names(tmp_path) == names_before
    assert load_checkpoint(tmp_path)['meta']['step'] == 1


def test_every_file_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda n: (calls.append('fsync'), fsync(n))[1])
    monkeypatch.setattr(os, 'replace', lambda a, b: (calls.append('replace'), replace(a, b))[1])
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)
    assert calls == ['fsync', 'replace', 'fsync'] * 2  # file, name, folder; then the same for the index


def test_an_old_file_is_deleted_only_after_the_new_one_is_complete(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1, max_keep_ckpts=1)
    original = checkpoint.write_atomically
    listings = []
    monkeypatch.setattr(
        checkpoint, 'write_atomically', lambda p, d: (original(p, d), listings.append(list_names(tmp_path)))
    )
    save_checkpoint(tmp_path, 'step_0000002.pth', create_content(2), step=2, max_keep_ckpts=1)
    assert all('step_0000001.pth' in names for names in listings)
    assert list_names(tmp_path) == {'step_0000002.pth', CHECKPOINT_INDEX_FILE}


def test_the_newest_checkpoints_and_the_best_are_kept(tmp_path):
    for step in range(1, 6):
        save_checkpoint(tmp_path, f'step_{step:07d}.pth', create_content(step), step, max_keep_ckpts=2)
        if step == 2:
            save_checkpoint(tmp_path, 'best.pth', create_content(step), step, max_keep_ckpts=2, is_best=True)
    assert list_names(tmp_path) == {'step_0000004.pth', 'step_0000005.pth', 'best.pth', CHECKPOINT_INDEX_FILE}
    assert load_checkpoint(tmp_path / 'best.pth')['meta']['step'] == 2


def test_the_index_names_the_latest_and_the_best(tmp_path):
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)
    save_checkpoint(tmp_path, 'best.pth', create_content(1), step=1, is_best=True)
    save_checkpoint(tmp_path, 'step_0000002.pth', create_content(2), step=2)
    index = read_checkpoint_index(tmp_path)
    assert (index.latest, index.best) == ('step_0000002.pth', 'best.pth')
    save_checkpoint(tmp_path, 'best.pth', create_content(2), step=2, is_best=True)
    assert read_checkpoint_index(tmp_path).latest == 'step_0000002.pth'


def test_the_newest_has_the_largest_step_also_beyond_seven_digits(tmp_path):
    for step in (9999999, 10000000, 10000001):
        save_checkpoint(tmp_path, f'step_{step:07d}.pth', create_content(step), step, max_keep_ckpts=2)
        assert find_latest_checkpoint(tmp_path).name == f'step_{step}.pth'
    assert list_names(tmp_path) == {'step_10000000.pth', 'step_10000001.pth', CHECKPOINT_INDEX_FILE}


def test_an_old_file_that_is_gone_stops_no_save(tmp_path):
    (save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)).unlink()
    save_checkpoint(tmp_path, 'step_0000002.pth', create_content(2), step=2, max_keep_ckpts=1)
    assert list_names(tmp_path) == {'step_0000002.pth', CHECKPOINT_INDEX_FILE}


def test_saving_the_best_deletes_nothing(tmp_path):
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1, max_keep_ckpts=1)
    save_checkpoint(tmp_path, 'best.pth', create_content(2), step=2, max_keep_ckpts=1, is_best=True)
    assert find_latest_checkpoint(tmp_path).name == 'step_0000001.pth'


@pytest.mark.parametrize('is_indexed', [True, False])
def test_one_flipped_bit_or_a_missing_end_is_detected(tmp_path, is_indexed):
    """With the index by its CRC-32; without it by the archive's own checksums: never other weights without an error."""
    path = save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)
    data = path.read_bytes()
    if not is_indexed:
        (tmp_path / CHECKPOINT_INDEX_FILE).unlink()
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(data), 40):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert torch.equal(load_checkpoint(path)['state_dict']['weight'], torch.full((64,), 1.0))
            assert not is_indexed
        except CheckpointError:
            pass
    for length in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match='damaged'):
            load_checkpoint(path)


@pytest.mark.parametrize('index', ['', 'garbage', '[]', '{"files": {"step_0000009.pth": 3}}', None])
def test_a_damaged_index_does_not_hide_the_checkpoints(tmp_path, index):
    for step in (1, 2):
        save_checkpoint(tmp_path, f'step_{step:07d}.pth', create_content(step), step)
    (tmp_path / CHECKPOINT_INDEX_FILE).unlink() if index is None else (tmp_path / CHECKPOINT_INDEX_FILE).write_text(
        index
    )
    assert find_latest_checkpoint(tmp_path).name == 'step_0000002.pth'


def test_the_newest_intact_file_is_used_when_the_newest_is_truncated(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, f'step_{step:07d}.pth', create_content(step), step)
    path = tmp_path / 'step_0000002.pth'
    path.write_bytes(path.read_bytes()[:-7])
    assert load_checkpoint(tmp_path)['meta']['step'] == 1


@pytest.mark.parametrize('data', [b'', b'PK torn', bytes(100)])
def test_a_truncated_file_outside_the_index_is_skipped_with_a_warning(tmp_path, caplog, data):
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)
    (tmp_path / 'step_0000002.pth').write_bytes(data)
    assert find_latest_checkpoint(tmp_path).name == 'step_0000001.pth'
    (tmp_path / 'step_0000003.pth').write_bytes(data)
    assert find_latest_checkpoint(tmp_path).name == 'step_0000001.pth'
    for names in ('step_0000002.pth', 'step_0000003.pth, step_0000002.pth'):
        assert f'{tmp_path}: passed over, damaged: {names}; the newest intact one is step_0000001.pth' in caplog.text


def test_a_run_resumes_from_the_best_checkpoint_if_there_is_no_other(tmp_path):
    best = save_checkpoint(tmp_path, 'best.pth', create_content(1), step=1, is_best=True)
    assert find_latest_checkpoint(tmp_path) == best
    newer = save_checkpoint(tmp_path, 'step_0000002.pth', create_content(2), step=2)
    assert find_latest_checkpoint(tmp_path) == newer
    newer.write_bytes(b'torn')
    assert find_latest_checkpoint(tmp_path) == best


def test_a_file_that_is_overwritten_is_complete_at_any_interruption(tmp_path, monkeypatch):
    """Saving the best one renames the index, the file, the index. It is interrupted before each, several times."""
    path = save_checkpoint(tmp_path, 'best.pth', create_content(1), step=1, is_best=True)
    original_replace, calls = os.replace, iter(())

    def replace_or_fail(*files):
        if next(calls, None) is None:
            raise OSError
        original_replace(*files)

    monkeypatch.setattr(os, 'replace', replace_or_fail)
    saved_step, step = 1, 1
    for allowed in (1, 1, 1, 2, 2, 0, 1, 3, 1, 2):
        calls, step = iter(range(allowed)), step + 1
        with contextlib.suppress(CheckpointError):
            save_checkpoint(tmp_path, 'best.pth', create_content(step), step, is_best=True)
        saved_step = step if allowed > 1 else saved_step
        assert load_checkpoint(path)['meta']['step'] == saved_step


def test_a_folder_may_be_moved(tmp_path):
    save_checkpoint(tmp_path / 'a', 'step_0000001.pth', create_content(1), step=1)
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert load_checkpoint(tmp_path / 'b')['meta']['step'] == 1


def test_an_index_cannot_name_files_outside_its_folder(tmp_path):
    (tmp_path / 'precious').write_text('')
    folder = tmp_path / 'run'
    save_checkpoint(folder, 'step_0000001.pth', create_content(1), step=1)
    index = json.loads((folder / CHECKPOINT_INDEX_FILE).read_text())
    index['files']['../precious'] = {'step': 0, 'crc32': [0]}
    (folder / CHECKPOINT_INDEX_FILE).write_text(json.dumps(index))
    assert set(read_checkpoint_index(folder).files) == {'step_0000001.pth'}
    save_checkpoint(folder, 'step_0000002.pth', create_content(2), step=2, max_keep_ckpts=1)
    assert (tmp_path / 'precious').exists()


def test_partial_files_of_an_interrupted_save_are_removed(tmp_path):
    (tmp_path / '.step_0000001.pth.partial').write_text('half')
    checkpoint.remove_partial_files(tmp_path)
    assert list_names(tmp_path) == set()


def test_a_partial_file_that_another_process_removes_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), 'glob', lambda folder, _: iter([folder / '.step_0000001.pth.partial']))
    checkpoint.remove_partial_files(tmp_path)


class Attack:
    """Runs a command when it is unpickled by a loader that trusts its file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def create_attacks(marker) -> dict[str, bytes]:
    archive, old = io.BytesIO(), io.BytesIO()
    torch.save({'state_dict': Attack(marker)}, archive)
    torch.save({'state_dict': Attack(marker)}, old, _use_new_zipfile_serialization=False)
    return {'zip': archive.getvalue(), 'legacy': old.getvalue(), 'pickle': pickle.dumps(Attack(marker), protocol=2)}


@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
@pytest.mark.parametrize('trusting', ['0', '1'])
def test_code_in_a_checkpoint_is_refused_and_never_runs(tmp_path, monkeypatch, kind, trusting):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', trusting)
    path = tmp_path / 'attack.pth'
    path.write_bytes(create_attacks(tmp_path / 'marker')[kind])
    with pytest.raises(UnsafeFileError, match=r'attack.pth holds more than plain data: it asks for posix.system'):
        load_checkpoint(path)
    assert not (tmp_path / 'marker').exists()


@pytest.mark.parametrize('content', [b'', b'a text file, whatever it is called', bytes(1000), b'PK\x03\x04 not a zip'])
def test_another_file_under_a_checkpoints_name_is_an_error(tmp_path, content):
    (tmp_path / 'some.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match='some.pth is damaged'):
        load_checkpoint(tmp_path / 'some.pth')


def test_a_tensor_alone_is_not_a_checkpoint(tmp_path):
    torch.save(torch.zeros(3), tmp_path / 'some.pth')
    with pytest.raises(CheckpointError, match='holds a Tensor, not a checkpoint'):
        load_checkpoint(tmp_path / 'some.pth')


def test_a_missing_checkpoint_suggests_the_closest_name(tmp_path):
    save_checkpoint(tmp_path, 'step_0000001.pth', create_content(1), step=1)
    with pytest.raises(CheckpointError, match=r"no such checkpoint; closest: 'step_0000001.pth'"):
        load_checkpoint(tmp_path / 'step_000001.pth')


def test_weights_of_another_model_are_an_error_with_the_differences(tmp_path):
    save_checkpoint(
        tmp_path, 'step_0000001.pth', {'state_dict': {'weight': torch.zeros(2, 3), 'gate': torch.zeros(1)}}, step=1
    )
    with pytest.raises(CheckpointError) as error:
        load_weights(torch.nn.Linear(3, 4), tmp_path)
    assert '1 missing (first: bias)' in str(error.value)
    assert '1 not in the model (first: gate)' in str(error.value)
    assert '(2, 3) in the file, (4, 3) in the model' in str(error.value)


def test_safetensors_are_loaded_and_a_damaged_file_is_an_error(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / 'weights.safetensors'
    save_file({'weight': torch.ones(2)}, path)
    assert torch.equal(load_checkpoint(path)['state_dict']['weight'], torch.ones(2))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match='damaged'):
        load_checkpoint(path)


def test_a_runs_checkpoint_needs_no_allow_list(tiny_config, tmp_path):
    from poseplug.engine import launch

    launch.train(tiny_config(**{'train_cfg.max_steps': 1}), tmp_path)
    path = find_latest_checkpoint(tmp_path)
    assert torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) == []
    with torch.serialization.safe_globals([]):
        assert 'optimizer' in torch.load(path, weights_only=True)
    assert zipfile.ZipFile(path).testzip() is None


def test_numpy_values_become_plain_data_and_objects_are_refused():
    plain = to_plain_data({'a': np.float32(1.5), 'b': np.arange(3), 'c': (np.int64(2), [True, None])})
    assert (type(plain['a']), plain['a']) == (float, 1.5)
    assert torch.equal(plain['b'], torch.arange(3))
    assert plain['c'] == (2, [True, None])
    for value in (object(), np.array(['text'])):
        with pytest.raises(CheckpointError, match=f'plain data only; found a {type(value).__name__}'):
            to_plain_data({'x': value})
