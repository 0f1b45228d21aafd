"""Frames of a video, each under its true number: what cannot be read is told, and moves no other frame."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseplug.datasets.images import decode
from poseplug.errors import VideoError
from poseplug.inference.avi import Avi, read_avi

os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')  # it would tell of every damaged block

MJPG = (b'MJPG', b'mjpg')
MOST_FRAMES = 1 << 22  # 38 hours of 30 a second


@dataclass(frozen=True)
class Frame:
    """One picture of a video: `index` from 0, its time in `seconds`, and `pixels` (H, W, 3), BGR."""

    index: int
    seconds: float
    pixels: np.ndarray


class Video:
    """The frames of a file, in order. `stated` is how many it says it has, `fps` how many of them make a second.

    After a pass `missing` holds the numbers of the frames that could not be read, and a warning has told them.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise VideoError(f'{self.path}: no such video; name a file')
        self.capture: Any = cv2.VideoCapture(str(self.path))
        self.stated = whole(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = float(self.capture.get(cv2.CAP_PROP_FPS))
        if not self.capture.isOpened() or not 0 < self.fps <= 100_000:
            raise self._broken('is no video that can be read')
        self.missing: list[int] = []

    def __iter__(self) -> Iterator[Frame]:
        seen = []
        avi = read_avi(self.path)
        for frame in self._of_chunks(avi) if avi is not None and avi.codec in MJPG else self._of_decoder(avi):
            seen.append(frame.index)
            yield frame
        if not seen:
            raise self._broken('has no frame that can be read')
        self.missing = sorted(set(range(max(self.stated, seen[-1] + 1))).difference(seen))
        if self.missing:
            logging.getLogger('poseplug').warning(
                '%s: %d of %d frames cannot be read: %s', self.path, len(self.missing), self.stated, spans(self.missing)
            )

    def _of_chunks(self, avi: Avi) -> Iterator[Frame]:
        """Pictures that stand alone, each a chunk of the file."""
        self.stated = max(avi.stated, len(avi.chunks))
        with open(self.path, 'rb') as file:
            for index, chunk in enumerate(avi.chunks):
                if chunk is not None:
                    file.seek(chunk[0])
                    image = decode(file.read(chunk[1]))
                    if image is not None:
                        yield Frame(index, index / self.fps, image)

    def _of_decoder(self, avi: Avi | None) -> Iterator[Frame]:
        """Pictures from OpenCV, numbered by their time; where it stops early, it goes on behind the damage."""
        if avi is not None and None in avi.chunks:
            raise self._broken(f'has lost frame {avi.chunks.index(None)}, so that those behind it have no number')
        last, time, leap = -1, -1.0, 1
        self.capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        while last < MOST_FRAMES:
            done, image = self.capture.read()
            seconds = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if done and seconds > time:
                last, time, leap = max(last + 1, round(seconds * self.fps)), seconds, 1
                yield Frame(last, seconds, image)
            elif not done:
                if last + leap >= self.stated:
                    return
                self.capture.set(cv2.CAP_PROP_POS_FRAMES, last + leap)
                leap *= 2

    def _broken(self, fault: str) -> VideoError:
        return VideoError(f'{self.path} {fault}; fetch it again, or convert it: ffmpeg -i {self.path.name} anew.mp4')


def whole(number: float) -> int:
    """A count that a decoder states, 0 where it states none that could be."""
    return int(number) if 0 <= number <= MOST_FRAMES else 0


def spans(numbers: list[int], shown: int = 8) -> str:
    """Numbers in order as `3, 7-9`."""
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    told = [str(a) if a == b else f'{a}-{b}' for a, b in zip(starts, ends, strict=True)]
    return ', '.join(told[:shown]) + (f', ... and {len(told) - shown} more' if len(told) > shown else '')
