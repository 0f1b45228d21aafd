"""COCO's object as exporters write it: other forms of its values are read where they are certain, and counted."""

from __future__ import annotations

__all__ = ['read_coco_content']

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError, ImageError
from poseplug.data.formats.base import DroppedLabel
from poseplug.data.formats.image_names import describe_other_names, locate_image
from poseplug.data.sources.coco_categories import unwrap_names
from poseplug.data.sources.coco_repairs import repair_annotations, repair_images
from poseplug.files.images import LazyImage
from poseplug.files.json_file import FIX_FILE_HINT, JsonRows, describe_json_value

_REPEATED_CAUSE = 'which repeats another annotation of its id'


@dataclass
class CocoContent:
    """The content of a file in COCO's form.

    Attributes:
        content: COCO's object.
        notes: what was written in another form, and how often.
        dropped: annotations that are left out.
    """

    content: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    dropped: list[DroppedLabel] = field(default_factory=list)


def read_coco_content(file: Path, content: Mapping[str, Any], image_folder: Path) -> CocoContent:
    """Read the lists of COCO's object as training reads them, so that all commands agree on what a file says.

    Args:
        file: the file, for messages.
        content: its object, with images, annotations and categories.
        image_folder: the folder of its images, whose sizes count where the file states none.

    Returns:
        COCO's object with all other keys as they were.

    Raises:
        AnnotationError: an entry is no object, or a category's keypoints are no names.
    """
    result = CocoContent(dict(content))
    images, result.notes = repair_images(JsonRows.from_list(file, content['images'], 'image'))
    # Ids of categories are in another form as those of annotations are, which are counted below.
    categories, _ = repair_images(JsonRows.from_list(file, content['categories'], 'category'))
    result.content |= dict(images=list(images.items), categories=list(categories.items))
    _unwrap_keypoint_names(file, result.content['categories'])
    result.notes += _correct_image_names(result.content['images'], image_folder)
    _fill_image_sizes(result, image_folder)
    # Categories of a file may have different numbers of keypoints, so each annotation shows its own.
    annotations = JsonRows.from_list(file, content['annotations'], 'annotation')
    rows, notes, num_repeated = repair_annotations(annotations, None)
    result.notes += notes
    result.content['annotations'] = list(rows.items)
    if num_repeated:
        result.dropped += [DroppedLabel(file, 'annotations', _REPEATED_CAUSE)] * num_repeated
    _fill_category(result)
    return result


def _unwrap_keypoint_names(file: Path, categories: list[dict[str, Any]]) -> None:
    """Let every category that names keypoints have a flat list of names."""
    for category in categories:
        stated = category.get('keypoints')
        if not stated:
            continue
        category['keypoints'] = unwrap_names(stated)
        if not category['keypoints']:
            raise AnnotationError(
                f'{file}: category {category.get("name")!r}: keypoints is a list of names; found '
                f'{describe_json_value(stated)}. {FIX_FILE_HINT}'
            )


def _correct_image_names(images: list[dict[str, Any]], folder: Path) -> list[str]:
    """Name images as they are on the disk, where labels name single ones in another case or with other folders."""
    names = [image['file_name'] for image in images if isinstance(image.get('file_name'), str)]
    missing = [name for name in dict.fromkeys(names) if not (folder / name).is_file()]
    located = {name: locate_image(folder, [name]) for name in missing}
    # What two images could be, or what is another image of the file, is none of them.
    counts = Counter([*located.values(), *(set(names) - set(missing))])
    others = [(name, other) for name, other in located.items() if other is not None and counts[other] == 1]
    new_names = dict(others)
    for image in images:
        if image.get('file_name') in new_names:
            image['file_name'] = new_names[image['file_name']]
    return [describe_other_names(others)] if others else []


def _fill_image_sizes(result: CocoContent, folder: Path) -> None:
    """Take the size of an image from its file where it states none."""
    num_filled = 0
    for image in result.content['images']:
        if image.get('width') is not None or image.get('height') is not None:
            continue
        try:
            image['width'], image['height'] = LazyImage(folder / str(image.get('file_name'))).size
        except (ImageError, OSError):
            continue  # missing and damaged images are among the problems
        num_filled += 1
    if num_filled:
        result.notes.append(f'{num_filled:,} images without width and height: those of the image files')


def _fill_category(result: CocoContent) -> None:
    """Let annotations without a category be of the only one."""
    categories, annotations = result.content['categories'], result.content['annotations']
    unnamed = [annotation for annotation in annotations if 'category_id' not in annotation]
    if len(categories) != 1 or not unnamed:
        return
    for annotation in unnamed:
        annotation['category_id'] = categories[0].get('id')
    result.notes.append(f'{len(unnamed):,} annotations without a category: the file has one, {categories[0]["name"]!r}')
