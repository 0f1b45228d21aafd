"""Video files as frames with their numbers and true times; what cannot be read is counted and reported."""

from __future__ import annotations

__all__ = ['VIDEO_SUFFIXES', 'VideoReader', 'format_ranges', 'open_container']

import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from poseplug.core.errors import VideoError
from poseplug.files.video_decoding import MAX_FPS, StreamDecoder, VideoFrame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (
    '.mp4',
    '.m4v',
    '.mov',
    '.avi',
    '.mkv',
    '.webm',
    '.ogv',
    '.mjpg',
    '.mjpeg',
    '.mpg',
    '.mpeg',
    '.vob',
    '.wmv',
    '.asf',
    '.ts',
    '.mts',
    '.m2ts',
    '.3gp',
    '.3g2',
    '.mxf',
    '.h264',
    '.flv',
)
# Only formats that hold their frames: a playlist, whatever its suffix, could name any other file or address.
_FORMATS = (
    '3g2,3gp,asf,avi,dv,flv,gif,h263,h264,hevc,ivf,jpeg_pipe,m4a,m4v,matroska,mj2,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,'
    'mpjpeg,mxf,nut,obu,ogg,rm,vc1,webm,wtv,yuv4mpegpipe'
)
_MICROSECONDS = 1_000_000  # unit of the times of a whole file (FFmpeg's AV_TIME_BASE)
# Less of the end may be a last frame that is shown longer, or the rounding of the program that wrote the file.
_MIN_LOST_END_S, _MAX_SHOWN_S, _MIN_LOST_FRAMES = 0.1, 1.0, 1.5


class VideoReader:
    """Iterates over the readable frames of a video file's first video stream, in the order of presentation.

    Frames are numbered as they are decoded, and have the times of their time stamps; no rate is assumed. Frames that a
    file hides (before the start of its edit list, or before time 0) are skipped and do not count. A full pass sets the
    attributes from `num_frames` on, and logs a warning for each kind of trouble. Iterating again reads the file anew.

    Args:
        path: a video file that PyAV (FFmpeg) can decode.

    Attributes:
        fps: frames a second that the file states; None where it does not, as in recordings of browsers.
        declared_frames: number of frames that the file declares, for progress bars; 0 where it does not.
        start_seconds: time at which the file's first stream starts.
        has_sound: whether the file has an audio stream.
        num_frames: number of frames, with the missing ones.
        missing_frames: numbers of the frames that could not be read.
        damaged_frames: numbers of the frames that were decoded in spite of damage; their content may be wrong.

    Raises:
        VideoError: the file is missing or is no readable video; in the iteration, it has no readable frame.

    Example:
        >>> for frame in VideoReader('walk.mp4'):  # doctest: +SKIP
        ...     print(frame.index, frame.seconds, frame.image.shape)
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise VideoError(f'{self.path}: no such video; name a file')
        with self._open_container() as container:
            stream = self._get_stream(container)
            rate = stream.average_rate
            self.fps = float(rate) if rate and 0 < rate <= MAX_FPS else None
            self.declared_frames = stream.frames
            self.declared_end_s = _get_declared_end(stream)
            self.has_sound = bool(container.streams.audio)
            self.start_seconds = (container.start_time or 0) / _MICROSECONDS
        self.num_frames = 0
        self.missing_frames: list[int] = []
        self.damaged_frames: list[int] = []

    def __iter__(self) -> Iterator[VideoFrame]:
        with self._open_container() as container:
            decoder = StreamDecoder(container, self._get_stream(container))
            yield from decoder.read_frames()
        clock = decoder.clock
        if clock.num_frames == len(clock.missing_frames):
            raise self._read_error('has no frame that can be read')
        self.num_frames, self.missing_frames = clock.num_frames, clock.missing_frames
        self.damaged_frames = decoder.damaged_frames
        self._warn_troubles(decoder)

    def _open_container(self) -> InputContainer:
        import av

        try:
            return open_container(self.path)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._read_error('is no video that can be read') from error

    def _get_stream(self, container: InputContainer) -> VideoStream:
        """The first video stream that can be decoded and is not a cover image."""
        from av.stream import Disposition

        for stream in container.streams.video:
            if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
                return stream
        raise self._read_error('has no video stream that can be decoded')

    def _warn_troubles(self, decoder: StreamDecoder) -> None:
        """Log a warning for each kind of trouble in a pass."""
        log, clock = logging.getLogger('poseplug'), decoder.clock
        for indices, problem in (
            (self.missing_frames, 'cannot be read'),
            (self.damaged_frames, 'are damaged, and their content may be wrong'),
        ):
            if indices:
                count, ranges = len(indices), format_ranges(indices)
                log.warning('%s: %d of %d frames %s: %s', self.path, count, self.num_frames, problem, ranges)
        if clock.num_retimed:
            message = '%s: %d frames are not later than the frame before by their time stamps; they were put behind it'
            log.warning(message, self.path, clock.num_retimed)
        end_s = clock.last_seconds + clock.step_s
        min_lost_s = min(max(_MIN_LOST_END_S, _MIN_LOST_FRAMES * clock.step_s), _MAX_SHOWN_S)
        if self.declared_end_s - end_s > min_lost_s and not self.missing_frames:
            message = '%s: the frames end at %.2f s, but the file states %.2f s; is it complete?'
            log.warning(message, self.path, end_s, self.declared_end_s)

    def _read_error(self, problem: str) -> VideoError:
        return VideoError(f'{self.path} {problem}; fetch it again, or convert it: ffmpeg -i {self.path.name} anew.mp4')


def open_container(path: Path) -> InputContainer:
    """Open a video file of whatever name by PyAV, if it holds its frames itself.

    Raises:
        av.FFmpegError: the file is not such a video.
    """
    import av

    av.logging.set_level(None)  # FFmpeg would print a line for every damaged block
    # With 'file:' before it, a name such as 'a:b.mp4' does not mean a protocol.
    return av.open(f'file:{path}', options={'format_whitelist': _FORMATS}, metadata_errors='replace')


def _get_declared_end(stream: VideoStream) -> float:
    """The time in seconds at which a Matroska stream ends by its tags, '00:00:02.500000000'; 0 without."""
    hours, *rest = stream.metadata.get('DURATION', '0').split(':')
    try:
        return sum(float(part) * unit for part, unit in zip([hours, *rest], (3600, 60, 1), strict=False))
    except ValueError:
        return 0.0


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
