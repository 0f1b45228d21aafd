"""Everything that a config's data sets hold, read once: annotations, and size and pixels of every image.

`verify` summarizes what was read and the doctor (`dataset_faults`) looks for faults in it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from poseplug.config.check import get_setting
from poseplug.core.errors import ConfigError, ImageError
from poseplug.core.location import ImageLocation
from poseplug.core.progress import track_progress
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.sources.base import SourceReport
from poseplug.files.images import LazyImage
from poseplug.files.stated_size import describe_size_difference, is_orientation_ambiguous
from poseplug.registry import SOURCES

_SPLITS = ('train', 'val', 'test')
_MAX_LISTED_NAMES = 5  # names of images that a finding lists


@dataclass
class SourceStatistics:
    """Counts and findings of one source.

    Attributes:
        title: The splits that use it, its type and its settings, as in `val, test: LSPSource split=test`.
        report: What the source kept and dropped.
        skeleton: The skeleton of the annotations.
        records: The annotated images.
        image_sizes: (width, height) of every image that can be read.
        pixel_digests: A digest of the pixels of every image that can be read.
        unreadable_images: A message for every image that cannot be read.
        size_differences: A message for every image of another size than the annotations state.
        orientations: EXIF orientation, 2 to 8, of every image that is not stored upright.
        ambiguous_orientations: A text for those of them whose labels may mean the upright pixels.
    """

    title: str
    report: SourceReport
    skeleton: Skeleton
    records: list[Record]
    image_sizes: dict[ImageLocation, tuple[int, int]] = field(default_factory=dict)
    pixel_digests: dict[ImageLocation, bytes] = field(default_factory=dict)
    unreadable_images: list[str] = field(default_factory=list)
    size_differences: list[str] = field(default_factory=list)
    orientations: dict[ImageLocation, int] = field(default_factory=dict)
    ambiguous_orientations: list[str] = field(default_factory=list)

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
    """Decode every image once, and add what is found about it to the statistics."""
    # by location: an image of several records is decoded once
    stated_sizes = {record.location: record.stated_size for record in statistics.records}
    # threads suffice, since OpenCV decodes without Python's lock
    with ThreadPoolExecutor(max(num_workers, 1)) as pool:
        inspected = pool.map(_inspect_image, stated_sizes, stated_sizes.values())
        for location, result in zip(
            stated_sizes, track_progress(inspected, 'reading images', len(stated_sizes), 'image'), strict=True
        ):
            if isinstance(result, ImageError):
                statistics.unreadable_images.append(str(result))
            else:
                _add_image(statistics, location, result, stated_sizes[location])


class _InspectedImage(NamedTuple):
    size: tuple[int, int]
    digest: bytes
    orientation: int
    size_difference: str


def _inspect_image(location: ImageLocation, stated_size: tuple[int, int] | None) -> _InspectedImage | ImageError:
    """What is found about an image, or why it cannot be read."""
    try:
        image = LazyImage(location.path, byte_range=location.byte_range)
        # of the pixels and not of the file: the same image saved twice has different bytes
        digest = hashlib.blake2b(image.get_pixels().tobytes(), digest_size=16).digest()
        return _InspectedImage(image.size, digest, image.orientation, describe_size_difference(image, stated_size))
    # returned and not raised, so that one damaged image does not end the reading
    except ImageError as error:
        return error


def _add_image(
    statistics: SourceStatistics, location: ImageLocation, image: _InspectedImage, stated_size: tuple[int, int] | None
) -> None:
    """Add what is found about one image to the statistics."""
    statistics.image_sizes[location], statistics.pixel_digests[location] = image.size, image.digest
    if image.size_difference:
        statistics.size_differences.append(f'{location.name} ({image.size_difference})')
    if image.orientation != 1:
        statistics.orientations[location] = image.orientation
    if is_orientation_ambiguous(image.size, image.orientation, stated_size):
        statistics.ambiguous_orientations.append(f'{location.name} (orientation {image.orientation})')


# --- texts of findings ------------------------------------------------------------------------------------------------


def abbreviate_names(names: Sequence[str]) -> str:
    """List the first few of many names, and count the others."""
    text = ', '.join(names[:_MAX_LISTED_NAMES])
    num_more = len(names) - _MAX_LISTED_NAMES
    return f'{text}, ... and {num_more:,} more' if num_more > 0 else text


def describe_image_problems(statistics: SourceStatistics) -> Iterator[tuple[str, str]]:
    """Describe which images have another size than stated, or may be labeled upright, each kind with its remedy."""
    differences, ambiguous = statistics.size_differences, statistics.ambiguous_orientations
    if differences:
        names = abbreviate_names(differences)
        yield (
            f'{len(differences):,} images have another size than the annotations state: {names}',
            'Fetch the images that belong to the annotations',
        )
    if ambiguous:
        names = abbreviate_names(ambiguous)
        count = len(ambiguous)
        yield (
            f'{count:,} images have an EXIF orientation, are read as stored, and may be labeled upright: {names}',
            'Save them upright if they are labeled upright; else remove the orientation from the files',
        )


def format_orientations(statistics: SourceStatistics) -> str:
    """Count the images by the EXIF orientation that they are not turned by."""
    counts = sorted(Counter(statistics.orientations.values()).items())
    by_orientation = ', '.join(f'{count:,} of {orientation}' for orientation, count in counts)
    return f'{len(statistics.orientations):,} images have an EXIF orientation, read as stored: {by_orientation}'


def format_percent(fraction: float) -> str:
    """Format a fraction as a percentage with one decimal."""
    return f'{100 * fraction:.1f} %'
