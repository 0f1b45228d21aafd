"""Instances from peaks and part affinity fields (Cao et al. 2017, arXiv:1611.08050, section 2.3).

Peaks are found on the device. The limbs between them are scored, matched and grouped in NumPy, whose calls cost less
than torch's on arrays as small as these. Positions are in cells until the end.
"""

from __future__ import annotations

__all__ = ['check_paf_fields', 'parse_paf', 'parse_paf_batch']

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.fields.peak_arrays import Peaks
from poseplug.fields.peaks import PEAK_REFINEMENTS, find_peaks
from poseplug.grouping.limb_grouping import FindLimbs, ParseResult, group_limbs_batch
from poseplug.grouping.limb_scores import find_limbs
from poseplug.grouping.paf_rules import PAFRules, get_paf_rules
from poseplug.registry.skeletons import get_skeleton


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
        >>> fields = {'heatmap': torch.zeros(19, 46, 46), 'paf': torch.zeros(38, 46, 46)}
        >>> [len(poses) for poses in parse_paf(fields, 'coco18')]
        [0]
    """
    skeleton = get_skeleton(skeleton)
    batched = {name: values[None] if values.ndim == 3 else values for name, values in fields.items()}
    tensors = check_paf_fields(batched, skeleton)
    if refine not in PEAK_REFINEMENTS:
        raise ConfigError(f'peaks are refined by one of {PEAK_REFINEMENTS}; got {refine!r}')
    # Without the background, which is the last channel.
    heatmaps, rules = tensors['heatmap'][:, : len(skeleton)], get_paf_rules(preset)
    results = parse_paf_batch(heatmaps, tensors['paf'], skeleton, rules, stride, refine, kernel_size)
    return [result.to_poses((stride, stride), offset) for result in results]


def check_paf_fields(
    fields: Mapping[str, Any], skeleton: Skeleton, limb_field: str = 'paf', channels_per_limb: int = 2
) -> dict[str, Tensor]:
    """Return fields (B, C, H, W) as tensors in single precision.

    Args:
        fields: 'heatmap' and the field of the limbs.
        skeleton: of the keypoints and limbs.
        limb_field: name of the field of the limbs.
        channels_per_limb: its channels for each limb.

    Raises:
        MismatchError: if their channels are not those of the skeleton, or they have no common batch and grid.
    """
    num_keypoints, num_limbs = len(skeleton), len(skeleton.limbs)
    names = ('heatmap', limb_field)
    tensors = {name: torch.as_tensor(fields[name]).detach().float() for name in names if name in fields}
    heatmap, paf = (tuple(tensors[name].shape) if name in tensors else None for name in names)
    same_grid = heatmap and paf and len(heatmap) == len(paf) == 4 and heatmap[0] == paf[0] and heatmap[2:] == paf[2:]
    heatmap_fits = heatmap and heatmap[1] in (num_keypoints, num_keypoints + 1)
    if not (same_grid and heatmap_fits and paf and paf[1] == channels_per_limb * num_limbs):
        raise MismatchError(
            f'fields of {skeleton.name!r} are a heatmap of {num_keypoints} channels (or {num_keypoints + 1}, with '
            f'background) and a {limb_field} of {channels_per_limb * num_limbs}, (channels, rows, columns) of one '
            f'size; got heatmap {heatmap} and {limb_field} {paf}'
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
    find_image_limbs: FindLimbs = find_limbs,
) -> list[ParseResult]:
    """Group the peaks of every image into instances.

    Where no instance is left, the counts are logged and the rules named by `rules.fallback` are tried.

    Args:
        heatmaps: (B, K, H, W) float32.
        paf: (B, 2 L, H, W) float32; or what `find_image_limbs` reads of every image.
        skeleton: of K keypoints and L limbs.
        rules: what counts as a peak, as a limb and as an instance.
        stride: input pixels per cell.
        refine: how peaks are refined between the cells, one of `PEAK_REFINEMENTS`.
        kernel_size: odd size in cells of the smoothing of 'dark' and 'udp'.
        raw_heatmaps: (B, K, H, W) from which scores are taken, where `heatmaps` were smoothed.
        find_image_limbs: selects and scores limbs; by default by limb fields.

    Returns:
        The instances of each image, highest score first, positions in cells.
    """

    def find_batch_peaks(rules: PAFRules, images: Any) -> Peaks:
        return find_peaks(
            heatmaps[images],
            rules.peak_threshold,
            rules.max_peaks,
            refine,
            kernel_size,
            rules.min_peak_distance_px / stride,
            None if raw_heatmaps is None else raw_heatmaps[images],
            rules.peak_neighbors,
            rules.peak_order == 'columns',
        )

    return group_limbs_batch(find_batch_peaks, paf.cpu().numpy(), skeleton, rules, stride, find_image_limbs)
