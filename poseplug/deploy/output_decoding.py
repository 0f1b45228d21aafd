"""The outputs of exported models as instances, in NumPy: read as the graph decoded them, or grouped from its peaks."""

from __future__ import annotations

__all__ = ['build_empty_poses', 'decode_outputs', 'group_paf_outputs', 'group_tag_outputs']

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.fields.peak_arrays import Peaks, drop_close_peaks
from poseplug.grouping.limb_grouping import group_limbs_batch
from poseplug.grouping.paf_rules import PAFRules
from poseplug.grouping.tag_groups import TagRules, group_tagged_peaks

Outputs = Mapping[str, np.ndarray]


def decode_outputs(outputs: Outputs, settings: Mapping[str, Any], skeleton: Skeleton) -> Poses:
    """Return the instances of a batch, in px of the input.

    Args:
        outputs: of the graph, by name.
        settings: of the file.
        skeleton: of the keypoints.
    """
    kind = settings['kind']
    if kind == 'paf':
        return group_paf_outputs(outputs, settings, skeleton)
    if kind == 'tags':
        return group_tag_outputs(outputs, settings)
    indices = outputs.get('image_indices')
    return Poses(
        keypoints=outputs['keypoints'],
        keypoint_scores=outputs['keypoint_scores'],
        instance_scores=outputs['instance_scores'],
        image_indices=np.arange(len(outputs['keypoints'])) if indices is None else indices,
        boxes=outputs.get('boxes'),
        keypoint_sigmas_px=outputs.get('keypoint_sigmas_px'),
    )


def build_empty_poses(num_keypoints: int) -> Poses:
    """Return the poses of no images."""
    poses = Poses.empty(num_keypoints)
    return replace(poses, image_indices=np.zeros(0, np.int64), boxes=np.zeros((0, 4), np.float32))


def group_paf_outputs(outputs: Outputs, settings: Mapping[str, Any], skeleton: Skeleton) -> Poses:
    """Group peaks and limb fields into the instances of every image, as the codec `PAF` does.

    Args:
        outputs: `heatmap` (B, K, H, W), `paf` (B, 2 L, H, W) and the peaks of `FieldsWithPeaks`.
        settings: `rules`, the stride and the offset of the cells.
        skeleton: of K keypoints and L limbs.

    Returns:
        The instances, highest score first in every image, in px of the input.
    """
    height, width = outputs['heatmap'].shape[-2:]
    strides, offset = _find_cell_strides(settings, (width, height))
    # distances of the rules are in px of the input, where an aligned grid has two nearly equal strides
    stride = max(strides)

    def find_peaks(rules: PAFRules, images: Any) -> Peaks:
        selected = {name: values[images] for name, values in outputs.items()}
        flat, channels, ranks = _list_peaks(selected, rules.peak_threshold, rules.max_peaks)
        min_distance_cells = rules.min_peak_distance_px / stride
        keep = drop_close_peaks(flat, width, height * width, min_distance_cells, rules.peak_order == 'columns')
        return _read_peaks(selected, channels[keep], ranks[keep])

    rules = PAFRules(**settings['rules'])
    results = group_limbs_batch(find_peaks, outputs['paf'], skeleton, rules, stride)
    return _concat_images([result.to_poses(strides, offset) for result in results])


def group_tag_outputs(outputs: Outputs, settings: Mapping[str, Any]) -> Poses:
    """Group peaks and tags into the instances of every image, as the codec `Tags` does.

    Args:
        outputs: `heatmap` (B, K, H, W), `tags` (B, D K, H, W) and the peaks of `FieldsWithPeaks`.
        settings: `rules`, `keypoint_order`, and the stride and the offset of the cells.

    Returns:
        The instances, highest score first in every image, in px of the input.
    """
    heatmaps = outputs['heatmap']
    batch, num_keypoints, height, width = heatmaps.shape
    rules = TagRules(**settings['rules'])
    _, channels, ranks = _list_peaks(outputs, rules.keypoint_threshold, rules.top_k)
    # Of each keypoint the highest-scoring peak comes first.
    order = np.lexsort([-_read_table(outputs['peak_scores'], channels, ranks), channels])
    channels, ranks = channels[order], ranks[order]
    peaks, tags = _read_peaks(outputs, channels, ranks), _read_table(outputs['peak_tags'], channels, ranks)
    values = heatmaps.reshape(batch * num_keypoints, -1)
    # A map per keypoint for each dimension in turn, to the dimensions of each keypoint.
    tag_maps = outputs['tags'].reshape(batch, -1, num_keypoints, height * width).swapaxes(1, 2)
    channel_tags = tag_maps.reshape(batch * num_keypoints, -1, height * width)

    def search_cells(channels: np.ndarray, mean_tags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pairs = zip(channels, mean_tags, strict=True)
        cells = np.array([_find_nearest_tag(channel_tags[c], values[c], mean) for c, mean in pairs])
        return values[channels, cells], cells

    order_of_keypoints = settings['keypoint_order']
    result = group_tagged_peaks(peaks, tags.astype(float), heatmaps.shape, order_of_keypoints, rules, search_cells)
    strides, offset = _find_cell_strides(settings, (width, height))
    return result.to_poses(strides, offset)


def _find_nearest_tag(tags: np.ndarray, values: np.ndarray, mean_tag: np.ndarray) -> int:
    """The cell of a heatmap (H W,) whose tags (D, H W) are nearest by whole distances; of equal ones the largest."""
    distances = np.linalg.norm(tags - mean_tag.astype(tags.dtype)[:, None], axis=0)
    # whole distances weigh 100, more than any heatmap value, as in MMPose
    return int(np.argmax(values - 100 * np.round(distances)))


def _list_peaks(outputs: Outputs, threshold: float, max_peaks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The peaks of heatmaps that exceed a threshold, by image, keypoint and cell.

    Returns the flat index (M,) of each in the heatmaps, its heatmap (M,), counted over the batch, and its rank (M,).
    """
    values = outputs['peak_values'][..., :max_peaks]
    # the file lists more peaks than a stricter threshold lets through
    channels, ranks = np.nonzero(values.reshape(-1, values.shape[-1]) > threshold)
    height, width = outputs['heatmap'].shape[-2:]
    flat = channels * (height * width) + _read_table(outputs['peak_indices'], channels, ranks)
    # row by row, as the codec finds them: the order decides between equal scores
    order = np.argsort(flat, kind='stable')
    return flat[order], channels[order], ranks[order]


def _read_peaks(outputs: Outputs, channels: np.ndarray, ranks: np.ndarray) -> Peaks:
    """The peaks of ranks (M,) in heatmaps (M,)."""
    cells, scores = (_read_table(outputs[name], channels, ranks) for name in ('peak_cells', 'peak_scores'))
    return Peaks(cells.astype(np.float32), scores.astype(np.float32), channels)


def _read_table(table: np.ndarray, channels: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The entries (M, ...) of a table (B, K, M, ...)."""
    return table.reshape(-1, *table.shape[2:])[channels, ranks]


def _find_cell_strides(settings: Mapping[str, Any], grid_size: Sequence[int]) -> tuple[tuple[float, float], float]:
    """Input pixels per cell in x and y, and the input pixel of cell 0, of fields of a size (width, height) in cells."""
    stride = settings['stride']
    if not settings['aligned']:
        return (stride, stride), settings['offset']
    # An aligned grid reaches from the first pixel to the last.
    x, y = ((count * stride - 1) / (count - 1) for count in grid_size)
    return (x, y), settings['offset']


def _concat_images(poses_per_image: Sequence[Poses]) -> Poses:
    """The instances of several images, with the index of the image of each."""
    names = ('keypoints', 'keypoint_scores', 'instance_scores', 'visibility', 'boxes')
    arrays = {name: np.concatenate([getattr(poses, name) for poses in poses_per_image]) for name in names}
    counts = [len(poses) for poses in poses_per_image]
    return Poses(**arrays, image_indices=np.repeat(np.arange(len(counts)), counts))
