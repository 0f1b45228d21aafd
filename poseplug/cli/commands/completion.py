"""Print the completion of commands and options for a shell.

poseplug completion bash|zsh|tcsh
It needs the package shtab: pip install 'poseplug[completion]'
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

_SHELLS = ('bash', 'zsh', 'tcsh')


def run(args: argparse.Namespace) -> None:
    from poseplug.core.errors import ConfigError

    try:
        shtab = importlib.import_module('shtab')
    except ImportError as error:
        raise ConfigError("completion needs the package shtab: pip install 'poseplug[completion]'") from error
    print(shtab.complete(build_full_parser(), shell=args.shell))


def build_full_parser() -> argparse.ArgumentParser:
    """Build one parser with all commands, which otherwise are parsers of their own that are imported when used.

    Example:
        >>> 'train' in build_full_parser().format_usage()
        True
    """
    parser = argparse.ArgumentParser('poseplug')
    commands = parser.add_subparsers()
    for file in sorted(Path(__file__).parent.glob('[!_]*.py')):
        module = importlib.import_module(f'poseplug.cli.commands.{file.stem}')
        summary = (module.__doc__ or '').partition('\n')[0]
        module.add_arguments(commands.add_parser(file.stem, help=summary))
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('shell', choices=_SHELLS, help=', '.join(_SHELLS))
