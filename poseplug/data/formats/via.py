"""Projects of VIA 2, the VGG image annotator: regions of each image, with attributes that the labeler chose."""

from __future__ import annotations

__all__ = ['ViaFormat']

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.shape_groups import LabeledShape, ShapeGrouper
from poseplug.files.json_file import FIX_FILE_HINT, read_json
from poseplug.registry import LABEL_FORMATS

_PROJECT_KEY = '_via_img_metadata'
_IMAGE_KEYS = {'filename', 'regions', 'file_attributes'}
# VIA leaves the names of attributes to the labeler; these are usual for what belongs to one instance.
_GROUP_ATTRIBUTES = ('group', 'group_id', 'instance', 'instance_id', 'id', 'individual', 'person', 'animal', 'track')
_OCCLUSION_ATTRIBUTES = ('occluded', 'hidden', 'invisible')
_TRUE_WORDS = ('1', 'true', 'yes')


@LABEL_FORMATS.register_module(name='via')
class ViaFormat(LabelFormat):
    """VIA 2: a project, an export of its annotations as JSON, or a folder that contains one.

    A region that is a point is a keypoint; its first attribute is its name. An attribute called group, instance, id or
    the like says what belongs to one instance. Without it, a point belongs to the only box or polygon that contains it,
    or to the only instance of its image.
    """

    name = 'via'
    title = 'VIA project'

    def matches(self, path: Path) -> bool:
        return _find_file(path) is not None

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = _find_file(path)
        if file is None:
            raise AnnotationError(f'{path}: no project of VIA 2, a JSON object of images with filename and regions')
        content = read_json(file)
        images = list(content.get(_PROJECT_KEY, content).values())
        for number, image in enumerate(images, 1):
            if not isinstance(image, dict) or not {'filename', 'regions'} <= set(image):
                raise AnnotationError(f'{file}: image {number} has no filename and regions; {FIX_FILE_HINT}')
        collector = LabelCollector(self.title, path, image_folder or _find_image_folder(file, images))
        shapes = [_read_regions(collector, file, image) for image in images]
        names = list(dict.fromkeys(s.label for each in shapes for s in each if s.kind == 'point'))
        if not names:
            raise AnnotationError(f'{file}: no region is a point with an attribute; keypoints are points with a name')
        grouper = ShapeGrouper(collector, names)
        for image, each in zip(images, shapes, strict=True):
            positions = [shape.position for shape in each] or [f'{image["filename"]}, no region']
            image_id = collector.add_image(str(image['filename']), file, positions)
            if image_id is not None:
                grouper.add_shapes(file, image_id, each)
        return collector.finish_labels()


def _find_file(path: Path) -> Path | None:
    """The JSON file itself, or the first of a folder, that is of VIA 2."""
    files = sorted(path.glob('[!.]*.json')) if path.is_dir() else [path]
    return next((file for file in files if file.suffix == '.json' and _is_via(file)), None)


def _is_via(file: Path) -> bool:
    structure = read_json_structure(file)
    if structure.is_list or not structure.types:
        return False
    if structure.has_keys(_PROJECT_KEY):
        return True
    # An export has an entry for each image, whose key is the name and the size of its file.
    is_of_objects = all(kind is dict for kind in structure.types.values())
    return is_of_objects and _IMAGE_KEYS.issubset(next(iter(read_json(file).values())))


def _find_image_folder(file: Path, images: list[Mapping[str, Any]]) -> Path:
    """The folder beside the file, or 'images' in it, that has an image; that of the file by default."""
    names = [str(image.get('filename')) for image in images]
    folders = (file.parent, file.parent / 'images')
    return next((folder for folder in folders for name in names if (folder / name).is_file()), file.parent)


def _read_regions(collector: LabelCollector, file: Path, image: Mapping[str, Any]) -> list[LabeledShape]:
    """The regions of an image; those that cannot be used are counted as dropped."""
    shapes = []
    regions = image['regions']
    for number, region in enumerate(regions.values() if isinstance(regions, dict) else regions, 1):
        position = f'{image["filename"]}, region {number}'
        try:
            shape, attributes = region['shape_attributes'], dict(region.get('region_attributes') or {})
            points = _read_points(shape)
        except (KeyError, TypeError, ValueError):
            collector.drop_label(file, position, 'without a point, a rectangle or a polygon')
            continue
        # What says more about the region is taken out, so that the first attribute that is left is its name.
        group = next((attributes.pop(key) for key in _GROUP_ATTRIBUTES if attributes.get(key)), None)
        words = [str(attributes.pop(key)).lower() for key in _OCCLUSION_ATTRIBUTES if key in attributes]
        label = next((str(value).strip() for value in attributes.values() if isinstance(value, str) and value), '')
        if not label:
            collector.drop_label(file, position, 'without an attribute that names it')
            continue
        kind = 'point' if shape['name'] == 'point' else 'box'
        is_occluded = any(word in _TRUE_WORDS for word in words)
        shapes.append(LabeledShape(position, label, kind, group, points, is_occluded))
    return shapes


def _read_points(shape: Mapping[str, Any]) -> np.ndarray:
    """The point (1, 2), the corners of a rectangle (2, 2), or those of a polygon (N, 2), in px."""
    if shape['name'] == 'point':
        points = [[shape['cx'], shape['cy']]]
    elif shape['name'] == 'rect':
        x, y = shape['x'], shape['y']
        points = [[x, y], [x + shape['width'], y + shape['height']]]
    else:
        points = [[x, y] for x, y in zip(shape['all_points_x'], shape['all_points_y'], strict=True)]
    array = np.array(points, dtype=float)
    if not len(array) or not np.isfinite(array).all():
        raise ValueError('positions are finite numbers')
    return array
