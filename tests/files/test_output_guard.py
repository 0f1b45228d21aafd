"""No output of a command is a file of a data set that its config reads."""

import pytest
from mmengine.config import Config

from poseplug.core.errors import ConfigError
from poseplug.files.output_guard import NameSet, check_dataset_outputs, check_new_folder


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data sets, each with one file."""
    for name in ('lsp', 'lsp_observer', 'lspet', 'coco'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'joints.mat').touch()
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    return tmp_path


def build_config(*sources):
    pipeline = [dict(type='CropBox'), dict(type='Warp')]
    return Config(dict(val_dataloader=dict(dataset=dict(type='PoseDataset', sources=[*sources], pipeline=pipeline))))


def test_a_file_of_a_data_set_that_is_found_by_its_name_is_refused(data):
    cfg = build_config(dict(type='LSPSource', split='test'))
    for name in ('lsp', 'lsp_observer'):
        with pytest.raises(ConfigError, match=r'joints.mat would be overwritten.*name another file for --html'):
            check_dataset_outputs(cfg, [None, data / name / 'joints.mat'], '--html')
    check_dataset_outputs(cfg, [data / 'lspet' / 'joints.mat', data / 'lsp' / 'new.html'])


def test_a_file_of_a_data_set_of_a_stated_folder_is_refused(data):
    cfg = build_config(dict(type='LSPSource', data_root=str(data / 'coco')))
    with pytest.raises(ConfigError, match='a file of the data set'):
        check_dataset_outputs(cfg, [data / 'lsp' / '..' / 'coco' / 'joints.mat'])
    check_dataset_outputs(cfg, [data / 'lsp' / 'joints.mat'])


def test_an_output_that_is_a_folder_is_refused(data):
    with pytest.raises(ConfigError, match='is a folder; name a file in it for --out'):
        check_dataset_outputs(Config(), [data])


def test_a_new_folder_is_absent_or_empty(tmp_path):
    check_new_folder(tmp_path / 'absent')
    check_new_folder(tmp_path)
    (tmp_path / 'file').touch()
    for path in (tmp_path, tmp_path / 'file'):
        with pytest.raises(ConfigError, match='exists already; name another folder, or remove it'):
            check_new_folder(path)


def test_a_name_leaves_room_for_the_endings_of_outputs():
    names = NameSet().add_names([f'below/{"n" * 250}', f'below/{"n" * 249}m', 'b' * 200])
    assert names == [f'below/{"n" * 200}', f'below/{"n" * 200}_2', 'b' * 200]


def test_a_long_name_is_cut_between_characters():
    (name,) = NameSet().add_names(['\u4eba' * 84])  # of 3 bytes each
    assert name == '\u4eba' * 66
