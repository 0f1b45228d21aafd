"""Near-duplicate images, such as frames of one video, by a perceptual hash (DCT of a small gray image; Zauner 2010)."""

from __future__ import annotations

__all__ = ['MAX_HASH_DISTANCE', 'group_near_duplicates', 'hash_image', 'hash_image_file']

from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from poseplug.files.images import LazyImage

# Bits of 64. Of the 2 million pairs of images of Leeds Sports Pose 11 differ in at most 6, and all 11 show one scene
# twice. The same image at half the size or as JPEG of quality 30 differs in at most 6, cut by 3 % in 6 (99 of 100).
MAX_HASH_DISTANCE = 6
_SMALL_SIDE_PX = 32  # of the gray image
_NUM_FREQUENCIES = 8  # in each direction, the lowest of the DCT
_BLOCK_ROWS = 512  # hashes that are compared with all others at once
_REDUCTION = 8  # of a JPEG file, which is decoded at an eighth of its size
_MIN_REDUCED_SIDE_PX = 8 * _SMALL_SIDE_PX


def hash_image_file(path: Path) -> int:
    """Compute the perceptual hash of an image file.

    Args:
        path: the file.

    Returns:
        64 bits.

    Raises:
        ImageError: the file cannot be read.
    """
    image = LazyImage(path)
    is_reducible = image.supports_reduction and min(image.size) >= _MIN_REDUCED_SIDE_PX
    return hash_image(image.get_pixels(_REDUCTION if is_reducible else 1))


def hash_image(pixels: np.ndarray) -> int:
    """Compute the perceptual hash of an image: which low frequencies of its brightness are above their median.

    Args:
        pixels: (H, W, 3) uint8 BGR.

    Returns:
        64 bits; similar images differ in few of them.

    Example:
        >>> ramp = np.tile(np.arange(96, dtype=np.uint8), (64, 1))[..., None].repeat(3, axis=2)
        >>> hash_image(ramp) == hash_image(ramp[::2, ::2])
        True
    """
    size = (_SMALL_SIDE_PX, _SMALL_SIDE_PX)
    gray = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA)
    spectrum = cv2.dct(gray.astype(np.float32))[:_NUM_FREQUENCIES, :_NUM_FREQUENCIES].ravel()
    bits = spectrum > np.median(spectrum[1:])  # the first one is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), 'big')


def group_near_duplicates(hashes: list[int], max_distance: int = MAX_HASH_DISTANCE) -> np.ndarray:
    """Group images whose hashes are near each other, directly or over others between them.

    Args:
        hashes: of N images.
        max_distance: number of bits up to which two images are near-duplicates.

    Returns:
        (N,) the group of each image, from 0 on in the order of the images.

    Example:
        >>> group_near_duplicates([0b0000, 0b0001, 0b1111], max_distance=1).tolist()
        [0, 0, 1]
    """
    values = np.array(hashes, dtype=np.uint64)
    rows, columns = [], []
    for start in range(0, len(values), _BLOCK_ROWS):
        # (rows of the block, all later hashes): each pair is compared once
        distances = np.bitwise_count(values[start : start + _BLOCK_ROWS, None] ^ values[None, start:])
        near_rows, near_columns = np.nonzero(distances <= max_distance)
        rows.append(near_rows + start)
        columns.append(near_columns + start)
    pairs = (np.concatenate([*rows, []]).astype(int), np.concatenate([*columns, []]).astype(int))
    graph = coo_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(len(values), len(values)))
    _, labels = connected_components(graph, directed=False)
    _, first, groups = np.unique(labels, return_index=True, return_inverse=True)
    # numbered by the first image of each group, since the labels of scipy have no stated order
    order = np.argsort(np.argsort(first))
    grouped: np.ndarray = order[groups]
    return grouped
