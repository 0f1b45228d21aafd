"""Imports the parts that registries hold: modules of poseplug, and entry points of installed packages.

The group of an entry point is the kind of part, its name is the name of the part and its value is the object:

    [project.entry-points."poseplug.codec"]
    DiskOffset = "poseplug_offsets.disk_offset:DiskOffset"

Entry points are read from the metadata of the packages. A package is imported when one of its parts is looked up.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from poseplug.core.errors import PluginError

# The packages and modules of the built-in parts by kind; imported at the first lookup of a name of that kind.
BUILTIN_MODULES: dict[str, tuple[str, ...]] = {
    'model': ('poseplug.models',),
    'codec': ('poseplug.codecs',),
    'source': ('poseplug.data.sources',),
    'label format': ('poseplug.data.formats',),
    'transform': ('poseplug.data.transforms',),
    'dataset': ('poseplug.data.dataset',),
    'sampler': ('poseplug.data.samplers',),
    'metric': ('poseplug.evaluation',),
    'hook': ('poseplug.engine.hooks',),
    'loop': ('poseplug.engine.loops', 'poseplug.engine.eval_loop'),
    'optimizer wrapper': ('poseplug.engine.optim',),
    'optimizer': (),  # torch's, which mmengine registers
    'optimizer constructor': ('poseplug.engine.optim',),
    'parameter scheduler': ('poseplug.engine.schedules',),
    'tracker': ('poseplug.predict.tracking', 'poseplug.predict.package_tracker'),
    'smoother': ('poseplug.predict.smoothing',),
    'skeleton': ('poseplug.skeletons',),
    'detector family': ('poseplug.predict.detector_families',),
    'image input': ('poseplug.predict.image_inputs',),
}
_imported_modules: set[str] = set()


@dataclass(frozen=True)
class PluginPart:
    """A part that an installed package offers by an entry point.

    Attributes:
        kind: of the part, such as 'codec'.
        entry: its name, module and attribute; nothing is imported until `load`.
    """

    kind: str
    entry: EntryPoint

    @property
    def name(self) -> str:
        """The name of the part."""
        return self.entry.name

    @property
    def package(self) -> str:
        """The package and its version, such as 'poseplug-offsets 0.1.0'."""
        dist = self.entry.dist
        return f'{dist.name} {dist.version}' if dist else self.entry.module

    def __str__(self) -> str:
        return f'{self.entry.value} of package {self.package}'

    def load(self) -> object:
        """Import the package and return the object.

        Raises:
            PluginError: the import fails; the message has the package and the cause.
        """
        try:
            return self.entry.load()
        # A package may do anything while it is imported, also end the process.
        except (Exception, SystemExit) as error:
            raise PluginError(
                f'{self.kind} {self.name!r} is {self}, which does not load: {type(error).__name__}: {error}. '
                f'Repair, update or uninstall that package'
            ) from error


def entry_point_group(kind: str) -> str:
    """Return the group of entry points for a kind of part.

    Example:
        >>> entry_point_group('optimizer wrapper')
        'poseplug.optimizer_wrapper'
    """
    return f'poseplug.{kind.replace(" ", "_")}'


# The metadata of every installed package is read; what is installed does not change during a process.
@cache
def list_plugin_parts(kind: str) -> tuple[PluginPart, ...]:
    """List the parts of a kind that installed packages offer; nothing is imported.

    Args:
        kind: such as 'codec'.

    Returns:
        The parts, sorted by name and package.
    """
    # Entry points are plain text in the metadata of a package: listing them imports nothing.
    parts = [PluginPart(kind, entry) for entry in entry_points(group=entry_point_group(kind))]
    return tuple(sorted(parts, key=lambda part: (part.name, part.package)))


def find_plugin_part(kind: str, name: str) -> PluginPart | None:
    """Find the part of a name that an installed package offers.

    Args:
        kind: such as 'codec'.
        name: of the part.

    Returns:
        The part; None if no package offers one.

    Raises:
        PluginError: several packages offer that name; the message lists them.
    """
    # By the whole list, since two packages may offer one name, which must not be decided by their order.
    parts = [part for part in list_plugin_parts(kind) if part.name == name]
    if len(parts) > 1:
        offers = ' and as '.join(map(str, parts))
        raise PluginError(
            f'{kind} {name!r} is offered as {offers}; uninstall the package that you do not need, or write '
            f'type={parts[0].entry.value.replace(":", ".")!r}'
        )
    return parts[0] if parts else None


def describe_packages() -> str:
    """List the installed packages that offer parts, for error messages."""
    packages = {part.package for kind in BUILTIN_MODULES for part in list_plugin_parts(kind)}
    listed = '; '.join(sorted(packages)) or 'none'
    return f'Installed plugins: {listed}'


def import_builtin_parts(kind: str) -> None:
    """Import the modules that hold the built-in parts of a kind, once.

    A module that looks up a name of its kind during its import finds only the names registered until then.

    Args:
        kind: such as 'codec'.
    """
    for module in BUILTIN_MODULES.get(kind, ()):
        if module not in _imported_modules:
            # Before the import: its modules look up names of their kind, which must not import it again.
            _imported_modules.add(module)
            try:
                _import_tree(module)
            # After an error or an interrupt the next lookup tries once more.
            except BaseException:
                _imported_modules.discard(module)
                raise


def _import_tree(name: str) -> None:
    """Import a module, and every module below it when it is a package."""
    # The package first, then what is below it, as its `__init__` may expect.
    module = import_module(name)
    for info in pkgutil.iter_modules(getattr(module, '__path__', []), f'{name}.'):
        _import_tree(info.name)
