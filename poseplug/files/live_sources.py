"""Cameras and network streams as frames, for as long as they last."""

from __future__ import annotations

__all__ = ['LIVE_SCHEMES', 'CameraDevice', 'TimedImage', 'describe_address', 'read_network_frames']

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import cv2
import numpy as np

from poseplug.core.errors import VideoError
from poseplug.files.screen_source import SCREEN_SCHEME

_NETWORK_SCHEMES = ('rtsp', 'rtsps', 'rtmp', 'rtmps', 'rtp', 'udp', 'tcp', 'srt')
LIVE_SCHEMES = (*_NETWORK_SCHEMES, SCREEN_SCHEME)
TimedImage = tuple[float | None, np.ndarray]  # seconds by the source's clock, where it has one, and (H, W, 3) BGR
# A playlist may name further addresses, but no file of this machine.
_PROTOCOLS = ','.join((*_NETWORK_SCHEMES, 'http', 'https', 'httpproxy', 'tls', 'crypto'))


class CameraDevice:
    """A camera that is attached to this machine.

    Args:
        index: number of the camera, counted from 0.

    Raises:
        VideoError: it cannot be opened; in the iteration, it sends no more frames.
    """

    def __init__(self, index: int):
        self.index = index
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_SILENT
        )  # OpenCV would print a warning for every driver that it tries
        try:
            self.capture = cv2.VideoCapture(index)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self.capture.isOpened():
            raise VideoError(f'camera {index} cannot be opened; is one attached, and used by no other program?')

    def __iter__(self) -> Iterator[TimedImage]:
        try:
            while True:
                is_read, image = self.capture.read()
                if not is_read:
                    raise VideoError(f'camera {self.index} sends no more frames; is it still attached?')
                yield None, image
        finally:
            self.capture.release()


def read_network_frames(address: str, timeout_s: float) -> Iterator[TimedImage]:
    """Yield the frames of a network stream; damaged ones are skipped.

    Args:
        address: of the stream, as in 'rtsp://host/path'.
        timeout_s: seconds without data after which the stream counts as lost.

    Raises:
        VideoError: it cannot be opened, stalls, or ends although it states no length.
    """
    import av

    av.logging.set_level(None)  # FFmpeg would print a line for every damaged block
    title = describe_address(address)
    # TCP for RTSP: by UDP, which is FFmpeg's default, lost packets damage frames.
    options = {'protocol_whitelist': _PROTOCOLS, 'rtsp_transport': 'tcp'}
    try:
        with av.open(address, options=options, timeout=timeout_s, metadata_errors='replace') as container:
            if not container.streams.video:
                raise VideoError(f'{title} has no video that can be decoded; name another stream')
            has_end = container.duration is not None
            for packet in container.demux(container.streams.video[0]):
                try:
                    frames = packet.decode()
                # A stream that is joined in its middle begins with frames whose reference is missing.
                except av.InvalidDataError:
                    continue
                for frame in frames:
                    yield frame.time, frame.to_ndarray(format='bgr24')
    except av.ExitError:
        raise VideoError(f'{title} sends no data for {timeout_s:g} s; check the network') from None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise VideoError(f'{title} cannot be read ({reason}); check the address and the network') from None
    # A live stream has no end: the connection was lost without an error.
    if not has_end:
        raise VideoError(f'{title} ended; is its sender still running?')


def describe_address(address: str) -> str:
    """Return an address without the password in it.

    Example:
        >>> describe_address('rtsp://user:secret@camera.local:554/1')
        'rtsp://user@camera.local:554/1'
    """
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition('@')
    if ':' not in user:
        return address
    return urlunsplit(parts._replace(netloc=f'{user.partition(":")[0]}@{host}'))
