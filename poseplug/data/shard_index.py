"""The index of WebDataset shards: the annotations of every image, and where its file lies in which shard.

`shards.json` describes the set: its skeleton, and name, size and SHA-256 of every other file. `index.npz` holds what is
needed of all images at once, a few bytes each. The other files are mapped into memory, so that opening them takes no
time, whatever their size: `images.npy` and `instances.npy` have a row per image and per instance, with a CRC-32 that is
checked when the image is asked for; what has no fixed length (ignored regions, segmentations) is JSON in `extras.bin`.
Nothing in these files could run.
"""

from __future__ import annotations

__all__ = ['INDEX_FILES', 'ShardIndex', 'ShardedImage', 'encode_index']

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.location import ByteRange
from poseplug.core.sample import Record
from poseplug.data.masks import RLEMask, Segmentation
from poseplug.data.record_sequences import IndexedRecords

SHARD_FORMAT, SHARD_VERSION = 'poseplug shards', 2
INFO_FILE = 'shards.json'
INDEX_FILES = ('index.npz', 'images.npy', 'instances.npy', 'extras.bin')
REWRITE_HINT = 'Write the shards anew with poseplug dataset pack --to webdataset'

# The columns of instances, whose values are numbers; segmentations are in the extras.
_INSTANCE_COLUMNS = (
    *('keypoints', 'visible', 'boxes', 'has_box', 'areas', 'has_area', 'centers', 'scales', 'head_sizes'),
    *('annotation_ids', 'box_scores', 'stated_counts'),
)
_IMAGE_COLUMNS = (
    *('id', 'byte_range', 'first_instance', 'size', 'crowd_index', 'annotated_keypoints', 'extra_range', 'crc32'),
)


@dataclass(frozen=True)
class ShardedImage:
    """A record, and the position of its image file in the shards.

    Attributes:
        record: its annotations.
        shard: number of the shard.
        byte_range: of the image file within the shard.
    """

    record: Record
    shard: int
    byte_range: ByteRange


def encode_index(images: Sequence[ShardedImage], num_keypoints: int) -> dict[str, bytes]:
    """Encode the index of a set.

    Args:
        images: in order; their records have the keypoints of one skeleton.
        num_keypoints: of that skeleton.

    Returns:
        The content of each of `INDEX_FILES`.
    """
    records = [image.record for image in images]
    counts = np.array([len(record.instances) for record in records], dtype=np.int32)
    sources, source_numbers = np.unique([record.source for record in records], return_inverse=True)
    shards = np.array([image.shard for image in images], dtype=np.int32)
    instances = Instances.concatenate([record.instances for record in records] or [Instances.empty(num_keypoints)])
    instance_rows = _build_rows({name: getattr(instances, name) for name in _INSTANCE_COLUMNS})
    extras = [_encode_extras(record) for record in records]
    image_rows = _build_rows(_list_image_columns(images, counts, extras, num_keypoints))
    for row, count, extra in zip(image_rows, counts, extras, strict=True):
        first = int(row['first_instance'])
        row['crc32'] = _compute_checksum(row, instance_rows[first : first + count], extra)
    buffer = io.BytesIO()
    # 16 bits suffice for the names of data sets, and a set of 10^8 images is opened in less memory
    numbers = source_numbers.astype(np.uint16)
    np.savez(buffer, num_instances=counts, shards=shards, source_numbers=numbers, sources=sources.astype(str))
    contents = (buffer.getvalue(), _encode_array(image_rows), _encode_array(instance_rows), b''.join(extras))
    return dict(zip(INDEX_FILES, contents, strict=True))


def _list_image_columns(
    images: Sequence[ShardedImage], counts: np.ndarray, extras: Sequence[bytes], num_keypoints: int
) -> dict[str, np.ndarray]:
    records, num_images = [image.record for image in images], len(images)
    lengths = np.array([len(text) for text in extras], dtype=np.int64)
    annotated = np.array([record.annotated_keypoints for record in records], dtype=bool)
    sizes = np.array([record.stated_size or (0, 0) for record in records], dtype=np.int32)
    byte_ranges = np.array([image.byte_range for image in images], dtype=np.int64)
    columns = dict(
        id=np.array([record.id for record in records], dtype=str),
        byte_range=byte_ranges.reshape(num_images, 3),
        first_instance=np.cumsum(counts, dtype=np.int64) - counts,
        size=sizes.reshape(num_images, 2),
        crowd_index=np.array([record.crowd_index for record in records], dtype=float),
        annotated_keypoints=annotated.reshape(num_images, num_keypoints),
        extra_range=np.stack([np.cumsum(lengths) - lengths, lengths], axis=1),
        crc32=np.zeros(num_images, dtype=np.uint32),
    )
    return {name: columns[name] for name in _IMAGE_COLUMNS}


def _build_rows(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """One array with a row of all columns: what belongs to an image is read from one place of the file."""
    rows = np.zeros(
        len(next(iter(columns.values()))),
        dtype=[(name, array.dtype, array.shape[1:]) for name, array in columns.items()],
    )
    for name, array in columns.items():
        rows[name] = array
    return rows


def _encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _compute_checksum(image_row: np.void, instance_rows: np.ndarray, extra: bytes) -> int:
    """The CRC-32 of all that the index holds of an image; the row of the image ends with this number."""
    checksum = zlib.crc32(image_row.tobytes()[: -np.dtype(np.uint32).itemsize])
    return zlib.crc32(extra, zlib.crc32(instance_rows.tobytes(), checksum))


class ShardIndex:
    """The index of a set, whose records are built one by one.

    Args:
        folder: of the files of the index.
        index: the content of `index.npz`, which was checked.
        shard_paths: the file of every shard.

    Attributes:
        columns: `num_instances`, `shards` and `source_numbers` of every image, and the names of the `sources`.
        images: the mapped rows of images.
        instances: the mapped rows of instances.
        extras: the mapped bytes of all extras.

    Raises:
        AnnotationError: a file is not one that `encode_index` wrote.
    """

    def __init__(self, folder: Path, index: bytes, shard_paths: Sequence[Path]):
        self.folder, self.shard_paths = folder, tuple(shard_paths)
        try:
            # Without pickle an index from anywhere is read safely.
            with np.load(io.BytesIO(index), allow_pickle=False) as arrays:
                names = ('num_instances', 'shards', 'source_numbers', 'sources')
                self.columns = {name: arrays[name] for name in names}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise self._create_error('index.npz', f'{type(error).__name__} {error}') from error
        self._map_files()

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is not forked maps the files by itself: pickled, the mapped arrays would be copied whole.
        return {name: value for name, value in vars(self).items() if name not in ('images', 'instances', 'extras')}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._map_files()

    def _map_files(self) -> None:
        self.images = self._map_rows('images.npy', _IMAGE_COLUMNS, len(self.columns['shards']))
        self.instances = self._map_rows('instances.npy', _INSTANCE_COLUMNS, int(self.columns['num_instances'].sum()))
        extra_file = self.folder / 'extras.bin'
        self.extras = np.zeros(0, dtype=np.uint8)
        if extra_file.stat().st_size:  # an empty file cannot be mapped
            self.extras = np.asarray(np.memmap(extra_file, mode='r'))

    def _map_rows(self, name: str, columns: Sequence[str], num_rows: int) -> np.ndarray:
        try:
            rows = np.load(self.folder / name, mmap_mode='r', allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._create_error(name, f'{type(error).__name__} {error}') from error
        if rows.dtype.names != tuple(columns) or len(rows) != num_rows:
            raise self._create_error(name, f'it has {len(rows):,} rows of {rows.dtype.names}, not {num_rows:,}')
        return np.asarray(rows)

    def _create_error(self, name: str, cause: str) -> AnnotationError:
        return AnnotationError(f'{self.folder / name} is damaged: {cause}. {REWRITE_HINT}')

    def list_records(self) -> IndexedRecords:
        """Return the records of all images, in order, each of which is built when it is asked for."""
        return IndexedRecords(
            self.build_record,
            indices=np.arange(len(self.columns['shards'])),
            num_instances=self.columns['num_instances'],
            file_numbers=self.columns['shards'],
            files=self.shard_paths,
            source_numbers=self.columns['source_numbers'],
            sources=tuple(self.columns['sources'].tolist()),
        )

    def build_record(self, index: int) -> Record:
        """Build the record of an image.

        Args:
            index: of the image.

        Raises:
            AnnotationError: its rows have another checksum.
        """
        row, count = self.images[index], int(self.columns['num_instances'][index])
        first, (start, length) = int(row['first_instance']), row['extra_range'].tolist()
        rows, extra = self.instances[first : first + count], self.extras[start : start + length].tobytes()
        if _compute_checksum(row, rows, extra) != row['crc32']:
            raise self._create_error('images.npy', f'image {index:,} has other annotations than were written')
        arrays = {name: rows[name].copy() for name in _INSTANCE_COLUMNS}
        instances = Instances(**arrays, segmentations=np.full(count, None, dtype=object))
        ignored = _decode_extras(extra, instances) if extra else IgnoredRegions.empty()
        size = row['size'].tolist()
        return Record(
            path=self.shard_paths[self.columns['shards'][index]],
            id=str(row['id']),
            instances=instances,
            source=str(self.columns['sources'][self.columns['source_numbers'][index]]),
            ignored=ignored,
            annotated_keypoints=row['annotated_keypoints'].copy(),
            crowd_index=float(row['crowd_index']),
            byte_range=ByteRange(*row['byte_range'].tolist()),
            stated_size=(size[0], size[1]) if size[0] else None,
        )


def _encode_extras(record: Record) -> bytes:
    """Ignored regions and segmentations of a record as JSON; empty for a record without any."""
    ignored, segmentations = record.ignored, record.instances.segmentations.tolist()
    if not len(ignored) and all(value is None for value in segmentations):
        return b''
    keypoints = [None if value is None else np.asarray(value).tolist() for value in ignored.keypoints]
    regions = dict(
        boxes=ignored.boxes.tolist(),
        areas=ignored.areas.tolist(),
        crowds=ignored.crowds.tolist(),
        segmentations=[_encode_segmentation(value) for value in ignored.segmentations],
        keypoints=keypoints,
        annotation_ids=ignored.annotation_ids.tolist(),
    )
    return json.dumps(dict(segmentations=list(map(_encode_segmentation, segmentations)), ignored=regions)).encode()


def _encode_segmentation(value: Segmentation | None) -> Any:
    """A segmentation as JSON values: a list of polygons, or run lengths with the size of their mask."""
    if value is None:
        return None
    if isinstance(value, RLEMask):
        return dict(counts=value.counts.tolist(), size=list(value.size))
    return [polygon.tolist() for polygon in value]


def _decode_segmentation(value: Any) -> Segmentation | None:
    """The segmentation that `_encode_segmentation` wrote."""
    if value is None:
        return None
    if isinstance(value, dict):
        return RLEMask(np.array(value['counts'], dtype=np.int32), tuple(value['size']))
    return tuple(np.array(polygon, dtype=np.float32).reshape(-1, 2) for polygon in value)


def _decode_extras(text: bytes, instances: Instances) -> IgnoredRegions:
    """The ignored regions of JSON text; segmentations of instances are put into their array."""
    content = json.loads(text)
    # `Instances` is frozen, but its arrays are not.
    instances.segmentations[:] = _build_object_array(list(map(_decode_segmentation, content['segmentations'])))
    ignored = content['ignored']
    keypoints = [None if value is None else np.array(value) for value in ignored['keypoints']]
    return IgnoredRegions(
        boxes=np.array(ignored['boxes'], dtype=float).reshape(-1, 4),
        areas=np.array(ignored['areas'], dtype=float),
        crowds=np.array(ignored['crowds'], dtype=bool),
        segmentations=_build_object_array(list(map(_decode_segmentation, ignored['segmentations']))),
        keypoints=_build_object_array(keypoints),
        annotation_ids=np.array(ignored['annotation_ids'], dtype=np.int64),
    )


def _build_object_array(values: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):  # one by one: NumPy would make lists of one length a matrix
        array[index] = value
    return array
