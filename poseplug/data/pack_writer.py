"""Writes a pack: the crop of every training instance, as large as its pipeline can use, in a few large files."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.geometry import (
    Size,
    image_center,
    scale_of_matrix,
    scaling_matrix,
    transform_points,
    translation_matrix,
)
from poseplug.core.progress import track_progress
from poseplug.core.sample import Sample, SampleKey
from poseplug.data.dataset import PoseDataset
from poseplug.data.image_warp import choose_reduction, reduced_to_full_matrix
from poseplug.data.sources.packed import (
    BYTE_RANGE_COLUMNS,
    INSTANCE_COLUMNS,
    PACK_FORMAT,
    PACK_INFO_FILE,
    PACK_INSTANCES_FILE,
    PACK_VERSION,
)
from poseplug.data.transforms.base import Transform
from poseplug.data.transforms.cropping import CropBox, CropByScale
from poseplug.files.images import LazyImage
from poseplug.files.output_guard import check_new_folder
from poseplug.registry.skeletons import get_skeleton

_MAX_FILE_BYTES = 1 << 30  # a full file of crops is followed by the next
_POSITION_DIGITS = 3  # decimals of the written positions in px
_POSITION_COLUMNS, _FLAG_COLUMNS = ('boxes', 'centers'), ('has_box', 'has_area')
# These crop the same content from an image and from a part of it. LetterboxImage, for one, depends on the image's size.
_CROP_TRANSFORMS = (CropBox, CropByScale)


def pack_dataset(
    dataset: PoseDataset, input_size: Size, out_dir: Path, jpeg_quality: int = 95, max_resolution: float = 1.0
) -> Path:
    """Write the instances of a data set as a pack.

    A crop holds everything that the pipeline's random transforms can bring into the input, as far as the image goes.

    Args:
        dataset: a top-down data set whose pipeline begins with `CropBox` or `CropByScale`.
        input_size: (width, height) of the network's input in px, for which the pipeline was built.
        out_dir: the folder to write; it must be new or empty.
        jpeg_quality: quality of the crops' JPEG files, 1 to 100.
        max_resolution: px of a crop per px of the input before random transforms, at most; where the image is coarser,
            a crop has the image's resolution. More than 1 keeps detail for transforms that enlarge.

    Returns:
        The folder.

    Raises:
        ConfigError: a setting is out of range, the folder is not empty, the skeleton is not registered, or the
            pipeline begins with another transform.
    """
    _check_pack_settings(dataset, out_dir, jpeg_quality, max_resolution)
    crop_transform, half_extent = find_crop_extent(dataset.pipeline, input_size)
    out_dir.mkdir(parents=True, exist_ok=True)
    writer = PackWriter(out_dir)
    for i in track_progress(range(len(dataset)), 'packing', len(dataset), unit='instance'):
        # The raw sample: the crop is cut before any random transform.
        sample = crop_transform(dataset.load_raw_sample(SampleKey(0, i)))
        pixels, image_to_crop = _crop_instance(sample, half_extent, input_size, max_resolution)
        jpeg_bytes = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1].tobytes()
        writer.add_crop(jpeg_bytes, sample, image_to_crop)
    made_from = '; '.join(f'{report.file.name} ({report.kept:,} instances)' for report in dataset.reports)
    info = dict(
        skeleton=dataset.skeleton.name,
        keypoints=list(dataset.skeleton.keypoints),
        made_from=made_from,
        input_size=input_size,
        half_extent=[round(float(n), _POSITION_DIGITS) for n in half_extent],
        jpeg_quality=jpeg_quality,
        max_resolution=max_resolution,
    )
    writer.close(info)
    return out_dir


def _check_pack_settings(dataset: PoseDataset, out_dir: Path, jpeg_quality: int, max_resolution: float) -> None:
    if not 1 <= jpeg_quality <= 100 or not max_resolution > 0:
        raise ConfigError(
            f'pack: jpeg_quality is 1 to 100 and max_resolution positive; got {jpeg_quality} and {max_resolution}'
        )
    check_new_folder(out_dir)
    name = dataset.skeleton.name
    if get_skeleton(name) != dataset.skeleton:
        raise ConfigError(f'pack: a pack names its skeleton, and {name!r} is not a registered one; register it')


def find_crop_extent(pipeline: list[Transform], input_size: Size) -> tuple[Transform, np.ndarray]:
    """Find the transform that crops an instance, and the extent that the transforms after it can bring into the input.

    Args:
        pipeline: the transforms of a data set, in order.
        input_size: (width, height) of the input in px.

    Returns:
        The first transform, and (2,) half the extent in x and y, in input px from the center of the input.

    Raises:
        ConfigError: the pipeline begins with a transform whose crop depends on the whole image.
    """
    crop_transform, *others = pipeline
    if not isinstance(crop_transform, _CROP_TRANSFORMS):
        names = ' or '.join(p.__name__ for p in _CROP_TRANSFORMS)
        raise ConfigError(
            f'pack: a pipeline must begin with {names}, which crop the same from an image and from a part of it; this '
            f'one begins with {type(crop_transform).__name__}'
        )
    # From the last transform back to the first: each may bring more of the image before it into the input.
    half_extent = np.array(input_size) / 2
    for transform in reversed(others):
        half_extent = transform.expand_half_extent(half_extent, input_size)
    return crop_transform, half_extent


def _crop_instance(
    sample: Sample, half_extent: np.ndarray, input_size: Size, max_resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the part of the image within `half_extent` (2,; input px) of the input's center, as far as the image goes.

    Returns its pixels (H, W, 3) and the (3, 3) matrix from image to crop pixels.
    """
    # Input px per image px: a crop needs no more resolution than the input, times `max_resolution`.
    factor = scale_of_matrix(sample.image_to_input)
    center = transform_points(np.linalg.inv(sample.image_to_input), np.array(image_center(input_size)))
    # One px more on every side for the interpolation, and never less than the 2 px that an image must have.
    last = np.array(sample.image_size) - 1
    low = np.clip(np.floor(center - half_extent / factor) - 1, 0, last - 1)
    high = np.clip(np.ceil(center + half_extent / factor) + 1, low + 1, last)
    # Never enlarged: what the image does not have, the warp can interpolate later.
    scale = min(1.0, max_resolution * factor)
    image_to_crop = scaling_matrix(scale) @ translation_matrix(-low[0], -low[1])
    width, height = (math.ceil(n * scale) + 1 for n in high - low)
    if isinstance(sample.image, LazyImage):
        reduction = choose_reduction([image_to_crop]) if sample.image.supports_reduction else 1
        pixels = sample.image.get_pixels(reduction)
    else:
        reduction, pixels = 1, sample.pixels
    reduced_to_crop = image_to_crop @ reduced_to_full_matrix(reduction)
    # At the image's border pixels are repeated, for the interpolation; the crop ends there.
    crop = cv2.warpAffine(pixels, reduced_to_crop[:2], (width, height), borderMode=cv2.BORDER_REPLICATE)
    return crop, image_to_crop


@dataclass
class PackWriter:
    """Writes the files of a pack: crops one by one, and at the end their columns and the description.

    A folder is not a pack before `close`.

    Attributes:
        folder: an empty folder.
        columns: one list per column, with an entry per crop.
        file_sizes: bytes written to each file of crops.
    """

    folder: Path
    columns: dict[str, list[Any]] = field(default_factory=dict)
    file_sizes: dict[str, int] = field(default_factory=dict)

    def add_crop(self, jpeg_bytes: bytes, sample: Sample, image_to_crop: np.ndarray) -> None:
        """Append a crop to the last file, and its instance to the columns.

        Args:
            jpeg_bytes: the crop as a JPEG file.
            sample: the sample whose subject the crop shows, in image px.
            image_to_crop: (3, 3) matrix from image to crop pixels.
        """
        name = next(reversed(self.file_sizes), None)
        if name is None or self.file_sizes[name] + len(jpeg_bytes) > _MAX_FILE_BYTES:
            name = f'crops-{len(self.file_sizes):05}.bin'
            self.file_sizes[name] = 0
        byte_range = (name, self.file_sizes[name], len(jpeg_bytes), zlib.crc32(jpeg_bytes))
        with open(self.folder / name, 'ab') as file:
            file.write(jpeg_bytes)
        self.file_sizes[name] += len(jpeg_bytes)
        count = len(self.columns.get('ids', ()))
        row = dict(
            zip(BYTE_RANGE_COLUMNS, byte_range, strict=True),
            ids=f'{sample.record.id}:{count}',
            sources=sample.record.source,
            **_transform_annotations(sample, image_to_crop),
        )
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)

    def close(self, info: Mapping[str, Any]) -> None:
        """Write the columns, and last the description that makes the folder a pack.

        Args:
            info: entries of the description beside format, version, file sizes and checksum.
        """
        instances = json.dumps(self.columns).encode()
        (self.folder / PACK_INSTANCES_FILE).write_bytes(instances)
        sha256 = hashlib.sha256(instances).hexdigest()
        files = {**self.file_sizes, PACK_INSTANCES_FILE: len(instances)}
        pack_info = dict(format=PACK_FORMAT, version=PACK_VERSION, **info, files=files, sha256=sha256)
        (self.folder / PACK_INFO_FILE).write_text(json.dumps(pack_info, indent=1) + '\n')


def _transform_annotations(sample: Sample, image_to_crop: np.ndarray) -> dict[str, Any]:
    """Return the annotations of a sample's subject in crop px, as values for JSON; None for NaN."""
    subject = replace(sample.record.instances[:1], keypoints=sample.keypoints[:1], visible=sample.visible[:1])
    subject = subject.transform(image_to_crop)
    # Positions of unlabeled keypoints may be anything, NaN included, which JSON does not have.
    keypoints = np.where(subject.visible[..., None] > 0, subject.keypoints, 0)
    values: dict[str, Any] = {name: getattr(subject, name)[0].tolist() for name in INSTANCE_COLUMNS}
    for name in _POSITION_COLUMNS:
        values[name] = _round_positions(getattr(subject, name)[0])
    for name in _FLAG_COLUMNS:
        values[name] = int(values[name])
    values = {name: None if np.isnan(value).any() else value for name, value in values.items()}
    return dict(keypoints=_round_positions(keypoints[0]), visible=subject.visible[0].tolist(), **values)


def _round_positions(positions: np.ndarray) -> list[Any]:
    """Return positions as lists of rounded numbers."""
    return np.asarray(positions, float).round(_POSITION_DIGITS).tolist()
