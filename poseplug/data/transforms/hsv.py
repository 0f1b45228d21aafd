"""Random hue, saturation and value, as in the training of YOLO detectors (YOLOX, arXiv:2107.08430)."""

from __future__ import annotations

__all__ = ['RandomHSV']

import cv2
import numpy as np

from poseplug.core.sample import Sample
from poseplug.core.setting_checks import check_number
from poseplug.data.transforms.base import PipelineStage, Transform, check_warped
from poseplug.registry import TRANSFORMS

_NUM_HUES = 180  # OpenCV's steps of a full circle


@TRANSFORMS.register_module()
class RandomHSV(Transform):
    """Shifts hue, saturation and value of the warped input by uniform draws, each in half of the cases.

    Stands after `Warp`. Hue wraps around; saturation and value are clipped to 0..255.

    Args:
        hue_delta: largest shift of the hue, of which a full circle has 180 steps.
        saturation_delta: largest shift of the saturation, 0 to 255.
        value_delta: largest shift of the value, 0 to 255.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.INPUT

    def __init__(self, hue_delta: float = 5.0, saturation_delta: float = 30.0, value_delta: float = 30.0):
        check_number('RandomHSV', 'hue_delta', hue_delta, 0, _NUM_HUES)
        check_number('RandomHSV', 'saturation_delta', saturation_delta, 0, 255)
        check_number('RandomHSV', 'value_delta', value_delta, 0, 255)
        self.max_deltas = (hue_delta, saturation_delta, value_delta)

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        rng = sample.rng
        # YOLOX's draw: each of the three is left out in half of the cases, and deltas are whole steps.
        deltas = (rng.uniform(-1, 1, 3) * self.max_deltas * (rng.random(3) < 0.5)).astype(int)
        levels = np.arange(256)
        tables = [(levels + deltas[0]) % _NUM_HUES, *(np.clip(levels + delta, 0, 255) for delta in deltas[1:])]
        # OpenCV's 8-bit hues end at 179, so that the rows from 180 on are never read.
        table = np.stack(tables, axis=-1).astype(np.uint8)[None]
        rows = sample.inputs.reshape(-1, *sample.inputs.shape[2:])  # (V H, W, 3): OpenCV takes one image
        changed = cv2.LUT(cv2.cvtColor(rows, cv2.COLOR_BGR2HSV), table)
        sample.inputs = cv2.cvtColor(changed, cv2.COLOR_HSV2BGR).reshape(sample.inputs.shape)
        return sample
