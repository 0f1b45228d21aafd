"""The screen as a source, with a stand-in of the package mss."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from poseplug.core.errors import VideoError
from poseplug.files.live_stream import LiveStream
from poseplug.files.screen_source import read_screen_frames
from poseplug.predict.image_input import is_endless


class ScreenShotError(Exception):
    pass


class StandInScreen:
    """Two monitors; the pixels of a shot are the width of the monitor, with an alpha of 255."""

    monitors = [{'width': 70}, {'width': 30}, {'width': 40}]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def grab(self, monitor):
        if monitor['width'] == 40:
            raise ScreenShotError('XGetImage() failed')
        return np.full((20, monitor['width'], 4), [1, 2, 3, 255], np.uint8)


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mss', SimpleNamespace(mss=StandInScreen, ScreenShotError=ScreenShotError))


def test_the_screen_is_a_live_stream_of_bgr_frames(screen):
    assert is_endless('screen://1')
    frames = iter(LiveStream('screen://1'))
    first, second = next(frames), next(frames)
    frames.close()
    assert first.image.shape == (20, 30, 3)
    assert first.image[0, 0].tolist() == [1, 2, 3]
    assert second.seconds > first.seconds
    assert LiveStream('screen://1').name == 'stream_1'


def test_all_monitors_are_number_0(screen):
    _, image = next(read_screen_frames('screen://0'))
    assert image.shape == (20, 70, 3)


@pytest.mark.parametrize(
    ('address', 'message'),
    [('screen://3', 'screen://1 to screen://2'), ('screen://x', '2 monitors'), ('screen://2', 'is there a display')],
)
def test_what_cannot_be_read_is_said(screen, address, message):
    with pytest.raises(VideoError, match=message):
        next(iter(LiveStream(address)))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mss', None)
    with pytest.raises(VideoError, match=r'poseplug\[screen\]'):
        next(read_screen_frames('screen://1'))
