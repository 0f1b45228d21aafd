"""Video files that browsers play, written frame by frame with every frame at its time, and checked at the end."""

from __future__ import annotations

__all__ = ['VideoWriter']

import logging
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from poseplug.core.errors import VideoError
from poseplug.predict.video_sound import SoundCopier
from poseplug.report.draw import letterbox_image

# In the order in which they are tried; the second H.264 encoder is the one of builds without GPL parts.
_ENCODERS: dict[str, dict[str, str]] = {
    'libx264': {'preset': 'ultrafast', 'crf': '22'},  # takes 0.8 of the time of superfast, at twice the size
    'libopenh264': {'rc_mode': 'quality'},
    'mpeg4': {'qscale': '3'},
}
_BROWSER_ENCODERS = ('libx264', 'libopenh264')
_DEFAULT_FPS = 25  # for the encoder's control of quality; frames have times of their own
_TICKS_PER_SECOND = 60_000  # exact for 24, 25, 30, 60 and 30000/1001 frames a second; MPEG-4 allows up to 65,535
_MAX_SIDE_PX = 8192  # of H.264's highest level; larger frames are reduced
_SMPTE170M = 6  # color matrix with which swscale converts BGR (ITU-T H.273); players take another one for large frames


class VideoWriter:
    """Writes a video in which every frame has its true time, with the sound of another one.

    The format is H.264 in MP4 with the index at the start, which browsers play while they load it. While it is written
    the file is called BASE.partial.mp4; a `with` block renames it at its end, and after an error leaves what can be
    played under the first name. Frames of another size than the first are letterboxed.

    Args:
        base: path without a suffix.
        first_frame: (H, W, 3); its size, rounded up to even numbers, is the video's.
        sound_source: a video file whose sound is copied; None for a silent video.
        start_seconds: time of the frames and the sound that becomes 0.

    Attributes:
        file: path of the finished video.
        num_frames: number of frames written so far.
        num_resized: number of those of another size, or larger than H.264 allows.
        encoder: FFmpeg's name of the encoder.
        sound: codec of the sound; None for a silent video.

    Raises:
        VideoError: no video can be written there, or, at the end of the `with` block, it has fewer frames than written.
    """

    def __init__(
        self, base: Path, first_frame: np.ndarray, sound_source: Path | None = None, start_seconds: float = 0.0
    ):
        self.file, self.partial_file = base.with_name(f'{base.name}.mp4'), base.with_name(f'{base.name}.partial.mp4')
        self.size = _fit_size(first_frame.shape[1], first_frame.shape[0])
        self.start_seconds = start_seconds
        self.num_frames, self.num_resized, self.last_tick = 0, 0, -1
        self.step = _TICKS_PER_SECOND // _DEFAULT_FPS
        self.copier: SoundCopier | None = None
        self.encoder = self._find_encoder()
        self.container, self.stream = self._open_output(sound_source)
        if self.encoder not in _BROWSER_ENCODERS:
            message = '%s: PyAV has no H.264 encoder here; the video is MPEG-4 (%s), which browsers do not play'
            logging.getLogger('poseplug').warning(message, self.file, self.encoder)

    @property
    def sound(self) -> str | None:
        """The codec of the sound; None for a silent video."""
        return None if self.copier is None else self.copier.codec

    def write_frame(self, seconds: float, frame: np.ndarray) -> None:
        """Write a frame, and the sound up to it.

        Args:
            seconds: time of the frame, later than that of the frame before.
            frame: (H, W, 3) uint8, BGR.
        """
        import av

        seconds -= self.start_seconds
        # two frames of the same time would be refused by the container
        tick = max(self.last_tick + 1, round(seconds * _TICKS_PER_SECOND))
        self.step = tick - self.last_tick if self.num_frames else self.step
        self.last_tick = tick
        encoded = av.VideoFrame.from_ndarray(self._fit_to_size(frame), format='bgr24')
        encoded.pts, encoded.time_base = self.last_tick, Fraction(1, _TICKS_PER_SECOND)
        try:
            self.container.mux(self.stream.encode(encoded))
        except (av.FFmpegError, OSError) as error:
            raise self._write_error(str(error)) from error
        self.num_frames += 1
        self._write_sound(seconds)

    def _fit_to_size(self, frame: np.ndarray) -> np.ndarray:
        """Pad a frame to the video's even size, or letterbox one of another size."""
        height, width = frame.shape[:2]
        if (width, height) == self.size:
            return frame
        if (width + width % 2, height + height % 2) == self.size:
            return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
        self.num_resized += 1
        return letterbox_image(frame, self.size)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._finish_file(is_complete=kind is None)
        except VideoError:
            if kind is None:
                raise
            return
        if kind is None:
            self._check_frame_count()
            self.partial_file.replace(self.file)

    def _finish_file(self, is_complete: bool) -> None:
        """Write what the encoder holds, the rest of the sound of a complete video, and the index."""
        import av

        if is_complete:
            self._write_sound(float('inf'))
        try:
            for packet in self.stream.encode(None):
                packet.duration = self.step  # the last frame is shown as long as the one before
                self.container.mux(packet)
            self.container.close()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._write_error(str(error)) from error
        finally:
            if self.copier is not None:
                self.copier.close()

    def _check_frame_count(self) -> None:
        """Count the frames in the file, since a full disk is not always reported."""
        import av

        try:
            with av.open(f'file:{self.partial_file}') as container:
                num_written = container.streams.video[0].frames
        except (av.FFmpegError, OSError):
            num_written = 0
        if num_written != self.num_frames:
            raise self._write_error(f'{num_written} of {self.num_frames} frames were written; is the disk full?')

    def _find_encoder(self) -> str:
        """The first encoder that PyAV has and that takes frames of this size."""
        import av

        problem = 'PyAV has no encoder'
        for name in _ENCODERS:
            try:
                context: Any = av.CodecContext.create(name, 'w')
                self._set_up_encoder(context)
                # opening says whether the encoder takes frames of this size, before a file exists
                context.open()
            except (av.FFmpegError, ValueError) as error:
                problem = f'{name}: {_describe_error(error)}'
            else:
                return name
        raise self._write_error(problem)

    def _open_output(self, sound_source: Path | None) -> tuple[Any, Any]:
        """Open the file with its streams; returns its container and the stream of frames."""
        import av

        container = self._open_container()
        stream = container.add_stream(self.encoder, rate=_DEFAULT_FPS)
        self._set_up_encoder(stream.codec_context)
        try:
            if sound_source is not None:
                self.copier = SoundCopier(sound_source, container, self.start_seconds)
            container.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            if sound_source is None:
                raise self._write_error(_describe_error(error)) from error
            self._drop_sound(error)
            container.close()
            return self._open_output(None)
        return container, stream

    def _open_container(self) -> Any:
        import av

        try:
            file = f'file:{self.partial_file}'
            # the protocol before the path: FFmpeg reads a colon in a name as the end of one
            return av.open(file, 'w', format='mp4', container_options={'movflags': 'faststart'})
        except (av.FFmpegError, OSError) as error:
            raise self._write_error(_describe_error(error)) from error

    def _set_up_encoder(self, context: Any) -> None:
        context.width, context.height = self.size
        context.pix_fmt = 'yuv420p'
        context.framerate, context.time_base = _DEFAULT_FPS, Fraction(1, _TICKS_PER_SECOND)
        context.colorspace = _SMPTE170M
        context.options = _ENCODERS[context.name]

    def _write_sound(self, seconds: float) -> None:
        """Write the sound up to a time; from damage on the video is silent."""
        import av

        if self.copier is None:
            return
        try:
            self.copier.write_until(seconds)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._drop_sound(error)

    def _drop_sound(self, error: Exception) -> None:
        if self.copier is not None:
            self.copier.close()
        self.copier = None
        message = '%s: the sound cannot be copied (%s)'
        logging.getLogger('poseplug').warning(message, self.file, _describe_error(error))

    def _write_error(self, problem: str) -> VideoError:
        return VideoError(
            f'{self.partial_file}: no video of {self.size[0]}x{self.size[1]} px can be written ({problem}); use '
            f'another --out, or skip the drawn video (--no-video)'
        )


def _describe_error(error: Exception) -> str:
    return str(getattr(error, 'strerror', None) or error)


def _fit_size(width: int, height: int) -> tuple[int, int]:
    """The next even size, which encoders need, reduced to what H.264 allows."""
    factor = min(1.0, _MAX_SIDE_PX / max(width, height))
    width, height = max(1, round(width * factor)), max(1, round(height * factor))
    return width + width % 2, height + height % 2
