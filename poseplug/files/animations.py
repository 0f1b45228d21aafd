"""Animated GIF, WebP and PNG files as clips: their frames with numbers and times, read one by one by Pillow."""

from __future__ import annotations

__all__ = ['ANIMATION_SUFFIXES', 'AnimationReader', 'is_animation', 'open_clip']

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.core.errors import VideoError
from poseplug.files.images import MAX_IMAGE_PIXELS
from poseplug.files.video_decoding import VideoFrame
from poseplug.files.video_reader import VideoReader, format_ranges

ANIMATION_SUFFIXES = ('.gif', '.webp', '.apng')
_MIN_DELAY_MS = 20  # browsers take a shorter delay, which many files have by mistake, for the one below
_DEFAULT_DELAY_MS = 100


def is_animation(file: Path) -> bool:
    """Whether a file is a GIF, WebP or APNG file of several frames, by its suffix and content."""
    if file.suffix.lower() not in ANIMATION_SUFFIXES:
        return False
    try:
        with _open_image(file) as image:
            return bool(getattr(image, 'is_animated', False))
    except _list_damage_errors():
        return False


def open_clip(file: Path) -> VideoReader | AnimationReader:
    """Open a video or an animated image.

    Raises:
        VideoError: the file is missing or cannot be read.
    """
    return AnimationReader(file) if is_animation(file) else VideoReader(file)


class AnimationReader:
    """Iterates over the frames of an animated image, with the attributes of `VideoReader`.

    The frames are whole images, whatever part of them the file changes. Transparent parts are black.

    Args:
        path: a GIF, WebP or APNG file.

    Attributes:
        fps: None, since every frame has a delay of its own.
        declared_frames: number of frames in the file; 0 if it is damaged so that they cannot be counted.
        start_seconds: 0.
        has_sound: False.
        num_frames: number of frames, with the missing ones, known after a full pass, as the others below.
        missing_frames: numbers of the frames behind damage.
        damaged_frames: empty.

    Raises:
        VideoError: the file cannot be read, or an image has more pixels than are read.
    """

    fps: float | None = None
    start_seconds = 0.0
    has_sound = False

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            with _open_image(self.path) as image:
                width, height = image.size
                self.declared_frames = _count_frames(image)
        except _list_damage_errors() as error:
            raise self._read_error(str(error)) from error
        # Refused before a frame is decoded: a few hundred bytes can state any size.
        if width * height > MAX_IMAGE_PIXELS:
            raise self._read_error(f'{width}x{height} px, and at most {MAX_IMAGE_PIXELS:,} pixels are read')
        self.num_frames = 0
        self.missing_frames: list[int] = []
        self.damaged_frames: list[int] = []

    def __iter__(self) -> Iterator[VideoFrame]:
        seconds, num_read = 0.0, 0
        with _open_image(self.path) as image:
            while (frame := _read_frame(image, num_read)) is not None:
                yield VideoFrame(num_read, seconds, frame)
                num_read += 1
                delay_ms = float(image.info.get('duration') or 0)
                seconds += (delay_ms if delay_ms >= _MIN_DELAY_MS else _DEFAULT_DELAY_MS) / 1000
        if not num_read:
            raise self._read_error('no frame can be decoded')
        # Of a file whose frames cannot be counted, the one behind the last that was read is damaged.
        self.num_frames = self.declared_frames or num_read + 1
        self.missing_frames = [*range(num_read, self.num_frames)]
        if self.missing_frames:
            message = '%s: %d of %d frames cannot be read: %s'
            count, ranges = len(self.missing_frames), format_ranges(self.missing_frames)
            logging.getLogger('poseplug').warning(message, self.path, count, self.num_frames, ranges)

    def _read_error(self, reason: str) -> VideoError:
        return VideoError(f'{self.path} is no animated image that can be read: {reason}; fetch it again, or convert it')


def _open_image(file: Path) -> Any:
    from PIL import Image

    return Image.open(file)


def _list_damage_errors() -> tuple[type[Exception], ...]:
    """What Pillow raises for damaged files."""
    from PIL import Image

    decoder_errors = (OSError, EOFError, SyntaxError, ValueError, IndexError, KeyError, TypeError, struct.error)
    return (*decoder_errors, Image.DecompressionBombError)


def _count_frames(image: Any) -> int:
    """The number of frames of a Pillow image; 0 if damage is in the way."""
    try:
        return int(getattr(image, 'n_frames', 1))
    except _list_damage_errors():
        return 0


def _read_frame(image: Any, index: int) -> np.ndarray | None:
    """A frame of a Pillow image, (H, W, 3) in BGR; None at the end or at damage."""
    try:
        # In order: a frame may hold only what changed since the one before it.
        image.seek(index)
        return _convert_to_bgr(image)
    except _list_damage_errors():
        return None


def _convert_to_bgr(image: Any) -> np.ndarray:
    """The current frame of a Pillow image as (H, W, 3) BGR; transparent parts are black."""
    rgba = np.asarray(image.convert('RGBA'))
    opacity = rgba[..., 3:]
    # Most files are opaque, and need no arithmetic in floats.
    bgr = rgba[..., 2::-1] if (opacity == 255).all() else (rgba[..., 2::-1] * (opacity / 255)).round()
    return np.ascontiguousarray(bgr, dtype=np.uint8)
