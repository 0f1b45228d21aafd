"""The labels of a data set that one model can learn: one list of keypoints, and images that are there."""

from __future__ import annotations

__all__ = ['check_label_rows', 'choose_labels', 'name_keypoints']

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError, compose_message, suggest_closest
from poseplug.core.skeleton_checks import normalize_keypoint_name
from poseplug.data.formats.base import LabeledImages, count_causes


def choose_labels(labels: LabeledImages, categories: Sequence[str] = ()) -> LabeledImages:
    """Choose the categories to learn, and leave out images without a file.

    Args:
        labels: as read from any format.
        categories: names, compared without case, blanks and hyphens; empty for all that have instances.

    Returns:
        New labels: categories that share one list of keypoints, their instances, and the images that are there. The
        names of the images start from the folder that contains all of them. Notes count what was left out.

    Raises:
        AnnotationError: the files are damaged, no category has instances with keypoints, several have keypoints of
            their own, or no image is there.
    """
    check_label_rows(labels)
    chosen, notes = _choose_categories(labels, categories)
    labels, chosen = _align_keypoints(labels, chosen)
    content = labels.content
    ids = {category['id'] for category in chosen}
    images, folder, image_notes = _list_present_images(labels)
    image_ids = {image['id'] for image in images}
    of_category = [a for a in content['annotations'] if a['category_id'] in ids]
    annotations = [a for a in of_category if a['image_id'] in image_ids]
    if len(annotations) < len(of_category):
        image_notes.append(f'{len(of_category) - len(annotations):,} instances of images that are not there left out')
    if not annotations:
        raise AnnotationError(f'{labels.path}: no instances are left on the images that are there')
    chosen_content = {**content, 'images': images, 'annotations': annotations, 'categories': chosen}
    return replace(labels, image_folder=folder, content=chosen_content, notes=[*labels.notes, *notes, *image_notes])


def check_label_rows(labels: LabeledImages) -> None:
    """Check that labels read from COCO's format have what every use of them needs.

    Args:
        labels: the labels.

    Raises:
        AnnotationError: an image, an annotation or a category is no object, or lacks an id or a name.
    """
    _check_rows(labels, 'images', ('id', 'file_name'))
    _check_rows(labels, 'annotations', ('image_id', 'category_id'))
    _check_rows(labels, 'categories', ('id', 'name'))


def _check_rows(labels: LabeledImages, key: str, required: Sequence[str]) -> None:
    """Raise unless every row of a list is an object with some keys."""
    for index, row in enumerate(labels.content[key]):
        missing = [name for name in required if not isinstance(row, Mapping) or name not in row]
        if missing:
            raise AnnotationError(
                f'{labels.path}: {key}[{index}] has no {", ".join(missing)}; correct the file '
                f'(poseplug dataset verify {labels.path} lists what is wrong)'
            )


def _choose_categories(labels: LabeledImages, names: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The categories to learn with names of their keypoints, and notes."""
    # Instances with any number in their keypoints: exporters list objects without keypoints, too.
    counts = Counter(a['category_id'] for a in labels.content['annotations'] if any(a.get('keypoints') or ()))
    candidates = [category for category in labels.content['categories'] if counts[category['id']]]
    if names:
        candidates = [_find_category(labels, candidates, name) for name in names]
    named = [name_keypoints(labels, category) for category in candidates]
    if not named:
        causes = [f'{count:,} {cause}' for cause, count in count_causes(labels.dropped)]
        dropped = f'dropped labels: {", ".join(causes)}' if causes else ''
        message = f'{labels.path}: no category has instances with keypoints; nothing can be learned'
        remedy = 'Name the folder of the images by --images DIR, in a config by image_folder=' if causes else ''
        raise AnnotationError('. '.join(filter(None, [message, dropped, remedy])))
    # A model has one output per keypoint, so one list of them is all that it can learn.
    if len({tuple(sorted(map(normalize_keypoint_name, category['keypoints']))) for category in named}) > 1:
        counts_by_name = [(category['name'], len(category['keypoints'])) for category in named]
        listed = ', '.join(f'{name!r} ({count} keypoints)' for name, count in counts_by_name)
        raise AnnotationError(
            f'{labels.path}: its categories have keypoints of their own: {listed}. Name one by --category, in a config '
            f'by category='
        )
    notes = []
    if any(not category.get('keypoints') for category in candidates):
        notes.append('the file names no keypoints: they are called keypoint_1, keypoint_2, ... in its order')
    num_others = sum(counts.values()) - sum(counts[category['id']] for category in named)
    if num_others:
        notes.append(f'{num_others:,} instances of other categories left out')
    return named, notes


def _align_keypoints(
    labels: LabeledImages, categories: list[dict[str, Any]]
) -> tuple[LabeledImages, list[dict[str, Any]]]:
    """The labels and categories with the keypoints of all categories in the order, and by the names, of the first."""
    first = categories[0]
    names = [normalize_keypoint_name(name) for name in first['keypoints']]
    orders: dict[Any, list[int]] = {}
    for category in categories[1:]:
        others = [normalize_keypoint_name(name) for name in category['keypoints']]
        if others != names:
            orders[category['id']] = [others.index(name) for name in names]
    if not orders:
        return labels, [{**category, 'keypoints': first['keypoints']} for category in categories]
    annotations = [_reorder_keypoints(a, orders.get(a['category_id'])) for a in labels.content['annotations']]
    # Limbs and flips of the others count in their own order.
    aligned = [{**first, 'id': category['id'], 'name': category['name']} for category in categories]
    return replace(labels, content={**labels.content, 'annotations': annotations}), aligned


def _reorder_keypoints(annotation: dict[str, Any], order: Sequence[int] | None) -> dict[str, Any]:
    """An annotation with its keypoints in another order; as it is without one, or where their number is another."""
    values = annotation.get('keypoints') or []
    if order is None or len(values) != 3 * len(order):
        return annotation
    return {**annotation, 'keypoints': [v for i in order for v in values[3 * i : 3 * i + 3]]}


def _find_category(labels: LabeledImages, candidates: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The category of a name."""
    for category in candidates:
        if normalize_keypoint_name(str(category['name'])) == normalize_keypoint_name(name):
            return category
    names = [str(category['name']) for category in candidates]
    listed = ', '.join(names) or 'none'
    message = f'{labels.path}: no category {name!r} has instances'
    raise AnnotationError(compose_message(message, suggest_closest(name, names), f'with instances: {listed}'))


def name_keypoints(labels: LabeledImages, category: Mapping[str, Any]) -> dict[str, Any]:
    """Return a category of labels with a list of names of its keypoints, which are numbered where it has none."""
    if category.get('keypoints'):
        return dict(category)
    annotations = (a for a in labels.content['annotations'] if a['category_id'] == category['id'])
    num_keypoints = max((len(annotation.get('keypoints') or ()) // 3 for annotation in annotations), default=0)
    return {**category, 'keypoints': [f'keypoint_{k}' for k in range(1, num_keypoints + 1)]}


def _list_present_images(labels: LabeledImages) -> tuple[list[dict[str, Any]], Path, list[str]]:
    """The images that are there, named from the folder that contains all of them, that folder, and notes."""
    folder = labels.image_folder.resolve()
    paths = [Path(os.path.normpath(folder / str(image['file_name']))) for image in labels.content['images']]
    present = [(image, path) for image, path in zip(labels.content['images'], paths, strict=True) if path.is_file()]
    if not present:
        first = f' (the first is {paths[0]})' if paths else ''
        raise AnnotationError(
            f'{labels.path}: none of its {len(paths):,} images is there{first}; name --images DIR, '
            'in a config image_folder='
        )
    # Names below one folder, so that no name leads out of it by '..'.
    shared = Path(os.path.commonpath([path.parent for _, path in present]))
    images = [{**image, 'file_name': path.relative_to(shared).as_posix()} for image, path in present]
    num_missing = len(paths) - len(present)
    notes = [f'{num_missing:,} images are not in {folder} and are left out'] if num_missing else []
    return images, shared, notes
