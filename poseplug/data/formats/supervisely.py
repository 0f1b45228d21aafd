"""Supervisely projects: a meta.json with the classes, and a JSON file per image in the folder `ann` of a data set."""

from __future__ import annotations

__all__ = ['SuperviselyFormat']

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.data.formats.labeled_objects import LabeledObject, ObjectGrouper
from poseplug.files.json_file import read_json
from poseplug.registry import LABEL_FORMATS

_META_FILE = 'meta.json'
_GRAPH = 'graph'


@LABEL_FORMATS.register_module(name='supervisely')
class SuperviselyFormat(LabelFormat):
    """Supervisely: the folder of a project, with meta.json and images, or one of its data sets.

    A graph (keypoints) is an instance, whose nodes are named in meta.json. A disabled node counts as occluded. A
    rectangle belongs to the only graph of its class that lies in it. A point is a keypoint, named by its class, of the
    only rectangle that contains it, or of the only instance of its image.
    """

    name = 'supervisely'
    title = 'Supervisely project'

    def matches(self, path: Path) -> bool:
        return _find_meta(path) is not None and bool(_list_files(path))

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        meta = _find_meta(path)
        if meta is None:
            raise AnnotationError(f'{path}: no meta.json of Supervisely, which names the classes and their keypoints')
        nodes, limbs = _read_classes(meta)
        collector = LabelCollector(self.title, path, image_folder or meta.parent)
        stated = {category: list(names.values()) for category, names in nodes.items()}
        grouper = ObjectGrouper(collector, stated, limbs)
        for file in _list_files(path):
            objects = list(_read_objects(collector, file, nodes))
            # The label file of img/a.jpg is ann/a.jpg.json; images elsewhere keep the folder of their data set.
            folder = file.parent.parent.relative_to(meta.parent)
            positions = ['its image', *(item.position for item in objects[1:])]
            image_id = collector.add_image(str(folder / 'img' / file.stem), file, positions)
            if image_id is None:
                continue
            collector.labels.content['images'][image_id - 1]['split'] = folder.name
            grouper.add_objects(file, image_id, objects)
        return grouper.finish_labels()


def _find_meta(path: Path) -> Path | None:
    """The meta.json of a project, of the project of a data set, or the file itself."""
    candidates = [path / _META_FILE, path.parent / _META_FILE] if path.is_dir() else [path]
    return next((file for file in candidates if file.name == _META_FILE and _is_meta(file)), None)


def _is_meta(file: Path) -> bool:
    if not file.is_file():
        return False
    structure = read_json_structure(file)
    return not structure.is_list and structure.types.get('classes') is list and structure.has_keys('tags')


def _list_files(path: Path) -> list[Path]:
    """The label files of a project or a data set."""
    return sorted((path if path.is_dir() else path.parent).rglob('ann/[!.]*.json'))


def _read_classes(meta: Path) -> tuple[dict[str, dict[str, str]], dict[str, list[tuple[int, int]]]]:
    """The names of the nodes by their id, and the limbs, of each class of graphs."""
    nodes: dict[str, dict[str, str]] = {}
    limbs: dict[str, list[tuple[int, int]]] = {}
    for item in read_json(meta)['classes']:
        if not isinstance(item, dict) or item.get('shape') != _GRAPH:
            continue
        title, config = str(item.get('title')), item.get('geometry_config') or {}
        if not isinstance(config.get('nodes'), dict):
            raise AnnotationError(f'{meta}: class {title} has no geometry_config.nodes, which name its keypoints')
        nodes[title] = {key: str(node.get('label') or key) for key, node in config['nodes'].items()}
        keys = list(nodes[title])
        edges = [(edge.get('src'), edge.get('dst')) for edge in config.get('edges') or []]
        limbs[title] = [(keys.index(a), keys.index(b)) for a, b in edges if a in keys and b in keys]
    return nodes, limbs


def _read_objects(
    collector: LabelCollector, file: Path, nodes: Mapping[str, Mapping[str, str]]
) -> Iterator[LabeledObject]:
    """The graphs, rectangles and points of a file; other objects are counted as dropped."""
    content = read_json(file)
    if not isinstance(content, dict) or not isinstance(content.get('objects'), list):
        raise AnnotationError(f'{file}: objects is a list, as in the label files of Supervisely')
    for number, item in enumerate(content['objects'], 1):
        position = f'object {number}'
        kind = item.get('geometryType') if isinstance(item, dict) else None
        if kind not in (_GRAPH, 'rectangle', 'point'):
            collector.drop_label(file, position, f'of type {kind!r}, neither a graph, a rectangle nor a point')
            continue
        if kind == _GRAPH and item.get('classTitle') not in nodes:
            collector.drop_label(file, position, f'of class {item.get("classTitle")}, which meta.json does not define')
            continue
        try:
            yield _parse_object(position, item, nodes.get(item.get('classTitle'), {}))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            collector.drop_label(file, position, 'without finite numbers where its positions are expected')


def _parse_object(position: str, item: Mapping[str, Any], node_names: Mapping[str, str]) -> LabeledObject:
    title = str(item['classTitle'])
    if item['geometryType'] == _GRAPH:
        # A node that the class does not define has no name; it raises KeyError.
        keypoints = {node_names[key]: _parse_node(node) for key, node in item['nodes'].items()}
        return LabeledObject(position, title, keypoints)
    corners = np.array(item['points']['exterior'], dtype=float).reshape(-1, 2)
    if not len(corners) or not np.isfinite(corners).all():
        raise ValueError('positions are finite numbers')
    if item['geometryType'] == 'point':
        x, y = corners[0].tolist()
        return LabeledObject(position, '', {title: (x, y, 2)})
    low, high = corners.min(axis=0), corners.max(axis=0)
    return LabeledObject(position, title, {}, [*low.tolist(), *(high - low).tolist()])


def _parse_node(node: Mapping[str, Any]) -> tuple[float, float, int]:
    x, y = (float(value) for value in node['loc'])
    if not np.isfinite([x, y]).all():
        raise ValueError('positions are finite numbers')
    return x, y, 1 if node.get('disabled') else 2
