"""Instances from peaks and their tags, in NumPy (Newell et al. 2017, arXiv:1611.05424, section 3.2)."""

from __future__ import annotations

__all__ = ['TagGroups', 'TagParseResult', 'TagRules', 'assign_peaks', 'group_peaks_by_tags', 'group_tagged_peaks']

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.setting_checks import check_counts, check_kernel_sizes, check_number, check_positive
from poseplug.fields.peak_arrays import Peaks
from poseplug.grouping.limb_grouping import ParseResult

# Weight of the distance of two tags beside the rounded distance and the score: it decides where those are equal.
_TIE_WEIGHT = 1e-3


@dataclass(frozen=True)
class TagRules:
    """Rules for peaks, and for grouping them into instances.

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
        check_kernel_sizes('Tags', nms_kernel_size=self.nms_kernel_size)
        check_number('Tags', 'keypoint_threshold', self.keypoint_threshold, 0, 1, below=True)
        check_counts('Tags', top_k=self.top_k, max_instances=self.max_instances)
        check_positive('Tags', tag_threshold=self.tag_threshold)


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


# Takes heatmaps (P,) and mean tags (P, D) of missing keypoints; returns scores (P,) and cells (P,), row by row.
CellSearch = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def group_tagged_peaks(
    peaks: Peaks,
    tags: np.ndarray,
    shape: Sequence[int],
    keypoint_order: Sequence[int],
    rules: TagRules,
    search_cells: CellSearch,
) -> TagParseResult:
    """Group the peaks of a batch into instances by their tags.

    Args:
        peaks: of all images, of each keypoint the highest first.
        tags: (M, D) of the peaks.
        shape: of the heatmaps, (B, K, H, W).
        keypoint_order: indices of the keypoints in the order of grouping.
        rules: what counts as a peak, and which peaks belong to one instance.
        search_cells: finds the cells of missing keypoints, whose tags are nearest to their instance's.

    Returns:
        The instances of every image, highest score first, positions in cells.
    """
    groups, image_indices, counts = _group_batch(peaks, tags, shape[:2], keypoint_order, rules)
    num_peaks = len(peaks)
    if rules.fill_missing and (groups.peak_indices < 0).any():
        groups, peaks = _fill_missing_keypoints(groups, image_indices, peaks, search_cells, shape[-1])
    parsed = ParseResult(groups.peak_indices, groups.instance_scores, peaks, counts)
    return TagParseResult(parsed, image_indices, num_peaks, rules.keypoint_threshold)


def _fill_missing_keypoints(
    groups: TagGroups, image_indices: np.ndarray, peaks: Peaks, search_cells: CellSearch, width: int
) -> tuple[TagGroups, Peaks]:
    """The instances with every keypoint, and the peaks with those that were filled in behind them, in whole cells."""
    instances, keypoints = np.nonzero(groups.peak_indices < 0)
    channels = image_indices[instances] * groups.peak_indices.shape[1] + keypoints
    scores, indices = search_cells(channels, groups.mean_tags[instances])
    # x and y.
    cells = np.stack([indices % width, indices // width], axis=-1).astype(np.float32)
    peak_indices = groups.peak_indices.copy()
    peak_indices[instances, keypoints] = len(peaks) + np.arange(len(instances))
    filled = Peaks(
        np.concatenate([peaks.cells, cells]),
        np.concatenate([peaks.scores, scores]),
        np.concatenate([peaks.channels, channels]),
    )
    return groups._replace(peak_indices=peak_indices), filled


def _group_batch(
    peaks: Peaks, tags: np.ndarray, shape: Sequence[int], keypoint_order: Sequence[int], rules: TagRules
) -> tuple[TagGroups, np.ndarray, Counter[str]]:
    """The instances of all images, `shape` (B, K), highest score first; the image (N,) of each; and the counts."""
    batch, num_keypoints = shape
    starts = np.searchsorted(peaks.channels, np.arange(batch * num_keypoints + 1))
    # An empty group first, so that a batch without instances can be concatenated.
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
    # Each peak could start an instance.
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
    # The released code's cost: whole distances first, and scores among equal ones.
    costs = 100 * np.round(distances) + _TIE_WEIGHT * distances - scores[:, None]
    rows, columns = linear_sum_assignment(costs)
    # After the assignment, as in the released code: a far match is not tried again elsewhere.
    is_near = distances[rows, columns] < tag_threshold
    instances[rows[is_near]] = columns[is_near]
    return instances
