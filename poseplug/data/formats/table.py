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
from poseplug.data.formats.base import LabelCollector, LabeledImages, LabelFormat, WriteReport
from poseplug.data.formats.coco import copy_images, index_annotations
from poseplug.files.atomic import write_atomically
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
        with open(file, encoding='utf-8-sig') as opened:
            return opened.readline().strip().split(',') == [*_COLUMNS]

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = path / _FILE_NAME if path.is_dir() else path
        collector = LabelCollector(self.title, path, image_folder or file.parent / 'images')
        with open(file, newline='', encoding='utf-8-sig') as opened:
            rows = list(csv.DictReader(opened))
        if not rows or [*rows[0]] != [*_COLUMNS]:
            raise AnnotationError(f'{file}: the first line names the columns {",".join(_COLUMNS)}')
        _add_rows(collector, file, rows)
        return collector.finish()

    def write(self, labels: LabeledImages, path: Path) -> WriteReport:
        report = WriteReport(path, labels.num_instances)
        content = labels.content
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
        if not by_image[image['id']]:
            yield start + [''] * (len(_COLUMNS) - len(start))
        for number, annotation in enumerate(by_image[image['id']], 1):
            category = categories[annotation['category_id']]
            points = np.asarray(annotation['keypoints'], dtype=float).reshape(-1, 3).tolist()
            for keypoint, (x, y, visible) in zip(category['keypoints'], points, strict=True):
                instance = [number, category['name'], *annotation['bbox']]
                yield [*start, *instance, keypoint, x, y, int(visible)]


def _add_rows(collector: LabelCollector, file: Path, rows: list[dict[str, str]]) -> None:
    """Add the images and instances of a table."""
    keypoints: dict[str, list[str]] = {}
    for row in rows:
        if row['instance']:
            names = keypoints.setdefault(row['category'], [])
            names += [row['keypoint']] if row['keypoint'] not in names else []
    category_ids = {name: collector.add_category(name, names) for name, names in keypoints.items()}
    instances: dict[tuple[int, str, str], np.ndarray] = {}
    boxes: dict[tuple[int, str, str], list[float]] = {}
    for line, row in enumerate(rows, 2):
        try:
            size = (int(row['width']), int(row['height']))
            values = {'split': row['split']} if row['split'] else {}
            image_id = collector.add_sized_image(row['image'], size, **values)
            if not row['instance']:
                continue
            key = (image_id, row['instance'], row['category'])
            table = instances.setdefault(key, np.zeros((len(keypoints[row['category']]), 3)))
            boxes[key] = [float(row[f'box_{side}']) for side in ('x', 'y', 'width', 'height')]
            index = keypoints[row['category']].index(row['keypoint'])
            table[index] = [float(row['x']), float(row['y']), int(row['visible'])]
        except (ValueError, TypeError) as error:
            raise AnnotationError(f'{file}, line {line}: {error}; correct that line') from error
    for key, table in instances.items():
        collector.add_instance(key[0], category_ids[key[2]], table, boxes[key])
