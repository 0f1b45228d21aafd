"""Everything that a config's data sets hold, read once: annotations, and size and pixels of every image.

`verify` summarizes what was read and the doctor (`dataset_faults`) looks for faults in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from poseplug.config.check import get_setting
from poseplug.core.errors import ConfigError, ImageError
from poseplug.core.location import ImageLocation
from poseplug.core.progress import track_progress
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.sources.base import SourceReport
from poseplug.files.images import read_image
from poseplug.registry import SOURCES

_SPLITS = ('train', 'val', 'test')
_MAX_LISTED_NAMES = 5  # names of images that a finding lists


@dataclass
class SourceStatistics:
    """What one source holds.

    Attributes:
        title: The splits that use it, its type and its settings, as in `val, test: LSPSource split=test`.
        report: What the source kept and dropped.
        skeleton: The skeleton of the annotations.
        records: The annotated images.
        image_sizes: (width, height) of every image that can be read.
        pixel_digests: A digest of the pixels of every image that can be read.
        unreadable_images: A message for every image that cannot be read.
    """

    title: str
    report: SourceReport
    skeleton: Skeleton
    records: list[Record]
    image_sizes: dict[ImageLocation, tuple[int, int]] = field(default_factory=dict)
    pixel_digests: dict[ImageLocation, bytes] = field(default_factory=dict)
    unreadable_images: list[str] = field(default_factory=list)

    @property
    def num_labeled(self) -> int:
        """Number of labeled keypoints."""
        return int(sum((record.instances.visible > 0).sum() for record in self.records))

    @property
    def num_occluded(self) -> int:
        """Number of keypoints that are labeled as occluded."""
        return int(sum((record.instances.visible == 1).sum() for record in self.records))

    @property
    def num_instances(self) -> int:
        """Number of annotated instances."""
        return sum(len(record.instances) for record in self.records)


def read_datasets(cfg: Mapping[str, Any], num_workers: int = 2) -> list[SourceStatistics]:
    """Read every source of a config with all its images, each source once.

    Args:
        cfg: The config; its `train_dataloader`, `val_dataloader` and `test_dataloader` name the sources.
        num_workers: Number of images that are decoded at once.

    Returns:
        One entry for each distinct source.

    Raises:
        AnnotationError: A data set is missing or damaged; the source says which one.
        ConfigError: The config names no source.
    """
    loaded = [(title, source, *source.load()) for title, source in _build_config_sources(cfg)]
    datasets = [SourceStatistics(title, report, source.skeleton, records) for title, source, records, report in loaded]
    for statistics in datasets:
        read_all_images(statistics, num_workers)
    return datasets


def _build_config_sources(cfg: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Titles and built sources; a source that several splits use comes once."""
    splits_by_name: dict[str, list[str]] = {}
    source_cfgs: dict[str, Any] = {}
    for split in _SPLITS:
        sources = get_setting(cfg, [f'{split}_dataloader', 'dataset', 'sources']) or []
        for source_cfg in sources if isinstance(sources, Sequence) else [sources]:
            name = _describe_source(source_cfg)
            source_cfgs[name] = source_cfg
            splits_by_name.setdefault(name, []).append(split)
    if not source_cfgs:
        name = getattr(cfg, 'filename', None) or 'the config'
        keys = ', '.join(f'{split}_dataloader' for split in _SPLITS)
        present = ', '.join(map(str, cfg)) or 'nothing'
        raise ConfigError(
            f'{name} names no data: a config has {keys} with dataset.sources, this file has {present}. Name a config '
            f'of poseplug; the data set itself is a source in it'
        )
    return [
        (f'{", ".join(splits_by_name[name])}: {name}', SOURCES.build(source_cfg))
        for name, source_cfg in source_cfgs.items()
    ]


def _describe_source(source_cfg: Any) -> str:
    """A source's type and settings in one line."""
    if not isinstance(source_cfg, Mapping):
        return type(source_cfg).__name__
    return ' '.join([str(source_cfg['type']), *(f'{k}={v}' for k, v in source_cfg.items() if k != 'type')])


def read_all_images(statistics: SourceStatistics, num_workers: int) -> None:
    """Decode every image once, and add sizes, digests and errors to the statistics."""
    locations = list(dict.fromkeys(record.location for record in statistics.records))
    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        results = track_progress(pool.map(_inspect_image, locations), 'reading images', len(locations), 'image')
        for location, result in zip(locations, results, strict=True):
            if isinstance(result, ImageError):
                statistics.unreadable_images.append(str(result))
            else:
                statistics.image_sizes[location], statistics.pixel_digests[location] = result


def _inspect_image(location: ImageLocation) -> tuple[tuple[int, int], bytes] | ImageError:
    """Size (width, height) and digest of an image, or why it cannot be read."""
    try:
        image = read_image(location.path, apply_exif=False, byte_range=location.byte_range)
    except ImageError as error:
        return error
    return (image.shape[1], image.shape[0]), hashlib.blake2b(image.tobytes(), digest_size=16).digest()


# --- texts of findings ------------------------------------------------------------------------------------------------


def abbreviate_names(names: Sequence[str]) -> str:
    """Join the first few of many names, and count the others."""
    text = ', '.join(names[:_MAX_LISTED_NAMES])
    num_more = len(names) - _MAX_LISTED_NAMES
    return f'{text}, ... and {num_more:,} more' if num_more > 0 else text


def format_percent(fraction: float) -> str:
    """Format a fraction as a percentage with one decimal."""
    return f'{100 * fraction:.1f} %'
