"""Instances from peaks and part affinity fields (Cao et al. 2017, arXiv:1611.08050, section 2.3).

Peaks are found on the device. The limbs between them are scored, matched and grouped in NumPy, whose calls cost less
than torch's on arrays as small as these. Positions are in cells until the end.
"""

from __future__ import annotations

__all__ = ['ParseResult', 'assemble_instances', 'check_paf_fields', 'parse_paf', 'parse_paf_batch']

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.fields.peaks import PEAK_REFINEMENTS, Peaks, find_peaks
from poseplug.grouping.instance_assembler import InstanceAssembler, select_valid_instances
from poseplug.grouping.limb_scores import enumerate_peak_pairs, find_limbs, match_pairs
from poseplug.grouping.paf_rules import PAF_PRESETS, PAFRules, get_paf_rules
from poseplug.registry.skeletons import get_skeleton

_LOGGER = logging.getLogger(__name__)
_STEP_NAMES = ('peaks', 'pairs', 'limbs', 'instances grouped')  # keys of the counts that are no cause of a drop


@dataclass(frozen=True)
class ParseResult:
    """The instances of one image, with every count on the way.

    Attributes:
        peak_indices: (N, K) the peak of each keypoint, -1 where it is missing.
        instance_scores: (N,) scores of the instances.
        peaks: the peaks of the image.
        counts: the peaks, the pairs and limbs between them, the instances that were grouped, and how many of these
            were dropped, by cause.
    """

    peak_indices: np.ndarray
    instance_scores: np.ndarray
    peaks: Peaks
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        steps = ', '.join(f'{self.counts[name]} {name}' for name in _STEP_NAMES)
        message = f'{len(self.peak_indices)} instances: {steps}'
        dropped = [f'{count} {cause}' for cause, count in self.counts.items() if cause not in _STEP_NAMES and count]
        return f'{message}; dropped: {", ".join(dropped)}' if dropped else message

    def to_poses(self, stride: tuple[float, float] = (1.0, 1.0), offset: float = 0.0) -> Poses:
        """Return the instances in input pixels, where cell g stands at `stride` g + `offset`.

        A missing keypoint has score and visibility 0. It stands at the mean of its instance's keypoints, where it
        widens no box.
        """
        has_peak = self.peak_indices >= 0
        mask = has_peak[..., None]
        # Index -1, of a missing keypoint, reads the zeros behind the last peak.
        cells = np.concatenate([self.peaks.cells, np.zeros((1, 2), np.float32)])[self.peak_indices]
        scores = np.concatenate([self.peaks.scores, np.zeros(1, np.float32)])[self.peak_indices]
        points = cells * np.array(stride, np.float32) + np.float32(offset)
        low = np.where(mask, points, np.inf).min(axis=1)
        high = np.where(mask, points, -np.inf).max(axis=1)
        mean = points.sum(axis=1, where=mask) / np.maximum(has_peak.sum(axis=1), 1)[:, None]
        keypoints = np.where(mask, points, mean[:, None]).astype(np.float32)
        boxes = np.concatenate([low, high], axis=1).astype(np.float32)
        return Poses(
            keypoints=keypoints,
            keypoint_scores=np.clip(np.where(has_peak, scores, 0), 0, 1),
            instance_scores=self.instance_scores.astype(np.float32),
            visibility=np.where(has_peak, 2, 0).astype(np.uint8),
            boxes=boxes,
        )


def parse_paf(
    fields: Mapping[str, Any],
    skeleton: Skeleton | str,
    preset: PAFRules | str | Mapping[str, Any] = 'openpose',
    stride: float = 8.0,
    offset: float = 3.5,
    refine: str = 'centroid',
    kernel_size: int = 11,
) -> list[Poses]:
    """Group fields that were predicted anywhere into instances.

    Args:
        fields: arrays or tensors, of one image or, with a first axis for the batch, of several. 'heatmap' is
            (K, H, W) or, with the background last, (K + 1, H, W), in the order of the skeleton's keypoints; 'paf' is
            (2 L, H, W), x and y of each of the skeleton's limbs in turn.
        skeleton: a skeleton or its name, such as 'coco18'.
        preset: the rules of a released parser by name, see `PAF_PRESETS`, a dict of changes to one, or rules.
        stride, offset: cell g stands at input pixel `stride` g + `offset`.
        refine: how peaks are refined between the cells, one of `PEAK_REFINEMENTS`; 'centroid' is the OpenPose
            library's.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'.

    Returns:
        The instances of each image in input pixels, highest score first.

    Raises:
        ConfigError: for an unknown preset, rule or refinement.
        MismatchError: if the fields do not fit the skeleton or each other.

    Example:
        >>> fields = {'heatmap': np.zeros((19, 46, 46)), 'paf': np.zeros((38, 46, 46))}
        >>> [len(poses) for poses in parse_paf(fields, 'coco18')]
        [0]
    """
    skeleton = get_skeleton(skeleton)
    batched = {name: values[None] if values.ndim == 3 else values for name, values in fields.items()}
    tensors = check_paf_fields(batched, skeleton)
    if refine not in PEAK_REFINEMENTS:
        raise ConfigError(f'peaks are refined by one of {PEAK_REFINEMENTS}; got {refine!r}')
    heatmaps, rules = tensors['heatmap'][:, : len(skeleton)], get_paf_rules(preset)
    results = parse_paf_batch(heatmaps, tensors['paf'], skeleton, rules, stride, refine, kernel_size)
    return [result.to_poses((stride, stride), offset) for result in results]


def check_paf_fields(fields: Mapping[str, Any], skeleton: Skeleton) -> dict[str, Tensor]:
    """Return fields (B, C, H, W) as tensors in single precision.

    Raises:
        MismatchError: if their channels are not those of the skeleton, or they have no common batch and grid.
    """
    num_keypoints, num_limbs = len(skeleton), len(skeleton.limbs)
    tensors = {name: torch.as_tensor(fields[name]).detach().float() for name in ('heatmap', 'paf') if name in fields}
    heatmap, paf = (tuple(tensors[name].shape) if name in tensors else None for name in ('heatmap', 'paf'))
    same_grid = heatmap and paf and len(heatmap) == len(paf) == 4 and heatmap[0] == paf[0] and heatmap[2:] == paf[2:]
    heatmap_fits = heatmap and heatmap[1] in (num_keypoints, num_keypoints + 1)
    if not (same_grid and heatmap_fits and paf and paf[1] == 2 * num_limbs):
        raise MismatchError(
            f'fields of {skeleton.name!r} are a heatmap of {num_keypoints} channels (or {num_keypoints + 1}, with '
            f'background) and a paf of {2 * num_limbs}, (channels, rows, columns) of one size; got heatmap {heatmap} '
            f'and paf {paf}'
        )
    return tensors


def parse_paf_batch(
    heatmaps: Tensor,
    paf: Tensor,
    skeleton: Skeleton,
    rules: PAFRules,
    stride: float,
    refine: str = 'none',
    kernel_size: int = 11,
    raw_heatmaps: Tensor | None = None,
) -> list[ParseResult]:
    """Group the peaks of every image into instances.

    Where no instance is left, the counts are logged and the rules named by `rules.fallback` are tried.

    Args:
        heatmaps: (B, K, H, W) float32.
        paf: (B, 2 L, H, W) float32.
        skeleton: of K keypoints and L limbs.
        rules: what counts as a peak, as a limb and as an instance.
        stride: input pixels per cell.
        refine: how peaks are refined between the cells, one of `PEAK_REFINEMENTS`.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'.
        raw_heatmaps: (B, K, H, W) from which scores are taken, where `heatmaps` were smoothed.

    Returns:
        The instances of each image, highest score first, positions in cells.
    """
    peaks = find_peaks(
        heatmaps,
        rules.peak_threshold,
        rules.max_peaks,
        refine,
        kernel_size,
        rules.min_peak_distance_px / stride,
        raw_heatmaps,
        rules.peak_neighbors,
        rules.peak_order == 'columns',
    )
    vectors = paf.cpu().numpy()
    results = [
        assemble_instances(peaks.for_image(i, len(skeleton)), vectors[i], skeleton, rules, stride)
        for i in range(len(heatmaps))
    ]
    empty = [i for i, result in enumerate(results) if not len(result.peak_indices)]
    for i in empty:
        _LOGGER.info('image %d: %s', i, results[i])
    if empty and rules.fallback:
        fallback_rules = PAF_PRESETS[rules.fallback]
        raw = None if raw_heatmaps is None else raw_heatmaps[empty]
        retried = parse_paf_batch(
            heatmaps[empty], paf[empty], skeleton, fallback_rules, stride, refine, kernel_size, raw
        )
        for i, result in zip(empty, retried, strict=True):
            results[i] = result
    return results


def assemble_instances(
    peaks: Peaks, paf: np.ndarray, skeleton: Skeleton, rules: PAFRules, stride: float = 8.0
) -> ParseResult:
    """Group the peaks of one image into instances.

    Args:
        peaks: of the image, sorted by keypoint.
        paf: (2 L, H, W) x and y of each limb in turn.
        skeleton: of the keypoints and limbs.
        rules: what counts as a limb and as an instance.
        stride: input pixels per cell.

    Returns:
        The instances, highest score first.
    """
    pairs = enumerate_peak_pairs(peaks, skeleton)
    limbs, limb_scores = find_limbs(pairs, peaks.cells, paf, rules, stride)
    matched = match_pairs(limbs, limb_scores, len(skeleton.limbs), rules.matching)
    assembler = InstanceAssembler(skeleton, peaks, rules)
    for step in skeleton.limb_steps:
        assembler.add_limbs(step, matched[step.limb])
    if rules.single_peaks == 'all' or not skeleton.limbs:
        assembler.start_single_instances(range(len(skeleton)))
    if rules.merge_distance_ratio:
        assembler.merge_nearby_instances(peaks.cells, rules.merge_distance_ratio)
    peak_indices, score_sums = assembler.to_arrays()
    counts = Counter({'peaks': len(peaks), 'pairs': len(pairs), 'limbs': sum(map(len, matched))})
    counts['instances grouped'] = len(peak_indices)
    redundant_counts = assembler.get_redundant_counts()
    valid = select_valid_instances(peak_indices, score_sums, skeleton, rules, counts, redundant_counts)
    # The score is the sum over the peaks and limbs of an instance, over the number of both in the skeleton.
    scores = np.clip(score_sums[valid] / (len(skeleton) + len(skeleton.limbs)), 0, 1)
    order = np.argsort(-scores, kind='stable')
    return ParseResult(peak_indices[valid][order], scores[order], peaks, counts)
