"""Where data sets are looked for."""

from poseplug.data.sources.base import find_dataset_folder


def test_the_folder_of_the_environment_is_the_only_one_if_it_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    assert find_dataset_folder(None, 'lsp', 'joints.mat') == tmp_path / 'lsp'


def test_without_it_the_first_default_folder_with_the_file_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv('POSEPLUG_DATA', raising=False)
    (tmp_path / 'here').mkdir()
    beside = tmp_path / 'shared' / 'data' / 'lsp'
    beside.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'here')
    assert str(find_dataset_folder(None, 'lsp', 'joints.mat')) == 'data/lsp'
    (beside / 'joints.mat').touch()
    assert find_dataset_folder(None, 'lsp', 'joints.mat').resolve() == beside
