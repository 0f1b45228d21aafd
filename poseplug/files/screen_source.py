"""The screen as a live source, by the package `mss` (extra `screen`)."""

from __future__ import annotations

__all__ = ['SCREEN_SCHEME', 'read_screen_frames']

import time
from collections.abc import Iterator
from importlib import import_module

import numpy as np

from poseplug.core.errors import VideoError

SCREEN_SCHEME = 'screen'
_MAX_FRAMES_PER_SECOND = 30.0


def read_screen_frames(address: str) -> Iterator[tuple[None, np.ndarray]]:
    """Yield the pixels of a monitor, (H, W, 3) BGR, at most 30 times a second and for as long as they are asked for.

    Args:
        address: 'screen://1' for the first monitor, 'screen://0' for all of them side by side.

    Raises:
        VideoError: the package mss is not installed, there is no such monitor, or the screen cannot be read.
    """
    try:
        mss = import_module('mss')
    except ImportError:
        raise VideoError(
            f"{address} needs the package mss, which is not installed; pip install 'poseplug[screen]'"
        ) from None
    number = address.partition('://')[2].strip('/') or '1'
    try:
        with mss.mss() as screen:
            if not number.isdecimal() or int(number) >= len(screen.monitors):
                count = len(screen.monitors) - 1
                raise VideoError(f'{address}: there are {count} monitors; give screen://1 to screen://{count}')
            while True:
                start = time.monotonic()
                yield None, np.ascontiguousarray(np.asarray(screen.grab(screen.monitors[int(number)]))[..., :3])
                time.sleep(max(0.0, 1 / _MAX_FRAMES_PER_SECOND - (time.monotonic() - start)))
    except mss.ScreenShotError as error:
        raise VideoError(f'{address} cannot be read ({error}); is there a display?') from None
