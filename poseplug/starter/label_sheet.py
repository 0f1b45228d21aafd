"""A sheet of images with their labels drawn, to see whether they were read as they are meant."""

from __future__ import annotations

__all__ = ['draw_label_sheet']

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.files.images import read_image
from poseplug.report.draw import draw_contact_sheet, draw_poses, scale_points

_COLUMNS, _CELL_WIDTH_PX = 6, 320
_MAX_CELL_ASPECT = 1.25  # height over width
_MAX_SIDE_PX = 480  # of an image before it is drawn on


def draw_label_sheet(
    content: Mapping[str, Any], image_folder: Path, skeleton: Skeleton, num_images: int = 24
) -> np.ndarray:
    """Draw images, evenly chosen among those with instances, with keypoints, limbs and boxes.

    Args:
        content: COCO's object.
        image_folder: the folder that the names of the images start from.
        skeleton: with the keypoints of the annotations, in their order.
        num_images: at most.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: an image cannot be read, or there is none.
    """
    annotations: dict[Any, list[Mapping[str, Any]]] = {}
    for annotation in content['annotations']:
        # others are reported when the files are read as in training
        if len(annotation.get('keypoints') or ()) == 3 * len(skeleton):
            annotations.setdefault(annotation['image_id'], []).append(annotation)
    images = [image for image in content['images'] if image['id'] in annotations]
    chosen = np.unique(np.linspace(0, len(images) - 1, min(num_images, len(images))).round().astype(int))
    drawings, captions = [], []
    for index in chosen.tolist():
        image = images[index]
        # labels mean the pixels as stored
        pixels = read_image(image_folder / image['file_name'], apply_exif=False)
        drawings.append(_draw_labels(pixels, annotations[image['id']], skeleton))
        captions.append(f'{image.get("split", "")} {image["file_name"]}'.strip())
    aspect = max((drawing.shape[0] / drawing.shape[1] for drawing in drawings), default=1.0)
    cell_size = (_CELL_WIDTH_PX, round(_CELL_WIDTH_PX * min(aspect, _MAX_CELL_ASPECT)))
    return draw_contact_sheet(drawings, _COLUMNS, captions, cell_size)


def _draw_labels(pixels: np.ndarray, annotations: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> np.ndarray:
    """The image, made smaller if it is large, with the labels of its instances."""
    factor = min(1.0, _MAX_SIDE_PX / max(pixels.shape[:2]))
    size = [max(1, round(side * factor)) for side in pixels.shape[1::-1]]
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if factor < 1 else pixels
    tables = np.array([a['keypoints'] for a in annotations], dtype=float).reshape(len(annotations), -1, 3)
    poses = Poses.from_annotations(scale_points(tables[..., :2], factor), tables[..., 2].astype(int))
    boxes = [annotation.get('bbox') for annotation in annotations]
    if all(isinstance(box, list) and len(box) == 4 for box in boxes):
        # boxes go from edge to edge, so that they scale without the half pixel of points
        corners = np.array(boxes, dtype=float) * factor
        corners[:, 2:] += corners[:, :2]
        poses = replace(poses, boxes=corners)
    return draw_poses(small, poses, skeleton, threshold=0.5)
