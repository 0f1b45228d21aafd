"""Drawn videos, written frame after frame and checked in the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from poseplug.errors import VideoError
from poseplug.visualization.draw import fitted

FORMATS = {'.mp4': 'mp4v', '.avi': 'MJPG'}  # endings and codecs, in the order in which they are tried
FASTEST = 1000  # frames a second; beyond it a writer takes another rate without a word


class Film:
    """A video that keeps time: where a frame is not there, the one before is shown again.

    Written as NAME.partial.mp4, or .avi where there is no encoder for MPEG-4; `file` is its name once it is whole.
    Pictures of another size than the first are fitted into it. `repeated` and `resized` count both.

    Raises:
        VideoError: no such video can be written, or fewer frames are in it in the end than were given.
    """

    def __init__(self, base: Path, fps: float, like: np.ndarray):
        self.size = (even(like.shape[1]), even(like.shape[0]))
        self.writer, self.partial = opened(base, fps, self.size)
        self.file = base.with_name(base.name + self.partial.suffix)
        self.shown, self.repeated, self.resized = 0, 0, 0
        self.last: np.ndarray | None = None

    def add(self, place: int, picture: np.ndarray) -> None:
        """The frame (H, W, 3; BGR) of a place, counted from 0; places rise."""
        full = self._of_size(picture)
        before = full if self.last is None else self.last
        for _ in range(place - self.shown):
            self.writer.write(before)
            self.repeated += 1
        self.writer.write(full)
        self.last, self.shown = full, place + 1

    def _of_size(self, picture: np.ndarray) -> np.ndarray:
        """A picture in the video's size, which is even."""
        height, width = picture.shape[:2]
        if (even(width), even(height)) != self.size:
            self.resized += 1
            return fitted(picture, self.size)
        return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.release()
        if kind is None:
            self._check()
            self.partial.replace(self.file)

    def _check(self) -> None:
        """OpenCV does not say that a disk is full."""
        written = int(cv2.VideoCapture(str(self.partial)).get(cv2.CAP_PROP_FRAME_COUNT))
        if written != self.shown:
            raise VideoError(
                f'{self.partial}: {max(written, 0)} of {self.shown} frames were written; is the disk full? '
                f'--no-video leaves the drawing out'
            )


def opened(base: Path, fps: float, size: tuple[int, int]) -> tuple[cv2.VideoWriter, Path]:
    """A writer of the first format that there is an encoder for, and its file."""
    for ending, codec in FORMATS.items():
        file = base.with_name(f'{base.name}.partial{ending}')
        if fps <= FASTEST:
            writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*codec), fps, size)
            if writer.isOpened():
                return writer, file
            file.unlink(missing_ok=True)
    raise VideoError(
        f'{base}: no video of {size[0]}x{size[1]} px and {fps:g} frames a second can be written as '
        f'{" or ".join(FORMATS.values())}; take --every N, another --out, or leave the drawing out (--no-video)'
    )


def even(extent: int) -> int:
    """The next even number: encoders cut off an odd row or column."""
    return extent + extent % 2
