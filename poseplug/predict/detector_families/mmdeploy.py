"""Files of MMDeploy's end-to-end export: boxes with scores, and labels, with suppression inside (RTMDet, YOLOX)."""

from __future__ import annotations

__all__ = ['RTMDet', 'begins_with_slices', 'has_mmdeploy_names', 'read_mmdeploy_outputs']

from collections.abc import Mapping

import numpy as np

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detector_families.base import (
    Candidates,
    DetectorFamily,
    build_labeled_candidates,
)
from poseplug.predict.detector_input import DetectorInput
from poseplug.registry import DETECTOR_FAMILIES


@DETECTOR_FAMILIES.register_module()
class RTMDet(DetectorFamily):
    """RTMDet (Lyu et al. 2022), as MMDeploy exports it: boxes with scores, and labels."""

    outputs_text = 'dets (N, 5) of two corners in px and score, and labels (N,)'
    # mean and std of ImageNet in BGR order, as MMDetection's RTMDet configs
    input_rule = DetectorInput('letterbox_corner', 114, 'bgr', (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))

    def recognizes(self, info: OnnxGraphInfo, shapes: Mapping[str, tuple[int, ...]], input_size: Size) -> bool:
        return has_mmdeploy_names(shapes) and not begins_with_slices(info)

    def read(self, info: OnnxGraphInfo, outputs: Mapping[str, np.ndarray], input_size: Size) -> Candidates | None:
        return read_mmdeploy_outputs(outputs)


def has_mmdeploy_names(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether outputs have the names and shapes of MMDeploy's; masks may follow."""
    dets, labels = shapes.get('dets', ()), shapes.get('labels', ())
    return len(dets) == 2 and dets[1] == 5 and labels == dets[:1]


def begins_with_slices(info: OnnxGraphInfo) -> bool:
    """Whether the network first takes every other pixel of its input, as YOLOX does and RTMDet does not."""
    return info.entry_operators == {'Slice'}


def read_mmdeploy_outputs(outputs: Mapping[str, np.ndarray]) -> Candidates | None:
    """Read boxes with scores (N, 5) and labels (N,), by their names or else by their shapes."""
    dets, labels = outputs.get('dets'), outputs.get('labels')
    if dets is None or labels is None:
        if len(outputs) != 2:
            return None
        # the labels have one axis less
        dets, labels = sorted(outputs.values(), key=lambda output: -output.ndim)
    if dets.ndim != 2 or dets.shape[1] != 5 or labels.shape != dets.shape[:1]:
        return None
    return build_labeled_candidates(dets[:, :4], dets[:, 4], labels, overlap=False)
