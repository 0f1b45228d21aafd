"""Importing, training and testing need no module, signal or function that only POSIX systems have."""

import os
import pickle
import subprocess
import sys

import pytest

from poseplug.engine.dataloaders import build_dataloader

# Packages of others come first: they know which system they are installed on.
HIDE_POSIX = """
import os, signal, sys
import cv2, mmengine.runner, mmengine.hooks, numpy, scipy.io, torch, torch.utils.data, json_tricks, rich.progress
for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios', 'posix_ipc', 'syslog', 'tty', 'pty'):
    sys.modules[name] = None
for name in ('SIGUSR1', 'SIGUSR2', 'SIGHUP', 'SIGALRM', 'SIGKILL', 'SIGQUIT', 'setitimer', 'alarm', 'pthread_kill'):
    delattr(signal, name)
for name in ('fork', 'sched_getaffinity', 'O_DIRECTORY', 'getuid', 'geteuid', 'killpg', 'setsid', 'statvfs', 'uname',
             'getloadavg', 'mkfifo', 'nice'):
    delattr(os, name)
"""


@pytest.fixture
def run_without_posix(root, tmp_path):
    """A function that runs Python code in a process without what only POSIX systems have."""

    def run(code: str, *arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, '-c', HIDE_POSIX + code, *map(str, arguments)]
        environment = {**os.environ, 'PYTHONPATH': str(root)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_every_module_is_imported_without_them(run_without_posix, root):
    names = [
        '.'.join(file.relative_to(root).with_suffix('').parts)
        for folder in ('engine', 'files', 'data', 'config', 'evaluation', 'cli')
        for file in sorted((root / 'poseplug' / folder).rglob('*.py'))
    ]
    done = run_without_posix('import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)', *names)
    assert done.returncode == 0, done.stderr


def test_a_model_is_trained_and_tested_without_them(run_without_posix, root, tmp_path, tiny_cli_options):
    options = tiny_cli_options(**{'train_cfg.max_steps': 2, 'train_dataloader.num_workers': 0})
    config = root / 'configs/cpm/cpm_synthetic.py'
    code = 'from poseplug.cli.options import run_command\nrun_command(sys.argv[1], "poseplug", sys.argv[2:])'
    done = run_without_posix(code, 'train', config, '--work-dir', tmp_path / 'run', *options)
    assert done.returncode == 0, done.stderr
    assert 'done: 2 steps' in done.stdout
    done = run_without_posix(code, 'test', config, tmp_path / 'run', *options)
    assert done.returncode == 0, done.stderr
    assert 'PCK' in done.stdout


def test_workers_can_be_started_without_a_fork(tiny_config):
    """A worker process that is no copy of this one receives its data set and functions as bytes."""
    loader = build_dataloader(tiny_config(), 'train_dataloader', seed=0)
    parts = (loader.dataset, loader.collate_fn, loader.worker_init_fn)
    dataset, collate, _ = pickle.loads(pickle.dumps(parts))
    key = next(iter(loader.batch_sampler))[0]
    assert collate([dataset[key]]).images.equal(loader.collate_fn([loader.dataset[key]]).images)
