"""Detection transformers, whose queries are boxes without overlaps to suppress: RF-DETR, RT-DETR, D-FINE."""

from __future__ import annotations

__all__ = ['RFDETR', 'RTDETR']

from collections.abc import Mapping

import numpy as np
from scipy.special import expit

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import (
    COCO_CLASS_COUNTS,
    Candidates,
    DetectorFamily,
    build_candidates,
    build_labeled_candidates,
    count_grid_cells,
    cxcywh_to_xyxy,
    is_ultralytics,
    parse_class_names,
)
from poseplug.predict.detector_input import DetectorInput
from poseplug.registry import DETECTOR_FAMILIES

_RFDETR_NAMES = {'dets', 'labels'}
_SHARED_NAMES = ({'pred_logits', 'pred_boxes'}, {'logits', 'pred_boxes'})  # of RT-DETR's and transformers' exporters
_DETR_CLASSES = 92  # of the first DETR on COCO: its scores are a softmax with a background class, which is not read
_YOLO_STRIDES = (8, 16, 32)
_SCORED_NAMES = {'labels', 'boxes', 'scores'}


@DETECTOR_FAMILIES.register_module()
class RFDETR(DetectorFamily):
    """RF-DETR (Robinson et al. 2025): boxes relative to the input, and logits of COCO's 91 ids unless fine-tuned."""

    outputs_text = 'dets (N, 4) of center and size relative to the input, and labels (N, classes) of logits'
    input_rule = DetectorInput('stretch', 0, 'rgb', (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        pair = _find_query_shapes(shapes)
        if pair is None:
            return False
        # its segmentation models have masks as a third output
        if set(shapes) >= _RFDETR_NAMES:
            return True
        return len(shapes) == 2 and _may_be(91, 80, set(shapes), pair[1])

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        return _read_queries(outputs, input_size)

    def default_class(self, num_classes: int | None) -> int:
        """The index of people: 1 among COCO's ids, 0 otherwise."""
        return COCO_CLASS_COUNTS.get(num_classes or 0, 0)


@DETECTOR_FAMILIES.register_module()
class RTDETR(DetectorFamily):
    """RT-DETR (Zhao et al. 2023), D-FINE (Peng et al. 2024), DEIM: with or without the last step, or by Ultralytics."""

    outputs_text = (
        'labels (N,), boxes (N, 4) and scores (N,) beside the input orig_target_sizes; or pred_boxes (N, 4) of center '
        'and size relative to the input, and logits (N, classes); or (N, 4 + classes) of both by Ultralytics'
    )
    input_rule = DetectorInput('stretch', 0, 'rgb')
    aliases = ('DFINE', 'DEIM', 'RTDETRv2')

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        if len(shapes) == 1:
            shape = next(iter(shapes.values()))
            has_columns = shape[1:] == (4 + len(parse_class_names(info.metadata)),)
            # A YOLO has a row or column per cell; an end-to-end one says so.
            is_yolo = shape[:1] == (count_grid_cells(input_size, _YOLO_STRIDES),)
            is_final = info.metadata.get('end2end') == 'True'
            return is_ultralytics(info) and has_columns and not is_yolo and not is_final
        # the last step of RT-DETR takes the size of the image as a second input
        if set(shapes) == _SCORED_NAMES:
            return len(info.inputs) == 2
        pair = _find_query_shapes(shapes)
        if pair is None or len(shapes) != 2 or set(shapes) == _RFDETR_NAMES:
            return False
        return _may_be(80, 91, set(shapes), pair[1])

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        if len(outputs) == 1:
            table = next(iter(outputs.values()))
            if table.ndim != 2 or table.shape[1] < 5:
                return None
            return _build_query_candidates(table[:, :4], table[:, 4:], input_size)
        if set(outputs) != _SCORED_NAMES:
            return _read_queries(outputs, input_size)
        labels, boxes, scores = (outputs[name] for name in ('labels', 'boxes', 'scores'))
        if boxes.shape != (len(labels), 4) or labels.shape != scores.shape:
            return None
        return build_labeled_candidates(boxes, scores, labels, overlap=False)


def _may_be(num_classes: int, other_num_classes: int, names: set[str], scores_shape: tuple[int, int]) -> bool:
    """Whether outputs of names that both families have may be of the one with `num_classes` classes on COCO."""
    if scores_shape[1] == _DETR_CLASSES:
        return False
    # with names that both have, the number of COCO's classes decides: 91 ids for RF-DETR, 80 for RT-DETR
    return names not in _SHARED_NAMES or scores_shape[1] != other_num_classes


def _find_query_shapes(shapes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The shapes of boxes (N, 4) and class scores (N, classes); None if there are none."""
    names = _find_query_names(shapes)
    if names is None:
        return None
    (num_queries, _), (_, num_classes) = (shapes[name] for name in names)
    return (num_queries, 4), (num_queries, num_classes)


def _find_query_names(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, str] | None:
    """The names of boxes (N, 4) and class scores (N, classes), by names that are known or else by their shapes."""
    for boxes, scores in (('dets', 'labels'), ('pred_boxes', 'pred_logits'), ('pred_boxes', 'logits')):
        if _are_queries(shapes.get(boxes, ()), shapes.get(scores, ())):
            return boxes, scores
    names = list(shapes)
    orders = [names, names[::-1]] if len(names) == 2 else []
    pairs = [(boxes, scores) for boxes, scores in orders if _are_queries(shapes[boxes], shapes[scores])]
    return pairs[0] if len(pairs) == 1 else None  # of four classes, either could be the boxes


def _are_queries(boxes_shape: tuple[int, ...], scores_shape: tuple[int, ...]) -> bool:
    """Whether two shapes are (N, 4) and (N, classes)."""
    return len(scores_shape) == 2 and boxes_shape == (scores_shape[0], 4)


def _read_queries(outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
    """Read boxes and logits of queries; None if there are none."""
    names = _find_query_names({name: output.shape for name, output in outputs.items()})
    if names is None:
        return None
    return _build_query_candidates(outputs[names[0]], outputs[names[1]], input_size)


def _build_query_candidates(boxes: np.ndarray, class_scores: np.ndarray, input_size: Size) -> Candidates:
    """Build candidates of boxes relative to the input and logits, or scores if none is negative."""
    scores = class_scores
    # Logits of classes that are absent are far below 0; some exporters apply the sigmoid inside the file.
    if scores.size and scores.min() < 0:
        scores = expit(scores)
    return build_candidates(cxcywh_to_xyxy(boxes) * np.array([*input_size, *input_size]), scores, overlap=False)
