"""V7's Darwin JSON, versions 2.0 and 1.0: a file per image with skeletons, keypoints and boxes."""

from __future__ import annotations

__all__ = ['DarwinFormat']

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.image_names import locate_image
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.labeled_objects import LabeledObject, ObjectGrouper
from poseplug.files.json_file import read_json
from poseplug.registry import LABEL_FORMATS

_MAX_FILES_TRIED = 50  # of a folder, to tell whether it is Darwin's; other JSON files may lie among them
_MAX_PARENTS = 3  # a pulled data set has its labels in releases/NAME/annotations, and its images in images


@LABEL_FORMATS.register_module(name='darwin')
class DarwinFormat(LabelFormat):
    """V7 Darwin JSON: a folder with a file per image, or one such file.

    A skeleton is an instance. A box belongs to the skeleton with its instance id, or to the only skeleton of its class
    that lies in it. A keypoint of its own is named by its class, and belongs to what has its instance id, to the only
    box that contains it, or to the only instance of its image.
    """

    name = 'darwin'
    title = 'V7 Darwin JSON'

    def matches(self, path: Path) -> bool:
        return any(_is_darwin(file) for file in _list_files(path)[:_MAX_FILES_TRIED])

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        files = [(file, read_json(file)) for file in _list_files(path) if _is_darwin(file)]
        if not files:
            raise AnnotationError(f'{path}: no file of Darwin JSON, an object with item and annotations')
        collector = LabelCollector(self.title, path, image_folder or _find_image_folder(files))
        grouper = ObjectGrouper(collector)
        for file, content in files:
            _add_file(collector, grouper, file, content)
        return grouper.finish_labels()


def _list_files(path: Path) -> list[Path]:
    """The JSON files of a folder and the folders below it, or the file itself."""
    if path.is_dir():
        return sorted(path.rglob('[!.]*.json'))
    return [path] if path.suffix == '.json' else []


def _is_darwin(file: Path) -> bool:
    structure = read_json_structure(file)
    if structure.is_list or structure.types.get('annotations') is not list:
        return False
    return structure.types.get('item') is dict or (
        structure.types.get('image') is dict and structure.has_keys('dataset')
    )


def _list_image_names(content: Mapping[str, Any]) -> list[str]:
    """The names that the image of a file may have: with its folder in the data set, and without it."""
    item = content.get('item') or content['image']
    folder = str(item.get('path') or '').strip('/')
    slots = [slot for slot in item.get('slots') or [] if isinstance(slot, dict)]
    sources = [source for slot in slots for source in slot.get('source_files') or [] if isinstance(source, dict)]
    stated = [item.get('name'), item.get('filename'), item.get('original_filename')]
    stated += [source.get('file_name') for source in sources]
    names = [str(name) for name in stated if name]
    names = [f'{folder}/{name}' for name in names if folder] + names
    return [*names, *(f'images/{name}' for name in names)]


def _find_image_folder(files: Sequence[tuple[Path, Mapping[str, Any]]]) -> Path:
    """The nearest folder above the labels that has the image of one of them; that of the first file by default."""
    labels = files[0][0].parent
    names = [name for _, content in files[:_MAX_FILES_TRIED] for name in _list_image_names(content)]
    folders = [labels, *list(labels.parents)[:_MAX_PARENTS]]
    return next((folder for folder in folders if locate_image(folder, names)), labels)


def _add_file(collector: LabelCollector, grouper: ObjectGrouper, file: Path, content: Mapping[str, Any]) -> None:
    """Add the image of a file and its instances."""
    objects = list(_read_objects(collector, file, content['annotations']))
    names = _list_image_names(content)
    located = collector.find_image(names[0], names) if names else None
    name = located or (names[0] if names else 'item without a name')
    positions = [item.position for item in objects] or ['item']
    image_id = collector.add_image(name, file, positions, is_located=located is not None)
    if image_id is not None:
        grouper.add_objects(file, image_id, objects)


def _read_objects(collector: LabelCollector, file: Path, annotations: list[Any]) -> Iterator[LabeledObject]:
    """The skeletons, boxes and keypoints of a file; other annotations are counted as dropped."""
    for number, annotation in enumerate(annotations, 1):
        position = f'annotation {number}'
        if not isinstance(annotation, dict) or not annotation.get('name'):
            collector.drop_label(file, position, 'without the name of a class')
            continue
        # A tag or a comment describes the image and is no label of an instance.
        if 'tag' in annotation:
            continue
        if 'frames' in annotation:
            collector.drop_label(file, position, 'of a video; export its frames as images')
            continue
        try:
            item = _parse_annotation(position, annotation)
        except (KeyError, TypeError, ValueError):
            collector.drop_label(file, position, 'without finite numbers where its x and y are expected')
            continue
        if item is None:
            collector.drop_label(file, position, 'which is neither a skeleton, a keypoint nor a box')
        else:
            yield item


def _parse_annotation(position: str, annotation: Mapping[str, Any]) -> LabeledObject | None:
    """The object of an annotation; None if it is of another kind."""
    name, group = str(annotation['name']), (annotation.get('instance_id') or {}).get('value')
    box = annotation.get('bounding_box')
    xywh = None if box is None else _check_numbers([box['x'], box['y'], box['w'], box['h']])
    if 'skeleton' in annotation:
        nodes = annotation['skeleton']['nodes']
        keypoints = {str(n['name']): _parse_node(n) for n in nodes}
        return LabeledObject(position, name, keypoints, xywh, group)
    if 'keypoint' in annotation:
        return LabeledObject(position, '', {name: _parse_node(annotation['keypoint'])}, None, group)
    # Polygons and masks come with the box around them.
    return None if xywh is None else LabeledObject(position, name, {}, xywh, group)


def _parse_node(node: Mapping[str, Any]) -> tuple[float, float, int]:
    x, y = _check_numbers([node['x'], node['y']])
    return x, y, 1 if node.get('occluded') else 2


def _check_numbers(values: list[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    if not np.isfinite(numbers).all():
        raise ValueError('positions are finite numbers')
    return numbers
