"""LabelMe folders: a JSON file per image with named points and boxes; `group_id` says what belongs to one instance."""

from __future__ import annotations

__all__ = ['LabelMeFormat']

import os
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.shape_groups import LabeledShape, ShapeGrouper
from poseplug.files.atomic import write_atomically
from poseplug.files.json_file import describe_json_value, read_json
from poseplug.files.letter_case import find_in_any_case
from poseplug.registry import LABEL_FORMATS

_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_MAX_FILES_TRIED = 50  # of a folder, to tell whether it is LabelMe's; other JSON files may lie among them


@LABEL_FORMATS.register_module(name='labelme')
class LabelMeFormat(LabelFormat):
    """LabelMe: a folder of JSON files, or one of them.

    Points are keypoints, named by their label. A rectangle or polygon gives the box and the category of its instance.
    Shapes of one `group_id` are one instance. Without a group, a point belongs to the only box that contains it, or to
    the only instance of its image.
    """

    name = 'labelme'
    title = 'LabelMe folder'

    def matches(self, path: Path) -> bool:
        return any(_is_labelme(file) for file in _list_files(path)[:_MAX_FILES_TRIED])

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        files = [(file, read_json(file)) for file in _list_files(path) if _is_labelme(file)]
        if not files:
            raise AnnotationError(f'{path}: no LabelMe file, a JSON object with shapes and imagePath')
        collector = LabelCollector(self.title, path, image_folder or _get_folder(path))
        shapes = {file: _read_shapes(collector, file, content) for file, content in files}
        names = list(dict.fromkeys(s.label for each in shapes.values() for s in each if s.kind == 'point'))
        if not names:
            raise AnnotationError(f'{path}: no shape is a point; keypoints are points with a name as their label')
        reader = _LabelMeReader(collector, names)
        for file, content in files:
            reader.add_file(file, content, shapes[file])
        return collector.finish_labels()

    def extract_images(self, path: Path, folder: Path) -> int:
        files = [(file, read_json(file)) for file in _list_files(path) if _is_labelme(file)]
        images = [(file, content, _locate_image(file, content)) for file, content in files]
        if not any(image is None and content.get('imageData') for _, content, image in images):
            return 0
        count = 0
        for file, content, image in images:
            pixels = _decode_image(file, content) if image is None else image.read_bytes()
            if pixels:
                name = file.relative_to(_get_folder(path)).with_name(_get_image_name(file, content))
                write_atomically(folder / name, pixels)
                count += 1
        return count


def _get_folder(path: Path) -> Path:
    """The folder of a file, or the folder itself."""
    return path if path.is_dir() else path.parent


def _get_image_name(file: Path, content: dict[str, Any]) -> str:
    """The name of the image without its folders; imagePath may be a Windows path, or missing."""
    return PureWindowsPath(str(content['imagePath'] or file.stem)).name


def _locate_image(file: Path, content: dict[str, Any], collector: LabelCollector | None = None) -> Path | None:
    """The image of a file: in the folder of the images, beside the file, or where imagePath leads; None if missing."""
    name = _get_image_name(file, content)
    stated = PureWindowsPath(str(content['imagePath'] or name)).as_posix()
    # imagePath leads out of the folder when only the labels were copied, so the image beside the file counts first.
    candidates = [file.parent / name, file.parent / stated]
    if collector is not None:
        folder, labels_folder = collector.labels.image_folder, _get_folder(collector.labels.path)
        # Images in the same subfolder as their labels, or all in one folder.
        candidates = [folder / file.parent.relative_to(labels_folder) / name, folder / name, *candidates]
    # Images that were converted have another suffix, but LabelMe names a label file after its image.
    others = [candidate.with_name(file.stem + suffix) for candidate in candidates for suffix in _IMAGE_SUFFIXES]
    located = (find_in_any_case(candidate) for candidate in (*candidates, *others))
    return next((path for path in located if path is not None and path.is_file()), None)


def _decode_image(file: Path, content: dict[str, Any]) -> bytes:
    """The image that a file contains (imageData); empty without one."""
    try:
        # Without `validate`, characters that are no base64 are skipped, and a damaged image is written.
        return b64decode(str(content.get('imageData') or ''), validate=True)
    except ValueError as error:
        raise AnnotationError(f'{file}: imageData is no base64 text ({error}); restore the image instead') from error


def _list_files(path: Path) -> list[Path]:
    """The JSON files of a folder and the folders below it, or the file itself."""
    if path.is_dir():
        return sorted(path.rglob('[!.]*.json'))
    return [path] if path.suffix == '.json' else []


def _is_labelme(file: Path) -> bool:
    structure = read_json_structure(file)
    return not structure.is_list and structure.has_keys('shapes', 'imagePath')


def _read_shapes(collector: LabelCollector, file: Path, content: dict[str, Any]) -> list[LabeledShape]:
    """Read the shapes of a file; those that cannot be used are counted as dropped."""
    if not isinstance(content['shapes'], list):
        raise AnnotationError(f'{file}: shapes is a list; found {describe_json_value(content["shapes"])}')
    return [
        shape
        for i, item in enumerate(content['shapes'], 1)
        if (shape := _read_shape(collector, file, f'shape {i}', item)) is not None
    ]


def _read_shape(collector: LabelCollector, file: Path, position: str, item: Any) -> LabeledShape | None:
    """Read one shape, or count it as dropped."""
    if not isinstance(item, dict) or not isinstance(item.get('label'), str) or not item['label'].strip():
        collector.drop_label(file, position, 'without a label')
        return None
    # The first versions of LabelMe had polygons alone and wrote no type.
    kind = item.get('shape_type') or 'polygon'
    if kind not in ('point', 'rectangle', 'polygon'):
        collector.drop_label(file, position, f'of type {kind!r}, which is neither a point nor a box')
        return None
    try:
        points = np.array(item.get('points'), dtype=float).reshape(-1, 2)
    except (TypeError, ValueError):
        collector.drop_label(file, position, 'without points of two numbers')
        return None
    if not len(points) or not np.isfinite(points).all():
        collector.drop_label(file, position, 'without points of two numbers')
        return None
    group = item.get('group_id')
    if isinstance(group, str) and not group.strip():
        group = None
    if isinstance(group, list | dict):
        collector.drop_label(file, position, 'whose group_id is neither a number nor a text')
        return None
    return LabeledShape(position, item['label'].strip(), kind, group, points, _is_occluded(item))


def _is_occluded(item: dict[str, Any]) -> bool:
    """Whether a flag of a shape, or its description, says that the keypoint is occluded."""
    # LabelMe has no field for it: people use a flag or the description of the point.
    flags = item.get('flags')
    flagged = isinstance(flags, dict) and any(flags.get(name) for name in ('occluded', 'hidden', 'invisible'))
    return flagged or str(item.get('description') or '').strip().lower() in ('occluded', 'hidden')


class _LabelMeReader:
    """Builds instances from the shapes of each file."""

    def __init__(self, collector: LabelCollector, keypoint_names: Sequence[str]):
        self.collector, self.grouper = collector, ShapeGrouper(collector, keypoint_names)
        self._files_by_image: dict[Path, Path] = {}

    def add_file(self, file: Path, content: dict[str, Any], shapes: list[LabeledShape]) -> None:
        """Add the image and the instances of a file."""
        image = _locate_image(file, content, self.collector)
        if image is None:
            self._drop_shapes(file, content, shapes)
            return
        other = self._files_by_image.setdefault(image.resolve(), file)
        if other != file:
            raise AnnotationError(
                f'{file}: imagePath names {image.name}, as {other.name} does; leave one of the two files'
            )
        name = os.path.relpath(image, self.collector.labels.image_folder)
        image_id = self.collector.add_image(name, file, [shape.position for shape in shapes] or ['imagePath'])
        if image_id is None:
            return
        # The size on which the shapes were drawn; images may have been resized or rotated since.
        size = {'width': content.get('imageWidth'), 'height': content.get('imageHeight')}
        if all(type(value) is int and value > 0 for value in size.values()):
            self.collector.labels.content['images'][image_id - 1].update(size)
        self.grouper.add_shapes(file, image_id, shapes)

    def _drop_shapes(self, file: Path, content: dict[str, Any], shapes: list[LabeledShape]) -> None:
        """Count the shapes of a file without an image; a file without shapes counts once, for its image."""
        cause = 'whose image is not in its folder'
        if content.get('imageData'):
            cause = 'whose image is inside the label file alone (poseplug dataset convert and init write it out)'
        else:
            self.collector.note_missing_image(_get_image_name(file, content))
        for position in [shape.position for shape in shapes] or ['imagePath']:
            self.collector.drop_label(file, position, cause)
