"""One table of labels (CSV): a row per keypoint, with its image, instance and box."""

from __future__ import annotations

__all__ = ['TableFormat']

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat, WriteReport
from poseplug.data.formats.coco import copy_images, index_annotations
from poseplug.data.formats.keypoint_labels import select_keypoint_labels
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.files.atomic import write_atomically
from poseplug.files.text_file import read_text_file
from poseplug.registry import LABEL_FORMATS

_COLUMNS = (
    'image', 'split', 'width', 'height', 'instance', 'category', 'box_x', 'box_y', 'box_width', 'box_height',
    'keypoint', 'x', 'y', 'visible',
)  # fmt: skip
_FILE_NAME = 'labels.csv'


@LABEL_FORMATS.register_module(name='csv')
class TableFormat(LabelFormat):
    """CSV: a folder with labels.csv and images, or the table itself.

    Every instance has a row for each keypoint of its category, labeled or not (`visible` 0). An image without
    instances has one row without an instance.
    """

    name = 'csv'
    title = 'CSV table'

    def matches(self, path: Path) -> bool:
        file = path / _FILE_NAME if path.is_dir() else path
        if file.suffix != '.csv' or not file.is_file():
            return False
        # Of a table in another encoding, the first line still is in letters that all encodings share.
        with open(file, encoding='utf-8-sig', errors='replace') as opened:
            return opened.readline().strip().split(',') == [*_COLUMNS]

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = path / _FILE_NAME if path.is_dir() else path
        collector = LabelCollector(self.title, path, image_folder or file.parent / 'images')
        rows = list(csv.DictReader(io.StringIO(read_text_file(file), newline='')))
        if not rows or [*rows[0]] != [*_COLUMNS]:
            raise AnnotationError(f'{file}: the first line names the columns {",".join(_COLUMNS)}')
        _add_rows(collector, file, rows)
        return collector.finish_labels()

    def write(self, labels: LabeledImages, path: Path) -> WriteReport:
        report = WriteReport(path)
        content = select_keypoint_labels(labels, report).content
        report.num_instances = len(content['annotations'])
        # Written at once in the end, so that an error leaves no half a table.
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(_COLUMNS)
        for row in _iterate_rows(content):
            writer.writerow(row)
        for annotation in content['annotations']:
            report.lost.update(f'values of {key!r}' for key in ('area', 'segmentation') if annotation.get(key))
            report.lost.update(['crowd flags'] if annotation.get('iscrowd') else [])
        limbs = sum(len(category.get('skeleton') or []) for category in content['categories'])
        report.lost.update({'limbs of the skeleton': limbs} if limbs else {})
        write_atomically(path / _FILE_NAME, text.getvalue().encode())
        copy_images(labels.image_folder, (image['file_name'] for image in content['images']), path / 'images')
        return report


def _iterate_rows(content: dict[str, Any]) -> Iterator[list[Any]]:
    """The rows of a table, image by image."""
    categories = {category['id']: category for category in content['categories']}
    by_image = index_annotations(content)
    for image in content['images']:
        start = [image['file_name'], image.get('split', ''), image['width'], image['height']]
        # An image without instances is a negative example, which would be lost without a row of its own.
        if not by_image[image['id']]:
            yield start + [''] * (len(_COLUMNS) - len(start))
        for number, annotation in enumerate(by_image[image['id']], 1):
            category = categories[annotation['category_id']]
            points = np.asarray(annotation['keypoints'], dtype=float).reshape(-1, 3).tolist()
            for keypoint, (x, y, visible) in zip(category['keypoints'], points, strict=True):
                instance = [number, category['name'], *annotation['bbox']]
                yield [*start, *instance, keypoint, x, y, int(visible)]


class _TableReader:
    """Adds the images and instances of a table, row by row; rows that contradict each other are refused."""

    def __init__(self, collector: LabelCollector, file: Path, keypoints: dict[str, list[str]]):
        self.collector, self.file, self.keypoints = collector, file, keypoints
        self._instances: dict[tuple[int, str, str], np.ndarray] = {}
        self._boxes: dict[tuple[int, str, str], list[float]] = {}
        self._lines: dict[tuple[int, str, str, str], int] = {}  # of every keypoint of every instance

    def add_row(self, line: int, row: dict[str, str]) -> None:
        """Add the row of a line, counted from 1."""
        size = (int(row['width']), int(row['height']))
        # An empty cell is no split, while '' as a split would count as one of its own.
        values = {'split': row['split']} if row['split'] else {}
        image_id = self.collector.add_sized_image(row['image'], size, **values)
        if not row['instance']:
            return
        # Instances are numbered within their image and category.
        key = (image_id, row['instance'], row['category'])
        box = [float(row[f'box_{side}']) for side in ('x', 'y', 'width', 'height')]
        # Every row repeats the box: rows of one instance that disagree were edited by hand.
        if self._boxes.setdefault(key, box) != box:
            raise ValueError(f'instance {row["instance"]} of {row["image"]} has another box in an earlier line')
        first_line = self._lines.setdefault((*key, row['keypoint']), line)
        if first_line != line:
            raise ValueError(f'keypoint {row["keypoint"]!r} of that instance is in line {first_line}, too')
        names = self.keypoints[row['category']]
        table = self._instances.setdefault(key, np.zeros((len(names), 3)))
        table[names.index(row['keypoint'])] = [float(row['x']), float(row['y']), int(row['visible'])]

    def add_instances(self) -> None:
        """Add the instances of all rows, in the order in which they come first."""
        # Only after the last row are all keypoints of an instance there.
        category_ids = {name: self.collector.add_category(name, names) for name, names in self.keypoints.items()}
        for key, table in self._instances.items():
            self.collector.add_instance(key[0], category_ids[key[2]], table, self._boxes[key])


def _list_keypoints(rows: list[dict[str, str]]) -> dict[str, list[str]]:
    """The names of the keypoints of every category, in the order in which they come first."""
    keypoints: dict[str, list[str]] = {}
    for row in rows:
        if row['instance']:
            names = keypoints.setdefault(row['category'], [])
            names += [row['keypoint']] if row['keypoint'] not in names else []
    return keypoints


def _add_rows(collector: LabelCollector, file: Path, rows: list[dict[str, str]]) -> None:
    """Add the images and instances of a table."""
    reader = _TableReader(collector, file, _list_keypoints(rows))
    # Line 1 has the names of the columns.
    for line, row in enumerate(rows, 2):
        try:
            reader.add_row(line, row)
        except (AnnotationError, ValueError, TypeError) as error:
            raise AnnotationError(f'{file}, line {line}: {error}; correct that line') from error
    reader.add_instances()
