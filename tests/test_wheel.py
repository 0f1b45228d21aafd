"""The wheel: what is in it, and what its metadata say."""

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import poseplug
from poseplug.config.build import build_model
from poseplug.config.load import load_config
from tests.zoo.published_files import ServedFiles, save_as_mmpose, serve_files

ROOT = Path(__file__).parent.parent
SOURCES = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'configs', 'poseplug')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built without the network from a copy of the sources."""
    folder = tmp_path_factory.mktemp('wheel')
    (folder / 'src').mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / 'src' / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(ROOT / name, folder / 'src')
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet']
    subprocess.run([*command, '-w', str(folder), str(folder / 'src')], check=True, capture_output=True, text=True)
    (file,) = folder.glob('*.whl')
    with zipfile.ZipFile(file) as archive:
        yield archive


def read_metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    return email.message_from_string(wheel.read(name).decode())


def test_every_module_and_data_file_of_the_package_is_in_it(wheel):
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / 'poseplug').rglob('*') if file.is_file()}
    packed = {name for name in wheel.namelist() if name.startswith('poseplug/')}
    assert {name for name in files if '__pycache__' not in name} <= packed
    assert {'poseplug/py.typed', 'poseplug/weights/cpm_lsp_lite.safetensors'} <= packed


def test_every_config_is_in_it_where_names_are_looked_up(wheel):
    files = {f'poseplug/{file.relative_to(ROOT).as_posix()}' for file in (ROOT / 'configs').rglob('*.py')}
    assert files
    assert {name for name in wheel.namelist() if name.startswith('poseplug/configs/')} == files


def test_nothing_but_the_package_is_in_it(wheel):
    folders = {name.partition('/')[0] for name in wheel.namelist()}
    assert folders == {'poseplug', f'poseplug-{poseplug.__version__}.dist-info'}


def test_its_metadata_are_complete(wheel):
    metadata = read_metadata(wheel)
    assert metadata['Name'] == 'poseplug'
    assert metadata['Version'] == poseplug.__version__
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Requires-Python'] == '>=3.11'
    assert metadata['Keywords']
    assert len(metadata.get_all('Project-URL')) >= 4
    assert 'Typing :: Typed' in metadata.get_all('Classifier')
    assert 'LICENSE' in metadata.get_all('License-File')


def test_the_extra_all_brings_what_can_be_used_beyond_the_core(wheel):
    requirements = [line.split(';') for line in read_metadata(wheel).get_all('Requires-Dist') if ';' in line]
    extras = {}
    for requirement, condition in requirements:
        extras.setdefault(condition.split('"')[1], set()).add(requirement.strip())
    used = {'tensorboard', 'timm', 'export', 'hdf5', 'completion', 'screen', 'heif', 'tracking', 'tune', 'hf'}
    assert used <= set(extras)
    assert set().union(*(extras[name] for name in used)) == extras['all']


def test_the_command_is_installed(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith('.dist-info/entry_points.txt'))
    assert 'poseplug = poseplug.__main__:main' in wheel.read(name).decode()


def test_models_by_name_work_from_the_wheel_in_an_empty_folder(wheel, tmp_path):
    installed, folder = tmp_path / 'installed', tmp_path / 'empty'
    wheel.extractall(installed)
    folder.mkdir()
    overrides = {'model.backbone.width': 4, 'model.backbone.num_modules': [1, 1, 1], 'model.codec.input_size': [64, 64]}
    content = save_as_mmpose(build_model(load_config('hrnet_w32_coco_256x192', overrides)))
    with serve_files(ServedFiles({'tiny.pth': content})) as served:
        index_file = installed / 'poseplug/zoo/body.json'
        index = json.loads(index_file.read_text())
        entry = next(model for model in index['models'] if model['name'] == 'hrnet-w32')
        served_entry = dict(name='tiny', aliases=[], overrides=overrides, urls=[served.get_url('tiny.pth')])
        index['models'].append({**entry, **served_entry, 'sha256_prefix': ''})
        index_file.write_text(json.dumps(index))
        program = """
import sys, cv2, numpy, poseplug
from poseplug.__main__ import main
assert poseplug.__file__.startswith(sys.argv[1]), poseplug.__file__
print(len(poseplug.load_model('tiny', device='cpu').skeleton), 'keypoints')
cv2.imwrite('street.png', numpy.zeros((90, 70, 3), numpy.uint8))
for arguments in (['models', 'tiny'], ['predict', 'street.png', '--model', 'tiny', '--device', 'cpu']):
    sys.argv = ['poseplug', *arguments]
    main()
"""
        environment = {**os.environ, 'PYTHONPATH': str(installed), 'POSEPLUG_CACHE': str(folder / 'cache')}
        run = subprocess.run(
            [sys.executable, '-c', program, str(installed)], cwd=folder, env=environment, capture_output=True, text=True
        )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('17 keypoints\nname       tiny\n')
    assert (folder / 'work_dirs/predictions/street_pose.jpg').is_file()
    assert len(served.requests) == 1


@pytest.mark.parametrize('name', ['cpu', 'cuda'])
def test_the_container_files_build_from_what_the_wheel_needs(name):
    text = (ROOT / f'docker/{name}.Dockerfile').read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith('COPY') and '--from' not in line]
    files = [file for files in copied for file in files]
    assert set(SOURCES) <= set(files)
    assert all((ROOT / file).exists() for file in files)
    assert 'constraint' in text
