"""Damaged videos with numbered frames, and what is wrong with how one is read (goal I5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from poseplug.core.errors import VideoError
from poseplug.files.video_reader import VideoReader

NUM_FRAMES, FPS = 50, 25
CODECS = {'.avi': 'MJPG', '.mp4': 'mp4v'}
WIDTH, HEIGHT, BITS = 160, 120, 8


@cache
def draw_numbered_frame(number: int) -> np.ndarray:
    """A noisy image with the bits of a number as white and black fields at the top."""
    image = np.random.default_rng(number).integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for bit in range(BITS):
        image[:40, bit * 20 : (bit + 1) * 20] = 255 if number >> bit & 1 else 0
    return image


def decode_frame_number(image: np.ndarray) -> int:
    return sum(1 << bit for bit in range(BITS) if image[5:35, bit * 20 + 5 : bit * 20 + 15].mean() > 127)


def write_video(path: Path, codec: str) -> bytes:
    """A video of numbered frames as its bytes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (WIDTH, HEIGHT))
    for number in range(NUM_FRAMES):
        writer.write(draw_numbered_frame(number))
    writer.release()
    return path.read_bytes()


def mux_video(
    path: Path,
    encoder: str = 'libx264',
    seconds: Iterable[float] = tuple(n / FPS for n in range(NUM_FRAMES)),
    pix_fmt: str = 'yuv420p',
    ticks_per_second: int = FPS,
    **options: object,
) -> Path:
    """A video of numbered frames at these times by PyAV; the suffix says the format, `options` are the encoder's."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(encoder, rate=FPS, options={key: str(value) for key, value in options.items()})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, ticks_per_second)
        for number, time in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(draw_numbered_frame(number), format='bgr24')
            frame.pts, frame.time_base = round(time * ticks_per_second), Fraction(1, ticks_per_second)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_zeros(data: bytes, offset: int, count: int = 3000) -> bytes:
    return data[:offset] + bytes(count) + data[offset + count :]


class DamagedVideo(NamedTuple):
    """A damaged video.

    Attributes:
        suffix: Suffix of its file name.
        damage: Function from an intact video's bytes to the damaged ones.
        lost_frames: Frames that are missing when it is read; None if it is refused.
        unreadable_frames: Frames that are read with wrong content.
    """

    suffix: str
    damage: Callable[[bytes], bytes]
    lost_frames: Collection[int] | None
    unreadable_frames: Collection[int] = ()


CASES = {
    'intact': DamagedVideo('.avi', lambda d: d, ()),
    'cut at 60 %': DamagedVideo('.avi', lambda d: d[: int(len(d) * 0.6)], range(29, NUM_FRAMES)),
    '3,000 zeros over the head of a frame': DamagedVideo('.avi', lambda d: write_zeros(d, len(d) // 2), (24, 25)),
    '20 zeros over a head': DamagedVideo('.avi', lambda d: write_zeros(d, d.find(b'00dc', 90_000) - 9, 20), (17,)),
    'without its index': DamagedVideo('.avi', lambda d: d[: d.rindex(b'idx1')], ()),
    'only its head': DamagedVideo('.avi', lambda d: d[:500], None),
    'a text': DamagedVideo('.avi', lambda d: b'This is a text.\n' * 1000, None),
    'empty': DamagedVideo('.avi', lambda d: b'', None),
    'MPEG-4 cut at 60 %, without its index': DamagedVideo('.mp4', lambda d: d[: int(len(d) * 0.6)], None),
    'MPEG-4 with 3,000 zeros': DamagedVideo('.mp4', lambda d: write_zeros(d, len(d) // 2), (23,), (22,)),
}


def find_fault(case: DamagedVideo, folder: Path) -> str:
    """What is wrong with how a damaged video is read, or nothing."""
    path = folder / f'video{case.suffix}'
    path.write_bytes(case.damage(write_video(folder / f'whole{case.suffix}', CODECS[case.suffix])))
    try:
        video = VideoReader(path)
        frames = [(frame.index, decode_frame_number(frame.image)) for frame in islice(video, 10 * NUM_FRAMES)]
    except VideoError as error:
        return '' if case.lost_frames is None and str(path) in str(error) else str(error)
    wrong = [pair for pair in frames if pair[0] != pair[1] and pair[0] not in case.unreadable_frames]
    lost_frames = case.lost_frames or ()
    is_complete = video.missing_frames == [*lost_frames] and len(frames) == NUM_FRAMES - len(lost_frames)
    if is_complete and not wrong and case.lost_frames is not None:
        return ''
    return f'{len(frames)} frames, missing {video.missing_frames}, wrong {wrong}'
