"""Live video: a thread reads a camera or a network stream, and the newest frame is used."""

from __future__ import annotations

__all__ = ['LiveStream']

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from poseplug.core.errors import VideoError
from poseplug.files import live_sources
from poseplug.files.live_sources import TimedImage, describe_address, read_network_frames
from poseplug.files.screen_source import SCREEN_SCHEME, read_screen_frames
from poseplug.files.video_decoding import VideoFrame

_LOGGER = logging.getLogger('poseplug')
_MAX_WAITING_FRAMES = 16  # with `every_frame`: the sender waits, or drops frames itself
_POLL_S = 0.05  # how often a waiting loop looks whether it is to stop
_MAX_DELAY_S = 30.0
_JOIN_S = 1.0


class LiveStream:
    """Iterates over the frames of a camera, a network stream or the screen, with the attributes of `VideoReader`.

    A frame that arrives while the one before is being used replaces the frame that waits, so that a slow model falls
    not behind. A stream that is lost is opened again after 0.5, 1, 2, ... seconds, at most 30.

    Args:
        source: index of a camera, or address of a stream; 'screen://1' is the first monitor.
        every_frame: use every frame; a model that is slower than the stream then falls behind, and up to 16 frames
            wait.
        max_attempts: attempts in a row to open a lost stream again; then the iteration ends.
        timeout_s: seconds without data after which a network stream counts as lost.
        first_delay_s: seconds before the first attempt.
        should_stop: is called while frames are waited for; True ends the iteration.

    Attributes:
        title: the camera or the address, without a password.
        name: the title as a file name.
        num_frames: number of frames that arrived.
        num_dropped: number of frames that were replaced by newer ones.
        num_reconnects: how often a lost stream came back.

    Raises:
        VideoError: in the iteration, the source cannot be opened at the first attempt.

    Example:
        >>> for frame in LiveStream('rtsp://camera.local/1'):  # doctest: +SKIP
        ...     print(frame.index, frame.seconds, frame.image.shape)
    """

    fps: float | None = None
    declared_frames = 0
    start_seconds = 0.0
    has_sound = False

    def __init__(
        self,
        source: int | str,
        every_frame: bool = False,
        max_attempts: int = 8,
        timeout_s: float = 10.0,
        first_delay_s: float = 0.5,
        should_stop: Callable[[], bool] | None = None,
    ):
        self.source, self.every_frame, self.max_attempts = source, every_frame, max_attempts
        self.timeout_s, self.first_delay_s = timeout_s, first_delay_s
        self.should_stop = should_stop or (lambda: False)
        self.title = describe_address(source) if isinstance(source, str) else f'camera {source}'
        self.name = _build_stream_name(self.title)
        self.path = Path(self.name)
        self.num_frames = self.num_dropped = self.num_reconnects = 0
        self.missing_frames: list[int] = []
        self.damaged_frames: list[int] = []

    def __iter__(self) -> Iterator[VideoFrame]:
        self.num_frames = self.num_dropped = self.num_reconnects = 0
        slot = _FrameSlot(_MAX_WAITING_FRAMES if self.every_frame else 1, waits=self.every_frame)
        thread = threading.Thread(target=self._fill_slot, args=(slot,), name=self.name, daemon=True)
        thread.start()
        try:
            while (frame := slot.take_frame(self.should_stop)) is not None:
                self.num_frames, self.num_dropped = frame.index + 1, slot.num_dropped
                yield frame
            if slot.error is not None:
                raise slot.error
        finally:
            slot.is_closed = True
            thread.join(_JOIN_S)  # a read that is under way ends by its timeout, and the process does not wait for it

    def _open_source(self) -> Iterable[TimedImage]:
        if isinstance(self.source, str) and self.source.lower().startswith(f'{SCREEN_SCHEME}://'):
            return read_screen_frames(self.source)
        if isinstance(self.source, str):
            return read_network_frames(self.source, self.timeout_s)
        return live_sources.CameraDevice(self.source)

    def _fill_slot(self, slot: _FrameSlot) -> None:
        """Read until the slot is closed; what runs in the thread."""
        try:
            self._read_with_retries(slot)
        except Exception as error:
            # Whatever ends the thread is raised where the frames are used; otherwise it would look like the end.
            slot.error = error
        finally:
            slot.is_finished = True

    def _read_with_retries(self, slot: _FrameSlot) -> None:
        clock, num_attempts = _StreamClock(), 0
        while not slot.is_closed:
            num_before = clock.num_frames
            try:
                for seconds, image in self._open_source():
                    if num_attempts:
                        self.num_reconnects, num_attempts = self.num_reconnects + 1, 0
                    slot.put_frame(clock.stamp_frame(seconds, image))
                    if slot.is_closed:
                        return
                return
            except VideoError as error:
                # The first attempt fails at once: a wrong address would otherwise be tried for minutes.
                if not clock.num_frames:
                    raise
                # Frames in between begin a new row of attempts.
                num_attempts = num_attempts + 1 if clock.num_frames == num_before else 1
                if num_attempts > self.max_attempts:
                    _LOGGER.warning('%s; given up after %d attempts', error, self.max_attempts)
                    return
                delay_s = min(_MAX_DELAY_S, self.first_delay_s * 2 ** (num_attempts - 1))
                _LOGGER.warning('%s; trying again in %.1f s', error, delay_s)
                clock.start_connection()
                _wait_until_closed(slot, delay_s)


class _FrameSlot:
    """Frames between the thread that reads them and the loop that uses them; memory holds at most `capacity`."""

    def __init__(self, capacity: int, waits: bool):
        self.capacity, self.waits = capacity, waits
        self.frames: deque[VideoFrame] = deque()
        self.condition = threading.Condition()
        self.error: Exception | None = None
        self.num_dropped = 0
        self.is_closed = self.is_finished = False

    def put_frame(self, frame: VideoFrame) -> None:
        """Add a frame; a full slot drops its oldest one, or waits."""
        with self.condition:
            while self.waits and len(self.frames) >= self.capacity and not self.is_closed:
                self.condition.wait(_POLL_S)
            if len(self.frames) >= self.capacity:
                self.frames.popleft()
                self.num_dropped += 1
            self.frames.append(frame)
            self.condition.notify_all()

    def take_frame(self, should_stop: Callable[[], bool]) -> VideoFrame | None:
        """Wait for the next frame; None at the end."""
        while not should_stop():
            with self.condition:
                # A waiting reader has room again.
                if self.frames:
                    self.condition.notify_all()
                    return self.frames.popleft()
                if self.is_finished:
                    return None
                self.condition.wait(_POLL_S)
        return None


class _StreamClock:
    """Numbers the frames, and gives them times that rise from 0, also where a stream starts anew."""

    def __init__(self) -> None:
        self.num_frames = 0
        self.last_s = -1.0
        self.start_time: float | None = None
        self.offset_s: float | None = None

    def start_connection(self) -> None:
        """Forget the clock of the lost connection."""
        self.offset_s = None

    def stamp_frame(self, seconds: float | None, image: np.ndarray) -> VideoFrame:
        """Build a frame from an image and its time by the source's clock, or by its arrival."""
        now = time.monotonic()
        self.start_time = now if self.start_time is None else self.start_time
        arrival_s = now - self.start_time
        if seconds is not None:
            # Its clock may start at any value: the first frame of a connection counts as arriving without delay.
            if self.offset_s is None:
                self.offset_s = arrival_s - seconds
            arrival_s = seconds + self.offset_s
        self.last_s = max(arrival_s, self.last_s + 1e-3) if self.num_frames else 0.0
        self.num_frames += 1
        return VideoFrame(self.num_frames - 1, self.last_s, image)


def _wait_until_closed(slot: _FrameSlot, delay_s: float) -> None:
    end = time.monotonic() + delay_s
    while not slot.is_closed and time.monotonic() < end:
        time.sleep(_POLL_S)


def _build_stream_name(title: str) -> str:
    """The title of a camera or stream as a file name."""
    _, _, address = title.partition('://')
    return re.sub(r'[^A-Za-z0-9-]+', '_', f'stream {address}' if address else title).strip('_')
