"""Video reading that keeps every frame's true number: unreadable frames are reported and shift no other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.core.errors import VideoError
from poseplug.files.avi_index import AviIndex, read_avi_index
from poseplug.files.images import decode_image

os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # FFmpeg would print a line for every damaged block

_MJPEG_CODECS = (b'MJPG', b'mjpg')
_MAX_FRAMES = 1 << 22  # 38 hours at 30 frames a second; a larger count in a header is damage
_MAX_FPS = 100_000


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video.

    Attributes:
        index: number of the frame, counted from 0; unreadable frames count, too.
        seconds: time of the frame from the start of the video.
        image: (H, W, 3) uint8, BGR.
    """

    index: int
    seconds: float
    image: np.ndarray


class VideoReader:
    """Iterates over the readable frames of a video file, in order.

    A full pass sets `missing_frames` and logs one warning that lists them. Iterating again reads the file anew.

    Args:
        path: a video file that OpenCV can open.

    Attributes:
        declared_frames: number of frames that the file declares; 0 where it does not.
        fps: frames a second.
        missing_frames: indices of the frames that could not be read, known after a full pass.

    Raises:
        VideoError: the file is missing or is no readable video; in the iteration, it has no readable frame or has lost
            a frame whose followers depend on it.

    Example:
        >>> for frame in VideoReader('walk.mp4'):  # doctest: +SKIP
        ...     print(frame.index, frame.seconds, frame.image.shape)
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise VideoError(f'{self.path}: no such video; name a file')
        self.capture: Any = cv2.VideoCapture(str(self.path))
        self.declared_frames = _valid_frame_count(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = float(self.capture.get(cv2.CAP_PROP_FPS))
        if not self.capture.isOpened() or not 0 < self.fps <= _MAX_FPS:
            raise self._read_error('is no video that can be read')
        self.missing_frames: list[int] = []

    def __iter__(self) -> Iterator[VideoFrame]:
        read_indices: list[int] = []
        avi = read_avi_index(self.path)
        # Motion JPEG's frames are whole images: read from their chunks, a damaged one costs no other.
        is_mjpeg = avi is not None and avi.codec in _MJPEG_CODECS
        frames = self._read_chunks(avi) if avi is not None and is_mjpeg else self._decode_frames(avi)
        for frame in frames:
            read_indices.append(frame.index)
            yield frame
        if not read_indices:
            raise self._read_error('has no frame that can be read')
        num_frames = max(self.declared_frames, read_indices[-1] + 1)
        self.missing_frames = sorted(set(range(num_frames)).difference(read_indices))
        if self.missing_frames:
            self._warn_missing_frames()

    def _warn_missing_frames(self) -> None:
        logging.getLogger('poseplug').warning(
            '%s: %d of %d frames cannot be read: %s',
            self.path,
            len(self.missing_frames),
            self.declared_frames,
            format_ranges(self.missing_frames),
        )

    def _read_chunks(self, avi: AviIndex) -> Iterator[VideoFrame]:
        """Frames of Motion JPEG, each decoded from its chunk of the file."""
        self.declared_frames = max(avi.declared_frames, len(avi.chunks))
        with open(self.path, 'rb') as file:
            for index, chunk in enumerate(avi.chunks):
                if chunk is None:
                    continue
                offset, size = chunk
                file.seek(offset)
                image = decode_image(file.read(size))
                if image is not None:
                    yield VideoFrame(index, index / self.fps, image)

    def _decode_frames(self, avi: AviIndex | None) -> Iterator[VideoFrame]:
        """Frames from OpenCV, numbered by their time; where decoding stops early, it resumes behind the damage."""
        if avi is not None and None in avi.chunks:
            lost = avi.chunks.index(None)
            raise self._read_error(f'has lost frame {lost}, so that those behind it have no number')
        last_index, last_seconds, step = -1, -1.0, 1
        self.capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        while last_index < _MAX_FRAMES:
            success, image = self.capture.read()
            seconds = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # A decoder that went back to a key frame returns some frames again: their time does not rise.
            if success and seconds > last_seconds:
                last_index = max(last_index + 1, round(seconds * self.fps))
                last_seconds, step = seconds, 1
                yield VideoFrame(last_index, seconds, image)
            elif not success:
                if last_index + step >= self.declared_frames:
                    return
                self.capture.set(cv2.CAP_PROP_POS_FRAMES, last_index + step)
                step *= 2  # so that long damage is left after few attempts

    def _read_error(self, problem: str) -> VideoError:
        return VideoError(f'{self.path} {problem}; fetch it again, or convert it: ffmpeg -i {self.path.name} anew.mp4')


def _valid_frame_count(count: float) -> int:
    """The frame count that a decoder reports, or 0 if it is impossible."""
    return int(count) if 0 <= count <= _MAX_FRAMES else 0


def format_ranges(numbers: Sequence[int], max_ranges: int = 8) -> str:
    """Format ascending whole numbers as ranges.

    Args:
        numbers: at least one number, in ascending order.
        max_ranges: further ranges are only counted.

    Example:
        >>> format_ranges([3, 7, 8, 9])
        '3, 7-9'
    """
    gaps = [(a, b) for a, b in pairwise(numbers) if b != a + 1]
    starts = [numbers[0], *(b for _, b in gaps)]
    ends = [*(a for a, _ in gaps), numbers[-1]]
    ranges = [str(a) if a == b else f'{a}-{b}' for a, b in zip(starts, ends, strict=True)]
    text = ', '.join(ranges[:max_ranges])
    num_hidden = len(ranges) - max_ranges
    return f'{text}, ... and {num_hidden} more' if num_hidden > 0 else text
