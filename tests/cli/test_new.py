"""`poseplug new` writes parts that pass their contract tests as they are."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from poseplug.cli.commands import new
from poseplug.core.errors import ConfigError

KINDS = ('backbone', 'codec', 'head', 'logger', 'loss', 'metric', 'source', 'transform')


def write_part(kind, name, folder):
    new.run_new(argparse.Namespace(kind=kind, name=name, out=folder))


def test_every_kind_passes_its_contract(tmp_path):
    for kind in KINDS:
        write_part(kind, f'My{kind.title()}', tmp_path)
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == sorted(f'{prefix}my_{kind}.py' for kind in KINDS for prefix in ('', 'test_'))
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--import-mode=prepend', '.']
    environment = {**os.environ, 'PYTHONPATH': str(Path(new.__file__).parents[3])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert 'passed' in done.stdout
    assert 'skipped' not in done.stdout.splitlines()[-1]


def test_every_template_is_a_kind():
    parser = argparse.ArgumentParser()
    new.add_new_arguments(parser)
    assert parser.parse_args(['loss', 'MyLoss']).kind == 'loss'
    assert tuple(sorted(parser._actions[1].choices)) == KINDS


def test_nothing_is_overwritten(tmp_path):
    write_part('loss', 'MyLoss', tmp_path)
    before = (tmp_path / 'my_loss.py').read_text()
    with pytest.raises(ConfigError, match='exists already'):
        write_part('head', 'MyLoss', tmp_path)
    assert (tmp_path / 'my_loss.py').read_text() == before


@pytest.mark.parametrize('name', ['my_loss', '3D', 'class', 'A-B', '../X', ''])
def test_a_name_that_is_no_class_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match='no name of a class'):
        write_part('loss', name, tmp_path)
    assert not list(tmp_path.iterdir())
