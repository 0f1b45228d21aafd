"""The modules of commands and analyses: the docstring of each is its help, and its functions are named after it."""

from __future__ import annotations

__all__ = ['Command', 'list_commands', 'load_analysis', 'load_command']

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

# the folder is the list of commands: a module that is added to it is one
_COMMANDS_FOLDER = Path(__file__).with_name('commands')


class Command(NamedTuple):
    """The functions and texts that the module of a command or an analysis defines."""

    description: str
    """The docstring of the module."""
    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], None]

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition('\n')[0]


def list_commands() -> list[str]:
    """List the names of all commands, without importing them.

    Example:
        >>> list_commands()[:3]
        ['analyze', 'compare', 'completion']
    """
    # by file names alone, since importing every command would make `poseplug --help` slow
    return sorted(file.stem for file in _COMMANDS_FOLDER.glob('[!_]*.py'))


def load_command(name: str) -> Command:
    """Import a command.

    Args:
        name: of a module in poseplug/cli/commands, with the functions `run_NAME` and `add_NAME_arguments`.

    Example:
        >>> load_command('train').summary
        'Train a config.'
    """
    return _load_command(f'commands.{name}', f'run_{name}', f'add_{name}_arguments')


def load_analysis(name: str) -> Command:
    """Import an analysis.

    Args:
        name: NAME of poseplug/cli/analyses/analyze_NAME.py, with the functions `analyze_NAME` and
            `add_NAME_arguments`.

    Example:
        >>> load_analysis('oracle').run.__name__
        'analyze_oracle'
    """
    return _load_command(f'analyses.analyze_{name}', f'analyze_{name}', f'add_{name}_arguments')


def _load_command(path: str, run: str, add_arguments: str) -> Command:
    module = import_module(f'poseplug.cli.{path}')
    # `python -OO` removes docstrings: commands then run without a description
    return Command(module.__doc__ or '', getattr(module, add_arguments), getattr(module, run))
