"""The boxes and images that callers and detectors give to a predictor: pairs, checks and conversion to corners."""

from __future__ import annotations

__all__ = [
    'ImageBoxes',
    'check_detector',
    'looks_like_xyxy',
    'pair_images_with_boxes',
    'parse_boxes',
    'run_detector',
    'to_number_array',
]

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from poseplug.core.boxes import BoxFormat, DetectedBoxes, boxes_to_corners
from poseplug.core.errors import AnnotationError, ConfigError, ImageError
from poseplug.files.json_file import describe_json_value
from poseplug.predict.image_input import ImageInput, expand_images, find_image_form

if TYPE_CHECKING:  # detectors are imported where one is used: a runtime without one starts faster
    from poseplug.predict.detectors import Detector

ImageBoxes = ArrayLike | None  # (N, 4) of one image; None where the caller gives none
_MAX_FRACTION = 1.5  # a corner of a box in fractions of the image, with some overhang
_MIN_JUDGED_SIDE = 16  # px of the image: whether boxes in a smaller one are fractions is not judged
_MAX_SCORE = 1.001  # 1 with the error of half precision
_MAX_OVERHANG_FRACTION = 0.25  # of its size: a box that leaves the image by more is suspected to be in another format


def pair_images_with_boxes(
    images: ImageInput | Iterable[ImageInput], boxes: Any
) -> Iterator[tuple[ImageInput, ImageBoxes]]:
    """Pair every image with its boxes.

    Args:
        images: several images, or a single one: a path, the bytes of a file, or an array (H, W, 3).
        boxes: (N, 4) or None for each image; of a single image its own (N, 4). None if no image has boxes.

    Returns:
        An iterator of pairs of an image and its boxes.

    Raises:
        AnnotationError: the numbers of images and of boxes differ.
        ImageError: the images are none.

    Example:
        >>> list(pair_images_with_boxes(['a.jpg', 'b.jpg'], None))
        [('a.jpg', None), ('b.jpg', None)]
        >>> list(pair_images_with_boxes('a.jpg', [[10, 20, 30, 40]]))
        [('a.jpg', [[10, 20, 30, 40]])]
    """
    form = find_image_form(images)
    # a single image: `boxes` are its rows and not one entry per image
    if form is not None and form.is_single:
        return iter([(images, boxes)])
    if form is not None:
        images = [images]
    if not isinstance(images, Iterable) or isinstance(images, Mapping):
        raise ImageError(f'images are one image or several; got a {type(images).__name__}')
    several = expand_images(images)
    if boxes is None:
        return ((image, None) for image in several)
    if not isinstance(boxes, Iterable):
        raise AnnotationError(f'boxes are one entry per image; got a {type(boxes).__name__}')
    # where both counts are known the error comes before the first prediction; otherwise `_zip_with_boxes` raises it
    if isinstance(images, Sized) and isinstance(boxes, Sized) and _count_images(images) not in (None, len(boxes)):
        raise AnnotationError(
            f'{len(images)} images were given boxes for {len(boxes)}; give each image its own (N, 4), or None'
        )
    return _zip_with_boxes(several, boxes)


def _count_images(images: Any) -> int | None:
    """The number of images in a list or stack; None if folders or lists among them have to be read for it."""
    forms = [] if isinstance(images, np.ndarray) else [find_image_form(image) for image in images]
    has_several = any(isinstance(image, list | tuple) for image in images)  # lists in the list
    is_known = not has_several and all(form is None or form.is_single for form in forms)
    return len(images) if is_known else None


def _zip_with_boxes(
    images: Iterable[ImageInput], boxes: Iterable[ImageBoxes]
) -> Iterator[tuple[ImageInput, ImageBoxes]]:
    """Zip images and boxes as they come; the end of one before the other is an error."""
    ended: Any = object()
    for index, (image, image_boxes) in enumerate(zip_longest(images, boxes, fillvalue=ended)):
        if image is ended or image_boxes is ended:
            kind = 'image' if image is ended else 'boxes'
            raise AnnotationError(f'there is no entry of {kind} at position {index}; give each image its own boxes')
        yield image, image_boxes


def parse_boxes(boxes: Any, box_format: BoxFormat, image_size: tuple[int, int], name: str) -> np.ndarray:
    """Check the boxes of an image and convert them to corners.

    Args:
        boxes: (N, 4) in px, one row per instance; anything that NumPy makes an array of.
        box_format: 'xywh' (x, y of the upper left corner, width, height) or 'xyxy' (x, y of two corners).
        image_size: (width, height) of the image.
        name: the image's name, for messages.

    Returns:
        (N, 4) float64, x, y of two corners.

    Raises:
        ConfigError: `box_format` is another one.
        AnnotationError: the boxes have another shape, one of them cannot be a box of this image, or they are fractions
            of its size.

    Example:
        >>> parse_boxes([[10, 20, 30, 40]], 'xywh', (200, 100), 'a.jpg').tolist()
        [[10.0, 20.0, 40.0, 60.0]]
    """
    if box_format not in ('xywh', 'xyxy'):
        raise ConfigError(f"box_format is 'xywh' or 'xyxy'; got {box_format!r}")
    try:
        rows = to_number_array(boxes)
    except ValueError as error:
        raise AnnotationError(f'{name}: boxes are numbers, four per instance; {error}') from None
    rows = rows.reshape(0, 4) if rows.size == 0 else rows  # an empty list is an array of shape (0,)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise AnnotationError(f'{name}: boxes are (N, 4), one row per instance; got an array of shape {rows.shape}')
    boxes_xyxy = boxes_to_corners(rows, box_format)
    # as Python's floats: of four numbers NumPy's operations take several times as long
    for n, (row, box_xyxy) in enumerate(zip(rows.tolist(), boxes_xyxy.tolist(), strict=True)):
        if problem := _find_box_error(row, box_xyxy, box_format, image_size):
            numbers = ', '.join(f'{value:g}' for value in row)
            raise AnnotationError(f'{name}: box {n} ({numbers}) {problem}')
    if len(rows) and np.abs(rows).max() <= _MAX_FRACTION and min(image_size) >= _MIN_JUDGED_SIDE:
        raise AnnotationError(
            f'{name}: its boxes lie within {_MAX_FRACTION} px of the corner of an image of '
            f'{image_size[0]}x{image_size[1]} px: they are fractions of the image. Multiply them by its size'
        )
    return boxes_xyxy


def to_number_array(values: Any) -> np.ndarray:
    """Convert numbers to an array, without those that only look like numbers.

    Args:
        values: an array, nested lists, tensors of any device or precision, also with gradients, or lists of tensors.

    Returns:
        float64 array.

    Raises:
        ValueError: they are no numbers, masked, too large for a float, or rows of different lengths.
    """
    if np.ma.is_masked(values):
        raise ValueError('some of them are masked')
    try:
        array = np.asarray(_detach_tensors(values))
        if array.size and array.dtype.kind not in 'iuf':
            raise ValueError(f'found {describe_json_value(values)}')
        return array.astype(np.float64)
    except (TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(str(error)) from None


def _detach_tensors(values: Any) -> Any:
    """Tensors, also in lists, as NumPy arrays; anything else as it is."""
    if hasattr(values, 'detach'):
        # NumPy has no bfloat16, and reads no tensor of a GPU or with a gradient
        return values.detach().double().cpu().numpy()
    if isinstance(values, (list, tuple)) and any(isinstance(v, (list, tuple)) or hasattr(v, 'detach') for v in values):
        return [_detach_tensors(value) for value in values]
    return values


def _find_box_error(
    values: Sequence[float], box_xyxy: Sequence[float], box_format: BoxFormat, image_size: tuple[int, int]
) -> str | None:
    """What is wrong with one box and what to do, or None; `values` are its numbers in `box_format`."""
    if not all(map(math.isfinite, values)):
        return 'is not finite; drop that instance'
    size = f'{image_size[0]}x{image_size[1]} px'
    x1, y1, x2, y2 = box_xyxy
    width, height = x2 - x1, y2 - y1
    if width <= 0 or height <= 0:
        rule = 'they are positive'
        if box_format == 'xyxy':
            rule = 'the second corner lies right of and below the first'
        return f'has a width of {width:g} and a height of {height:g} px; {rule}'
    if box_format == 'xywh' and looks_like_xyxy(values, image_size):
        return (
            f'extends far beyond the image ({size}) as x, y, width, height, but would fit it as two corners; if it is '
            f"two corners, declare it (box_format='xyxy', --box-format xyxy), otherwise clip it to the image"
        )
    # pixel centers sit on integers, so that the last one lies at the size - 1
    if x1 > image_size[0] - 1 or y1 > image_size[1] - 1 or x2 < 0 or y2 < 0:
        return f'lies outside the image ({size}); does it belong to another image, or is it in fractions of the size?'
    return None


def looks_like_xyxy(values: Sequence[float], image_size: tuple[int, int]) -> bool:
    """Whether a box, read as x, y, width, height, leaves the image widely, but lies inside as two corners.

    Args:
        values: the four numbers of the box.
        image_size: (width, height) of the image.
    """
    corners_by_axis = list(zip(values[:2], values[2:], image_size, strict=True))
    # With a tolerance of 1 px at every border.
    fits_as_corners = all(-1 <= low < high <= size + 1 for low, high, size in corners_by_axis)
    # the fraction is that of the box, so that a box at the border with a usual overhang is no suspect
    is_far_out = any(x + extent - size > _MAX_OVERHANG_FRACTION * extent for x, extent, size in corners_by_axis)
    return fits_as_corners and is_far_out


def check_detector(detector: Detector | None, model_name: str, finds_instances: bool) -> None:
    """Check that a detector is one, and that the model needs one.

    Args:
        detector: that the caller gave, if any.
        model_name: of the model, for the message.
        finds_instances: whether the model finds instances by itself.

    Raises:
        ConfigError: the detector cannot be called, or the model needs none.
    """
    if detector is not None and finds_instances:
        raise ConfigError(f'{model_name} finds instances in whole images by itself; leave the detector out')
    if detector is not None and not callable(detector):
        raise ConfigError(
            f'a detector is called with images and returns boxes, which a {type(detector).__name__} cannot; for an '
            f'ONNX file give OnnxDetector(FILE) of poseplug.predict.detectors'
        )


def run_detector(detector: Detector, images: Sequence[np.ndarray]) -> list[DetectedBoxes]:
    """Run a detector on a batch of images and check what it returns.

    Args:
        detector: called once with all images.
        images: each (H, W, 3) uint8, BGR.

    Returns:
        For each image its boxes (N, 4), x, y of two corners in px, and scores (N,).

    Raises:
        ConfigError: the detector did not return boxes and scores from 0 to 1 for each image.
    """
    result = detector(images)
    try:
        detections = [_parse_detection(*pair) for pair in result]
        is_valid = len(detections) == len(images)
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ConfigError(
            f'{type(detector).__name__} did not return boxes (N, 4) and scores (N,) from 0 to 1 for each image; see '
            'Detector in poseplug.predict.detectors'
        )
    return detections


def _parse_detection(boxes: ArrayLike, scores: ArrayLike) -> DetectedBoxes:
    """The boxes and scores of one image as arrays; a ValueError if they do not belong together."""
    detection = DetectedBoxes(to_number_array(boxes), to_number_array(scores))
    is_score = (detection.scores >= 0) & (detection.scores <= _MAX_SCORE)  # false for NaN, too
    if detection.scores.shape != (len(detection.boxes),) or not is_score.all():
        raise ValueError('not one score from 0 to 1 per box')
    return detection
