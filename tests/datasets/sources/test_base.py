"""Where data sets are looked for."""

from poseplug.datasets.sources.base import folder_of


def test_the_named_folder_is_the_only_place_where_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('POSEPLUG_DATA', str(tmp_path))
    assert folder_of(None, 'lsp', 'joints.mat') == tmp_path / 'lsp'


def test_without_a_named_folder_the_first_usual_place_with_the_file_is_taken(tmp_path, monkeypatch):
    monkeypatch.delenv('POSEPLUG_DATA', raising=False)
    (tmp_path / 'here').mkdir()
    beside = tmp_path / 'shared' / 'data' / 'lsp'
    beside.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'here')
    assert str(folder_of(None, 'lsp', 'joints.mat')) == 'data/lsp'
    (beside / 'joints.mat').touch()
    assert folder_of(None, 'lsp', 'joints.mat').resolve() == beside
