"""The installed command `poseplug`: what it lists and runs, and that the scripts in tools/ do the same."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from poseplug import __version__
from poseplug.__main__ import main

ROOT = Path(__file__).parents[1]
NAMES = sorted(file.stem for file in ROOT.glob('poseplug/cli/commands/[!_]*.py'))
SCRIPTS = sorted(file.stem for file in ROOT.glob('tools/*.py') if file.stem != 'benchmark')
LITE = ROOT / 'configs/cpm/cpm_lsp_lite.py'


@pytest.fixture
def poseplug(monkeypatch, capsys):
    """A function that runs the installed command in this process: (exit code, stdout, stderr)."""

    def run(*args: object, script: str = '/usr/bin/poseplug') -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', [script, *map(str, args)])
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize('args', [[], ['-h'], ['--help']])
def test_the_help_has_a_line_for_every_command_and_fits_a_terminal(poseplug, args):
    code, out, err = poseplug(*args)
    listed = dict(re.findall(r'^  (\w+) +([A-Z].*\.)$', out, re.MULTILINE))
    assert (code, err) == (0, '')
    assert sorted(listed) == NAMES
    assert listed['train'] == 'Train a config.'
    assert max(map(len, out.splitlines())) <= 80


def test_the_version_is_that_of_the_package(poseplug):
    assert poseplug('--version') == (0, f'poseplug {__version__}\n', '')


def test_a_misspelt_command_has_a_closest_one(poseplug):
    code, out, err = poseplug('predcit', 'photo.jpg')
    assert (code, out) == (2, '')
    assert "poseplug: error: there is no command 'predcit'; closest: 'predict'; known: analyze, compare, comp" in err


@pytest.mark.parametrize('word', ['--unknown', '', '__init__', '../cli'])
def test_anything_but_a_command_is_an_error(poseplug, word):
    code, out, err = poseplug(word)
    assert (code, out) == (2, '')
    assert err.startswith('usage: poseplug COMMAND ...')


@pytest.mark.parametrize('name', NAMES)
def test_every_command_has_a_help_that_begins_with_how_it_is_called(poseplug, name):
    code, out, err = poseplug(name, '--help')
    assert (code, err) == (0, '')
    assert f'usage: poseplug {name} ' in out
    assert f'\n\nposeplug {name} ' in out


@pytest.mark.parametrize('name', SCRIPTS)
def test_a_script_of_the_tools_is_the_same_command(poseplug, command, monkeypatch, name):
    monkeypatch.setenv('COLUMNS', '2000')  # lines break at the same words whatever the name
    _, out, _ = poseplug(name, '--help')
    assert command(f'{name}.py', '--help') == (0, out.replace(f'poseplug {name}', f'python tools/{name}.py'), '')


def test_the_usage_names_the_module_if_it_was_run_as_one(poseplug):
    script = '/lib/poseplug/__main__.py'
    assert poseplug(script=script)[1].startswith('usage: python -m poseplug COMMAND ...')
    assert poseplug('dataset', 'pack', '--help', script=script)[1].startswith('usage: python -m poseplug dataset pack ')


def test_the_other_arguments_are_those_of_the_command(poseplug, command):
    args = (LITE, '--safe', '--cfg-options', 'a.b=1')
    code, out, err = poseplug('describe', *args)
    assert (code, err) == (0, '')
    assert '"LetterboxImage"' in out
    assert command('describe', *args) == (0, out, '')


def test_an_error_is_one_message_and_exit_code_2_as_in_the_tools(poseplug, command):
    args = (LITE.with_name('cpm_lsp_light.py'),)
    code, out, err = poseplug('describe', *args)
    assert (code, out, len(err.splitlines())) == (2, '', 1)
    assert err.startswith('ConfigError: ')
    assert command('describe', *args) == (2, '', err)
    assert command('train.py', *args) == (2, '', err)


def test_help_imports_no_command_but_the_requested_one_and_never_torch():
    code = (
        'import sys\nfrom poseplug.__main__ import main\n'
        'for args in ([], ["predict", "--help"]):\n'
        '    sys.argv = ["poseplug", *args]\n'
        '    try:\n        main()\n    except SystemExit:\n        pass\n'
        '    heavy = ("torch", "numpy", "cv2", "mmengine", "rich", "poseplug.cli.commands.", "poseplug.config.load")\n'
        '    print("imported", *[m for m in sys.modules if m.startswith(heavy)], file=sys.stderr)\n'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stderr.splitlines() == ['imported', 'imported poseplug.cli.commands.predict']


def test_the_package_installs_the_command():
    module, name = re.search(r"'poseplug = ([\w.]+):(\w+)'", (ROOT / 'setup.py').read_text()).groups()
    assert getattr(import_module(module), name) is main


@pytest.mark.slow
def test_torchrun_starts_the_command_as_a_module_in_several_processes(tiny_cli_options, tmp_path):
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2', '-m', 'poseplug']
    args = [
        'train',
        str(ROOT / 'configs/cpm/cpm_synthetic.py'),
        '--work-dir',
        str(tmp_path / 'run'),
        *tiny_cli_options(),
    ]
    result = subprocess.run([*torchrun, *args], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == f'done: 6 steps, in {tmp_path / "run"}\n', result.stderr
    assert 'training on 2 x cpu' in result.stderr


def test_a_reader_that_leaves_early_is_no_error(root):
    process = subprocess.Popen(
        [sys.executable, '-m', 'poseplug', 'list'], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ''
    process.stderr.close()
    assert process.wait() == 141
