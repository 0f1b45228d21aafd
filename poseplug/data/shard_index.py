"""The index of WebDataset shards: the annotations of every image as arrays, and where its file lies in which shard.

`shards.json` describes the set: its skeleton, and name, size and SHA-256 of every other file. `index.npz` holds arrays
alone, a row per image or per instance; what has no fixed length (ignored regions, segmentations) is JSON in `extras`.
Nothing in these files could run.
"""

from __future__ import annotations

import io
import json
import zipfile
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

SHARD_FORMAT, SHARD_VERSION = 'poseplug shards', 1
INFO_FILE, INDEX_FILE = 'shards.json', 'index.npz'
REWRITE_HINT = 'Write the shards anew with poseplug dataset pack --to webdataset'

# The columns of instances, whose values are numbers; segmentations are in the extras.
_INSTANCE_COLUMNS = (
    *('keypoints', 'visible', 'boxes', 'has_box', 'areas', 'has_area', 'centers', 'scales', 'head_sizes'),
    *('annotation_ids', 'box_scores', 'stated_counts'),
)
_IMAGE_COLUMNS = ('ids', 'sources', 'shards', 'byte_ranges', 'num_instances', 'sizes', 'crowd_indices', 'extra_ends')
_COLUMNS = (*_INSTANCE_COLUMNS, *_IMAGE_COLUMNS, 'annotated_keypoints', 'extras')


@dataclass(frozen=True)
class ShardedImage:
    """Where the file of one image is.

    Attributes:
        record: its annotations.
        shard: number of the shard.
        byte_range: of the image file within the shard.
    """

    record: Record
    shard: int
    byte_range: ByteRange


def encode_index(images: Sequence[ShardedImage], num_keypoints: int) -> bytes:
    """Encode the index of a set.

    Args:
        images: in order; their records have the keypoints of one skeleton.
        num_keypoints: of that skeleton.

    Returns:
        The content of `index.npz`.
    """
    records = [image.record for image in images]
    parts = [record.instances for record in records] or [Instances.empty(num_keypoints)]
    instances = Instances.concatenate(parts)
    extras = [_encode_extras(record) for record in records]
    columns = {name: getattr(instances, name) for name in _INSTANCE_COLUMNS}
    columns |= dict(
        ids=np.array([record.id for record in records], dtype=str),
        sources=np.array([record.source for record in records], dtype=str),
        shards=np.array([image.shard for image in images], dtype=np.int32),
        byte_ranges=np.array([image.byte_range for image in images], dtype=np.int64).reshape(-1, 3),
        num_instances=np.array([len(record.instances) for record in records], dtype=np.int32),
        sizes=np.array([record.stated_size or (0, 0) for record in records], dtype=np.int32).reshape(-1, 2),
        crowd_indices=np.array([record.crowd_index for record in records], dtype=float),
        annotated_keypoints=np.array([record.annotated_keypoints for record in records], dtype=bool),
        # One text for all images with the end of each: an array of objects would need pickle.
        extra_ends=np.cumsum([len(text) for text in extras], dtype=np.int64),
        extras=np.frombuffer(b''.join(extras), dtype=np.uint8),
    )
    buffer = io.BytesIO()
    np.savez(buffer, **columns)
    return buffer.getvalue()


def decode_index(file: Path, data: bytes) -> dict[str, np.ndarray]:
    """Decode the columns of an index, and check that they are of one length.

    Args:
        file: for error messages.
        data: the content of `index.npz`.

    Raises:
        AnnotationError: it is not one that `encode_index` wrote.
    """
    try:
        # Without pickle an index from anywhere is read safely.
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in _COLUMNS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise AnnotationError(f'{file} is damaged: {type(error).__name__} {error}. {REWRITE_HINT}') from error
    num_images, num_instances = len(columns['shards']), int(columns['num_instances'].sum())
    lengths = dict.fromkeys(_IMAGE_COLUMNS, num_images) | dict.fromkeys(_INSTANCE_COLUMNS, num_instances)
    wrong = [name for name, length in lengths.items() if len(columns[name]) != length]
    if wrong:
        raise AnnotationError(f'{file} is damaged: columns {", ".join(wrong)} have another length. {REWRITE_HINT}')
    return columns


def build_records(columns: Mapping[str, np.ndarray], shard_paths: Sequence[Path]) -> list[Record]:
    """Build the records of an index.

    Args:
        columns: see `decode_index`.
        shard_paths: the file of every shard.

    Returns:
        One record per image, in order.
    """
    ends = np.cumsum(columns['num_instances']).tolist()
    segmentations = np.full(ends[-1] if ends else 0, None, dtype=object)
    instances = Instances(**{name: columns[name] for name in _INSTANCE_COLUMNS}, segmentations=segmentations)
    extras, extra_ends = columns['extras'].tobytes(), columns['extra_ends'].tolist()
    texts = {name: columns[name].tolist() for name in ('ids', 'sources')}
    numbers = {name: columns[name].tolist() for name in ('shards', 'byte_ranges', 'sizes', 'crowd_indices')}
    no_regions = IgnoredRegions.empty()
    records = []
    for i, end in enumerate(ends):
        rows, size = instances[end - int(columns['num_instances'][i]) : end], numbers['sizes'][i]
        extra = extras[extra_ends[i - 1] if i else 0 : extra_ends[i]]
        ignored = no_regions
        if extra:
            ignored = _decode_extras(extra, rows)
        record = Record(
            path=shard_paths[numbers['shards'][i]],
            id=texts['ids'][i],
            instances=rows,
            source=texts['sources'][i],
            ignored=ignored,
            annotated_keypoints=columns['annotated_keypoints'][i],
            crowd_index=numbers['crowd_indices'][i],
            byte_range=ByteRange(*numbers['byte_ranges'][i]),
            stated_size=(size[0], size[1]) if size[0] else None,
        )
        records.append(record)
    return records


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
    # Into the slice of the common array: `Instances` is frozen, but its arrays are not.
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
