"""The code blocks of the documentation: how they are found, and how they are run.

Every block of Python or bash is run, in the order of its page, in a folder of its own with small data sets (see
`prepare_folder`). The blocks of a page share their Python names and their files. An HTML comment before a block
changes this:

    <!-- snippet: tiny -->              a command that trains or reads data gets the options of a tiny run;
                                        the run whose weights it reads is trained first where there is none
    <!-- snippet: config, BASE -->      the block is a part of a config that builds on BASE; it is loaded and checked
    <!-- snippet: checked, REASON -->   arguments and configs of the commands are checked, nothing is run
    <!-- snippet: not run, REASON -->   nothing is done; the tests count these blocks

The tests on a page about writing parts (classes that inherit a contract) are run by pytest.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from poseplug.__main__ import main
from poseplug.cli.command_modules import load_command
from poseplug.cli.options import parse_cfg_option
from poseplug.config.load import load_config
from tests.conftest import ROOT, bottom_up_options, format_cli_options, tiny_options
from tests.starter.animals import write_coco_animals, write_yolo_animals

Mode = Literal['run', 'tiny', 'config', 'checked', 'not run']

LANGUAGES = {
    'python',
    'bash',
    'text',
    'json',
    'toml',
    'yaml',
    'pycon',
}  # examples in pycon are those of docstrings, tested there
_FENCE = re.compile(r'^```(\w*)[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r'<!-- snippet: (run|tiny|config|checked|not run)(?:, ((?:(?!-->).)+?))? -->\s*\Z', re.DOTALL)
_COMMANDS_WITHOUT_OPTIONS = ('predict', 'package_model')  # they have no --cfg-options
_TRAINING_COMMANDS = ('train', 'test', 'export', 'describe', 'doctor', 'dataset', 'analyze')


@dataclass(frozen=True)
class Snippet:
    """A code block of a page."""

    page: Path
    line: int
    language: str
    code: str
    mode: Mode = 'run'
    reason: str = ''

    def __str__(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.line}'


def list_pages() -> list[Path]:
    """The README and all pages of the documentation."""
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]


def find_snippets(page: Path) -> Iterator[Snippet]:
    """The code blocks of a page, with what the comment before each says."""
    text = page.read_text()
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: match.start()])
        mode, reason = (comment[1], comment[2] or '') if comment else ('run', '')
        line = text.count('\n', 0, match.start()) + 1
        yield Snippet(page, line, match[1], match[2], mode, ' '.join(reason.split()))  # type: ignore[arg-type]


def _create_module(name: str) -> dict[str, Any]:
    """The names of a new module, which dataclasses look up by its name."""
    module = sys.modules[name] = ModuleType(name)
    return module.__dict__


@dataclass
class PageRunner:
    """Runs the blocks of one page one after the other in the current folder.

    Attributes:
        lsp_like: A small data set in the layout of LSP, for tiny runs of top-down models.
        coco_like: A small data set in the layout of COCO, for tiny runs of models of whole images.
        names: The Python names that the blocks share.
    """

    lsp_like: Path
    coco_like: Path
    names: dict[str, Any] = field(default_factory=lambda: _create_module('snippet'))

    def run(self, snippet: Snippet) -> None:
        """Run or check one block; an error is an exception."""
        if snippet.language == 'python' and snippet.mode in ('run', 'tiny'):
            padding = '\n' * snippet.line
            exec(compile(padding + snippet.code, str(snippet.page), 'exec'), self.names)
        elif snippet.mode == 'config':
            check_config(snippet)
        elif snippet.language == 'python' and snippet.mode == 'checked':
            compile(snippet.code, str(snippet.page), 'exec')
        elif snippet.language == 'bash' and snippet.mode != 'not run':
            for words in split_commands(snippet.code):
                self.run_command(words, snippet.mode)

    def run_command(self, words: list[str], mode: Mode) -> None:
        """Run or check one command line."""
        arguments = get_poseplug_arguments(words)
        if arguments is None:
            assert mode != 'checked', f'only commands of poseplug can be checked: {shlex.join(words)}'
            subprocess.run(['bash', '-ec', shlex.join(words)], check=True)
        elif mode == 'checked':
            check_arguments(arguments)
        elif mode == 'tiny':
            self.run_tiny(arguments)
        else:
            run_poseplug(arguments)

    def run_tiny(self, arguments: list[str]) -> None:
        """Run a command with the options of a tiny run, after the run whose weights it reads."""
        config, run = find_config_and_run(arguments)
        if arguments[0] != 'train' and run is not None and not run.exists():
            self.run_tiny(['train', config, '--work-dir', str(run)])
        if arguments[0] not in _COMMANDS_WITHOUT_OPTIONS:
            run_poseplug([*arguments, *self.get_tiny_arguments(arguments)])
            return
        # the config that a run writes into its folder has the options of the tiny run
        own_config = str(run / Path(config).name) if run is not None else config
        run_poseplug([own_config if word == config else word for word in arguments])

    def get_tiny_arguments(self, arguments: list[str]) -> list[str]:
        """The options that make the run of a command tiny; the command's own options count."""
        if any(word.endswith('_project/config.py') for word in arguments):
            return list_project_options(arguments)
        config, _ = find_config_and_run(arguments)
        if not config or arguments[0] not in _TRAINING_COMMANDS:
            return []
        whole_images = any(family in config for family in ('rtmo', 'openpose', 'associative_embedding'))
        options = bottom_up_options(self.coco_like) if whole_images else list_lsp_options(config, self.lsp_like)
        if '--overfit' in arguments:
            options = {**options, 'overfit_steps': 6}
        if any(word.startswith('poseplug/weights/') for word in arguments):
            # the shipped weights fit the model of the config alone
            options = {key: value for key, value in options.items() if not key.startswith('model.')}
        own = {word.partition('=')[0] for word in arguments if '=' in word}
        replaced = {key for key in options if any(key.startswith(name.removesuffix('.type') + '.') for name in own)}
        options = {key: value for key, value in options.items() if key not in own | replaced}
        return format_cli_options(keep_known_options(config, options))


def list_lsp_options(config: str, data: Path) -> dict[str, Any]:
    """The options of a tiny run on data in the layout of LSP, for the loaders and the length that the config has."""
    options, cfg = tiny_options(data), load_config(config)
    if cfg.get('val_dataloader') is not None:
        options['val_dataloader.dataset.sources'] = options['test_dataloader.dataset.sources']
    if cfg.train_cfg.get('max_epochs') is not None:  # a run has epochs or steps
        options['train_cfg.max_epochs'] = 1
        del options['train_cfg.max_steps']
    return options


def find_config_and_run(arguments: list[str]) -> tuple[str, Path | None]:
    """The config among the arguments of a command ('' for none), and the run behind it, whose weights are read."""
    for word, next_word in zip(arguments, [*arguments[1:], ''], strict=True):
        if word.startswith('configs/') and word.endswith('.py'):
            return word, Path(next_word) if next_word.startswith('work_dirs/') else None
    return '', None


def list_project_options(arguments: list[str]) -> list[str]:
    """The options that make a command on the config of `poseplug init` tiny."""
    steps = {} if '--epochs' in arguments else {'train_cfg.max_steps': 2}
    workers = {f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')}
    return format_cli_options({**steps, **workers})


def keep_known_options(config: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that fit a config."""
    prefixes = ('train_', 'test_', 'val_', 'param_scheduler', 'default_hooks', 'custom_hooks')
    known = {}
    for key, value in options.items():
        try:
            load_config(config, {key: value})
        except Exception:
            if not key.startswith(('model.', 'val_')):
                raise
            continue
        known[key] = value
    assert any(key.startswith(prefixes) for key in known)
    return known


def check_config(snippet: Snippet) -> None:
    """Load a part of a config on the base that its comment names, and check every name and setting."""
    file = Path(f'part_of_{Path(snippet.reason).stem}_{snippet.line}.py')
    file.write_text(f'_base_ = [{str(Path(snippet.reason).resolve())!r}]\n{snippet.code}')
    load_config(file, training=True)


def run_contract_tests(folder: Path) -> str:
    """Run the tests among the blocks of Python of all pages, with one file of tests per page; returns the output."""
    for page in list_pages():
        code = '\n'.join(s.code for s in find_snippets(page) if s.language == 'python' and s.mode == 'run')
        if re.search(r'^class Test\w+\(', code, re.MULTILINE):
            (folder / f'test_{page.stem}_page.py').write_text(code)
    (folder / 'pytest.ini').write_text('[pytest]\n')
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(folder)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def split_commands(code: str) -> Iterator[list[str]]:
    """The words of every command of a bash block, without its comments."""
    for line in code.replace('\\\n', ' ').splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def get_poseplug_arguments(words: list[str]) -> list[str] | None:
    """The arguments of a command of poseplug, or None for any other program."""
    if words[0] == 'poseplug':
        return words[1:]
    if words[:3] == ['python', '-m', 'poseplug']:
        return words[3:]
    if words[0] == 'python' and re.fullmatch(r'tools/(train|test)\.py', words[1]):
        return [Path(words[1]).stem, *words[2:]]
    return None


def run_poseplug(arguments: list[str]) -> None:
    """Run a command of poseplug in this process."""
    root_logger = logging.getLogger()
    handlers, root_logger.handlers = root_logger.handlers, []
    old_argv, sys.argv = sys.argv, ['poseplug', *arguments]
    code: str | int | None = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, root_logger.handlers = old_argv, handlers
    assert code in (None, 0), f'poseplug {shlex.join(arguments)} ended with {code}'


def check_arguments(arguments: list[str]) -> None:
    """Parse the arguments of a command, and load the configs among them with its options."""
    import argparse

    parser = argparse.ArgumentParser(exit_on_error=False)
    load_command(arguments[0]).add_arguments(parser)
    parsed = parser.parse_args(arguments[1:])
    options = dict(getattr(parsed, 'cfg_options', None) or {})
    assert all(parse_cfg_option(f'{key}=1') for key in options)
    for word in arguments:
        if word.startswith('configs/') and word.endswith('.py'):
            load_config(word, options, training=arguments[0] == 'train')


def prepare_folder(folder: Path, lsp_like: Path, coco_like: Path) -> None:
    """Fill a folder with what the pages name: configs, data sets of people and animals, images, and a video."""
    import cv2

    for name in ('configs', 'tools', 'demo', 'poseplug'):
        (folder / name).symlink_to(ROOT / name)
    (folder / 'data').mkdir()
    (folder / 'data/synthetic').symlink_to(lsp_like)
    (folder / 'data/synthetic_people').symlink_to(coco_like)
    images = [cv2.imread(str(file)) for file in sorted((lsp_like / 'images').glob('*.jpg'))[:3]]
    write_coco_animals(folder / 'geckos', num_images=10)
    write_yolo_animals(folder / 'geckos_yolo', num_train=4, num_val=2)
    (folder / 'photos').mkdir()
    for name, image in zip(('photo.jpg', 'photos/a.jpg', 'photos/b.jpg'), images, strict=True):
        cv2.imwrite(str(folder / name), image)
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(folder / 'video.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25, (width, height))
    for _ in range(4):
        video.write(images[0])
    video.release()
    os.environ.pop('POSEPLUG_DATA', None)
