"""Compares the sizes of images that a file in COCO's format states with those of the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poseplug.core.errors import AnnotationError, ImageError
from poseplug.data.sources.coco_columns import CocoImages
from poseplug.files.images import LazyImage
from poseplug.files.stated_size import describe_size_difference


def check_coco_sizes(images: CocoImages, folder: Path, num_checks: int, file: Path) -> list[str]:
    """Refuse a file that states another size than one of its images has.

    Args:
        images: of the file.
        folder: of the images.
        num_checks: number of images, spread evenly, whose headers are read.
        file: the annotation file, for the message.

    Returns:
        A note if some of these images are shown rotated; none otherwise.

    Raises:
        AnnotationError: an image has another size than the stated one.
    """
    existing = np.flatnonzero(images.exists)
    checked = np.unique(np.linspace(0, len(existing) - 1, min(num_checks, len(existing))).round().astype(int))
    stated_sizes, num_oriented = images.list_sizes(), 0
    for i in existing[checked]:
        try:
            image = LazyImage(folder / images.file_names[i])
            difference = describe_size_difference(image, stated_sizes[i])
        except ImageError:
            continue  # reported when it is decoded, and by the command that verifies data sets
        if difference:
            raise AnnotationError(
                f'{file}: image {images.file_names[i]} in {folder}: {difference}: its keypoints would be at wrong '
                f'positions. Fetch the images that belong to the annotations'
            )
        num_oriented += image.orientation != 1
    if not num_oriented:
        return []
    return [
        f'{num_oriented} of {len(checked)} images that were looked at have an EXIF orientation other than 1; they are '
        f'read as stored, and poseplug dataset verify names them'
    ]
