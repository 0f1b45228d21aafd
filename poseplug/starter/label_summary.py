"""What the labels of a data set are, in lines for the terminal."""

from __future__ import annotations

__all__ = ['LabelStatistics', 'measure_labels']

from dataclasses import dataclass
from typing import Any

import numpy as np

from poseplug.data.formats.base import LabeledImages


@dataclass(frozen=True)
class LabelStatistics:
    """Sizes of labels.

    Attributes:
        num_instances: number of instances with a labeled keypoint.
        box_sizes: (N, 2) width and height of their boxes in px; of the labeled keypoints where there is no box.
        image_sizes: (M, 2) width and height of the images in px.
        flag_fractions: fraction of keypoints that are visible, occluded and not labeled.
    """

    num_instances: int
    box_sizes: np.ndarray
    image_sizes: np.ndarray
    flag_fractions: tuple[float, float, float]

    @property
    def median_box(self) -> tuple[float, float]:
        """Median width and height of the boxes in px."""
        width, height = np.median(self.box_sizes, axis=0).tolist()
        return width, height

    def describe(self) -> list[str]:
        """Describe the sizes in lines."""
        (width, height), sides = self.median_box, self.box_sizes.max(axis=1)
        low, high = np.percentile(sides, [10, 90]).tolist()
        image_width, image_height = np.median(self.image_sizes, axis=0).tolist()
        visible, occluded, unlabeled = (round(100 * fraction) for fraction in self.flag_fractions)
        return [
            f'boxes: {width:.0f} x {height:.0f} px in the median, the longer side mostly {low:.0f} to {high:.0f} px; '
            f'images: {image_width:.0f} x {image_height:.0f} px',
            f'keypoints: {visible} % visible, {occluded} % occluded, {unlabeled} % not labeled',
        ]


def measure_labels(labels: LabeledImages) -> LabelStatistics:
    """Measure the labels of a data set.

    Args:
        labels: with instances of one list of keypoints.
    """
    num_keypoints = len(labels.content['categories'][0]['keypoints'])
    tables, sizes = [], []
    for annotation in labels.content['annotations']:
        values = annotation.get('keypoints') or ()
        if len(values) != 3 * num_keypoints or not all(isinstance(v, int | float) for v in values):
            continue  # reported when the written files are read
        table = np.array(values, dtype=float).reshape(-1, 3)
        labeled = table[table[:, 2] > 0, :2]
        if not len(labeled):
            continue
        tables.append(table)
        sizes.append(_get_box_size(annotation.get('bbox'), labeled))
    flags = np.concatenate([table[:, 2] for table in tables]) if tables else np.zeros(1)
    fractions = tuple(float((flags == flag).mean()) for flag in (2, 1, 0))
    images = [[image.get('width') or 0, image.get('height') or 0] for image in labels.content['images']]
    box_sizes = np.array(sizes, dtype=float).reshape(-1, 2)
    image_sizes = np.array(images, dtype=float).reshape(-1, 2)
    return LabelStatistics(len(tables), box_sizes, image_sizes, (fractions[0], fractions[1], fractions[2]))


def _get_box_size(box: Any, labeled: np.ndarray) -> list[float]:
    """Width and height of a box, or of the labeled keypoints (M, 2)."""
    is_box = isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)
    if is_box and min(box[2:]) > 0:
        return [float(v) for v in box[2:]]
    extent: list[float] = np.ptp(labeled, axis=0).tolist()
    return extent
