"""Print the completion of commands and options for a shell.

poseplug completion bash|zsh|tcsh
It needs the package shtab: pip install 'poseplug[completion]'
"""

from __future__ import annotations

import argparse
import importlib

from poseplug.cli.command_modules import list_commands, load_command

_SHELLS = ('bash', 'zsh', 'tcsh')


def run_completion(args: argparse.Namespace) -> None:
    from poseplug.core.errors import ConfigError

    try:
        # by name, since type checkers would miss the package where the extra is not installed
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
    for name in list_commands():
        command = load_command(name)
        command.add_arguments(commands.add_parser(name, help=command.summary))
    return parser


def add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('shell', choices=_SHELLS, help=', '.join(_SHELLS))
