"""YOLO-pose folders: a data.yaml, images, and a text file of normalized labels per image (Ultralytics' layout).

A line of a label file is `class x y width height` and then x, y (and a flag) of every keypoint, all divided by the size
of the image; the box is given by its center. The label file of `images/a/b.jpg` is `labels/a/b.txt`.
"""

from __future__ import annotations

__all__ = ['YoloFormat']

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.config.data_files import parse_plain_yaml
from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabelCollector, LabeledImages, LabelFormat, WriteReport, list_flip_indices
from poseplug.data.formats.coco import copy_image, index_annotations
from poseplug.files.atomic import write_atomically
from poseplug.registry import LABEL_FORMATS

_SPLITS = ('train', 'val', 'test')
_IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
_MAX_NORMALIZED = 1.01  # rounding may lead a little beyond 1; a larger number is in px
_BOX_WIDTH = 5  # numbers of a line before the keypoints: class, x, y, width, height


@dataclass(frozen=True)
class YoloDescription:
    """What a data.yaml says.

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
        content = _read_yaml(file)
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
        splits: dict[Path, list[str]] = {}
        for split, sources in description.splits.items():
            for image in _list_images(sources, description.file):
                splits.setdefault(image, []).append(split)
        for image, names in splits.items():
            _read_label_file(collector, description, category_ids, names[0], image)
        num_shared = sum(len(names) > 1 for names in splits.values())
        if num_shared:
            collector.add_note(f'{num_shared:,} images are in several splits; they count as those of the first')
        return collector.finish_labels()

    def write(self, labels: LabeledImages, path: Path) -> WriteReport:
        return _YoloWriter(labels, path).write()


def _find_description(path: Path) -> Path | None:
    """Return the data.yaml of a folder, or the YAML file itself."""
    if path.is_file():
        return path if path.suffix in ('.yaml', '.yml') else None
    candidates = [path / 'data.yaml', path / 'data.yml', path / 'dataset.yaml']
    return next((file for file in candidates if file.is_file()), None)


def _read_yaml(file: Path) -> Any:
    """Read a YAML file without tags and references."""
    try:
        return parse_plain_yaml(file.read_text(encoding='utf-8-sig'))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise AnnotationError(f'{file} cannot be read: {error}') from error


def read_yolo_description(file: Path) -> YoloDescription:
    """Read a data.yaml.

    Args:
        file: the data.yaml.

    Raises:
        AnnotationError: a key is missing, or the keys contradict each other.
    """
    content = _read_yaml(file)
    if not isinstance(content, dict) or 'kpt_shape' not in content:
        raise AnnotationError(f'{file}: no kpt_shape; a YOLO-pose data.yaml has path, train, val, names and kpt_shape')
    shape = content['kpt_shape']
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(v) is int for v in shape)
    if not is_shape or shape[0] < 1 or shape[1] not in (2, 3):
        raise AnnotationError(f'{file}: kpt_shape is [number of keypoints, 2 or 3]; found {shape!r}')
    count, num_values = shape
    root = Path(str(content['path'])) if content.get('path') else file.parent
    if not root.is_absolute():
        # Ultralytics also looks in a folder of its own settings; beside the file is where data sets are shipped.
        root = next((folder for folder in (file.parent / root, root, file.parent) if folder.is_dir()), file.parent)
    splits = {split: _list_paths(root, content[split]) for split in _SPLITS if content.get(split)}
    if not splits:
        raise AnnotationError(f'{file}: none of {", ".join(_SPLITS)} names images')
    return YoloDescription(
        file=file,
        root=root,
        splits=splits,
        names=_read_class_names(file, content.get('names')),
        keypoints=_read_keypoint_names(file, content.get('kpt_names'), count),
        num_values=num_values,
        flip_indices=_read_flip_indices(file, content.get('flip_idx'), count),
    )


def _list_paths(root: Path, value: Any) -> list[Path]:
    """Return the paths of a split, which is one path or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [root / str(item) for item in values]


def _read_class_names(file: Path, names: Any) -> dict[int, str]:
    """Read the names of the classes, a list or a mapping from numbers."""
    if isinstance(names, list):
        return {i: str(name) for i, name in enumerate(names)}
    if isinstance(names, dict) and names and all(type(key) is int for key in names):
        return {key: str(name) for key, name in names.items()}
    raise AnnotationError(f'{file}: names is a list of class names, or a mapping from numbers; found {names!r}')


def _read_keypoint_names(file: Path, names: Any, count: int) -> list[str]:
    """Read the names of the keypoints; without any they are called by their number."""
    if names is None:
        return [f'keypoint_{i}' for i in range(count)]
    if isinstance(names, dict):  # by class; the keypoints are those of all classes
        lists = list(names.values())
        if any(each != lists[0] for each in lists):
            raise AnnotationError(f'{file}: kpt_names are the same for every class; found {names!r}')
        names = lists[0] if lists else None
    if not isinstance(names, list) or len(names) != count or len(set(map(str, names))) != count:
        raise AnnotationError(f'{file}: kpt_names are {count} distinct names, as kpt_shape says; found {names!r}')
    return [str(name) for name in names]


def _read_flip_indices(file: Path, indices: Any, count: int) -> list[int] | None:
    """Read flip_idx, which must exchange keypoints in pairs."""
    if indices is None:
        return None
    is_order = isinstance(indices, list) and sorted(map(str, indices)) == sorted(map(str, range(count)))
    if not is_order or any(indices[indices[i]] != i for i in range(count)):
        raise AnnotationError(
            f'{file}: flip_idx names for each of the {count} keypoints the one that it becomes in a flipped image, in '
            f'pairs; found {indices!r}'
        )
    return list(indices)


def _list_images(sources: list[Path], file: Path) -> Iterator[Path]:
    """List the images of a split: of folders, or named by text files."""
    for source in sources:
        if source.is_dir():
            yield from sorted(path for path in source.rglob('*') if path.suffix.lower() in _IMAGE_SUFFIXES)
        elif source.suffix == '.txt' and source.is_file():
            names = filter(None, map(str.strip, source.read_text(encoding='utf-8').splitlines()))
            yield from (source.parent / name for name in names)
        else:
            raise AnnotationError(f'{file}: {source} is neither a folder of images nor a list of them')


def _find_label_file(image: Path) -> Path:
    """Return the label file of an image: the last folder 'images' of its path becomes 'labels'."""
    parts = list(image.parts)
    positions = [i for i, part in enumerate(parts[:-1]) if part == 'images']
    if positions:
        parts[positions[-1]] = 'labels'
    return Path(*parts).with_suffix('.txt')


def _read_label_file(
    collector: LabelCollector, description: YoloDescription, category_ids: Mapping[int, int], split: str, image: Path
) -> None:
    """Read the labels of one image; an image without a label file shows no instances."""
    name = os.path.relpath(image, collector.labels.image_folder)
    file = _find_label_file(image)
    lines = file.read_text(encoding='utf-8').splitlines() if file.is_file() else []
    image_id = collector.add_image(name, file if lines else image, 'line 1')
    if image_id is None:
        for number in range(2, len(lines) + 1):
            collector.drop_label(file, f'line {number}', 'whose image cannot be read')
        return
    record = collector.labels.content['images'][image_id - 1]
    record['split'] = split
    size = (record['width'], record['height'])
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parsed = parse_yolo_line(line, len(description.keypoints), description.num_values, size)
        if isinstance(parsed, str):
            collector.drop_label(file, f'line {number}', parsed)
        elif parsed[0] not in category_ids:
            collector.drop_label(file, f'line {number}', f'of class {parsed[0]}, which data.yaml does not name')
        else:
            class_number, box, keypoints = parsed
            collector.add_instance(image_id, category_ids[class_number], keypoints, box)


def parse_yolo_line(
    line: str, num_keypoints: int, num_values: int, size: tuple[int, int]
) -> tuple[int, list[float], np.ndarray] | str:
    """Parse a line of a label file.

    Args:
        line: the text.
        num_keypoints: of an instance.
        num_values: numbers per keypoint: x and y, or x, y and a flag.
        size: (width, height) of the image in px.

    Returns:
        The class, the box as x, y, width, height in px, and the keypoints (K, 3) in px with flags; or what is wrong.

    Example:
        >>> parse_yolo_line('0 0.5 0.5 0.2 0.4 0.25 0.5 2', 1, 3, (100, 50))[1]
        [40.0, 15.0, 20.0, 20.0]
        >>> parse_yolo_line('0 0.5 0.5', 1, 3, (100, 50))
        'with 3 numbers; 8 are expected'
    """
    expected = _BOX_WIDTH + num_keypoints * num_values
    words = line.split()
    if len(words) != expected:
        return f'with {len(words)} numbers; {expected} are expected'
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        return 'with a word that is no number'
    if not np.isfinite(values).all():
        return 'with a number that is not finite'
    if values[0] != int(values[0]) or values[0] < 0:
        return 'whose class is no whole number'
    table = values[_BOX_WIDTH:].reshape(num_keypoints, num_values)
    flags = table[:, 2] if num_values == 3 else np.where((table != 0).any(axis=1), 2.0, 0.0)
    if not np.isin(flags, (0, 1, 2)).all():
        return 'with a flag other than 0, 1 or 2'
    labeled = table[flags > 0, :2]
    positions = [*values[1:_BOX_WIDTH], *labeled.ravel()]
    if min(positions) < 1 - _MAX_NORMALIZED or max(positions) > _MAX_NORMALIZED:
        return 'with positions outside 0 to 1'
    width, height = size
    x, y, w, h = (values[1:_BOX_WIDTH] * [width, height, width, height]).tolist()
    keypoints = np.concatenate([table[:, :2] * [width, height], flags[:, None]], axis=1)
    return int(values[0]), [x - w / 2, y - h / 2, w, h], keypoints


class _YoloWriter:
    """Writes labels as a YOLO-pose folder; the images are copied."""

    def __init__(self, labels: LabeledImages, folder: Path):
        self.labels, self.folder, self.report = labels, folder, WriteReport(folder)
        self.categories = labels.content['categories']
        self.class_numbers = {category['id']: i for i, category in enumerate(self.categories)}

    def write(self) -> WriteReport:
        """Write data.yaml, the label files and the images."""
        if self.folder.exists() and any(self.folder.iterdir()):
            raise AnnotationError(f'{self.folder} is not empty; name a new folder')
        keypoints = self.categories[0]['keypoints']
        if any(category['keypoints'] != keypoints for category in self.categories):
            raise AnnotationError(
                'YOLO-pose has one list of keypoints for all classes, but these categories have different ones; write '
                'one category at a time'
            )
        annotations = index_annotations(self.labels.content)
        splits = []
        for image in self.labels.content['images']:
            splits.append(image.get('split', 'train'))
            self._write_image(image, splits[-1], annotations[image['id']])
        self._write_description(keypoints, splits)
        return self.report

    def _write_description(self, keypoints: list[str], splits: list[str]) -> None:
        """Write data.yaml."""
        flip_indices = list_flip_indices(self.categories[0])
        if self.categories[0].get('skeleton'):
            self.report.lost['limbs of the skeleton'] += len(self.categories[0]['skeleton'])
        # Ultralytics needs both train and val; without a split of its own, a set is validated on itself.
        named = {split: f'images/{split}' for split in dict.fromkeys(splits)}
        named = {'train': next(iter(named.values()), 'images/train'), **named}
        named.setdefault('val', named['train'])
        lines = [f'{split}: {folder}' for split, folder in named.items()]
        names = [f'  {i}: {_quote_yaml(category["name"])}' for i, category in enumerate(self.categories)]
        keypoint_names = ', '.join(map(_quote_yaml, keypoints))
        per_class = [f'  {i}: [{keypoint_names}]' for i in range(len(self.categories))]
        text = [
            *lines,
            f'kpt_shape: [{len(keypoints)}, 3]',
            f'flip_idx: {flip_indices}',
            'names:',
            *names,
            'kpt_names:',
            *per_class,
        ]
        write_atomically(self.folder / 'data.yaml', '\n'.join([*text, '']).encode())

    def _write_image(self, image: Mapping[str, Any], split: str, annotations: list[dict[str, Any]]) -> None:
        """Copy an image and write its labels."""
        name = Path(image['file_name'])
        # A folder 'images' in the name would be taken for the one that 'labels' replaces.
        folders = [part for part in name.parts[:-1] if part != 'images']
        relative = Path(*folders[folders[:1] == [split] :], name.name)
        copy_image(self.labels.image_folder / name, self.folder / 'images' / split / relative)
        lines = [line for annotation in annotations if (line := self._format_line(image, annotation))]
        label_file = (self.folder / 'labels' / split / relative).with_suffix('.txt')
        write_atomically(label_file, ''.join(f'{line}\n' for line in lines).encode())

    def _format_line(self, image: Mapping[str, Any], annotation: Mapping[str, Any]) -> str:
        """Format one instance; '' if the format cannot hold it."""
        if annotation.get('iscrowd'):
            self.report.lost['crowds'] += 1
            return ''
        for key in ('area', 'segmentation'):
            if annotation.get(key):
                self.report.lost[f'values of {key!r}'] += 1
        size = np.array([image['width'], image['height']], dtype=float)
        table = np.asarray(annotation['keypoints'], dtype=float).reshape(-1, 3)
        labeled = table[:, 2] > 0
        inside = labeled & (table[:, :2] >= 0).all(axis=1) & (table[:, :2] <= size).all(axis=1)
        if inside.sum() < labeled.sum():
            self.report.lost['keypoints outside their image'] += int(labeled.sum() - inside.sum())
        x, y, width, height = annotation['bbox']
        corners = np.clip(np.array([[x, y], [x + width, y + height]]), 0, size) / size
        center, extent = corners.mean(axis=0), corners[1] - corners[0]
        self.report.num_instances += 1
        points = np.where(inside[:, None], table[:, :2] / size, 0.0)
        flags = np.where(inside, table[:, 2], 0).astype(int)
        keypoints = [f'{px:.9g} {py:.9g} {flag}' for (px, py), flag in zip(points, flags, strict=True)]
        box = ' '.join(f'{value:.9g}' for value in (*center, *extent))
        return f'{self.class_numbers[annotation["category_id"]]} {box} {" ".join(keypoints)}'


def _quote_yaml(text: str) -> str:
    """Quote a string for YAML."""
    return "'" + text.replace("'", "''") + "'"
