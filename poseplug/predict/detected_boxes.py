"""A detector's boxes for the images of a data set, as a result file in COCO's layout, which sources read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from poseplug.config.build import require_setting
from poseplug.core.boxes import DetectedBoxes, box_iou, boxes_to_corners
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.progress import track_progress
from poseplug.core.sample import Record
from poseplug.data.sources.coco import CocoFormatSource
from poseplug.files.atomic import write_atomically
from poseplug.files.images import IMAGE_SUFFIXES, read_image
from poseplug.registry import SOURCES

_PERSON_CATEGORY_ID = 1  # of COCO
_MATCH_IOU = 0.5  # from which a box counts as the detection of an annotated one
LARGE_AREA_PX2 = 5_000  # recall is also reported for annotated people that are larger


def load_split_records(cfg: Mapping[str, Any], split: str) -> list[Record]:
    """Load the annotated records of a config's split, including images without annotated instances.

    Args:
        cfg: a loaded config.
        split: 'train', 'val' or 'test'.
    """
    specs = require_setting(cfg, f'{split}_dataloader')['dataset']['sources']
    records: list[Record] = []
    for spec in specs if isinstance(specs, Sequence) else [specs]:
        source = SOURCES.build(spec)
        if isinstance(source, CocoFormatSource):
            # The config may name the very file that is to be written: the annotated boxes are read, not detected ones.
            source.bbox_file, source.reader = None, replace(source.reader, keep_empty=True)
        records += source.load()[0]
    return records


def list_numbered_images(folder: Path) -> dict[int, Path]:
    """List the images of a folder by image id, the number that is their file name, as in COCO.

    Raises:
        AnnotationError: the folder cannot be read or has no image, or a file name is no number.
    """
    try:
        files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        reason = error.strerror or error
        raise AnnotationError(f'{folder}: {reason}; name a config, or a folder of images') from None
    if not files:
        raise AnnotationError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    return index_images_by_id((file.stem, file) for file in files)


def index_images_by_id(named_paths: Iterable[tuple[str, Path]]) -> dict[int, Path]:
    """Index images by their id.

    Args:
        named_paths: the id as text, and the path of each image.

    Raises:
        AnnotationError: an id is no whole number, or two images have the same one.
    """
    paths: dict[int, Path] = {}
    for name, path in named_paths:
        if not name.isdecimal():
            raise AnnotationError(
                f"{path} has the id {name!r}, but in COCO's layout the id of an image is a number; for other images "
                f'use the detector directly: poseplug predict --detector'
            )
        first_path = paths.setdefault(int(name), path)
        if first_path != path:
            raise AnnotationError(f'{path} and {first_path} have the same image id; give each image an id of its own')
    return paths


def detect_boxes(images: Mapping[int, Path], detector: Any) -> list[dict[str, Any]]:
    """Run a detector on images and return its boxes as COCO result records.

    Args:
        images: paths by image id.
        detector: a detector, such as `OnnxDetector`.

    Returns:
        A dict for each box: image_id, category_id, bbox (x, y, width, height in px) and score.
    """
    results: list[dict[str, Any]] = []
    for image_id in track_progress(sorted(images), 'detecting', unit='image'):
        # The pixels as stored, which the annotations of a data set mean.
        (detections,) = detector([read_image(images[image_id], apply_exif=False)])
        results += _detections_to_coco(image_id, detections)
    return results


def _detections_to_coco(image_id: int, detections: DetectedBoxes) -> list[dict[str, Any]]:
    """The result records of one image."""
    results: list[dict[str, Any]] = []
    for (left, top, right, bottom), score in zip(detections.boxes, detections.scores, strict=True):
        result: dict[str, Any] = {'image_id': image_id, 'category_id': _PERSON_CATEGORY_ID}
        # 1/100 px and five digits of the score say all that a detector knows, and keep the file small
        result['bbox'] = [round(float(value), 2) for value in (left, top, right - left, bottom - top)]
        result['score'] = round(float(score), 5)
        results.append(result)
    return results


def describe_recall(records: Iterable[Record], results: Iterable[Mapping[str, Any]]) -> str:
    """Report in words how many annotated people have a detected box of their own with an IoU of at least 0.5.

    Args:
        records: annotated images; their ids are those of the results.
        results: COCO result records.
    """
    boxes_by_image = defaultdict(list)
    for result in results:
        boxes_by_image[result['image_id']].append(result['bbox'])
    # an empty mask first, so that data without images can be concatenated
    large_masks, match_masks = [np.zeros(0, bool)], [np.zeros(0, bool)]
    for record in records:
        boxes, areas = record.instances.boxes, record.instances.areas
        detected = boxes_to_corners(np.reshape(boxes_by_image[int(record.id)], (-1, 4)), 'xywh')
        large_masks.append(areas > LARGE_AREA_PX2)
        match_masks.append(match_detected_boxes(boxes, detected))
    matches = np.concatenate(match_masks)
    large_matches = matches[np.concatenate(large_masks)]
    return (
        f'annotated people with a box of an IoU of {_MATCH_IOU}: {matches.sum():,} of {len(matches):,}, '
        f'{large_matches.sum():,} of {len(large_matches):,} above {LARGE_AREA_PX2:,} px²'
    )


def match_detected_boxes(boxes: np.ndarray, detected: np.ndarray) -> np.ndarray:
    """Match annotated boxes to detected ones, one to one, so that as many as possible have a match.

    Args:
        boxes: (N, 4) annotated, x, y of two corners.
        detected: (M, 4) detected, x, y of two corners.

    Returns:
        (N,) bool, whether an annotated box has a detected one with an IoU of at least 0.5 that matches no other.
    """
    overlaps = box_iou(boxes, detected) >= _MATCH_IOU
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    has_match = np.zeros(len(boxes), bool)
    has_match[rows] = overlaps[rows, columns]
    return has_match


def write_detections(results: Sequence[dict[str, Any]], out: Path) -> None:
    """Write COCO result records as a JSON file.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        write_atomically(out, json.dumps(results).encode())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f'{out}: {reason}; name another file for --out') from error
