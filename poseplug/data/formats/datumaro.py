"""Datumaro's JSON, as Datumaro and CVAT write it: a file per subset with items, their skeletons, points and boxes."""

from __future__ import annotations

__all__ = ['DatumaroFormat']

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.labeled_objects import LabeledObject, ObjectGrouper
from poseplug.files.json_file import FIX_FILE_HINT, read_json
from poseplug.registry import LABEL_FORMATS

_IMAGE_SUFFIXES = ('.jpg', '.png', '.jpeg', '.bmp', '.webp')


@LABEL_FORMATS.register_module(name='datumaro')
class DatumaroFormat(LabelFormat):
    """Datumaro JSON: a folder with `annotations/SUBSET.json` and `images/SUBSET`, or one such file.

    A skeleton, or points whose label has named points, is an instance. A box of its group is its box, or without
    groups the box of its label that lies around it alone. A single point is a keypoint named by its label.
    """

    name = 'datumaro'
    title = 'Datumaro JSON'

    def matches(self, path: Path) -> bool:
        return bool(_list_files(path))

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        files = _list_files(path)
        if not files:
            raise AnnotationError(f'{path}: no file of Datumaro, an object with info, categories and items')
        root = files[0].parent.parent if files[0].parent.name == 'annotations' else files[0].parent
        collector = LabelCollector(self.title, path, image_folder or root)
        contents = [(file, read_json(file)) for file in files]
        # Every file repeats the categories.
        labels = _read_categories(*contents[0])
        stated = {labels.names[label]: names for label, names in labels.points.items()}
        grouper = ObjectGrouper(
            collector, stated, {labels.names[label]: limbs for label, limbs in labels.limbs.items()}
        )
        for file, content in contents:
            for number, item in enumerate(content['items'], 1):
                _add_item(collector, grouper, labels, file, f'item {number}', item)
        return grouper.finish_labels()


@dataclass(frozen=True)
class _Categories:
    """What a file says of its labels.

    Attributes:
        names: of the labels, by index.
        points: names of the points of a label, by its index.
        limbs: pairs of indices of these points, counted from 0.
    """

    names: list[str]
    points: dict[int, list[str]]
    limbs: dict[int, list[tuple[int, int]]]


def _list_files(path: Path) -> list[Path]:
    """The file itself, or the files of Datumaro in a folder or its folder `annotations`."""
    files = sorted([*path.glob('[!.]*.json'), *path.glob('annotations/[!.]*.json')]) if path.is_dir() else [path]
    return [file for file in files if file.suffix == '.json' and _is_datumaro(file)]


def _is_datumaro(file: Path) -> bool:
    structure = read_json_structure(file)
    return not structure.is_list and structure.types.get('categories') is dict and structure.types.get('items') is list


def _read_categories(file: Path, content: Mapping[str, Any]) -> _Categories:
    """Read the labels and their points."""
    try:
        labels = content['categories'].get('label', {}).get('labels', [])
        names = [str(label['name']) for label in labels]
        points = content['categories'].get('points', {}).get('items', [])
        named = {p['label_id']: [str(name) for name in p['labels']] for p in points}
        # Joints count from 1, as in COCO.
        limbs = {p['label_id']: [(a - 1, b - 1) for a, b in p.get('joints') or []] for p in points}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise AnnotationError(f'{file}: categories have label.labels with names; {FIX_FILE_HINT}') from error
    if any(not 0 <= label < len(names) for label in named):
        raise AnnotationError(f'{file}: categories.points names a label that is not listed; {FIX_FILE_HINT}')
    return _Categories(names, named, limbs)


def _add_item(
    collector: LabelCollector, grouper: ObjectGrouper, labels: _Categories, file: Path, position: str, item: Any
) -> None:
    """Add the image of an item and its instances."""
    if not isinstance(item, dict) or not isinstance(item.get('annotations'), list):
        raise AnnotationError(f'{file}: {position} has no list of annotations; {FIX_FILE_HINT}')
    objects = list(_read_objects(collector, labels, file, position, item['annotations']))
    media = item.get('image') or item.get('media') or {}
    stated = [str(media['path'])] if media.get('path') else []
    stated += [f'{item.get("id")}{suffix}' for suffix in _IMAGE_SUFFIXES]
    folders = ('', 'images/', f'images/{file.stem}/', f'{file.stem}/')
    names = [f'{folder}{name}' for name in stated for folder in folders]
    located = collector.find_image(stated[0], names)
    positions = [position, *(other.position for other in objects[1:])]
    image_id = collector.add_image(located or stated[0], file, positions, is_located=located is not None)
    if image_id is None:
        return
    collector.labels.content['images'][image_id - 1]['split'] = file.stem
    grouper.add_objects(file, image_id, objects)


def _read_objects(
    collector: LabelCollector, labels: _Categories, file: Path, item_position: str, annotations: list[Any]
) -> Iterator[LabeledObject]:
    """The skeletons, points and boxes of an item; other annotations are counted as dropped."""
    for number, annotation in enumerate(annotations, 1):
        position = f'{item_position}, annotation {number}'
        kind = annotation.get('type') if isinstance(annotation, dict) else None
        # These describe the image and are no labels of an instance.
        if kind in ('label', 'caption'):
            continue
        if kind not in ('skeleton', 'points', 'bbox'):
            collector.drop_label(file, position, f'of type {kind!r}, neither a skeleton, points nor a box')
            continue
        try:
            parsed = _parse_annotation(position, annotation, labels)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            collector.drop_label(file, position, 'without a label and finite numbers where they are expected')
            continue
        if parsed is None:
            collector.drop_label(file, position, 'of points that categories.points does not name')
        else:
            yield parsed


def _parse_annotation(position: str, annotation: Mapping[str, Any], labels: _Categories) -> LabeledObject | None:
    """The object of an annotation; None for points without names."""
    label, group = annotation['label_id'], annotation.get('group') or None  # 0 is no group
    category = labels.names[label]
    if annotation['type'] == 'bbox':
        x, y, width, height = (float(value) for value in annotation['bbox'])
        if not np.isfinite([x, y, width, height]).all():
            raise ValueError('positions are finite numbers')
        return LabeledObject(position, category, {}, [x, y, width, height], group)
    if annotation['type'] == 'skeleton':
        elements = [_parse_points(element) for element in annotation['elements']]
        names = [labels.names[element['label_id']] for element in annotation['elements']]
        return LabeledObject(position, category, {n: p[0] for n, p in zip(names, elements, strict=True)}, None, group)
    points = _parse_points(annotation)
    if label in labels.points:
        return LabeledObject(position, category, dict(zip(labels.points[label], points, strict=True)), None, group)
    return LabeledObject(position, '', {category: points[0]}, None, group) if len(points) == 1 else None


def _parse_points(annotation: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    """x, y and flag of each point; Datumaro's visibility is 0 absent, 1 hidden, 2 visible."""
    table = np.array(annotation['points'], dtype=float).reshape(-1, 2)
    if not len(table) or not np.isfinite(table).all():
        raise ValueError('positions are finite numbers')
    flags = annotation.get('visibility') or [2] * len(table)
    is_occluded = bool((annotation.get('attributes') or {}).get('occluded'))
    visible = [min(int(flag), 1) if is_occluded else int(flag) for flag in flags]
    if not set(visible) <= {0, 1, 2}:
        raise ValueError('a visibility is 0, 1 or 2')
    return [(x, y, flag) for (x, y), flag in zip(table.tolist(), visible, strict=True)]
