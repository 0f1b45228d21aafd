"""Faults of the environment are reported with a remedy."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from poseplug.inspect import environment


def test_this_environment_is_checked():
    findings = environment.check_environment()
    assert any('torch' in f.message for f in findings)
    assert any('threads of torch' in f.message or 'torch uses' in f.message for f in findings)


def test_old_new_and_missing_packages_are_reported_with_a_command(monkeypatch):
    versions = {'torch': '2.5.1+cpu', 'rich': None, 'numpy': '3.0.1', 'scipy': '1.17.1'}
    requirements = ['torch<3,>=2.6', 'rich<16,>=13', 'numpy<3,>=2', 'scipy<2,>=1.11', 'ruff; extra == "test"']
    monkeypatch.setattr(environment, 'requires', lambda name: requirements)
    monkeypatch.setattr(environment, 'find_installed_version', versions.get)
    *faults, sound = map(str, environment.check_packages())
    assert faults == [
        'WRONG  torch 2.5.1+cpu is older than 2.6. pip install "torch>=2.6,<3"',
        'WRONG  rich is not installed. pip install "rich>=13,<16"',
        'WRONG  numpy 3.0.1 is newer than what was tested, which ends before 3. pip install "numpy>=2,<3"',
    ]
    assert sound.endswith('scipy 1.17.1')


def test_two_packages_of_opencv_are_reported(monkeypatch):
    names = ('opencv-python', 'OpenCV-Python-headless', 'x')
    distributions = [SimpleNamespace(metadata={'Name': name}) for name in names]
    monkeypatch.setattr(environment, 'distributions', lambda: distributions)
    (finding,) = environment.check_opencv()
    assert 'opencv-python and opencv-python-headless share the folder cv2' in finding.message
    assert 'pip uninstall -y opencv-python opencv-python-headless' in finding.remedy


def test_binaries_for_another_numpy_are_reported_by_their_error(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, '', 'Traceback\nValueError: numpy.dtype size changed')
    monkeypatch.setattr(environment, 'find_installed_version', lambda name: '1.0')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: failed)
    (finding,) = environment.check_xtcocotools()
    assert finding.message.endswith('numpy.dtype size changed')
    assert '--no-binary xtcocotools' in finding.remedy


@pytest.mark.parametrize(('free_bytes', 'num_faults'), [(0.5e9, 2), (3e9, 1), (50e9, 0)])
def test_little_free_space_is_reported(monkeypatch, free_bytes, num_faults):
    monkeypatch.setattr(environment.shutil, 'disk_usage', lambda _: SimpleNamespace(free=free_bytes))
    if not Path('/dev/shm').is_dir():
        pytest.skip('there is no shared memory')
    assert sum(f.is_fault for f in environment.check_disk_space(Path())) == num_faults


def test_more_threads_than_processors_are_reported(monkeypatch):
    monkeypatch.setattr(environment, 'count_allowed_processors', lambda: 0.5)
    (finding,) = environment.check_threads()
    assert finding.remedy == 'Set OMP_NUM_THREADS=1 in the environment'


@pytest.mark.parametrize(
    ('text', 'numbers'), [('2.13.0+cpu', (2, 13, 0)), ('5.0.0.93', (5, 0, 0)), ('2.10rc1', (2, 10, 1))]
)
def test_versions_are_compared_by_their_numbers(text, numbers):
    assert environment.parse_version(text) == numbers


def test_the_command_reports_environment_and_data_and_writes_the_page(command, tiny_data, tiny_cli_options, tmp_path):
    config = Path(__file__).parents[2] / 'configs/cpm/cpm_synthetic.py'
    code, out, _ = command('doctor', config, '--html', tmp_path / 'page.html', *tiny_cli_options())
    assert code in (0, 1)
    assert out.startswith('environment\n')
    assert 'train: LSPSource' in out
    assert (tmp_path / 'page.html').read_text().startswith('<!doctype html>')
