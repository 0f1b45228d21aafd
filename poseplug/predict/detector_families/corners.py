"""Any other detector whose boxes are two corners in px: named by the user, who also says how it is fed."""

from __future__ import annotations

__all__ = ['CornerBoxes']

from collections.abc import Mapping

import numpy as np

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import (
    Candidates,
    DetectorFamily,
    build_candidates,
    build_labeled_candidates,
)
from poseplug.predict.detector_families.mmdeploy import read_mmdeploy_outputs
from poseplug.registry import DETECTOR_FAMILIES


@DETECTOR_FAMILIES.register_module()
class CornerBoxes(DetectorFamily):
    """Boxes as two corners in px of the input, in one of the usual layouts; never recognized, only named."""

    outputs_text = (
        '(N, 5) or (N, 6) of two corners in px, score and perhaps class; (N, 5) and classes (N,); or corners (N, 4) '
        'and class scores (N, classes)'
    )

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        return False  # the outputs do not say how it is fed

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        boxes, *others = outputs.values()
        num_columns = boxes.shape[1] if boxes.ndim == 2 else 0
        if not others and num_columns == 5:
            return build_candidates(boxes[:, :4], boxes[:, 4:], overlap=True)
        if not others and num_columns == 6:
            return build_labeled_candidates(boxes[:, :4], boxes[:, 4], boxes[:, 5], overlap=True)
        if len(others) == 1 and num_columns == 4 and others[0].ndim == 2 and len(others[0]) == len(boxes):
            return build_candidates(boxes, others[0], overlap=True)
        return read_mmdeploy_outputs(outputs)
