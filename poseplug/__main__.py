"""What `poseplug` and `python -m poseplug` run: one command for each module of poseplug/commands."""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

import poseplug
from poseplug import cli
from poseplug.errors import clauses, closest

FOLDER = Path(__file__).parent / 'commands'


def main() -> None:
    """Read the command's name alone; what follows it is the command's, which is imported only then."""
    prog = 'python -m poseplug' if Path(sys.argv[0]).name == '__main__.py' else 'poseplug'
    names = sorted(file.stem for file in FOLDER.glob('[!_]*.py'))
    chooser = parser(prog, names)
    name = chooser.parse_args(sys.argv[1:2] or ['--help']).command
    if name not in names:
        chooser.error(clauses(f'there is no command {name!r}', closest(name, names), f'known: {", ".join(names)}'))
    cli.command(name, f'{prog} {name}', sys.argv[2:])


def parser(prog: str, names: list[str]) -> argparse.ArgumentParser:
    """Of one word; its help has a line for every command."""
    width = max(map(len, names)) + 2
    lines = [f'  {name:{width}}{summary(name)}' for name in names]
    parser = argparse.ArgumentParser(
        prog,
        usage=f'{prog} COMMAND ...',
        description=f'{poseplug.__doc__}\n\ncommands, each with a --help of its own:\n' + '\n'.join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', metavar='COMMAND', help=argparse.SUPPRESS)
    parser.add_argument('--version', action='version', version=f'poseplug {poseplug.__version__}')
    return parser


def summary(name: str) -> str:
    """The first line of a command's docstring, which is read without importing it."""
    tree = ast.parse((FOLDER / f'{name}.py').read_text(encoding='utf-8'))
    return (ast.get_docstring(tree) or '').partition('\n')[0]


if __name__ == '__main__':
    main()
