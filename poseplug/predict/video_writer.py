"""Video files written frame by frame, with every frame at its time, and checked at the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from poseplug.core.errors import VideoError
from poseplug.report.draw import letterbox_image

_CODECS_BY_SUFFIX = {'.mp4': 'mp4v', '.avi': 'MJPG'}  # in the order in which they are tried
_MAX_FPS = 1000  # beyond it OpenCV's writer changes the frame rate without a message


class VideoWriter:
    """Writes a video that keeps time: a missing frame is replaced by the one before.

    While it is written the file is called BASE.partial.mp4, or .avi where OpenCV has no encoder for MPEG-4; a `with`
    block renames it at its end. Frames of another size than the first are letterboxed.

    Args:
        base: path without a suffix.
        fps: frames a second.
        first_frame: (H, W, 3); its size, rounded up to even numbers, is the video's.

    Attributes:
        file: path of the finished video.
        num_frames: number of frames in the video so far.
        num_repeated: number of those that repeat the frame before.
        num_resized: number of frames of another size.

    Raises:
        VideoError: no such video can be written, or, at the end of the `with` block, it has fewer frames than written.
    """

    def __init__(self, base: Path, fps: float, first_frame: np.ndarray):
        self.size = (_round_up_to_even(first_frame.shape[1]), _round_up_to_even(first_frame.shape[0]))
        self.writer, self.partial_file = _open_writer(base, fps, self.size)
        self.file = base.with_name(base.name + self.partial_file.suffix)
        self.num_frames, self.num_repeated, self.num_resized = 0, 0, 0
        self.last_frame: np.ndarray | None = None

    def write_frame(self, index: int, frame: np.ndarray) -> None:
        """Write a frame and fill the gap before it.

        Args:
            index: position in the video, from 0; higher than that of the frame before.
            frame: (H, W, 3) uint8, BGR.
        """
        fitted = self._fit_to_size(frame)
        filler = fitted if self.last_frame is None else self.last_frame
        for _ in range(index - self.num_frames):
            self.writer.write(filler)
            self.num_repeated += 1
        self.writer.write(fitted)
        self.last_frame, self.num_frames = fitted, index + 1

    def _fit_to_size(self, frame: np.ndarray) -> np.ndarray:
        """Pad a frame to the video's even size, or letterbox one of another size."""
        height, width = frame.shape[:2]
        if (_round_up_to_even(width), _round_up_to_even(height)) != self.size:
            self.num_resized += 1
            return letterbox_image(frame, self.size)
        return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.release()
        if kind is None:
            self._check_frame_count()
            self.partial_file.replace(self.file)

    def _check_frame_count(self) -> None:
        """Count the frames in the file, since OpenCV does not report a full disk."""
        num_written = int(cv2.VideoCapture(str(self.partial_file)).get(cv2.CAP_PROP_FRAME_COUNT))
        if num_written != self.num_frames:
            raise VideoError(
                f'{self.partial_file}: {max(num_written, 0)} of {self.num_frames} frames were written; is the disk '
                f'full? --no-video skips the drawn video'
            )


def _open_writer(base: Path, fps: float, size: tuple[int, int]) -> tuple[cv2.VideoWriter, Path]:
    """Open a writer of the first format that OpenCV can encode; returns it and its file."""
    for suffix, codec in _CODECS_BY_SUFFIX.items():
        file = base.with_name(f'{base.name}.partial{suffix}')
        if fps <= _MAX_FPS:
            writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*codec), fps, size)
            if writer.isOpened():
                return writer, file
            file.unlink(missing_ok=True)
    codecs = ' or '.join(_CODECS_BY_SUFFIX.values())
    raise VideoError(
        f'{base}: no video of {size[0]}x{size[1]} px and {fps:g} frames a second can be written as {codecs}; use '
        f'--frame-interval N, another --out, or skip the drawn video (--no-video)'
    )


def _round_up_to_even(length: int) -> int:
    """The next even number: encoders cut off an odd row or column."""
    return length + length % 2
