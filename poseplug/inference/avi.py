"""Where the frames of an AVI file lie (Microsoft's RIFF AVI), so that a lost one leaves a gap and moves no other."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CODES = (b'dc', b'db')  # how the chunks of frames end, behind the stream's number
STREAM = re.compile(rb'strh.{4}vids(.{4})', re.DOTALL)  # the head of a stream of frames, and its codec
MOST = 1 << 22  # frames

Data = bytes | mmap.mmap


@dataclass(frozen=True)
class Avi:
    """The first stream of frames: its `codec`, the `stated` number of frames, and place and length of each chunk.

    A chunk is None where the index names one that is not there.
    """

    codec: bytes
    stated: int
    chunks: list[tuple[int, int] | None]


def read_avi(path: Path) -> Avi | None:
    """The frames of an AVI file of one part; None for any other file."""
    with open(path, 'rb') as file:
        start = file.read(12)
        if start[:4] != b'RIFF' or start[8:] != b'AVI ':
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parsed(data)


def parsed(data: Data) -> Avi | None:
    """The frames of an AVI file's content."""
    movie = data.find(b'movi')
    header = data[: max(movie, 0)]
    stream, main = STREAM.search(header), header.find(b'avih')
    if stream is None or not 0 <= main < len(header) - 28 or data.rfind(b'AVIX') >= 0:
        return None
    (frames,) = struct.unpack_from('<I', header, main + 24)
    chunks = [place if present(data, *place) else None for place in indexed(data, movie)]
    return Avi(stream[1], min(frames, MOST), chunks or [*walked(data, movie)])


def indexed(data: Data, movie: int) -> Iterator[tuple[int, int]]:
    """Place and length of every frame by the file's index; nothing where it has none.

    Places count from the list of chunks, or, of some writers, from the file's first byte.
    """
    start = data.rfind(b'idx1')
    if start < movie:
        return
    (length,) = struct.unpack_from('<I', data, start + 4)
    found = [struct.unpack_from('<4sIII', data, place) for place in
             range(start + 8, min(start + 8 + length, len(data) - 15), 16)]  # fmt: skip
    frames = [(place, size) for name, _, place, size in found if name[2:] in CODES]
    base = 0 if frames and frames[0][0] > movie else movie
    yield from ((base + place + 8, size) for place, size in frames)


def present(data: Data, place: int, size: int) -> bool:
    """Whether a chunk of that length begins where the index says."""
    head = data[max(0, place - 8) : place]
    return head[2:4] in CODES and head[4:] == struct.pack('<I', size) and place + size <= len(data)


def walked(data: Data, movie: int) -> Iterator[tuple[int, int]]:
    """Place and length of the frames one behind the other, up to the first that is damaged or cut."""
    place = movie + 4
    while place + 8 <= len(data):
        name, size = struct.unpack_from('<4sI', data, place)
        if not name[:2].isdigit() or place + 8 + size > len(data):
            return
        if name[2:] in CODES:
            yield place + 8, size
        place += 8 + size + size % 2
