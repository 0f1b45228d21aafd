"""Every registered part by kind, with the place it comes from, and the plugins: python tools/plugins.py [KIND ...]."""

from __future__ import annotations

import argparse

from poseplug.cli import main


def run(args: argparse.Namespace) -> None:
    from poseplug import plugins
    from poseplug.registry import registry_of, where

    for kind in args.kind or plugins.BUILTIN:
        registry = registry_of(kind)
        print(f'{kind}:')
        for name in registry.names():
            print(f'  {name:24} {where(registry.get(name))}')
    print(plugins.describe())


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('kind', nargs='*', help='model, codec, source, transform, metric, skeleton, ... (default: all)')
    return parser


if __name__ == '__main__':
    main(parser(), run)
