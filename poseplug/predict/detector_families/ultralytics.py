"""The detectors of Ultralytics: YOLOv8 to YOLO26 with and without suppression inside, and YOLOv5's own repository."""

from __future__ import annotations

__all__ = ['Ultralytics', 'YOLOv5']

from collections.abc import Mapping

import numpy as np

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import (
    Candidates,
    DetectorFamily,
    build_candidates,
    build_labeled_candidates,
    count_grid_cells,
    cxcywh_to_xyxy,
    is_ultralytics,
    parse_class_names,
)
from poseplug.registry import DETECTOR_FAMILIES

_STRIDE_SETS = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))
_NUM_ROW_COLUMNS = 6  # two corners, score, class
_MAX_ROWS = 1000  # of a file with suppression inside: 300 unless its export said otherwise
_TASKS = ('detect', 'pose', 'segment')  # what they add to a row follows the columns of a detector
_NUM_COCO_CLASSES = 80
_ANCHORS_PER_CELL = 3  # of YOLOv5


@DETECTOR_FAMILIES.register_module()
class Ultralytics(DetectorFamily):
    """YOLOv8 to YOLO26: a column per cell with a box and class scores, or rows that are final."""

    outputs_text = (
        '(4 + classes, cells) of center, size and class scores; or, of an end-to-end file, (N, 6) of two corners in '
        'px, score and class'
    )
    # Ultralytics' own default of `iou`
    nms_threshold = 0.7
    aliases = ('YOLOv8', 'YOLOv9', 'YOLOv10', 'YOLO11', 'YOLO12', 'YOLO26')

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        if not _is_of_task(info) or (len(shapes) > 1 and not is_ultralytics(info)):
            return False
        shape = next(iter(shapes.values()))
        layout = _choose_layout(info, shape, input_size)
        if is_ultralytics(info):
            return layout is not None
        num_cells = [count_grid_cells(input_size, strides) for strides in _STRIDE_SETS]
        if layout != 'rows':
            return layout == 'transposed' or (layout == 'columns' and shape[1] in num_cells)
        return shape[1:] == (_NUM_ROW_COLUMNS,) and 1 < shape[0] <= _MAX_ROWS and shape[0] not in num_cells

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        table = next(iter(outputs.values()))  # prototypes of masks may follow
        layout = _choose_layout(info, table.shape, input_size) if _is_of_task(info) else None
        if layout in ('columns', 'transposed'):
            table = table if layout == 'columns' else table.T
            # what follows the class scores, such as the coefficients of masks, is not read
            num_classes = len(parse_class_names(info.metadata)) or len(table) - 4
            return build_candidates(cxcywh_to_xyxy(table[:4].T), table[4 : 4 + num_classes].T, overlap=True)
        if layout == 'rows':
            return build_labeled_candidates(table[:, :4], table[:, 4], table[:, 5], overlap=False)
        return None


def _is_of_task(info: OnnxGraphInfo) -> bool:
    """Whether a file does not say that it is for something else, such as rotated boxes."""
    return info.metadata.get('task', 'detect') in _TASKS


def _choose_layout(info: OnnxGraphInfo, shape: tuple[int, ...], input_size: Size) -> str | None:
    """'columns', 'transposed' or 'rows': what an output of a shape holds; None if it is none of them."""
    if len(shape) != 2:
        return None
    cell_counts = {count_grid_cells(input_size, strides) for strides in _STRIDE_SETS}
    num_classes, is_final = len(parse_class_names(info.metadata)), _says_end_to_end(info)
    has_classes = not is_final and shape[0] >= 4 + max(1, num_classes)
    if has_classes and shape[1] in cell_counts:
        return 'columns'
    if not is_final and shape[0] in cell_counts and shape[1] == 4 + (num_classes or _NUM_COCO_CLASSES):
        return 'transposed'
    if is_ultralytics(info) and not is_final and shape[1] == 4 + num_classes:
        return None  # its RT-DETR
    extends_rows = shape[1] > _NUM_ROW_COLUMNS and info.metadata.get('task') in _TASKS[1:]
    if shape[1] == _NUM_ROW_COLUMNS or extends_rows:
        return 'rows'
    return 'columns' if has_classes else None


def _says_end_to_end(info: OnnxGraphInfo) -> bool:
    """Whether a file's metadata says that its rows are final."""
    return info.metadata.get('end2end') == 'True' or "'nms': True" in info.metadata.get('args', '')


@DETECTOR_FAMILIES.register_module()
class YOLOv5(DetectorFamily):
    """YOLOv5 of its own repository: a row per anchor with a box, the chance of an object and those of its classes."""

    outputs_text = '(3 x cells, 5 + classes) of center, size, chance of an object and class scores'

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        shape = next(iter(shapes.values()))
        num_anchors = {_ANCHORS_PER_CELL * count_grid_cells(input_size, strides) for strides in _STRIDE_SETS}
        has_anchors = len(shape) == 2 and shape[0] in num_anchors and shape[1] > 5
        return len(shapes) == 1 and has_anchors and not is_ultralytics(info)

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        rows = next(iter(outputs.values()))
        if len(outputs) != 1 or rows.ndim != 2 or rows.shape[1] <= 5:
            return None
        return build_candidates(cxcywh_to_xyxy(rows[:, :4]), rows[:, 4:5] * rows[:, 5:], overlap=True)
