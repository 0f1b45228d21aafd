"""Instances from peaks and tags, similar within an instance (Newell et al. 2017, arXiv:1611.05424, section 3.2).

Peaks are found, and missing keypoints are searched, on the device of the heatmaps; peaks are grouped in NumPy.
Positions are in cells until the end.
"""

from __future__ import annotations

__all__ = ['find_nearest_tag_cells', 'keep_window_maxima', 'parse_tags', 'split_tags_by_keypoint']

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from poseplug.core.errors import MismatchError
from poseplug.fields.peak_arrays import Peaks
from poseplug.fields.peaks import find_local_maxima, refine_peaks, select_top_peaks
from poseplug.fields.refine import find_line_maxima
from poseplug.grouping.tag_groups import TagParseResult, TagRules, group_tagged_peaks

_CHUNK_SIZE = 2**22  # numbers searched at once for missing keypoints, which bounds the memory


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

    def search_cells(channels: np.ndarray, mean_tags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        channels_on_device = torch.from_numpy(channels).to(values.device)
        nearest = find_nearest_tag_cells(
            values, channel_tags, channels_on_device, torch.from_numpy(mean_tags).to(channel_tags)
        )
        return values[channels_on_device, nearest].float().cpu().numpy(), nearest.cpu().numpy()

    return group_tagged_peaks(peaks, peak_tags, heatmaps.shape, keypoint_order, rules, search_cells)


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
    # Tags and scores are those of the whole cell, whatever the refinement.
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
        # The cost of `assign_peaks`, negative, in place.
        nearness = distance.round_().mul_(-100).add_(values.index_select(0, channel))
        cells.append(find_line_maxima(nearness)[0])
    return torch.cat(cells)
