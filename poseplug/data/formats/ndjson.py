"""Ultralytics NDJSON: a data set of keypoints in one file, its description in the first line, then a line per image."""

from __future__ import annotations

__all__ = ['NdjsonFormat']

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.yolo_values import (
    BOX_WIDTH,
    parse_yolo_values,
    read_class_names,
    read_flip_indices,
    read_keypoint_names,
)
from poseplug.files.json_file import FIX_FILE_HINT, parse_json
from poseplug.files.text_file import read_text_file
from poseplug.registry import LABEL_FORMATS

_SUFFIXES = ('.ndjson', '.jsonl')
_TASK = 'pose'
_NUM_INSTANCES_TRIED = 50  # to tell how many numbers a keypoint has


@LABEL_FORMATS.register_module(name='ndjson')
class NdjsonFormat(LabelFormat):
    """Ultralytics NDJSON of the task pose: the file, or a folder with one.

    Its images are addresses; those that were fetched are looked for by their name beside the file, in `images` and in
    the folder of their split. Labels without an image are counted as dropped.
    """

    name = 'ndjson'
    title = 'Ultralytics NDJSON'

    def matches(self, path: Path) -> bool:
        return _find_file(path) is not None

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = _find_file(path)
        if file is None:
            raise AnnotationError(f'{path}: no NDJSON file whose first line is a data set of the task pose')
        description, *images = _read_lines(file)
        names = {int(key): name for key, name in (description.get('class_names') or {}).items()}
        num_keypoints, num_values = _read_shape(file, description, images)
        keypoints = read_keypoint_names(file, description.get('kpt_names'), num_keypoints)
        flips = read_flip_indices(file, description.get('flip_idx'), num_keypoints)
        collector = LabelCollector(self.title, path, image_folder or file.parent)
        category_ids = {
            number: collector.add_category(name, keypoints, flip_indices=flips)
            for number, name in read_class_names(file, names).items()
        }
        for number, image in enumerate(images, 2):
            _add_image(collector, file, f'line {number}', image, category_ids, (num_keypoints, num_values))
        return collector.finish_labels()


def _find_file(path: Path) -> Path | None:
    """The file itself, or the only file of a folder, if it is a data set of keypoints."""
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES) if path.is_dir() else [path]
    matching = [file for file in files if file.suffix in _SUFFIXES and _is_pose_data(file)]
    return matching[0] if len(matching) == 1 else None


def _is_pose_data(file: Path) -> bool:
    """Whether the first line of a file describes a data set of keypoints."""
    try:
        with open(file, encoding='utf-8-sig') as opened:
            first = parse_json(opened.readline())
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and first.get('task') == _TASK and 'class_names' in first


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The object of each line."""
    for number, line in enumerate(read_text_file(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            content = parse_json(line)
        except ValueError as error:
            raise AnnotationError(f'{file}: line {number} is no JSON ({error}); {FIX_FILE_HINT}') from error
        if not isinstance(content, dict):
            raise AnnotationError(f'{file}: line {number} is no JSON object; {FIX_FILE_HINT}')
        yield content


def _list_instances(image: Mapping[str, Any]) -> list[Any]:
    """The instances of an image: class, box and keypoints as in a line of a YOLO label file."""
    annotations = image.get('annotations')
    instances = annotations.get(_TASK) if isinstance(annotations, dict) else None
    return instances if isinstance(instances, list) else []


def _read_shape(file: Path, description: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """The number of keypoints, and of numbers per keypoint: as stated, or as the instances have them."""
    shape = description.get('kpt_shape')
    if isinstance(shape, list) and len(shape) == 2 and shape[1] in (2, 3) and type(shape[0]) is int and shape[0] > 0:
        return shape[0], shape[1]
    # Files of Ultralytics' platform may lack it.
    values = [instance[BOX_WIDTH:] for image in images for instance in _list_instances(image)][:_NUM_INSTANCES_TRIED]
    lengths = {len(each) for each in values}
    length = lengths.pop() if len(lengths) == 1 else 0
    if length and length % 3 == 0 and all(flag in (0, 1, 2) for each in values for flag in each[2::3]):
        return length // 3, 3
    if length and length % 2 == 0 and length % 3:
        return length // 2, 2
    raise AnnotationError(
        f'{file}: line 1 has no kpt_shape; add kpt_shape: [number of keypoints, 2 or 3] to it; found {shape!r}'
    )


def _add_image(
    collector: LabelCollector,
    file: Path,
    position: str,
    image: Mapping[str, Any],
    category_ids: Mapping[int, int],
    shape: tuple[int, int],
) -> None:
    """Add the image of a line and its instances."""
    instances, split = _list_instances(image), str(image.get('split') or '')
    base = str(image.get('file') or '')
    names = [f'{folder}{base}' for folder in ('', 'images/', f'images/{split}/', f'{split}/')] if base else []
    located = collector.find_image(base, names) if names else None
    name = located or base or 'file, which the line does not name'
    positions = [position] * max(len(instances), 1)
    image_id = collector.add_image(name, file, positions, is_located=located is not None)
    if image_id is None:
        return
    record = collector.labels.content['images'][image_id - 1]
    record['split'] = split
    for number, instance in enumerate(instances, 1):
        values = instance if isinstance(instance, list) else []
        parsed = parse_yolo_values(values, *shape, (record['width'], record['height']))
        if isinstance(parsed, str):
            collector.drop_label(file, f'{position}, instance {number}', parsed)
        elif parsed[0] not in category_ids:
            collector.drop_label(file, f'{position}, instance {number}', f'of class {parsed[0]}, which has no name')
        else:
            collector.add_instance(image_id, category_ids[parsed[0]], parsed[2], parsed[1])
