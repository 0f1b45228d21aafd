"""The content of the web page's responses: models, sample images, and the predictions of an image."""

from __future__ import annotations

__all__ = [
    'HEATMAPS_NOTE',
    'SAMPLE_INDICES',
    'build_response',
    'describe_page_model',
    'draw_sample_images',
    'encode_jpeg_url',
    'shrink_image',
]

import base64
from typing import Any

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.data.synthetic import render_coco_scene, render_lsp_scene
from poseplug.deploy.page_files import describe_drawing
from poseplug.files.images import read_image_bytes
from poseplug.predict.pose_predictor import PosePredictor
from poseplug.predict.predictor import Predictor
from poseplug.predict.result_records import build_result_header
from poseplug.report.heatmaps import draw_heatmap_strips

_MAX_SIDE_PX = 1600  # longer side of the image that the page shows
_JPEG_QUALITY = 92
_SAMPLE_SEED = 5
SAMPLE_INDICES = (0, 3, 8, 13, 5, 9)  # images of the embedded data set; the last one is hard
HEATMAPS_NOTE = 'One row per stage; all keypoints together, then one column per keypoint.'


def describe_page_model(predictor: PosePredictor) -> dict[str, Any]:
    """Describe a model for the page.

    Args:
        predictor: of the model.

    Returns:
        The header of result files; `finds_instances`, whether the model or a detector does; `accepts_boxes`; and how
        the skeleton is drawn (`describe_drawing`).
    """
    header, drawing = build_result_header(predictor), describe_drawing(predictor.skeleton)
    model: Any = getattr(predictor, 'model', None)
    accepts_boxes = not getattr(model, 'finds_instances', predictor.finds_instances)
    return header | {'finds_instances': predictor.finds_instances, 'accepts_boxes': accepts_boxes} | drawing


def build_response(
    predictor: PosePredictor, image_bytes: bytes, boxes: np.ndarray | None = None, draws_heatmaps: bool = True
) -> dict[str, Any]:
    """Predict an image file and build the JSON content of the response.

    The image is turned upright as its EXIF orientation says, and so are the keypoints.

    Args:
        predictor: of the image.
        image_bytes: the image file.
        boxes: (N, 4) x and y of two corners in px of the upright image, one row per instance; None to predict without.
        draws_heatmaps: also send the upright image and the heatmaps, which takes longer than the keypoints alone.

    Returns:
        The content of `results.json` for this image, and with `draws_heatmaps` also `image_url` (the upright image, its
        longer side at most 1600 px), `heatmaps_url` (the heatmaps of the first instance, or None) and `note` (what they
        show, or why there are none).

    Raises:
        ImageError: the bytes are no complete image.
        AnnotationError: a box is impossible.
        ConfigError: the model finds instances by itself and was given boxes.
    """
    image = read_image_bytes(image_bytes, 'the image')
    # `stream`, which all predictors have; heatmaps need `Predictor` itself
    (poses,) = predictor.stream([image], None if boxes is None else [boxes], box_format='xyxy')
    result = {'width': image.shape[1], 'height': image.shape[0], 'instances': poses.to_dicts()}
    response = build_result_header(predictor) | {'images': [result]}
    if draws_heatmaps:
        heatmaps_url, note = _render_heatmaps(predictor, image, poses, boxes)
        image_url = encode_jpeg_url(shrink_image(image))
        response |= {'image_url': image_url, 'heatmaps_url': heatmaps_url, 'note': note}
    return response


def _render_heatmaps(
    predictor: PosePredictor, image: np.ndarray, poses: Poses, boxes: np.ndarray | None
) -> tuple[str | None, str]:
    """The heatmaps of the first instance as a data URL and what they show, or None and why there are none."""
    if not isinstance(predictor, Predictor):
        return None, 'An exported file shows no heatmaps.'
    box, prefix = None, ''
    if boxes is not None or predictor.detector is not None:
        if poses.boxes is None or not len(poses):
            return None, 'The detector finds no instance, so there are no heatmaps.'
        box, prefix = poses.boxes[0], 'Instance 1. '
    try:
        heatmap_stages = predictor.predict_heatmaps(image, box, 'xyxy')
        return encode_jpeg_url(draw_heatmap_strips(heatmap_stages)), f'{prefix}{HEATMAPS_NOTE}'
    except ConfigError as error:
        return None, str(error)


def draw_sample_images(multi_person: bool) -> list[tuple[str, bytes]]:
    """Draw the sample images, from the embedded data sets.

    Args:
        multi_person: draw images of several people.

    Returns:
        For each image what it shows, and its bytes as PNG.
    """
    samples = []
    for index in SAMPLE_INDICES:
        if multi_person:
            scene, _ = render_coco_scene(_SAMPLE_SEED, 1, index)
        else:
            scene, _ = render_lsp_scene(_SAMPLE_SEED, index)
        poses = dict.fromkeys(person.pose_family.replace('_', ' ') for person in scene.persons)
        samples.append((', '.join(poses), cv2.imencode('.png', scene.image)[1].tobytes()))
    return samples


def shrink_image(image: np.ndarray) -> np.ndarray:
    """Shrink an image (H, W, 3) whose longer side exceeds 1600 px to that; return any other unchanged."""
    scale = _MAX_SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    width, height = (max(1, round(scale * length)) for length in image.shape[1::-1])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def encode_jpeg_url(image: np.ndarray) -> str:
    """Encode an image (H, W, 3; BGR) as a data URL of a JPEG file."""
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'
