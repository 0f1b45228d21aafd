"""Every part by kind, with the place it comes from, and plugins.

poseplug plugins [KIND ...]
Of plugins the source is read and nothing imported, but of those that `--plugins NAME ...` names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from poseplug.cli import add_plugins


def run(args: argparse.Namespace) -> None:
    from poseplug import plugins

    for kind in args.kind or plugins.BUILTIN:
        print(f'{kind}:', *lines(kind), sep='\n')
    print(plugins.describe())


def lines(kind: str) -> Iterator[str]:
    """The registered parts of a kind, then those that the sources of plugins show."""
    from poseplug import plugins
    from poseplug.registry import registry_of, where

    registry = registry_of(kind)
    places = {name: where(registry.get(name)) for name in registry.names()}
    for name, place in places.items():
        yield f'  {name:24} {place}'
    for name, bringing in sorted(plugins.offered(kind).items()):
        for plugin in bringing:
            place = plugin.source.of(kind)[name]
            if places.get(name) != place:
                yield f'  {name:24} {place} of plugin {plugin.title}, {fate(name, places, bringing)}'


def fate(name: str, places: dict[str, str], bringing: list) -> str:
    """What becomes of a name that the source of a plugin shows."""
    if name in places:
        return f'never imported by that name, which is taken by {places[name]}'
    claimed = len({plugin.package for plugin in bringing}) > 1
    return 'which is claimed by several: say which by --plugins' if claimed else 'imported when named'


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('kind', nargs='*', help='model, codec, source, transform, metric, skeleton, ... (default: all)')
    add_plugins(parser)
