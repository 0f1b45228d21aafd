"""The sound of a video, copied into another one."""

from __future__ import annotations

__all__ = ['SoundCopier']

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseplug.files.video_reader import open_container

if TYPE_CHECKING:
    from av.container import OutputContainer

_COPIED_CODECS = ('aac', 'mp3', 'opus', 'flac')  # what browsers play in an MP4 file; any other becomes AAC
# AAC's rates up to 48 kHz; sound of another one is resampled
_AAC_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_DEFAULT_RATE = 48000


class SoundCopier:
    """Copies the first audio stream of a video file into a file that is being written.

    Args:
        source: a video file.
        output: the opened file; nothing was written to it so far.
        start_seconds: time in the source that becomes 0 in the output.

    Attributes:
        codec: of the copy, such as 'aac'; None if the source has no sound.

    Raises:
        av.FFmpegError: the sound cannot be copied.
    """

    def __init__(self, source: Path, output: OutputContainer, start_seconds: float):
        self.container, self.output, self.start_seconds = open_container(source), output, start_seconds
        streams = [stream for stream in self.container.streams.audio if stream.codec_context is not None]
        self.codec: str | None = None
        self.packets: Iterator[Any] = iter(())
        self.pending: Any = None  # the packet that waits for its time
        if not streams:
            return
        source_stream = streams[0]
        context = source_stream.codec_context
        if context.codec.canonical_name in _COPIED_CODECS:
            self.codec = context.codec.canonical_name
            self.stream: Any = output.add_stream_from_template(source_stream)
            self.packets = self._copy_packets(source_stream)
        else:
            self.codec = 'aac'
            rate = context.sample_rate if context.sample_rate in _AAC_RATES else _DEFAULT_RATE
            self.stream = output.add_stream('aac', rate=rate, layout='mono' if context.channels == 1 else 'stereo')
            self.packets = self._encode_packets(source_stream)

    def write_until(self, seconds: float) -> None:
        """Write the sound up to a time of the output."""
        while True:
            packet = self.pending or next(self.packets, None)
            self.pending = packet
            # sound and frames alternate by time, so that players need not seek
            if packet is None or float(packet.pts * packet.time_base) > seconds:
                return
            self.output.mux(packet)
            self.pending = None

    def close(self) -> None:
        """Close the source."""
        self.container.close()

    def _copy_packets(self, source_stream: Any) -> Iterator[Any]:
        shift = round(self.start_seconds / source_stream.time_base)
        for packet in self.container.demux(source_stream):
            # the last packet of a stream is empty and only flushes decoders
            if packet.size and packet.pts is not None:
                packet.pts -= shift
                packet.dts = packet.pts  # audio packets are stored in order
                packet.stream = self.stream
                yield packet

    def _encode_packets(self, source_stream: Any) -> Iterator[Any]:
        for frame in self.container.decode(source_stream):
            if frame.pts is not None:
                frame.pts -= round(self.start_seconds / frame.time_base)
            yield from self._encode_frame(frame)
        yield from self._encode_frame(None)

    def _encode_frame(self, frame: Any) -> Iterator[Any]:
        for packet in self.stream.encode(frame):
            packet.stream = self.stream
            yield packet
