"""Lists the parts of a kind with their origins: poseplug, an installed package or a file."""

from __future__ import annotations

import sys
from pathlib import Path

from poseplug.registry.part_registry import qualified_name
from poseplug.registry.plugins import list_plugin_parts
from poseplug.registry.registries import get_registry
from poseplug.registry.wiring import PartType


def list_part_origins(kind: str) -> list[tuple[str, str]]:
    """List the registered parts of a kind and those that installed packages offer.

    Args:
        kind: such as 'codec'.

    Returns:
        Name and origin, sorted by name: 'poseplug, poseplug/codecs/cpm.py' for a built-in part,
        'poseplug-offsets 0.1.0, poseplug_offsets.disk_offset:DiskOffset' for one of a package, and the file for one
        that a config imported. A name that is offered twice is listed twice.

    Raises:
        ConfigError: there is no such kind.

    Example:
        >>> dict(list_part_origins('skeleton'))['lsp']
        'poseplug, poseplug/skeletons/lsp.py'
    """
    registry = get_registry(kind)
    plugin_parts = list_plugin_parts(kind)
    # Once imported, a package's part is in both lists; it is listed with the package and its version.
    offers = {(part.name, part.entry.module.partition('.')[0]) for part in plugin_parts}
    registered_parts = [(name, registry.module_dict[name]) for name in registry.list_names()]
    origins = [
        (name, _describe_origin(part)) for name, part in registered_parts if (name, _top_package(part)) not in offers
    ]
    origins += [(part.name, f'{part.package}, {part.entry.value}') for part in plugin_parts]
    return sorted(origins)


def _top_package(part: PartType) -> str:
    return qualified_name(part).partition('.')[0]


def _describe_origin(part: PartType) -> str:
    """The file that defines a registered part, or its dotted name."""
    file = getattr(sys.modules.get(part.__module__), '__file__', None)
    if not file:
        return qualified_name(part)
    if _top_package(part) == 'poseplug':
        package_folder = Path(__file__).parents[2]
        return f'poseplug, {Path(file).relative_to(package_folder).as_posix()}'
    return file
