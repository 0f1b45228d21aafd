"""Images in memory: arrays and tensors whose channels are declared, and images of Pillow."""

from __future__ import annotations

__all__ = ['AlreadyOpenImage', 'BgrArray', 'DeclaredArray', 'DeclaredStack', 'ImageArray', 'PillowImage', 'TensorImage']

import logging
import numbers
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseplug.core.errors import ImageError
from poseplug.predict.image_inputs.base import ImageForm, NamedImage
from poseplug.registry import IMAGE_INPUTS

# For each order the channels of it that are blue, green and red
_BGR_CHANNELS = {'bgr': (0, 1, 2), 'rgb': (2, 1, 0), 'bgra': (0, 1, 2), 'rgba': (2, 1, 0), 'gray': (0, 0, 0)}
_DECLARE_HINT = "declare it, as in ImageArray(array, order='rgb', max_value=1.0)"


@dataclass(frozen=True, eq=False)
class ImageArray:
    """An array or tensor with its meaning, for a predictor.

    Attributes:
        array: (H, W, C) or, for 'gray', (H, W); NumPy or torch, on any device.
        order: 'bgr', 'rgb', 'bgra', 'rgba' or 'gray'; alpha is left out.
        max_value: value of white; None for 255 of uint8 and 65535 of uint16.
        layout: 'hwc', or 'chw' for arrays (C, H, W).

    Example:
        >>> red = ImageArray(np.ones((2, 2, 3)) * [1, 0, 0], order='rgb', max_value=1.0)
        >>> red.to_bgr('red')[0, 0].tolist()
        [0, 0, 255]
    """

    array: Any
    order: Literal['bgr', 'rgb', 'bgra', 'rgba', 'gray']
    max_value: float | None = None
    layout: Literal['hwc', 'chw'] = 'hwc'

    def to_bgr(self, name: str) -> np.ndarray:
        """Convert to the pixels (H, W, 3) uint8, BGR.

        Args:
            name: what messages call the image.

        Raises:
            ImageError: array and declaration contradict each other, or values lie beyond `max_value`.
        """
        if self.order not in _BGR_CHANNELS or self.layout not in ('hwc', 'chw'):
            raise ImageError(
                f"{name}: order is one of {', '.join(_BGR_CHANNELS)} and layout 'hwc' or 'chw'; got {self.order!r} and "
                f'{self.layout!r}'
            )
        array = self._read_numbers(name)
        if self.order == 'gray' and array.ndim == 2:
            array = array[..., None]
        elif self.layout == 'chw' and array.ndim == 3:
            array = array.transpose(1, 2, 0)
        num_channels = 1 if self.order == 'gray' else len(self.order)
        if array.ndim != 3 or array.shape[2] != num_channels or not array.size:
            raise ImageError(
                f'{name}: {self.order} of layout {self.layout} has {num_channels} channels; got an array of shape '
                f'{np.shape(self.array)}'
            )
        return np.ascontiguousarray(self._scale_to_bytes(array, name)[..., list(_BGR_CHANNELS[self.order])])

    def _read_numbers(self, name: str) -> np.ndarray:
        """The array, if it and `max_value` are real numbers."""
        array = _to_numpy(self.array)
        if array.dtype.kind not in 'biuf':
            raise ImageError(f'{name} is an array of {array.dtype}; convert it to whole numbers or floats')
        if self.max_value is not None and not isinstance(self.max_value, numbers.Real):
            raise ImageError(f'{name}: max_value is the value of white, a number; got {self.max_value!r}')
        return array

    def _scale_to_bytes(self, array: np.ndarray, name: str) -> np.ndarray:
        """Scale values so that `max_value` becomes 255."""
        max_value = self.max_value
        if max_value is None:
            max_value = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(array.dtype)
        if max_value is None or not 0 < max_value < np.inf:
            raise ImageError(f'{name} is an array of {array.dtype}; give max_value, the value of white, such as 1.0')
        # without a copy in the usual case
        if array.dtype == np.uint8 and max_value == 255:
            return array
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= max_value):  # false for NaN, too
            raise ImageError(f'{name}: its values are from {low:g} to {high:g}, but declared as 0 to {max_value:g}')
        # fractions of white taken for 8 bits: every pixel would be black
        if array.dtype.kind == 'f' and 0 < high <= 1 and max_value >= 255:
            logging.getLogger('poseplug').warning(
                '%s: no value exceeds 1, but %g is declared as white, and the image is black; is max_value=1.0 meant?',
                name,
                max_value,
            )
        return (array * (255 / max_value)).round().astype(np.uint8)


def _to_numpy(array: Any) -> np.ndarray:
    """An array, or a tensor of any device and with gradients, as a NumPy array."""
    if hasattr(array, 'detach'):
        tensor = array.detach().cpu()
        # NumPy has no bfloat16
        array = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return np.asarray(array)


@IMAGE_INPUTS.register_module()
class AlreadyOpenImage(ImageForm):
    """An image that is open already."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, NamedImage)

    def read(self, value: NamedImage, name: str) -> NamedImage:
        return value


@IMAGE_INPUTS.register_module()
class DeclaredArray(ImageForm):
    """An `ImageArray`."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, ImageArray) and np.ndim(value.array) != 4

    def read(self, value: ImageArray, name: str) -> NamedImage:
        return NamedImage(Path(name), value.to_bgr(name))


@IMAGE_INPUTS.register_module()
class DeclaredStack(ImageForm):
    """An `ImageArray` of several images: (N, H, W, C) or (N, C, H, W)."""

    is_single = False

    def matches(self, value: Any) -> bool:
        return isinstance(value, ImageArray) and np.ndim(value.array) == 4

    def expand(self, value: ImageArray) -> Iterator[ImageArray]:
        for array in value.array:
            yield replace(value, array=array)


@IMAGE_INPUTS.register_module()
class TensorImage(ImageForm):
    """A tensor of torch, which is refused until its channels and its white are declared."""

    def matches(self, value: Any) -> bool:
        module = sys.modules.get('torch')  # not imported: then the value is none
        return module is not None and isinstance(value, module.Tensor)

    def read(self, value: Any, name: str) -> NamedImage:
        raise ImageError(
            f'{name} is a tensor of {value.dtype} {tuple(value.shape)}, whose channels and white are unknown; declare '
            f"it, as in ImageArray(tensor, order='rgb', max_value=1.0, layout='chw')"
        )


@IMAGE_INPUTS.register_module()
class BgrArray(ImageForm):
    """An array (H, W, 3) of uint8, which is BGR as OpenCV reads it; other arrays are refused until declared."""

    def matches(self, value: Any) -> bool:
        return isinstance(value, np.ndarray) and value.ndim <= 3

    def read(self, value: np.ndarray, name: str) -> NamedImage:
        if value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3 or not value.size:
            raise ImageError(
                f'{name} is an array of {value.dtype} {value.shape}; give (H, W, 3) of uint8, in BGR order, or '
                f'{_DECLARE_HINT}'
            )
        return NamedImage(Path(name), value)


@IMAGE_INPUTS.register_module()
class PillowImage(ImageForm):
    """An image of Pillow, turned upright by its EXIF orientation; alpha is left out."""

    def matches(self, value: Any) -> bool:
        module = sys.modules.get('PIL.Image')  # not imported: then the value is none
        return module is not None and isinstance(value, module.Image)

    def read(self, value: Any, name: str) -> NamedImage:
        from PIL import ImageOps

        try:
            image = ImageOps.exif_transpose(value)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow decodes as late as here, and a closed file never
            raise ImageError(f'{name}: this image of Pillow cannot be read: {error}; open its file again') from error
        path = Path(getattr(value, 'filename', '') or name)
        # 16-bit gray of PNG and TIFF, in either byte order
        if image.mode.startswith('I;16'):
            return NamedImage(path, ImageArray(np.asarray(image, np.uint16), 'gray').to_bgr(name))
        if image.mode in ('I', 'F'):
            raise ImageError(
                f'{name} is a Pillow image of mode {image.mode}, whose white is not known; {_DECLARE_HINT}'
            )
        return NamedImage(path, np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1]))
