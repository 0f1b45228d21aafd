"""YOLOX (Ge et al. 2021): a row per cell with a box, the chance of an object and those of its classes."""

from __future__ import annotations

__all__ = ['YOLOX']

from collections.abc import Mapping

import numpy as np

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import (
    Candidates,
    DetectorFamily,
    build_candidates,
    count_grid_cells,
    cxcywh_to_xyxy,
    grid_cell_centers,
    is_ultralytics,
)
from poseplug.predict.detector_families.mmdeploy import begins_with_slices, has_mmdeploy_names, read_mmdeploy_outputs
from poseplug.predict.detector_input import DetectorInput
from poseplug.registry import DETECTOR_FAMILIES

_STRIDES = (8, 16, 32)
_NUM_BOX_COLUMNS = 5  # center, size, and the chance of an object
# NanoDet and a transposed YOLOv8 have as many cells, and on COCO these columns.
_OTHER_COLUMNS = (80 + 32, 80 + 4)
_MAX_LOG_SIZE = 20.0  # a logarithm of a size in strides beyond this would not be finite, or far larger than any image


@DETECTOR_FAMILIES.register_module()
class YOLOX(DetectorFamily):
    """YOLOX, as its own exporter writes it (with or without the boxes decoded), or as MMDeploy does."""

    outputs_text = (
        '(cells, 5 + classes) of center, size, chance of an object and class scores, decoded or not, for strides of 8, '
        '16 and 32; or dets (N, 5) and labels (N,)'
    )
    # since its version 0.1.1 the network takes values of 0 to 255 in BGR order, without mean and std
    input_rule = DetectorInput('letterbox_corner', 114, 'bgr', (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    # of its demo for ONNX files
    nms_threshold = 0.45

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        if has_mmdeploy_names(shapes):
            return begins_with_slices(info)
        shape = next(iter(shapes.values()))
        if is_ultralytics(info) or len(shapes) != 1 or len(shape) != 2:
            return False
        if shape[0] != count_grid_cells(input_size, _STRIDES):
            return False
        return shape[1] > _NUM_BOX_COLUMNS and shape[1] not in _OTHER_COLUMNS

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        if len(outputs) > 1:
            return read_mmdeploy_outputs(outputs)
        rows = next(iter(outputs.values()))
        if rows.ndim != 2 or rows.shape[1] <= _NUM_BOX_COLUMNS:
            return None
        boxes = _decode_boxes(np.asarray(rows[:, :4], np.float64), input_size)
        return build_candidates(boxes, rows[:, 4:5] * rows[:, _NUM_BOX_COLUMNS:], overlap=True)


def _decode_boxes(boxes: np.ndarray, input_size: Size) -> np.ndarray:
    """Corners in px of boxes (N, 4) that are centers and sizes in px, or relative to the cells of the strides.

    Its exporter writes both and says nowhere which. A decoded center lies near its own cell, a relative one near 0.
    """
    if len(boxes) == count_grid_cells(input_size, _STRIDES):
        centers, strides = grid_cell_centers(input_size, _STRIDES, center=0.0)
        # rows of zeros, with which some exporters fill, say nothing
        is_used = boxes.any(axis=1)
        distances = np.abs(boxes[:, :2] - centers)[is_used] / strides[is_used]
        if is_used.any() and np.median(np.abs(boxes[is_used, :2])) < np.median(distances):
            # relative sizes are logarithms in strides, relative centers offsets from a cell's corner in strides
            sizes = np.exp(np.minimum(boxes[:, 2:], _MAX_LOG_SIZE)) * strides
            boxes = np.concatenate([centers + boxes[:, :2] * strides, sizes], axis=1)
    return cxcywh_to_xyxy(boxes)
