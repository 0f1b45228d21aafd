"""The plugin door: installed packages join through the entry-point group `poseplug.plugins`, the built-in parts too.

An entry point names a module whose import registers parts, or a mapping from a kind of part to the packages and
modules that hold it: those are then imported only when a registry of that kind is first asked.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from poseplug.errors import PluginError

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


@dataclass
class Plugin:
    """One entry point, what it brings by kind, and why it failed, if it did."""

    name: str
    value: str
    package: str = 'poseplug'
    locations: Mapping[str, list[str]] = field(default_factory=dict)
    error: Exception | None = None
    loaded: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        state = f'failed: {type(self.error).__name__}: {self.error}' if self.error else 'loaded'
        return f'{self.name} ({self.package}, {state})'


_plugins: list[Plugin] | None = None


def load(kind: str) -> None:
    """Import what every plugin brings of one kind; a plugin that fails is reported and stops nobody else."""
    for plugin in found():
        if kind in plugin.loaded:
            continue
        plugin.loaded.add(kind)
        for location in plugin.locations.get(kind, []):
            _guarded(plugin, lambda location=location: import_tree(location))


def found() -> list[Plugin]:
    """Every plugin: the built-in parts first, then the installed ones by name. Their entry points are loaded once."""
    global _plugins
    if _plugins is None:
        _plugins = [Plugin('builtin', f'{__name__}:BUILTIN', locations=BUILTIN)]
        for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
            if point.value != _plugins[0].value:
                _plugins.append(_open(point))
    return _plugins


def describe() -> str:
    """One line for error messages: the plugins that were found, and those that failed, with the cause."""
    installed = [str(p) for p in found()[1:]]
    return f'Plugins found: {"; ".join(installed)}' if installed else 'No plugins are installed'


def import_tree(name: str) -> None:
    """Import a module, and every module below it when it is a package."""
    module: ModuleType = import_module(name)
    for info in pkgutil.iter_modules(getattr(module, '__path__', []), f'{name}.'):
        import_tree(info.name)


def _open(point: EntryPoint) -> Plugin:
    package = f'{point.dist.name} {point.dist.version}' if point.dist else point.value
    plugin = Plugin(point.name, point.value, package)
    result = _guarded(plugin, point.load)
    if isinstance(result, Mapping):
        plugin.locations = result
    return plugin


def _guarded(plugin: Plugin, action):
    """Run one import; a clash of names is raised, anything else is kept as the plugin's error and logged."""
    try:
        return action()
    except PluginError:
        raise
    except Exception as error:
        if plugin.name == 'builtin':
            raise
        plugin.error = error
        logging.getLogger('poseplug').warning(
            'plugin %r of %s does not import and is left out: %s: %s; update or uninstall it',
            plugin.name,
            plugin.package,
            type(error).__name__,
            error,
        )
    return None
