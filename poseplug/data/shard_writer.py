"""Writes a data set as WebDataset shards: tar files of images with their annotations, and an index of all of them."""

from __future__ import annotations

__all__ = ['write_shards']

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.location import ByteRange
from poseplug.core.progress import track_progress
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.data.record_sequences import check_image_ids
from poseplug.data.shard_index import (
    INFO_FILE,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardedImage,
    encode_index,
)
from poseplug.files.atomic import write_atomically
from poseplug.files.images import read_image_file_bytes
from poseplug.files.output_guard import check_new_folder

DEFAULT_SHARD_MEGABYTES = 256
_KEY_DIGITS = 9
_HEADER_BYTES = tarfile.BLOCKSIZE  # of a member with a short name


def write_shards(
    records: Sequence[Record], skeleton: Skeleton, out: Path, max_shard_bytes: int = DEFAULT_SHARD_MEGABYTES << 20
) -> Path:
    """Write records with their image files as shards.

    A shard is a tar file in which every image is followed by its annotations, as `000000012.jpg` and `000000012.json`,
    so that WebDataset and other readers of tar files read it, too. Image files are copied byte by byte.

    Args:
        records: one per image, with keypoints of the skeleton.
        skeleton: of the records.
        out: the folder to write; it must be new or empty.
        max_shard_bytes: a shard that would become larger is followed by the next.

    Returns:
        The folder.

    Raises:
        ConfigError: the folder is not empty, the size is below 1, or records are crops or detections.
        AnnotationError: two records have one id.
        ImageError: an image file cannot be read.
    """
    check_new_folder(out)
    if max_shard_bytes < 1:
        raise ConfigError(f'a shard has at least one byte; got {max_shard_bytes}')
    if any(record.is_crop or record.ground_truth is not None for record in records):
        raise ConfigError(
            f'{out}: shards hold whole images with their annotations, and these records are the crops of a pack or the '
            f'boxes of a detector; write them from the source of the images, without bbox_file'
        )
    # checked once, here: a reader that builds records when they are asked for never sees all ids
    check_image_ids(records, out)
    out.mkdir(parents=True, exist_ok=True)
    images, shards = list[ShardedImage](), list[dict[str, Any]]()
    files = _iter_image_files(track_progress(records, 'writing shards', len(records), unit='image'))
    for number, group in enumerate(_group_by_size(files, max_shard_bytes)):
        path = out / f'shard-{number:06}.tar'
        with open(path, 'xb') as file:
            # Hashed while it is written, so that a shard of some hundred MB is not read again.
            hashed = _HashedFile(file)
            byte_ranges = _write_tar(hashed, group, len(images))
        images += [ShardedImage(each.record, number, r) for each, r in zip(group, byte_ranges, strict=True)]
        digest = hashed.sha256.hexdigest()
        shards.append(dict(name=path.name, bytes=hashed.num_bytes, sha256=digest, num_images=len(group)))
    index = encode_index(images, len(skeleton))
    for name, content in index.items():
        write_atomically(out / name, content)
    info = dict(
        format=SHARD_FORMAT,
        version=SHARD_VERSION,
        skeleton={name: value for name, value in asdict(skeleton).items() if value is not None},
        num_images=len(images),
        num_instances=sum(len(record.instances) for record in records),
        index=[
            dict(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for name, content in index.items()
        ],
        shards=shards,
    )
    write_atomically(out / INFO_FILE, json.dumps(info, indent=1).encode())
    return out


class _HashedFile:
    """Writes to a file, and knows the SHA-256 and the number of the bytes."""

    def __init__(self, file: IO[bytes]):
        self.file, self.sha256, self.num_bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        return self.file.write(data)


@dataclass(frozen=True)
class _ImageFile:
    """The content of an image file, and its annotations as JSON text."""

    record: Record
    data: bytes
    text: bytes

    @property
    def num_tar_bytes(self) -> int:
        """Number of bytes in a tar file."""
        return sum(_HEADER_BYTES + _round_up(len(content)) for content in (self.data, self.text))


def _iter_image_files(records: Iterable[Record]) -> Iterator[_ImageFile]:
    for record in records:
        data = read_image_file_bytes(record.path, record.byte_range)
        yield _ImageFile(record, data, json.dumps(_describe_record(record)).encode())


def _group_by_size(files: Iterable[_ImageFile], max_bytes: int) -> Iterator[list[_ImageFile]]:
    """Group successive files so that no tar file becomes larger, unless a single image is."""
    group, num_bytes = list[_ImageFile](), 0
    for file in files:
        if group and num_bytes + file.num_tar_bytes > max_bytes:
            yield group
            group, num_bytes = [], 0
        group.append(file)
        num_bytes += file.num_tar_bytes
    if group:
        yield group


def _write_tar(target: _HashedFile, group: Sequence[_ImageFile], first_number: int) -> list[ByteRange]:
    """Write images with their annotations; returns where each image is."""
    byte_ranges, stream = [], cast(IO[bytes], target)
    # 'w|' writes without seeking back, so that the hash of the written bytes is that of the file. USTAR has one header
    # block per member, which makes the offset of an image known before it is written.
    with tarfile.open(fileobj=stream, mode='w|', format=tarfile.USTAR_FORMAT) as tar:
        for number, file in enumerate(group, first_number):
            byte_ranges.append(ByteRange(tar.offset + _HEADER_BYTES, len(file.data), zlib.crc32(file.data)))
            suffix = file.record.path.suffix.lower() or '.img'
            for ending, content in ((suffix, file.data), ('.json', file.text)):
                member = tarfile.TarInfo(f'{number:0{_KEY_DIGITS}}{ending}')  # without times: equal data, equal shards
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return byte_ranges


def _round_up(num_bytes: int) -> int:
    return -(-num_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _describe_record(record: Record) -> dict[str, Any]:
    """The annotations of an image in COCO's form, for other readers; poseplug reads the index."""
    instances = record.instances
    keypoint_lists = map(_list_keypoint_numbers, instances.keypoints, instances.visible)
    corners = zip(instances.boxes.tolist(), keypoint_lists, instances.areas.tolist(), strict=True)
    annotations = [
        dict(bbox=[x1, y1, x2 - x1, y2 - y1], keypoints=keypoints, area=area)
        for (x1, y1, x2, y2), keypoints, area in corners
    ]
    return dict(id=record.id, file_name=record.path.name, annotations=annotations)


def _list_keypoint_numbers(keypoints: np.ndarray, visible: np.ndarray) -> list[float]:
    """The keypoints (K, 2) and flags (K,) of an instance as COCO's flat list: x, y, flag, x, y, flag, ..."""
    numbers: list[float] = []
    for (x, y), flag in zip(keypoints.tolist(), visible.tolist(), strict=True):
        numbers += (x, y, int(flag))
    return numbers
