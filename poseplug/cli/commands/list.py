"""List every part by kind, with its origin.

poseplug list [KIND ...]
Parts of installed packages are listed from their entry points; no package is imported for that.
"""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> None:
    from poseplug.registry.listing import list_part_origins
    from poseplug.registry.plugins import BUILTIN_MODULES

    for kind in args.kind or BUILTIN_MODULES:
        print(f'{kind}:')
        for name, origin in list_part_origins(kind):
            print(f'  {name:24} {origin}')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('kind', nargs='*', help='model, codec, source, transform, metric, skeleton, ... (default: all)')
