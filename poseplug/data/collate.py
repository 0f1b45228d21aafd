"""Stacks samples to a batch of tensors."""

from __future__ import annotations

__all__ = ['collate', 'stack_padded']

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from poseplug.core.batch import Batch
from poseplug.core.boxes import transform_boxes
from poseplug.core.errors import ConfigError
from poseplug.core.geometry import Size, scale_of_matrix, transform_points
from poseplug.core.sample import Sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch.

    Instances are padded to the largest number N in a sample; `Batch.valid` says which are real. Inputs of different
    sizes are padded to the largest, on the right and at the bottom, with the fill color of their sample.

    Args:
        samples: B samples after the whole pipeline.

    Returns:
        The batch; keypoints, boxes and areas are in input pixels of the first view.

    Raises:
        ConfigError: a sample has no inputs, because its pipeline lacks `Warp`.
    """
    if not all(s.is_warped for s in samples):
        raise ConfigError('a sample has no inputs: its pipeline lacks the transform Warp, which cuts them out; add it')
    # Pixels stay uint8 and no targets are built here: both happen on the training device, a batch at a time.
    max_instances = max(len(s.keypoints) for s in samples)
    # Filled as arrays: assigning rows of tensors takes ten times as long.
    keypoints = np.zeros((len(samples), max_instances, len(samples[0].skeleton), 2), np.float32)
    visible, valid = np.zeros(keypoints.shape[:3], np.uint8), np.zeros(keypoints.shape[:2], bool)
    boxes, areas = np.zeros((*valid.shape, 4), np.float32), np.zeros(valid.shape, np.float32)
    for i, s in enumerate(samples):
        n = len(s.keypoints)
        keypoints[i, :n] = transform_points(s.image_to_input, s.keypoints)
        visible[i, :n], valid[i, :n] = s.visible, True
        boxes[i, :n], areas[i, :n] = _compute_input_boxes(s)
    images = stack_padded([s.inputs for s in samples], [s.fill_color for s in samples])
    centers = np.stack([_compute_subject_center(s) for s in samples])
    matrices = np.stack([[s.image_to_input, *s.view_matrices] for s in samples])
    image_sizes, view_sizes = [s.image_size for s in samples], _max_view_sizes(list(map(_list_view_sizes, samples)))
    records, keys = [s.record for s in samples], [s.key for s in samples]
    return Batch(
        images=torch.from_numpy(images),
        keypoints=torch.from_numpy(keypoints),
        visible=torch.from_numpy(visible),
        valid=torch.from_numpy(valid),
        centers=torch.from_numpy(centers),
        image_to_input=torch.from_numpy(matrices),
        image_sizes=image_sizes,
        records=records,
        keys=keys,
        view_sizes=view_sizes,
        masks=_stack_masks(samples, images.shape[2:4]),
        annotated_keypoints=torch.from_numpy(np.stack([s.record.annotated_keypoints for s in samples])),
        boxes=torch.from_numpy(boxes),
        areas=torch.from_numpy(areas),
    )


def _compute_input_boxes(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (N, 4), xyxy, and areas (N,) in input px; a rotated box becomes the box around its corners."""
    instances = sample.record.instances
    # By the matrix and not by the boxes: a rotation enlarges the enclosing box, but not the instance.
    areas = instances.areas * scale_of_matrix(sample.image_to_input) ** 2
    boxes = transform_boxes(sample.image_to_input, instances.boxes)
    return boxes, areas


def stack_padded(inputs: Sequence[np.ndarray], fill_colors: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Stack images of different sizes, padded on the right and at the bottom.

    Args:
        inputs: B arrays (V, H, W, 3) uint8.
        fill_colors: B colors (BGR, 0 to 255) of the padding.

    Returns:
        (B, V, H, W, 3) uint8 with the largest H and W.
    """
    if len(inputs) == 1:
        return inputs[0][None]  # a view: nothing changes the pixels of a sample that is in a batch
    if len({a.shape for a in inputs}) == 1:
        return np.stack(inputs)
    height, width = (max(a.shape[axis] for a in inputs) for axis in (1, 2))
    # Padding on the right and at the bottom alone leaves all positions in the inputs as they are.
    stacked = np.empty((len(inputs), len(inputs[0]), height, width, 3), np.uint8)
    for padded, views, fill_color in zip(stacked, inputs, fill_colors, strict=True):
        padded[...] = fill_color
        padded[:, : views.shape[1], : views.shape[2]] = views
    return stacked


def _max_view_sizes(view_sizes: Sequence[Sequence[Size]]) -> list[Size]:
    """Return for every view the (width, height) that holds it in all samples."""
    return [(max(w for w, _ in view), max(h for _, h in view)) for view in zip(*view_sizes, strict=True)]


def _list_view_sizes(sample: Sample) -> list[Size]:
    """Return (width, height) of every view of a sample."""
    num_views, height, width, _ = sample.inputs.shape
    return sample.view_sizes or [(width, height)] * num_views


def _stack_masks(samples: Sequence[Sample], size: tuple[int, ...]) -> Tensor:
    """Stack loss masks to (B, H, W); padding takes part in the loss, as background."""
    if not any(s.mask.size for s in samples):
        # A view of a single number: it costs no time in a loader, and most batches need no mask.
        return torch.ones(1, 1, 1, dtype=torch.uint8).expand(len(samples), *size)
    masks = torch.ones(len(samples), *size, dtype=torch.uint8)
    for padded, s in zip(masks, samples, strict=True):
        padded[: s.mask.shape[0], : s.mask.shape[1]] = torch.from_numpy(s.mask)
    return masks


def _compute_subject_center(sample: Sample) -> np.ndarray:
    """Return the subject's position (2,) float32 in input px."""
    # In float64 through the matrix, and rounded once at the end.
    center = np.asarray(sample.subject_center, dtype=float)
    return transform_points(sample.image_to_input, center).astype(np.float32)
