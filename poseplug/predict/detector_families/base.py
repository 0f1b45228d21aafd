"""The interface of a detector family, and what several families read alike."""

from __future__ import annotations

__all__ = [
    'COCO_CLASS_COUNTS',
    'Candidates',
    'DetectorFamily',
    'build_candidates',
    'build_labeled_candidates',
    'count_grid_cells',
    'cxcywh_to_xyxy',
    'grid_cell_centers',
    'is_ultralytics',
    'parse_class_names',
]

import ast
import json
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_input import DetectorInput

COCO_CLASS_COUNTS = {80: 0, 91: 1}  # number of classes -> index of person: without and with the ids that COCO skips


class Candidates(NamedTuple):
    """The output of a detector's network for one image, before any threshold.

    Attributes:
        boxes: (N, 4) xyxy in px of the input, where x goes from 0 to the width.
        class_scores: (N, C) from 0 to 1.
        overlap: whether several boxes may lie on one object, so that the overlapping ones must be suppressed.
        num_classes: C; None where labels alone are given, which do not say how many classes there are.
    """

    boxes: np.ndarray
    class_scores: np.ndarray
    overlap: bool
    num_classes: int | None


class DetectorFamily:
    """The rules by which the ONNX files of one kind of detector are recognized, fed and read.

    Outputs come without their batch axis: `(300, 6)` for a network's `(1, 300, 6)`.

    Attributes:
        outputs_text: the outputs in words, for messages and docs.
        input_rule: how the network is fed, unless the file or the user says otherwise.
        nms_threshold: of two boxes with a larger IoU the one with the lower score is dropped, where boxes overlap.
        aliases: names of detectors of the same kind, by which the family can be named too.

    Example:
        >>> class HalfInput(DetectorFamily):
        ...     outputs_text = 'score (1,): a person fills the left half'
        ...     def recognizes(self, info, shapes, input_size):
        ...         return set(shapes) == {'left_half'}
        ...     def read(self, info, outputs, input_size):
        ...         box = np.array([[0, 0, input_size[0] / 2, input_size[1]]])
        ...         return build_candidates(box, outputs['left_half'].reshape(1, 1), overlap=False)
        >>> HalfInput().read(None, {'left_half': np.array([0.7])}, (64, 48)).boxes.tolist()
        [[0.0, 0.0, 32.0, 48.0]]
    """

    outputs_text: ClassVar[str] = ''
    input_rule: ClassVar[DetectorInput] = DetectorInput()
    nms_threshold: ClassVar[float] = 0.6
    aliases: ClassVar[tuple[str, ...]] = ()

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        """Return whether a file is of this family, as far as it can be told.

        Args:
            info: the file's inputs, outputs and metadata.
            shapes: of the outputs by name, in the file's order, without the batch axis.
            input_size: (width, height) of the input in px.
        """
        raise NotImplementedError

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        """Read the outputs for one image.

        Args:
            info: the file's inputs, outputs and metadata.
            outputs: by name, in the file's order, without the batch axis.
            input_size: (width, height) of the input in px.

        Returns:
            The candidates; None if the outputs are not of this family.
        """
        raise NotImplementedError

    def default_class(self, num_classes: int | None) -> int:
        """The index of the class of people in a file that does not name its classes."""
        return COCO_CLASS_COUNTS[80]


def build_candidates(boxes: np.ndarray, class_scores: np.ndarray, overlap: bool) -> Candidates:
    """Build candidates of boxes (N, 4; xyxy) and scores (N, C), both of any floating type."""
    # Only half precision is converted: a table of 8,400 x 80 scores in double precision costs 2 ms an image.
    if class_scores.dtype == np.float16:
        class_scores = class_scores.astype(np.float32)
    return Candidates(np.asarray(boxes, np.float64), class_scores, overlap, class_scores.shape[1])


def build_labeled_candidates(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, overlap: bool) -> Candidates:
    """Build candidates of boxes (N, 4; xyxy), scores (N,) and labels (N,); other classes have the score 0.

    A row with a label below 0, with which some detectors fill what they do not use, has no class.
    """
    labels = np.asarray(np.nan_to_num(labels, nan=-1), np.int64)
    is_used = labels >= 0
    class_scores = np.zeros((len(labels), int(labels.max(initial=0)) + 1))
    class_scores[np.flatnonzero(is_used), labels[is_used]] = scores[is_used]
    return Candidates(np.asarray(boxes, np.float64), class_scores, overlap, None)


def cxcywh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Convert boxes (N, 4) from center x, center y, width, height to two corners."""
    boxes = np.asarray(boxes, np.float64)
    half_sizes = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half_sizes, boxes[:, :2] + half_sizes], axis=1)


def count_grid_cells(input_size: Size, strides: Sequence[int]) -> int:
    """Count the cells of all strides; a cell that the input cuts off counts."""
    return sum(math.ceil(input_size[0] / stride) * math.ceil(input_size[1] / stride) for stride in strides)


def grid_cell_centers(input_size: Size, strides: Sequence[int], center: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Compute the centers of the cells of all strides, the first stride first, row by row.

    Args:
        input_size: (width, height) of the input in px.
        strides: in px.
        center: position in a cell, 0 for its upper left corner and 0.5 for its middle.

    Returns:
        Centers (cells, 2), x, y in px of the input, where x goes from 0 to the width; and strides (cells, 1) in px.
    """
    centers, cell_strides = [], []
    for stride in strides:
        columns, rows = (math.ceil(length / stride) for length in input_size)
        # row by row: index = y * columns + x
        y, x = np.divmod(np.arange(columns * rows), columns)
        centers.append(stride * (np.stack([x, y], axis=1) + center))
        cell_strides.append(np.full((columns * rows, 1), float(stride)))
    return np.concatenate(centers), np.concatenate(cell_strides)


def is_ultralytics(info: OnnxGraphInfo) -> bool:
    """Whether a file's metadata says that Ultralytics' exporter wrote it."""
    return info.metadata.get('author') == 'Ultralytics'


def parse_class_names(metadata: Mapping[str, str]) -> dict[int, str]:
    """Read the names of the classes from a file's metadata.

    Args:
        metadata: of an ONNX file. Ultralytics' exporter writes `names`, a Python dict; RF-DETR's writes
            `rfdetr_inference`, a JSON object with `class_id_to_name`.

    Returns:
        Names by index; empty if the file has none that can be read.

    Example:
        >>> parse_class_names({'names': "{0: 'person', 1: 'dog'}"})
        {0: 'person', 1: 'dog'}
    """
    try:
        if 'rfdetr_inference' in metadata:
            names = json.loads(metadata['rfdetr_inference'])['class_id_to_name']
        else:
            names = ast.literal_eval(metadata['names'])  # reads literals only: nothing is run
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(index): str(name) for index, name in pairs}
    except (KeyError, ValueError, TypeError, SyntaxError, AttributeError, RecursionError, MemoryError):
        return {}
