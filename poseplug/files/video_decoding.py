"""Decoding of a video stream by PyAV (FFmpeg), with every frame numbered and timed, upright and in BGR."""

from __future__ import annotations

__all__ = ['PacketIndex', 'StreamDecoder', 'VideoFrame', 'rotate_upright']

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from poseplug.files.frame_clock import FrameClock

if TYPE_CHECKING:
    from av import Packet
    from av import VideoFrame as DecodedFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_FPS = 240.0  # a higher rate in a header is the clock's, not that of the frames (1000 in WebM files of browsers)
_DEFAULT_FPS = 25.0
_VOP_START = b'\x00\x00\x01\xb6'  # of an MPEG-4 frame (ISO/IEC 14496-2)
_NVOP = _VOP_START + b'\x51\x4f'  # a frame without content (vop_coded = 0)
_CHUNK_HEADER_BYTES = 8  # of an AVI file: four letters and a length
_IDENTITY = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_MAX_READ_ERRORS = 16  # in a row, without a packet between them


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video.

    Attributes:
        index: number of the frame, counted from 0; frames that cannot be read count, too.
        seconds: presentation time by the file's own clock, which need not start at 0.
        image: (H, W, 3) uint8, BGR, upright.
    """

    index: int
    seconds: float
    image: np.ndarray


class StreamDecoder:
    """Decodes a video stream once, from its start to its end.

    Args:
        container: the opened file.
        stream: a video stream of it, of which nothing was read so far.

    Attributes:
        clock: numbers and times; its counts are complete after the pass.
        damaged_frames: numbers of the frames that were decoded in spite of damage.
    """

    def __init__(self, container: InputContainer, stream: VideoStream):
        from av.video.reformatter import VideoReformatter

        self.converter = VideoReformatter()  # one for all frames: a new one costs half a millisecond
        self.container, self.stream = container, stream
        rate, time_base = stream.guessed_rate, stream.time_base
        step_s = 1 / float(rate) if rate and 0 < rate <= MAX_FPS else 1 / _DEFAULT_FPS
        seconds_per_tick = float(time_base) if time_base else step_s
        formats = container.format.name.split(',')
        # Matroska has no negative times: packets before time 0 come without a time stamp, and no player shows them.
        self.clock = FrameClock(seconds_per_tick, step_s, hides_untimed='matroska' in formats)
        self.damaged_frames: list[int] = []
        self._cut_stamps: set[int] = set()  # of packets of which the file holds a part
        self.matrix: tuple[int, ...] | None = None  # looking it up takes a third of a millisecond
        # AVI knows the place of each packet, in the order of storage; FFmpeg's times of presentation are guesses there.
        self.is_avi = 'avi' in formats
        self.index: PacketIndex | None = None
        if self.is_avi or 'mov' in formats:
            self.index = PacketIndex(stream, _CHUNK_HEADER_BYTES if self.is_avi else 0)
        if stream.codec_context.name == 'mjpeg':
            # Otherwise a frame of which half is damaged is returned without a word.
            stream.codec_context.options = {'err_detect': 'explode'}

    def read_frames(self) -> Iterator[VideoFrame]:
        """Decode all frames, in the order of presentation."""
        packet = None
        for packet in self._read_packets():
            yield from self._decode_packet(packet)
        if self.stream.codec_context.name == 'mpeg4' and packet and bytes(packet).count(_VOP_START) > 1:
            # DivX and Xvid pack two frames into a chunk; the decoder keeps the second one for the next packet.
            yield from self._convert_frames(self._decode_frames(_create_packet(_NVOP)) or [])
        yield from self._drain_decoder(packet)
        self._count_lost_end(packet)

    def _read_packets(self) -> Iterator[Packet[VideoStream]]:
        """The packets of the stream that have content; reading goes on behind damage."""
        import av

        num_errors = 0
        while num_errors < _MAX_READ_ERRORS:
            try:
                for packet in self.container.demux(self.stream):
                    # To the decoder an empty packet is the end; in a file it repeats the frame before.
                    if packet.size:
                        num_errors = 0
                        yield packet
                return
            except (av.FFmpegError, OSError):
                num_errors += 1

    def _decode_packet(self, packet: Packet[VideoStream]) -> Iterator[VideoFrame]:
        stamp, is_discarded = self._get_stamp(packet), packet.is_discard
        if packet.is_corrupt and packet.pts is not None and not self.is_avi:
            self._cut_stamps.add(packet.pts)
        frames = self._decode_frames(packet)
        if not is_discarded:
            self.clock.add_packet(stamp, is_lost=frames is None)
        yield from self._convert_frames(frames or [])

    def _drain_decoder(self, last_packet: Packet[VideoStream] | None) -> Iterator[VideoFrame]:
        """The frames that wait for a later reference when the file ends.

        Where the file was cut, frames that are shown before these are lost. How many is not known, so that these have
        no certain number and count as lost, too.
        """
        frames = self._decode_frames(None) or []  # None drains the decoder
        is_reordered = bool(self.stream.codec_context.has_b_frames)
        num_certain = self._count_certain_frames(frames, last_packet) if last_packet and is_reordered else len(frames)
        yield from self._convert_frames(frames[:num_certain])
        for frame in frames[num_certain:]:
            self.clock.add_packet(frame.pts, is_lost=True)

    def _count_certain_frames(self, frames: list[DecodedFrame], last_packet: Packet[VideoStream]) -> int:
        """The number of the first ones of the drained frames that no lost packet can precede.

        No frame is shown before it is decoded: what is lost is not earlier than the first decoding time behind the end.

        Args:
            frames: in the order of presentation.
            last_packet: of the stream.
        """
        if self.is_avi:
            # The first frame of all waits, too, and is shown before whatever follows it.
            is_first = self.clock.num_frames == 0
            return int(is_first and bool(frames)) if self._count_lost_packets(last_packet) else len(frames)
        if self.index is not None and self.index.num_entries > 1:
            lost_stamps = self.index.find_remaining()
            return sum(not lost_stamps or frame.pts is None or frame.pts <= lost_stamps[0] for frame in frames)
        # Without an index a loss shows as a gap, or as damage. Frames that are stored in order are not late.
        last_stamp = -math.inf if last_packet.dts is None else last_packet.dts
        end_s = self.clock.last_seconds + self.clock.step_s
        is_damaged = self.damaged_frames[-1:] == [self.clock.num_frames - 1]
        for index, frame in enumerate(frames):
            if frame.pts is None:
                continue
            seconds = frame.pts * self.clock.seconds_per_tick + self.clock.shift_s
            if frame.pts > last_stamp and (is_damaged or seconds - end_s > self.clock.step_s / 2):
                return index
            end_s, is_damaged = seconds + self.clock.step_s, self._is_damaged(frame)
        return len(frames)

    def _count_lost_packets(self, last_packet: Packet[VideoStream] | None) -> int:
        """The number of packets behind the last one of an AVI file that lost its index, by its header."""
        if self.index is None or self.index.is_complete:
            return 0
        num_slots = 0 if last_packet is None or last_packet.dts is None else last_packet.dts + 1
        return max(0, self.stream.frames - num_slots)

    def _decode_frames(self, packet: Packet[VideoStream] | None) -> list[DecodedFrame] | None:
        """The frames that come out when a packet goes in, or at the end (None); None if the decoder refuses it."""
        import av

        try:
            return self.stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            return None

    def _get_stamp(self, packet: Packet[VideoStream]) -> int | None:
        """The time stamp of a packet in ticks. Packets that the file's index has before it are lost."""
        stamp = packet.dts if self.is_avi or packet.pts is None else packet.pts
        if self.index is None:
            return stamp
        lost_stamps, index_stamp = self.index.find_packet(packet.pos)
        for lost_stamp in lost_stamps:
            self.clock.add_packet(lost_stamp, is_lost=True)
        # Behind damage FFmpeg counts on as if nothing were lost, but the index knows the place of the packet.
        return index_stamp if self.is_avi and index_stamp is not None else stamp

    def _convert_frames(self, frames: list[DecodedFrame]) -> Iterator[VideoFrame]:
        """Number decoded frames and convert their pixels, but for those that no player shows."""
        for frame in frames:
            if frame.duration > 0:
                self.clock.step_s = frame.duration * self.clock.seconds_per_tick
            counted = self.clock.count_frame(None if self.is_avi else frame.pts)
            if counted is None:
                continue
            if self._is_damaged(frame):
                self.damaged_frames.append(counted[0])
            yield VideoFrame(*counted, self._convert_pixels(frame))

    def _is_damaged(self, frame: DecodedFrame) -> bool:
        """Whether a decoder met damage, or got a part of a packet: not all of them notice (VP9's)."""
        return frame.is_corrupt or frame.pts in self._cut_stamps

    def _convert_pixels(self, frame: DecodedFrame) -> np.ndarray:
        """The pixels of a frame, (H, W, 3) in BGR, upright."""
        if self.matrix is None:
            self.matrix = _get_display_matrix(frame)
        converted = self.converter.reformat(frame, format='bgr24')
        plane, width = converted.planes[0], converted.width
        # A view of FFmpeg's buffer, as `to_ndarray` copies it once more.
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(converted.height, plane.line_size)
        image = np.ascontiguousarray(rows[:, : 3 * width].reshape(-1, width, 3))
        return image if self.matrix == _IDENTITY else rotate_upright(image, self.matrix)

    def _count_lost_end(self, last_packet: Packet[VideoStream] | None) -> None:
        """Count what is missing behind the last frame."""
        for stamp in [] if self.index is None else self.index.find_remaining():
            self.clock.add_packet(stamp, is_lost=True)
        self.clock.count_remaining_packets()
        if self.is_avi:
            self.clock.count_lost_frames(self._count_lost_packets(last_packet))


class PacketIndex:
    """The index of an AVI or MP4 file, which tells the packets that are not where they should be.

    Args:
        stream: a stream of which nothing was read so far: what FFmpeg adds while it reads is not the file's.
        header_bytes: length of what is before a packet's data at its place in the index.

    Attributes:
        is_complete: whether the file has an index of more than the first packet.
    """

    def __init__(self, stream: VideoStream, header_bytes: int):
        self.header_bytes = header_bytes
        self.entries = stream.index_entries
        self.num_entries = len(self.entries)
        self.is_complete = self.num_entries > 1 or stream.frames == self.num_entries
        self.next_row = 0

    def find_packet(self, position: int | None) -> tuple[list[int], int | None]:
        """Look up a packet that was read.

        Args:
            position: of the packet in the file, in bytes.

        Returns:
            The time stamps of the packets before it that were not read, and its own; None if it is not in the index.
        """
        lost_stamps: list[int] = []
        start = -1 if position is None else position - self.header_bytes
        for row in range(self.next_row, self.num_entries):
            entry = self.entries[row]
            if entry.pos == start:
                self.next_row = row + 1
                return lost_stamps, entry.timestamp
            if entry.size and not entry.is_discard:
                lost_stamps.append(entry.timestamp)
        return [], None

    def find_remaining(self) -> list[int]:
        """The time stamps of the packets that were not read behind the last one that was."""
        entries = (self.entries[row] for row in range(self.next_row, self.num_entries))
        return [entry.timestamp for entry in entries if entry.size and not entry.is_discard]


def _create_packet(data: bytes) -> Any:
    import av

    return av.Packet(data)


def _get_display_matrix(frame: DecodedFrame) -> tuple[int, ...]:
    """The display matrix of a frame, which its stream has for all of them: 9 numbers, see `rotate_upright`."""
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data
    data = side_data.get(Type.DISPLAYMATRIX)
    return _IDENTITY if data is None else struct.unpack('=9i', bytes(data))


def rotate_upright(image: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Rotate or flip an image by the display matrix of its video.

    Args:
        image: (H, W, 3).
        matrix: 9 fixed-point numbers in rows (ISO/IEC 14496-12, 6.2.2): x' = a x + c y, y' = b x + d y with a, b in the
            first row and c, d in the second. Other angles than multiples of 90 degrees are rounded to these.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    image = image[:, ::-1] if a < 0 else image
    image = image[::-1] if d < 0 else image
    return np.ascontiguousarray(image)
