"""Random changes: of the matrix, and of the colours. Each is drawn from the sample's own generator."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.datasets.transforms.base import Transform
from poseplug.errors import ConfigError
from poseplug.geometry import Size, about, middle, mirroring, rotation, scaling, translation
from poseplug.registry import TRANSFORMS
from poseplug.sample import Sample

RARE = 3.0  # deviations that a normal draw without an end hardly exceeds
BLURS = ('mean', 'median')


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

    def sees(self, half: np.ndarray, size: Size) -> np.ndarray:
        return turned(half + RARE * self.shift * np.array(size), self.degrees) / self.scale[0]


@TRANSFORMS.register_module()
class NormalScaleRotate(Transform):
    """The crop grows by 1 + N(0, `scale`) and is turned by N(0, `degrees`) with a chance of `turned`.

    Both draws are cut, to `scale` and to twice `degrees` (Xiao et al. 2018; Sun et al. 2019). With `octaves` the crop
    grows by 2 to the power of such a draw cut to twice `scale` (Newell et al. 2016). With a chance of `shifted` it is
    moved by a normal draw cut to 2, times `shift` of its size.
    """

    def __init__(
        self,
        input_size: Size,
        scale: float = 0.35,
        degrees: float = 45.0,
        turned: float = 0.6,
        octaves: bool = False,
        shift: float = 0.0,
        shifted: float = 0.3,
    ):
        self.input_size, self.scale, self.degrees, self.turned = input_size, scale, degrees, turned
        self.octaves, self.shift, self.shifted = octaves, shift, shifted

    def __call__(self, sample: Sample) -> Sample:
        size, *moves = np.clip(sample.rng.standard_normal(3), -2, 2)
        growth = 2 ** (self.scale * size) if self.octaves else 1 + self.scale * np.clip(size, -1, 1)
        degrees = self.degrees * np.clip(sample.rng.standard_normal(), -2, 2)
        turns, moved = sample.rng.random(2) < (self.turned, self.shifted)
        turn = rotation(degrees if turns else 0.0) @ scaling(1 / growth)
        dx, dy = self.shift * moved * np.array(moves) * self.input_size
        sample.matrix = translation(dx, dy) @ about(turn, middle(self.input_size)) @ sample.matrix
        return sample

    def sees(self, half: np.ndarray, size: Size) -> np.ndarray:
        growth = 4**self.scale if self.octaves else 1 + self.scale
        return growth * turned(half + 2 * self.shift * np.array(size), 2 * self.degrees if self.turned else 0.0)


def turned(half: np.ndarray, degrees: float) -> np.ndarray:
    """(2,) half the extent of a rectangle, x and y, that is turned by any angle up to that."""
    most = np.radians(min(degrees, 90.0))
    worst = np.minimum(most, np.arctan2(half[::-1], half))
    return half * np.cos(worst) + half[::-1] * np.sin(worst)


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


@TRANSFORMS.register_module()
class RandomBlur(Transform):
    """Replaces the warped input's pixels, with a chance of `p`, by the 'mean' or 'median' of the square around them.

    Its side is one of `sides`, in px.
    """

    def __init__(self, p: float = 0.1, by: str = 'mean', sides: Sequence[int] = (3, 5, 7)):
        if by not in BLURS:
            raise ConfigError(f'RandomBlur: by is one of {", ".join(BLURS)}; got {by!r}')
        if not sides or any(side < 3 or side % 2 == 0 for side in sides):
            raise ConfigError(f'RandomBlur: sides are odd numbers of pixels from 3; got {tuple(sides)}')
        self.p, self.by, self.sides = p, by, tuple(sides)

    def __call__(self, sample: Sample) -> Sample:
        if sample.inputs is None:
            raise ConfigError('RandomBlur changes the warped input; put it after Warp in the pipeline')
        if sample.rng.random() < self.p:
            side = int(sample.rng.choice(self.sides))
            blurred = [
                cv2.blur(view, (side, side)) if self.by == 'mean' else cv2.medianBlur(view, side)
                for view in sample.inputs
            ]
            sample.inputs = np.stack(blurred)
        return sample


@TRANSFORMS.register_module()
class RandomErase(Transform):
    """Covers up to `holes` rectangles of the warped input with a chance of `p` (coarse dropout; DeVries & Taylor 2017).

    The sides of a hole are U(`size`) in shares of the input's; it has the colour `fill`, or noise for `fill='noise'`.
    """

    def __init__(
        self,
        p: float = 0.5,
        holes: int = 1,
        size: tuple[float, float] = (0.2, 0.4),
        fill: tuple[int, int, int] | str = (128, 128, 128),
    ):
        if isinstance(fill, str) and fill != 'noise':
            raise ConfigError(f"RandomErase: fill is a colour (BGR, 0 to 255) or 'noise'; got {fill!r}")
        self.p, self.holes, self.size, self.fill = p, holes, size, fill

    def __call__(self, sample: Sample) -> Sample:
        if sample.inputs is None:
            raise ConfigError('RandomErase covers parts of the warped input; put it after Warp in the pipeline')
        rng = sample.rng
        if rng.random() < self.p:
            sample.inputs = sample.inputs.copy()
            height, width = sample.inputs.shape[1:3]
            for _ in range(rng.integers(1, self.holes + 1)):
                w, h = np.maximum(rng.uniform(*self.size, 2) * (width, height), 1).astype(int)
                x, y = rng.integers(0, (max(1, width - w + 1), max(1, height - h + 1)))
                hole = sample.inputs[:, y : y + h, x : x + w]
                hole[...] = rng.integers(0, 256, hole.shape) if self.fill == 'noise' else self.fill
        return sample
