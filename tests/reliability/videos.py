"""Eight spoiled videos, whose frames say their own number, and what is wrong with how one is read (goal I5)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from poseplug.errors import VideoError
from poseplug.inference.video import Video

COUNT, FPS = 50, 25
CODECS = {'.avi': 'MJPG', '.mp4': 'mp4v'}
WIDTH, HEIGHT, BITS = 160, 120, 8


@cache
def numbered(number: int) -> np.ndarray:
    """A noisy picture with the bits of a number as white and black fields at the top."""
    picture = np.random.default_rng(number).integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for bit in range(BITS):
        picture[:40, bit * 20 : (bit + 1) * 20] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: np.ndarray) -> int:
    return sum(1 << bit for bit in range(BITS) if picture[5:35, bit * 20 + 5 : bit * 20 + 15].mean() > 127)


def written(path: Path, codec: str) -> bytes:
    """A video of numbered frames as its bytes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (WIDTH, HEIGHT))
    for number in range(COUNT):
        writer.write(numbered(number))
    writer.release()
    return path.read_bytes()


def zeroed(data: bytes, place: int, count: int = 3000) -> bytes:
    return data[:place] + bytes(count) + data[place + count :]


class Spoiled(NamedTuple):
    """A video's ending, how it is spoiled, the frames that are lost (None: it is refused) and those that look wrong."""

    ending: str
    spoil: Callable[[bytes], bytes]
    lost: Collection[int] | None
    damaged: Collection[int] = ()


CASES = {
    'whole': Spoiled('.avi', lambda d: d, ()),
    'cut at 60 %': Spoiled('.avi', lambda d: d[: int(len(d) * 0.6)], range(29, COUNT)),
    '3,000 zeros over the head of a frame': Spoiled('.avi', lambda d: zeroed(d, len(d) // 2), (24, 25)),
    '20 zeros over a head': Spoiled('.avi', lambda d: zeroed(d, d.find(b'00dc', 90_000) - 9, 20), (16, 17)),
    'without its index': Spoiled('.avi', lambda d: d[: d.rindex(b'idx1')], ()),
    'only its head': Spoiled('.avi', lambda d: d[:500], None),
    'a text': Spoiled('.avi', lambda d: b'This is a text.\n' * 1000, None),
    'empty': Spoiled('.avi', lambda d: b'', None),
    'MPEG-4 cut at 60 %, without its index': Spoiled('.mp4', lambda d: d[: int(len(d) * 0.6)], None),
    'MPEG-4 with 3,000 zeros': Spoiled('.mp4', lambda d: zeroed(d, len(d) // 2), (23,), (22,)),
}


def fault(case: Spoiled, folder: Path) -> str:
    """What is wrong with how a spoiled video is read, or nothing."""
    path = folder / f'video{case.ending}'
    path.write_bytes(case.spoil(written(folder / f'whole{case.ending}', CODECS[case.ending])))
    try:
        video = Video(path)
        frames = [(frame.index, number_of(frame.pixels)) for frame in islice(video, 10 * COUNT)]
    except VideoError as error:
        return '' if case.lost is None and str(path) in str(error) else str(error)
    wrong = [pair for pair in frames if pair[0] != pair[1] and pair[0] not in case.damaged]
    lost = case.lost or ()
    right = not wrong and video.missing == [*lost] and len(frames) == COUNT - len(lost)
    return '' if right and case.lost is not None else f'{len(frames)} frames, missing {video.missing}, wrong {wrong}'
