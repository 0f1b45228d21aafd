"""Instances of an image in the forms of other tools: COCO, tables, OpenPose, YOLO-pose, LabelMe, CVAT, supervision."""

from __future__ import annotations

import csv
import html
import inspect
import io
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from poseplug.core.boxes import enclose_keypoints, xyxy_to_xywh
from poseplug.core.errors import ConfigError
from poseplug.core.poses import POSES_CSV_COLUMNS, Poses
from poseplug.core.skeleton import Skeleton

_OPENPOSE_VERSION = 1.3
_LABELME_VERSION = '5.0.1'
_CVAT_LABEL = 'person'
_LINE_CHARACTERS = str.maketrans({'\n': '&#10;', '\r': '&#13;', '\t': '&#9;'})  # an attribute would lose them
_DATAFRAME_PACKAGES = ('pandas', 'polars')
_COLUMN_TYPES: dict[str, type] = {'image': str, 'instance': int, 'keypoint': str}  # the others hold floats


def add_coco_boxes(records: list[dict[str, Any]], poses: Poses) -> list[dict[str, Any]]:
    """Add `bbox` (x, y, width, height, rounded to 2 digits) to COCO result records, where the poses have boxes."""
    if poses.boxes is None:
        return records
    boxes = xyxy_to_xywh(np.asarray(poses.boxes, dtype=float)).round(2).tolist()
    return [{**record, 'bbox': box} for record, box in zip(records, boxes, strict=True)]


def format_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Format rows of `Poses.to_rows` as a table with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, POSES_CSV_COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def build_dataframe(rows: Sequence[dict[str, Any]], sigmas_px: np.ndarray | None = None) -> Any:
    """Build a data frame of pandas or polars from rows of `Poses.to_rows`.

    Args:
        rows: one per keypoint.
        sigmas_px: of each row, for the column `sigma_px`; None for no such column.

    Raises:
        ConfigError: neither is installed.
    """
    package = next((name for name in _DATAFRAME_PACKAGES if find_spec(name)), None)
    if package is None:
        raise ConfigError('a data frame needs pandas or polars, of which none is installed; pip install pandas')
    # typed without rows, too: frames of several images are concatenated, one without instances among them
    columns: dict[str, np.ndarray] = {
        name: np.array([row[name] for row in rows], dtype=_COLUMN_TYPES.get(name, float)) for name in POSES_CSV_COLUMNS
    }
    if sigmas_px is not None:
        columns['sigma_px'] = sigmas_px.astype(float).round(3)
    return import_module(package).DataFrame(columns)


def build_openpose(poses: Poses, skeleton: Skeleton, target: Skeleton | None = None) -> dict[str, Any]:
    """Build the content of an OpenPose JSON file.

    Args:
        poses: N instances.
        skeleton: of the poses.
        target: whose keypoints and order are written; None for those of the poses.

    Returns:
        `version` and `people`, each with `person_id` ([-1] if not tracked) and `pose_keypoints_2d`: x, y and score of
        every keypoint in one list.
    """
    if target is not None:
        names = list(skeleton.keypoints)
        # -1 stands for a keypoint that the poses lack
        poses = poses.select_keypoints(np.array([names.index(n) if n in names else -1 for n in target.keypoints]))
    arrays = np.concatenate([poses.keypoints, np.asarray(poses.keypoint_scores)[..., None]], axis=-1)
    values = arrays.reshape(len(poses), 3 * arrays.shape[1]).astype(float).round(4).tolist()
    ids = np.full(len(poses), -1) if poses.ids is None else np.asarray(poses.ids)
    persons = [
        {'person_id': [int(person_id)], 'pose_keypoints_2d': row} for person_id, row in zip(ids, values, strict=True)
    ]
    return {'version': _OPENPOSE_VERSION, 'people': persons}


def get_label_boxes(poses: Poses, threshold: float) -> np.ndarray:
    """Return the boxes (N, 4), two corners in px: those of the poses, or around the keypoints that score enough."""
    if poses.boxes is not None:
        return np.asarray(poses.boxes, dtype=float)
    mask = np.asarray(poses.keypoint_scores) >= threshold
    return enclose_keypoints(np.asarray(poses.keypoints, dtype=float), mask)


def format_yolo(poses: Poses, image_size: tuple[int, int], class_id: int, threshold: float) -> str:
    """Format instances as lines of a YOLO-pose label file.

    Args:
        poses: N instances, in px.
        image_size: (width, height).
        class_id: of the instances.
        threshold: keypoints that score less, or lie outside the image, are 0 0 0; others have the flag 2.
    """
    size = np.array(image_size, dtype=float)
    # Ultralytics refuses labels with values outside of 0 to 1
    corners = get_label_boxes(poses, threshold).reshape(-1, 2, 2).clip(0, size)
    # center and size, in fractions of the image
    boxes = np.concatenate([corners.mean(axis=1), corners[:, 1] - corners[:, 0]], axis=1) / np.tile(size, 2)
    lines = []
    for n, box in enumerate(boxes):
        points = np.asarray(poses.keypoints[n], dtype=float) / size
        is_labeled = (np.asarray(poses.keypoint_scores[n]) >= threshold) & ((points >= 0) & (points <= 1)).all(axis=1)
        words = [str(class_id), *(f'{value:.6f}' for value in box)]
        for (x, y), labeled in zip(points, is_labeled, strict=True):
            words += [f'{x:.6f}', f'{y:.6f}', '2'] if labeled else ['0', '0', '0']
        lines.append(' '.join(words) + '\n')
    return ''.join(lines)


def build_labelme(
    poses: Poses, skeleton: Skeleton, image_name: str, image_size: tuple[int, int], threshold: float
) -> dict[str, Any]:
    """Build the content of a LabelMe file: a rectangle and points per instance, which share a `group_id`.

    Args:
        poses: N instances, in px.
        skeleton: of the poses; the keypoints' names are the labels.
        image_name: name of the image beside the file.
        image_size: (width, height).
        threshold: keypoints that score less are left out.
    """
    shapes = []
    for n, box in enumerate(get_label_boxes(poses, threshold)):
        shapes.append(_build_shape('person', n, 'rectangle', box.reshape(2, 2)))
        for name, point, score in zip(skeleton.keypoints, poses.keypoints[n], poses.keypoint_scores[n], strict=True):
            if score >= threshold:
                shapes.append(_build_shape(name, n, 'point', np.asarray(point)[None]))
    return {
        'version': _LABELME_VERSION,
        'flags': {},
        'shapes': shapes,
        'imagePath': image_name,
        'imageData': None,
        'imageHeight': image_size[1],
        'imageWidth': image_size[0],
    }


def _build_shape(label: str, group_id: int, shape_type: str, points: np.ndarray) -> dict[str, Any]:
    """One shape of a LabelMe file."""
    positions = points.astype(float).round(2).tolist()
    return {'label': label, 'points': positions, 'group_id': group_id, 'shape_type': shape_type, 'flags': {}}


def format_cvat_image(
    poses: Poses, skeleton: Skeleton, image_name: str, image_size: tuple[int, int], threshold: float, image_id: int = 0
) -> str:
    """Format the instances of an image as an element of a CVAT file.

    Args:
        poses: N instances, in px.
        skeleton: of the poses.
        image_name: of the image.
        image_size: (width, height).
        threshold: keypoints that score less are `outside`, as CVAT calls what is not labeled.
        image_id: of the image in the file.
    """
    name, (width, height) = _quote_attribute(image_name), image_size
    lines = [f'  <image id="{image_id}" name={name} width="{width}" height="{height}">']
    for n in range(len(poses)):
        lines.append(f'    <skeleton label={_quote_attribute(_CVAT_LABEL)} source="auto" z_order="0">')
        for keypoint, (x, y), score in zip(
            skeleton.keypoints, poses.keypoints[n], poses.keypoint_scores[n], strict=True
        ):
            outside = int(not score >= threshold)
            label = _quote_attribute(keypoint)
            lines.append(
                f'      <points label={label} outside="{outside}" occluded="0" points="{x:.2f},{y:.2f}"></points>'
            )
        lines.append('    </skeleton>')
    return '\n'.join([*lines, '  </image>', ''])


def wrap_cvat_images(images: Iterable[str], skeleton: Skeleton) -> str:
    """Return the content of a CVAT file with these elements."""
    return ''.join(iterate_cvat_file(images, skeleton))


def iterate_cvat_file(images: Iterable[str], skeleton: Skeleton) -> Iterator[str]:
    """Yield a CVAT file in parts, from the elements of its images."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta><job><labels>\n'
    yield f'    <label><name>{_CVAT_LABEL}</name><type>skeleton</type></label>\n'
    for keypoint in skeleton.keypoints:
        name = html.escape(keypoint, quote=False)
        yield f'    <label><name>{name}</name><type>points</type><parent>{_CVAT_LABEL}</parent></label>\n'
    yield '  </labels></job></meta>\n'
    yield from images
    yield '</annotations>\n'


def build_supervision(poses: Poses) -> Any:
    """Build the `KeyPoints` of supervision from N instances.

    Raises:
        ConfigError: supervision is not installed.
    """
    if not find_spec('supervision'):
        raise ConfigError('to_supervision needs supervision, which is not installed; pip install supervision')
    arrays = poses.numpy()
    key_points = import_module('supervision').KeyPoints
    # supervision has renamed the argument
    has_new_name = 'keypoint_confidence' in inspect.signature(key_points).parameters
    scores = np.asarray(arrays.keypoint_scores, np.float32)
    return key_points(
        xy=np.asarray(arrays.keypoints, np.float32),
        class_id=np.zeros(len(poses), int),
        **{'keypoint_confidence' if has_new_name else 'confidence': scores},
    )


def _quote_attribute(text: str) -> str:
    """The text as an attribute of XML, in quotes; the standard library's loads all of HTTP on import."""
    return f'"{html.escape(text).translate(_LINE_CHARACTERS)}"'
