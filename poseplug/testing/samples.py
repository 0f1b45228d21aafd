"""Inputs of the contract tests: skeletons, keypoints, fields, feature maps, records and samples."""

from __future__ import annotations

__all__ = [
    'SINGLE_KEYPOINT_SKELETON',
    'SMALL_SKELETON',
    'change_record',
    'create_annotated_record',
    'create_random_features',
    'create_random_fields',
    'create_random_maps',
    'create_test_keypoints',
    'create_test_record',
    'create_test_sample',
    'flip_input_keypoints',
    'list_record_values',
    'list_target_tensors',
]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.codecs.base import Codec, Targets
from poseplug.core.geometry import Size
from poseplug.core.instances import IgnoredRegions, Instances
from poseplug.core.sample import Record, Sample, SampleKey
from poseplug.core.skeleton import Skeleton

# Three keypoints, two of which a flip exchanges: enough for every law, and unlike the skeleton of any data set.
SMALL_SKELETON = Skeleton(
    'small', ('nose', 'left_hand', 'right_hand'), (('nose', 'left_hand'), ('nose', 'right_hand')),
    flip_pairs=(('left_hand', 'right_hand'),), torso=('nose', 'left_hand'), head=('nose', 'right_hand'),
    sigmas=(0.026, 0.062, 0.062),
)  # fmt: skip
SINGLE_KEYPOINT_SKELETON = Skeleton('one', ('nose',))

_INSTANCE_ARRAYS = (
    'boxes', 'areas', 'centers', 'scales', 'head_sizes', 'annotation_ids', 'box_scores', 'segmentations',
    'stated_counts',
)  # fmt: skip
_REGION_ARRAYS = ('boxes', 'areas', 'crowds', 'segmentations', 'keypoints', 'annotation_ids')


def _iter_input_positions(codec: Codec) -> Iterator[tuple[float, float]]:
    """Corners of the input, midpoints of its sides, and positions in between."""
    width, height = codec.input_size
    # The border itself, just beside it, and fractions that fall between the cells of any stride.
    for x in (0, 0.013, 0.31, 0.5, 0.737, 1):
        for y in (0, 0.21, 0.5, 0.89, 1):
            yield x * (width - 1), y * (height - 1)


def create_test_keypoints(codec: Codec) -> Tensor:
    """Create images of one instance whose keypoints visit all parts of the input, its border and corners included.

    Args:
        codec: Defines the size of the input and the number of keypoints.

    Returns:
        (B, 1, K, 2) positions in input pixels, for 30 images.
    """
    positions = torch.tensor(list(_iter_input_positions(codec)))
    # 7 has no factor in common with the 30 positions, so the keypoints of an image lie apart.
    rolled = [positions.roll(7 * k, 0) for k in range(len(codec.skeleton))]
    return torch.stack(rolled, dim=1)[:, None]


def flip_input_keypoints(codec: Codec, keypoints: Tensor) -> Tensor:
    """Flip keypoints as the flipped input shows them: x from the other side, left and right exchanged.

    Args:
        codec: Defines the width of the input and the flip pairs.
        keypoints: (B, N, K, 2) positions in input pixels.

    Returns:
        (B, N, K, 2) positions in pixels of the flipped input.
    """
    x, y = keypoints[:, :, codec.skeleton.flip_indices.tolist()].unbind(-1)
    return torch.stack([codec.input_size[0] - 1 - x, y], dim=-1)


def list_target_tensors(targets: Targets) -> list[Tensor]:
    """List all fields and weights of targets, in a fixed order: stage by stage, names sorted.

    Args:
        targets: of a codec.

    Returns:
        The tensors.
    """
    weights = [targets.weights] if isinstance(targets.weights, Mapping) else targets.weights
    tensors_by_name: list[Mapping[str, Tensor]] = [*targets.stages, *weights]
    return [tensors[name] for tensors in tensors_by_name for name in sorted(tensors)]


def create_random_fields(codec: Codec, batch_size: int) -> dict[str, Tensor]:
    """Create normally distributed fields (B, C, ...) of a codec's shapes, the same on every call."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch_size, *shape, generator=generator) for name, shape in codec.shapes.items()}


def create_random_maps(batch_size: int, channels: int, size: Size) -> Tensor:
    """Create normally distributed maps, the same on every call.

    Args:
        batch_size: Number of images B.
        channels: Number of channels C.
        size: (width, height) in cells.

    Returns:
        (B, C, H, W).
    """
    return torch.randn(batch_size, channels, size[1], size[0], generator=torch.Generator().manual_seed(0))


def create_random_features(
    batch_size: int, channels: Sequence[int], strides: Sequence[int], size: Size
) -> list[Tensor]:
    """Create normally distributed feature maps of images of one size, the same on every call.

    Args:
        batch_size: Number of images B.
        channels: Channels of every feature map.
        strides: Stride of every feature map, in input pixels.
        size: (width, height) of the images.

    Returns:
        One map (B, C, H / stride, W / stride) per stride.
    """
    pairs = zip(channels, strides, strict=True)
    return [create_random_maps(batch_size, count, (size[0] // stride, size[1] // stride)) for count, stride in pairs]


def create_test_record(rng: np.random.Generator, skeleton: Skeleton, name: str) -> Record:
    """Create a record of one instance with random keypoints in an image of 80 x 60 px.

    Args:
        rng: Draws the keypoints.
        skeleton: The keypoints of the instance.
        name: Path and id of the image, which need not exist.

    Returns:
        A record with all keypoints visible, box, area, center and scale.
    """
    # 4 px from the border, so that a box with its margin of 2 px lies inside the image.
    keypoints = rng.uniform((4, 4), (75, 55), (1, len(skeleton), 2)).astype(np.float32)
    low, high = keypoints.min(axis=1) - 2, keypoints.max(axis=1) + 2
    visible = np.full(keypoints.shape[:2], 2, np.uint8)
    instances = Instances.from_annotations(
        keypoints,
        visible,
        boxes=np.concatenate([low, high], axis=1),
        areas=(high - low).prod(axis=1),
        centers=(low + high) / 2,
        scales=(high - low).max(axis=1) / 200,
    )
    return Record(Path(name), name, instances, source='test')


def create_annotated_record(
    path: str | Path,
    image_id: str,
    keypoints: np.ndarray,
    visible: np.ndarray,
    source: str = '',
    boxes: np.ndarray | None = None,
    **values: Any,
) -> Record:
    """Create a record from arrays alone.

    Args:
        path: Of the image, which need not exist.
        image_id: Of the image.
        keypoints: (N, K, 2) px.
        visible: (N, K), 0 not labeled, 1 occluded, 2 visible.
        source: Name of the data set.
        boxes: (N, 4) px, x and y of two corners.
        values: Further arrays of `Instances.from_annotations`; arrays of `IgnoredRegions.from_annotations`, as
            `ignored_boxes` and so on; further fields of the record.

    Returns:
        The record.
    """
    arrays = {name: values.pop(name) for name in _INSTANCE_ARRAYS if name in values}
    regions = {name: values.pop(f'ignored_{name}') for name in _REGION_ARRAYS if f'ignored_{name}' in values}
    instances = Instances.from_annotations(keypoints, visible, boxes=boxes, **arrays)
    ignored = IgnoredRegions.from_annotations(**regions) if regions else IgnoredRegions.empty()
    return Record(Path(path), image_id, instances, source, ignored, **values)


def change_record(record: Record, **changes: Any) -> Record:
    """Create a record with other arrays; what was filled by rule is filled anew.

    Args:
        record: The record to start from.
        changes: As for `create_annotated_record`; None removes an array.

    Returns:
        The other record; arrays of another number of instances than `keypoints` are filled by rule.
    """
    instances = record.instances
    arrays: dict[str, Any] = {
        **vars(instances),
        'boxes': np.where(instances.has_box[:, None], instances.boxes, np.nan),
        'areas': np.where(instances.has_area, instances.areas, np.nan),
    }
    arrays = {name: changes.pop(name, arrays[name]) for name in ('keypoints', 'visible', *_INSTANCE_ARRAYS)}
    count = len(arrays['keypoints'])
    # Arrays of another length belong to the former instances.
    arrays = {name: array for name, array in arrays.items() if array is not None and len(array) == count}
    regions = {name: changes.pop(f'ignored_{name}') for name in _REGION_ARRAYS if f'ignored_{name}' in changes}
    ignored = IgnoredRegions.from_annotations(**regions) if regions else record.ignored
    return replace(record, instances=Instances.from_annotations(**arrays), ignored=ignored, **changes)


def list_record_values(record: Record) -> dict[str, Any]:
    """List the values of a record by field, with the arrays of its instances and regions, for comparison."""
    # NumPy compares lists element by element, but not arrays whose elements are arrays.
    ignored = {**vars(record.ignored), 'keypoints': list(record.ignored.keypoints)}
    values = {**vars(record), 'instances': vars(record.instances), 'ignored': ignored}
    if record.ground_truth is not None:
        values['ground_truth'] = list_record_values(record.ground_truth)
    return values


def create_test_sample(seed: int = 0) -> Sample:
    """Create a sample of 80 x 60 px whose blue is 2x, green 2y and red 100, with two instances.

    The first keypoint of the second instance is not labeled.

    Args:
        seed: Seed of the keypoints and of the sample's generator.

    Returns:
        The sample, with its image as an array.
    """
    rng = np.random.default_rng(seed)
    both = [create_test_record(rng, SMALL_SKELETON, 'image.jpg') for _ in range(2)]
    instances = Instances.concatenate([record.instances for record in both])
    record = replace(both[0], instances=instances)
    instances.visible[1, 0] = 0
    # Colors that state the position: what a warped input shows can be checked at any pixel.
    y, x = np.mgrid[:60, :80]
    image = np.stack([2 * x, 2 * y, np.full_like(x, 100)], axis=-1).astype(np.uint8)
    return Sample(
        record=record,
        skeleton=SMALL_SKELETON,
        image=image,
        # The kind of generator that data sets give their samples.
        rng=np.random.Generator(np.random.Philox(seed)),
        key=SampleKey(0, seed),
        keypoints=instances.keypoints.copy(),
        visible=instances.visible.copy(),
    )
