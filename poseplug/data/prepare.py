"""Creates the synthetic data set, and checks that any other data set is in its folder and readable."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from poseplug.core.errors import ConfigError
from poseplug.core.progress import track_progress
from poseplug.data.sources.base import find_dataset_folder
from poseplug.data.synthetic import write_coco, write_lsp
from poseplug.registry import SOURCES

_TRAIN_FRACTION = 0.875  # of the synthetic images, by default: 1,400 of 1,600


def _find_documented_sources() -> dict[str, Any]:
    """Return the sources that say how to get their files, by the name of the data set."""
    sources = [SOURCES.get(name) for name in SOURCES.list_names()]
    return {source.name: source for source in sources if hasattr(source, 'download_hint') and hasattr(source, 'name')}


def create_synthetic_dataset(
    out_dir: Path,
    layout: str = 'lsp',
    num_images: int = 1600,
    num_train: int | None = None,
    seed: int = 0,
    num_workers: int = 0,
) -> Path:
    """Draw the synthetic data set.

    Args:
        out_dir: the folder to write.
        layout: 'lsp' or 'coco', the files' layout.
        num_images: number of images, training and test together.
        num_train: number of training images; None for 7 of 8.
        seed: every image follows from the seed and its index.
        num_workers: number of processes; 0 draws in this one.

    Returns:
        The folder.
    """
    num_train = round(_TRAIN_FRACTION * num_images) if num_train is None else num_train

    def track_images(items: Iterable[Any], total: int, description: str) -> Iterable[Any]:
        return track_progress(items, description, total, unit='image')

    if layout == 'coco':
        return write_coco(out_dir, num_train, num_images - num_train, seed, track_images, num_workers)
    return write_lsp(out_dir, num_images, num_train, seed, track_images, num_workers)


def check_dataset(name: str, root: Path | None = None) -> str:
    """Load a data set and describe what it contains.

    Args:
        name: the data set's name, such as 'coco', or the name of a source that an installed package offers.
        root: its folder; None for the usual places.

    Returns:
        Its folder, number of images and report, as text.

    Raises:
        ConfigError: no source has that name.
        AnnotationError: the data set is absent or damaged; the message says how to get it.
    """
    sources = _find_documented_sources()
    # A package that offers a source is imported only when its data set is asked for.
    if name not in sources and (offered := SOURCES.find_part(name)):
        sources[name] = offered
    if name not in sources:
        raise ConfigError(f'there is no data set {name!r} to prepare; known: synthetic, {", ".join(sorted(sources))}')
    source = SOURCES.build(dict(type=sources[name], data_root=root))
    records, report = source.load()
    folder = find_dataset_folder(root, sources[name].name, report.file.name)
    return f'{name} is in {folder.absolute()}: {len(records):,} images\n{report}'
