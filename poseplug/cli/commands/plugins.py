"""List every part by kind with its origin, and the plugins.

poseplug plugins [KIND ...]
The sources of plugins are read, not imported, except for those that `--plugins NAME ...` names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from poseplug.cli.options import add_plugins_option


def run(args: argparse.Namespace) -> None:
    from poseplug.registry import plugins

    for kind in args.kind or plugins.BUILTIN:
        print(f'{kind}:', *_format_part_lines(kind), sep='\n')
    print(plugins.describe())


def _format_part_lines(kind: str) -> Iterator[str]:
    """The registered parts of a kind, then those that the sources of plugins define."""
    from poseplug.registry import get_registry, plugins
    from poseplug.registry.registries import qualified_name

    registry = get_registry(kind)
    locations = {name: qualified_name(registry.get(name)) for name in registry.list_names()}
    for name, location in locations.items():
        yield f'  {name:24} {location}'
    for name, providers in sorted(plugins.offered(kind).items()):
        for plugin in providers:
            location = plugin.source.of(kind)[name]
            if locations.get(name) != location:
                description = _describe_plugin_part(name, locations, providers)
                yield f'  {name:24} {location} of plugin {plugin.title}, {description}'


def _describe_plugin_part(name: str, locations: dict[str, str], providers: list) -> str:
    """When a part that the source of a plugin defines is imported."""
    if name in locations:
        return f'never imported by that name, which is taken by {locations[name]}'
    is_ambiguous = len({plugin.package for plugin in providers}) > 1
    return 'which is claimed by several: say which by --plugins' if is_ambiguous else 'imported when named'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('kind', nargs='*', help='model, codec, source, transform, metric, skeleton, ... (default: all)')
    add_plugins_option(parser)
