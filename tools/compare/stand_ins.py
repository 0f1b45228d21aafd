"""Empty stand-ins for what MMPose imports but its measured parts never call: mmcv's compiled operators and torchvision.

`mmcv-lite` has no compiled operators, and torchvision requires one particular torch. Importing MMPose's models asks for
both by name. Any name of a stand-in can be imported, inherited from and registered; building or calling it is an error.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGES = {'mmcv.ops': 'mmcv._ext', 'torchvision': 'torchvision'}  # and the module that they need to be of use


class StandIn(ModuleType):
    """A module that has every name: each is a `torch.nn.Module` that cannot be built."""

    __version__ = '0.0.0'

    def __getattr__(self, name: str) -> Any:
        # Python asks modules for names such as __path__ and must be told that they are absent.
        if name.startswith('__'):
            raise AttributeError(name)
        import torch

        full_name = f'{self.__name__}.{name}'

        def refuse_building(self: Any, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError(f'{full_name} is only a stand-in here; install the real package to use it')

        stand_in = type(name, (torch.nn.Module,), {'__init__': refuse_building, '__module__': self.__name__})
        setattr(self, name, stand_in)
        return stand_in


class StandInFinder(MetaPathFinder, Loader):
    """Finds packages that are missing, and any module below them."""

    def __init__(self, packages: Sequence[str]):
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        is_missing = any(name == p or name.startswith(p + '.') for p in self.packages)
        return ModuleSpec(name, self, is_package=True) if is_missing else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the names are created when they are looked up."""


def install_stand_ins() -> list[str]:
    """Install stand-ins of the packages that are missing, and return the names of these."""
    missing = [name for name, needed in PACKAGES.items() if importlib.util.find_spec(needed) is None]
    # First, since a broken package would otherwise be found and fail.
    sys.meta_path.insert(0, StandInFinder(missing))
    return missing
