"""Skeletons that are JSON files in the folder `data`: names, limbs, flip pairs and sigmas of public data sets.

A file has the fields of `Skeleton` as JSON, and `source`, which says where the keypoints come from. Its name is the
skeleton's name. A file is read when its skeleton is looked up.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from poseplug.core.skeleton import Skeleton
from poseplug.registry import SKELETONS
from poseplug.registry.skeletons import get_skeleton

_FOLDER = Path(__file__).parent / 'data'


@cache  # one object per name, as of the skeletons that are modules
def _read_file(file: Path) -> Skeleton:
    """Read the skeleton of a file."""
    fields = json.loads(file.read_text(encoding='utf-8'))
    del fields['source']
    return get_skeleton({'name': file.stem, **fields})


def _register_file(file: Path) -> None:
    """Register the skeleton of a file by the file's name."""

    def read_skeleton() -> Skeleton:
        return _read_file(file)

    read_skeleton.__qualname__ = file.stem  # error messages and listings show it as the origin
    SKELETONS.register_module(name=file.stem, module=read_skeleton)


for _file in sorted(_FOLDER.glob('*.json')):
    _register_file(_file)
