"""Labels that the web page compares predictions with: read from a file of any label format, and matched."""

from __future__ import annotations

__all__ = ['LABEL_SUFFIXES', 'compare_with_labels', 'read_label_file']

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from poseplug.core.errors import AnnotationError
from poseplug.data.formats.base import LabelFormat
from poseplug.data.formats.coco import index_annotations
from poseplug.data.formats.convert import find_label_format
from poseplug.deploy.web_downloads import simplify_file_name

LABEL_SUFFIXES = ('.json', '.csv')
# Formats whose files are read without the images. The others look for these, which would be files of this machine that
# the sender of a label file names.
_FORMAT_NAMES = ('coco', 'csv')
_PCK_FRACTION = 0.1  # of the longer side of an instance's labels, within which a keypoint counts as correct
_UNMATCHED_DISTANCE_PX = 1e9


def read_label_file(name: str, data: bytes) -> dict[str, Any]:
    """Read a label file that a page sends.

    Args:
        name: of the file; its suffix is one of `LABEL_SUFFIXES`.
        data: its bytes.

    Formats that look for the images (LabelMe, CVAT, Label Studio, DeepLabCut) are refused.

    Returns:
        `format`; `notes`, what is odd and how many labels were dropped; and `images`: for each file name, without
        folders, its instances, each with `keypoint_names` and `keypoints` (K, 3; x, y in px, and COCO's visibility).

    Raises:
        AnnotationError: the file is damaged, in no known format, or has no keypoints.
    """
    safe_name = simplify_file_name(name, 'labels.json')
    if Path(safe_name).suffix.lower() not in LABEL_SUFFIXES:
        raise AnnotationError(f'{safe_name}: the page reads label files that end in {", ".join(LABEL_SUFFIXES)}')
    with tempfile.TemporaryDirectory(prefix='poseplug-') as folder:
        file = Path(folder) / safe_name
        file.write_bytes(data)
        try:
            label_format = find_label_format(file)
            _check_format(label_format, safe_name)
            labels = label_format.read(file)
        except AnnotationError as error:
            # Where the server has written the file means nothing to the reader of the message.
            raise AnnotationError(str(error).replace(f'{folder}/', '')) from None
        notes = [line.strip().replace(f'{folder}/', '') for line in labels.describe()]
    images = _collect_images(labels.content)
    if not images:
        raise AnnotationError(f'{safe_name} ({labels.format_name}) has no keypoints; {"; ".join(notes)}')
    return {'format': labels.format_name, 'notes': notes, 'images': images}


def _check_format(label_format: LabelFormat, name: str) -> None:
    if label_format.name not in _FORMAT_NAMES:
        raise AnnotationError(
            f'{name} is of {label_format.title}, whose labels are read beside their images; convert it by poseplug '
            f'dataset convert {name} OUT --to coco, and choose the COCO file'
        )


def _collect_images(content: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The instances with keypoints, by the file name of their image."""
    names = {category['id']: list(category.get('keypoints') or []) for category in content['categories']}
    annotations, images = index_annotations(content), dict[str, list[dict[str, Any]]]()
    for image in content['images']:
        for annotation in annotations.get(image['id'], ()):
            table = np.array(annotation.get('keypoints') or [], dtype=float).reshape(-1, 3)
            if (table[:, 2] > 0).any():
                instance = {'keypoint_names': names.get(annotation['category_id'], []), 'keypoints': table.tolist()}
                images.setdefault(Path(image['file_name']).name, []).append(instance)
    return images


def compare_with_labels(
    instances: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]], keypoint_names: Sequence[str]
) -> dict[str, Any]:
    """Match labeled instances to predicted ones, one to one by the smallest sum of mean distances.

    Args:
        instances: N predicted ones, each with `keypoints` (K, 3).
        labels: M labeled ones, as `read_label_file` returns them; their keypoints are found by name, or by their order
            where the labels have no names.
        keypoint_names: K names of the predicted keypoints.

    Returns:
        `labels`: for each labeled instance `instance`, the index of the predicted one (None for none), and `keypoints`:
        K entries, [x, y] of the label or None. `distances`: for each predicted instance K distances in px, None where
        nothing is labeled. `mean_px`, their mean, and `pck`, the percentage of labeled keypoints within 0.1 of the
        longer side of the instance's labels, those of unmatched instances included; both None without any.

    Raises:
        AnnotationError: no keypoint of the labels has the name of a predicted one.

    Example:
        >>> labels = [{'keypoint_names': ['nose'], 'keypoints': [[3.0, 4.0, 2]]}]
        >>> compare_with_labels([{'keypoints': [[0.0, 0.0, 0.9]]}], labels, ['nose'])['mean_px']
        5.0
    """
    num_keypoints = len(keypoint_names)
    targets = np.stack([_order_keypoints(label, keypoint_names) for label in labels])  # (M, K, 2), NaN where missing
    if not np.isfinite(targets).any():
        raise AnnotationError('no keypoint of the labels has the name of one that the model predicts')
    tables = [np.array(each['keypoints'], dtype=float)[:, :2] for each in instances]
    predicted = np.reshape(tables, (len(instances), num_keypoints, 2))
    distances = np.linalg.norm(predicted[None] - targets[:, None], axis=-1)  # (M, N, K)
    matches = _match_labels(distances)
    matched = {m: distances[m, n] for m, n in matches.items()}
    rows = {n: distances[m, n] for m, n in matches.items()}
    unlabeled = np.full(num_keypoints, np.nan)
    return {
        'labels': [
            {'instance': matches.get(m), 'keypoints': [_to_pair(point) for point in points]}
            for m, points in enumerate(targets)
        ],
        'distances': [_to_list(rows.get(n, unlabeled)) for n in range(len(instances))],
        **_summarize_distances(targets, matched),
    }


def _order_keypoints(label: Mapping[str, Any], keypoint_names: Sequence[str]) -> np.ndarray:
    """The labeled positions (K, 2) of an instance in the order of the names, NaN where there is none."""
    table, names = np.array(label['keypoints'], dtype=float), label['keypoint_names']
    positions = np.where(table[:, 2:] > 0, table[:, :2], np.nan)
    # COCO files may leave the names out
    if not names and len(table) == len(keypoint_names):
        return positions
    by_name = {_simplify_name(name): point for name, point in zip(names, positions, strict=False)}
    missing = np.full(2, np.nan)
    return np.stack([by_name.get(_simplify_name(name), missing) for name in keypoint_names])


def _simplify_name(name: str) -> str:
    """A keypoint's name without the differences in writing: 'Left-Hip' and 'left hip' are 'left_hip'."""
    return name.strip().lower().replace('-', '_').replace(' ', '_')


def _match_labels(distances: np.ndarray) -> dict[int, int]:
    """The predicted instance of each labeled one, of distances (M, N, K) with NaN where nothing is labeled."""
    known = np.isfinite(distances)
    # the mean over labeled keypoints, so that instances with few labels match as well as others
    sums = np.where(known, distances, 0.0).sum(axis=-1)
    # a finite cost for pairs without a common keypoint, since the assignment refuses infinite ones
    costs = np.where(known.any(axis=-1), sums / np.maximum(known.sum(axis=-1), 1), _UNMATCHED_DISTANCE_PX)
    rows, columns = linear_sum_assignment(costs)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {m: n for m, n in pairs if costs[m, n] < _UNMATCHED_DISTANCE_PX}


def _summarize_distances(targets: np.ndarray, matched: Mapping[int, np.ndarray]) -> dict[str, float | None]:
    """The mean distance and the percentage of correct keypoints."""
    values = np.concatenate([np.zeros(0), *matched.values()])
    values = values[np.isfinite(values)]
    num_labeled = int(np.isfinite(targets).all(axis=-1).sum())
    num_correct = 0
    for m, distances in matched.items():
        extent = np.nanmax(targets[m], axis=0) - np.nanmin(targets[m], axis=0)
        num_correct += int((distances <= _PCK_FRACTION * extent.max()).sum())
    return {
        'mean_px': round(float(values.mean()), 2) if len(values) else None,
        'pck': round(100 * num_correct / num_labeled, 1) if num_labeled else None,
    }


def _to_list(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 2) if np.isfinite(value) else None for value in values]


def _to_pair(point: np.ndarray) -> list[float] | None:
    return [float(value) for value in point] if np.isfinite(point).all() else None
