"""Which images of a data set are for training and which for validation."""

from __future__ import annotations

__all__ = ['split_images']

from collections.abc import Sequence

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.stated_split import ImageSplit
from poseplug.starter.near_duplicates import MAX_HASH_DISTANCE

DEFAULT_VAL_FRACTION = 0.2
MAX_VAL_IMAGES = 2000  # more do not make scores of a run much more exact


def split_images(
    names: Sequence[str], groups: np.ndarray, val_fraction: float = DEFAULT_VAL_FRACTION, seed: int = 0
) -> ImageSplit:
    """Split images at random into a part for training and one for validation, groups as a whole.

    A group that is larger than the rest, as the frames of a single video are, is cut: its last images in the order of
    their names are for validation.

    Args:
        names: of the N images.
        groups: (N,) the group of each image, as of near-duplicates.
        val_fraction: of the images, for validation; at most `MAX_VAL_IMAGES` images are.
        seed: of the order of the groups.

    Returns:
        The split.

    Raises:
        AnnotationError: there are fewer than two images, or the fraction leaves one part empty.

    Example:
        >>> split_images(['a', 'b', 'c', 'd'], np.array([0, 1, 1, 2]), 0.25).count_images('val')
        1
    """
    target = min(round(val_fraction * len(names)), MAX_VAL_IMAGES)
    if len(names) < 2 or not 0 < val_fraction < 1:
        raise AnnotationError(
            f'{len(names)} labeled images cannot be split into {val_fraction:g} for validation and the rest for '
            f'training; at least two images and a fraction between 0 and 1 are needed'
        )
    target = min(max(target, 1), len(names) - 1)
    sizes = np.bincount(groups)
    is_val = np.zeros(len(names), dtype=bool)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        # a group that does not fit is for training; smaller ones after it may still fit
        if is_val.sum() + sizes[group] <= target:
            is_val |= groups == group
    notes = [_describe_groups(sizes)] if (sizes > 1).any() else []
    # less than half of what was asked for: one group is too large to stay whole
    if is_val.sum() < max(1, target // 2):
        is_val |= _cut_largest_group(names, groups, target - int(is_val.sum()))
        notes.append(
            f'WARNING: {int(sizes.max()):,} of {len(names):,} images are near-duplicates of each other, as frames of '
            f'one video; the last ones in the order of their names are for validation, so that scores are too high'
        )
    num_val = int(is_val.sum())
    line = f'split: {len(names) - num_val:,} images for training, {num_val:,} for validation, at random (seed {seed})'
    return ImageSplit(['val' if flag else 'train' for flag in is_val], [line, *notes])


def _describe_groups(sizes: np.ndarray) -> str:
    """A line on the near-duplicates that stay together."""
    count, num_groups = int(sizes[sizes > 1].sum()), int((sizes > 1).sum())
    return (
        f'near-duplicates: {count:,} images in {num_groups:,} groups, each in one part '
        f'(at most {MAX_HASH_DISTANCE} of 64 bits of a perceptual hash differ)'
    )


def _cut_largest_group(names: Sequence[str], groups: np.ndarray, count: int) -> np.ndarray:
    """(N,) bool, the last `count` images of the largest group in the order of their names, but not all of them."""
    members = np.flatnonzero(groups == np.bincount(groups).argmax())
    ordered = sorted(members.tolist(), key=lambda index: names[index])
    chosen = np.zeros(len(names), dtype=bool)
    chosen[ordered[-min(count, len(ordered) - 1) :]] = True
    return chosen
