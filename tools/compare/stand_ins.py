"""Empty stand-ins for what MMPose imports but its measured parts never call: mmcv's compiled operators and torchvision.

`mmcv-lite` has no compiled operators, and torchvision ties itself to one torch. Importing MMPose's models asks for both
by name. Anything of a stand-in can be imported, inherited from and registered; building or calling it is an error.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGES = {'mmcv.ops': 'mmcv._ext', 'torchvision': 'torchvision'}  # and the module without which they are no use


class StandIn(ModuleType):
    """A module that has every name: each is a `torch.nn.Module` that refuses to be built."""

    __version__ = '0.0.0'

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        import torch

        whole = f'{self.__name__}.{name}'

        def refuse(self: Any, *args: Any, **settings: Any) -> None:
            raise RuntimeError(f'{whole} is only a stand-in here; install the real package to use it')

        found = type(name, (torch.nn.Module,), {'__init__': refuse, '__module__': self.__name__})
        setattr(self, name, found)
        return found


class Finder(MetaPathFinder, Loader):
    """Finds the packages that are missing, and whatever may lie below them."""

    def __init__(self, packages: Sequence[str]):
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        ours = any(name == p or name.startswith(p + '.') for p in self.packages)
        return ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: its names are made as they are asked for."""


def install() -> list[str]:
    """Put stand-ins where the real packages are missing; their names."""
    wanted = [name for name, needed in PACKAGES.items() if importlib.util.find_spec(needed) is None]
    sys.meta_path.insert(0, Finder(wanted))
    return wanted
