"""YOLO-pose folders: a data.yaml, images, and a text file of normalized labels per image (Ultralytics' layout).

A line of a label file is `class x y width height` and then x, y (and a flag) of every keypoint, all divided by the size
of the image; the box is given by its center. The label file of `images/a/b.jpg` is `labels/a/b.txt`.
"""

from __future__ import annotations

__all__ = ['YoloFormat']

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat, WriteReport
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.yolo_values import (
    parse_yolo_line,
    read_class_names,
    read_flip_indices,
    read_keypoint_names,
)
from poseplug.data.formats.yolo_writer import write_yolo_folder
from poseplug.files.letter_case import find_in_any_case
from poseplug.files.text_file import read_text_file
from poseplug.files.yaml_file import read_yaml
from poseplug.registry import LABEL_FORMATS

_SPLITS = ('train', 'val', 'test')
_VALIDATION_KEYS = ('validation', 'valid')
_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


@dataclass(frozen=True)
class YoloDescription:
    """The content of a data.yaml.

    Attributes:
        file: the data.yaml.
        root: the folder that its paths start from.
        splits: the images' folders or lists, by split.
        names: the classes, by their number.
        keypoints: names of the K keypoints.
        num_values: numbers per keypoint, 2 or 3.
        flip_indices: (K,) indices of the keypoints after a flip; None if not stated.
    """

    file: Path
    root: Path
    splits: dict[str, list[Path]]
    names: dict[int, str]
    keypoints: list[str]
    num_values: int
    flip_indices: list[int] | None


@LABEL_FORMATS.register_module(name='yolo')
class YoloFormat(LabelFormat):
    """YOLO-pose: a folder with a data.yaml, or the data.yaml itself."""

    name = 'yolo'
    title = 'YOLO-pose folder'

    def matches(self, path: Path) -> bool:
        file = _find_description(path)
        if file is None:
            return False
        content = read_yaml(file)
        return isinstance(content, dict) and 'kpt_shape' in content

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = _find_description(path)
        if file is None:
            raise AnnotationError(f'{path}: no data.yaml, which a YOLO-pose folder has')
        description = read_yolo_description(file)
        collector = LabelCollector(self.title, path, image_folder or description.root)
        category_ids = {
            number: collector.add_category(name, description.keypoints, flip_indices=description.flip_indices)
            for number, name in description.names.items()
        }
        # By image, since lists of different splits may name the same image.
        splits: dict[Path, list[str]] = {}
        for split, sources in description.splits.items():
            for image in _list_images(sources, description.file, description.root):
                splits.setdefault(image, []).append(split)
        for image, names in splits.items():
            _read_label_file(collector, description, category_ids, names[0], image)
        _drop_labels_without_image(collector, splits)
        num_unlabeled = sum(not _find_label_file(image).is_file() for image in splits)
        if num_unlabeled:
            collector.add_note(f'{num_unlabeled:,} images have no label file and count as images without instances')
        num_shared = sum(len(names) > 1 for names in splits.values())
        if num_shared:
            collector.add_note(f'{num_shared:,} images are in several splits; they count as those of the first')
        return collector.finish_labels()

    def write(self, labels: LabeledImages, path: Path) -> WriteReport:
        return write_yolo_folder(labels, path)


def _find_description(path: Path) -> Path | None:
    """Return the data.yaml of a folder, or its only YAML file with kpt_shape, or the YAML file itself."""
    if path.is_file():
        return path if path.suffix in ('.yaml', '.yml') else None
    candidates = [path / 'data.yaml', path / 'data.yml', path / 'dataset.yaml']
    usual = next((file for file in candidates if file.is_file()), None)
    if usual is not None:
        return usual
    # The text is searched first, since a YAML file of another program may not be readable as plain YAML.
    others = [file for file in sorted(path.glob('[!.]*.y*ml')) if b'kpt_shape' in file.read_bytes()]
    if len(others) > 1:
        listed = ', '.join(file.name for file in others)
        raise AnnotationError(f'{path}: several files describe data sets of keypoints ({listed}); name the one to read')
    return others[0] if others else None


def read_yolo_description(file: Path) -> YoloDescription:
    """Read a data.yaml.

    Args:
        file: the data.yaml.

    Raises:
        AnnotationError: a key is missing, or the keys contradict each other.
    """
    content = read_yaml(file)
    if not isinstance(content, dict) or 'kpt_shape' not in content:
        raise AnnotationError(f'{file}: no kpt_shape; a YOLO-pose data.yaml has path, train, val, names and kpt_shape')
    shape = content['kpt_shape']
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(v) is int for v in shape)
    if not is_shape or shape[0] < 1 or shape[1] not in (2, 3):
        raise AnnotationError(f'{file}: kpt_shape is [number of keypoints, 2 or 3]; found {shape!r}')
    # Two values are x and y alone: no flag says whether a keypoint is occluded.
    count, num_values = shape
    stated = Path(str(content.get('path') or '.'))
    # Ultralytics also looks in a folder of its own settings; beside the file is where data sets are shipped. That,
    # too, is what an absolute path of another machine means.
    root = next((folder for folder in (file.parent / stated, stated, file.parent) if folder.is_dir()), file.parent)
    splits = _read_splits(root, content)
    if not any(path.exists() for path in splits.get('test', ())):
        splits.pop('test', None)  # Roboflow names a part for tests also where there is none
    if not splits:
        raise AnnotationError(f'{file}: none of {", ".join(_SPLITS)} names images')
    return YoloDescription(
        file=file,
        root=root,
        splits=splits,
        names=read_class_names(file, content.get('names'), content.get('nc')),
        keypoints=read_keypoint_names(file, content.get('kpt_names'), count),
        num_values=num_values,
        flip_indices=read_flip_indices(file, content.get('flip_idx'), count),
    )


def _read_splits(root: Path, content: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The images' folders or lists by split; exporters call the one for validation `val`, `valid` or `validation`."""
    splits: dict[str, list[Path]] = {}
    for key in ('train', 'val', *_VALIDATION_KEYS, 'test'):
        split = 'val' if key in _VALIDATION_KEYS else key
        if content.get(key) and split not in splits:
            splits[split] = _list_paths(root, content[key])
    return splits


def _list_paths(root: Path, value: Any) -> list[Path]:
    """Return the paths of a split, which is one path or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [_locate_path(root, str(item)) for item in values]


def _locate_path(root: Path, text: str) -> Path:
    """Return a path below the root, without those of its first folders that are not there.

    Roboflow writes ../train/images for train/images beside the file, CVAT puts 'data' before every name, and absolute
    paths of another machine lead to the same folders below this root. A path that is not there at all is returned as
    it is.
    """
    stated = PureWindowsPath(text.strip()).as_posix() if '\\' in text else text.strip()
    # The longest tail that exists wins: it loses the least of what the file says.
    parts = [part for part in Path(stated).parts if part != '.']
    tails = (root.joinpath(*parts[i:]) for i in range(1, len(parts)) if '..' not in parts[i:])
    candidates = [root / stated, *tails]
    existing = next((path for path in candidates if path.exists()), None)
    return existing or next(filter(None, map(find_in_any_case, candidates)), root / stated)


def _list_images(sources: list[Path], file: Path, root: Path) -> Iterator[Path]:
    """List the images of a split: of folders, or named by text files."""
    for source in sources:
        if source.is_dir():
            # Names with a dot in front are macOS' notes on the files of these names.
            images = (path for path in source.rglob('[!.]*') if path.suffix.lower() in _IMAGE_SUFFIXES)
            yield from sorted(images)
        elif source.suffix == '.txt' and source.is_file():
            names = filter(None, map(str.strip, read_text_file(source).splitlines()))
            yield from (_locate_listed_image(source, root, name) for name in names)
        else:
            raise AnnotationError(f'{file}: {source} is neither a folder of images nor a list of them')


def _locate_listed_image(source: Path, root: Path, name: str) -> Path:
    """Return the image of a line of a list: below the folder of the list, else below the root of the data set."""
    beside = source.parent / name
    return beside if beside.is_file() else _locate_path(root, name)


def _find_label_file(image: Path) -> Path:
    """Return the label file of an image: the last folder 'images' of its path becomes 'labels'."""
    parts = list(image.parts)
    # The last one, as Ultralytics does it: folders above the data set may be called 'images', too.
    positions = [i for i, part in enumerate(parts[:-1]) if part == 'images']
    if positions:
        parts[positions[-1]] = 'labels'
    file = Path(*parts).with_suffix('.txt')
    return find_in_any_case(file) or file


def _drop_labels_without_image(collector: LabelCollector, images: Iterable[Path]) -> None:
    """Count the lines of label files that belong to no image."""
    label_files = {_find_label_file(image) for image in images}
    # Beside the images, other text files may lie; below 'labels' all of them are labels.
    folders = {file.parent for file in label_files if 'labels' in file.parent.parts and file.parent.is_dir()}
    for file in sorted({file for folder in folders for file in folder.glob('[!.]*.txt')} - label_files):
        if file.name != 'classes.txt':  # the names of the classes, which labeling tools put there
            for number, line in enumerate(read_text_file(file).splitlines(), 1):
                if line.strip():
                    collector.drop_label(file, f'line {number}', 'whose image is not in its folder')


def _read_label_file(
    collector: LabelCollector, description: YoloDescription, category_ids: Mapping[int, int], split: str, image: Path
) -> None:
    """Read the labels of one image; an image without a label file shows no instances."""
    name = os.path.relpath(image, collector.labels.image_folder)
    file = _find_label_file(image)
    lines = read_text_file(file).splitlines() if file.is_file() else []
    # Images without labels are added as well: they show background alone.
    positions = [f'line {number}' for number, line in enumerate(lines, 1) if line.strip()] or ['line 1']
    image_id = collector.add_image(name, file if lines else image, positions)
    if image_id is None:
        return
    record = collector.labels.content['images'][image_id - 1]
    record['split'] = split
    size = (record['width'], record['height'])
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        # A bad line is dropped and counted; the rest of the file is used.
        parsed = parse_yolo_line(line, len(description.keypoints), description.num_values, size)
        if isinstance(parsed, str):
            collector.drop_label(file, f'line {number}', parsed)
        elif parsed[0] not in category_ids:
            collector.drop_label(file, f'line {number}', f'of class {parsed[0]}, which data.yaml does not name')
        else:
            class_number, box, keypoints = parsed
            collector.add_instance(image_id, category_ids[class_number], keypoints, box)
