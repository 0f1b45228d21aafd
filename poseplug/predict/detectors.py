"""Person detectors for prediction: the interface, and one that runs ONNX files with OpenCV."""

from __future__ import annotations

__all__ = [
    'NANODET_BINS',
    'NANODET_MEAN_BGR',
    'NANODET_STD_BGR',
    'Detector',
    'OnnxDetector',
    'decode_nanodet_boxes',
    'grid_cell_centers',
    'letterbox_to_input',
    'parse_detections',
]

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from poseplug.core.boxes import clip_boxes
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.core.geometry import Size, crop_matrix, image_center, transform_points
from poseplug.data.sources.box_files import DetectedBoxes
from poseplug.data.transforms.warp import choose_reduction, reduced_to_full_matrix, warp_image
from poseplug.files.fetch import fetch_pinned_url
from poseplug.files.onnx_file import read_input_shapes
from poseplug.grouping.nms import nms
from poseplug.predict.image_input import ImageInput, open_image

NANODET_BINS = 8  # bins of a distance in NanoDet's head: 0 to 7 strides
NANODET_MEAN_BGR = (103.53, 116.28, 123.675)  # input normalization of NanoDet, for values of 0 to 255
NANODET_STD_BGR = (57.375, 57.12, 58.395)
_MIN_BOX_SIZE_PX = 1.0  # boxes that are narrower or lower once clipped to the image are slivers, not people
_SUPPORTED_OUTPUTS = (
    f"NanoDet's pairs of (cells, classes) and (cells, 4 x {NANODET_BINS}), one pair per stride; (boxes, 5 or 6) of two "
    f'corners, score and perhaps class; the same (boxes, 5) beside classes (boxes,); or two corners (cells, 4) beside '
    f'class scores (cells, classes)'
)


class Detector(Protocol):
    """Any callable that finds the people in images.

    Args:
        images: arrays (H, W, 3) of uint8 in BGR order.

    Returns:
        For each image boxes (N, 4), x, y of two corners in px of the image, and scores (N,) from 0 to 1, the highest
        first.

    Example:
        >>> def detect_center(images):
        ...     sizes = [image.shape[1::-1] for image in images]
        ...     return [(np.array([[w / 4, h / 4, 3 * w / 4, 3 * h / 4]]), np.array([0.9])) for w, h in sizes]
        >>> ((boxes, scores),) = detect_center([np.zeros((80, 40, 3), np.uint8)])
        >>> boxes.tolist()
        [[10.0, 20.0, 30.0, 60.0]]
    """

    def __call__(self, images: Sequence[np.ndarray], /) -> Sequence[tuple[np.ndarray, np.ndarray]]: ...


class OnnxDetector:
    """Detects people with an ONNX file, run by OpenCV on the CPU.

    An image is letterboxed: it lies in the middle of the network's input as large as fits, black beside it. Supported
    are NanoDet's heads, whose distances are distributions over bins, and files with boxes in px of the input
    (`parse_detections`).

    Args:
        file: path of the file, or `URL#sha256=DIGITS`.
        threshold: boxes with a lower score are dropped.
        nms_threshold: of two boxes with a larger IoU the one with the lower score is dropped.
        person_class: index of the class of people.
        mean: (3,) subtracted from the channels in BGR order, 0 to 255.
        std: (3,) the channels are divided by it.

    Raises:
        CheckpointError: the file is missing, is no ONNX file, or its input or outputs are not supported.
        ConfigError: a threshold is not between 0 and 1, or the detector has no such class.

    Example:
        >>> detector = OnnxDetector('nanodet_m.onnx', threshold=0.4)  # doctest: +SKIP
        >>> ((boxes, scores),) = detector(['photo.jpg'])  # doctest: +SKIP
    """

    def __init__(
        self,
        file: str | Path,
        threshold: float = 0.4,
        nms_threshold: float = 0.6,
        person_class: int = 0,
        mean: Sequence[float] = NANODET_MEAN_BGR,
        std: Sequence[float] = NANODET_STD_BGR,
    ):
        for name, value in (('threshold', threshold), ('nms_threshold', nms_threshold)):
            if not 0 <= value <= 1:
                raise ConfigError(f'OnnxDetector: {name} lies between 0 and 1; got {value}')
        self.file = fetch_pinned_url(file) if isinstance(file, str) and '://' in file else Path(file)
        self.threshold, self.nms_threshold, self.person_class = threshold, nms_threshold, person_class
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.net, self.input_size = _load_network(self.file)
        self.output_names = self.net.getUnconnectedOutLayersNames()
        # One run on a black image: unsupported outputs are an error now, not at the first image.
        self([np.zeros((*self.input_size[::-1], 3), np.uint8)])

    def __call__(self, images: Sequence[ImageInput], /) -> list[DetectedBoxes]:
        """Detect the people of every image.

        Args:
            images: arrays (H, W, 3) of uint8 in BGR order, paths, or the bytes of image files.

        Returns:
            For each image boxes (N, 4), two corners in px, and scores (N,), the highest first.
        """
        return [self._detect_image(open_image(image, n)[1]) for n, image in enumerate(images)]

    def _detect_image(self, image: np.ndarray) -> DetectedBoxes:
        inputs, image_to_input = letterbox_to_input(image, self.input_size)
        try:
            outputs = self._run_network((inputs - self.mean) / self.std)
            detections = parse_detections(outputs, self.input_size, self.person_class)
        except (ConfigError, CheckpointError) as error:
            raise type(error)(f'{self.file}: {error}') from None
        corners = transform_points(np.linalg.inv(image_to_input), detections.boxes.reshape(-1, 2, 2))
        boxes = clip_boxes(corners.reshape(-1, 4), np.array([image.shape[1::-1]]))
        is_large = (boxes[:, 2:] - boxes[:, :2] >= _MIN_BOX_SIZE_PX).all(axis=1)
        candidates = np.flatnonzero((detections.scores >= self.threshold) & is_large)
        indices = candidates[nms(boxes[candidates], detections.scores[candidates], self.nms_threshold)]
        return DetectedBoxes(boxes[indices], detections.scores[indices])

    def _run_network(self, inputs: np.ndarray) -> Sequence[np.ndarray]:
        """Run the network on a normalized input (H, W, 3)."""
        try:
            self.net.setInput(np.ascontiguousarray(inputs.transpose(2, 0, 1)[None]))
            outputs: Sequence[np.ndarray] = self.net.forward(self.output_names)
            return outputs
        except cv2.error as error:
            raise CheckpointError(
                f'OpenCV cannot run it: {_first_error_line(error)}; export it with other operators'
            ) from None


def _load_network(file: Path) -> tuple[Any, Size]:
    """Load the network of an ONNX file; returns it and the (width, height) of its input."""
    try:
        data = file.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f'{file}: {reason}; name the ONNX file of a detector') from None
    try:
        shapes = read_input_shapes(data)
        net: Any = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    except (ValueError, cv2.error) as error:
        raise CheckpointError(
            f'{file} is no ONNX file that OpenCV reads ({_first_error_line(error)}); download or export it again'
        ) from None
    (shape, *others) = shapes
    if others or len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < 1:
        actual_inputs = ', '.join(' x '.join(str(n or '?') for n in shape) for shape in shapes)
        raise CheckpointError(
            f"{file} has the inputs {actual_inputs}, but a detector's one input is 1 x 3 x height x width; export it "
            f'with a fixed size'
        )
    return net, (shape[3], shape[2])


def _first_error_line(error: Exception) -> str:
    """The first line of an error, without the position in OpenCV's source that precedes the message."""
    return str(error).strip().splitlines()[0].rpartition('error: ')[2]


def letterbox_to_input(image: np.ndarray, input_size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Place an image in the middle of a black input, as large as fits.

    An image of more than twice the input's size is first reduced by a whole number, as the mean of blocks: sampling it
    would lose narrow structures.

    Args:
        image: (H, W, 3) uint8.
        input_size: (width, height) of the input.

    Returns:
        The input (height, width, 3), and the matrix (3, 3) from px of the image to px of the input.
    """
    image_size = image.shape[1::-1]
    scale = min(target / length for target, length in zip(input_size, image_size, strict=True))
    matrix = crop_matrix(image_center(image_size), scale, input_size)
    reduction = choose_reduction([matrix])
    if reduction == 1 or min(image_size) < reduction:
        return warp_image(image, matrix, input_size, fill_color=(0, 0, 0)), matrix
    width, height = (length // reduction for length in image_size)
    whole_blocks = image[: height * reduction, : width * reduction]
    reduced = cv2.resize(whole_blocks, (width, height), interpolation=cv2.INTER_AREA)
    reduced_to_input = matrix @ reduced_to_full_matrix(reduction)
    return warp_image(reduced, reduced_to_input, input_size, fill_color=(0, 0, 0)), matrix


def parse_detections(outputs: Sequence[np.ndarray], input_size: Size, person_class: int = 0) -> DetectedBoxes:
    """Parse a detector's outputs, whatever supported layout they have.

    Args:
        outputs: the network's outputs, with or without a batch axis of length 1. Supported are NanoDet's pairs of
            class scores (cells, classes) and distance distributions (cells, 4 * `NANODET_BINS`); rows (N, 5) or (N, 6)
            of two corners, score and class; rows (N, 5) beside classes (N,); corners (cells, 4) beside class scores
            (cells, classes).
        input_size: (width, height) of the network's input.
        person_class: index of the class of people.

    Returns:
        Boxes (N, 4), two corners in px of the input, and scores (N,); of NanoDet's layout all cells, in no order.

    Raises:
        CheckpointError: the outputs have another layout.
        ConfigError: the detector has no such class.
    """
    arrays = [output[0] if output.ndim == 3 and len(output) == 1 else output for output in outputs]
    detections = _parse_box_outputs(arrays, person_class) or _parse_nanodet_outputs(arrays, input_size, person_class)
    if detections is None:
        shapes = ', '.join(' x '.join(map(str, output.shape)) for output in outputs) or 'none'
        raise CheckpointError(f'its outputs are {shapes}; supported are {_SUPPORTED_OUTPUTS}')
    return detections


def _parse_box_outputs(outputs: Sequence[np.ndarray], person_class: int) -> DetectedBoxes | None:
    """People in outputs that are boxes; None for any other layout."""
    boxes, *others = outputs or [np.zeros(0)]
    num_columns = boxes.shape[1] if boxes.ndim == 2 else 0
    if not others and num_columns in (5, 6):
        return _select_class(boxes, boxes[:, 5] if num_columns == 6 else None, person_class)
    if len(others) != 1 or num_columns not in (4, 5):
        return None
    (other,) = others
    if num_columns == 5 and other.size == len(boxes):
        return _select_class(boxes, other.ravel(), person_class)
    if num_columns == 4 and other.ndim == 2 and len(other) == len(boxes):
        return DetectedBoxes(boxes, _get_class_scores(other, person_class))
    return None


def _parse_nanodet_outputs(outputs: Sequence[np.ndarray], input_size: Size, person_class: int) -> DetectedBoxes | None:
    """People in NanoDet's outputs, in any order of the strides; None for any other layout."""
    tables = [output for output in outputs if output.ndim == 2]
    # The number of cells tells which scores and distances belong to one stride.
    class_scores = {len(table): table for table in tables if table.shape[1] != 4 * NANODET_BINS}
    distances = {len(table): table for table in tables if table.shape[1] == 4 * NANODET_BINS}
    if not outputs or class_scores.keys() != distances.keys() or 2 * len(class_scores) != len(outputs):
        return None
    boxes = [decode_nanodet_boxes(distances[n], grid_cell_centers(n, input_size)) for n in class_scores]
    scores = [_get_class_scores(table, person_class) for table in class_scores.values()]
    return DetectedBoxes(np.concatenate(boxes), np.concatenate(scores))


def _select_class(rows: np.ndarray, classes: np.ndarray | None, person_class: int) -> DetectedBoxes:
    """Select the rows (N, 5 or 6: two corners, score, ...) of a class, or all rows without `classes` (N,)."""
    selected = rows if classes is None else rows[classes == person_class]
    return DetectedBoxes(selected[:, :4], selected[:, 4])


def _get_class_scores(class_scores: np.ndarray, person_class: int) -> np.ndarray:
    """The column of a class in scores (cells, classes)."""
    num_classes = class_scores.shape[1]
    if not 0 <= person_class < num_classes:
        raise ConfigError(f'it has {num_classes} classes, 0 to {num_classes - 1}; got person_class={person_class}')
    return class_scores[:, person_class]


def grid_cell_centers(num_cells: int, input_size: Size) -> tuple[np.ndarray, float]:
    """Compute the centers of the cells of one stride.

    Args:
        num_cells: number of cells that tile the input.
        input_size: (width, height) of the input in px.

    Returns:
        Centers (cells, 2), x, y in px of the input, row by row; and the stride in px.

    Raises:
        CheckpointError: so many square cells do not tile the input.
    """
    width, height = input_size
    stride = max(1, round(math.sqrt(width * height / max(num_cells, 1))))
    columns, rows = width // stride, height // stride
    if columns * rows != num_cells or (columns * stride, rows * stride) != input_size:
        raise CheckpointError(f'{num_cells} cells of one stride do not tile an input of {width}x{height} px')
    y, x = np.divmod(np.arange(num_cells), columns)
    return stride * (np.stack([x, y], axis=1) + 0.5) - 0.5, float(stride)  # pixel centers sit on integers


def decode_nanodet_boxes(distance_logits: np.ndarray, centers_and_stride: tuple[np.ndarray, float]) -> np.ndarray:
    """Decode boxes from the distributions of the distances between cell centers and box sides.

    A distance is the mean of its distribution, in strides: the sum over bins of bin index times probability (Li et al.
    2020, Generalized Focal Loss, arXiv:2006.04388, eq. 5), as NanoDet's head predicts it.

    Args:
        distance_logits: (cells, 4 * `NANODET_BINS`) for the distances to left, top, right and bottom.
        centers_and_stride: centers (cells, 2) in px, and the stride in px.

    Returns:
        Boxes (cells, 4), x, y of two corners in px.
    """
    centers, stride = centers_and_stride
    logits = distance_logits.reshape(len(distance_logits), 4, NANODET_BINS)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    distances = stride * (weights @ np.arange(NANODET_BINS)) / weights.sum(axis=-1)
    return np.concatenate([centers - distances[:, :2], centers + distances[:, 2:]], axis=1)
