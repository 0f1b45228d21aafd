"""The plugin door: installed packages join through the entry-point group `poseplug.plugins`, the built-in parts too.

An entry point names a module whose import registers parts, or a mapping from a kind of part to the packages and
modules that hold it: those are then imported only when a registry of that kind is asked. What nobody names is never
imported: a plugin is named by `--plugins`, by `plugins` in a config, or by the name of a part that is not built in and
that its source, which is read and not run, registers.
"""

from __future__ import annotations

import logging
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from poseplug.core.errors import ConfigError, PluginError, compose_message, suggest_closest
from poseplug.registry.plugin_source import Reading, read

GROUP = 'poseplug.plugins'

BUILTIN: dict[str, list[str]] = {
    'model': ['poseplug.models'],
    'codec': ['poseplug.codecs'],
    'source': ['poseplug.data.sources'],
    'transform': ['poseplug.data.transforms'],
    'dataset': ['poseplug.data.dataset'],
    'sampler': ['poseplug.data.samplers'],
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
    """One entry point, what it brings by kind, what of it was imported, and why it failed, if it did.

    `opened` says that its entry point was imported: somebody named the plugin, or one of its parts.
    """

    name: str
    value: str
    package: str = 'poseplug'
    version: str = ''
    point: EntryPoint | None = None
    locations: Mapping[str, list[str]] = field(default_factory=dict)
    error: BaseException | None = None
    opened: bool = False
    loaded: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f'{self.title}, which failed with {self.cause}' if self.error else self.title

    @property
    def title(self) -> str:
        return f'{self.name} of {self.package} {self.version}'.rstrip()

    @property
    def cause(self) -> str:
        return f'{type(self.error).__name__}: {self.error}'

    @cached_property
    def source(self) -> Reading:
        """What its source registers, read once; nothing of it is imported."""
        return read(self.value.partition(':')[0].strip())

    def open(self) -> None:
        """Import its entry point, once."""
        if not self.opened:
            self.opened = True
            _guarded(self, partial(_open, self))

    def load(self, kind: str) -> None:
        """Import what it brings of one kind, once."""
        for location in self.locations.get(kind, []):
            if location not in self.loaded:
                self.loaded.add(location)
                _guarded(self, partial(import_tree, location))


OURS = Plugin('builtin', f'{__name__}:BUILTIN', locations=BUILTIN, opened=True)
_plugins: list[Plugin] | None = None
_importing: list[Plugin] = []  # whose modules are being imported just now, the innermost last


def load(kind: str) -> None:
    """Import the built-in parts of one kind, and what the plugins named so far bring of it.

    A plugin that fails is reported and stops nobody; a clash is an error. A part that asks its own registry while it
    is being imported sees what was registered before it.
    """
    for plugin in [OURS, *(_plugins or [])]:
        if plugin.opened:
            plugin.load(kind)
    _complain()


def seek(kind: str, name: str) -> None:
    """Import the installed plugin whose source registers a name that nobody has; two such packages are an error."""
    if OURS in _importing:
        return
    claiming = offered(kind).get(name, [])
    if len({p.package for p in claiming}) > 1:
        raise PluginError(
            f'{kind} {name!r} is registered by {" and by ".join(f"plugin {p.title}" for p in claiming)}; say which by '
            f'--plugins {claiming[0].package}, or uninstall the package that you do not need'
        )
    for plugin in claiming:
        plugin.open()
        for each in [kind] if kind in plugin.locations else plugin.locations:
            plugin.load(each)
    _complain()


def use(names: Iterable[str]) -> None:
    """Import the plugins of these names: those of packages, or of entry points.

    Raises:
        ConfigError: there is none of that name, or several packages have an entry point of that name.
        PluginError: one of them takes a name that is taken.
    """
    for plugin in [p for name in names for p in named(name)]:
        plugin.open()
    _complain()


def named(name: str) -> list[Plugin]:
    """The installed plugins of a package, or the one whose entry point has that name."""
    found = [p for p in installed() if canonical(p.package) == canonical(name)]
    found = found or [p for p in installed() if p.name == name]
    if not found:
        known = {n for p in installed() for n in (p.name, p.package)}
        raise ConfigError(
            f'{compose_message(f"plugin {name!r} is not installed", suggest_closest(name, known))}. {describe()}'
        )
    if len({p.package for p in found}) > 1:
        raise ConfigError(
            f'plugin {name!r} may be {" or ".join(p.title for p in found)}; write the name of the package that you mean'
        )
    return found


def installed() -> list[Plugin]:
    """Every installed plugin by name, without the built-in parts; none is imported."""
    global _plugins
    if _plugins is None:
        points = sorted(entry_points(group=GROUP), key=lambda p: (p.name, p.value))
        _plugins = [_plugin(p) for p in points if p.value != OURS.value]
    return _plugins


def offered(kind: str) -> dict[str, list[Plugin]]:
    """The names of one kind that plugins not yet imported register, as their sources say, and by whom."""
    found: dict[str, list[Plugin]] = {}
    for plugin in installed():
        for name in () if plugin.opened else plugin.source.of(kind):
            found.setdefault(name, []).append(plugin)
    return found


def describe() -> str:
    """For error messages: the installed plugins, the causes of those that failed, and whose parts are not known."""
    return f'Installed plugins: {"; ".join(map(_described, installed())) or "none"}'


def hint(name: str) -> str:
    """For error messages about a name that nobody registers: where it may come from, and the installed plugins."""
    return f'{bringer(name) or "Is its plugin installed?"} {describe()}'


def bringer(name: str) -> str:
    """Which plugin would bring a part: an installed one that failed and registers it, or one that is not installed."""
    for plugin in installed():
        if plugin.error and any(part.name == name for part in plugin.source.parts):
            return f'{name!r} is a part of plugin {plugin}; repair, update or reinstall that package.'
    return f'{name!r} comes with {CATALOG[name]}.' if name in CATALOG else ''


def canonical(name: str) -> str:
    """The name of a package as indexes compare them."""
    return re.sub('[-_.]+', '-', name).lower()


def import_tree(name: str) -> None:
    """Import a module, and every module below it when it is a package."""
    module = import_module(name)
    for info in pkgutil.iter_modules(getattr(module, '__path__', []), f'{name}.'):
        import_tree(info.name)


def _plugin(point: EntryPoint) -> Plugin:
    package, version = (point.dist.name, point.dist.version) if point.dist else (point.module, '')
    return Plugin(point.name, point.value, package, version, point)


def _described(plugin: Plugin) -> str:
    """A plugin, and why nobody knows by which names its parts are asked for, as long as nobody has."""
    if plugin.opened or plugin.source.parts:
        return str(plugin)
    why = '; '.join(plugin.source.faults) or 'its source shows no names of parts'
    return f'{plugin} ({why}; imported by --plugins {plugin.name})'


def _open(plugin: Plugin) -> None:
    """Load an entry point: a module has registered its parts by then, a mapping says where parts are."""
    assert plugin.point is not None
    content = plugin.point.load()
    if not isinstance(content, Mapping):
        return
    for kind, places in content.items():
        if kind not in BUILTIN:
            raise ValueError(
                f'{plugin.value} names the kind {kind!r}; {suggest_closest(kind, BUILTIN)}; kinds: {[*BUILTIN]}'
            )
        if isinstance(places, str):
            raise TypeError(f'{plugin.value} gives {kind!r} as {places!r}; write a list: [{places!r}]')
    plugin.locations = content


def _guarded(plugin: Plugin, action: Callable[[], Any]) -> None:
    """Run one import of a plugin; what goes wrong is kept as its error, and told once. Ours is raised as it is."""
    _importing.append(plugin)
    try:
        action()
    except (Exception, SystemExit) as error:
        if plugin is OURS:
            raise
        plugin.error = plugin.error or error
        if not isinstance(error, PluginError):
            logging.getLogger('poseplug').warning(
                'plugin %s does not load, so its parts may be missing: %s: %s. Repair, update or uninstall it',
                plugin.title, type(error).__name__, error,
            )  # fmt: skip
    finally:
        _importing.pop()


def _complain() -> None:
    """Raise the clash of a plugin, unless something is still being imported, whose fault it is not."""
    for plugin in [] if _importing else _plugins or []:
        if isinstance(plugin.error, PluginError):
            raise PluginError(f'plugin {plugin.title}: {plugin.error}')
