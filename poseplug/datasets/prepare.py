"""Getting a data set ready: the embedded one is made, any other is explained and checked where it should be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from poseplug.datasets.sources.base import folder_of
from poseplug.datasets.synthetic import write_coco, write_lsp
from poseplug.errors import ConfigError
from poseplug.progress import track
from poseplug.registry import SOURCES

TRAIN_SHARE = 0.875  # of the embedded pictures, unless told otherwise


def sets() -> dict[str, Any]:
    """The sources that say how their files are got, by the name of the data set."""
    named = {n: SOURCES.get(n) for n in SOURCES.names()}
    return {part.name: part for part in named.values() if hasattr(part, 'how') and hasattr(part, 'name')}


def make(
    out: Path, layout: str = 'lsp', count: int = 1600, train: int | None = None, seed: int = 0, workers: int = 0
) -> Path:
    """Draw the embedded data set of `count` pictures, `train` of them for training, in LSP's or COCO's layout."""
    train = round(TRAIN_SHARE * count) if train is None else train

    def shown(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
        return track(items, description, total, unit='picture')

    if layout == 'coco':
        return write_coco(out, train, count - train, seed, shown, workers)
    return write_lsp(out, count, train, seed, shown, workers)


def check(name: str, root: Path | None = None) -> str:
    """How a data set is got, and what is found of it; one that is absent or damaged is the source's own error."""
    known = sets()
    if name not in known:
        raise ConfigError(f'there is no data set {name!r} to prepare; known: synthetic, {", ".join(sorted(known))}')
    source = SOURCES.build(dict(type=known[name].__name__, root=root))
    records, report = source.load()
    where = folder_of(root, name, report.file.name)
    return f'{name} is in {where.absolute()}: {len(records):,} pictures\n{report}'
