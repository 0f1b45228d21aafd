"""The skeleton of a data set, and what its labels are, in lines for the terminal."""

from __future__ import annotations

__all__ = ['LabelStatistics', 'ProjectSkeleton', 'build_project_skeleton', 'measure_labels', 'reorder_skeleton']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.data.formats.base import LabeledImages
from poseplug.data.sources.coco_categories import describe_skeleton_of_category
from poseplug.registry import SKELETONS
from poseplug.registry.skeletons import get_skeleton

_MAX_LISTED_PAIRS = 8


@dataclass(frozen=True)
class ProjectSkeleton:
    """The skeleton of a data set.

    Attributes:
        skeleton: the skeleton.
        registered_name: under which poseplug has it; None for one of the data set's own.
        lines: where its limbs, flip pairs and sigmas come from.
    """

    skeleton: Skeleton
    registered_name: str | None
    lines: list[str]

    def to_fields(self) -> dict[str, Any]:
        """Return the fields that a skeleton file has."""
        skeleton = self.skeleton
        pairs = {key: [list(pair) for pair in getattr(skeleton, key)] for key in ('limbs', 'flip_pairs')}
        return dict(name=skeleton.name, keypoints=list(skeleton.keypoints), **pairs, sigmas=list(skeleton.sigmas or ()))


def build_project_skeleton(file: Path, category: Mapping[str, Any]) -> ProjectSkeleton:
    """Build the skeleton of a category.

    Keypoints with the names of a registered skeleton, in any order, are that skeleton, which has measured sigmas.
    Otherwise limbs and sigmas are those of the file, and flip pairs those of the file or of left and right in the
    names.

    Args:
        file: of the labels, for messages.
        category: of COCO's object, with names of its keypoints.

    Raises:
        AnnotationError: the category describes no skeleton.
    """
    registered = _find_registered_skeleton(category['keypoints'], str(category['name']))
    if registered is not None:
        line = f'skeleton: that of {registered.name!r}, by the names: its limbs, flip pairs and sigmas'
        return ProjectSkeleton(registered, registered.name, [line])
    skeleton, lines = describe_skeleton_of_category(file, category)
    flip_indices = category.get('flip_indices')
    lines = [line for line in lines[1:] if not line.startswith('flip pairs')]
    origin = 'by left and right in the names'
    if flip_indices is not None:
        names, origin = skeleton.keypoints, 'of the file'
        pairs = tuple((names[i], names[j]) for i, j in enumerate(flip_indices) if i < j)
        skeleton = replace(skeleton, flip_pairs=pairs)
    lines.insert(1, _describe_flip_pairs(skeleton, origin))
    return ProjectSkeleton(skeleton, None, lines)


def _find_registered_skeleton(keypoints: list[str], title: str) -> Skeleton | None:
    """The registered skeleton with the same names: that of the category's name, else one in the same order."""
    names = [normalize_keypoint_name(name) for name in keypoints]
    matches = []
    for registered in map(get_skeleton, SKELETONS.list_names()):
        others = [normalize_keypoint_name(name) for name in registered.keypoints]
        if sorted(others) == sorted(names) and registered.sigmas is not None:
            matches.append(((registered.name != title.lower(), others != names), registered))
    return min(matches, key=lambda match: match[0])[1] if matches else None


def _describe_flip_pairs(skeleton: Skeleton, origin: str) -> str:
    """A line on the flip pairs."""
    if not skeleton.flip_pairs:
        return 'flip pairs: none; images are not flipped in training, since left and right are not known'
    pairs = [f'{a} - {b}' for a, b in skeleton.flip_pairs]
    listed = ', '.join(pairs[:_MAX_LISTED_PAIRS]) + (', ...' if len(pairs) > _MAX_LISTED_PAIRS else '')
    return f'flip pairs {origin}: {listed}'


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


def reorder_skeleton(skeleton: Skeleton, keypoints: Sequence[str]) -> Skeleton:
    """Return a skeleton with its keypoints in another order and under the names of a file.

    Args:
        skeleton: the skeleton.
        keypoints: the same keypoints, whose names may differ in case, blanks, hyphens and underscores.
    """
    by_name = {normalize_keypoint_name(name): name for name in keypoints}
    names = {name: by_name[normalize_keypoint_name(name)] for name in skeleton.keypoints}
    positions = {new: skeleton.index(old) for old, new in names.items()}
    limbs = tuple((names[a], names[b]) for a, b in skeleton.limbs)
    flip_pairs = tuple((names[a], names[b]) for a, b in skeleton.flip_pairs)
    sigmas = None if skeleton.sigmas is None else tuple(skeleton.sigmas[positions[name]] for name in keypoints)
    return Skeleton(skeleton.name, tuple(keypoints), limbs, flip_pairs, sigmas=sigmas, centric=skeleton.centric)
