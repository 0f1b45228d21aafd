"""List every part by kind, with its origin, or the configs.

poseplug list [KIND ...]
poseplug list config
Parts of installed packages are listed from their entry points; no package is imported for that.
"""

from __future__ import annotations

import argparse


def run_list(args: argparse.Namespace) -> None:
    from poseplug.registry.listing import list_part_origins
    from poseplug.registry.plugins import BUILTIN_MODULES

    for kind in args.kind or BUILTIN_MODULES:
        print(f'{kind}:')
        for name, origin in _list_config_titles() if kind == 'config' else list_part_origins(kind):
            print(f'  {name:24} {origin}')


def _list_config_titles() -> list[tuple[str, str]]:
    """The names of the shipped configs, each with the first line of its file."""
    from poseplug.config.shipped import list_configs

    first_lines = {name: file.read_text(encoding='utf-8').partition('\n')[0] for name, file in list_configs().items()}
    return [(f'{name:37}', line.strip('"')) for name, line in first_lines.items()]


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'kind', nargs='*', help='model, codec, source, transform, metric, skeleton, ... or config (default: all parts)'
    )
