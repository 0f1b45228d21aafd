"""Instances from peaks and tags, similar within an instance (Newell et al. 2017, arXiv:1611.05424, section 3.2).

Peaks are found, and missing keypoints are searched, on the device of the heatmaps; peaks are grouped in NumPy.
Positions are in cells until the end.
"""

from __future__ import annotations

__all__ = [
    'TagGroups',
    'TagParseResult',
    'TagRules',
    'assign_peaks',
    'find_nearest_tag_cells',
    'group_peaks_by_tags',
    'keep_window_maxima',
    'parse_tags',
    'split_tags_by_keypoint',
]

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from poseplug.core.errors import MismatchError
from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_counts, check_kernel_sizes, check_number, check_positive
from poseplug.fields.peaks import Peaks, find_local_maxima, refine_peaks, select_top_peaks
from poseplug.fields.refine import find_line_maxima
from poseplug.grouping.paf import ParseResult

# Weight of the distance of two tags beside the rounded distance and the score: it decides where those are equal.
_TIE_WEIGHT = 1e-3
_CHUNK_SIZE = 2**22  # numbers searched at once for missing keypoints, which bounds the memory


@dataclass(frozen=True)
class TagRules:
    """What counts as a peak, and which peaks belong to one instance.

    Args:
        keypoint_threshold: a peak is larger than this.
        nms_kernel_size: a peak is the largest of the square of this many cells around it; odd.
        top_k: the highest peaks kept of each keypoint.
        tag_threshold: a peak does not join an instance whose mean tag is this far from its own, or farther.
        max_instances: the highest-scoring instances kept of each image.
        fill_missing: whether missing keypoints are searched in the cells whose tags are nearest to the instance's.

    Raises:
        ConfigError: for a value that a rule cannot have.
    """

    keypoint_threshold: float = 0.1
    nms_kernel_size: int = 5
    top_k: int = 30
    tag_threshold: float = 1.0
    max_instances: int = 30
    fill_missing: bool = True

    def __post_init__(self) -> None:
        check_kernel_sizes('tags', nms_kernel_size=self.nms_kernel_size)
        check_number('tags', 'keypoint_threshold', self.keypoint_threshold, 0, 1, below=True)
        check_counts('tags', top_k=self.top_k, max_instances=self.max_instances)
        check_positive('tags', tag_threshold=self.tag_threshold)


class TagGroups(NamedTuple):
    """Peaks grouped into instances.

    Attributes:
        peak_indices: (N, K) the peak of each keypoint, -1 where it is missing.
        mean_tags: (N, D) the mean of the peaks' tags.
        instance_scores: (N,) the sum of the peaks' scores over the number of all keypoints.
    """

    peak_indices: np.ndarray
    mean_tags: np.ndarray
    instance_scores: np.ndarray


@dataclass(frozen=True)
class TagParseResult:
    """The instances of several images, with every count on the way.

    Attributes:
        parsed_instances: the instances of all images and the peaks of their keypoints.
        image_indices: (N,) image of each instance.
        num_peaks: the first so many of the peaks were found as such; the others were filled in.
        keypoint_threshold: threshold of the peaks.
    """

    parsed_instances: ParseResult
    image_indices: np.ndarray
    num_peaks: int
    keypoint_threshold: float

    def to_poses(self, stride: tuple[float, float] = (1.0, 1.0), offset: float = 0.0) -> Poses:
        """Return the instances in input pixels, where cell g stands at `stride` g + `offset`.

        The visibility of a keypoint is 2 for a peak, 1 if it was filled in from a cell above the threshold, and
        otherwise 0. Keypoints of visibility 0 do not widen the box.
        """
        indices, scores = self.parsed_instances.peak_indices, self.parsed_instances.peaks.scores
        is_peak = (indices >= 0) & (indices < self.num_peaks)
        exceeds_threshold = np.append(scores, 0)[indices] > self.keypoint_threshold
        is_visible = is_peak | ((indices >= 0) & exceeds_threshold)
        visible_instances = replace(self.parsed_instances, peak_indices=np.where(is_visible, indices, -1))
        poses = self.parsed_instances.to_poses(stride, offset)
        return replace(
            poses,
            instance_scores=np.clip(poses.instance_scores, 0, 1),
            visibility=(is_visible.astype(np.uint8) + is_peak).astype(np.uint8),
            boxes=visible_instances.to_poses(stride, offset).boxes,
            image_indices=self.image_indices,
        )


def parse_tags(
    heatmaps: Tensor,
    tags: Tensor,
    keypoint_order: Sequence[int],
    rules: TagRules = TagRules(),  # noqa: B008 - it is frozen
    refine: str = 'none',
    kernel_size: int = 11,
    raw_heatmaps: Tensor | None = None,
) -> TagParseResult:
    """Group the peaks of heatmaps into instances by their tags.

    Args:
        heatmaps: (B, K, H, W) float32.
        tags: (B, D K, H, W) float32, a map per keypoint for each of D dimensions in turn.
        keypoint_order: indices of the keypoints in the order of grouping.
        rules: what counts as a peak, and which peaks belong to one instance.
        refine: how peaks are refined between the cells, one of `PEAK_REFINEMENTS`. Keypoints that are filled in are no
            peaks, and stay in their cells.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'.
        raw_heatmaps: (B, K, H, W) from which scores are taken, where `heatmaps` were smoothed.

    Returns:
        The instances of every image, highest score first, positions in cells.

    Raises:
        MismatchError: if the tags do not fit the heatmaps.
    """
    channel_tags = split_tags_by_keypoint(tags, heatmaps)
    values = (heatmaps if raw_heatmaps is None else raw_heatmaps).flatten(2).flatten(0, 1)
    peaks, peak_tags = _find_tagged_peaks(heatmaps, channel_tags, values, rules, refine, kernel_size)
    groups, image_indices, counts = _group_batch(peaks, peak_tags, heatmaps.shape[:2], keypoint_order, rules)
    num_peaks = len(peaks)
    if rules.fill_missing and (groups.peak_indices < 0).any():
        width = heatmaps.shape[-1]
        groups, peaks = _fill_missing_keypoints(groups, image_indices, peaks, channel_tags, values, width)
    parsed = ParseResult(groups.peak_indices, groups.instance_scores, peaks, counts)
    return TagParseResult(parsed, image_indices, num_peaks, rules.keypoint_threshold)


def split_tags_by_keypoint(tags: Tensor, heatmaps: Tensor) -> Tensor:
    """Rearrange tags so that the first axis is that of the flattened heatmaps.

    Args:
        tags: (B, D K, H, W), a map per keypoint for each of D dimensions in turn.
        heatmaps: (B, K, H, W).

    Returns:
        (B K, D, H W).

    Raises:
        MismatchError: if the tags have another batch or grid, or no whole number of maps per keypoint.
    """
    batch, num_keypoints, *size = heatmaps.shape
    same_grid = tags.shape[0] == batch and list(tags.shape[2:]) == size
    if not same_grid or not tags.shape[1] or tags.shape[1] % num_keypoints:
        raise MismatchError(
            f'tags are one map, or several, for each of the {num_keypoints} heatmaps of {tuple(size)} cells (rows, '
            f'columns) of {batch} images; got tags of {tuple(tags.shape)}'
        )
    shape = (batch, tags.shape[1] // num_keypoints, num_keypoints, size[0] * size[1])
    return tags.reshape(shape).transpose(1, 2).flatten(0, 1)


def _find_tagged_peaks(
    heatmaps: Tensor, tags: Tensor, values: Tensor, rules: TagRules, refine: str, kernel_size: int
) -> tuple[Peaks, np.ndarray]:
    """The peaks of heatmaps (B, K, H, W), of each keypoint the highest first, and their tags (M, D).

    `tags` (B K, D, H W) and `values` (B K, H W) are by heatmap; scores are taken from `values`.
    """
    heatmaps = heatmaps.contiguous()
    width, size = heatmaps.shape[-1], values.shape[1]
    maxima = find_local_maxima(heatmaps, rules.keypoint_threshold)
    maxima = keep_window_maxima(heatmaps, maxima, rules.nms_kernel_size)
    indices = select_top_peaks(heatmaps.flatten(), maxima, size, rules.top_k)
    channels, inside = indices.div(size, rounding_mode='floor'), indices % size
    cells = torch.stack([inside % width, inside.div(width, rounding_mode='floor')], dim=-1)
    cells = refine_peaks(heatmaps.flatten(0, 1), channels, cells, refine, kernel_size)
    # One table, and so one transfer and one synchronization with a GPU.
    columns = [cells, values[channels, inside].double()[:, None], channels[:, None], tags[channels, :, inside]]
    table = torch.cat([column.double() for column in columns], dim=1).cpu().numpy()
    table = table[np.lexsort([-table[:, 2], table[:, 3]])]
    scores, peak_channels = table[:, 2].astype(np.float32), table[:, 3].astype(np.int64)
    return Peaks(table[:, :2].astype(np.float32), scores, peak_channels), table[:, 4:]


def keep_window_maxima(heatmaps: Tensor, indices: Tensor, kernel_size: int) -> Tensor:
    """Keep the peaks that are the largest of a square of cells.

    Args:
        heatmaps: (B, K, H, W).
        indices: (M,) of the peaks in the flattened heatmaps; each exceeds its eight neighbors.
        kernel_size: odd side of the square around a peak, in cells.

    Returns:
        The indices that are kept, in their order.
    """
    if kernel_size <= 3:
        return indices
    # Only the squares around the peaks are read: 0.2 ms for 170 peaks in 17 heatmaps of 128 x 128 cells and squares
    # of 5 x 5, against 18 ms of `max_pool2d` over all cells.
    height, width = heatmaps.shape[-2:]
    columns, rows = indices % width, indices.div(width, rounding_mode='floor') % height
    steps = torch.arange(-(kernel_size // 2), kernel_size // 2 + 1, device=heatmaps.device)
    column_steps = (columns[:, None] + steps).clamp(0, width - 1) - columns[:, None]
    row_steps = (rows[:, None] + steps).clamp(0, height - 1) - rows[:, None]
    square_indices = indices[:, None, None] + row_steps[:, :, None] * width + column_steps[:, None, :]
    values = heatmaps.flatten()
    return indices[values[indices] >= values[square_indices].flatten(1).amax(dim=1)]


def _group_batch(
    peaks: Peaks, tags: np.ndarray, shape: Sequence[int], keypoint_order: Sequence[int], rules: TagRules
) -> tuple[TagGroups, np.ndarray, Counter[str]]:
    """The instances of all images, `shape` (B, K), highest score first; the image (N,) of each; and the counts."""
    batch, num_keypoints = shape
    starts = np.searchsorted(peaks.channels, np.arange(batch * num_keypoints + 1))
    groups = [TagGroups(np.zeros((0, num_keypoints), int), np.zeros((0, tags.shape[1])), np.zeros(0))]
    counts = Counter({'peaks': len(peaks)})
    for i in range(batch):
        channel_starts = starts[i * num_keypoints : (i + 1) * num_keypoints + 1]
        group = group_peaks_by_tags(peaks.scores, tags, channel_starts, keypoint_order, rules.tag_threshold)
        num_grouped = len(group.instance_scores)
        order = np.argsort(-group.instance_scores, kind='stable')[: rules.max_instances]
        counts.update({'instances grouped': num_grouped, 'beyond max_instances': num_grouped - len(order)})
        groups.append(TagGroups(*(array[order] for array in group)))
    image_indices = np.repeat(np.arange(batch), [len(g.instance_scores) for g in groups[1:]])
    return TagGroups(*map(np.concatenate, zip(*groups, strict=True))), image_indices, counts


def group_peaks_by_tags(
    scores: np.ndarray,
    tags: np.ndarray,
    channel_starts: np.ndarray,
    keypoint_order: Sequence[int],
    tag_threshold: float,
) -> TagGroups:
    """Group the peaks of one image into instances.

    Keypoint by keypoint the peaks are assigned to the instances so that the sum of the rounded distances is smallest,
    and of equal sums the one that uses the highest-scoring peaks. An unmatched peak starts a new instance.

    Args:
        scores, tags: (M,) and (M, D) of all peaks.
        channel_starts: (K + 1,) index of the first peak of each keypoint, and behind the last peak.
        keypoint_order: indices of the keypoints in the order of grouping.
        tag_threshold: a peak and an instance whose mean tag is this far away are not matched.

    Returns:
        The instances in the order in which they were started.
    """
    max_instances = channel_starts[-1] - channel_starts[0]
    peak_indices = np.full((max_instances, len(channel_starts) - 1), -1)
    tag_sums, num_members, count = np.zeros((max_instances, tags.shape[1])), np.zeros(max_instances, int), 0
    for keypoint in keypoint_order:
        candidates = np.arange(channel_starts[keypoint], channel_starts[keypoint + 1])
        if not len(candidates):
            continue
        mean_tags = tag_sums[:count] / num_members[:count, None]
        instances = assign_peaks(tags[candidates], scores[candidates], mean_tags, tag_threshold)
        is_new = instances < 0
        instances[is_new] = count + np.arange(is_new.sum())
        count += int(is_new.sum())
        peak_indices[instances, keypoint] = candidates
        tag_sums[instances] += tags[candidates]
        num_members[instances] += 1
    peak_indices = peak_indices[:count]
    score_sums = np.where(peak_indices >= 0, scores[peak_indices], 0).sum(axis=1) if count else np.zeros(0)
    mean_tags = tag_sums[:count] / num_members[:count, None]
    return TagGroups(peak_indices, mean_tags, score_sums / max(len(channel_starts) - 1, 1))


def assign_peaks(tags: np.ndarray, scores: np.ndarray, mean_tags: np.ndarray, tag_threshold: float) -> np.ndarray:
    """Assign the peaks of one keypoint to instances.

    Args:
        tags, scores: (M, D) and (M,) of the peaks.
        mean_tags: (N, D) of the instances.
        tag_threshold: a peak and an instance this far away are not matched.

    Returns:
        (M,) index of the instance, or -1.
    """
    instances = np.full(len(tags), -1)
    if not len(mean_tags):
        return instances
    from scipy.optimize import linear_sum_assignment  # slow to import, and used here alone

    distances = np.linalg.norm(tags[:, None] - mean_tags[None], axis=2)
    costs = 100 * np.round(distances) + _TIE_WEIGHT * distances - scores[:, None]
    rows, columns = linear_sum_assignment(costs)
    is_near = distances[rows, columns] < tag_threshold
    instances[rows[is_near]] = columns[is_near]
    return instances


def _fill_missing_keypoints(
    groups: TagGroups, image_indices: np.ndarray, peaks: Peaks, tags: Tensor, values: Tensor, width: int
) -> tuple[TagGroups, Peaks]:
    """The instances with every keypoint, and the peaks with those that were filled in behind them, in whole cells."""
    instances, keypoints = np.nonzero(groups.peak_indices < 0)
    channels = image_indices[instances] * groups.peak_indices.shape[1] + keypoints
    channels_on_device = torch.from_numpy(channels).to(values.device)
    mean_tags = torch.from_numpy(groups.mean_tags[instances]).to(tags)
    nearest = find_nearest_tag_cells(values, tags, channels_on_device, mean_tags)
    scores, indices = values[channels_on_device, nearest].float().cpu().numpy(), nearest.cpu().numpy()
    cells = np.stack([indices % width, indices // width], axis=-1).astype(np.float32)
    peak_indices = groups.peak_indices.copy()
    peak_indices[instances, keypoints] = len(peaks) + np.arange(len(instances))
    filled = Peaks(
        np.concatenate([peaks.cells, cells]),
        np.concatenate([peaks.scores, scores]),
        np.concatenate([peaks.channels, channels]),
    )
    return groups._replace(peak_indices=peak_indices), filled


def find_nearest_tag_cells(values: Tensor, tags: Tensor, channels: Tensor, mean_tags: Tensor) -> Tensor:
    """Find the cells whose tags are nearest to those of instances.

    Args:
        values: (C, H W) flattened heatmaps.
        tags: (C, D, H W).
        channels: (P,) heatmap of each missing keypoint.
        mean_tags: (P, D) of its instance.

    Returns:
        (P,) index of the cell. Distances are rounded to whole numbers; of equal ones the largest value decides.
    """
    cells = []
    chunk = max(1, _CHUNK_SIZE // max(tags[:1].numel(), 1))
    for channel, mean in zip(channels.split(chunk), mean_tags.split(chunk), strict=True):
        difference = tags.index_select(0, channel).sub_(mean[:, :, None])
        # The norm of a single dimension is its absolute value and needs no reduction.
        one_dimension = difference.shape[1] == 1
        distance = difference[:, 0].abs_() if one_dimension else torch.linalg.vector_norm(difference, dim=1)
        nearness = distance.round_().mul_(-100).add_(values.index_select(0, channel))
        cells.append(find_line_maxima(nearness)[0])
    return torch.cat(cells)
