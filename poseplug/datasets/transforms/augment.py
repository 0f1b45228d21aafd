"""Random changes: of the matrix, and of the colours. Each is drawn from the sample's own generator."""

from __future__ import annotations

import cv2
import numpy as np

from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size, about, middle, mirroring, rotation, scaling, translation
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample


@TRANSFORMS.register_module()
class RandomScaleRotate(Transform):
    """Enlarge by U(`scale`) and turn by U(-`degrees`, `degrees`) about the middle of the input.

    `shift` moves the subject off the middle, by a normal draw of that deviation in shares of the input's size.
    """

    def __init__(
        self,
        input_size: Size,
        scale: tuple[float, float] = (0.7, 1.3),
        degrees: float = 40.0,
        shift: float = 0.0,
    ):
        self.input_size, self.scale, self.degrees, self.shift = input_size, scale, degrees, shift

    def __call__(self, sample: Sample) -> Sample:
        factor, degrees = sample.rng.uniform(*self.scale), sample.rng.uniform(-self.degrees, self.degrees)
        dx, dy = self.shift * sample.rng.standard_normal(2) * self.input_size
        turn = about(rotation(degrees) @ scaling(factor), middle(self.input_size))
        sample.matrix = translation(dx, dy) @ turn @ sample.matrix
        return sample


@TRANSFORMS.register_module()
class RandomFlip(Transform):
    """Mirror the input with a chance of `p`, and exchange left and right joints of everybody."""

    def __init__(self, input_size: Size, p: float = 0.5):
        self.input_size, self.p = input_size, p

    def __call__(self, sample: Sample) -> Sample:
        if sample.rng.random() < self.p:
            order = sample.skeleton.mirror
            sample.matrix = mirroring(self.input_size[0]) @ sample.matrix
            sample.keypoints, sample.visible = sample.keypoints[:, order], sample.visible[:, order]
        return sample


@TRANSFORMS.register_module()
class RandomColor(Transform):
    """Contrast, brightness and the three channels' gains, each within its share of 1 (brightness: of the range).

    One table look-up a pixel of the warped input, so it stands after `Warp`.
    """

    def __init__(self, contrast: float = 0.3, brightness: float = 0.15, channels: float = 0.15):
        self.contrast, self.brightness, self.channels = contrast, brightness, channels

    def __call__(self, sample: Sample) -> Sample:
        if sample.inputs is None:
            raise ConfigError('RandomColor changes the warped input; put it after Warp in the pipeline')
        rng = sample.rng
        gain = 1 + rng.uniform(-self.contrast, self.contrast)
        gains = gain * (1 + rng.uniform(-self.channels, self.channels, 3))
        shift = 128 + 256 * rng.uniform(-self.brightness, self.brightness)
        table = (np.arange(256)[:, None] - 128) * gains + shift
        flat = sample.inputs.reshape(-1, *sample.inputs.shape[2:])
        sample.inputs = cv2.LUT(flat, np.clip(table, 0, 255).astype(np.uint8)[None]).reshape(sample.inputs.shape)
        return sample
