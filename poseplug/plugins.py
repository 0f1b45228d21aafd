"""The plugin door: installed packages join through the entry-point group `poseplug.plugins`, the built-in parts too.

An entry point names a module whose import registers parts, or a mapping from a kind of part to the packages and
modules that hold it: those are then imported only when a registry of that kind is first asked.
"""

from __future__ import annotations

import logging
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from poseplug.errors import PluginError, closest

GROUP = 'poseplug.plugins'

BUILTIN: dict[str, list[str]] = {
    'model': ['poseplug.models'],
    'codec': ['poseplug.codecs'],
    'source': ['poseplug.datasets.sources'],
    'transform': ['poseplug.datasets.transforms'],
    'dataset': ['poseplug.datasets.dataset'],
    'sampler': ['poseplug.datasets.samplers'],
    'metric': ['poseplug.evaluation'],
    'hook': ['poseplug.engine.hooks'],
    'loop': ['poseplug.engine.loops'],
    'optimizer wrapper': ['poseplug.engine.optim'],
    'optimizer constructor': ['poseplug.engine.optim'],
    'skeleton': ['poseplug.skeletons'],
}

# Parts of plugins that are known but perhaps not installed: what to do to have them.
CATALOG = {'DiskOffset': 'poseplug-offsets; from the folder of poseplug: pip install ./demo/plugin'}


@dataclass
class Plugin:
    """One entry point, what it brings by kind, what of it was imported, and why it failed, if it did."""

    name: str
    value: str
    package: str = 'poseplug'
    locations: Mapping[str, list[str]] = field(default_factory=dict)
    error: BaseException | None = None
    loaded: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f'{self.name} of {self.package}' + (f', which failed with {self.cause}' if self.error else '')

    @property
    def cause(self) -> str:
        return f'{type(self.error).__name__}: {self.error}'

    def load(self, kind: str) -> None:
        """Import what it brings of one kind, once."""
        for location in self.locations.get(kind, []):
            if location not in self.loaded:
                self.loaded.add(location)
                _guarded(self, partial(import_tree, location))


OURS = Plugin('builtin', f'{__name__}:BUILTIN', locations=BUILTIN)
_plugins: list[Plugin] | None = None
_busy: set[str] = set()  # the kinds, and the group itself, that are being loaded just now


def load(kind: str) -> None:
    """Import what every plugin brings of one kind. One that fails is reported and stops nobody; a clash is an error.

    A part that asks its own registry while it is being imported sees what was registered before it.
    """
    if kind in _busy:
        return
    everybody = found()
    _busy.add(kind)
    try:
        for plugin in everybody:
            plugin.load(kind)
    finally:
        _busy.discard(kind)
    for plugin in [] if _busy else everybody:
        if isinstance(plugin.error, PluginError):
            raise PluginError(f'plugin {plugin.name} of {plugin.package}: {plugin.error}')


def found() -> list[Plugin]:
    """Every plugin: the built-in parts first, then the installed ones by name. Their entry points are loaded once."""
    global _plugins
    if _plugins is None:
        points = sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value))
        opened = {p: _plugin(p) for p in points if p.value != OURS.value}
        _plugins = [OURS, *opened.values()]
        _busy.add(GROUP)
        for point, plugin in opened.items():
            _guarded(plugin, partial(_open, plugin, point))
        _busy.discard(GROUP)
    return _plugins


def describe() -> str:
    """For error messages: the installed plugins, and the causes of those that failed."""
    return f'Installed plugins: {"; ".join(map(str, found()[1:])) or "none"}'


def bringer(name: str) -> str:
    """Which plugin would bring a part: an installed one that failed and writes it, or one that is not installed."""
    for plugin in found()[1:]:
        if plugin.error and _writes(plugin, name):
            return f'{name!r} is a part of plugin {plugin}; repair, update or reinstall that package.'
    return f'{name!r} comes with {CATALOG[name]}.' if name in CATALOG else ''


def import_tree(name: str) -> None:
    """Import a module, and every module below it when it is a package."""
    module = import_module(name)
    for info in pkgutil.iter_modules(getattr(module, '__path__', []), f'{name}.'):
        import_tree(info.name)


def _plugin(point: EntryPoint) -> Plugin:
    return Plugin(point.name, point.value, f'{point.dist.name} {point.dist.version}' if point.dist else point.module)


def _open(plugin: Plugin, point: EntryPoint) -> None:
    """Load an entry point: a module has registered its parts by then, a mapping says where parts are."""
    content = point.load()
    if not isinstance(content, Mapping):
        return
    for kind, places in content.items():
        if kind not in BUILTIN:
            raise ValueError(f'{point.value} names the kind {kind!r}; {closest(kind, BUILTIN)}; kinds: {[*BUILTIN]}')
        if isinstance(places, str):
            raise TypeError(f'{point.value} gives {kind!r} as {places!r}; write a list: [{places!r}]')
    plugin.locations = content


def _guarded(plugin: Plugin, action: Callable[[], Any]) -> None:
    """Run one import of a plugin; what goes wrong is kept as its error, and told once. Ours is raised as it is."""
    try:
        action()
    except (Exception, SystemExit) as error:
        if plugin is OURS:
            raise
        plugin.error = plugin.error or error
        if not isinstance(error, PluginError):
            logging.getLogger('poseplug').warning(
                'plugin %s of %s does not load, so its parts may be missing: %s: %s. Repair, update or uninstall it',
                plugin.name, plugin.package, type(error).__name__, error,
            )  # fmt: skip


def _writes(plugin: Plugin, name: str) -> bool:
    """Whether a plugin's source has a class, function or registration of that name; nothing of it is imported."""
    spec = find_spec(plugin.value.partition(':')[0].partition('.')[0])
    if spec is None:
        return False
    folders = [Path(p) for p in spec.submodule_search_locations or []]
    files = [f for folder in folders for f in folder.rglob('*.py')] or [Path(spec.origin or '')]
    written = re.compile(rf'\b(?:class|def)\s+{re.escape(name)}\b|\bname=[\'"]{re.escape(name)}[\'"]')
    return any(f.is_file() and written.search(f.read_text(errors='replace')) for f in files)
