"""Index of the frames of an AVI file (Microsoft's RIFF AVI): a damaged frame leaves a gap and shifts no other."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A chunk is named by two digits, the number of its stream, and two letters: 'dc' compressed, 'db' uncompressed frames.
_FRAME_CHUNK_CODES = (b'dc', b'db')
_VIDEO_STREAM_PATTERN = re.compile(rb'strh.{4}vids(.{4})', re.DOTALL)  # header of a video stream; group 1 is its codec
_MAX_FRAMES = 1 << 22  # 38 hours at 30 frames a second; a larger count in a header is damage
_CHUNK_HEADER_BYTES = 8  # four letters and a little-endian length
_INDEX_ENTRY_BYTES = 16  # chunk name, flags, offset, size

_AviData = bytes | mmap.mmap


@dataclass(frozen=True)
class AviIndex:
    """The frames of an AVI file's first video stream.

    Attributes:
        codec: the stream's four-letter codec, such as b'MJPG'.
        declared_frames: the number of frames that the file's header declares.
        chunks: (offset, size) of every frame's data in bytes, in order; None where the index names a chunk that is
            not at its offset.
    """

    codec: bytes
    declared_frames: int
    chunks: list[tuple[int, int] | None]


def read_avi_index(path: Path) -> AviIndex | None:
    """Read the frame index of an AVI file.

    Args:
        path: any file; it is mapped into memory, not read as a whole.

    Returns:
        The index, or None if the file is not an AVI file of one part (see `parse_avi_index`).
    """
    with open(path, 'rb') as file:
        start = file.read(12)
        if start[:4] != b'RIFF' or start[8:] != b'AVI ':
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse_avi_index(data)


def parse_avi_index(data: _AviData) -> AviIndex | None:
    """Parse the frame index from the bytes of an AVI file.

    Args:
        data: the whole file.

    Returns:
        The index; None without a video stream and main header, and for files that continue in further parts
        (OpenDML's 'AVIX'), which have an index of another layout.
    """
    movi_offset = data.find(b'movi')
    header = data[: max(movi_offset, 0)]
    stream, main_header = _VIDEO_STREAM_PATTERN.search(header), header.find(b'avih')
    if stream is None or not 0 <= main_header < len(header) - 28 or data.rfind(b'AVIX') >= 0:
        return None
    (num_frames,) = struct.unpack_from('<I', header, main_header + 24)
    indexed = _read_index_chunks(data, movi_offset)
    chunks = [chunk if _chunk_exists(data, *chunk) else None for chunk in indexed]
    return AviIndex(stream[1], min(num_frames, _MAX_FRAMES), chunks or [*_scan_chunks(data, movi_offset)])


def _read_index_chunks(data: _AviData, movi_offset: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of every frame by the index 'idx1' at the end of the file; nothing without one."""
    start = data.rfind(b'idx1')
    if start < movi_offset:
        return
    (length,) = struct.unpack_from('<I', data, start + 4)
    first = start + _CHUNK_HEADER_BYTES
    end = min(first + length, len(data) - _INDEX_ENTRY_BYTES + 1)  # of a truncated index: the entries that are whole
    entries = [struct.unpack_from('<4sIII', data, offset) for offset in range(first, end, _INDEX_ENTRY_BYTES)]
    frames = [(offset, size) for name, _, offset, size in entries if name[2:] in _FRAME_CHUNK_CODES]
    # Offsets count from the list 'movi', but some writers count from the first byte of the file.
    base = 0 if frames and frames[0][0] > movi_offset else movi_offset
    yield from ((base + offset + _CHUNK_HEADER_BYTES, size) for offset, size in frames)


def _chunk_exists(data: _AviData, offset: int, size: int) -> bool:
    """Whether a frame's chunk of this size really starts at the offset that the index names."""
    header = data[max(0, offset - _CHUNK_HEADER_BYTES) : offset]
    is_frame = header[2:4] in _FRAME_CHUNK_CODES and header[4:] == struct.pack('<I', size)
    return is_frame and offset + size <= len(data)


def _scan_chunks(data: _AviData, movi_offset: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of the frames chunk by chunk, up to the first chunk that is damaged or truncated."""
    offset = movi_offset + 4
    while offset + _CHUNK_HEADER_BYTES <= len(data):
        name, size = struct.unpack_from('<4sI', data, offset)
        if not name[:2].isdigit() or offset + _CHUNK_HEADER_BYTES + size > len(data):
            return
        if name[2:] in _FRAME_CHUNK_CODES:
            yield offset + _CHUNK_HEADER_BYTES, size
        offset += _CHUNK_HEADER_BYTES + size + size % 2  # chunks are padded to an even length
