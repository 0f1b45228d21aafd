"""Label Studio's JSON export: tasks with named keypoints and boxes, in percent of the image's size."""

from __future__ import annotations

__all__ = ['LabelStudioFormat']

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabeledImages, LabelFormat
from poseplug.data.formats.json_structure import read_json_structure
from poseplug.data.formats.label_collector import LabelCollector
from poseplug.files.json_file import read_json
from poseplug.registry import LABEL_FORMATS

# What is said of a region, an image or two regions is no label of its own.
_ATTRIBUTE_TYPES = ('relation', 'choices', 'textarea', 'number', 'rating', 'taxonomy', 'pairwise', 'datetime')
_OCCLUSION_WORDS = ('occluded', 'hidden', 'invisible')
_OTHER_CAUSE = 'of another annotation of its task, of which the ground truth counts, else the latest'
_CANCELLED_CAUSE = 'of an annotation that was cancelled'
_IMAGE_FOLDERS = ('', 'images')
_LABEL_TYPES = ('keypointlabels', 'rectanglelabels', 'polygonlabels')
_UNNAMED_CATEGORY = 'object'  # of keypoints without a box
_LOCAL_FILES = 'local-files'  # in the addresses of files that Label Studio serves from a folder
_UPLOAD_PREFIX_DIGITS = 8  # Label Studio puts a random prefix before the name of an uploaded file: 1a2b3c4d-name.jpg


@LABEL_FORMATS.register_module(name='label_studio')
class LabelStudioFormat(LabelFormat):
    """Label Studio: a JSON export (not JSON-MIN), or a folder that contains one.

    A keypoint belongs to the box that is its parent (`parentID`) or that a relation connects to it; without either, to
    the only box that contains it, or to the only instance of its image. Label Studio's COCO export is a COCO file.
    """

    name = 'label_studio'
    title = 'Label Studio JSON'

    def matches(self, path: Path) -> bool:
        file = _find_file(path)
        return file is not None

    def read(self, path: Path, image_folder: Path | None = None) -> LabeledImages:
        file = _find_file(path)
        if file is None:
            raise AnnotationError(f'{path}: no JSON export of Label Studio, a list of tasks with data and annotations')
        tasks = read_json(file)
        collector = LabelCollector(self.title, path, image_folder or file.parent)
        names = _list_keypoint_names(tasks)
        if not names:
            raise AnnotationError(f'{file}: no result is a keypoint (type keypointlabels)')
        reader = _TaskReader(collector, file, names)
        for i, task in enumerate(tasks, 1):
            reader.add_task(i, task)
        return collector.finish_labels()


def _find_file(path: Path) -> Path | None:
    """The JSON file itself, or the only one of a folder that is a list of tasks."""
    files = sorted(path.glob('[!.]*.json')) if path.is_dir() else [path]
    return next((file for file in files if file.suffix == '.json' and _is_task_list(file)), None)


def _is_task_list(file: Path) -> bool:
    structure = read_json_structure(file)
    return (
        structure.is_list and structure.has_keys('data') and bool({'annotations', 'completions'} & set(structure.types))
    )


def _list_annotations(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The annotations of a task; first versions of Label Studio called them completions."""
    annotations = task.get('annotations') or task.get('completions') or []
    return [annotation for annotation in annotations if isinstance(annotation, dict)]


def _list_results(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of the annotation of a task that counts: its ground truth, else the latest that was not cancelled."""
    # All of them together would give each instance several times.
    done = [annotation for annotation in _list_annotations(task) if not annotation.get('was_cancelled')]
    chosen = [annotation for annotation in done if annotation.get('ground_truth')] or done
    dates = [str(annotation.get('updated_at') or annotation.get('created_at') or '') for annotation in chosen]
    if not chosen:
        return []
    # Exports do not keep the order of time, and the last one counts where dates are missing.
    latest = max(range(len(chosen)), key=lambda i: (dates[i], i)) if all(dates) else len(chosen) - 1
    return _select_results(chosen[latest])


def _select_results(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [result for result in annotation.get('result') or [] if isinstance(result, dict)]


def _count_other_results(task: Mapping[str, Any]) -> Counter[str]:
    """The number of keypoints and boxes of a task's annotations but the one that counts, by why they do not."""
    counts: Counter[str] = Counter()
    for annotation in _list_annotations(task):
        is_cancelled = bool(annotation.get('was_cancelled'))
        cause = _CANCELLED_CAUSE if is_cancelled else _OTHER_CAUSE
        counts[cause] += _count_shapes(_select_results(annotation))
    counts[_OTHER_CAUSE] -= _count_shapes(_list_results(task))
    return counts


def _count_shapes(results: list[dict[str, Any]]) -> int:
    return sum(result.get('type') not in _ATTRIBUTE_TYPES for result in results)


def _list_addresses(data: Any) -> list[str]:
    """The addresses in a task's data, of which one is that of its image."""
    values = list(data.values()) if isinstance(data, dict) else []
    # Tasks of several images have them as a list.
    values += [item for value in values if isinstance(value, list) for item in value]
    return [value for value in values if isinstance(value, str) and value]


def _read_path(address: str) -> str:
    """The path in an address; '' where the address is the image itself as text."""
    if address.startswith('data:'):
        return ''
    parsed = urlparse(address)
    # Local files are served as /data/local-files/?d=folder/name.jpg.
    stated = parse_qs(parsed.query).get('d') if parsed.path.rstrip('/').endswith(_LOCAL_FILES) else None
    return stated[0] if stated else unquote(parsed.path)


def _get_image_address(task: Mapping[str, Any]) -> str:
    """The last part of the first address of a task's data, for messages."""
    names = [PureWindowsPath(_read_path(address)).name for address in _list_addresses(task.get('data'))]
    # A name with a suffix is that of a file rather than of another value.
    return next((name for name in names if Path(name).suffix), names[0] if names else '')


def _get_labels(result: Mapping[str, Any]) -> list[str]:
    """The labels of a result, as in value.keypointlabels."""
    value = result.get('value') or {}
    # The key is the name of the type, or `labels` where a project has one list of labels for all types.
    labels = value.get(str(result.get('type'))) or value.get('labels') or []
    return [str(label) for label in labels]


def _is_occluded(values: Mapping[str, Any]) -> bool:
    """Whether a choice or a note says that a keypoint is occluded."""
    words = [word for value in values.values() for word in (value if isinstance(value, list) else [value])]
    return any(str(word).strip().lower() in _OCCLUSION_WORDS for word in words)


def _enclose_polygon(result: dict[str, Any]) -> dict[str, Any]:
    """A result with the box around its polygon as a rectangle; other results as they are."""
    if result.get('type') != 'polygonlabels':
        return result
    value = result.get('value') or {}
    try:
        points = np.array(value.get('points'), dtype=float).reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
    except (TypeError, ValueError):
        return {**result, 'type': 'rectanglelabels'}  # without finite numbers, by which it is dropped
    box = dict(zip(('x', 'y', 'width', 'height'), (*low.tolist(), *(high - low).tolist()), strict=True))
    return {**result, 'type': 'rectanglelabels', 'value': dict(box, rectanglelabels=_get_labels(result))}


def _list_keypoint_names(tasks: list[dict[str, Any]]) -> list[str]:
    """The names of the keypoints, in the order in which they come first."""
    # The export does not contain the labeling interface, where the names are defined.
    results = [r for task in tasks for r in _list_results(task) if r.get('type') == 'keypointlabels']
    return list(dict.fromkeys(label for result in results for label in _get_labels(result)[:1]))


def _read_pair(result: Mapping[str, Any], first: str, second: str) -> np.ndarray:
    """Two numbers of a result, in percent."""
    return np.array([result['value'][first], result['value'][second]], dtype=float)


def _contains_point(box: Mapping[str, float], point: Mapping[str, float]) -> bool:
    """Whether a point lies in a box."""
    is_between = 0 <= point['x'] - box['x'] <= box['width']
    return is_between and 0 <= point['y'] - box['y'] <= box['height']


class _TaskReader:
    """Adds the image and the instances of each task."""

    def __init__(self, collector: LabelCollector, file: Path, keypoint_names: list[str]):
        self.collector, self.file, self.keypoint_names = collector, file, keypoint_names
        self._category_ids: dict[str, int] = {}

    def add_task(self, number: int, task: Mapping[str, Any]) -> None:
        """Add a task."""
        results = _list_results(task)
        position = f'task {number} (id {task.get("id")})'
        labels = [_enclose_polygon(r) for r in results if r.get('type') in _LABEL_TYPES]
        for result in results:
            if result.get('type') not in (*_LABEL_TYPES, *_ATTRIBUTE_TYPES):
                self.collector.drop_label(
                    self.file, position, f'of type {result.get("type")}, neither a keypoint nor a box'
                )
        for cause in _count_other_results(task).elements():
            self.collector.drop_label(self.file, position, cause)
        name = self._locate_image(task.get('data'))
        if name is None:
            self.collector.note_missing_image(_get_image_address(task))
            for _ in labels:
                self.collector.drop_label(self.file, position, 'whose image is not in its folder')
            return
        image_id = self.collector.add_image(name, self.file, [position] * max(len(labels), 1), is_located=True)
        if image_id is None:
            return
        usable = [r for r in labels if self._is_usable(r, position)]
        # There is no field for it: it is a choice of the region, or in its notes.
        choices = [r for r in results if r.get('type') in _ATTRIBUTE_TYPES and r.get('id') is not None]
        occluded_ids = {r['id'] for r in choices if _is_occluded(r.get('value') or {})}
        for box, keypoints in self._group_by_box(usable, results, position):
            self._add_instance(image_id, box, keypoints, position, occluded_ids)

    def _locate_image(self, data: Any) -> str | None:
        """The image of a task, by the name in its address: with Label Studio's prefix, or without it."""
        for address in _list_addresses(data):
            path = _read_path(address)
            base = PureWindowsPath(path).name
            prefix, dash, rest = base.partition('-')
            names = [base, rest] if dash and len(prefix) == _UPLOAD_PREFIX_DIGITS else [base]
            name = self.collector.find_image(address, [path.lstrip('/'), *names], _IMAGE_FOLDERS)
            if name is not None:
                return name
        return None

    def _is_usable(self, result: Mapping[str, Any], position: str) -> bool:
        """Whether a result has a label and finite numbers; otherwise it is counted as dropped."""
        value = result.get('value') or {}
        keys = ('x', 'y') if result.get('type') == 'keypointlabels' else ('x', 'y', 'width', 'height')
        numbers = [value.get(key) for key in keys]
        if not all(isinstance(v, int | float) and np.isfinite(v) for v in numbers):
            self.collector.drop_label(self.file, position, 'without finite numbers')
        elif result.get('image_rotation'):
            self.collector.drop_label(self.file, position, 'on an image that was rotated for labeling')
        elif not _get_labels(result):
            self.collector.drop_label(self.file, position, 'without a label')
        # Its x, y, width and height are those before the rotation, so that they are no box of the instance.
        elif value.get('rotation') and result.get('type') == 'rectanglelabels':
            self.collector.drop_label(self.file, position, 'which is a rotated box')
        else:
            return True
        return False

    def _group_by_box(
        self, usable: list[dict[str, Any]], results: list[dict[str, Any]], position: str
    ) -> list[tuple[dict[str, Any] | None, list[dict[str, Any]]]]:
        """Group keypoints by their box."""
        boxes: dict[str, dict[str, Any]] = {}
        for i, result in enumerate(r for r in usable if r['type'] == 'rectanglelabels'):
            key = str(result.get('id', f'box {i}'))
            if key in boxes:
                self.collector.drop_label(self.file, position, f'whose id {key} is that of another box')
            else:
                boxes[key] = result
        parents: dict[str, str] = {}
        for relation in (r for r in results if r.get('type') == 'relation'):
            ends = [str(relation.get('from_id')), str(relation.get('to_id'))]
            # A relation may be drawn from the box to the point or the other way.
            for child, parent in (ends, ends[::-1]):
                if parent in boxes:
                    parents.setdefault(child, parent)
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for result in (r for r in usable if r['type'] == 'keypointlabels'):
            parent = str(result.get('parentID') or parents.get(str(result.get('id')), ''))
            # What the labeler stated counts more than where the point lies.
            candidates = [parent] if parent in boxes else self._find_boxes(boxes, result)
            if len(candidates) == 1:
                groups[candidates[0]].append(result)
            elif not boxes:
                groups[''].append(result)
            else:
                self.collector.drop_label(self.file, position, 'without a parent, in none or several of the boxes')
        instances: list[tuple[dict[str, Any] | None, list[dict[str, Any]]]] = []
        instances += [(box, groups[key]) for key, box in boxes.items()]
        return instances + ([(None, groups[''])] if '' in groups else [])

    @staticmethod
    def _find_boxes(boxes: dict[str, dict[str, Any]], result: dict[str, Any]) -> list[str]:
        """The boxes that contain a keypoint, or the only box."""
        around = [key for key, box in boxes.items() if _contains_point(box['value'], result['value'])]
        return around or (list(boxes) if len(boxes) == 1 else [])

    def _add_instance(
        self,
        image_id: int,
        box: dict[str, Any] | None,
        keypoints: list[dict[str, Any]],
        position: str,
        occluded_ids: set[Any],
    ) -> None:
        """Add one instance."""
        image = self.collector.labels.content['images'][image_id - 1]
        to_px = np.array([image['width'], image['height']]) / 100.0
        table = np.zeros((len(self.keypoint_names), 3))
        for result in keypoints:
            k = self.keypoint_names.index(_get_labels(result)[0])
            if table[k, 2]:
                self.collector.drop_label(self.file, position, 'which is a second keypoint of its name')
                continue
            is_occluded = result.get('id') in occluded_ids or _is_occluded(result.get('meta') or {})
            table[k] = [*_read_pair(result, 'x', 'y') * to_px, 1 if is_occluded else 2]
        xywh = None
        if box is not None:
            xywh = [*_read_pair(box, 'x', 'y') * to_px, *_read_pair(box, 'width', 'height') * to_px]
        category = _get_labels(box)[0] if box is not None else _UNNAMED_CATEGORY
        if category not in self._category_ids:
            self._category_ids[category] = self.collector.add_category(category, self.keypoint_names)
        self.collector.add_instance(image_id, self._category_ids[category], table, xywh)
