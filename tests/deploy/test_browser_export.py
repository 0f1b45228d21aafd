"""The page that `poseplug export --web` writes: what is in its folder, and what is refused before the export."""

import io
import json
import subprocess
import tarfile

import pytest

from poseplug.cli.commands import export as export_command
from poseplug.cli.options import run_command
from poseplug.core.errors import ConfigError
from poseplug.deploy import browser_export
from poseplug.deploy.browser_export import (
    check_browser_folder,
    check_browser_model,
    find_runtime_files,
    write_browser_page,
)
from poseplug.deploy.page_files import PAGES_FOLDER

RUNTIME_NAMES = ('ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm')
DESCRIPTION = {'version': '1.2.3', 'license': 'MIT', 'author': {'name': 'fb-xyz'}}


@pytest.fixture
def package(tmp_path):
    """A folder like that of the npm package, installed below node_modules."""
    folder = tmp_path / 'project/node_modules/onnxruntime-web'
    (folder / 'dist').mkdir(parents=True)
    for name in (*RUNTIME_NAMES, 'ort.all.js'):
        (folder / 'dist' / name).write_bytes(name.encode())
    (folder / 'package.json').write_text(json.dumps(DESCRIPTION))
    return folder


@pytest.fixture
def package_file(package, tmp_path):
    """The same as a file of npm pack."""
    with tarfile.open(tmp_path / 'ort.tgz', 'w:gz') as archive:
        archive.add(package, 'package')
    return tmp_path / 'ort.tgz'


@pytest.fixture
def tiny_file(tmp_path):
    """An exported RTMO with random weights."""
    pytest.importorskip('onnxscript', reason='onnxscript is not installed (extra: export)')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed (extra: export)')
    from poseplug.deploy.export import export_onnx
    from tests.deploy.test_export import create_model

    return export_onnx(create_model('rtmo')[0], tmp_path / 'rtmo.onnx')


@pytest.mark.parametrize('level', [0, 1, 2])
def test_the_runtime_is_found_in_its_folder_and_where_npm_installs_it(package, level):
    folder = [package, package.parent, package.parent.parent][level]
    files = find_runtime_files(folder, pytest.fail)
    assert set(files) == {*RUNTIME_NAMES, 'licenses.txt'}
    assert all(files[name] == name.encode() for name in RUNTIME_NAMES)
    assert files['licenses.txt'].startswith(b'onnxruntime-web 1.2.3, in the folder onnxruntime-web\nLicense: MIT\n')
    assert b'Copyright (c) fb-xyz\n' in files['licenses.txt']
    assert b'WITHOUT WARRANTY OF ANY KIND' in files['licenses.txt']


def test_the_runtime_is_unpacked_from_a_file_of_npm_pack(package, package_file):
    assert find_runtime_files(package_file) == find_runtime_files(package)


def test_without_a_package_npm_fetches_it(package, package_file, monkeypatch):
    commands, lines = [], []

    def pack(command, cwd, **_):
        commands.append(command)
        (cwd / 'onnxruntime-web-1.2.3.tgz').write_bytes(package_file.read_bytes())

    monkeypatch.setattr(browser_export.shutil, 'which', lambda name: f'/bin/{name}')
    monkeypatch.setattr(browser_export.subprocess, 'run', pack)
    assert find_runtime_files(None, lines.append) == find_runtime_files(package)
    assert commands == [['/bin/npm', 'pack', '--silent', 'onnxruntime-web']]
    assert lines == ['fetching onnxruntime-web by npm']


def test_an_npm_that_fails_or_is_missing_is_an_error_with_the_way_out(monkeypatch):
    def fail(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr='npm error code E404\nnpm error network')

    monkeypatch.setattr(browser_export.shutil, 'which', lambda name: '/bin/npm')
    monkeypatch.setattr(browser_export.subprocess, 'run', fail)
    with pytest.raises(ConfigError, match=r'npm error network\); try again, or name a folder .* by --web-runtime'):
        find_runtime_files(None, lambda line: None)
    monkeypatch.setattr(browser_export.shutil, 'which', lambda name: None)
    with pytest.raises(ConfigError, match='install npm, which fetches it, or name a folder'):
        find_runtime_files(None)


def test_a_folder_or_file_that_is_no_package_is_refused_by_name(package, tmp_path):
    with pytest.raises(ConfigError, match='nowhere: there is no npm package onnxruntime-web; npm install'):
        find_runtime_files(tmp_path / 'nowhere')
    (package / 'dist/ort.wasm.min.mjs').unlink()
    with pytest.raises(ConfigError, match='no complete onnxruntime-web of version 1.20 or later'):
        find_runtime_files(package)
    (tmp_path / 'bad.tgz').write_bytes(b'no archive')
    with pytest.raises(ConfigError, match='bad.tgz is no file of the npm package'):
        find_runtime_files(tmp_path / 'bad.tgz')


def test_a_package_file_with_other_paths_writes_nothing_elsewhere(tmp_path):
    with tarfile.open(tmp_path / 'evil.tgz', 'w:gz') as archive:
        entry = tarfile.TarInfo('../evil.txt')
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b'evil'))
    with pytest.raises(ConfigError):
        find_runtime_files(tmp_path / 'evil.tgz')
    assert [file.name for file in tmp_path.iterdir()] == ['evil.tgz']


def test_the_folder_has_the_page_the_model_and_the_runtime(tiny_file, package, tmp_path):
    folder = tmp_path / 'page'
    page = write_browser_page(tiny_file, folder, find_runtime_files(package))
    scripts = {'browser.js', 'controls.js', 'drawing.js', 'model_runner.js', 'model_worker.js', 'page.css'}
    names = {file.relative_to(folder).as_posix() for file in folder.rglob('*') if file.is_file()}
    runtime = {f'onnxruntime-web/{name}' for name in RUNTIME_NAMES}
    assert names == scripts | runtime | {'index.html', 'model.json', 'model.onnx', 'licenses.txt'}
    assert page == folder / 'index.html'
    assert page.read_text() == (PAGES_FOLDER / 'browser.html').read_text()
    assert (folder / 'model.onnx').read_bytes() == tiny_file.read_bytes()
    description = json.loads((folder / 'model.json').read_text())
    assert (description['kind'], description['accepts_boxes'], description['input_size']) == (
        'one_stage',
        False,
        [64, 64],
    )
    assert description['sides'][:3] == ['middle', 'left', 'right']  # nose and eyes
    write_browser_page(tiny_file, folder, find_runtime_files(package))  # a page may be written again


def test_a_folder_with_other_files_is_not_overwritten(tmp_path):
    (tmp_path / 'site').mkdir()
    check_browser_folder(tmp_path / 'site')
    check_browser_folder(tmp_path / 'new')
    (tmp_path / 'site/index.html').write_text('mine')
    with pytest.raises(ConfigError, match='site has other files, which are not overwritten'):
        check_browser_folder(tmp_path / 'site')
    with pytest.raises(ConfigError, match='index.html is a file; name a folder'):
        check_browser_folder(tmp_path / 'site/index.html')


def test_models_whose_instances_are_grouped_outside_of_the_file_are_refused(tmp_path):
    check_browser_model(None, None)
    (tmp_path / 'weights.pth').write_bytes(b'')
    with pytest.raises(ConfigError, match=r'which the page does not do; --web takes top-down and one-stage models'):
        check_browser_model('openpose_tiny_synthetic_256', tmp_path / 'weights.pth')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], '--out FILE, or --web DIR'),
        (['--web', 'page', '--to', 'openvino'], '--web runs an ONNX file; leave --to openvino out'),
        (['--out', 'a.onnx', '--web-runtime', 'x'], '--web-runtime is for --web DIR'),
        (['--web', 'page', '--web-runtime', 'nowhere'], 'nowhere: there is no npm package'),
    ],
)
def test_options_that_do_not_fit_are_refused_before_the_export(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='2'):
        run_command('export', 'poseplug export', arguments)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_page_and_on_request_the_file(tiny_file, package, tmp_path, monkeypatch, capsys):
    def copy_file(model, weights, file, *_, **__):
        file.write_bytes(tiny_file.read_bytes())
        return file

    monkeypatch.setattr('poseplug.deploy.checked_export.export_checked', copy_file)
    options = ['--web', str(tmp_path / 'page'), '--web-runtime', str(package)]
    run_command('export', 'poseplug export', [*options, '--out', str(tmp_path / 'model.onnx')])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'{tmp_path}/model.onnx: ')
    assert lines[1].startswith(f'{tmp_path}/page/index.html: ')
    assert export_command.__doc__.startswith('Export a model')
