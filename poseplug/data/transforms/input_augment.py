"""Random changes of the warped input: colors, blur, resolution, covered parts; drawn from the sample's generator."""

from __future__ import annotations

__all__ = ['RandomBlur', 'RandomColor', 'RandomDownscale', 'RandomErase']

from collections.abc import Sequence

import cv2
import numpy as np

from poseplug.core.errors import ConfigError
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import (
    MIN_ENLARGEMENT,
    check_colors,
    check_counts,
    check_intervals,
    check_kernel_sizes,
    check_probabilities,
)
from poseplug.data.transforms.base import PipelineStage, Transform, check_warped
from poseplug.registry import TRANSFORMS

_BLUR_METHODS = ('mean', 'median')


@TRANSFORMS.register_module()
class RandomColor(Transform):
    """Changes contrast, brightness and the gain of each color channel by uniform draws.

    Stands after `Warp`: one table look-up per pixel of the input, not of the whole image.

    Args:
        contrast: largest relative change of the contrast about mid-gray.
        brightness: largest shift of the brightness, as a fraction of its range.
        channel_gain: largest relative change of a channel's contrast.

    Raises:
        ConfigError: a setting is not from 0 to 1.
    """

    stage = PipelineStage.INPUT

    def __init__(self, contrast: float = 0.3, brightness: float = 0.15, channel_gain: float = 0.15):
        check_probabilities('RandomColor', contrast=contrast, brightness=brightness, channel_gain=channel_gain)
        self.contrast, self.brightness, self.channel_gain = contrast, brightness, channel_gain

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        rng = sample.rng
        gain = 1 + rng.uniform(-self.contrast, self.contrast)
        gains = gain * (1 + rng.uniform(-self.channel_gain, self.channel_gain, 3))
        shift = 128 + 256 * rng.uniform(-self.brightness, self.brightness)
        # Contrast is changed about mid-gray, so that it does not change the brightness.
        # One column per channel: 256 numbers are computed, however large the input is.
        table = (np.arange(256)[:, None] - 128) * gains + shift
        rows = sample.inputs.reshape(-1, *sample.inputs.shape[2:])  # (V H, W, 3): OpenCV takes one image
        changed = cv2.LUT(rows, np.clip(table, 0, 255).astype(np.uint8)[None])
        sample.inputs = changed.reshape(sample.inputs.shape)
        return sample


@TRANSFORMS.register_module()
class RandomBlur(Transform):
    """Blurs the warped input at random, by the mean or median of the square around each pixel.

    Stands after `Warp`.

    Args:
        prob: probability of a blur.
        method: 'mean' or 'median'.
        kernel_sizes: sides of the square in px, of which one is drawn; odd numbers from 3.

    Raises:
        ConfigError: the method is unknown, a kernel size is even or below 3, or `prob` is no probability.
    """

    stage = PipelineStage.INPUT

    def __init__(self, prob: float = 0.1, method: str = 'mean', kernel_sizes: Sequence[int] = (3, 5, 7)):
        if method not in _BLUR_METHODS:
            raise ConfigError(f'RandomBlur: method is one of {", ".join(_BLUR_METHODS)}; got {method!r}')
        check_probabilities('RandomBlur', prob=prob)
        check_kernel_sizes('RandomBlur', kernel_sizes=kernel_sizes)
        self.prob, self.method, self.kernel_sizes = prob, method, tuple(kernel_sizes)

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        if sample.rng.random() < self.prob:
            size = int(sample.rng.choice(self.kernel_sizes))
            if self.method == 'mean':
                blurred = [cv2.blur(view, (size, size)) for view in sample.inputs]
            else:
                blurred = [cv2.medianBlur(view, size) for view in sample.inputs]
            sample.inputs = np.stack(blurred)
        return sample


@TRANSFORMS.register_module()
class RandomDownscale(Transform):
    """Reduces the warped input at random and enlarges it again, as an image of a small or distant instance.

    Stands after `Warp`.

    Args:
        prob: probability of a change.
        factor_range: smallest and largest reduced side, as a fraction of the input's.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.INPUT

    def __init__(self, prob: float = 0.2, factor_range: tuple[float, float] = (0.3, 0.8)):
        check_probabilities('RandomDownscale', prob=prob)
        check_intervals('RandomDownscale', MIN_ENLARGEMENT, 1, factor_range=factor_range)
        self.prob, self.factor_range = prob, factor_range

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        is_changed, factor = sample.rng.random() < self.prob, sample.rng.uniform(*self.factor_range)
        if is_changed:
            height, width = sample.inputs.shape[1:3]
            small = (max(1, round(factor * width)), max(1, round(factor * height)))
            # INTER_AREA averages, as a sensor does; picking pixels would alias.
            reduced = [cv2.resize(view, small, interpolation=cv2.INTER_AREA) for view in sample.inputs]
            sample.inputs = np.stack([cv2.resize(view, (width, height)) for view in reduced])
        return sample


@TRANSFORMS.register_module()
class RandomErase(Transform):
    """Covers random rectangles of the warped input (coarse dropout; DeVries & Taylor 2017).

    Stands after `Warp`. The rectangles are the same in all views.

    Args:
        prob: probability of any rectangles.
        max_holes: largest number of rectangles; from 1 to this many are drawn.
        hole_size_range: smallest and largest side of a rectangle, as a fraction of the input's.
        fill: color (BGR, 0 to 255) of the rectangles, or 'noise' for random pixels.

    Raises:
        ConfigError: `fill` is another word, or a setting is out of range.
    """

    stage = PipelineStage.INPUT

    def __init__(
        self,
        prob: float = 0.5,
        max_holes: int = 1,
        hole_size_range: tuple[float, float] = (0.2, 0.4),
        fill: tuple[int, int, int] | str = (128, 128, 128),
    ):
        if isinstance(fill, str) and fill != 'noise':
            raise ConfigError(f"RandomErase: fill is a color (BGR, 0 to 255) or 'noise'; got {fill!r}")
        if not isinstance(fill, str):
            check_colors('RandomErase', fill=fill)
        check_probabilities('RandomErase', prob=prob)
        check_counts('RandomErase', max_holes=max_holes)
        check_intervals('RandomErase', 0, 1, hole_size_range=hole_size_range)
        self.prob, self.max_holes, self.hole_size_range, self.fill = prob, max_holes, hole_size_range, fill

    def __call__(self, sample: Sample) -> Sample:
        check_warped(self, sample)
        rng = sample.rng
        if rng.random() < self.prob:
            sample.inputs = sample.inputs.copy()  # the caller's array stays as it is
            height, width = sample.inputs.shape[1:3]
            for _ in range(rng.integers(1, self.max_holes + 1)):
                w, h = np.maximum(rng.uniform(*self.hole_size_range, 2) * (width, height), 1).astype(int)
                # Whole rectangles inside the input: their size is what was drawn.
                x, y = rng.integers(0, (max(1, width - w + 1), max(1, height - h + 1)))
                hole = sample.inputs[:, y : y + h, x : x + w]
                hole[...] = rng.integers(0, 256, hole.shape) if self.fill == 'noise' else self.fill
        return sample
