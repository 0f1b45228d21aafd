"""NanoDet and NanoDet-Plus (Lyu 2020, 2021): distances to the four sides of a box, each as a distribution over bins."""

from __future__ import annotations

__all__ = ['NANODET_BINS', 'NanoDet', 'NanoDetPlus', 'decode_nanodet_boxes']

from collections.abc import Mapping

import numpy as np

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import (
    Candidates,
    DetectorFamily,
    build_candidates,
    count_grid_cells,
    grid_cell_centers,
)
from poseplug.predict.detector_input import DetectorInput
from poseplug.registry import DETECTOR_FAMILIES

NANODET_BINS = 8  # bins of a distance in NanoDet's head: 0 to 7 strides
_NUM_DISTANCE_COLUMNS = 4 * NANODET_BINS
_STRIDES, _PLUS_STRIDES = (8, 16, 32), (8, 16, 32, 64)
_ALL_STRIDES = (4, 8, 16, 32, 64, 128)
# ImageNet's, in the order of the channels
_MEAN_BGR, _STD_BGR = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


@DETECTOR_FAMILIES.register_module()
class NanoDet(DetectorFamily):
    """NanoDet: for each stride class scores and distance distributions, or one table of both for all strides."""

    outputs_text = (
        f'for each stride class scores (cells, classes) and distances (cells, {_NUM_DISTANCE_COLUMNS}); or, for '
        f'strides of 8, 16 and 32, one (cells, classes + {_NUM_DISTANCE_COLUMNS})'
    )
    input_rule = DetectorInput('letterbox', 0, 'bgr', _MEAN_BGR, _STD_BGR)

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        tables = list(shapes.values())
        if len(tables) == 1:
            # Class counts other than COCO's could as well be those of a YOLOX, which has as many cells.
            return tables[0] == (count_grid_cells(input_size, _STRIDES), 80 + _NUM_DISTANCE_COLUMNS)
        return _pair_tables({name: np.empty(shape) for name, shape in shapes.items()}, input_size) is not None

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        if len(outputs) == 1:
            return _read_single_table(next(iter(outputs.values())), input_size, _STRIDES, center=0.5)
        pairs = _pair_tables(outputs, input_size)
        if pairs is None:
            return None
        boxes = [
            decode_nanodet_boxes(distances, grid_cell_centers(input_size, [stride]))
            for stride, (_, distances) in pairs.items()
        ]
        class_scores = [scores for scores, _ in pairs.values()]
        return build_candidates(np.concatenate(boxes), np.concatenate(class_scores), overlap=True)


@DETECTOR_FAMILIES.register_module()
class NanoDetPlus(DetectorFamily):
    """NanoDet-Plus: one table of class scores and distance distributions, with a fourth stride."""

    outputs_text = f'for strides of 8, 16, 32 and 64, one (cells, classes + {_NUM_DISTANCE_COLUMNS})'
    input_rule = DetectorInput('stretch', 0, 'bgr', _MEAN_BGR, _STD_BGR)

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        shape = next(iter(shapes.values()))
        has_cells = shape[:1] == (count_grid_cells(input_size, _PLUS_STRIDES),)
        return len(shapes) == 1 and len(shape) == 2 and has_cells and shape[1] > _NUM_DISTANCE_COLUMNS

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        # Its distances begin at the upper left corner of a cell, NanoDet's in the middle.
        table = next(iter(outputs.values()))
        return _read_single_table(table, input_size, _PLUS_STRIDES, center=0.0) if len(outputs) == 1 else None


def _pair_tables(
    outputs: Mapping[str, np.ndarray], input_size: Size
) -> dict[int, tuple[np.ndarray, np.ndarray]] | None:
    """Class scores and distances by stride, whatever the order of the outputs; None for any other outputs."""
    tables = [output for output in outputs.values() if output.ndim == 2]
    # The number of cells tells which scores and distances belong to one stride.
    class_scores = {len(table): table for table in tables if table.shape[1] != _NUM_DISTANCE_COLUMNS}
    distances = {len(table): table for table in tables if table.shape[1] == _NUM_DISTANCE_COLUMNS}
    if not tables or class_scores.keys() != distances.keys() or 2 * len(class_scores) != len(outputs):
        return None
    # the finest stride last, so that it stays where two strides have as many cells (tiny inputs)
    strides = {count_grid_cells(input_size, [stride]): stride for stride in reversed(_ALL_STRIDES)}
    if not class_scores.keys() <= strides.keys():
        return None
    return {strides[cells]: (class_scores[cells], distances[cells]) for cells in class_scores}


def _read_single_table(
    table: np.ndarray, input_size: Size, strides: tuple[int, ...], center: float
) -> Candidates | None:
    """Read class scores and distances that lie side by side."""
    if (
        table.ndim != 2
        or table.shape[1] <= _NUM_DISTANCE_COLUMNS
        or len(table) != count_grid_cells(input_size, strides)
    ):
        return None
    boxes = decode_nanodet_boxes(table[:, -_NUM_DISTANCE_COLUMNS:], grid_cell_centers(input_size, strides, center))
    return build_candidates(boxes, table[:, :-_NUM_DISTANCE_COLUMNS], overlap=True)


def decode_nanodet_boxes(distance_logits: np.ndarray, grid: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Decode boxes from the distributions of the distances between cell centers and box sides.

    A distance is the mean of its distribution, in strides: the sum over bins of bin index times probability (Li et al.
    2020, Generalized Focal Loss, arXiv:2006.04388, eq. 5), as NanoDet's head predicts it.

    Args:
        distance_logits: (cells, 4 * `NANODET_BINS`) for the distances to left, top, right and bottom.
        grid: centers (cells, 2) and strides (cells, 1) in px.

    Returns:
        Boxes (cells, 4), x, y of two corners in px.
    """
    centers, strides = grid
    logits = distance_logits.reshape(len(distance_logits), 4, NANODET_BINS)
    # the softmax, shifted by the maximum so that no exponential overflows
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    distances = strides * (weights @ np.arange(NANODET_BINS, dtype=weights.dtype)) / weights.sum(axis=-1)
    return np.concatenate([centers - distances[:, :2], centers + distances[:, 2:]], axis=1)
