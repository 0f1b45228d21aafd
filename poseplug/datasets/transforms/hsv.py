"""Random hue, saturation and value, as detectors of the YOLO family are trained (arXiv:2107.08430)."""

from __future__ import annotations

import cv2
import numpy as np

from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample


@TRANSFORMS.register_module()
class RandomHSV(Transform):
    """Adds U(-1, 1) times `hue`, `saturation` and `value` to every pixel's, each in half of the cases.

    Hue goes round in 180 steps, the others end at 0 and 255. It changes the warped input, so it stands after `Warp`.
    """

    def __init__(self, hue: float = 5.0, saturation: float = 30.0, value: float = 30.0):
        self.most = (hue, saturation, value)

    def __call__(self, sample: Sample) -> Sample:
        if sample.inputs is None:
            raise ConfigError('RandomHSV changes the warped input; put it after Warp in the pipeline')
        rng = sample.rng
        by = (rng.uniform(-1, 1, 3) * self.most * (rng.random(3) < 0.5)).astype(int)
        steps = np.arange(256)
        tables = [(steps + by[0]) % 180, *(np.clip(steps + b, 0, 255) for b in by[1:])]
        table = np.stack(tables, axis=-1).astype(np.uint8)[None]
        flat = sample.inputs.reshape(-1, *sample.inputs.shape[2:])
        changed = cv2.LUT(cv2.cvtColor(flat, cv2.COLOR_BGR2HSV), table)
        sample.inputs = cv2.cvtColor(changed, cv2.COLOR_HSV2BGR).reshape(sample.inputs.shape)
        return sample
