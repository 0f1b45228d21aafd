"""What is wrong with labels in COCO's form, whatever format they were read from."""

from __future__ import annotations

__all__ = ['find_label_problems', 'is_keypoint_list']

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import ImageError
from poseplug.data.formats.base import LabeledImages
from poseplug.files.images import LazyImage

_MAX_NAMED = 3  # examples in one line
_MAX_NORMALIZED = 2.0  # keypoints of a whole file below it are fractions of the image, not px


def find_label_problems(labels: LabeledImages) -> list[str]:
    """Find what is wrong with labels.

    Args:
        labels: as read from any format.

    Returns:
        One line per kind of problem, with the number of instances or images and the first of them; empty if there is
        none.
    """
    content = labels.content
    images = {image.get('id'): image for image in content['images'] if isinstance(image, dict)}
    # By kind: a fault of a tool concerns thousands of annotations, whose lines would hide the other kinds.
    problems: dict[str, list[str]] = {}
    for problem, name in [*_check_images(labels, images), *_check_annotations(content, images)]:
        problems.setdefault(problem, []).append(name)
    lines = []
    for problem, names in problems.items():
        listed = ', '.join(names[:_MAX_NAMED]) + (', ...' if len(names) > _MAX_NAMED else '')
        lines.append(f'{len(names):,} {problem}: {listed}')
    if not content['annotations']:
        lines.append('no instances are left')
    return lines


def _check_images(labels: LabeledImages, images: dict[Any, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The problems of the images: missing, unreadable or of another size than stated."""
    ids = Counter(image.get('id') for image in labels.content['images'] if isinstance(image, dict))
    repeated_ids = [number for number, count in ids.items() if count > 1]
    yield from (('images have the id of another one', f'id {number}') for number in repeated_ids)
    # Two entries of one file split its instances, and each part counts the others as background.
    names = Counter(image.get('file_name') for image in images.values())
    for image in images.values():
        if not isinstance(image.get('file_name'), str):
            yield 'images have no file_name', f'id {image.get("id")}'
            continue
        name = image['file_name']
        path = labels.image_folder / Path(name)
        if names[image.get('file_name')] > 1:
            yield 'images have the name of another one', name
        if not path.is_file():
            yield f'images are not in {labels.image_folder}', name
            continue
        try:
            opened = LazyImage(path)
            size = opened.size
        except ImageError:
            yield 'images cannot be read', name
            continue
        # Viewers turn such an image before it is labeled, so positions may belong to the turned one.
        if opened.orientation != 1:
            yield 'images have an EXIF orientation, are read as stored, and may be labeled upright', name
        stated = (image.get('width'), image.get('height'))
        if stated != size:
            sizes = f'{stated[0]} x {stated[1]} stated, {size[0]} x {size[1]} px'
            yield 'images have another size than the labels state', f'{name} ({sizes})'


def _check_annotations(content: dict[str, Any], images: dict[Any, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The problems of the annotations."""
    categories = {category.get('id'): category for category in content['categories']}
    positions: Counter[tuple[Any, ...]] = Counter()
    ids = Counter(annotation.get('id') for annotation in content['annotations'])
    for number, count in ids.items():
        if number is None:
            yield from [('annotations have no id', 'without id')] * count
        elif count > 1:
            yield 'annotations have the id of another one', f'id {number}'
    for annotation in content['annotations']:
        name = f'annotation {annotation.get("id")}'
        category = categories.get(annotation.get('category_id'))
        if 'category_id' not in annotation:
            yield 'annotations have no category_id', name
        elif category is None:
            yield 'annotations have a category that the file does not list', name
        if annotation.get('image_id') not in images:
            yield 'annotations have an image that the file does not list', name
            continue
        # Objects with a box alone lie beside the instances in many exports.
        values = annotation.get('keypoints')
        if not values:
            continue
        if not is_keypoint_list(values, category):
            yield 'annotations do not have x, y and a flag for each keypoint of their category', name
            continue
        table = np.array(values, dtype=float).reshape(-1, 3)
        # Without labeled keypoints all instances have the same zeros.
        if table[:, 2].any():
            key = (annotation['image_id'], *table.ravel().tolist())
            positions[key] += 1
            if positions[key] > 1:
                yield 'annotations repeat the keypoints of another one of their image', name
        yield from ((problem, name) for problem in _check_positions(table, annotation, images[annotation['image_id']]))


def is_keypoint_list(values: Any, category: dict[str, Any] | None) -> bool:
    """Return whether keypoints are a list of finite numbers, three for each keypoint that the category names."""
    names = (category or {}).get('keypoints') or []
    if not isinstance(values, list) or len(values) % 3 or (names and len(values) != 3 * len(names)):
        return False
    return all(isinstance(v, int | float) and np.isfinite(v) for v in values)


def _check_positions(table: np.ndarray, annotation: dict[str, Any], image: dict[str, Any]) -> Iterator[str]:
    """The problems of the positions of one instance."""
    if not np.isin(table[:, 2], (0, 1, 2)).all():
        yield 'annotations have a flag other than 0, 1 or 2'
    labeled = table[table[:, 2] > 0, :2]
    size = np.array([image.get('width', 0), image.get('height', 0)], dtype=float)
    if len(labeled) > 1 and (labeled == labeled[0]).all():
        yield 'annotations have all their keypoints at one position'
    # A fault of self-written exports: fractions where COCO has px.
    elif len(labeled) > 1 and labeled.max() < _MAX_NORMALIZED < size.min():
        yield 'annotations have keypoints within 2 px of the corner, as fractions of the image would be'
    # (0, 0) is the center of the first pixel, so the image reaches from -0.5 to size - 0.5.
    if ((labeled < -0.5) | (labeled > size - 0.5)).any():
        yield 'annotations have keypoints outside their image'
    box = annotation.get('bbox')
    if box is None:
        return
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        yield 'annotations have a bbox that is no list of x, y, width and height'
    elif min(box[2:]) <= 0:
        yield 'annotations have a box without extent'
