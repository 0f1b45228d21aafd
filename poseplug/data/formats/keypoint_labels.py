"""What formats of keypoints alone can hold of labels in COCO's form."""

from __future__ import annotations

__all__ = ['select_keypoint_labels']

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, WriteReport
from poseplug.data.formats.checks import is_keypoint_list
from poseplug.data.formats.label_choice import name_keypoints
from poseplug.data.formats.label_collector import enclose_labeled_keypoints


def select_keypoint_labels(labels: LabeledImages, report: WriteReport) -> LabeledImages:
    """Select the categories and instances that have keypoints.

    Files in COCO's format also hold objects with a box alone, and categories without keypoints, such as the first one
    of Roboflow's exports. An instance without a box gets the one around its keypoints.

    Args:
        labels: as read from any format.
        report: counts the instances that are left out as lost.

    Returns:
        New labels, in which every category names its keypoints, every instance has x, y and a flag for each of them,
        and every image has a size.

    Raises:
        AnnotationError: no category has keypoints, or an image has no size.
    """
    content = labels.content
    images = {image['id']: image for image in content['images']}
    # YOLO-pose divides by the size, and the table has a column for it.
    for image in images.values():
        if not all(isinstance(image.get(key), int | float) for key in ('width', 'height')):
            raise AnnotationError(f'{labels.path}: image {image["file_name"]} has no width and height; add them')
    named = [name_keypoints(labels, category) for category in content['categories']]
    categories = {category['id']: category for category in named if category['keypoints']}
    if not categories:
        raise AnnotationError(f'{labels.path}: no category has keypoints, so that there is nothing to write')
    # One such instance does not stop the conversion: it is counted, and the report names the cause.
    annotations = []
    for annotation in content['annotations']:
        cause = _find_obstacle(annotation, images, categories)
        if cause:
            report.lost[cause] += 1
        else:
            annotations.append(_complete_box(annotation, images))
    return replace(labels, content={**content, 'annotations': annotations, 'categories': [*categories.values()]})


def _find_obstacle(
    annotation: Mapping[str, Any], images: Mapping[Any, Any], categories: Mapping[Any, dict[str, Any]]
) -> str:
    """Why an annotation is no instance of keypoints; '' if it is one."""
    # In this order an instance is counted under the most basic of its faults.
    if annotation['image_id'] not in images:
        return 'instances of images that are not listed'
    category = categories.get(annotation['category_id'])
    if category is None:
        return 'instances of categories that are not listed or have no keypoints'
    if not annotation.get('keypoints') or not is_keypoint_list(annotation['keypoints'], category):
        return 'instances without x, y and a flag for each keypoint'
    # Nothing says where in the image it is.
    if not _has_box(annotation) and not any(annotation['keypoints'][2::3]):
        return 'instances without a box and without labeled keypoints'
    return ''


def _has_box(annotation: Mapping[str, Any]) -> bool:
    box = annotation.get('bbox')
    return isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)


def _complete_box(annotation: dict[str, Any], images: Mapping[Any, Any]) -> dict[str, Any]:
    """The annotation with a box."""
    if _has_box(annotation):
        return annotation
    table = np.array(annotation['keypoints'], dtype=float).reshape(-1, 3)
    return {**annotation, 'bbox': enclose_labeled_keypoints(table, images[annotation['image_id']])}
