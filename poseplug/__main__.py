"""The program `poseplug` and `python -m poseplug`: one command for each module of poseplug/cli/commands."""

from __future__ import annotations

import argparse
import ast
import os
import sys
from pathlib import Path

import poseplug
from poseplug.cli.command_modules import list_commands
from poseplug.cli.options import run_command
from poseplug.core.errors import compose_message, suggest_closest

_COMMANDS_FOLDER = Path(__file__).parent / 'cli' / 'commands'


def main() -> None:
    """Parse the name of the command and run it with the other arguments; no other command is imported."""
    # the decoders of OpenCV, which is loaded later, print lines about damaged files beside our own messages
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'SILENT')
    prog = 'python -m poseplug' if Path(sys.argv[0]).name == '__main__.py' else 'poseplug'
    names = list_commands()
    parser = _build_parser(prog, names)
    name = parser.parse_args(sys.argv[1:2] or ['--help']).command
    if name not in names:
        hint, known = suggest_closest(name, names), f'known: {", ".join(names)}'
        parser.error(compose_message(f'there is no command {name!r}', hint, known))
    run_command(name, f'{prog} {name}', sys.argv[2:])


def _build_parser(prog: str, names: list[str]) -> argparse.ArgumentParser:
    """A parser of the command's name, whose help has a line for every command."""
    width = max(map(len, names)) + 2
    lines = [f'  {name:{width}}{_read_summary(name)}' for name in names]
    summary = (poseplug.__doc__ or '').partition('\n')[0]
    parser = argparse.ArgumentParser(
        prog,
        usage=f'{prog} COMMAND ...',
        description=f'{summary}\n\ncommands, each with its own --help:\n' + '\n'.join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', metavar='COMMAND', help=argparse.SUPPRESS)
    parser.add_argument('--version', action='version', version=f'poseplug {poseplug.__version__}')
    return parser


def _read_summary(name: str) -> str:
    """The first line of a command's docstring, read from its source without importing it."""
    tree = ast.parse((_COMMANDS_FOLDER / f'{name}.py').read_text(encoding='utf-8'))
    return (ast.get_docstring(tree) or '').partition('\n')[0]


if __name__ == '__main__':
    main()
